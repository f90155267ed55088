//! Many products at a time, known by their stock-keeping units.

use bharatmart_domain::{Money, ProductId};

use crate::{connection::Connection, error::Result};

/// What an import says of a product.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its stock-keeping unit.
    pub sku: String,
    /// Its name.
    pub name: String,
    /// The price of one.
    pub price: Money,
    /// Its category.
    pub category: String,
    /// Its description.
    pub description: Option<String>,
    /// Its picture.
    pub image_url: Option<String>,
    /// How many there are; `None` leaves that as it is, and is 0 for a new one.
    pub stock_quantity: Option<i32>,
}

/// Which of the fields that may be empty an import speaks of. The others stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// [`Line::description`].
    pub description: bool,
    /// [`Line::image_url`].
    pub image_url: bool,
}

/// A product that is there already.
#[derive(Clone, Debug)]
pub struct Known {
    /// The product.
    pub id: ProductId,
    /// Its stock-keeping unit.
    pub sku: String,
    /// Whether it is sold.
    pub is_active: bool,
    /// How many are left.
    pub stock_quantity: i32,
}

/// Finds and locks the products that have one of these stock-keeping units, in the order of their ids as a
/// checkout does.
#[tracing::instrument(name = "db.products.import.lock", skip_all)]
pub async fn lock(connection: &mut Connection, skus: &[String]) -> Result<Vec<Known>> {
    let known = sqlx::query_as!(
        Known,
        r#"
        SELECT id AS "id: ProductId", sku AS "sku!", is_active, stock_quantity
        FROM products
        WHERE sku = ANY($1)
        ORDER BY id
        FOR NO KEY UPDATE
        "#,
        skus,
    )
    .fetch_all(connection)
    .await?;
    Ok(known)
}

/// The fields of lines, each as an array.
struct Arrays {
    skus: Vec<String>,
    names: Vec<String>,
    paise: Vec<i64>,
    categories: Vec<String>,
    descriptions: Vec<Option<String>>,
    image_urls: Vec<Option<String>>,
    stock: Vec<Option<i32>>,
}

impl Arrays {
    fn of<'a>(lines: impl Iterator<Item = &'a Line>) -> Self {
        let mut arrays = Self {
            skus: Vec::new(),
            names: Vec::new(),
            paise: Vec::new(),
            categories: Vec::new(),
            descriptions: Vec::new(),
            image_urls: Vec::new(),
            stock: Vec::new(),
        };
        for line in lines {
            arrays.skus.push(line.sku.clone());
            arrays.names.push(line.name.clone());
            arrays.paise.push(line.price.paise());
            arrays.categories.push(line.category.clone());
            arrays.descriptions.push(line.description.clone());
            arrays.image_urls.push(line.image_url.clone());
            arrays.stock.push(line.stock_quantity);
        }
        arrays
    }
}

/// Changes products that are locked since `known` was read, where a line says something else, and logs changes of
/// their stock; those that have changed.
///
/// There is one join, by the products' own key: the statistics of a table that has just grown say that it is
/// empty, and with a second one the planner would compare every product with every line.
#[tracing::instrument(name = "db.products.import.update", skip_all, fields(lines = lines.len()))]
pub async fn update(
    connection: &mut Connection,
    lines: &[(Known, Line)],
    columns: Columns,
) -> Result<Vec<ProductId>> {
    let ids: Vec<_> = lines.iter().map(|(known, _)| known.id.0).collect();
    let previous: Vec<_> = lines
        .iter()
        .map(|(known, _)| known.stock_quantity)
        .collect();
    let arrays = Arrays::of(lines.iter().map(|(_, line)| line));
    let changed = sqlx::query_scalar!(
        r#"
        WITH changed AS (
            UPDATE products
            SET
                name = line.name,
                price = line.paise::numeric / 100,
                category = line.category,
                description = CASE WHEN $9 THEN line.description ELSE products.description END,
                image_url = CASE WHEN $10 THEN line.image_url ELSE products.image_url END,
                stock_quantity = coalesce(line.stock, line.previous),
                updated_at = now()
            FROM unnest(
                $1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::integer[],
                $8::integer[]
            ) AS line (id, name, paise, category, description, image_url, stock, previous)
            WHERE products.id = line.id
                AND (
                    (products.name, products.price, products.category, products.stock_quantity)
                        IS DISTINCT FROM (
                            line.name, line.paise::numeric / 100, line.category,
                            coalesce(line.stock, line.previous)
                        )
                    OR ($9 AND products.description IS DISTINCT FROM line.description)
                    OR ($10 AND products.image_url IS DISTINCT FROM line.image_url)
                )
            RETURNING products.id, line.previous, products.stock_quantity
        ),
        logged AS (
            INSERT INTO inventory_logs (product_id, previous_quantity, new_quantity, change_reason)
            SELECT id, previous, stock_quantity, 'imported'
            FROM changed
            WHERE previous <> stock_quantity
        )
        SELECT id AS "id!: ProductId" FROM changed
        "#,
        &ids,
        &arrays.names,
        &arrays.paise,
        &arrays.categories,
        &arrays.descriptions as &[Option<String>],
        &arrays.image_urls as &[Option<String>],
        &arrays.stock as &[Option<i32>],
        &previous,
        columns.description,
        columns.image_url,
    )
    .fetch_all(connection)
    .await?;
    Ok(changed)
}

/// Adds products; [`super::SKU_TAKEN`] refuses all of them if one of the stock-keeping units has come to another
/// product meanwhile. Whoever adds several times in a transaction adds in the order of their
/// stock-keeping units, so that two imports do not wait for each other.
#[tracing::instrument(name = "db.products.import.insert", skip_all, fields(lines = lines.len()))]
pub async fn insert(connection: &mut Connection, lines: &[Line]) -> Result<()> {
    let arrays = Arrays::of(lines.iter());
    sqlx::query!(
        r#"
        WITH added AS (
            INSERT INTO products (sku, name, price, category, description, image_url, stock_quantity)
            SELECT sku, name, paise::numeric / 100, category, description, image_url, coalesce(stock, 0)
            FROM unnest(
                $1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::integer[]
            ) AS line (sku, name, paise, category, description, image_url, stock)
            RETURNING id, stock_quantity
        )
        INSERT INTO inventory_logs (product_id, previous_quantity, new_quantity, change_reason)
        SELECT id, 0, stock_quantity, 'product added' FROM added WHERE stock_quantity > 0
        "#,
        &arrays.skus,
        &arrays.names,
        &arrays.paise,
        &arrays.categories,
        &arrays.descriptions as &[Option<String>],
        &arrays.image_urls as &[Option<String>],
        &arrays.stock as &[Option<i32>],
    )
    .execute(connection)
    .await?;
    Ok(())
}
