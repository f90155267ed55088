//! The outbox as a queue, for processes that do its jobs themselves.
//!
//! A job is taken by leasing its row. What its holder writes afterwards is written only while the lease is
//! still theirs; each of these functions says whether it was.

use std::time::Duration;

use uuid::Uuid;

use crate::{connection::Connection, error::Result};

/// A job that its reader may do until the lease ends.
#[derive(Clone, Debug)]
pub struct LeasedJob {
    /// The row.
    pub id: i64,
    /// The queue's name.
    pub queue: String,
    /// The job's name.
    pub job_name: String,
    /// The job's id.
    pub job_id: String,
    /// What it is about.
    pub payload: serde_json::Value,
    /// Attempts that have failed.
    pub attempts: i32,
    /// How often whoever had it did not say what became of it.
    pub stalls: i32,
    /// Whether that happened just now.
    pub is_taken_over: bool,
    /// The W3C Trace Context of what made it necessary.
    pub trace_parent: Option<String>,
}

/// A job of a queue that does not exist.
#[derive(Clone, Debug)]
pub struct StrayJob {
    /// The row.
    pub id: i64,
    /// The queue's name.
    pub queue: String,
    /// The job's name.
    pub job_name: String,
    /// The job's id.
    pub job_id: String,
}

/// How much of a queue is in which state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkCounts {
    /// Due, and nobody has them.
    pub waiting: i64,
    /// Leased.
    pub active: i64,
    /// Not due yet.
    pub delayed: i64,
    /// Given up, of those that are kept.
    pub failed: i64,
    /// How long ago the first of those that wait was due, in seconds; 0 when none waits.
    pub oldest_waiting_seconds: f64,
}

/// Leases what is due for `duration` under the name `lease`, first what was due first: as many jobs of
/// each queue as there is `room` for.
#[tracing::instrument(name = "db.worklist.lease", skip_all)]
pub async fn lease(
    connection: &mut Connection,
    lease: Uuid,
    room: &[(&str, i64)],
    duration: Duration,
) -> Result<Vec<LeasedJob>> {
    let (queues, jobs): (Vec<_>, Vec<_>) = room
        .iter()
        .map(|(queue, jobs)| ((*queue).to_owned(), *jobs))
        .unzip();
    let leased = sqlx::query_as!(
        LeasedJob,
        r#"
        WITH due AS MATERIALIZED (
            SELECT job.id, job.leased_until IS NOT NULL AS is_taken_over
            FROM unnest($1::text[], $2::bigint[]) AS room (queue, jobs)
            CROSS JOIN LATERAL (
                SELECT id, leased_until
                FROM outbox
                WHERE dispatched_at IS NULL
                    AND outbox.queue = room.queue
                    AND run_at <= now()
                    AND (leased_until IS NULL OR leased_until <= now())
                ORDER BY run_at, id
                LIMIT room.jobs
                FOR UPDATE SKIP LOCKED
            ) AS job
        )
        UPDATE outbox
        SET
            lease = $3,
            leased_until = now() + make_interval(secs => $4),
            stalls = stalls + due.is_taken_over::integer
        FROM due
        WHERE outbox.id = due.id
        RETURNING
            outbox.id,
            queue,
            job_name,
            job_id,
            payload,
            attempts,
            stalls,
            due.is_taken_over AS "is_taken_over!",
            trace_parent
        "#,
        &queues,
        &jobs,
        lease,
        duration.as_secs_f64(),
    )
    .fetch_all(connection)
    .await?;
    Ok(leased)
}

/// Has a lease end `duration` from now.
#[tracing::instrument(name = "db.worklist.renew", skip_all)]
pub async fn renew(
    connection: &mut Connection,
    id: i64,
    lease: Uuid,
    duration: Duration,
) -> Result<bool> {
    let done = sqlx::query!(
        r#"
        UPDATE outbox
        SET leased_until = now() + make_interval(secs => $3)
        WHERE id = $1 AND lease = $2 AND dispatched_at IS NULL
        "#,
        id,
        lease,
        duration.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Records that a job is done.
///
/// The commit need not reach the disk: a lost record only has the job done again, which it must stand anyway.
#[tracing::instrument(name = "db.worklist.complete", skip_all)]
pub async fn complete(connection: &mut Connection, id: i64, lease: Uuid) -> Result<bool> {
    let done = sqlx::query!(
        r#"
        WITH durability AS MATERIALIZED (
            SELECT set_config('synchronous_commit', 'off', true)
        )
        UPDATE outbox
        SET dispatched_at = now(), lease = NULL, leased_until = NULL
        FROM durability
        WHERE id = $1 AND lease = $2
        "#,
        id,
        lease,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Puts a job off by `delay`, with so many failed `attempts` behind it.
#[tracing::instrument(name = "db.worklist.put_off", skip_all)]
pub async fn put_off(
    connection: &mut Connection,
    id: i64,
    lease: Uuid,
    attempts: i32,
    delay: Duration,
) -> Result<bool> {
    let done = sqlx::query!(
        r#"
        UPDATE outbox
        SET
            attempts = $3,
            run_at = now() + make_interval(secs => $4),
            lease = NULL,
            leased_until = NULL
        WHERE id = $1 AND lease = $2
        "#,
        id,
        lease,
        attempts,
        delay.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives a job up, after so many failed `attempts`.
#[tracing::instrument(name = "db.worklist.fail", skip_all)]
pub async fn fail(
    connection: &mut Connection,
    id: i64,
    lease: Uuid,
    attempts: i32,
    reason: &str,
) -> Result<bool> {
    let done = sqlx::query!(
        r#"
        UPDATE outbox
        SET
            attempts = $3,
            failed_at = now(),
            failed_reason = $4,
            dispatched_at = now(),
            lease = NULL,
            leased_until = NULL
        WHERE id = $1 AND lease = $2
        "#,
        id,
        lease,
        attempts,
        reason,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives a job back as it was, for anybody to take at once.
#[tracing::instrument(name = "db.worklist.release", skip_all)]
pub async fn release(connection: &mut Connection, id: i64, lease: Uuid) -> Result<bool> {
    let done = sqlx::query!(
        r#"
        UPDATE outbox
        SET lease = NULL, leased_until = NULL
        WHERE id = $1 AND lease = $2
        "#,
        id,
        lease,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives up to `limit` jobs up that belong to none of the queues `known`; which.
#[tracing::instrument(name = "db.worklist.fail_strays", skip_all)]
pub async fn fail_strays(
    connection: &mut Connection,
    known: &[&str],
    limit: i64,
) -> Result<Vec<StrayJob>> {
    let known: Vec<_> = known.iter().map(|queue| (*queue).to_owned()).collect();
    let strays = sqlx::query_as!(
        StrayJob,
        r#"
        WITH stray AS MATERIALIZED (
            SELECT id
            FROM outbox
            WHERE dispatched_at IS NULL AND queue <> ALL ($1::text[])
            LIMIT $2
            FOR UPDATE SKIP LOCKED
        )
        UPDATE outbox
        SET failed_at = now(), failed_reason = 'there is no such queue', dispatched_at = now()
        FROM stray
        WHERE outbox.id = stray.id
        RETURNING
            outbox.id,
            queue,
            job_name,
            job_id
        "#,
        &known,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(strays)
}

/// Counts the jobs of `queue`.
#[tracing::instrument(name = "db.worklist.counts", skip_all)]
pub async fn counts(connection: &mut Connection, queue: &str) -> Result<WorkCounts> {
    let counts = sqlx::query_as!(
        WorkCounts,
        r#"
        SELECT
            count(*) FILTER (WHERE is_open AND NOT is_leased AND is_due) AS "waiting!",
            count(*) FILTER (WHERE is_open AND is_leased) AS "active!",
            count(*) FILTER (WHERE is_open AND NOT is_leased AND NOT is_due) AS "delayed!",
            count(*) FILTER (WHERE NOT is_open) AS "failed!",
            coalesce(
                extract(
                    epoch FROM now() - min(run_at) FILTER (WHERE is_open AND NOT is_leased AND is_due)
                ),
                0
            )::float8 AS "oldest_waiting_seconds!"
        FROM (
            SELECT
                run_at,
                dispatched_at IS NULL AS is_open,
                run_at <= now() AS is_due,
                coalesce(leased_until > now(), false) AS is_leased
            FROM outbox
            WHERE queue = $1 AND (dispatched_at IS NULL OR failed_at IS NOT NULL)
        ) AS job
        "#,
        queue,
    )
    .fetch_one(connection)
    .await?;
    Ok(counts)
}

/// How many jobs of `queue` are done, of those that are kept. Reads most of the outbox.
#[tracing::instrument(name = "db.worklist.completed", skip_all)]
pub async fn completed(connection: &mut Connection, queue: &str) -> Result<i64> {
    let completed = sqlx::query_scalar!(
        r#"
        SELECT count(*) AS "completed!"
        FROM outbox
        WHERE queue = $1 AND dispatched_at IS NOT NULL AND failed_at IS NULL
        "#,
        queue,
    )
    .fetch_one(connection)
    .await?;
    Ok(completed)
}
