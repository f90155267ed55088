//! What those need who follow orders while they change.

use bharatmart_domain::{OrderId, OrderStatus};

use super::HistoryEntry;
use crate::{connection::Connection, error::Result};

/// How far somebody has followed an order: up to the history entry of this id, 0 for not at all.
///
/// Entries of one order get their ids while the order is locked (see [`super::lock`]; the first one comes
/// with the order itself). So they become visible in the order of their ids, and none is missed by asking
/// for those after the last one seen. Between two orders that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The order.
    pub order: OrderId,
    /// The last entry seen.
    pub last: i64,
}

/// The entries after a cursor, oldest first.
#[derive(Clone, Debug)]
pub struct Newer {
    /// After which cursor.
    pub after: Cursor,
    /// Further entries may follow if these are as many as were asked for.
    pub entry: HistoryEntry,
}

/// Reads what came after each of the cursors: for each at most `limit` entries, oldest first.
#[tracing::instrument(name = "db.orders.history_after", skip_all, fields(cursors = cursors.len()))]
pub async fn history_after(
    connection: &mut Connection,
    cursors: &[Cursor],
    limit: u16,
) -> Result<Vec<Newer>> {
    let (orders, lasts): (Vec<_>, Vec<_>) = cursors
        .iter()
        .map(|cursor| (cursor.order.0, cursor.last))
        .unzip();
    let rows = sqlx::query!(
        r#"
        SELECT
            cursors.order_id AS "order_id!: OrderId",
            cursors.last_id AS "last_id!",
            newer.id,
            newer.from_status AS "from_status: OrderStatus",
            newer.to_status AS "to_status: OrderStatus",
            newer.reason,
            newer.created_at
        FROM unnest($1::uuid[], $2::bigint[]) AS cursors (order_id, last_id)
        CROSS JOIN LATERAL (
            SELECT id, from_status, to_status, reason, created_at
            FROM order_history
            WHERE order_history.order_id = cursors.order_id AND order_history.id > cursors.last_id
            ORDER BY order_history.id
            LIMIT $3
        ) AS newer
        ORDER BY newer.id
        "#,
        &orders,
        &lasts,
        i64::from(limit),
    )
    .fetch_all(connection)
    .await?;
    let newer = rows.into_iter().map(|row| Newer {
        after: Cursor {
            order: row.order_id,
            last: row.last_id,
        },
        entry: HistoryEntry {
            id: row.id,
            from_status: row.from_status,
            to_status: row.to_status,
            reason: row.reason,
            created_at: row.created_at,
        },
    });
    Ok(newer.collect())
}

/// The status that an entry of an order's history tells of; `None` when the order has no such entry.
#[tracing::instrument(name = "db.orders.history_status", skip_all, fields(order.id = %order))]
pub async fn history_status(
    connection: &mut Connection,
    order: OrderId,
    entry: i64,
) -> Result<Option<OrderStatus>> {
    let status = sqlx::query_scalar!(
        r#"
        SELECT to_status AS "to_status: OrderStatus"
        FROM order_history
        WHERE order_id = $1 AND id = $2
        "#,
        order.0,
        entry,
    )
    .fetch_optional(connection)
    .await?;
    Ok(status)
}
