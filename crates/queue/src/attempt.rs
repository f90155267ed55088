//! One attempt at a job, wherever the job is kept and whoever is told how it ended.

use std::{
    error::Error,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bharatmart_telemetry::{
    metrics::{JOB_DURATION_SECONDS, JOBS_IN_FLIGHT, JOBS_PROCESSED_TOTAL, JOBS_STALLED_TOTAL},
    trace,
};
use serde_json::Value;
use tokio::{
    task::JoinError,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{Instrument, Span};

use crate::{
    handlers::{Handlers, JobContext, JobError, JobResult},
    name::QueueName,
    policy::millis,
};

/// How long an abandoned handler may take to be dropped. Only one that blocks its thread needs any.
const DROP_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a job may take to be moved back to where it came from.
pub(crate) const HAND_BACK_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a job may be taken from a process that died before it fails. Whoever kills workers all day meets the same
/// job again and again, since it goes first when it is taken over; only one that kills its workers itself comes so far.
pub(crate) const MAX_STALLED: u32 = 25;

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

    pub(crate) fn count_released(&self) {
        self.released.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn count_abandoned(&self) {
        self.abandoned.fetch_add(1, Ordering::AcqRel);
    }
}

/// How an attempt ended.
pub(crate) enum Ending {
    Returned(JobResult),
    Panicked(String),
    TimedOut,
    LockLost,
    Released,
}

/// What is to become of the job.
pub(crate) enum Verdict {
    /// Done, with this result.
    Completed(Value),
    /// Given up: trying again would not help.
    Hopeless(String),
    /// To be tried again, unless that was the last attempt.
    Unsuccessful {
        outcome: &'static str,
        reason: String,
    },
    /// To be run again after this time, as if it had not been run.
    Postponed(Duration),
    /// Left alone: somebody else may have it.
    Lost,
    /// To be handed back as it was.
    Released,
}

/// Runs the handler in a task of its own, so that a panic, a blocked thread or a forgotten job ends there.
///
/// The attempt is given up after `limit`, when `release` fires, or when `lock_lost` returns.
pub(crate) async fn attend(
    handlers: &Handlers,
    context: JobContext,
    limit: Duration,
    release: &CancellationToken,
    lock_lost: impl Future<Output = ()>,
) -> Ending {
    let cancelled = context.cancelled.clone();
    let handlers = handlers.clone();
    // A task of its own is part of no trace unless it is told.
    let work = trace::scope(trace::current(), async move { handlers.run(context).await });
    let work = work.instrument(Span::current());
    let mut work = AbortOnDropHandle::new(tokio::spawn(work));
    let ending = tokio::select! {
        done = &mut work => return Ending::of(done),
        () = sleep(limit) => Ending::TimedOut,
        () = release.cancelled() => Ending::Released,
        () = lock_lost => Ending::LockLost,
    };
    cancelled.cancel();
    work.abort();
    match timeout(DROP_TIMEOUT, work).await {
        // It ended just now; what it did is done.
        Ok(Ok(result)) if !matches!(ending, Ending::LockLost) => Ending::Returned(result),
        Ok(_) => ending,
        Err(_) => {
            tracing::error!("the handler blocks its thread and goes on although it was given up");
            ending
        }
    }
}

/// Renews a job's lock with `renew`, which says whether it is still ours; returns when it is not.
pub(crate) async fn until_lost<E, Fut>(lock: Duration, renew: impl Fn() -> Fut)
where
    E: Error + 'static,
    Fut: Future<Output = Result<bool, E>>,
{
    let mut renewed = Instant::now();
    while renewed.elapsed() < lock {
        sleep(lock / 3).await;
        let asked = Instant::now();
        match timeout(lock / 3, renew()).await {
            Ok(Ok(true)) => renewed = asked,
            Ok(Ok(false)) => return,
            Ok(Err(error)) => tracing::warn!(
                error = &error as &dyn Error,
                "the job's lock could not be renewed"
            ),
            Err(_) => tracing::warn!("the job's lock was not renewed in time"),
        }
    }
}

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

    /// Logs and counts how attempt number `attempt` of `attempts` ended after `duration`, of which it had
    /// `limit`; what is to become of the job.
    pub(crate) fn judge(
        self,
        tally: &Tally,
        (attempt, attempts): (u32, u32),
        limit: Duration,
        duration: Duration,
    ) -> Verdict {
        let is_last = attempt >= attempts;
        let duration_ms = millis(duration);
        let (outcome, reason) = match self {
            Self::Returned(Ok(value)) => {
                tally.finished.fetch_add(1, Ordering::AcqRel);
                tracing::debug!(duration_ms, "job completed");
                return Verdict::Completed(value);
            }
            Self::Returned(Err(error @ JobError::Fail(_))) => {
                tally.finished.fetch_add(1, Ordering::AcqRel);
                tracing::error!(%error, duration_ms, "job failed for good");
                return Verdict::Hopeless(error.to_string());
            }
            Self::LockLost => {
                tally.count_abandoned();
                tracing::warn!("job given up: its lock was lost, so another worker may have it");
                return Verdict::Lost;
            }
            Self::Released => return Verdict::Released,
            Self::Returned(Err(JobError::Postpone(wait))) => {
                tracing::debug!(wait_ms = millis(wait), "job postponed");
                return Verdict::Postponed(wait);
            }
            Self::Returned(Err(error @ JobError::Retry(_))) => (
                if is_last { "failed" } else { "retried" },
                error.to_string(),
            ),
            Self::Panicked(message) => ("panic", format!("panic: {message}")),
            Self::TimedOut => ("timeout", format!("no result within {limit:?}")),
        };
        tally.finished.fetch_add(1, Ordering::AcqRel);
        if is_last {
            tracing::error!(
                error = reason,
                duration_ms,
                "job failed; no attempt is left"
            );
        } else {
            tracing::warn!(
                error = reason,
                duration_ms,
                attempts,
                "job failed; it will be tried again"
            );
        }
        Verdict::Unsuccessful { outcome, reason }
    }
}

/// Counts and tells that a job was taken over from processes that had it, `times` since that was last told.
pub(crate) fn tell_stalls(queue: QueueName, times: u64) {
    metrics::counter!(JOBS_STALLED_TOTAL, "queue" => queue.as_str()).increment(times);
    tracing::warn!(times, "job taken over: whoever had it died, or fell silent");
}

/// Counts an attempt that has ended.
pub(crate) fn measure(
    queue: QueueName,
    job: &'static str,
    outcome: &'static str,
    duration: Duration,
) {
    metrics::counter!(
        JOBS_PROCESSED_TOTAL,
        "queue" => queue.as_str(), "job" => job, "outcome" => outcome
    )
    .increment(1);
    metrics::histogram!(JOB_DURATION_SECONDS, "queue" => queue.as_str(), "job" => job)
        .record(duration.as_secs_f64());
}

/// Counts a job while it exists.
pub(crate) struct InFlight<'a> {
    tally: &'a Tally,
    queue: &'static str,
}

impl<'a> InFlight<'a> {
    pub(crate) fn enter(tally: &'a Tally, queue: &'static str) -> Self {
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
