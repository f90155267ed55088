//! Products and their categories.

pub mod import;
mod off_sale;

use std::{
    fmt::{self, Write as _},
    str::FromStr,
};

use bharatmart_domain::{Money, Page, PageRequest, ProductId, UnknownName};
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{Postgres, QueryBuilder};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr,
        schema::{Schema, Type},
    },
};

use crate::{
    connection::Connection,
    error::Result,
    list::{self, SortKey},
};

pub use off_sale::{OffSaleFilter, list_off_sale, restore};

/// A product as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
pub struct Product {
    /// The product.
    pub id: ProductId,
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: Option<String>,
    /// The price of one.
    pub price: Money,
    /// Its category.
    pub category: Option<String>,
    /// Its picture.
    pub image_url: Option<String>,
    /// Whether it is sold.
    pub is_active: bool,
    /// How many are left.
    pub stock_quantity: i32,
    /// Its stock-keeping unit.
    pub sku: Option<String>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// The constraint that keeps two products from sharing a stock-keeping unit.
pub const SKU_TAKEN: &str = "products_sku_key";

/// Reads a product that is sold.
#[tracing::instrument(name = "db.products.find", skip_all, fields(product.id = %id))]
pub async fn find(connection: &mut Connection, id: ProductId) -> Result<Option<Product>> {
    let product = sqlx::query_as!(
        Product,
        r#"
        SELECT
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
        FROM products
        WHERE id = $1 AND is_active
        "#,
        id.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(product)
}

/// Reads a product that is sold and keeps others from changing it until the transaction ends.
#[tracing::instrument(name = "db.products.lock", skip_all, fields(product.id = %id))]
pub async fn lock(connection: &mut Connection, id: ProductId) -> Result<Option<Product>> {
    let product = sqlx::query_as!(
        Product,
        r#"
        SELECT
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
        FROM products
        WHERE id = $1 AND is_active
        FOR NO KEY UPDATE
        "#,
        id.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(product)
}

/// A product to be added.
#[derive(Clone, Debug)]
pub struct NewProduct {
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: Option<String>,
    /// The price of one.
    pub price: Money,
    /// Its category.
    pub category: String,
    /// Its picture.
    pub image_url: Option<String>,
    /// How many there are.
    pub stock_quantity: i32,
    /// Its stock-keeping unit.
    pub sku: Option<String>,
}

/// Adds a product; [`SKU_TAKEN`] refuses a second one of the same stock-keeping unit.
#[tracing::instrument(name = "db.products.insert", skip_all)]
pub async fn insert(connection: &mut Connection, new: &NewProduct) -> Result<Product> {
    let product = sqlx::query_as!(
        Product,
        r#"
        WITH added AS (
            INSERT INTO products (name, description, price, category, image_url, stock_quantity, sku)
            VALUES ($1, $2, $3, $4, $5, $6, $7)
            RETURNING *
        ),
        logged AS (
            INSERT INTO inventory_logs (product_id, previous_quantity, new_quantity, change_reason)
            SELECT id, 0, stock_quantity, 'product added' FROM added WHERE stock_quantity > 0
        )
        SELECT
            id AS "id!: ProductId",
            name AS "name!",
            description,
            price AS "price!: Money",
            category,
            image_url,
            is_active AS "is_active!",
            stock_quantity AS "stock_quantity!",
            sku,
            created_at AS "created_at!",
            updated_at AS "updated_at!"
        FROM added
        "#,
        new.name,
        new.description,
        new.price as Money,
        new.category,
        new.image_url,
        new.stock_quantity,
        new.sku,
    )
    .fetch_one(connection)
    .await?;
    Ok(product)
}

/// What is to change about a product; `None` leaves a field as it is, `Some(None)` clears it.
#[derive(Clone, Debug, Default)]
pub struct ProductChanges {
    /// Its name.
    pub name: Option<String>,
    /// Its description.
    pub description: Option<Option<String>>,
    /// The price of one.
    pub price: Option<Money>,
    /// Its category.
    pub category: Option<String>,
    /// Its picture.
    pub image_url: Option<Option<String>>,
    /// How many there are.
    pub stock_quantity: Option<i32>,
    /// Its stock-keeping unit.
    pub sku: Option<Option<String>>,
}

/// Changes a product that is sold and logs a change of its stock; `None` when there is none.
/// [`SKU_TAKEN`] refuses a stock-keeping unit that another product has.
#[tracing::instrument(name = "db.products.update", skip_all, fields(product.id = %id))]
pub async fn update(
    connection: &mut Connection,
    id: ProductId,
    changes: &ProductChanges,
) -> Result<Option<Product>> {
    let product = sqlx::query_as!(
        Product,
        r#"
        WITH locked AS MATERIALIZED (
            SELECT id, stock_quantity FROM products WHERE id = $1 AND is_active FOR NO KEY UPDATE
        ),
        changed AS (
            UPDATE products
            SET
                name = coalesce($2, products.name),
                description = CASE WHEN $3 THEN $4 ELSE products.description END,
                price = coalesce($5, products.price),
                category = coalesce($6, products.category),
                image_url = CASE WHEN $7 THEN $8 ELSE products.image_url END,
                stock_quantity = coalesce($9, locked.stock_quantity),
                sku = CASE WHEN $10 THEN $11 ELSE products.sku END,
                updated_at = now()
            FROM locked
            WHERE products.id = locked.id
            RETURNING products.*, locked.stock_quantity AS previous_quantity
        ),
        logged AS (
            INSERT INTO inventory_logs (product_id, previous_quantity, new_quantity, change_reason)
            SELECT id, previous_quantity, stock_quantity, 'edited'
            FROM changed
            WHERE previous_quantity <> stock_quantity
        )
        SELECT
            id AS "id!: ProductId",
            name AS "name!",
            description,
            price AS "price!: Money",
            category,
            image_url,
            is_active AS "is_active!",
            stock_quantity AS "stock_quantity!",
            sku,
            created_at AS "created_at!",
            updated_at AS "updated_at!"
        FROM changed
        "#,
        id.0,
        changes.name,
        changes.description.is_some(),
        changes.description.clone().flatten(),
        changes.price as Option<Money>,
        changes.category,
        changes.image_url.is_some(),
        changes.image_url.clone().flatten(),
        changes.stock_quantity,
        changes.sku.is_some(),
        changes.sku.clone().flatten(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(product)
}

/// Takes a product off sale; past orders keep it. Whether it was on sale.
#[tracing::instrument(name = "db.products.hide", skip_all, fields(product.id = %id))]
pub async fn hide(connection: &mut Connection, id: ProductId) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE products SET is_active = false, updated_at = now() WHERE id = $1 AND is_active",
        id.0,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// A category and how many products it has on sale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Category {
    /// The category's name.
    pub category: String,
    /// Its products on sale.
    pub count: i64,
}

/// Lists the categories that have something on sale, by name. Spellings that differ only in their
/// ASCII capitals are one category, as they are for [`ProductFilter::category`].
#[tracing::instrument(name = "db.products.categories", skip_all)]
pub async fn categories(connection: &mut Connection) -> Result<Vec<Category>> {
    let categories = sqlx::query_as!(
        Category,
        r#"
        SELECT min(category) AS "category!", count(*) AS "count!"
        FROM products
        WHERE is_active AND category IS NOT NULL
        GROUP BY lower(category COLLATE "C")
        ORDER BY min(category)
        "#,
    )
    .fetch_all(connection)
    .await?;
    Ok(categories)
}

/// The order of a list of products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProductSort {
    /// By name, A to Z.
    #[default]
    Name,
    /// By name, Z to A.
    NameDescending,
    /// Cheapest first.
    Price,
    /// Dearest first.
    PriceDescending,
    /// Oldest first.
    CreatedAt,
    /// Newest first.
    CreatedAtDescending,
}

impl PartialSchema for ProductSort {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(Self::ALL.map(Self::as_str)))
            .into()
    }
}

impl ProductSort {
    /// Every order, in order of declaration.
    pub const ALL: [Self; 6] = [
        Self::Name,
        Self::NameDescending,
        Self::Price,
        Self::PriceDescending,
        Self::CreatedAt,
        Self::CreatedAtDescending,
    ];

    /// How a query names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::NameDescending => "-name",
            Self::Price => "price",
            Self::PriceDescending => "-price",
            Self::CreatedAt => "created_at",
            Self::CreatedAtDescending => "-created_at",
        }
    }
}

impl FromStr for ProductSort {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|sort| sort.as_str() == text);
        named.ok_or_else(|| UnknownName {
            allowed: Self::ALL.map(Self::as_str).join(", "),
        })
    }
}

/// Which products a list holds.
#[derive(Clone, Default)]
pub struct ProductFilter {
    /// Only this category's, whatever its ASCII capitals.
    pub category: Option<String>,
    /// Only those whose name, description or stock-keeping unit contains this text. An index of trigrams
    /// finds them; a text without three letters or digits in a row has none, so that every product is read:
    /// half a second for a million of them, bounded by the statement timeout.
    pub search: Option<String>,
    /// Only those that cost at least this.
    pub min_price: Option<Money>,
    /// Only those that cost at most this.
    pub max_price: Option<Money>,
    /// Only those that are, or are not, in stock.
    pub in_stock: Option<bool>,
    /// The order.
    pub sort: ProductSort,
}

/// Filters that hold the same products are written alike, because cursors and cache keys are made of
/// this text: the category appears as it is compared.
impl fmt::Debug for ProductFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Taken apart, so that no new field is forgotten here.
        let Self {
            category,
            search,
            min_price,
            max_price,
            in_stock,
            sort,
        } = self;
        f.debug_struct("ProductFilter")
            .field("category", &category.as_deref().map(fold_category))
            .field("search", search)
            .field("min_price", min_price)
            .field("max_price", max_price)
            .field("in_stock", in_stock)
            .field("sort", sort)
            .finish()
    }
}

impl ProductFilter {
    fn push(&self, query: &mut QueryBuilder<Postgres>) {
        query.push(" AND is_active");
        if let Some(category) = &self.category {
            query.push(" AND lower(category COLLATE \"C\") = ");
            query.push_bind(fold_category(category));
        }
        if let Some(search) = &self.search {
            push_search(query, search);
        }
        if let Some(price) = self.min_price {
            query.push(" AND price >= ").push_bind(price);
        }
        if let Some(price) = self.max_price {
            query.push(" AND price <= ").push_bind(price);
        }
        match self.in_stock {
            Some(true) => query.push(" AND stock_quantity > 0"),
            Some(false) => query.push(" AND stock_quantity = 0"),
            None => query,
        };
    }

    /// Tells this filter's cursors from those of others.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut text = String::from("products");
        let _ = write!(text, "{self:?}");
        list::fingerprint(&text)
    }
}

/// Only those that contain the text, by the index of trigrams.
fn push_search(query: &mut QueryBuilder<Postgres>, search: &str) {
    query
        .push(" AND (name || ' ' || coalesce(description, '') || ' ' || coalesce(sku, '')) ILIKE ")
        .push_bind(list::contains_pattern(search));
}

/// A category as it is compared: the same text as SQL's `lower(category COLLATE "C")`.
///
/// Both change A to Z and nothing else. For the rest of Unicode this program and the database
/// disagree (`İ`, a final `Σ`), and so do the locales that a database may have been made with; a
/// category with such a letter would then not be found by its own name.
fn fold_category(category: &str) -> String {
    category.to_ascii_lowercase()
}

/// The columns of a [`Product`].
const COLUMNS: &str = "id, name, description, price, category, image_url, is_active, \
                       stock_quantity, sku, created_at, updated_at";

/// Lists products on sale.
#[tracing::instrument(name = "db.products.list", skip_all)]
pub async fn list(
    connection: &mut Connection,
    filter: &ProductFilter,
    page: &PageRequest,
) -> Result<Page<Product>> {
    let sort = match filter.sort {
        ProductSort::Name => SortKey::ascending("name", "text"),
        ProductSort::NameDescending => SortKey::descending("name", "text"),
        ProductSort::Price => SortKey::ascending("price", "numeric"),
        ProductSort::PriceDescending => SortKey::descending("price", "numeric"),
        ProductSort::CreatedAt => SortKey::ascending("created_at", "timestamptz"),
        ProductSort::CreatedAtDescending => SortKey::descending("created_at", "timestamptz"),
    };
    list::fetch(
        connection,
        &list::Query {
            table: "products",
            columns: COLUMNS,
            sort,
            fingerprint: filter.fingerprint(),
            plan_each: filter.category.is_some()
                || filter.search.is_some()
                || filter.min_price.is_some()
                || filter.max_price.is_some(),
        },
        |query| filter.push(query),
        page,
        |product: &Product| {
            let key = match filter.sort {
                ProductSort::Name | ProductSort::NameDescending => product.name.clone(),
                ProductSort::Price | ProductSort::PriceDescending => product.price.to_string(),
                ProductSort::CreatedAt | ProductSort::CreatedAtDescending => {
                    product.created_at.to_rfc3339()
                }
            };
            (key, product.id.0)
        },
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_that_hold_the_same_products_have_one_text_and_one_fingerprint() {
        let of = |category: &str| ProductFilter {
            category: Some(category.to_owned()),
            ..ProductFilter::default()
        };
        let books = of("Books");
        for same in [of("books"), of("BOOKS")] {
            assert_eq!(format!("{same:?}"), format!("{books:?}"));
            assert_eq!(same.fingerprint(), books.fingerprint());
        }
        let dear = ProductFilter {
            sort: ProductSort::PriceDescending,
            ..of("books")
        };
        for other in [of("Book"), of("किताबें"), ProductFilter::default(), dear] {
            assert_ne!(other.fingerprint(), books.fingerprint(), "{other:?}");
        }
    }
}
