//! Orders as rows of a table for people.

use bharatmart_domain::{Money, OrderId, OrderStatus, PaymentMethod, UserId};
use chrono::{DateTime, Utc};
use sqlx::QueryBuilder;

use super::OrderFilter;
use crate::{connection::Connection, error::Result};

/// An order with what else its row shows.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ExportedOrder {
    /// The order.
    pub id: OrderId,
    /// When it was placed.
    pub created_at: DateTime<Utc>,
    /// Where it stands.
    pub status: OrderStatus,
    /// Who ordered.
    pub user_id: UserId,
    /// Their e-mail address.
    pub email: String,
    /// What it costs.
    pub total_amount: Money,
    /// How it is to be paid.
    pub payment_method: Option<PaymentMethod>,
    /// Where it goes.
    pub shipping_address: String,
    /// How many items it has.
    pub items: i64,
    /// When the order worker confirmed it.
    pub processed_at: Option<DateTime<Utc>>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// Reads the next orders after the one that was placed at `after.0` and has the id `after.1`, oldest first. An
/// order neither changes its place nor goes away, so whoever walks on from the last row that they got
/// meets each order that was there when they began, and once.
#[tracing::instrument(name = "db.orders.export", skip_all)]
pub async fn export(
    connection: &mut Connection,
    filter: &OrderFilter,
    after: Option<(DateTime<Utc>, OrderId)>,
    limit: i64,
) -> Result<Vec<ExportedOrder>> {
    let mut query = QueryBuilder::new(
        "SELECT page.id, page.created_at, page.status, page.user_id, users.email, page.total_amount, \
         page.payment_method, page.shipping_address, \
         (SELECT count(*) FROM order_items WHERE order_items.order_id = page.id) AS items, \
         page.processed_at, page.updated_at \
         FROM (SELECT * FROM orders WHERE true",
    );
    filter.push(&mut query);
    if let Some((created_at, id)) = after {
        query
            .push(" AND (created_at, id) > (")
            .push_bind(created_at);
        query.push(", ").push_bind(id.0).push(")");
    }
    query
        .push(" ORDER BY created_at, id LIMIT ")
        .push_bind(limit)
        .push(") AS page JOIN users ON users.id = page.user_id ORDER BY page.created_at, page.id");
    let orders = query
        .build_query_as()
        // Its best plan depends on what is asked for.
        .persistent(false)
        .fetch_all(connection)
        .await?;
    Ok(orders)
}
