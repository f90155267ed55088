//! The events of the payment gateway that were received.

use chrono::{DateTime, Utc};

use crate::{connection::Connection, error::Result};

/// Notes an event in the transaction of its effect; false when it came before. Waits for a transaction that notes it
/// at the same moment.
#[tracing::instrument(name = "db.payment_events.insert", skip_all)]
pub async fn insert(connection: &mut Connection, id: &str, kind: &str) -> Result<bool> {
    let done = sqlx::query!(
        r#"
        INSERT INTO payment_events (id, type)
        VALUES ($1, $2)
        ON CONFLICT ON CONSTRAINT payment_events_pkey DO NOTHING
        "#,
        id,
        kind,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Deletes up to `limit` events that were received before `before`; how many.
#[tracing::instrument(name = "db.payment_events.delete_before", skip_all)]
pub async fn delete_before(
    connection: &mut Connection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    let done = sqlx::query!(
        r#"
        DELETE FROM payment_events
        WHERE id IN (
            SELECT id
            FROM payment_events
            WHERE received_at < $1
            ORDER BY received_at
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        )
        "#,
        before,
        limit,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
