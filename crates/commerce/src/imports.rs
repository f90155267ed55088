//! Many products at once.

use std::collections::HashMap;

use bharatmart_cache::{Change, Effect};
use bharatmart_database::{
    self as database, Transaction,
    products::{
        SKU_TAKEN,
        import::{self, Columns, Known, Line},
    },
};
use bharatmart_domain::ProductId;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    audit::{self, Action, Origin},
    shop::Shop,
};

/// How many lines a statement carries.
const BATCH: usize = 5_000;

/// What an import has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Imported {
    /// Products that are new.
    pub created: usize,
    /// Products that are no longer what they were.
    pub updated: usize,
    /// Products that were so already.
    pub unchanged: usize,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// These stock-keeping units are those of products that were taken off sale.
    #[error("products that are no longer sold")]
    NotSold(Vec<String>),
    /// A product with one of the stock-keeping units was added meanwhile.
    #[error("a product was added meanwhile")]
    AddedMeanwhile,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] database::Error),
}

/// What was done, and what pages show it.
struct Done {
    imported: Imported,
    updated: Vec<ProductId>,
}

impl Done {
    fn changes(&self) -> Vec<Change> {
        let added = (self.imported.created > 0).then_some(Change::Catalogue);
        let updated = self.updated.iter().copied().map(Change::Product);
        updated.chain(added).collect()
    }
}

/// Adds and changes products, each of which has a stock-keeping unit of its own: all of them or none.
///
/// The audit log gets one entry for all of them, as coming from `origin`.
pub async fn import_products(
    shop: &Shop,
    origin: Origin,
    lines: Vec<Line>,
    columns: Columns,
) -> Result<Imported, ImportError> {
    let mut transaction = shop.database.begin().await?;
    let import = async move {
        let done = run(&mut transaction, &origin, lines, columns)
            .await
            .map_err(|error| (error, Vec::new()))?;
        match transaction.commit().await {
            Ok(()) => Ok(done),
            Err(error) => Err((error.into(), done.changes())),
        }
    };
    let effect = |outcome: &Result<Done, (ImportError, Vec<Change>)>| match outcome {
        Ok(done) => Effect::Committed(done.changes()),
        Err((_, changes)) if changes.is_empty() => Effect::Nothing,
        Err((_, changes)) => Effect::Unclear(changes.clone()),
    };
    let outcome = shop.invalidations.write(import, effect).await;
    outcome
        .map(|done| done.imported)
        .map_err(|(error, _)| error)
}

async fn run(
    transaction: &mut Transaction,
    origin: &Origin,
    lines: Vec<Line>,
    columns: Columns,
) -> Result<Done, ImportError> {
    let (old, mut new) = sort_out(transaction, lines).await?;
    let mut updated = Vec::new();
    for batch in old.chunks(BATCH) {
        updated.extend(import::update(transaction, batch, columns).await?);
    }
    let unchanged = old.len() - updated.len();
    new.sort_unstable_by(|one, other| one.sku.cmp(&other.sku));
    for batch in new.chunks(BATCH) {
        import::insert(transaction, batch)
            .await
            .map_err(added_meanwhile)?;
    }
    let imported = Imported {
        created: new.len(),
        updated: updated.len(),
        unchanged,
    };
    if imported.created + imported.updated > 0 {
        let action = Action {
            name: "product.import",
            resource_type: "product",
            resource_id: "many".to_owned(),
            changes: json!({ "created": imported.created, "updated": imported.updated }),
        };
        audit::record(transaction, origin, action).await?;
    }
    Ok(Done { imported, updated })
}

/// The lines of products that are there, and those of others.
async fn sort_out(
    transaction: &mut Transaction,
    lines: Vec<Line>,
) -> Result<(Vec<(Known, Line)>, Vec<Line>), ImportError> {
    let skus: Vec<_> = lines.iter().map(|line| line.sku.clone()).collect();
    let known = import::lock(transaction, &skus).await?;
    let not_sold: Vec<_> = known
        .iter()
        .filter(|known| !known.is_active)
        .map(|known| known.sku.clone())
        .collect();
    if !not_sold.is_empty() {
        return Err(ImportError::NotSold(not_sold));
    }
    let mut by_sku: HashMap<_, _> = known
        .into_iter()
        .map(|known| (known.sku.clone(), known))
        .collect();
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for line in lines {
        match by_sku.remove(&line.sku) {
            Some(known) => old.push((known, line)),
            None => new.push(line),
        }
    }
    Ok((old, new))
}

fn added_meanwhile(error: database::Error) -> ImportError {
    if error.is_constraint(SKU_TAKEN) {
        ImportError::AddedMeanwhile
    } else {
        error.into()
    }
}
