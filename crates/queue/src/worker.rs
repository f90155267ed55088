//! The consuming side of one queue.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bharatmart_config::{JobLimit, QueueConfig, WorkerConfig};
use bharatmart_telemetry::metrics::JOBS_STALLED_TOTAL;
use bullmq::{
    Job, RateLimiterOptions, Worker,
    worker::{CancellationToken as CrateToken, WorkerEvent},
};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    attempt::{MAX_STALLED, Tally},
    connection::Endpoint,
    handlers::Handlers,
    name::QueueName,
    policy::millis,
    runner::Runner,
};

/// How long the crate waits in one go for a job to arrive, and after an error.
const POLL: Duration = Duration::from_secs(1);
/// Two errors within this time make the worker suspect its connections. The crate takes 10 s for one.
const FAILING: Duration = Duration::from_secs(30);
/// How long jobs may take to be handed back after the grace.
const RELEASE_TIMEOUT: Duration = Duration::from_millis(1500);
/// How long handing back may take when somebody has told the worker to do that at once.
const HURRY: Duration = Duration::from_millis(200);
/// How long a fetch that was under way may take at the end; its job is handed back.
const LAST_FETCH: Duration = Duration::from_secs(1);
/// A worker without jobs for this long is idle: a fetch that was under way has come back.
const QUIET: Duration = Duration::from_millis(250);
/// How often idleness is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// What BullMQ says of a job that it fails because it was taken from too many dead workers.
const STALLED_TOO_OFTEN: &str = "stalled more than allowable limit";
/// How long the courtesy to other workers at the end may take.
const WAKE_TIMEOUT: Duration = Duration::from_millis(500);

/// How a worker works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerOptions {
    /// The most jobs at a time.
    pub concurrency: usize,
    /// How long a job stays ours without a sign of life; renewed every third of it.
    pub lock_duration: Duration,
    /// How often jobs of dead workers are looked for. One is found at the second look.
    pub stalled_interval: Duration,
    /// How long an attempt may take.
    pub job_timeout: Duration,
    /// How many jobs all workers of the queue together may begin.
    pub limiter: Option<JobLimit>,
}

impl From<&WorkerConfig> for WorkerOptions {
    fn from(config: &WorkerConfig) -> Self {
        Self {
            concurrency: config.concurrency,
            lock_duration: config.lock_duration,
            stalled_interval: config.stalled_interval,
            job_timeout: config.job_timeout,
            limiter: config.limiter,
        }
    }
}

/// Takes jobs of one queue and runs their handlers.
///
/// Dropping it without [`QueueWorker::shutdown`] hands running jobs back too, but nobody waits for that.
pub struct QueueWorker {
    queue: QueueName,
    tally: Arc<Tally>,
    release: CancellationToken,
    state: WorkerState,
    stop: oneshot::Sender<Duration>,
    task: JoinHandle<Shutdown>,
}

/// Tells how a [`QueueWorker`] is, also to those who do not own it; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct WorkerState {
    running: Arc<AtomicBool>,
    /// Cancelled when the worker's task is gone, for whatever reason.
    ended: CancellationToken,
}

impl WorkerState {
    /// Whether the worker has connected and takes jobs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire) && !self.ended.is_cancelled()
    }

    fn set_running(&self, running: bool) {
        self.running.store(running, Ordering::Release);
    }
}

/// What became of the jobs that were running when the worker was told to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shutdown {
    /// Ended by themselves, well or not.
    pub finished: usize,
    /// Back in their queue, with their attempts as they were.
    pub released: usize,
    /// Neither, because Redis was away: another worker takes them when their locks have expired.
    pub abandoned: usize,
}

impl QueueWorker {
    /// Starts connecting and returns at once; needs a tokio runtime.
    ///
    /// Jobs are taken as soon as Redis answers, however late that is.
    #[must_use]
    pub fn spawn(config: &QueueConfig, options: WorkerOptions, handlers: Handlers) -> Self {
        let queue = handlers.queue();
        // There from the first scrape on, so that the first increase is seen.
        metrics::counter!(JOBS_STALLED_TOTAL, "queue" => queue.as_str()).increment(0);
        let (tally, release) = (Arc::new(Tally::default()), CancellationToken::new());
        let life = Life {
            endpoint: Endpoint::new(config),
            handlers,
            options,
            tally: Arc::clone(&tally),
            release: release.clone(),
        };
        let state = WorkerState::default();
        let (stop, stopped) = oneshot::channel();
        let ended = state.ended.clone().drop_guard();
        let life = life.run(state.clone(), stopped);
        let task = tokio::spawn(async move {
            // Dropped with the task, so that a panic is an end as well.
            let _ended = ended;
            life.await
        });
        Self {
            queue,
            tally,
            release,
            state,
            stop,
            task,
        }
    }

    /// Whether it has connected and takes jobs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state.is_running()
    }

    /// The queue that it serves.
    #[must_use]
    pub const fn queue(&self) -> QueueName {
        self.queue
    }

    /// What says whether it takes jobs, to be kept elsewhere.
    #[must_use]
    pub fn state(&self) -> WorkerState {
        self.state.clone()
    }

    /// Returns when it has ended by itself, which it should not: it could not start, or its task died.
    /// [`QueueWorker::shutdown`] logs which.
    pub async fn ended(&self) {
        self.state.ended.cancelled().await;
    }

    /// How many jobs run now.
    #[must_use]
    pub fn active(&self) -> usize {
        self.tally.in_flight()
    }

    /// What, when it is cancelled, has the jobs that run handed back at once; new ones may still be taken. It also
    /// cuts the grace of a [`QueueWorker::shutdown`] short.
    #[must_use]
    pub fn hand_back(&self) -> CancellationToken {
        self.release.clone()
    }

    /// Takes no more jobs, lets those that run end within `grace`, and hands the others back to their queue.
    ///
    /// Returns within `grace` and 3 s, also when Redis is away, and within 0.2 s of [`QueueWorker::hand_back`].
    pub async fn shutdown(self, grace: Duration) -> Shutdown {
        if self.stop.send(grace).is_err() {
            tracing::debug!(
                queue = self.queue.as_str(),
                "the worker had ended before it was told to"
            );
        }
        match self.task.await {
            Ok(shutdown) => shutdown,
            Err(error) => {
                tracing::error!(
                    queue = self.queue.as_str(),
                    error = &error as &dyn std::error::Error,
                    "the worker's task died"
                );
                Shutdown {
                    abandoned: self.tally.in_flight(),
                    ..Shutdown::default()
                }
            }
        }
    }
}

impl fmt::Debug for QueueWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueWorker")
            .field("queue", &self.queue)
            .field("running", &self.is_running())
            .field("active", &self.active())
            .finish_non_exhaustive()
    }
}

/// What a worker lives by.
struct Life {
    endpoint: Endpoint,
    handlers: Handlers,
    options: WorkerOptions,
    tally: Arc<Tally>,
    release: CancellationToken,
}

impl Life {
    /// Connects, works until told to stop, and winds down.
    async fn run(self, state: WorkerState, mut stopped: oneshot::Receiver<Duration>) -> Shutdown {
        let (queue, options) = (self.handlers.queue(), self.options);
        let endpoint = &self.endpoint;
        let shutdown = loop {
            let runner = Arc::new(Runner::new(
                self.handlers.clone(),
                options,
                endpoint.clone(),
                self.release.child_token(),
                Arc::clone(&self.tally),
            ));
            let open = || async {
                let runner = Arc::clone(&runner);
                let process = move |job: Job, _: CrateToken| {
                    let runner = Arc::clone(&runner);
                    async move { runner.run(job).await }
                };
                let crate_options = crate_options(endpoint, queue, options)?;
                Worker::with_options(queue.as_str(), process, crate_options).await
            };
            let worker = tokio::select! {
                worker = endpoint.until_ready(open) => worker,
                _ = &mut stopped => break Shutdown::default(),
            };
            if let Err(error) = worker.run().await {
                tracing::error!(
                    queue = queue.as_str(),
                    error = &error as &dyn std::error::Error,
                    "the worker does not start"
                );
                break Shutdown::default();
            }
            state.set_running(true);
            tracing::info!(
                queue = queue.as_str(),
                concurrency = options.concurrency,
                "worker takes jobs"
            );
            let stop = tokio::select! {
                // Dropped without a word: no grace.
                grace = &mut stopped => Some(grace.unwrap_or_default()),
                () = connections_dead(&worker, endpoint, queue.as_str()) => None,
            };
            state.set_running(false);
            if let Some(grace) = stop {
                break self.end(worker, &runner, grace).await;
            }
            tracing::warn!(
                queue = queue.as_str(),
                "the worker's connections are dead although Redis answers; connecting anew"
            );
            // What runs could not say how it ended, and would come on top of what the next connection brings.
            runner.release.cancel();
            idle_before(&worker, &runner, Instant::now() + RELEASE_TIMEOUT).await;
            close(&worker, Duration::ZERO).await;
        };
        if !self.release.is_cancelled() {
            wake_a_worker(endpoint, queue).await;
        }
        tracing::info!(
            queue = queue.as_str(),
            finished = shutdown.finished,
            released = shutdown.released,
            abandoned = shutdown.abandoned,
            "worker stopped"
        );
        shutdown
    }

    /// Winds down, and leaves the rest behind if even handing back takes too long for whoever waits.
    async fn end(&self, worker: Worker, runner: &Runner, grace: Duration) -> Shutdown {
        let finished = self.tally.finished();
        let hurried = async {
            self.release.cancelled().await;
            sleep(HURRY).await;
        };
        tokio::select! {
            shutdown = wind_down(worker, runner, grace) => shutdown,
            () = hurried => Shutdown {
                finished: self.tally.finished() - finished,
                released: self.tally.released(),
                abandoned: self.tally.in_flight(),
            },
        }
    }
}

async fn wake_a_worker(endpoint: &Endpoint, queue: QueueName) {
    match timeout(WAKE_TIMEOUT, endpoint.wake_a_worker(queue)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(
                queue = queue.as_str(),
                error = &error as &dyn std::error::Error,
                "other workers were not woken"
            );
        }
        Err(_) => tracing::debug!(
            queue = queue.as_str(),
            "other workers were not woken in time"
        ),
    }
}

/// Returns when the worker keeps failing while Redis answers others: its connections lead to a machine that is
/// gone, which the crate would notice only when the operating system gives up, many minutes later.
///
/// It reads the worker's events all the while: their channel has no bound, and unread it would grow with
/// each job.
async fn connections_dead(worker: &Worker, endpoint: &Endpoint, queue: &'static str) {
    let mut failed: Option<Instant> = None;
    while let Some(event) = worker.next_event().await {
        match event {
            WorkerEvent::Error(_) => {
                let again = failed.is_some_and(|last| last.elapsed() < FAILING);
                if again && endpoint.answers().await {
                    return;
                }
                failed = Some(Instant::now());
            }
            // The only end that no attempt tells of.
            WorkerEvent::Failed { job_id, error } if error.contains(STALLED_TOO_OFTEN) => {
                tracing::error!(
                    queue,
                    job.id = job_id,
                    "job failed for good: whoever did it died, or fell silent, too often"
                );
            }
            WorkerEvent::Active { .. } | WorkerEvent::Completed { .. } | WorkerEvent::Drained => {
                failed = None;
            }
            _ => {}
        }
    }
}

fn crate_options(
    endpoint: &Endpoint,
    queue: QueueName,
    options: WorkerOptions,
) -> Result<bullmq::WorkerOptions, bullmq::Error> {
    let policy = queue.policy();
    let crate_options = bullmq::WorkerOptions::new()
        .connection(endpoint.options()?)
        .prefix(endpoint.prefix())
        .concurrency(options.concurrency.max(1))
        .lock_duration(options.lock_duration)
        // The crate's ticker meets the key that its own last look has left, which lives as long as the
        // interval and so a little longer than until the next tick: every second look is skipped.
        .stalled_interval(options.stalled_interval / 2)
        // A dropped connection counts as a death.
        .max_stalled_count(MAX_STALLED)
        .drain_delay(POLL)
        .run_retry_delay(POLL)
        .remove_on_complete(policy.completed_retention())
        .remove_on_fail(policy.failed_retention())
        // The runner renews each lock itself: the crate would renew that of a dead job for ever and not
        // notice a lost one.
        .skip_lock_renewal()
        .manual_start();
    Ok(match options.limiter {
        Some(JobLimit { max, duration }) => {
            crate_options.limiter(RateLimiterOptions::new(max, duration))
        }
        None => crate_options,
    })
}

async fn wind_down(worker: Worker, runner: &Runner, grace: Duration) -> Shutdown {
    let (finished, abandoned) = (runner.tally.finished(), runner.tally.abandoned());
    let deadline = Instant::now() + grace;
    // Not `close` yet: it would cut a fetch that is under way, and its job would stay locked.
    worker.pause();
    runner.stopping.cancel();
    if !idle_before(&worker, runner, deadline).await {
        runner.release.cancel();
        idle_before(&worker, runner, deadline + RELEASE_TIMEOUT).await;
    }
    let unfinished = worker.active_count().await;
    close(&worker, LAST_FETCH).await;
    Shutdown {
        finished: runner.tally.finished() - finished,
        released: runner.tally.released(),
        abandoned: (runner.tally.abandoned() - abandoned).max(unfinished),
    }
}

/// Ends the crate's own tasks, at once or when a fetch that is under way has come back.
async fn close(worker: &Worker, patience: Duration) {
    if let Err(error) = worker.close(millis(patience)).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the worker did not close"
        );
    }
}

/// Waits until no job has run for a moment; false when that was not before `deadline`.
///
/// The crate counts a job until Redis has its outcome.
async fn idle_before(worker: &Worker, runner: &Runner, deadline: Instant) -> bool {
    let mut quiet_since = Instant::now();
    loop {
        if runner.tally.in_flight() > 0 || worker.active_count().await > 0 {
            quiet_since = Instant::now();
            if quiet_since >= deadline {
                return false;
            }
        } else if quiet_since.elapsed() >= QUIET {
            return true;
        }
        sleep(LOOK).await;
    }
}
