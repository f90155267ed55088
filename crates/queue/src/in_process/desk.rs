//! Where the jobs of one queue are done.

use std::{future::pending, sync::Arc, time::Duration};

use bharatmart_config::InProcessConfig;
use bharatmart_database::{
    self as database, Database,
    worklist::{self, LeasedJob},
};
use bharatmart_domain::Clock;
use bharatmart_telemetry::trace::{self, TraceContext};
use serde_json::json;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, field};
use uuid::Uuid;

use crate::{
    attempt::{self, Ending, HAND_BACK_TIMEOUT, InFlight, MAX_STALLED, Tally, Verdict},
    handlers::{Handlers, JobContext},
    name::QueueName,
    schedules::{Repeat, Schedule},
};

/// The wait before what became of a job is written again.
const RECORD_AGAIN: Duration = Duration::from_millis(200);

/// What the jobs of one queue share.
pub(super) struct Desk {
    pub(super) database: Database,
    pub(super) config: InProcessConfig,
    pub(super) handlers: Handlers,
    /// As many as jobs may run at a time.
    pub(super) places: Arc<Semaphore>,
    pub(super) tally: Arc<Tally>,
    pub(super) give_back: CancellationToken,
}

/// What is written of a job when it leaves its desk.
enum Record<'a> {
    Done,
    PutOff { attempts: i32, delay: Duration },
    Failed { attempts: i32, reason: &'a str },
    HandedBack,
}

impl Record<'_> {
    /// Whether the job was still ours.
    async fn write(&self, database: &Database, job: i64, lease: Uuid) -> database::Result<bool> {
        let mut connection = database.write().await?;
        let connection = &mut connection;
        match *self {
            Self::Done => worklist::complete(connection, job, lease).await,
            Self::PutOff { attempts, delay } => {
                worklist::put_off(connection, job, lease, attempts, delay).await
            }
            Self::Failed { attempts, reason } => {
                worklist::fail(connection, job, lease, attempts, reason).await
            }
            Self::HandedBack => worklist::release(connection, job, lease).await,
        }
    }
}

impl Desk {
    pub(super) const fn queue(&self) -> QueueName {
        self.handlers.queue()
    }

    /// Does a job whenever its time comes.
    pub(super) async fn keep(&self, schedule: &Schedule, clock: &dyn Clock) {
        let mut wait = match schedule.repeat {
            Repeat::Every(_) => Some(Duration::ZERO),
            Repeat::Cron { .. } => schedule.repeat.wait_from(clock.now()),
        };
        while let Some(time) = wait {
            sleep(time).await;
            self.fire(schedule.job).await;
            wait = schedule.repeat.wait_from(clock.now());
        }
    }

    /// Does a job that has come by the clock: once, for it comes again.
    async fn fire(&self, job: &'static str) {
        let queue = self.queue();
        // Never closed, so that there is one in the end.
        let _place = self.places.acquire().await;
        let _in_flight = InFlight::enter(&self.tally, queue.as_str());
        let context = JobContext {
            name: job.to_owned(),
            id: job.to_owned(),
            payload: json!({}),
            attempt: 1,
            attempts: 1,
            deadline: Instant::now() + self.config.job_timeout,
            cancelled: CancellationToken::new(),
        };
        let span = tracing::info_span!("job", queue = queue.as_str(), job.name = job, attempt = 1);
        async {
            let started = Instant::now();
            let limit = self.config.job_timeout;
            let nothing_to_lose = pending();
            let ending = attempt::attend(
                &self.handlers,
                context,
                limit,
                &self.give_back,
                nothing_to_lose,
            );
            let ending = ending.await;
            let duration = started.elapsed();
            let outcome = match ending.judge(&self.tally, (1, 1), limit, duration) {
                Verdict::Completed(_) => "completed",
                Verdict::Unsuccessful { outcome, .. } => outcome,
                Verdict::Postponed(_) => "postponed",
                Verdict::Hopeless(_) => "failed",
                Verdict::Lost | Verdict::Released => "lost",
            };
            attempt::measure(queue, job, outcome, duration);
        }
        .instrument(span)
        .await;
    }

    /// Makes one attempt at a job, and writes what became of it.
    pub(super) async fn work(&self, job: &LeasedJob, lease: Uuid) {
        let queue = self.queue();
        let name = self.handlers.known_name(&job.job_name).unwrap_or("unknown");
        let attempt = job.attempts.unsigned_abs().saturating_add(1);
        let _in_flight = InFlight::enter(&self.tally, queue.as_str());
        let span = tracing::info_span!(
            "job",
            queue = queue.as_str(),
            job.name = name,
            job.id = job.job_id,
            attempt,
            trace_id = field::Empty,
        );
        let parent = job.trace_parent.as_deref().and_then(TraceContext::parse);
        let trace = trace::place(&span, parent);
        if let Some(trace) = trace {
            span.record("trace_id", trace.trace_id());
        }
        async {
            let started = Instant::now();
            if job.is_taken_over {
                attempt::tell_stalls(queue, 1);
            }
            let outcome = if job.stalls.unsigned_abs() > MAX_STALLED {
                self.give_up_on(job, lease).await
            } else {
                let ending = trace::scope(trace, self.attend(job, lease, attempt)).await;
                self.conclude(job, lease, attempt, ending, started.elapsed())
                    .await
            };
            attempt::measure(queue, name, outcome, started.elapsed());
        }
        .instrument(span)
        .await;
    }

    /// Runs the handler as long as the lease is ours.
    async fn attend(&self, job: &LeasedJob, lease: Uuid, attempt: u32) -> Ending {
        let context = JobContext {
            name: job.job_name.clone(),
            id: job.job_id.clone(),
            payload: job.payload.clone(),
            attempt,
            attempts: self.queue().policy().attempts,
            deadline: Instant::now() + self.config.job_timeout,
            cancelled: CancellationToken::new(),
        };
        let duration = self.config.lock_duration;
        let renew = || async {
            let mut connection = self.database.write().await?;
            worklist::renew(&mut connection, job.id, lease, duration).await
        };
        let lease_lost = attempt::until_lost(duration, renew);
        let limit = self.config.job_timeout;
        attempt::attend(&self.handlers, context, limit, &self.give_back, lease_lost).await
    }

    /// Writes what became of the job; how the attempt is counted.
    async fn conclude(
        &self,
        job: &LeasedJob,
        lease: Uuid,
        attempt: u32,
        ending: Ending,
        duration: Duration,
    ) -> &'static str {
        let policy = self.queue().policy();
        let limit = self.config.job_timeout;
        let verdict = ending.judge(&self.tally, (attempt, policy.attempts), limit, duration);
        let attempts = job.attempts.saturating_add(1);
        let (outcome, record) = match &verdict {
            Verdict::Completed(_) => ("completed", Record::Done),
            Verdict::Hopeless(reason) => ("failed", Record::Failed { attempts, reason }),
            Verdict::Postponed(delay) => {
                let (attempts, delay) = (job.attempts, *delay);
                ("postponed", Record::PutOff { attempts, delay })
            }
            Verdict::Unsuccessful { outcome, reason } if attempt >= policy.attempts => {
                (*outcome, Record::Failed { attempts, reason })
            }
            Verdict::Unsuccessful { outcome, .. } => {
                let delay = policy.delay_after(attempt);
                (*outcome, Record::PutOff { attempts, delay })
            }
            Verdict::Lost => return "lost",
            Verdict::Released => return self.hand_back(job, lease).await,
        };
        if self.record(job, lease, &record).await {
            outcome
        } else {
            "lost"
        }
    }

    /// Fails a job that has ended those who did it too often.
    async fn give_up_on(&self, job: &LeasedJob, lease: Uuid) -> &'static str {
        let reason = "whoever did it died, or fell silent, too often";
        tracing::error!(stalls = job.stalls, "job failed for good: {reason}");
        let attempts = job.attempts;
        self.record(job, lease, &Record::Failed { attempts, reason })
            .await;
        "failed"
    }

    /// Writes until it is written, or nobody waits for it any more; whether it was.
    async fn record(&self, job: &LeasedJob, lease: Uuid, record: &Record<'_>) -> bool {
        let deadline = Instant::now() + self.config.lock_duration;
        loop {
            match record.write(&self.database, job.id, lease).await {
                Ok(true) => return true,
                Ok(false) => {
                    tracing::warn!("the lease had ended, so another process may have the job");
                    return false;
                }
                Err(error) if self.give_back.is_cancelled() || Instant::now() >= deadline => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "what became of the job could not be written; it is done again"
                    );
                    return false;
                }
                Err(_) => sleep(RECORD_AGAIN).await,
            }
        }
    }

    /// Leaves the job to whoever takes it next; its attempts are as they were.
    async fn hand_back(&self, job: &LeasedJob, lease: Uuid) -> &'static str {
        let written = Record::HandedBack.write(&self.database, job.id, lease);
        if let Ok(Ok(true)) = timeout(HAND_BACK_TIMEOUT, written).await {
            self.tally.count_released();
            tracing::info!("job handed back: the process stops");
            return "released";
        }
        self.tally.count_abandoned();
        tracing::warn!(
            "job could not be handed back; another process takes it when the lease has ended"
        );
        "lost"
    }
}
