//! Redis away, frozen, and back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use bharatmart_domain::SystemClock;
use bharatmart_queue::{
    Handlers, JobContext, JobQueues, PaymentDeadline, QueueError, QueueWorker, WorkerOptions,
};
use bharatmart_test_support::{servers::RedisServer, wait_until};
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::Barrier,
    time::{sleep, timeout},
};

use crate::support::{
    Act, Keys, MortalWay, QUEUE, SOON, Way, config, connected, deadline_row, foreign_queue,
    handlers, options, payload, persistent_redis, quick,
};

/// Adds one job after another until `until`, and says how long the slowest call took.
async fn keep_adding(queues: &JobQueues, until: Instant) -> Duration {
    let mut slowest = Duration::ZERO;
    let mut n = 1000;
    while Instant::now() < until {
        n += 1;
        let start = Instant::now();
        queues.add_batch(&[deadline_row(n)]).await.ok();
        slowest = slowest.max(start.elapsed());
        sleep(Duration::from_millis(20)).await;
    }
    slowest
}

async fn until_added(queues: &JobQueues, n: u32, limit: Duration) -> Result<()> {
    wait_until("a job is added again", limit, async || {
        queues.add_batch(&[deadline_row(n)]).await.ok().map(|_| ())
    })
    .await
}

/// Takes the place of a stopped Redis until somebody has called `times` times, in vain.
async fn until_tried(redis: &RedisServer, times: usize) -> Result<()> {
    let place = TcpListener::bind(("127.0.0.1", redis.port())).await?;
    for _ in 0..times {
        timeout(Duration::from_secs(20), place.accept()).await??;
    }
    Ok(())
}

#[tokio::test]
async fn adding_without_redis_fails_fast_and_works_when_it_comes() -> Result<()> {
    let mut redis = RedisServer::temporary().await?;
    redis.stop().await?;
    let start = Instant::now();
    let queues = JobQueues::connect(&config(&redis), Arc::new(SystemClock));
    let error = queues.add_batch(&[deadline_row(1)]).await.unwrap_err();
    assert!(matches!(error, QueueError::NotConnected), "{error}");
    assert!(queues.ping().await.is_err());
    assert!(
        start.elapsed() < Duration::from_millis(900),
        "{:?}",
        start.elapsed()
    );
    assert!(!queues.is_available());
    redis.start_again().await?;
    until_added(&queues, 1, Duration::from_secs(3)).await?;
    queues.ping().await?;
    Ok(())
}

#[tokio::test]
async fn adding_recovers_within_seconds_from_a_long_outage() -> Result<()> {
    let mut redis = persistent_redis().await?;
    let queues = connected(&redis).await?;
    queues.add_batch(&[deadline_row(1)]).await?;
    redis.stop().await?;
    let slowest = keep_adding(&queues, Instant::now() + Duration::from_secs(22)).await;
    assert!(slowest < Duration::from_millis(2500), "{slowest:?}");
    redis.start_again().await?;
    let back = Instant::now();
    until_added(&queues, 2, Duration::from_secs(6)).await?;
    println!("adding works {:?} after Redis is back", back.elapsed());
    assert!(queues.is_available());
    let keys = Keys::of(&redis).await?;
    assert_eq!(keys.length("wait").await, 2);
    Ok(())
}

#[tokio::test]
async fn a_frozen_redis_opens_the_breaker_and_calls_are_refused_without_waiting() -> Result<()> {
    let mut redis = RedisServer::temporary().await?;
    let queues = connected(&redis).await?;
    redis.pause()?;
    for _ in 0..3 {
        let start = Instant::now();
        let error = queues.add_batch(&[deadline_row(1)]).await.unwrap_err();
        assert!(matches!(error, QueueError::Timeout(_)), "{error}");
        assert!(
            start.elapsed() < Duration::from_millis(2300),
            "{:?}",
            start.elapsed()
        );
    }
    assert!(!queues.is_available());
    let start = Instant::now();
    let error = queues.add_batch(&[deadline_row(1)]).await.unwrap_err();
    assert!(matches!(error, QueueError::BreakerOpen), "{error}");
    assert!(
        start.elapsed() < Duration::from_millis(500),
        "{:?}",
        start.elapsed()
    );
    redis.resume()?;
    until_added(&queues, 2, Duration::from_secs(4)).await?;
    Ok(())
}

#[tokio::test]
async fn a_dead_connection_is_replaced_although_nothing_says_that_it_is_dead() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let way = MortalWay::to(&redis).await?;
    let queues = JobQueues::connect(&way.config(), Arc::new(SystemClock));
    until_added(&queues, 1, Duration::from_secs(3)).await?;
    way.kill(2);
    let error = queues.add_batch(&[deadline_row(2)]).await.unwrap_err();
    assert!(matches!(error, QueueError::Timeout(_)), "{error}");
    until_added(&queues, 2, Duration::from_secs(10)).await?;
    Ok(())
}

#[tokio::test]
async fn a_worker_notices_that_its_connections_are_dead() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let way = MortalWay::to(&redis).await?;
    let (handlers, _watch) = handlers();
    let _worker = QueueWorker::spawn(&way.config(), options(), handlers);
    let (queue, keys) = (foreign_queue(&redis).await?, Keys::of(&redis).await?);
    queue
        .add("payment-deadline", payload(Act::Succeed))
        .options(quick(1, "a"))
        .await?;
    keys.until("a", "completed").await?;
    way.kill(3);
    queue
        .add("payment-deadline", payload(Act::Succeed))
        .options(quick(1, "b"))
        .await?;
    wait_until("the job completes", Duration::from_secs(25), async || {
        (keys.state("b").await == "completed").then_some(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_worker_started_without_redis_begins_when_it_comes() -> Result<()> {
    let mut redis = RedisServer::temporary().await?;
    redis.stop().await?;
    let (handlers, _watch) = handlers();
    let worker = QueueWorker::spawn(&config(&redis), options(), handlers);
    until_tried(&redis, 5).await?;
    assert!(!worker.is_running());
    redis.start_again().await?;
    let queue = foreign_queue(&redis).await?;
    queue
        .add("payment-deadline", payload(Act::Succeed))
        .options(quick(1, "a"))
        .await?;
    let back = Instant::now();
    Keys::of(&redis).await?.until("a", "completed").await?;
    assert!(
        back.elapsed() < Duration::from_secs(6),
        "{:?}",
        back.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn a_worker_goes_on_after_an_outage_and_loses_nothing() -> Result<()> {
    let mut redis = persistent_redis().await?;
    let (queues, keys) = (connected(&redis).await?, Keys::of(&redis).await?);
    let (handlers, _watch) = handlers();
    let _worker = QueueWorker::spawn(&config(&redis), options(), handlers);
    queues.add_batch(&[deadline_row(9)]).await?;
    keys.until(&deadline_row(9).job_id, "completed").await?;
    redis.stop().await?;
    // Long enough for the crate's own waits between connections to have become long. Nothing that could
    // be awaited tells.
    sleep(Duration::from_secs(8)).await;
    redis.start_again().await?;
    let back = Instant::now();
    until_added(&queues, 10, Duration::from_secs(6)).await?;
    let keys = Keys::of(&redis).await?;
    keys.until(&deadline_row(10).job_id, "completed").await?;
    assert!(
        back.elapsed() < Duration::from_secs(8),
        "{:?}",
        back.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn a_worker_whose_connections_are_cut_takes_the_next_job_soon() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let way = Way::to(&redis, Duration::ZERO).await?;
    let (handlers, _watch) = handlers();
    let _worker = QueueWorker::spawn(&way.config(), options(), handlers);
    let (queue, keys) = (foreign_queue(&redis).await?, Keys::of(&redis).await?);
    for id in ["a", "b", "c"] {
        let add = queue.add("payment-deadline", payload(Act::Succeed));
        add.options(quick(1, id)).await?;
        wait_until("the job completes", SOON, async || {
            (keys.state(id).await == "completed").then_some(())
        })
        .await?;
        way.cut();
    }
    Ok(())
}

#[tokio::test]
async fn an_end_that_redis_does_not_hear_of_costs_no_attempt_however_often() -> Result<()> {
    const CUTS: usize = 4;
    let redis = RedisServer::temporary().await?;
    let way = Arc::new(Way::to(&redis, Duration::ZERO).await?);
    let config = way.config();
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let handlers = Handlers::new(QUEUE).on(move |_: PaymentDeadline, context: JobContext| {
        let (way, run) = (Arc::clone(&way), counted.fetch_add(1, Ordering::SeqCst));
        async move {
            assert_eq!(context.attempt, 1);
            if run < CUTS {
                way.cut();
            }
            Ok(json!("done"))
        }
    });
    let _worker = QueueWorker::spawn(&config, options(), handlers);
    let (queue, keys) = (foreign_queue(&redis).await?, Keys::of(&redis).await?);
    let add = queue.add("payment-deadline", payload(Act::Succeed));
    add.options(quick(1, "a")).await?;
    wait_until("the job completes", Duration::from_mins(1), async || {
        (keys.state("a").await == "completed").then_some(())
    })
    .await?;
    assert_eq!(keys.attempts_made("a").await, 1);
    assert!(runs.load(Ordering::SeqCst) > 2, "no end was cut off");
    Ok(())
}

#[tokio::test]
async fn many_jobs_keep_their_locks_over_a_slow_network() -> Result<()> {
    const JOBS: usize = 20;
    /// There and back. Renewed one after the other, the locks of all would take longer than each holds.
    const ROUND_TRIP: Duration = Duration::from_millis(100);
    const LOCK: Duration = Duration::from_millis(1500);
    let redis = RedisServer::temporary().await?;
    let way = Way::to(&redis, ROUND_TRIP / 2).await?;
    let (all_run, runs) = (Arc::new(Barrier::new(JOBS)), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&runs);
    let handlers = Handlers::new(QUEUE).on(move |_: PaymentDeadline, _: JobContext| {
        counted.fetch_add(1, Ordering::SeqCst);
        let all_run = Arc::clone(&all_run);
        async move {
            all_run.wait().await;
            sleep(3 * LOCK).await;
            Ok(json!("done"))
        }
    });
    let options = WorkerOptions {
        concurrency: JOBS,
        lock_duration: LOCK,
        ..options()
    };
    let _worker = QueueWorker::spawn(&way.config(), options, handlers);
    let queue = foreign_queue(&redis).await?;
    for n in 0..JOBS {
        let add = queue.add("payment-deadline", payload(Act::Succeed));
        add.options(quick(1, &format!("a{n}"))).await?;
    }
    let keys = Keys::of(&redis).await?;
    wait_until("all jobs to be done", Duration::from_mins(1), async || {
        let done: usize = keys
            .ask("ZCARD", &["bull:order-processing:completed"])
            .await;
        (done == JOBS).then_some(())
    })
    .await?;
    assert_eq!(runs.load(Ordering::SeqCst), JOBS, "a lock was lost");
    Ok(())
}

#[tokio::test]
async fn jobs_go_to_the_new_primary_although_the_old_one_lives_on_as_its_replica() -> Result<()> {
    let (first, second) = (
        RedisServer::temporary().await?,
        RedisServer::temporary().await?,
    );
    let way = Way::to(&first, Duration::ZERO).await?;
    let queues = JobQueues::connect(&way.config(), Arc::new(SystemClock));
    until_added(&queues, 1, SOON).await?;
    let old = Keys::of(&first).await?;
    let port = second.port().to_string();
    let _: String = old.ask("REPLICAOF", &["127.0.0.1", &port]).await;
    // Long enough for connections that lead to the old one again: whoever knows the new address is late.
    wait_until("the breaker opens", SOON, async || {
        let tried = queues.add_batch(&[deadline_row(2)]).await;
        matches!(tried, Err(QueueError::BreakerOpen)).then_some(())
    })
    .await?;
    wait_until("a probe fails", SOON, async || {
        let tried = queues.add_batch(&[deadline_row(2)]).await;
        matches!(tried, Err(QueueError::Redis(_))).then_some(())
    })
    .await?;

    way.lead_to(&second);
    until_added(&queues, 2, Duration::from_secs(10)).await?;
    let new = Keys::of(&second).await?;
    assert_eq!(new.length("wait").await, 1);
    Ok(())
}
