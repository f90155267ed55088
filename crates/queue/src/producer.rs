//! Adding jobs and counting them.

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Duration};

use bharatmart_breaker::{Backoff, Breaker, BreakerStatus, CircuitBreaker};
use bharatmart_config::QueueConfig;
use bharatmart_database::outbox::PendingJob;
use bharatmart_domain::Clock;
use bharatmart_telemetry::trace::TRACE_PARENT;
use bullmq::{BulkJob, JobOptions};
use chrono::{DateTime, Utc};
use futures_util::future::{join_all, try_join_all};
use serde_json::Value;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    connection::{DEPENDENCY, Endpoint, Link},
    jobs::id_defect,
    name::QueueName,
    policy::millis,
};

/// How long a batch may take.
const BATCH_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a question about a queue may take.
pub(crate) const QUESTION_TIMEOUT: Duration = Duration::from_secs(1);
/// How long one process may take to find the jobs that a new Redis does not know, before another one tries.
const RECOVERY_TURN: Duration = Duration::from_mins(1);
/// More failed calls in a row than this open the breaker; how long it stays open before a probe.
const BREAKER_THRESHOLD: u32 = 2;
const BREAKER_COOLDOWN: Duration = Duration::from_secs(1);

/// The producing side of all queues, over one connection; cheap to clone.
///
/// The connection is made and made again in the background, for as long as a clone exists.
#[derive(Clone)]
pub struct JobQueues {
    shared: Arc<Shared>,
    _connecting: Arc<DropGuard>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    link: watch::Sender<Option<Link>>,
    breaker: CircuitBreaker,
    broken: Notify,
}

impl Shared {
    fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            link: watch::Sender::new(None),
            breaker: CircuitBreaker::new(
                DEPENDENCY,
                Breaker::new(
                    BREAKER_THRESHOLD,
                    Backoff::exact(BREAKER_COOLDOWN, BREAKER_COOLDOWN),
                ),
            ),
            broken: Notify::new(),
        }
    }
}

/// What became of one job of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// The queue has it, now or already.
    Taken,
    /// The queue will never take it, for this reason.
    Refused(String),
    /// Redis answered with this error; it may take it later.
    Failed(String),
}

/// Why the queue did not answer as it should. The same call may succeed later.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Not connected yet.
    #[error("not connected to the queue's Redis yet")]
    NotConnected,
    /// Refused without asking, because the last calls failed.
    #[error("the queue's Redis failed repeatedly and is left alone for a moment")]
    BreakerOpen,
    /// No answer in this time. What was asked may still happen.
    #[error("no answer from the queue's Redis within {0:?}")]
    Timeout(Duration),
    /// An error instead of an answer.
    #[error("the queue's Redis failed")]
    Redis(#[source] bullmq::Error),
}

impl JobQueues {
    /// Starts connecting and returns at once; needs a tokio runtime.
    #[must_use]
    pub fn connect(config: &QueueConfig, clock: Arc<dyn Clock>) -> Self {
        let shared = Arc::new(Shared::new(clock));
        let stop = CancellationToken::new();
        let connecting = keep_connected(Arc::clone(&shared), Endpoint::new(config));
        tokio::spawn(stop.clone().run_until_cancelled_owned(connecting));
        Self {
            shared,
            _connecting: Arc::new(stop.drop_guard()),
        }
    }

    /// Waits for the first connection, `limit` at most.
    pub async fn connected(&self, limit: Duration) -> Result<(), QueueError> {
        let mut link = self.shared.link.subscribe();
        match timeout(limit, link.wait_for(Option::is_some)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(QueueError::Timeout(limit)),
        }
    }

    /// Queues that no Redis holds, for a process that does its jobs itself: each call answers that there is
    /// no connection.
    #[must_use]
    pub fn nowhere(clock: Arc<dyn Clock>) -> Self {
        Self {
            shared: Arc::new(Shared::new(clock)),
            _connecting: Arc::new(CancellationToken::new().drop_guard()),
        }
    }

    /// Whether the last calls succeeded; asks nobody.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.shared.link.borrow().is_some() && self.shared.breaker.is_closed()
    }

    /// How the breaker before the queues' Redis does.
    #[must_use]
    pub fn breaker(&self) -> BreakerStatus {
        self.shared.breaker.status()
    }

    /// Whether a call would be attempted now, be it as a probe; asks nobody.
    pub(crate) fn would_try(&self) -> bool {
        self.shared.link.borrow().is_some() && self.shared.breaker.allows()
    }

    /// Adds `jobs` in one go and says what became of each, in their order; takes at most 2 s.
    ///
    /// After an error some of them may have been added; adding them again under the same ids is harmless.
    pub async fn add_batch(&self, jobs: &[PendingJob]) -> Result<Vec<Added>, QueueError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.shared.clock.now();
        let mut outcomes = vec![Added::Taken; jobs.len()];
        let mut batches: HashMap<QueueName, Vec<(usize, Entry<'_>)>> = HashMap::new();
        for (index, job) in jobs.iter().enumerate() {
            match Entry::new(job, now) {
                Ok((queue, entry)) => batches.entry(queue).or_default().push((index, entry)),
                Err(reason) => outcomes[index] = Added::Refused(reason),
            }
        }
        if batches.is_empty() {
            return Ok(outcomes);
        }
        let added = self
            .guarded(BATCH_TIMEOUT, |link| {
                try_join_all(
                    batches
                        .iter()
                        .map(move |(queue, entries)| add(link.clone(), *queue, entries)),
                )
            })
            .await?;
        for (index, outcome) in added.into_iter().flatten() {
            outcomes[index] = outcome;
        }
        Ok(outcomes)
    }

    /// Whether the jobs that are not done have to be added anew, because this Redis has never seen them, and nobody
    /// is about to; takes at most 1 s. [`JobQueues::end_recovery`] says that it was done.
    ///
    /// Each Redis that holds our queues has a mark of ours. One without it is new, or has lost what it had.
    pub(crate) async fn begin_recovery(&self) -> Result<bool, QueueError> {
        self.ask(async |link| {
            let connection = link.connection();
            let mut seen = redis::cmd("EXISTS");
            if connection.cmd(seen.arg(&link.keys().mark)).await? {
                return Ok(false);
            }
            let mut turn = redis::cmd("SET");
            turn.arg(&link.keys().recovery)
                .arg(1)
                .arg("NX")
                .arg("PX")
                .arg(millis(RECOVERY_TURN));
            let ours: Option<String> = connection.cmd(&mut turn).await?;
            Ok(ours.is_some())
        })
        .await
    }

    /// Notes that this Redis knows all jobs that are not done; takes at most 1 s.
    pub(crate) async fn end_recovery(&self) -> Result<(), QueueError> {
        let now = self.shared.clock.now().timestamp();
        self.ask(async |link| {
            let mut mark = redis::cmd("SET");
            link.connection()
                .cmd(mark.arg(&link.keys().mark).arg(now))
                .await
        })
        .await
    }

    /// Asks Redis for a sign of life; takes at most 1 s.
    pub async fn ping(&self) -> Result<(), QueueError> {
        bounded(QUESTION_TIMEOUT, self.link()?.connection().ping()).await
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.shared.clock.now()
    }

    pub(crate) fn link(&self) -> Result<Link, QueueError> {
        self.shared
            .link
            .borrow()
            .clone()
            .ok_or(QueueError::NotConnected)
    }

    /// Asks Redis something through the breaker; takes at most 1 s.
    pub(crate) async fn ask<T, Fut>(
        &self,
        question: impl FnOnce(Link) -> Fut,
    ) -> Result<T, QueueError>
    where
        Fut: Future<Output = Result<T, bullmq::Error>>,
    {
        self.guarded(QUESTION_TIMEOUT, question).await
    }

    /// Calls Redis through the breaker.
    async fn guarded<T, Fut>(
        &self,
        limit: Duration,
        call: impl FnOnce(Link) -> Fut,
    ) -> Result<T, QueueError>
    where
        Fut: Future<Output = Result<T, bullmq::Error>>,
    {
        let link = self.link()?;
        let breaker = &self.shared.breaker;
        breaker.acquire().map_err(|_| QueueError::BreakerOpen)?;
        let answer = bounded(limit, call(link)).await;
        match &answer {
            Ok(_) => breaker.succeed(),
            Err(error) => {
                breaker.fail(error.reason());
                // Also when a probe has failed: what the last connection was made to may not be what is there now.
                if !breaker.is_closed() {
                    self.shared.broken.notify_one();
                }
            }
        }
        answer
    }
}

impl QueueError {
    /// The value of the label `reason`.
    const fn reason(&self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::BreakerOpen => "breaker_open",
            Self::Timeout(_) => "timeout",
            Self::Redis(_) => "error",
        }
    }
}

/// Connects, and connects anew whenever calls keep failing: the crate's own connection can take 5 s to notice that
/// Redis is back, and never leaves a server that has become a replica.
async fn keep_connected(shared: Arc<Shared>, endpoint: Endpoint) {
    loop {
        let link = endpoint.open_queues().await;
        shared.link.send_replace(Some(link));
        tracing::info!(dependency = DEPENDENCY, "connected to the queue's Redis");
        shared.broken.notified().await;
    }
}

pub(crate) async fn bounded<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, bullmq::Error>>,
) -> Result<T, QueueError> {
    match timeout(limit, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(QueueError::Redis(error)),
        Err(_) => Err(QueueError::Timeout(limit)),
    }
}

/// A job with its options, ready to be added.
struct Entry<'a> {
    job: &'a PendingJob,
    /// With the trace that the job is part of: the crate drops the option in which Node keeps it.
    payload: Cow<'a, Value>,
    options: JobOptions,
}

impl<'a> Entry<'a> {
    /// Checks what would be refused for good, so that one such job does not spoil a batch.
    fn new(job: &'a PendingJob, now: DateTime<Utc>) -> Result<(QueueName, Self), String> {
        let queue: QueueName = job.queue.parse().map_err(|e| format!("{e}"))?;
        if let Some(defect) = id_defect(&job.job_id) {
            return Err(defect.to_owned());
        }
        let mut options = queue.policy().job_options(&job.job_id);
        // A job that was due when it was written is not delayed, whatever our clock makes of the
        // database's: a delayed job is not among those that wait.
        if job.run_at > job.created_at
            && let Ok(delay) = (job.run_at - now).to_std()
            && delay >= Duration::from_millis(1)
        {
            options = options.delay(delay);
        }
        let mut payload = Cow::Borrowed(&job.payload);
        if let (Some(trace), Value::Object(_)) = (&job.trace_parent, &job.payload) {
            payload.to_mut()[TRACE_PARENT] = trace.as_str().into();
        }
        Ok((
            queue,
            Self {
                job,
                payload,
                options,
            },
        ))
    }
}

/// Adds jobs of one queue; an error when Redis did not answer.
async fn add(
    link: Link,
    name: QueueName,
    entries: &[(usize, Entry<'_>)],
) -> Result<Vec<(usize, Added)>, bullmq::Error> {
    let queue = link.queue(name);
    let bulk = entries
        .iter()
        .map(|(_, entry)| {
            BulkJob::with_options(&entry.job.job_name, &*entry.payload, entry.options.clone())
        })
        .collect();
    match queue.add_bulk(bulk).await {
        Ok(_) => {
            return Ok(entries
                .iter()
                .map(|(index, _)| (*index, Added::Taken))
                .collect());
        }
        Err(error) if !is_about_a_job(&error) => return Err(error),
        // One of them spoiled the batch; add each by itself to learn which.
        Err(_) => {}
    }
    let answers = join_all(entries.iter().map(async |(index, entry)| {
        let added = queue
            .add(&entry.job.job_name, &*entry.payload)
            .options(entry.options.clone())
            .await;
        (*index, added)
    }))
    .await;
    answers
        .into_iter()
        .map(|(index, added)| match added {
            Ok(_) => Ok((index, Added::Taken)),
            Err(bullmq::Error::InvalidConfig(reason)) => Ok((index, Added::Refused(reason))),
            Err(error) if is_about_a_job(&error) => Ok((index, Added::Failed(error.to_string()))),
            Err(error) => Err(error),
        })
        .collect()
}

/// Whether the error may concern one job only, rather than the connection or the whole server.
fn is_about_a_job(error: &bullmq::Error) -> bool {
    match error {
        bullmq::Error::Redis(error) => {
            let whole_server = [
                "LOADING",
                "MASTERDOWN",
                "MISCONF",
                "NOAUTH",
                "NOPERM",
                "OOM",
                "READONLY",
                "BUSY",
                "NOREPLICAS",
                "CLUSTERDOWN",
                "TRYAGAIN",
            ];
            error
                .code()
                .is_some_and(|code| !whole_server.contains(&code))
        }
        bullmq::Error::ConnectionClosed => false,
        _ => true,
    }
}
