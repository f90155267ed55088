//! What was answered to requests that carried an `Idempotency-Key`.

use bharatmart_domain::UserId;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{connection::Connection, error::Result};

/// An answer that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// SHA-256 of the request that it was given to.
    pub fingerprint: Vec<u8>,
    /// What the request made.
    pub resource_id: Uuid,
    /// The body.
    pub answer: String,
}

/// Makes the transaction the only one that may use this key, until it ends; false when another one is.
///
/// Two keys that meet in one of 2^64 locks hold each other up and nothing else.
#[tracing::instrument(name = "db.idempotency_keys.lock", skip_all)]
pub async fn lock(connection: &mut Connection, user: UserId, key: &str) -> Result<bool> {
    let ours = sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_xact_lock(hashtextextended($1::uuid::text || $2, 0)) AS "ours!""#,
        user.0,
        key,
    )
    .fetch_one(connection)
    .await?;
    Ok(ours)
}

/// The answer that was given under this key since `since`; `None` when there was none.
#[tracing::instrument(name = "db.idempotency_keys.find", skip_all)]
pub async fn find(
    connection: &mut Connection,
    user: UserId,
    key: &str,
    since: DateTime<Utc>,
) -> Result<Option<Kept>> {
    let kept = sqlx::query_as!(
        Kept,
        r#"
        SELECT
            fingerprint,
            resource_id,
            answer
        FROM idempotency_keys
        WHERE user_id = $1 AND key = $2 AND created_at >= $3
        "#,
        user.0,
        key,
        since,
    )
    .fetch_optional(connection)
    .await?;
    Ok(kept)
}

/// Keeps an answer, in place of one that is too old to be given again.
#[tracing::instrument(name = "db.idempotency_keys.keep", skip_all)]
pub async fn keep(
    connection: &mut Connection,
    user: UserId,
    key: &str,
    answer: &Kept,
) -> Result<()> {
    sqlx::query!(
        r#"
        INSERT INTO idempotency_keys (user_id, key, fingerprint, resource_id, answer)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT ON CONSTRAINT idempotency_keys_pkey
            DO UPDATE SET
                fingerprint = excluded.fingerprint,
                resource_id = excluded.resource_id,
                answer = excluded.answer,
                created_at = excluded.created_at
        "#,
        user.0,
        key,
        answer.fingerprint,
        answer.resource_id,
        answer.answer,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps a later answer to the same request in place of the first.
#[tracing::instrument(name = "db.idempotency_keys.replace", skip_all)]
pub async fn replace(
    connection: &mut Connection,
    user: UserId,
    key: &str,
    answer: &Kept,
) -> Result<()> {
    sqlx::query!(
        r#"
        UPDATE idempotency_keys
        SET answer = $4
        WHERE user_id = $1 AND key = $2 AND resource_id = $3
        "#,
        user.0,
        key,
        answer.resource_id,
        answer.answer,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes up to `limit` answers that were given before `before`; how many.
#[tracing::instrument(name = "db.idempotency_keys.delete_before", skip_all)]
pub async fn delete_before(
    connection: &mut Connection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    let done = sqlx::query!(
        r#"
        DELETE FROM idempotency_keys
        WHERE (user_id, key) IN (
            SELECT user_id, key
            FROM idempotency_keys
            WHERE created_at < $1
            ORDER BY created_at
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
