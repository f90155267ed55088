//! Does the jobs of the outbox in the process that writes them, with PostgreSQL alone.
//!
//! Any number of processes may share the work: a job is leased for as long as somebody does it, and free
//! again when that somebody dies. Nothing but the lease is held meanwhile, neither a transaction nor a
//! connection. Attempts, waits and time limits are those of [`crate::QueueWorker`].

use std::{future::pending, sync::Arc, time::Duration};

use bharatmart_config::InProcessConfig;
use bharatmart_database::{
    self as database, Database, Freshness,
    worklist::{self, LeasedJob},
};
use bharatmart_domain::Clock;
use bharatmart_telemetry::{
    metrics::{
        QUEUE_BACKLOG, QUEUE_DEPTH, QUEUE_OLDEST_WAITING_SECONDS, RETRY_ATTEMPTS_TOTAL, dependency,
    },
    trace::{self, TraceContext},
};
use futures_util::future::join_all;
use serde_json::json;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, field};
use uuid::Uuid;

use crate::{
    attempt::{self, Ending, HAND_BACK_TIMEOUT, InFlight, MAX_STALLED, Tally, Verdict},
    handlers::{Handlers, JobContext},
    name::QueueName,
    producer::Counts,
    relay::{CLEAN_EVERY, RelayHandle, clean},
    schedules::{Repeat, SCHEDULES, Schedule},
    worker::Shutdown,
};

/// How often to look for jobs that nobody notified about: those whose time has come, and those of
/// processes that died.
const SWEEP: Duration = Duration::from_secs(1);
/// How often the queues are measured.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// How often to look for jobs of queues that do not exist, and how many to give up at a time.
const STRAYS_EVERY: Duration = Duration::from_mins(1);
const STRAYS: i64 = 100;
/// The wait before what became of a job is written again.
const RECORD_AGAIN: Duration = Duration::from_millis(200);

/// Does the jobs of the outbox until it is told to stop.
pub struct OutboxWorker {
    database: Database,
    config: InProcessConfig,
    clock: Arc<dyn Clock>,
    wake: Arc<Notify>,
}

/// What the jobs of one queue share.
struct Desk {
    database: Database,
    config: InProcessConfig,
    handlers: Handlers,
    /// As many as jobs may run at a time.
    places: Arc<Semaphore>,
    tally: Arc<Tally>,
    give_back: CancellationToken,
}

impl OutboxWorker {
    /// A worker, and the handle that wakes it. Nothing happens before [`OutboxWorker::run`].
    #[must_use]
    pub fn new(
        database: Database,
        config: InProcessConfig,
        clock: Arc<dyn Clock>,
    ) -> (Self, RelayHandle) {
        let wake = Arc::new(Notify::new());
        let handle = RelayHandle::new(Arc::clone(&wake));
        let worker = Self {
            database,
            config,
            clock,
            wake,
        };
        (worker, handle)
    }

    /// Does the jobs that `handlers` are for. When `stop` fires, no further one is begun; those that still run
    /// when `give_back` fires are handed back as they were. Returns when none is left.
    pub async fn run(
        self,
        handlers: Vec<Handlers>,
        stop: CancellationToken,
        give_back: CancellationToken,
    ) -> Shutdown {
        let tally = Arc::new(Tally::default());
        let desks: Vec<_> = handlers
            .into_iter()
            .map(|handlers| {
                Arc::new(Desk {
                    database: self.database.clone(),
                    config: self.config,
                    handlers,
                    places: Arc::new(Semaphore::new(self.config.concurrency)),
                    tally: Arc::clone(&tally),
                    give_back: give_back.clone(),
                })
            })
            .collect();
        tracing::info!(
            concurrency = self.config.concurrency,
            "this process does the jobs of the outbox"
        );
        let chores = stop.run_until_cancelled(self.chores(&desks, &stop));
        let schedules = stop.run_until_cancelled(self.keep_schedules(&desks));
        let (shutdown, ..) = tokio::join!(self.work(&desks, &tally, &stop), chores, schedules);
        tracing::info!(
            finished = shutdown.finished,
            released = shutdown.released,
            abandoned = shutdown.abandoned,
            "no more jobs are done"
        );
        shutdown
    }

    /// Takes jobs until `stop`, and waits for the last of them.
    async fn work(&self, desks: &[Arc<Desk>], tally: &Tally, stop: &CancellationToken) -> Shutdown {
        let mut running = JoinSet::new();
        let mut sweep = interval(SWEEP.mul_f64(rand::random_range(0.8..=1.2)));
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Whether jobs are likely to wait for a place.
        let (mut crowded, mut failing) = (false, false);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(done) = running.join_next() => {
                    report(done);
                    if !crowded {
                        continue;
                    }
                }
                () = self.wake.notified() => {}
                _ = sweep.tick() => {}
            }
            match self.take(desks, &mut running).await {
                Ok(more) => {
                    if failing {
                        tracing::info!("the outbox can be read again");
                    }
                    (crowded, failing) = (more, false);
                }
                Err(error) => {
                    let database = dependency::DATABASE;
                    metrics::counter!(RETRY_ATTEMPTS_TOTAL, "dependency" => database).increment(1);
                    if !failing {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "no job can be taken from the outbox; they wait there"
                        );
                    }
                    (crowded, failing) = (false, true);
                }
            }
        }
        let (finished, abandoned) = (tally.finished(), tally.abandoned());
        while let Some(done) = running.join_next().await {
            report(done);
        }
        Shutdown {
            finished: tally.finished() - finished,
            released: tally.released(),
            abandoned: tally.abandoned() - abandoned,
        }
    }

    /// Begins as many jobs as there are places for; whether more may wait.
    async fn take(
        &self,
        desks: &[Arc<Desk>],
        running: &mut JoinSet<()>,
    ) -> Result<bool, database::Error> {
        let mut places: Vec<Vec<OwnedSemaphorePermit>> = desks.iter().map(free_places).collect();
        let room: Vec<_> = desks
            .iter()
            .zip(&places)
            .filter(|(_, places)| !places.is_empty())
            .map(|(desk, places)| (desk.queue().as_str(), count(places.len())))
            .collect();
        if room.is_empty() {
            return Ok(true);
        }
        let lease = Uuid::new_v4();
        let mut connection = self.database.write().await?;
        let leased =
            worklist::lease(&mut connection, lease, &room, self.config.lock_duration).await?;
        drop(connection);
        for job in leased {
            let desk = desks
                .iter()
                .zip(&mut places)
                .find(|(desk, _)| desk.queue().as_str() == job.queue);
            if let Some((desk, places)) = desk
                && let Some(place) = places.pop()
            {
                let desk = Arc::clone(desk);
                running.spawn(async move {
                    desk.work(&job, lease).await;
                    drop(place);
                });
            }
        }
        Ok(places.iter().any(Vec::is_empty))
    }

    /// Does what comes by the clock. Each process has a clock of its own, and such jobs do nothing a second time; what
    /// one is in the middle of at the end is done by the next.
    async fn keep_schedules(&self, desks: &[Arc<Desk>]) {
        let kept = SCHEDULES.iter().flat_map(|schedule| {
            let desks = desks.iter();
            desks
                .filter(|desk| desk.queue() == schedule.queue)
                .map(|desk| desk.keep(schedule, &*self.clock))
        });
        join_all(kept).await;
    }

    /// What is done now and then.
    async fn chores(&self, desks: &[Arc<Desk>], stop: &CancellationToken) {
        let now = Instant::now();
        let (mut strays_at, mut clean_at) = (now, now + CLEAN_EVERY);
        let mut ticks = interval(MEASURE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for desk in desks {
                put_off_on_error("measured", publish(&self.database, desk.queue()).await);
            }
            let now = Instant::now();
            if now >= strays_at {
                strays_at = now + STRAYS_EVERY;
                put_off_on_error("searched for strays", fail_strays(&self.database).await);
            }
            if now >= clean_at {
                clean_at = now + CLEAN_EVERY;
                put_off_on_error("cleaned", clean(&self.database, &*self.clock, stop).await);
            }
        }
    }
}

fn report(done: Result<(), tokio::task::JoinError>) {
    if let Err(error) = done {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the task of a job died; the job is taken again when its lease has ended"
        );
    }
}

fn put_off_on_error(chore: &str, done: Result<(), database::Error>) {
    if let Err(error) = done {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the outbox cannot be {chore} now"
        );
    }
}

/// Every place that is free now.
fn free_places(desk: &Arc<Desk>) -> Vec<OwnedSemaphorePermit> {
    let mut free = Vec::new();
    while let Ok(place) = Arc::clone(&desk.places).try_acquire_owned() {
        free.push(place);
    }
    free
}

fn count(places: usize) -> i64 {
    i64::try_from(places).unwrap_or(i64::MAX)
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
    const fn queue(&self) -> QueueName {
        self.handlers.queue()
    }

    /// Does a job whenever its time comes.
    async fn keep(&self, schedule: &Schedule, clock: &dyn Clock) {
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
    async fn work(&self, job: &LeasedJob, lease: Uuid) {
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
        let trace = job.trace_parent.as_deref().and_then(TraceContext::parse);
        let trace = trace.map(TraceContext::next);
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

/// Gives up what no handler will ever be for.
async fn fail_strays(database: &Database) -> Result<(), database::Error> {
    let known = QueueName::ALL.map(QueueName::as_str);
    let mut connection = database.write().await?;
    for stray in worklist::fail_strays(&mut connection, &known, STRAYS).await? {
        tracing::error!(
            outbox.id = stray.id,
            queue = stray.queue,
            job.name = stray.job_name,
            job.id = stray.job_id,
            "job failed for good: there is no such queue"
        );
    }
    Ok(())
}

/// Counts the jobs of `queue` into the gauges.
async fn publish(database: &Database, queue: QueueName) -> Result<(), database::Error> {
    let mut connection = database.read(Freshness::Latest).await?;
    let counts = worklist::counts(&mut connection, queue.as_str()).await?;
    for (state, count) in [
        ("waiting", counts.waiting),
        ("active", counts.active),
        ("delayed", counts.delayed),
        ("failed", counts.failed),
    ] {
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
        metrics::gauge!(QUEUE_DEPTH, "queue" => queue.as_str(), "state" => state).set(count as f64);
    }
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    metrics::gauge!(QUEUE_BACKLOG, "queue" => queue.as_str())
        .set((counts.waiting + counts.active) as f64);
    metrics::gauge!(QUEUE_OLDEST_WAITING_SECONDS, "queue" => queue.as_str())
        .set(counts.oldest_waiting_seconds);
    Ok(())
}

impl Counts {
    /// Counts the jobs of `queue` in the outbox, where that is the queue.
    pub async fn of_outbox(database: &Database, queue: QueueName) -> database::Result<Self> {
        let mut connection = database.read(Freshness::Latest).await?;
        let counts = worklist::counts(&mut connection, queue.as_str()).await?;
        let completed = worklist::completed(&mut connection, queue.as_str()).await?;
        Ok(Self {
            waiting: counts.waiting.unsigned_abs(),
            active: counts.active.unsigned_abs(),
            completed: completed.unsigned_abs(),
            failed: counts.failed.unsigned_abs(),
            delayed: counts.delayed.unsigned_abs(),
            backlog: (counts.waiting + counts.active).unsigned_abs(),
            oldest_waiting_seconds: counts.oldest_waiting_seconds,
            ..Self::default()
        })
    }
}
