//! Sign-ins that have not succeeded, by the SHA-256 of the address that was tried.

use chrono::{DateTime, Utc};

use crate::{connection::Connection, error::Result};

/// Counts one more failure of `address`, and from one again where the earlier ones are forgotten by `now`; how many it
/// has. `None`, and nothing is counted, while it is blocked. The row is locked until the transaction ends.
#[tracing::instrument(name = "db.sign_in_attempts.count", skip_all)]
pub async fn count(
    connection: &mut Connection,
    address: &[u8],
    now: DateTime<Utc>,
    forgotten_at: DateTime<Utc>,
) -> Result<Option<i32>> {
    let failures = sqlx::query_scalar!(
        r#"
        INSERT INTO sign_in_attempts AS attempt (address_hash, failures, forgotten_at)
        VALUES ($1, 1, $3)
        ON CONFLICT ON CONSTRAINT sign_in_attempts_pkey
            DO UPDATE SET
                failures = CASE WHEN attempt.forgotten_at <= $2 THEN 1 ELSE attempt.failures + 1 END,
                forgotten_at = CASE
                    WHEN attempt.forgotten_at <= $2 THEN excluded.forgotten_at
                    ELSE attempt.forgotten_at
                END
            WHERE attempt.blocked_until IS NULL OR attempt.blocked_until <= $2
        RETURNING failures
        "#,
        address,
        now,
        forgotten_at,
    )
    .fetch_optional(connection)
    .await?;
    Ok(failures)
}

/// Refuses further attempts until `until`, and remembers that until `forgotten_at`.
#[tracing::instrument(name = "db.sign_in_attempts.block", skip_all)]
pub async fn block(
    connection: &mut Connection,
    address: &[u8],
    until: DateTime<Utc>,
    forgotten_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "UPDATE sign_in_attempts SET blocked_until = $2, forgotten_at = $3 WHERE address_hash = $1",
        address,
        until,
        forgotten_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Until when `address` is, or was, blocked.
#[tracing::instrument(name = "db.sign_in_attempts.blocked_until", skip_all)]
pub async fn blocked_until(
    connection: &mut Connection,
    address: &[u8],
) -> Result<Option<DateTime<Utc>>> {
    let until = sqlx::query_scalar!(
        "SELECT blocked_until FROM sign_in_attempts WHERE address_hash = $1",
        address,
    )
    .fetch_optional(connection)
    .await?;
    Ok(until.flatten())
}

/// Forgets the failures of `address`, and lifts its block.
#[tracing::instrument(name = "db.sign_in_attempts.forget", skip_all)]
pub async fn forget(connection: &mut Connection, address: &[u8]) -> Result<()> {
    sqlx::query!(
        "DELETE FROM sign_in_attempts WHERE address_hash = $1",
        address
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes up to `limit` rows that are forgotten by `now`; how many.
#[tracing::instrument(name = "db.sign_in_attempts.delete_forgotten", skip_all)]
pub async fn delete_forgotten(
    connection: &mut Connection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    let done = sqlx::query!(
        r#"
        DELETE FROM sign_in_attempts
        WHERE address_hash IN (
            SELECT address_hash
            FROM sign_in_attempts
            WHERE forgotten_at < $1
            ORDER BY forgotten_at
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        )
        "#,
        now,
        limit,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
