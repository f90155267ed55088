//! Filling a shop: adds what is missing and leaves everything else as it is.

use bharatmart_domain::Money;

use crate::{connection::Connection, error::Result, users::NewUser};

/// A product of the first stock.
#[derive(Clone, Debug)]
pub struct SeedProduct {
    /// Its stock-keeping unit, by which it is known again.
    pub sku: String,
    /// Its name.
    pub name: String,
    /// Its category.
    pub category: String,
    /// The price of one.
    pub price: Money,
    /// How many there are at first.
    pub stock_quantity: i32,
    /// Its description.
    pub description: String,
}

/// Adds the products whose stock-keeping unit is not there yet; how many.
#[tracing::instrument(name = "db.seed.add_products", skip_all)]
pub async fn add_products(connection: &mut Connection, products: &[SeedProduct]) -> Result<i64> {
    let text = |of: fn(&SeedProduct) -> &String| -> Vec<String> {
        products.iter().map(|product| of(product).clone()).collect()
    };
    let paise: Vec<_> = products
        .iter()
        .map(|product| product.price.paise())
        .collect();
    let stock: Vec<_> = products
        .iter()
        .map(|product| product.stock_quantity)
        .collect();
    let added = sqlx::query_scalar!(
        r#"
        WITH added AS (
            INSERT INTO products (sku, name, category, description, price, stock_quantity)
            SELECT sku, name, category, description, paise::numeric / 100, stock
            FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::integer[])
                AS line (sku, name, category, description, paise, stock)
            ON CONFLICT (sku) DO NOTHING
            RETURNING id, stock_quantity
        ),
        logged AS (
            INSERT INTO inventory_logs (product_id, previous_quantity, new_quantity, change_reason)
            SELECT id, 0, stock_quantity, 'first stock' FROM added
        )
        SELECT count(*) AS "added!" FROM added
        "#,
        &text(|product| &product.sku),
        &text(|product| &product.name),
        &text(|product| &product.category),
        &text(|product| &product.description),
        &paise,
        &stock,
    )
    .fetch_one(connection)
    .await?;
    Ok(added)
}

/// Adds a user unless somebody has their e-mail address already; whether it did.
#[tracing::instrument(name = "db.seed.add_user", skip_all)]
pub async fn add_user(connection: &mut Connection, new: &NewUser<'_>) -> Result<bool> {
    let done = sqlx::query!(
        r#"
        INSERT INTO users (email, full_name, password_hash, role)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (lower(email)) DO NOTHING
        "#,
        new.email,
        new.full_name,
        new.password_hash,
        new.role.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}
