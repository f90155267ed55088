//! Carries committed outbox rows to the queues.
//!
//! Any number of relays may run, in any processes: a row is locked while it is carried, and carrying it
//! twice adds one job.

use std::{sync::Arc, time::Duration};

use bharatmart_breaker::Backoff;
use bharatmart_database::{Database, Freshness, outbox};
use bharatmart_domain::Clock;
use bharatmart_telemetry::metrics::{
    OUTBOX_DISPATCHED_TOTAL, OUTBOX_FAILED_TOTAL, OUTBOX_OLDEST_SECONDS, OUTBOX_PENDING,
    RETRY_ATTEMPTS_TOTAL, dependency,
};
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::producer::{Added, JobQueues, QueueError};

/// The most rows in one transaction.
const BATCH: i64 = 500;
/// How long to wait after a notification, so that orders that are placed together travel together.
const LINGER: Duration = Duration::from_millis(10);
/// How often to look for rows that nobody notified about: those of processes that died.
const SWEEP: Duration = Duration::from_secs(1);
/// How often to look whether an open breaker lets a probe through.
const BREAKER_POLL: Duration = Duration::from_millis(200);
/// Waits after failures.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How often the backlog is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// How often the queue's Redis is asked whether it still knows our jobs, and how many rows are looked at in one
/// statement when it does not.
const RECOVER_EVERY: Duration = Duration::from_secs(2);
const REOPEN_BATCH: i64 = 100_000;
/// How long carried rows are kept, and how they are removed.
const KEEP: chrono::TimeDelta = chrono::TimeDelta::days(7);
pub(crate) const CLEAN_EVERY: Duration = Duration::from_mins(10);
const CLEAN_BATCH: i64 = 1000;

/// Carries rows until it is told to stop.
pub struct Relay {
    database: Database,
    queues: JobQueues,
    clock: Arc<dyn Clock>,
    wake: Arc<Notify>,
}

/// Tells a [`Relay`] that there is something to carry; cheap to clone.
#[derive(Clone, Debug)]
pub struct RelayHandle {
    wake: Arc<Notify>,
}

impl RelayHandle {
    pub(crate) const fn new(wake: Arc<Notify>) -> Self {
        Self { wake }
    }

    /// Tells nobody. Relays find what there is by themselves, some time later.
    #[must_use]
    pub fn detached() -> Self {
        Self::new(Arc::default())
    }

    /// To be called right after a commit. Does not wait; many calls are as good as one.
    pub fn notify(&self) {
        self.wake.notify_one();
    }
}

/// Why a batch was not carried. Nothing is lost: its rows are as they were.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("the outbox cannot be read or marked")]
    Database(#[from] bharatmart_database::Error),
    #[error("the queue does not take jobs")]
    Queue(#[from] QueueError),
    #[error("the queue answered to every job with an error, the first with {0}")]
    EveryJob(String),
}

impl RelayError {
    /// Whose failure it is, for the metrics.
    const fn dependency(&self) -> &'static str {
        match self {
            Self::Database(_) => dependency::DATABASE,
            Self::Queue(_) | Self::EveryJob(_) => dependency::QUEUE,
        }
    }
}

impl Relay {
    /// A relay and the handle that wakes it. Nothing happens before [`Relay::run`].
    #[must_use]
    pub fn new(
        database: Database,
        queues: JobQueues,
        clock: Arc<dyn Clock>,
    ) -> (Self, RelayHandle) {
        let wake = Arc::new(Notify::new());
        let handle = RelayHandle {
            wake: Arc::clone(&wake),
        };
        (
            Self {
                database,
                queues,
                clock,
                wake,
            },
            handle,
        )
    }

    /// Carries rows until `stop` fires, then finishes the batch in hand.
    pub async fn run(self, stop: CancellationToken) {
        // Chores can take long, and no job is to wait for them.
        tokio::join!(self.carry_all(&stop), self.do_chores(&stop));
    }

    async fn carry_all(&self, stop: &CancellationToken) {
        let mut trouble = Trouble::new();
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.wake.notified() => sleep(LINGER).await,
                () = sleep(SWEEP.mul_f64(rand::random_range(0.8..=1.2))) => {}
            }
            if !self.queues.would_try() {
                stop.run_until_cancelled(sleep(BREAKER_POLL)).await;
                continue;
            }
            if let Some(wait) = trouble.after(&self.carry(stop).await) {
                stop.run_until_cancelled(sleep(wait)).await;
            }
        }
    }

    /// Also while the queue's Redis is away: that is when the backlog is worth knowing.
    async fn do_chores(&self, stop: &CancellationToken) {
        let mut chores = Chores::new();
        let mut ticks = interval(SWEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let run = Box::pin(chores.run(self, stop));
            stop.run_until_cancelled(run).await;
        }
    }

    /// Carries batches until none is left.
    async fn carry(&self, stop: &CancellationToken) -> Result<(), RelayError> {
        while self.carry_batch().await? && !stop.is_cancelled() {}
        Ok(())
    }

    /// Carries one batch; whether there may be more.
    async fn carry_batch(&self) -> Result<bool, RelayError> {
        let mut transaction = self.database.begin().await?;
        let rows = outbox::claim(&mut transaction, BATCH).await?;
        if rows.is_empty() {
            transaction.rollback().await?;
            return Ok(false);
        }
        let outcomes = self.queues.add_batch(&rows).await?;
        let mut carried = Vec::with_capacity(rows.len());
        let (mut taken, mut refused, mut failure) = (0, 0, None);
        for (row, outcome) in rows.iter().zip(outcomes) {
            match outcome {
                Added::Taken => {
                    taken += 1;
                    carried.push(row.id);
                }
                // Put aside, or it would be first in every batch to come.
                Added::Refused(reason) => {
                    metrics::counter!(OUTBOX_FAILED_TOTAL).increment(1);
                    tracing::error!(
                        outbox.id = row.id,
                        queue = row.queue,
                        job.name = row.job_name,
                        job.id = row.job_id,
                        reason,
                        "outbox row put aside: the queue will never take it"
                    );
                    outbox::refuse(&mut transaction, row.id, &reason).await?;
                    refused += 1;
                }
                Added::Failed(reason) => {
                    metrics::counter!(OUTBOX_FAILED_TOTAL).increment(1);
                    tracing::error!(
                        outbox.id = row.id,
                        queue = row.queue,
                        job.name = row.job_name,
                        job.id = row.job_id,
                        reason,
                        "outbox row left for later: the queue answered with an error"
                    );
                    failure.get_or_insert(reason);
                }
            }
        }
        if let (0, Some(reason)) = (carried.len() + refused, failure) {
            return Err(RelayError::EveryJob(reason));
        }
        outbox::mark_dispatched(&mut transaction, &carried).await?;
        transaction.commit().await?;
        metrics::counter!(OUTBOX_DISPATCHED_TOTAL).increment(taken);
        Ok(i64::try_from(rows.len()).is_ok_and(|rows| rows >= BATCH))
    }

    /// Finds out whether the queue's Redis is one that knows our jobs. One that does not is new, or has lost them:
    /// what is not done yet is carried to it again.
    async fn recover(&self) -> Result<(), RelayError> {
        if !self.queues.begin_recovery().await? {
            return Ok(());
        }
        let mut connection = self.database.write().await?;
        let mut reopened = 0;
        if let Some((mut first, last)) = outbox::bounds(&mut connection).await? {
            while first <= last {
                let until = first + REOPEN_BATCH - 1;
                reopened += outbox::reopen(&mut connection, first, until).await?;
                first = until + 1;
            }
        }
        drop(connection);
        self.queues.end_recovery().await?;
        if reopened > 0 {
            tracing::warn!(
                jobs = reopened,
                "the queue's Redis does not know our jobs; those that are not done are carried to it again"
            );
        }
        self.wake.notify_one();
        Ok(())
    }

    async fn measure(&self) -> Result<(), bharatmart_database::Error> {
        let mut connection = self.database.read(Freshness::Latest).await?;
        let backlog = outbox::backlog(&mut connection).await?;
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
        metrics::gauge!(OUTBOX_PENDING).set(backlog.pending as f64);
        metrics::gauge!(OUTBOX_OLDEST_SECONDS).set(backlog.oldest_seconds);
        Ok(())
    }
}

/// Removes rows that were carried long ago, in batches that hold no lock for long.
pub(crate) async fn clean(
    database: &Database,
    clock: &dyn Clock,
    stop: &CancellationToken,
) -> Result<(), bharatmart_database::Error> {
    let before = clock.now() - KEEP;
    let mut connection = database.write().await?;
    let mut removed = 0;
    while !stop.is_cancelled() {
        let batch = outbox::delete_dispatched_before(&mut connection, before, CLEAN_BATCH).await?;
        removed += batch;
        if batch == 0 {
            break;
        }
    }
    if removed > 0 {
        tracing::info!(rows = removed, "removed old outbox rows");
    }
    Ok(())
}

/// How long failures last: logs the first and the recovery, not each one.
struct Trouble {
    delay: Backoff,
    failing: bool,
}

impl Trouble {
    const fn new() -> Self {
        Self {
            delay: Backoff::jittered(FIRST_WAIT, LONGEST_WAIT),
            failing: false,
        }
    }

    /// How long to wait after this result.
    fn after(&mut self, result: &Result<(), RelayError>) -> Option<Duration> {
        match result {
            Ok(()) => {
                if self.failing {
                    tracing::info!("the outbox relay carries jobs again");
                }
                self.failing = false;
                self.delay.reset();
                None
            }
            Err(error) => {
                metrics::counter!(RETRY_ATTEMPTS_TOTAL, "dependency" => error.dependency())
                    .increment(1);
                if !self.failing {
                    tracing::warn!(
                        error = error as &dyn std::error::Error,
                        "the outbox relay cannot carry jobs; they wait in the outbox"
                    );
                }
                self.failing = true;
                Some(self.delay.advance())
            }
        }
    }
}

/// What is done now and then.
struct Chores {
    measure: Instant,
    recover: Instant,
    clean: Instant,
}

impl Chores {
    fn new() -> Self {
        let now = Instant::now();
        // Not all processes at once, and not while they start.
        let first_clean = CLEAN_EVERY.mul_f64(rand::random_range(0.1..=1.0));
        Self {
            measure: now,
            recover: now,
            clean: now + first_clean,
        }
    }

    async fn run(&mut self, relay: &Relay, stop: &CancellationToken) {
        let now = Instant::now();
        if now >= self.measure {
            self.measure = now + MEASURE_EVERY;
            if let Err(error) = relay.measure().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the outbox cannot be measured"
                );
            }
        }
        if now >= self.recover && relay.queues.would_try() {
            self.recover = now + RECOVER_EVERY;
            if let Err(error) = relay.recover().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "whether the queue's Redis knows our jobs is not known"
                );
            }
        }
        if now >= self.clean {
            self.clean = now + CLEAN_EVERY;
            if let Err(error) = clean(&relay.database, &*relay.clock, stop).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "old outbox rows cannot be removed"
                );
            }
        }
    }
}
