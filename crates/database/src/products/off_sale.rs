//! Products that were taken off sale.

use bharatmart_domain::{Money, Page, PageRequest, ProductId};
use sqlx::{Postgres, QueryBuilder};

use super::Product;
use crate::{
    connection::Connection,
    error::Result,
    list::{self, SortKey},
};

/// Puts a product back on sale as it was; `None` when there is none that is off sale.
#[tracing::instrument(name = "db.products.restore", skip_all, fields(product.id = %id))]
pub async fn restore(connection: &mut Connection, id: ProductId) -> Result<Option<Product>> {
    let product = sqlx::query_as!(
        Product,
        r#"
        UPDATE products
        SET is_active = true, updated_at = now()
        WHERE id = $1 AND NOT is_active
        RETURNING
            id AS "id: ProductId",
            name,
            description,
            price AS "price: Money",
            category,
            image_url,
            is_active,
            stock_quantity,
            sku,
            created_at,
            updated_at
        "#,
        id.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(product)
}

/// Which products off sale a list holds.
#[derive(Clone, Debug, Default)]
pub struct OffSaleFilter {
    /// Only those whose name, description or stock-keeping unit contains this text, as
    /// [`ProductFilter::search`](super::ProductFilter::search) finds them.
    pub search: Option<String>,
}

impl OffSaleFilter {
    fn push(&self, query: &mut QueryBuilder<Postgres>) {
        query.push(" AND NOT is_active");
        if let Some(search) = &self.search {
            super::push_search(query, search);
        }
    }

    /// Tells this filter's cursors from those of others.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        list::fingerprint(&format!("products off sale {self:?}"))
    }
}

/// Lists products off sale, by name.
#[tracing::instrument(name = "db.products.list_off_sale", skip_all)]
pub async fn list_off_sale(
    connection: &mut Connection,
    filter: &OffSaleFilter,
    page: &PageRequest,
) -> Result<Page<Product>> {
    list::fetch(
        connection,
        &list::Query {
            table: "products",
            columns: super::COLUMNS,
            sort: SortKey::ascending("name", "text"),
            fingerprint: filter.fingerprint(),
            plan_each: filter.search.is_some(),
        },
        |query| filter.push(query),
        page,
        |product: &Product| (product.name.clone(), product.id.0),
    )
    .await
}
