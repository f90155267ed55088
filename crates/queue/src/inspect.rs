//! Looking into the queues, and what an administrator does to a job that is found there.

use std::{collections::HashMap, fmt, str::FromStr, time::Duration};

use bharatmart_database::outbox::RefusedJob;
use bharatmart_telemetry::metrics::{JOBS_PURGED_TOTAL, JOBS_REPLAYED_TOTAL};
use bullmq::{Queue, RetryOptions, types};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    name::QueueName,
    producer::{JobQueues, QueueError, bounded},
};

/// How long a list of jobs may take; payloads come with it.
const LIST_TIMEOUT: Duration = Duration::from_secs(2);
/// How long looking at one job and changing it may take.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(2);

/// Where a job of a queue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Ready to be taken.
    Waiting,
    /// Being worked on.
    Active,
    /// Waiting for its time.
    Delayed,
    /// Done.
    Completed,
    /// Given up.
    Failed,
    /// Held back because the queue is paused.
    Paused,
    /// Ready, with a priority.
    Prioritized,
    /// Waiting for other jobs. Ours never do.
    WaitingChildren,
}

impl JobState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Active,
        Self::Delayed,
        Self::Completed,
        Self::Failed,
        Self::Paused,
        Self::Prioritized,
        Self::WaitingChildren,
    ];

    /// The name, as Node's `bullmq` has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Active => "active",
            Self::Delayed => "delayed",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Paused => "paused",
            Self::Prioritized => "prioritized",
            Self::WaitingChildren => "waiting-children",
        }
    }

    /// The last part of the key that holds the ids.
    const fn key(self) -> &'static str {
        match self {
            Self::Waiting => "wait",
            other => other.as_str(),
        }
    }

    /// Whether that key is a list; else it is a sorted set.
    const fn is_list(self) -> bool {
        matches!(self, Self::Waiting | Self::Active | Self::Paused)
    }

    /// `None` is a job that does not exist, or that no list holds.
    const fn of(state: types::JobState) -> Option<Self> {
        Some(match state {
            types::JobState::Waiting => Self::Waiting,
            types::JobState::Active => Self::Active,
            types::JobState::Delayed => Self::Delayed,
            types::JobState::Completed => Self::Completed,
            types::JobState::Failed => Self::Failed,
            types::JobState::Prioritized => Self::Prioritized,
            types::JobState::WaitingChildren => Self::WaitingChildren,
            types::JobState::Unknown => return None,
        })
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What names a job to an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobRef {
    /// A job of a queue, by its id.
    Queued(String),
    /// A row of the outbox that no queue took, written `outbox:17`. No job of ours has such an id.
    Refused(i64),
}

impl JobRef {
    const PREFIX: &'static str = "outbox:";
}

impl From<&str> for JobRef {
    fn from(text: &str) -> Self {
        text.strip_prefix(Self::PREFIX)
            .and_then(|row| i64::from_str(row).ok())
            .map_or_else(|| Self::Queued(text.to_owned()), Self::Refused)
    }
}

/// Who keeps a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeptBy {
    /// Its queue, in Redis.
    Queue,
    /// The outbox, in PostgreSQL: the queue refused it, or it failed without one.
    Outbox,
}

/// A job with everything that is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobRecord {
    /// The id; of a row of the outbox `outbox:` and its number.
    pub id: String,
    /// The queue's name.
    pub queue: String,
    /// The job's name.
    pub name: String,
    /// The name of a [`JobState`], or `refused`.
    #[schema(value_type = String)]
    pub state: &'static str,
    /// Who keeps it.
    pub kept_by: KeptBy,
    /// What the handler receives.
    pub payload: Value,
    /// Attempts, backoff, retention and so on, as they were stored.
    pub options: Value,
    /// Attempts that ended with a failure or a result.
    pub attempts_made: u32,
    /// Attempts that were begun.
    pub attempts_started: u32,
    /// Why the last attempt failed.
    pub failed_reason: Option<String>,
    /// One text for each failed attempt, when whoever ran it kept them.
    pub stacktrace: Vec<String>,
    /// What the handler returned.
    pub return_value: Value,
    /// When it was added.
    pub created_at: Option<DateTime<Utc>>,
    /// When its last attempt began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it was completed or given up.
    pub finished_at: Option<DateTime<Utc>>,
}

/// Some jobs of one state.
#[derive(Clone, Debug, PartialEq)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobRecord>,
    /// How many are in that state, whatever the page.
    pub total: u64,
}

/// Why nothing was done to a job.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The queue has no such job.
    #[error("there is no such job")]
    NotFound,
    /// It is in a state that does not allow it.
    #[error("the job is {0}")]
    State(JobState),
    /// It is the next one of a schedule, which would stop without it.
    #[error("the job is the next one of a schedule")]
    Scheduled,
    /// The queue did not answer. It may have been done all the same.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl JobQueues {
    /// The jobs of `queue` in `state`, those first that came into it last; takes at most 2 s.
    pub async fn list(
        &self,
        queue: QueueName,
        state: JobState,
        offset: u64,
        limit: u64,
    ) -> Result<JobPage, QueueError> {
        let link = self.link()?;
        let jobs = page(link.queue(queue), queue, state, offset, limit);
        bounded(LIST_TIMEOUT, jobs).await
    }

    /// One job of `queue`, `None` when there is no such job; takes at most 2 s.
    pub async fn find(&self, queue: QueueName, id: &str) -> Result<Option<JobRecord>, QueueError> {
        let link = self.link()?;
        bounded(LIST_TIMEOUT, async {
            let handle = link.queue(queue);
            let Some(state) = state_of(handle, id).await? else {
                return Ok(None);
            };
            let fields: HashMap<String, String> = handle
                .connection()
                .cmd(redis::cmd("HGETALL").arg(handle.keys().job_key(id)))
                .await?;
            Ok((!fields.is_empty()).then(|| record(queue, id.to_owned(), state, fields)))
        })
        .await
    }

    /// The ids of up to `limit` failed jobs of `queue`, those first that failed first; with `before`, of those that
    /// failed by then. Takes at most 2 s.
    pub async fn failed_ids(
        &self,
        queue: QueueName,
        before: Option<DateTime<Utc>>,
        limit: u32,
    ) -> Result<Vec<String>, QueueError> {
        let link = self.link()?;
        let handle = link.queue(queue);
        let newest = before.map_or_else(
            || "+inf".to_owned(),
            |before| before.timestamp_millis().to_string(),
        );
        let mut range = redis::cmd("ZRANGEBYSCORE");
        range.arg(handle.keys().failed()).arg("-inf").arg(newest);
        range.arg("LIMIT").arg(0).arg(limit);
        bounded(LIST_TIMEOUT, handle.connection().cmd(&mut range)).await
    }

    /// Puts a failed job back among those that wait, with all of its attempts before it; takes at most 2 s.
    pub async fn retry(&self, queue: QueueName, id: &str) -> Result<(), ChangeError> {
        let link = self.link()?;
        bounded(CHANGE_TIMEOUT, retry(link.queue(queue), id)).await??;
        metrics::counter!(JOBS_REPLAYED_TOTAL, "queue" => queue.as_str()).increment(1);
        Ok(())
    }

    /// Removes a job that nobody is working on; takes at most 2 s.
    pub async fn remove(&self, queue: QueueName, id: &str) -> Result<(), ChangeError> {
        let may = |state| state != JobState::Active;
        self.remove_if(queue, id, may).await
    }

    /// Removes a job that has failed; takes at most 2 s.
    pub async fn purge(&self, queue: QueueName, id: &str) -> Result<(), ChangeError> {
        self.remove_if(queue, id, |state| state == JobState::Failed)
            .await
    }

    async fn remove_if(
        &self,
        queue: QueueName,
        id: &str,
        may: impl Fn(JobState) -> bool,
    ) -> Result<(), ChangeError> {
        let link = self.link()?;
        bounded(CHANGE_TIMEOUT, remove(link.queue(queue), id, may)).await??;
        metrics::counter!(JOBS_PURGED_TOTAL, "queue" => queue.as_str()).increment(1);
        Ok(())
    }
}

async fn page(
    handle: &Queue,
    queue: QueueName,
    state: JobState,
    offset: u64,
    limit: u64,
) -> Result<JobPage, bullmq::Error> {
    let key = handle.keys().get(state.key());
    let (mut length, range) = if state.is_list() {
        (redis::cmd("LLEN"), "LRANGE")
    } else {
        (redis::cmd("ZCARD"), "ZREVRANGE")
    };
    let total: u64 = handle.connection().cmd(length.arg(&key)).await?;
    let mut jobs = Vec::new();
    if offset < total && limit > 0 {
        let last = offset.saturating_add(limit - 1).min(total);
        let mut range = redis::cmd(range);
        range.arg(&key).arg(offset).arg(last);
        let ids: Vec<String> = handle.connection().cmd(&mut range).await?;
        let mut lookups = redis::pipe();
        for id in &ids {
            lookups.hgetall(handle.keys().job_key(id));
        }
        let found: Vec<HashMap<String, String>> = if ids.is_empty() {
            Vec::new()
        } else {
            handle.connection().pipe(&lookups).await?
        };
        // One that was removed in between has no fields any more.
        let found = ids.into_iter().zip(found).filter(|job| !job.1.is_empty());
        jobs.extend(found.map(|(id, fields)| record(queue, id, state, fields)));
    }
    Ok(JobPage { jobs, total })
}

async fn state_of(handle: &Queue, id: &str) -> Result<Option<JobState>, bullmq::Error> {
    Ok(JobState::of(handle.get_job_state(id).await?))
}

/// Outer errors are Redis's.
async fn retry(handle: &Queue, id: &str) -> Result<Result<(), ChangeError>, bullmq::Error> {
    match state_of(handle, id).await? {
        Some(JobState::Failed) => {}
        Some(other) => return Ok(Err(ChangeError::State(other))),
        None => return Ok(Err(ChangeError::NotFound)),
    }
    let Some(mut job) = handle.get_job(id).await? else {
        return Ok(Err(ChangeError::NotFound));
    };
    let anew = RetryOptions {
        reset_attempts_made: true,
        reset_attempts_started: true,
    };
    match job.retry(JobState::Failed.as_str(), Some(anew)).await {
        Ok(()) => Ok(Ok(())),
        // Not among the failed ones any more: somebody was faster.
        Err(bullmq::Error::InvalidConfig(_)) => Ok(Err(state_of(handle, id)
            .await?
            .map_or(ChangeError::NotFound, ChangeError::State))),
        Err(error) => Err(error),
    }
}

/// Outer errors are Redis's.
async fn remove(
    handle: &Queue,
    id: &str,
    may: impl Fn(JobState) -> bool,
) -> Result<Result<(), ChangeError>, bullmq::Error> {
    match state_of(handle, id).await? {
        Some(state) if may(state) => {}
        Some(state) => return Ok(Err(ChangeError::State(state))),
        None => return Ok(Err(ChangeError::NotFound)),
    }
    match handle.remove(id).await {
        Ok(true) => Ok(Ok(())),
        Ok(false) => Ok(Err(ChangeError::State(JobState::Active))),
        Err(bullmq::Error::Script { code, .. })
            if code == bullmq::error::error_code::JOB_BELONGS_TO_JOB_SCHEDULER =>
        {
            Ok(Err(ChangeError::Scheduled))
        }
        Err(error) => Err(error),
    }
}

/// Reads the hash of a job. Nothing in it can make this fail: what it holds may be why the job failed.
fn record(
    queue: QueueName,
    id: String,
    state: JobState,
    mut fields: HashMap<String, String>,
) -> JobRecord {
    let mut take = |name: &str| fields.remove(name).filter(|text| !text.is_empty());
    let time = |text: Option<String>| {
        text.and_then(|text| text.parse().ok())
            .and_then(DateTime::from_timestamp_millis)
    };
    let count = |text: Option<String>| text.and_then(|text| text.parse().ok()).unwrap_or(0);
    JobRecord {
        queue: queue.to_string(),
        name: take("name").unwrap_or_default(),
        state: state.as_str(),
        kept_by: KeptBy::Queue,
        payload: as_json(take("data")),
        options: as_json(take("opts")),
        attempts_made: count(take("atm")),
        attempts_started: count(take("ats")),
        failed_reason: take("failedReason"),
        stacktrace: take("stacktrace").map_or_else(Vec::new, |text| {
            serde_json::from_str(&text).unwrap_or_else(|_| vec![text])
        }),
        return_value: as_json(take("returnvalue")),
        created_at: time(take("timestamp")),
        started_at: time(take("processedOn")),
        finished_at: time(take("finishedOn")),
        id,
    }
}

/// The JSON in a field; a field that holds something else is shown as the text that it is.
fn as_json(text: Option<String>) -> Value {
    text.map_or(Value::Null, |text| {
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    })
}

impl From<RefusedJob> for JobRecord {
    fn from(row: RefusedJob) -> Self {
        let attempts = u32::try_from(row.attempts).unwrap_or(0);
        Self {
            id: format!("{}{}", JobRef::PREFIX, row.id),
            queue: row.queue,
            name: row.job_name,
            state: "refused",
            kept_by: KeptBy::Outbox,
            payload: row.payload,
            options: json!({ "jobId": row.job_id }),
            attempts_made: attempts,
            attempts_started: attempts,
            failed_reason: row.failed_reason,
            stacktrace: Vec::new(),
            return_value: Value::Null,
            created_at: Some(row.created_at),
            started_at: None,
            finished_at: Some(row.failed_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_outbox_are_told_from_jobs_by_their_prefix() {
        assert_eq!(JobRef::from("outbox:17"), JobRef::Refused(17));
        for id in ["order-1", "outbox:", "outbox:x", "repeat:clean-up:17"] {
            assert_eq!(JobRef::from(id), JobRef::Queued(id.to_owned()));
        }
    }

    #[test]
    fn a_hash_that_makes_no_sense_is_still_shown() {
        let fields = [
            ("name", "send-email"),
            ("data", "{not json"),
            ("atm", "many"),
            ("stacktrace", "Error: boom"),
            ("finishedOn", "soon"),
        ];
        let fields = fields.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let job = record(
            QueueName::EmailNotifications,
            "x".to_owned(),
            JobState::Failed,
            fields.into(),
        );
        assert_eq!(job.payload, "{not json");
        assert_eq!((job.attempts_made, job.finished_at), (0, None));
        assert_eq!(job.stacktrace, ["Error: boom"]);
    }
}
