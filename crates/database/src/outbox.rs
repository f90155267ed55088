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

/// Locks up to `limit` undispatched rows, oldest first, passing over those that another relay holds or
/// that somebody has leased to do the job themselves ([`crate::worklist`]).
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
        WHERE dispatched_at IS NULL AND (leased_until IS NULL OR leased_until <= now())
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
