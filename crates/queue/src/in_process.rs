//! Does the jobs of the outbox in the process that writes them, with PostgreSQL alone.
//!
//! Any number of processes may share the work: a job is leased for as long as somebody does it, and free
//! again when that somebody dies. Nothing but the lease is held meanwhile, neither a transaction nor a
//! connection. Attempts, waits and time limits are those of [`crate::QueueWorker`].

use std::{sync::Arc, time::Duration};

use bharatmart_config::InProcessConfig;
use bharatmart_database::{self as database, Database, worklist};
use bharatmart_domain::Clock;
use bharatmart_telemetry::metrics::{RETRY_ATTEMPTS_TOTAL, dependency};
use futures_util::future::join_all;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    attempt::Tally,
    counts::Counts,
    handlers::Handlers,
    name::QueueName,
    relay::{CLEAN_EVERY, RelayHandle, clean},
    schedules::SCHEDULES,
    worker::Shutdown,
};

mod desk;

use desk::Desk;

/// How often to look for jobs that nobody notified about: those whose time has come, and those of
/// processes that died.
const SWEEP: Duration = Duration::from_secs(1);
/// How often the queues are measured.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// How often to look for jobs of queues that do not exist, and how many to give up at a time.
const STRAYS_EVERY: Duration = Duration::from_mins(1);
const STRAYS: i64 = 100;

/// Does the jobs of the outbox until it is told to stop.
pub struct OutboxWorker {
    database: Database,
    config: InProcessConfig,
    clock: Arc<dyn Clock>,
    wake: Arc<Notify>,
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
                put_off_on_error(
                    "measured",
                    Counts::publish_outbox(&self.database, desk.queue()).await,
                );
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
