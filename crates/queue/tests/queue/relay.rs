//! From a committed row to the queue.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use bharatmart_config::{Process, Source};
use bharatmart_database::{Database, Freshness, outbox};
use bharatmart_domain::SystemClock;
use bharatmart_queue::{JobQueues, NewJob, OutboxJob, PaymentDeadline, Relay, RelayHandle};
use bharatmart_telemetry::metrics::OUTBOX_PENDING;
use bharatmart_test_support::{TestDatabase, servers::RedisServer, wait_until};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::support::{Keys, SOON, config, connected, order, persistent_redis};

const LONG: Duration = Duration::from_secs(20);

/// Keeps what the gauges show. The runtime of these tests has one thread, so that nothing escapes it.
#[derive(Default)]
struct Gauges(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Gauges {
    fn value(&self, name: &str) -> Option<f64> {
        let gauges = self.0.lock().expect("no thread has panicked");
        let gauge = gauges.get(name)?;
        Some(f64::from_bits(gauge.load(Ordering::SeqCst)))
    }
}

impl Recorder for Gauges {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let mut gauges = self.0.lock().expect("no thread has panicked");
        Gauge::from_arc(gauges.entry(key.name().to_owned()).or_default().clone())
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

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
    let mut connection = database
        .read(Freshness::Latest)
        .await
        .expect("the database answers");
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
async fn a_poisonous_row_is_put_aside_to_be_seen_and_the_rest_carried() -> Result<()> {
    let test = TestDatabase::create().await;
    let redis = RedisServer::temporary().await?;
    let (database, queues) = (database(&test)?, connected(&redis).await?);
    let mut rows = jobs(1..4);
    rows[0].job_id = "17".into();
    write(&database, &rows).await?;
    let _relay = start(&database, &queues);
    until_empty(&database, SOON).await?;
    assert_eq!(Keys::of(&redis).await?.length("wait").await, 2);
    let refused: Vec<(String, String)> =
        sqlx::query_as("SELECT job_id, failed_reason FROM outbox WHERE failed_at IS NOT NULL")
            .fetch_all(&test.pool().await)
            .await?;
    let reason = "the job id is a number".to_owned();
    assert_eq!(refused, [("17".to_owned(), reason)]);
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
    wait_until("the relay has failed often", LONG, async || {
        (!queues.is_available()).then_some(())
    })
    .await?;
    let asked = Instant::now();
    relay.stop.cancel();
    relay.task.await?;
    assert!(
        asked.elapsed() < Duration::from_secs(6),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(pending(&database).await, 1);
    Ok(())
}

#[tokio::test]
async fn the_backlog_is_measured_while_redis_is_away() -> Result<()> {
    let gauges = Gauges::default();
    let _recording = metrics::set_default_local_recorder(&gauges);
    let test = TestDatabase::create().await;
    let mut redis = RedisServer::temporary().await?;
    redis.stop().await?;
    let database = database(&test)?;
    write(&database, &jobs(1..8)).await?;
    let queues = JobQueues::connect(&config(&redis), Arc::new(SystemClock));
    let _relay = start(&database, &queues);
    wait_until("the backlog is known", LONG, async || {
        (gauges.value(OUTBOX_PENDING) == Some(7.0)).then_some(())
    })
    .await?;
    assert!(!queues.is_available());
    Ok(())
}
