//! Jobs on their way to the queue.

use chrono::{DateTime, Utc};

use crate::{connection::Connection, error::Result};

/// A job to be written in the transaction that makes it necessary.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// The queue's name.
    pub queue: &'static str,
    /// The job's name.
    pub job_name: &'static str,
    /// Deterministic, so that adding twice is adding once.
    pub job_id: String,
    /// What the worker receives.
    pub payload: serde_json::Value,
    /// When it may start; `None` is at once.
    pub run_at: Option<DateTime<Utc>>,
}

/// A row that the relay has yet to carry to the queue.
#[derive(Clone, Debug)]
pub struct PendingJob {
    /// The row.
    pub id: i64,
    /// The queue's name.
    pub queue: String,
    /// The job's name.
    pub job_name: String,
    /// The job's id.
    pub job_id: String,
    /// What the worker receives.
    pub payload: serde_json::Value,
    /// When it may start.
    pub run_at: DateTime<Utc>,
    /// When it was written.
    pub created_at: DateTime<Utc>,
}

/// A row that was given up: no queue will ever take it, or its last attempt has failed without a queue.
#[derive(Clone, Debug, PartialEq)]
pub struct RefusedJob {
    /// The row.
    pub id: i64,
    /// The queue's name. It need not be one that exists.
    pub queue: String,
    /// The job's name.
    pub job_name: String,
    /// The job's id.
    pub job_id: String,
    /// What the worker would have received.
    pub payload: serde_json::Value,
    /// Failed attempts.
    pub attempts: i32,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When it was given up.
    pub failed_at: DateTime<Utc>,
    /// Why.
    pub failed_reason: Option<String>,
}

/// Which of the rows that were given up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Refused<'a> {
    /// Those of this queue only.
    pub queue: Option<&'a str>,
    /// This one only.
    pub id: Option<i64>,
    /// Those only that were given up by then.
    pub before: Option<DateTime<Utc>>,
}

/// What the relay has before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backlog {
    /// Rows that are not dispatched.
    pub pending: i64,
    /// Age of the oldest of them in seconds; 0 when there is none.
    pub oldest_seconds: f64,
}

/// Writes `jobs`.
#[tracing::instrument(name = "db.outbox.insert", skip_all)]
pub async fn insert(connection: &mut Connection, jobs: &[NewJob]) -> Result<()> {
    let queues: Vec<_> = jobs.iter().map(|job| job.queue.to_owned()).collect();
    let names: Vec<_> = jobs.iter().map(|job| job.job_name.to_owned()).collect();
    let ids: Vec<_> = jobs.iter().map(|job| job.job_id.clone()).collect();
    let payloads: Vec<_> = jobs.iter().map(|job| job.payload.clone()).collect();
    let run_at: Vec<_> = jobs.iter().map(|job| job.run_at).collect();
    sqlx::query!(
        r#"
        INSERT INTO outbox (queue, job_name, job_id, payload, run_at)
        SELECT queue, job_name, job_id, payload, coalesce(run_at, now())
        FROM unnest($1::text[], $2::text[], $3::text[], $4::jsonb[], $5::timestamptz[])
            AS job (queue, job_name, job_id, payload, run_at)
        "#,
        &queues,
        &names,
        &ids,
        &payloads,
        &run_at as &[Option<DateTime<Utc>>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Locks up to `limit` undispatched rows, oldest first, passing over those that another relay holds.
///
/// Call it in a transaction: the locks are what keeps two relays from carrying one row.
#[tracing::instrument(name = "db.outbox.claim", skip_all)]
pub async fn claim(connection: &mut Connection, limit: i64) -> Result<Vec<PendingJob>> {
    let rows = sqlx::query_as!(
        PendingJob,
        r#"
        SELECT
            id,
            queue,
            job_name,
            job_id,
            payload,
            run_at,
            created_at
        FROM outbox
        WHERE dispatched_at IS NULL
        ORDER BY id
        LIMIT $1
        FOR UPDATE SKIP LOCKED
        "#,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// Marks rows as carried.
///
/// The commit need not reach the disk: a lost mark only has a row carried again, under the same id.
#[tracing::instrument(name = "db.outbox.mark_dispatched", skip_all)]
pub async fn mark_dispatched(connection: &mut Connection, ids: &[i64]) -> Result<()> {
    sqlx::query!(
        r#"
        WITH durability AS MATERIALIZED (
            SELECT set_config('synchronous_commit', 'off', true)
        )
        UPDATE outbox
        SET dispatched_at = now()
        FROM durability
        WHERE id = ANY($1)
        "#,
        ids,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes up to `limit` rows that were carried before `before`; the number deleted.
#[tracing::instrument(name = "db.outbox.delete_dispatched_before", skip_all)]
pub async fn delete_dispatched_before(
    connection: &mut Connection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    let done = sqlx::query!(
        r#"
        DELETE FROM outbox
        WHERE id IN (
            SELECT id FROM outbox WHERE dispatched_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED
        )
        "#,
        before,
        limit,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Counts what is not dispatched.
#[tracing::instrument(name = "db.outbox.backlog", skip_all)]
pub async fn backlog(connection: &mut Connection) -> Result<Backlog> {
    let backlog = sqlx::query_as!(
        Backlog,
        r#"
        SELECT
            count(*) AS "pending!",
            coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS "oldest_seconds!"
        FROM outbox
        WHERE dispatched_at IS NULL
        "#,
    )
    .fetch_one(connection)
    .await?;
    Ok(backlog)
}

/// The rows that were given up, the newest first.
#[tracing::instrument(name = "db.outbox.refused", skip_all)]
pub async fn refused(
    connection: &mut Connection,
    which: Refused<'_>,
    limit: i64,
    offset: i64,
) -> Result<Vec<RefusedJob>> {
    let rows = sqlx::query_as!(
        RefusedJob,
        r#"
        SELECT
            id,
            queue,
            job_name,
            job_id,
            payload,
            attempts,
            created_at,
            failed_at AS "failed_at!",
            failed_reason
        FROM outbox
        WHERE failed_at IS NOT NULL
            AND ($1::text IS NULL OR queue = $1)
            AND ($2::bigint IS NULL OR id = $2)
            AND ($3::timestamptz IS NULL OR failed_at <= $3)
        ORDER BY id DESC
        LIMIT $4
        OFFSET $5
        "#,
        which.queue,
        which.id,
        which.before,
        limit,
        offset,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// Counts the rows that were given up, those of one queue or all.
#[tracing::instrument(name = "db.outbox.count_refused", skip_all)]
pub async fn count_refused(connection: &mut Connection, queue: Option<&str>) -> Result<i64> {
    let count = sqlx::query_scalar!(
        r#"
        SELECT count(*) AS "count!"
        FROM outbox
        WHERE failed_at IS NOT NULL AND ($1::text IS NULL OR queue = $1)
        "#,
        queue,
    )
    .fetch_one(connection)
    .await?;
    Ok(count)
}

/// Gives rows that were given up another chance, as if they had just been written; those that got one.
#[tracing::instrument(name = "db.outbox.revive", skip_all)]
pub async fn revive(connection: &mut Connection, ids: &[i64]) -> Result<Vec<i64>> {
    let revived = sqlx::query_scalar!(
        r#"
        UPDATE outbox
        SET failed_at = NULL, failed_reason = NULL, dispatched_at = NULL, attempts = 0
        WHERE id = ANY($1) AND failed_at IS NOT NULL
        RETURNING id
        "#,
        ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(revived)
}

/// Deletes rows that were given up; those that are gone now.
#[tracing::instrument(name = "db.outbox.purge", skip_all)]
pub async fn purge(connection: &mut Connection, ids: &[i64]) -> Result<Vec<i64>> {
    let purged = sqlx::query_scalar!(
        "DELETE FROM outbox WHERE id = ANY($1) AND failed_at IS NOT NULL RETURNING id",
        ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(purged)
}
