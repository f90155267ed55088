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
    /// The W3C Trace Context of what makes it necessary.
    pub trace_parent: Option<String>,
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
    /// The W3C Trace Context of what made it necessary.
    pub trace_parent: Option<String>,
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
    /// The oldest first, instead of the newest.
    pub oldest_first: bool,
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
    let traces: Vec<_> = jobs.iter().map(|job| job.trace_parent.clone()).collect();
    sqlx::query!(
        r#"
        INSERT INTO outbox (queue, job_name, job_id, payload, run_at, trace_parent)
        SELECT queue, job_name, job_id, payload, coalesce(run_at, now()), trace_parent
        FROM unnest($1::text[], $2::text[], $3::text[], $4::jsonb[], $5::timestamptz[], $6::text[])
            AS job (queue, job_name, job_id, payload, run_at, trace_parent)
        "#,
        &queues,
        &names,
        &ids,
        &payloads,
        &run_at as &[Option<DateTime<Utc>>],
        &traces as &[Option<String>],
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
            created_at,
            trace_parent
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

/// Marks a row as one that the queue will never take, for this reason. It stays to be seen.
#[tracing::instrument(name = "db.outbox.refuse", skip_all)]
pub async fn refuse(connection: &mut Connection, id: i64, reason: &str) -> Result<()> {
    sqlx::query!(
        r#"
        UPDATE outbox
        SET dispatched_at = now(), failed_at = now(), failed_reason = $2
        WHERE id = $1
        "#,
        id,
        reason,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The first and the last row that there is; `None` when there is none.
#[tracing::instrument(name = "db.outbox.bounds", skip_all)]
pub async fn bounds(connection: &mut Connection) -> Result<Option<(i64, i64)>> {
    let bounds = sqlx::query!("SELECT min(id) AS first, max(id) AS last FROM outbox")
        .fetch_one(connection)
        .await?;
    Ok(bounds.first.zip(bounds.last))
}

/// Has rows from `first` to `last` carried again whose work is not done: their queue has lost them. The number of
/// rows.
///
/// Rows whose job the queue still has may be among them; carrying these again changes nothing.
#[tracing::instrument(name = "db.outbox.reopen", skip_all)]
pub async fn reopen(connection: &mut Connection, first: i64, last: i64) -> Result<u64> {
    let done = sqlx::query!(
        r#"
        UPDATE outbox
        SET dispatched_at = NULL
        WHERE id BETWEEN $1 AND $2
            AND dispatched_at IS NOT NULL
            AND failed_at IS NULL
            AND job_id IN (
                SELECT 'order-' || id
                FROM orders
                WHERE processed_at IS NULL AND status <> 'cancelled'
                UNION ALL
                SELECT 'payment-deadline-' || id
                FROM orders
                WHERE status IN ('pending', 'payment_failed')
                UNION ALL
                SELECT 'payment-' || id
                FROM payments
                WHERE status = 'pending'
                UNION ALL
                SELECT 'refund-' || id
                FROM payments
                WHERE refund_requested_at IS NOT NULL AND status IN ('pending', 'completed')
                UNION ALL
                SELECT 'email-' || order_id || '-' || kind
                FROM mail_deliveries
                WHERE status IN ('pending', 'sending')
                UNION ALL
                SELECT 'report-' || kind || '-' || to_char(day, 'YYYY-MM-DD') || '-' || user_id
                FROM report_mails
                WHERE sent_at IS NULL
            )
        "#,
        first,
        last,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Deletes up to `limit` rows that were carried before `before`, but not those that the queue refused; the number
/// deleted.
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
            SELECT id
            FROM outbox
            WHERE dispatched_at < $1 AND failed_at IS NULL
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

/// Deletes up to `limit` rows that were given up before `before`; the number deleted.
#[tracing::instrument(name = "db.outbox.delete_refused_before", skip_all)]
pub async fn delete_refused_before(
    connection: &mut Connection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    let done = sqlx::query!(
        r#"
        DELETE FROM outbox
        WHERE id IN (
            SELECT id
            FROM outbox
            WHERE failed_at < $1
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

/// The rows that were given up.
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
        ORDER BY CASE WHEN $6 THEN id END, id DESC
        LIMIT $4
        OFFSET $5
        "#,
        which.queue,
        which.id,
        which.before,
        limit,
        offset,
        which.oldest_first,
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

/// Gives rows that were given up another chance, with all of their attempts before them; those that got one.
#[tracing::instrument(name = "db.outbox.revive", skip_all)]
pub async fn revive(connection: &mut Connection, ids: &[i64]) -> Result<Vec<i64>> {
    let revived = sqlx::query_scalar!(
        r#"
        UPDATE outbox
        SET failed_at = NULL, failed_reason = NULL, dispatched_at = NULL, attempts = 0, stalls = 0
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
