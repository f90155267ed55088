//! How a worker stops.

use std::time::{Duration, Instant};

use anyhow::Result;
use bharatmart_queue::{QueueWorker, Shutdown, WorkerOptions};
use bharatmart_test_support::{servers::RedisServer, wait_until};

use crate::support::{
    Act, Keys, SOON, Seen, Watch, config, dropped, foreign_queue, handlers, options, payload,
    quick, started,
};

/// Long enough that nothing comes back because a lock has expired.
fn patient() -> WorkerOptions {
    WorkerOptions {
        lock_duration: Duration::from_secs(30),
        stalled_interval: Duration::from_secs(30),
        ..options()
    }
}

async fn running(worker: &QueueWorker) -> Result<()> {
    wait_until("the worker runs", SOON, async || {
        worker.is_running().then_some(())
    })
    .await
}

/// A worker whose only job, `a`, will not end by itself.
async fn hung(redis: &RedisServer) -> Result<(QueueWorker, Watch)> {
    let (handlers, mut watch) = handlers();
    let worker = QueueWorker::spawn(&config(redis), patient(), handlers);
    let queue = foreign_queue(redis).await?;
    let add = queue.add("payment-deadline", payload(Act::Hang));
    add.options(quick(3, "a")).await?;
    assert_eq!(watch.next().await, started("a", 1, 3));
    Ok((worker, watch))
}

#[tokio::test]
async fn unfinished_jobs_are_back_in_wait_before_it_returns_and_the_next_worker_has_them_at_once()
-> Result<()> {
    let redis = RedisServer::temporary().await?;
    let (queue, keys) = (foreign_queue(&redis).await?, Keys::of(&redis).await?);
    let (first_handlers, mut first_watch) = handlers();
    let worker = QueueWorker::spawn(&config(&redis), patient(), first_handlers);
    for n in 0..10 {
        let options = quick(3, &format!("a{n}"));
        queue
            .add("payment-deadline", payload(Act::Hang))
            .options(options)
            .await?;
    }
    for _ in 0..10 {
        assert!(matches!(first_watch.next().await, Seen::Started { .. }));
    }
    let asked = Instant::now();
    let shutdown = worker.shutdown(Duration::from_millis(500)).await;
    assert!(
        asked.elapsed() < Duration::from_secs(6),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(
        shutdown,
        Shutdown {
            finished: 0,
            released: 10,
            abandoned: 0
        }
    );
    assert_eq!(
        (keys.length("wait").await, keys.length("active").await),
        (10, 0)
    );
    for n in 0..10 {
        assert_eq!(keys.attempts_made(&format!("a{n}")).await, 0);
    }

    let (second_handlers, mut second_watch) = handlers();
    let second = QueueWorker::spawn(&config(&redis), patient(), second_handlers);
    running(&second).await?;
    let waiting = Instant::now();
    for _ in 0..10 {
        let seen = second_watch.next().await;
        assert!(
            matches!(
                seen,
                Seen::Started {
                    attempt: 1,
                    attempts: 3,
                    ..
                }
            ),
            "{seen:?}"
        );
    }
    assert!(
        waiting.elapsed() < Duration::from_secs(3),
        "{:?}",
        waiting.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn jobs_that_can_end_within_the_grace_do_and_no_new_one_begins() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let (queue, keys) = (foreign_queue(&redis).await?, Keys::of(&redis).await?);
    let (handlers, mut watch) = handlers();
    let options = WorkerOptions {
        concurrency: 1,
        ..patient()
    };
    let worker = QueueWorker::spawn(&config(&redis), options, handlers);
    for id in ["a", "b"] {
        queue
            .add("payment-deadline", payload(Act::SleepTwoSeconds))
            .options(quick(3, id))
            .await?;
    }
    assert_eq!(watch.next().await, started("a", 1, 3));
    let shutdown = worker.shutdown(Duration::from_secs(20)).await;
    assert_eq!(
        shutdown,
        Shutdown {
            finished: 1,
            released: 0,
            abandoned: 0
        }
    );
    assert_eq!(
        (keys.state("a").await, keys.state("b").await),
        ("completed", "wait")
    );
    assert_eq!(watch.all(), [dropped("a")]);
    Ok(())
}

#[tokio::test]
async fn an_idle_worker_stops_quickly_even_while_a_delayed_job_waits() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let queue = foreign_queue(&redis).await?;
    queue
        .add("payment-deadline", payload(Act::Succeed))
        .options(quick(1, "later").delay(Duration::from_mins(10)))
        .await?;
    let (handlers, _watch) = handlers();
    let worker = QueueWorker::spawn(&config(&redis), patient(), handlers);
    running(&worker).await?;
    let asked = Instant::now();
    let shutdown = worker.shutdown(Duration::from_secs(20)).await;
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(shutdown, Shutdown::default());
    Ok(())
}

#[tokio::test]
async fn stopping_is_bounded_while_redis_is_away() -> Result<()> {
    let mut redis = RedisServer::temporary().await?;
    let (worker, mut watch) = hung(&redis).await?;
    redis.stop().await?;
    let asked = Instant::now();
    let shutdown = worker.shutdown(Duration::from_millis(200)).await;
    assert!(
        asked.elapsed() < Duration::from_millis(3300),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(
        shutdown,
        Shutdown {
            finished: 0,
            released: 0,
            abandoned: 1
        }
    );
    assert_eq!(watch.next().await, dropped("a"));
    Ok(())
}

#[tokio::test]
async fn stopping_is_bounded_while_redis_is_frozen() -> Result<()> {
    let mut redis = RedisServer::temporary().await?;
    let (worker, _watch) = hung(&redis).await?;
    redis.pause()?;
    let asked = Instant::now();
    let shutdown = worker.shutdown(Duration::from_millis(200)).await;
    assert!(
        asked.elapsed() < Duration::from_millis(3300),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(shutdown.abandoned, 1);
    redis.resume()?;
    Ok(())
}

#[tokio::test]
async fn a_hurried_stop_takes_no_time_even_while_redis_is_frozen() -> Result<()> {
    let mut redis = RedisServer::temporary().await?;
    let (worker, _watch) = hung(&redis).await?;
    redis.pause()?;
    let hand_back = worker.hand_back();
    let asked = Instant::now();
    let (shutdown, ()) = tokio::join!(worker.shutdown(Duration::from_mins(1)), async {
        hand_back.cancel();
    });
    assert!(
        asked.elapsed() < Duration::from_secs(1),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(shutdown.abandoned, 1);
    redis.resume()?;
    Ok(())
}

#[tokio::test]
async fn a_worker_that_never_connected_stops_at_once() -> Result<()> {
    let mut redis = RedisServer::temporary().await?;
    redis.stop().await?;
    let (handlers, _watch) = handlers();
    let worker = QueueWorker::spawn(&config(&redis), patient(), handlers);
    let asked = Instant::now();
    assert_eq!(
        worker.shutdown(Duration::from_secs(20)).await,
        Shutdown::default()
    );
    assert!(
        asked.elapsed() < Duration::from_secs(3),
        "{:?}",
        asked.elapsed()
    );
    Ok(())
}
