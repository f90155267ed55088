//! One attempt at a job, from the moment that the crate hands it over until it is told the outcome.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, SystemTime},
};

use bharatmart_telemetry::{
    metrics::{JOB_DURATION_SECONDS, JOBS_IN_FLIGHT, JOBS_PROCESSED_TOTAL},
    trace::{self, TRACE_PARENT, TraceContext},
};
use bullmq::{Error, Job, QueueKeys, redis_connection::RedisConnection};
use serde_json::Value;
use tokio::{
    sync::OnceCell,
    task::JoinError,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{Instrument, Span, field};

use crate::{
    connection::Endpoint,
    handlers::{Handlers, JobContext, JobError, JobResult},
    policy::{Policy, millis},
    worker::WorkerOptions,
};

/// How long an abandoned handler may take to be dropped. Only one that blocks its thread needs any.
const DROP_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a job may take to be moved back to its queue.
const HAND_BACK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long it may take to write down how an attempt failed.
const NOTE_TIMEOUT: Duration = Duration::from_secs(1);
/// Where Node keeps how attempts failed, and how many of them are kept.
const STACK_TRACES: &str = "stacktrace";
const KEPT_TRACES: usize = 10;

/// Runs the jobs of one worker.
pub(crate) struct Runner {
    handlers: Handlers,
    options: WorkerOptions,
    endpoint: Endpoint,
    /// For what the crate does not write: opened with the first job that fails.
    connection: OnceCell<RedisConnection>,
    /// No job is begun any more; one that still arrives goes straight back.
    pub(crate) stopping: CancellationToken,
    /// Jobs that run are given up and go back.
    pub(crate) release: CancellationToken,
    /// What happened so far.
    pub(crate) tally: Tally,
}

/// Counts of jobs.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    in_flight: AtomicUsize,
    finished: AtomicUsize,
    released: AtomicUsize,
    abandoned: AtomicUsize,
}

impl Tally {
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    pub(crate) fn finished(&self) -> usize {
        self.finished.load(Ordering::Acquire)
    }

    pub(crate) fn released(&self) -> usize {
        self.released.load(Ordering::Acquire)
    }

    pub(crate) fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::Acquire)
    }
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
            // A retry that we arrange ourselves is not counted as made, only as started.
            None => Self {
                number: job.attempts_started().max(1),
                most: policy.attempts,
                by_policy: true,
            },
        }
    }

    const fn is_last(self) -> bool {
        self.number >= self.most
    }
}

/// How an attempt ended.
enum Ending {
    Returned(JobResult),
    Panicked(String),
    TimedOut,
    LockLost,
    Released,
}

impl Runner {
    pub(crate) fn new(handlers: Handlers, options: WorkerOptions, endpoint: Endpoint) -> Self {
        Self {
            handlers,
            options,
            endpoint,
            connection: OnceCell::new(),
            stopping: CancellationToken::new(),
            release: CancellationToken::new(),
            tally: Tally::default(),
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
        let trace = trace_of(&job);
        if let Some(trace) = trace {
            span.record("trace_id", trace.trace_id());
        }
        async {
            let started = Instant::now();
            let ending = if self.stopping.is_cancelled() {
                Ending::Released
            } else {
                self.attend(&job, attempt, trace).await
            };
            let duration = started.elapsed();
            let (outcome, answer) = self.conclude(&job, attempt, ending, duration).await;
            metrics::counter!(
                JOBS_PROCESSED_TOTAL,
                "queue" => queue.as_str(), "job" => name, "outcome" => outcome
            )
            .increment(1);
            metrics::histogram!(JOB_DURATION_SECONDS, "queue" => queue.as_str(), "job" => name)
                .record(duration.as_secs_f64());
            answer
        }
        .instrument(span)
        .await
    }

    /// Runs the handler in a task of its own, so that a panic, a blocked thread or a forgotten job ends there.
    async fn attend(&self, job: &Job, attempt: Attempt, trace: Option<TraceContext>) -> Ending {
        let context = JobContext {
            name: job.name().to_owned(),
            id: job.id().to_owned(),
            payload: job.data().clone(),
            attempt: attempt.number,
            attempts: attempt.most,
            cancelled: CancellationToken::new(),
        };
        let cancelled = context.cancelled.clone();
        let handlers = self.handlers.clone();
        let work = trace::scope(trace, async move { handlers.run(context).await });
        let work = work.instrument(Span::current());
        let mut work = AbortOnDropHandle::new(tokio::spawn(work));
        let ending = tokio::select! {
            done = &mut work => return Ending::of(done),
            () = sleep(self.options.job_timeout) => Ending::TimedOut,
            () = self.release.cancelled() => Ending::Released,
            () = self.lock_lost(job) => Ending::LockLost,
        };
        cancelled.cancel();
        work.abort();
        match timeout(DROP_TIMEOUT, work).await {
            // It ended just now; what it did is done.
            Ok(Ok(result)) if !matches!(ending, Ending::LockLost) => Ending::Returned(result),
            Ok(_) => ending,
            Err(_) => {
                tracing::error!(
                    "the handler blocks its thread and goes on although it was given up"
                );
                ending
            }
        }
    }

    /// Renews the job's lock; returns when it is no longer ours.
    async fn lock_lost(&self, job: &Job) {
        let lock = self.options.lock_duration;
        let token = job.token().unwrap_or_default();
        let mut renewed = Instant::now();
        while renewed.elapsed() < lock {
            sleep(lock / 3).await;
            let asked = Instant::now();
            match timeout(lock / 3, job.extend_lock(token, millis(lock))).await {
                Ok(Ok(())) => renewed = asked,
                Ok(Err(Error::JobLocked(_))) => return,
                Ok(Err(error)) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the job's lock could not be renewed"
                ),
                Err(_) => tracing::warn!("the job's lock was not renewed in time"),
            }
        }
    }

    /// Logs and counts how the attempt ended, and says what the crate is to do.
    async fn conclude(
        &self,
        job: &Job,
        attempt: Attempt,
        ending: Ending,
        duration: Duration,
    ) -> (&'static str, Result<Value, Error>) {
        let (outcome, reason) = match ending {
            Ending::Returned(Ok(value)) => {
                self.tally.finished.fetch_add(1, Ordering::AcqRel);
                tracing::debug!(duration_ms = millis(duration), "job completed");
                return ("completed", Ok(value));
            }
            Ending::Returned(Err(error @ JobError::Fail(_))) => {
                self.tally.finished.fetch_add(1, Ordering::AcqRel);
                tracing::error!(%error, duration_ms = millis(duration), "job failed for good");
                let reason = error.to_string();
                self.note_failure(job, attempt, &reason).await;
                return ("failed", Err(Error::Unrecoverable(reason)));
            }
            Ending::Returned(Err(JobError::Postpone(wait))) => {
                tracing::debug!(wait_ms = millis(wait), "job postponed");
                return ("postponed", Err(self.delay(job, wait).await));
            }
            Ending::LockLost => {
                self.tally.abandoned.fetch_add(1, Ordering::AcqRel);
                tracing::warn!("job given up: its lock was lost, so another worker may have it");
                return ("lost", Err(LEAVE_ALONE));
            }
            Ending::Released => return self.hand_back(job).await,
            Ending::Returned(Err(error @ JobError::Retry(_))) => (
                if attempt.is_last() {
                    "failed"
                } else {
                    "retried"
                },
                error.to_string(),
            ),
            Ending::Panicked(message) => ("panic", format!("panic: {message}")),
            Ending::TimedOut => (
                "timeout",
                format!("no result within {:?}", self.options.job_timeout),
            ),
        };
        self.tally.finished.fetch_add(1, Ordering::AcqRel);
        let duration_ms = millis(duration);
        if attempt.is_last() {
            tracing::error!(
                error = reason,
                duration_ms,
                "job failed; that was its last attempt"
            );
        } else {
            tracing::warn!(
                error = reason,
                duration_ms,
                attempts = attempt.most,
                "job failed; it will be tried again"
            );
        }
        self.note_failure(job, attempt, &reason).await;
        if attempt.by_policy && !attempt.is_last() {
            let wait = self.handlers.queue().policy().delay_after(attempt.number);
            return (outcome, Err(self.delay(job, wait).await));
        }
        (outcome, Err(Error::ProcessingError(reason)))
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
        let note = async {
            let open = || self.endpoint.open_connection();
            let connection = self.connection.get_or_try_init(open).await?;
            let keys = QueueKeys::new(queue.as_str(), Some(self.endpoint.prefix()));
            let key = keys.job_key(job.id());
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
        };
        match timeout(NOTE_TIMEOUT, note).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the failure was not added to the job's stack traces"
            ),
            Err(_) => {
                tracing::debug!("the failure was not added to the job's stack traces in time");
            }
        }
    }

    /// Puts the job back where the next worker takes it from; its attempts are as they were.
    async fn hand_back(&self, job: &Job) -> (&'static str, Result<Value, Error>) {
        let error = match timeout(HAND_BACK_TIMEOUT, job.move_to_wait(None)).await {
            Ok(Ok(_)) => {
                self.tally.released.fetch_add(1, Ordering::AcqRel);
                tracing::info!("job handed back: the worker stops");
                return ("released", Err(LEAVE_ALONE));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {HAND_BACK_TIMEOUT:?}"),
        };
        self.tally.abandoned.fetch_add(1, Ordering::AcqRel);
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

/// What the job is part of: a step of the trace that its producer sent along.
fn trace_of(job: &Job) -> Option<TraceContext> {
    let parent = job.data().get(TRACE_PARENT)?.as_str()?;
    TraceContext::parse(parent).map(TraceContext::next)
}

/// Tells the crate that the job is where it belongs, so that it touches nothing.
const LEAVE_ALONE: Error = Error::Delayed;

impl Ending {
    fn of(done: Result<JobResult, JoinError>) -> Self {
        match done {
            Ok(result) => Self::Returned(result),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => Self::Panicked(
                    panic
                        .downcast_ref::<&str>()
                        .map(ToString::to_string)
                        .or_else(|| panic.downcast_ref::<String>().cloned())
                        .unwrap_or_else(|| "without a message".to_owned()),
                ),
                // Only the runtime's own end cancels the task.
                Err(_) => Self::LockLost,
            },
        }
    }
}

/// Counts a job while it exists.
struct InFlight<'a> {
    tally: &'a Tally,
    queue: &'static str,
}

impl<'a> InFlight<'a> {
    fn enter(tally: &'a Tally, queue: &'static str) -> Self {
        tally.in_flight.fetch_add(1, Ordering::AcqRel);
        metrics::gauge!(JOBS_IN_FLIGHT, "queue" => queue).increment(1.0);
        Self { tally, queue }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.tally.in_flight.fetch_sub(1, Ordering::AcqRel);
        metrics::gauge!(JOBS_IN_FLIGHT, "queue" => self.queue).decrement(1.0);
    }
}
