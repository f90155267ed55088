//! Jobs that come by the clock.

use std::{collections::HashSet, time::Duration};

use anyhow::{Context, Result};
use bharatmart_queue::{
    Handlers, Job, JobContext, JobQueues, QueueWorker, ReconcileOrders, Repeat, Schedule,
};
use bharatmart_test_support::{servers::RedisServer, wait_until};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::support::{Keys, QUEUE, SOON, config, connected, foreign_queue, options};

const INTERVAL: Duration = Duration::from_millis(300);
const RARELY: Duration = Duration::from_hours(10);

const fn every(interval: Duration) -> Schedule {
    Schedule {
        queue: QUEUE,
        job: ReconcileOrders::NAME,
        repeat: Repeat::Every(interval),
    }
}

/// Sees to a schedule, as each worker does.
async fn keeper(redis: &RedisServer, schedule: Schedule) -> Result<AbortOnDropHandle<()>> {
    let queues: JobQueues = connected(redis).await?;
    let keeping: JoinHandle<()> =
        tokio::spawn(async move { queues.keep_schedules(&[schedule]).await });
    Ok(AbortOnDropHandle::new(keeping))
}

/// Workers that say which firing each of them does.
struct Crew {
    firings: mpsc::UnboundedReceiver<(usize, String)>,
    _workers: Vec<QueueWorker>,
}

impl Crew {
    fn hire(redis: &RedisServer, count: usize) -> Self {
        let (sender, firings) = mpsc::unbounded_channel();
        let workers = (0..count).map(|worker| {
            let sender = sender.clone();
            let handlers =
                Handlers::new(QUEUE).on(move |_: ReconcileOrders, context: JobContext| {
                    sender.send((worker, context.id)).ok();
                    async { Ok(json!("done")) }
                });
            QueueWorker::spawn(&config(redis), options(), handlers)
        });
        Self {
            _workers: workers.collect(),
            firings,
        }
    }

    /// When the next firing that somebody does was due, in milliseconds.
    async fn next(&mut self) -> Result<i64> {
        let (_, id) = timeout(SOON, self.firings.recv())
            .await?
            .context("all workers are gone")?;
        due(&id)
    }
}

fn due(id: &str) -> Result<i64> {
    let (_, due) = id.rsplit_once(':').context("no time")?;
    Ok(due.parse()?)
}

/// As if so much time had gone by since somebody looked that somebody else looks again.
async fn forget_the_last_look(keys: &Keys) {
    let key = format!("bull:bharatmart-schedules-{}", ReconcileOrders::NAME);
    let _: u64 = keys.ask("DEL", &[&key]).await;
}

/// The job of the schedule's next time, when it waits for that.
async fn next_job(redis: &RedisServer, keys: &Keys) -> Result<String> {
    let queue = foreign_queue(redis).await?;
    wait_until("the next job waits", SOON, async || {
        let scheduler = queue.get_job_scheduler(ReconcileOrders::NAME).await;
        let next = scheduler.ok()??.next?;
        let id = format!("repeat:{}:{next}", ReconcileOrders::NAME);
        (keys.state(&id).await == "delayed").then_some(id)
    })
    .await
}

#[tokio::test]
async fn each_time_comes_to_one_of_three_workers() -> Result<()> {
    const TIMES: usize = 12;
    let redis = RedisServer::temporary().await?;
    let mut crew = Crew::hire(&redis, 3);
    let schedule = every(INTERVAL);
    let _keepers = tokio::try_join!(
        keeper(&redis, schedule),
        keeper(&redis, schedule),
        keeper(&redis, schedule),
    )?;

    let mut times = Vec::new();
    for _ in 0..TIMES {
        times.push(crew.next().await?);
    }
    let step = i64::try_from(INTERVAL.as_millis())?;
    let steps: HashSet<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(steps, HashSet::from([step]), "{times:?}");
    let queue = foreign_queue(&redis).await?;
    assert_eq!(queue.get_job_schedulers_count().await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_firing_leaves_nothing_behind_whether_it_succeeds_or_not() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let (sender, mut firings) = mpsc::unbounded_channel();
    let handlers = Handlers::new(QUEUE).on(move |_: ReconcileOrders, context: JobContext| {
        sender.send((context.id, context.attempts)).ok();
        async { Err(bharatmart_queue::JobError::retry("no database")) }
    });
    let _worker = QueueWorker::spawn(&config(&redis), options(), handlers);
    let _keeper = keeper(&redis, every(INTERVAL)).await?;

    let mut seen = HashSet::new();
    for _ in 0..3 {
        let (id, attempts) = timeout(SOON, firings.recv()).await?.context("no worker")?;
        assert_eq!(attempts, 1);
        assert!(seen.insert(id), "a firing that failed came again: {seen:?}");
    }
    let keys = Keys::of(&redis).await?;
    for set in ["failed", "completed"] {
        let kept: u64 = keys
            .ask("ZCARD", &[&format!("bull:order-processing:{set}")])
            .await;
        assert_eq!(kept, 0, "{set}");
    }
    Ok(())
}

#[tokio::test]
async fn a_schedule_whose_next_job_was_lost_goes_on() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let keys = Keys::of(&redis).await?;
    let mut crew = Crew::hire(&redis, 1);
    let first = keeper(&redis, every(RARELY)).await?;
    crew.next().await?;
    let next = next_job(&redis, &keys).await?;
    drop(first);

    // As a worker leaves it that dies after a firing, before it has added the next.
    let _: u64 = keys
        .ask("ZREM", &["bull:order-processing:delayed", &next])
        .await;
    let _: u64 = keys
        .ask("DEL", &[&format!("bull:order-processing:{next}")])
        .await;
    forget_the_last_look(&keys).await;
    let _second = keeper(&redis, every(RARELY)).await?;
    next_job(&redis, &keys).await?;
    Ok(())
}

#[tokio::test]
async fn a_schedule_that_goes_on_is_left_alone_and_a_changed_one_is_set_up_anew() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let keys = Keys::of(&redis).await?;
    let mut crew = Crew::hire(&redis, 1);
    let first = keeper(&redis, every(RARELY)).await?;
    crew.next().await?;
    drop(first);

    forget_the_last_look(&keys).await;
    let second = keeper(&redis, every(RARELY)).await?;
    let again = timeout(4 * INTERVAL, crew.firings.recv()).await;
    assert!(again.is_err(), "it fired again: {again:?}");
    drop(second);

    forget_the_last_look(&keys).await;
    let _third = keeper(&redis, every(INTERVAL)).await?;
    for _ in 0..3 {
        crew.next().await?;
    }
    Ok(())
}
