//! One attempt at a job, from the moment that the crate hands it over until it is told the outcome.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bharatmart_telemetry::trace::{self, TRACE_PARENT, TraceContext};
use bullmq::{Error, Job, QueueKeys, redis_connection::RedisConnection};
use serde_json::Value;
use tokio::{
    sync::OnceCell,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, field};

use crate::{
    attempt::{self, Ending, HAND_BACK_TIMEOUT, InFlight, Tally, Verdict},
    connection::Endpoint,
    handlers::{Handlers, JobContext},
    policy::{Policy, millis},
    producer::{QueueError, bounded},
    worker::WorkerOptions,
};

/// How long such a note may take.
const NOTE_TIMEOUT: Duration = Duration::from_secs(1);
/// Where Node keeps how attempts failed, and how many of them are kept.
const STACK_TRACES: &str = "stacktrace";
const KEPT_TRACES: usize = 10;
/// Where BullMQ counts how often a job was taken from a dead worker, and where we keep what of that was told.
const STALLS: &str = "stc";
/// Where it counts attempts that have ended.
const ATTEMPTS_MADE: &str = "atm";
const TOLD_STALLS: &str = "bharatmart-stalls";

/// Runs the jobs that come over one connection of a worker.
pub(crate) struct Runner {
    handlers: Handlers,
    options: WorkerOptions,
    endpoint: Endpoint,
    /// For what the crate does not write: opened with the first job that needs it.
    connection: OnceCell<RedisConnection>,
    /// No job is begun any more; one that still arrives goes straight back.
    pub(crate) stopping: CancellationToken,
    /// Jobs that run are given up and go back.
    pub(crate) release: CancellationToken,
    /// What happened so far.
    pub(crate) tally: Arc<Tally>,
}

/// Which attempt this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attempt {
    number: u32,
    most: u32,
    /// The job's own number of attempts is missing, or was lost because the crate drops options that it
    /// cannot read; the queue's policy stands in, and the crate would not try again by itself.
    by_policy: bool,
}

impl Attempt {
    fn of(job: &Job, policy: &Policy) -> Self {
        match job.opts().attempts {
            Some(most) => Self {
                number: job.attempts_made() + 1,
                most: most.max(1),
                by_policy: false,
            },
            None => Self {
                number: job.attempts_made() + 1,
                most: policy.attempts,
                by_policy: true,
            },
        }
    }

    const fn is_last(self) -> bool {
        self.number >= self.most
    }
}

impl Runner {
    pub(crate) fn new(
        handlers: Handlers,
        options: WorkerOptions,
        endpoint: Endpoint,
        release: CancellationToken,
        tally: Arc<Tally>,
    ) -> Self {
        Self {
            handlers,
            options,
            endpoint,
            connection: OnceCell::new(),
            stopping: CancellationToken::new(),
            release,
            tally,
        }
    }

    /// Runs an attempt; the answer is for the crate.
    pub(crate) async fn run(&self, job: Job) -> Result<Value, Error> {
        let queue = self.handlers.queue();
        let name = self.handlers.known_name(job.name()).unwrap_or("unknown");
        let attempt = Attempt::of(&job, &queue.policy());
        let _in_flight = InFlight::enter(&self.tally, queue.as_str());
        let span = tracing::info_span!(
            "job",
            queue = queue.as_str(),
            job.name = name,
            job.id = job.id(),
            attempt = attempt.number,
            trace_id = field::Empty,
        );
        let trace = trace::place(&span, trace_of(&job));
        if let Some(trace) = trace {
            span.record("trace_id", trace.trace_id());
        }
        async {
            let started = Instant::now();
            // More starts than ends: taken over, or put off without an end.
            if job.attempts_started() > job.attempts_made() + 1 {
                self.note_stalls(&job).await;
            }
            let ending = if self.stopping.is_cancelled() {
                Ending::Released
            } else {
                trace::scope(trace, self.attend(&job, attempt)).await
            };
            let duration = started.elapsed();
            let (outcome, answer) = self.conclude(&job, attempt, ending, duration).await;
            attempt::measure(queue, name, outcome, duration);
            answer
        }
        .instrument(span)
        .await
    }

    /// Runs the handler as long as the job's lock is ours.
    async fn attend(&self, job: &Job, attempt: Attempt) -> Ending {
        let context = JobContext {
            name: job.name().to_owned(),
            id: job.id().to_owned(),
            payload: job.data().clone(),
            attempt: attempt.number,
            attempts: attempt.most,
            deadline: Instant::now() + self.options.job_timeout,
            cancelled: CancellationToken::new(),
        };
        let lock = self.options.lock_duration;
        let token = job.token().unwrap_or_default();
        let renew = || async move {
            match job.extend_lock(token, millis(lock)).await {
                Ok(()) => Ok(true),
                Err(Error::JobLocked(_)) => Ok(false),
                Err(error) => Err(error),
            }
        };
        let lock_lost = attempt::until_lost(lock, renew);
        let limit = self.options.job_timeout;
        attempt::attend(&self.handlers, context, limit, &self.release, lock_lost).await
    }

    /// Logs and counts how the attempt ended, and says what the crate is to do.
    async fn conclude(
        &self,
        job: &Job,
        attempt: Attempt,
        ending: Ending,
        duration: Duration,
    ) -> (&'static str, Result<Value, Error>) {
        let attempts = (attempt.number, attempt.most);
        match ending.judge(&self.tally, attempts, self.options.job_timeout, duration) {
            Verdict::Completed(value) => ("completed", Ok(value)),
            Verdict::Hopeless(reason) => {
                self.note_failure(job, attempt, &reason).await;
                ("failed", Err(Error::Unrecoverable(reason)))
            }
            Verdict::Lost => ("lost", Err(LEAVE_ALONE)),
            Verdict::Released => self.hand_back(job).await,
            Verdict::Postponed(wait) => ("postponed", Err(self.delay(job, wait).await)),
            Verdict::Unsuccessful { outcome, reason } => {
                self.note_failure(job, attempt, &reason).await;
                if attempt.by_policy && !attempt.is_last() {
                    self.count_attempt(job).await;
                    let wait = self.handlers.queue().policy().delay_after(attempt.number);
                    return (outcome, Err(self.delay(job, wait).await));
                }
                (outcome, Err(Error::ProcessingError(reason)))
            }
        }
    }

    /// Adds the failure to the job's stack traces, which the crate leaves empty: they are what dashboards show of
    /// each attempt. Nothing depends on them.
    async fn note_failure(&self, job: &Job, attempt: Attempt, reason: &str) {
        let queue = self.handlers.queue();
        let trace = format!(
            "Error: {reason}\n    at attempt {} of {} at {} {} ({queue})",
            attempt.number,
            attempt.most,
            job.name(),
            job.id()
        );
        let noted = self.note(job, async |connection, key| {
            let mut ask = redis::cmd("HGET");
            let noted: Option<String> = connection.cmd(ask.arg(&key).arg(STACK_TRACES)).await?;
            let mut traces: Vec<String> = noted
                .and_then(|noted| serde_json::from_str(&noted).ok())
                .unwrap_or_default();
            traces.push(trace);
            let first = traces.len().saturating_sub(KEPT_TRACES);
            let kept = serde_json::json!(traces[first..]).to_string();
            let mut note = redis::cmd("HSET");
            connection
                .cmd::<()>(note.arg(&key).arg(STACK_TRACES).arg(kept))
                .await
        });
        if let Err(error) = noted.await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the failure was not added to the job's stack traces"
            );
        }
    }

    /// Counts an attempt after which we arrange the next one ourselves, which BullMQ takes for none.
    async fn count_attempt(&self, job: &Job) {
        let counted = self.note(job, async |connection, key| {
            let mut count = redis::cmd("HINCRBY");
            connection
                .cmd::<()>(count.arg(&key).arg(ATTEMPTS_MADE).arg(1))
                .await
        });
        if let Err(error) = counted.await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the attempt was not counted, so there may be one more"
            );
        }
    }

    /// Counts how often the job was taken from dead workers since that was last counted. The crate has an event for
    /// that, but never sends it.
    async fn note_stalls(&self, job: &Job) {
        let noted = self.note(job, async |connection, key| {
            let mut ask = redis::cmd("HMGET");
            let ask = ask.arg(&key).arg(STALLS).arg(TOLD_STALLS);
            let (stalls, told): (Option<u64>, Option<u64>) = connection.cmd(ask).await?;
            let stalls = stalls.unwrap_or(0);
            let news = stalls.saturating_sub(told.unwrap_or(0));
            if news > 0 {
                let mut note = redis::cmd("HSET");
                connection
                    .cmd::<()>(note.arg(&key).arg(TOLD_STALLS).arg(stalls))
                    .await?;
            }
            Ok(news)
        });
        match noted.await {
            Ok(0) => {}
            Ok(news) => attempt::tell_stalls(self.handlers.queue(), news),
            Err(error) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "whether the job was taken from a dead worker is not known"
            ),
        }
    }

    /// Reads and writes what the crate leaves out of a job, under the job's key.
    async fn note<T>(
        &self,
        job: &Job,
        note: impl AsyncFnOnce(&RedisConnection, String) -> Result<T, Error>,
    ) -> Result<T, QueueError> {
        let queue = self.handlers.queue();
        bounded(NOTE_TIMEOUT, async {
            let open = || self.endpoint.open_connection();
            let connection = self.connection.get_or_try_init(open).await?;
            let keys = QueueKeys::new(queue.as_str(), Some(self.endpoint.prefix()));
            note(connection, keys.job_key(job.id())).await
        })
        .await
    }

    /// Puts the job back where the next worker takes it from; its attempts are as they were.
    async fn hand_back(&self, job: &Job) -> (&'static str, Result<Value, Error>) {
        let error = match timeout(HAND_BACK_TIMEOUT, job.move_to_wait(None)).await {
            Ok(Ok(_)) => {
                self.tally.count_released();
                tracing::info!("job handed back: the worker stops");
                return ("released", Err(LEAVE_ALONE));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {HAND_BACK_TIMEOUT:?}"),
        };
        self.tally.count_abandoned();
        tracing::warn!(
            error,
            "job could not be handed back; another worker takes it when its lock has expired"
        );
        ("lost", Err(LEAVE_ALONE))
    }

    /// Arranges another attempt that the crate would not make.
    async fn delay(&self, job: &Job, wait: Duration) -> Error {
        // The crate takes a point in time and subtracts the system's; a clock of ours would disagree.
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        if let Err(error) = job.move_to_delayed(millis(now + wait)).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the next attempt could not be arranged; it starts when the job's lock has expired"
            );
        }
        LEAVE_ALONE
    }
}

/// What the job is part of: the position that its producer sent along.
fn trace_of(job: &Job) -> Option<TraceContext> {
    let parent = job.data().get(TRACE_PARENT)?.as_str()?;
    TraceContext::parse(parent)
}

/// Tells the crate that the job is where it belongs, so that it touches nothing.
const LEAVE_ALONE: Error = Error::Delayed;
