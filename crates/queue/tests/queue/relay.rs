//! From a committed row to the queue.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use bharatmart_config::{Process, Source};
use bharatmart_database::{Database, outbox};
use bharatmart_domain::SystemClock;
use bharatmart_queue::{Job, JobQueues, NewJob, PaymentDeadline, Relay, RelayHandle};
use bharatmart_test_support::{TestDatabase, servers::RedisServer, wait_until};
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::support::{Keys, SOON, connected, order, persistent_redis};

struct Running {
    handle: RelayHandle,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn database(test: &TestDatabase) -> Result<Database> {
    let source = Source::from_map(BTreeMap::from([("DATABASE_URL", test.url())]));
    let config = bharatmart_config::DatabaseConfig::read(&source, Process::Api)?;
    Ok(Database::connect(&config, "relay-test")?)
}

fn start(database: &Database, queues: &JobQueues) -> Running {
    let (relay, handle) = Relay::new(database.clone(), queues.clone(), Arc::new(SystemClock));
    let stop = CancellationToken::new();
    Running {
        handle,
        task: tokio::spawn(relay.run(stop.clone())),
        stop,
    }
}

fn jobs(range: std::ops::Range<u128>) -> Vec<NewJob> {
    range
        .map(|n| {
            PaymentDeadline { order_id: order(n) }
                .to_outbox()
                .expect("a payload is JSON")
        })
        .collect()
}

async fn write(database: &Database, jobs: &[NewJob]) -> Result<()> {
    let mut transaction = database.begin().await?;
    outbox::insert(&mut transaction, jobs).await?;
    transaction.commit().await?;
    Ok(())
}

async fn pending(database: &Database) -> i64 {
    let mut connection = database.read().await.expect("the database answers");
    let backlog = outbox::backlog(&mut connection).await;
    backlog.expect("the outbox can be counted").pending
}

async fn until_empty(database: &Database, limit: Duration) -> Result<()> {
    wait_until("the outbox is empty", limit, async || {
        (pending(database).await == 0).then_some(())
    })
    .await
}

#[tokio::test]
async fn a_notified_row_is_in_the_queue_at_once() -> Result<()> {
    let test = TestDatabase::create().await;
    let redis = RedisServer::temporary().await?;
    let (database, queues) = (database(&test)?, connected(&redis).await?);
    let keys = Keys::of(&redis).await?;
    let relay = start(&database, &queues);
    // Past its first sweep.
    write(&database, &jobs(1..2)).await?;
    until_empty(&database, SOON).await?;
    let mut slowest = Duration::ZERO;
    for n in 2..12 {
        write(&database, &jobs(n..n + 1)).await?;
        let written = Instant::now();
        relay.handle.notify();
        let id = PaymentDeadline { order_id: order(n) }.job_id();
        keys.until(&id, "wait").await?;
        slowest = slowest.max(written.elapsed());
    }
    assert!(
        slowest < Duration::from_millis(400),
        "{slowest:?}: sooner than any sweep"
    );
    assert_eq!(keys.length("wait").await, 11);
    Ok(())
}

#[tokio::test]
async fn rows_that_nobody_notified_about_are_swept() -> Result<()> {
    let test = TestDatabase::create().await;
    let redis = RedisServer::temporary().await?;
    let (database, queues) = (database(&test)?, connected(&redis).await?);
    write(&database, &jobs(1..1201)).await?;
    let relay = start(&database, &queues);
    until_empty(&database, SOON).await?;
    assert_eq!(Keys::of(&redis).await?.length("wait").await, 1200);
    relay.stop.cancel();
    relay.task.await?;
    Ok(())
}

#[tokio::test]
async fn three_relays_carry_each_row_once() -> Result<()> {
    let test = TestDatabase::create().await;
    let redis = RedisServer::temporary().await?;
    let database = database(&test)?;
    let mut relays = Vec::new();
    for _ in 0..3 {
        relays.push(start(&database, &connected(&redis).await?));
    }
    for n in 0..30 {
        write(&database, &jobs(n * 100 + 1..n * 100 + 101)).await?;
        for relay in &relays {
            relay.handle.notify();
        }
    }
    until_empty(&database, SOON).await?;
    let keys = Keys::of(&redis).await?;
    assert_eq!(keys.length("wait").await, 3000);
    let duplicates: u64 = keys.ask("XLEN", &["bull:order-processing:events"]).await;
    assert_eq!(
        duplicates, 6000,
        "each add has two events, one that was repeated another"
    );
    Ok(())
}

#[tokio::test]
async fn rows_wait_while_redis_is_away_and_are_carried_when_it_returns() -> Result<()> {
    let test = TestDatabase::create().await;
    let mut redis = persistent_redis().await?;
    let (database, queues) = (database(&test)?, connected(&redis).await?);
    let relay = start(&database, &queues);
    redis.stop().await?;
    let away = Instant::now();
    let mut n = 1;
    while away.elapsed() < Duration::from_secs(6) {
        write(&database, &jobs(n..n + 1)).await?;
        relay.handle.notify();
        n += 1;
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(pending(&database).await, i64::try_from(n - 1)?);
    redis.start_again().await?;
    until_empty(&database, Duration::from_secs(6)).await?;
    let keys = Keys::of(&redis).await?;
    assert_eq!(u128::from(keys.length("wait").await), n - 1);
    Ok(())
}

#[tokio::test]
async fn a_poisonous_row_is_dropped_and_the_rest_carried() -> Result<()> {
    let test = TestDatabase::create().await;
    let redis = RedisServer::temporary().await?;
    let (database, queues) = (database(&test)?, connected(&redis).await?);
    let mut rows = jobs(1..4);
    rows[0].job_id = "17".into();
    write(&database, &rows).await?;
    let _relay = start(&database, &queues);
    until_empty(&database, SOON).await?;
    assert_eq!(Keys::of(&redis).await?.length("wait").await, 2);
    Ok(())
}

#[tokio::test]
async fn it_stops_when_told_also_while_redis_is_away() -> Result<()> {
    let test = TestDatabase::create().await;
    let mut redis = RedisServer::temporary().await?;
    let (database, queues) = (database(&test)?, connected(&redis).await?);
    write(&database, &jobs(1..2)).await?;
    redis.stop().await?;
    let relay = start(&database, &queues);
    sleep(Duration::from_secs(2)).await;
    let asked = Instant::now();
    relay.stop.cancel();
    relay.task.await?;
    assert!(
        asked.elapsed() < Duration::from_millis(2500),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(pending(&database).await, 1);
    Ok(())
}
