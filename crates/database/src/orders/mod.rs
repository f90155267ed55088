//! Orders, their items and their history.

mod export;
mod following;
mod listing;
mod placement;

use bharatmart_domain::{Money, OrderId, OrderStatus, PaymentMethod, ProductId, UserId};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use utoipa::ToSchema;

use crate::{connection::Connection, error::Result};

pub use export::{ExportedOrder, export};
pub use following::{Cursor, Newer, history_after, history_status};
pub use listing::{OrderFilter, OrderSort, list};
pub use placement::{NewOrder, Placement, Shortage, place};

/// An order as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
pub struct Order {
    /// The order.
    pub id: OrderId,
    /// Who ordered.
    pub user_id: UserId,
    /// Where it stands.
    pub status: OrderStatus,
    /// What it costs.
    pub total_amount: Money,
    /// Where it goes.
    pub shipping_address: String,
    /// How it is to be paid; `None` until a payment names the method.
    pub payment_method: Option<PaymentMethod>,
    /// When the order worker confirmed it.
    pub processed_at: Option<DateTime<Utc>>,
    /// When it was placed.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// Reads an order.
#[tracing::instrument(name = "db.orders.find", skip_all, fields(order.id = %id))]
pub async fn find(connection: &mut Connection, id: OrderId) -> Result<Option<Order>> {
    let order = sqlx::query_as!(
        Order,
        r#"
        SELECT
            id AS "id: OrderId",
            user_id AS "user_id: UserId",
            status AS "status: OrderStatus",
            total_amount AS "total_amount: Money",
            shipping_address,
            payment_method AS "payment_method: PaymentMethod",
            processed_at,
            created_at,
            updated_at
        FROM orders
        WHERE id = $1
        "#,
        id.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(order)
}

/// An order under lock, with what its mails need to know of its customer.
#[derive(Clone, Debug)]
pub struct LockedOrder {
    /// The order.
    pub id: OrderId,
    /// Who ordered.
    pub user_id: UserId,
    /// Where it stands.
    pub status: OrderStatus,
    /// What it costs.
    pub total_amount: Money,
    /// Where it goes.
    pub shipping_address: String,
    /// How it is to be paid.
    pub payment_method: Option<PaymentMethod>,
    /// When the order worker confirmed it.
    pub processed_at: Option<DateTime<Utc>>,
    /// When it was placed.
    pub created_at: DateTime<Utc>,
    /// The customer's e-mail address.
    pub email: String,
    /// The customer's name.
    pub full_name: String,
}

/// Reads and locks an order until the transaction ends.
///
/// Whoever changes an order or one of its payments takes this lock first, so that orders and
/// payments are always locked in the same sequence.
#[tracing::instrument(name = "db.orders.lock", skip_all, fields(order.id = %id))]
pub async fn lock(connection: &mut Connection, id: OrderId) -> Result<Option<LockedOrder>> {
    let order = sqlx::query_as!(
        LockedOrder,
        r#"
        SELECT
            orders.id AS "id: OrderId",
            orders.user_id AS "user_id: UserId",
            orders.status AS "status: OrderStatus",
            orders.total_amount AS "total_amount: Money",
            orders.shipping_address,
            orders.payment_method AS "payment_method: PaymentMethod",
            orders.processed_at,
            orders.created_at,
            users.email,
            users.full_name
        FROM orders
        JOIN users ON users.id = orders.user_id
        WHERE orders.id = $1
        FOR NO KEY UPDATE OF orders
        "#,
        id.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(order)
}

/// Gives a locked order another status and writes it into the order's history.
#[tracing::instrument(name = "db.orders.set_status", skip_all, fields(order.id = %id))]
pub async fn set_status(
    connection: &mut Connection,
    id: OrderId,
    from: OrderStatus,
    to: OrderStatus,
    reason: Option<&str>,
) -> Result<()> {
    sqlx::query!(
        r#"
        WITH changed AS (
            UPDATE orders SET status = $3, updated_at = now() WHERE id = $1
        )
        INSERT INTO order_history (order_id, from_status, to_status, reason)
        VALUES ($1, $2, $3, $4)
        "#,
        id.0,
        from.as_str(),
        to.as_str(),
        reason,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes how a locked order is to be paid.
#[tracing::instrument(name = "db.orders.set_payment_method", skip_all, fields(order.id = %id))]
pub async fn set_payment_method(
    connection: &mut Connection,
    id: OrderId,
    method: PaymentMethod,
) -> Result<()> {
    sqlx::query!(
        "UPDATE orders SET payment_method = $2, updated_at = now() WHERE id = $1",
        id.0,
        method.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that the order worker has confirmed an order.
#[tracing::instrument(name = "db.orders.mark_processed", skip_all, fields(order.id = %id))]
pub async fn mark_processed(connection: &mut Connection, id: OrderId) -> Result<()> {
    sqlx::query!(
        "UPDATE orders SET processed_at = now(), updated_at = now() WHERE id = $1",
        id.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives an order's stock back, once however often it is called; the products, in the order of
/// their ids, whose stock this call has changed.
#[tracing::instrument(name = "db.orders.restock", skip_all, fields(order.id = %id))]
pub async fn restock(
    connection: &mut Connection,
    id: OrderId,
    reason: &str,
) -> Result<Vec<ProductId>> {
    let products = sqlx::query_scalar!(
        r#"
        WITH marked AS (
            UPDATE orders
            SET restocked_at = now(), updated_at = now()
            WHERE id = $1 AND restocked_at IS NULL
            RETURNING id
        ),
        locked AS MATERIALIZED (
            SELECT products.id, products.stock_quantity, item.quantity
            FROM products
            JOIN (
                SELECT order_items.product_id, sum(order_items.quantity)::integer AS quantity
                FROM order_items
                JOIN marked ON marked.id = order_items.order_id
                GROUP BY order_items.product_id
            ) AS item ON item.product_id = products.id
            ORDER BY products.id
            FOR NO KEY UPDATE OF products
        ),
        returned AS (
            UPDATE products
            SET stock_quantity = locked.stock_quantity + locked.quantity, updated_at = now()
            FROM locked
            WHERE products.id = locked.id
            RETURNING products.id
        ),
        logged AS (
            INSERT INTO inventory_logs (product_id, previous_quantity, new_quantity, change_reason)
            SELECT id, stock_quantity, stock_quantity + quantity, $2
            FROM locked
        )
        SELECT id AS "id: ProductId" FROM returned ORDER BY id
        "#,
        id.0,
        reason,
    )
    .fetch_all(connection)
    .await?;
    Ok(products)
}

/// Finds orders placed before `before` that no worker has confirmed, some of them if there are
/// more than `limit`, so that those that stay undone hide no others.
#[tracing::instrument(name = "db.orders.unprocessed", skip_all)]
pub async fn unprocessed(
    connection: &mut Connection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<OrderId>> {
    let ids = sqlx::query_scalar!(
        r#"
        SELECT id AS "id: OrderId"
        FROM orders
        WHERE processed_at IS NULL AND status <> 'cancelled' AND created_at < $1
        ORDER BY random()
        LIMIT $2
        "#,
        before,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids)
}

/// Finds prepaid orders placed before `before` that still wait for a payment, some of them if there are
/// more than `limit`, so that those that stay undone hide no others.
#[tracing::instrument(name = "db.orders.unpaid", skip_all)]
pub async fn unpaid(
    connection: &mut Connection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<OrderId>> {
    let ids = sqlx::query_scalar!(
        r#"
        SELECT id AS "id: OrderId"
        FROM orders
        WHERE status IN ('pending', 'payment_failed')
            AND payment_method IS DISTINCT FROM 'cash_on_delivery'
            AND created_at < $1
        ORDER BY random()
        LIMIT $2
        "#,
        before,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids)
}

/// An item of an order with the product as it is today.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OrderItem)]
pub struct Item {
    /// The item.
    pub id: uuid::Uuid,
    /// Its order.
    pub order_id: OrderId,
    /// What was bought.
    pub product_id: ProductId,
    /// How many.
    pub quantity: i32,
    /// The price of one when it was ordered.
    pub unit_price: Money,
    /// When it was ordered.
    pub created_at: DateTime<Utc>,
    /// The product today.
    #[schema(value_type = ItemProduct)]
    pub products: Json<ItemProduct>,
}

/// What an order's page shows of a product.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = OrderItemProduct)]
pub struct ItemProduct {
    /// The product.
    pub id: ProductId,
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: Option<String>,
    /// Its price today.
    pub price: Money,
    /// Its category.
    pub category: Option<String>,
    /// Its picture.
    pub image_url: Option<String>,
    /// Its stock-keeping unit.
    pub sku: Option<String>,
}

/// Reads an order's items.
#[tracing::instrument(name = "db.orders.items", skip_all, fields(order.id = %id))]
pub async fn items(connection: &mut Connection, id: OrderId) -> Result<Vec<Item>> {
    let items = sqlx::query_as!(
        Item,
        r#"
        SELECT
            order_items.id,
            order_items.order_id AS "order_id: OrderId",
            order_items.product_id AS "product_id: ProductId",
            order_items.quantity,
            order_items.unit_price AS "unit_price: Money",
            order_items.created_at,
            jsonb_build_object(
                'id', products.id,
                'name', products.name,
                'description', products.description,
                'price', products.price,
                'category', products.category,
                'image_url', products.image_url,
                'sku', products.sku
            ) AS "products!: Json<ItemProduct>"
        FROM order_items
        JOIN products ON products.id = order_items.product_id
        WHERE order_items.order_id = $1
        ORDER BY products.name, order_items.id
        "#,
        id.0,
    )
    .fetch_all(connection)
    .await?;
    Ok(items)
}

/// One change of an order's status.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OrderHistoryEntry)]
pub struct HistoryEntry {
    /// Grows with every change of any order.
    pub id: i64,
    /// The status before; `None` for the first entry.
    pub from_status: Option<OrderStatus>,
    /// The status after.
    pub to_status: OrderStatus,
    /// Why.
    pub reason: Option<String>,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// Reads an order's history, oldest first.
#[tracing::instrument(name = "db.orders.history", skip_all, fields(order.id = %id))]
pub async fn history(connection: &mut Connection, id: OrderId) -> Result<Vec<HistoryEntry>> {
    let entries = sqlx::query_as!(
        HistoryEntry,
        r#"
        SELECT
            id,
            from_status AS "from_status: OrderStatus",
            to_status AS "to_status: OrderStatus",
            reason,
            created_at
        FROM order_history
        WHERE order_id = $1
        ORDER BY id
        "#,
        id.0,
    )
    .fetch_all(connection)
    .await?;
    Ok(entries)
}
