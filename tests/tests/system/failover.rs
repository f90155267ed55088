//! The primary goes, and a standby takes over.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{servers::Replication, wait_until};
use sqlx::PgPool;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{interval, sleep},
};
use uuid::Uuid;

use crate::{
    load::{Wire, spread},
    replicated::{self, DATABASE, Replicated, in_rotation},
    shopper::Shopper,
    stack::{SOON, customer},
    traffic::{Kind, Traffic, Visit, report},
};

/// How long an order that cannot be taken may wait for that answer.
const PROMPT: Duration = Duration::from_secs(1);
/// The same for one that was under way when the primary went.
const UNDER_WAY: Duration = Duration::from_secs(2);
/// So much later than the primary the standbys show a commit: what is read with a token is on none of them yet
/// when the primary goes.
const DELAY: Duration = Duration::from_millis(200);
/// For so long nobody takes over.
const AWAY: Duration = Duration::from_secs(2);
/// So long after the promotion orders are taken again.
const RESUMED: Duration = Duration::from_secs(5);

/// The database's URL, which names all servers.
fn url(servers: &Replication) -> String {
    let all = [&servers.primary].into_iter().chain(&servers.standbys);
    let hosts: Vec<_> = all
        .map(|server| format!("127.0.0.1:{}", server.port()))
        .collect();
    let hosts = hosts.join(",");
    format!("postgres://postgres@{hosts}/{DATABASE}?target_session_attrs=read-write")
}

/// The standby that has most of the log: what was confirmed is on one of them at least.
async fn furthest(servers: &Replication) -> Result<usize> {
    let mut furthest = (0, 0);
    for (number, standby) in servers.standbys.iter().enumerate() {
        furthest = furthest.max((standby.wal_position().await?, number));
    }
    Ok(furthest.1)
}

/// Asks until told to stop whether the API is ready; what it answered.
async fn readiness(mut wire: Wire, go_on: watch::Receiver<bool>) -> Result<Vec<u16>> {
    let mut ticks = interval(Duration::from_millis(100));
    let mut answers = Vec::new();
    while *go_on.borrow() {
        ticks.tick().await;
        answers.push(wire.get("/api/health/ready").await?.status);
    }
    Ok(answers)
}

async fn count_of(pool: &PgPool, sql: &'static str, orders: &[Uuid]) -> Result<usize> {
    let count: i64 = sqlx::query_scalar(sql).bind(orders).fetch_one(pool).await?;
    Ok(usize::try_from(count)?)
}

/// An order that was committed when the primary went has no token, since nobody could tell up to where the log
/// was written. All others have one.
fn gave_tokens(visits: &[Visit], stopped: Instant) -> Result<()> {
    let without = visits
        .iter()
        .filter(|visit| visit.order.is_some() && !visit.gave_token);
    println!("{} orders came without a token", without.clone().count());
    for order in without {
        let under_way = order.sent < stopped + PROMPT && order.answered_at() > stopped;
        ensure!(under_way, "{order:?}");
    }
    Ok(())
}

/// Orders were refused while nobody took them, at once, and with the advice to come again.
fn refused_promptly(visits: &[Visit], stopped: Instant) -> Result<()> {
    let orders = || visits.iter().filter(|visit| visit.kind == Kind::Order);
    for order in orders() {
        let refused = order.status == 503 && order.retry_after;
        ensure!(order.status == 201 || refused, "{order:?}");
    }
    let under_way = orders().filter(|order| order.sent < stopped && order.answered_at() > stopped);
    let under_way = under_way.map(|order| order.took).max().unwrap_or_default();
    let refused = orders().filter(|order| order.sent >= stopped && order.status == 503);
    let refused: Vec<_> = refused.map(|order| order.took).collect();
    let count = refused.len();
    let [median, nearly_all, most] = spread(refused);
    println!(
        "{count} orders refused, median {median:?}, p99 {nearly_all:?}, at most {most:?}; under way: at most {under_way:?}"
    );
    ensure!(most < PROMPT, "{most:?}");
    ensure!(under_way < UNDER_WAY, "{under_way:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_and_what_was_confirmed_is_there() -> Result<()> {
    let mut shop = Replicated::start(DELAY).await?;
    shop.servers.set_synchronous(1).await?;
    let url = url(&shop.servers);
    let api = shop.api().database_url(&url).start().await?;
    let worker = shop.worker("all").database_url(&url);
    let mails = tempfile::tempdir()?;
    let _worker = worker.mail_dir(mails.path()).start().await?;
    let product = shop.product("Agarbatti", 1_000_000).await?;
    shop.all_in_rotation(&api).await?;
    shop.servers.wait_until_replayed().await?;
    let watching = watch::Sender::new(true);
    let ready = tokio::spawn(readiness(Wire::open(&api).await?, watching.subscribe()));
    let traffic = Traffic::start(&api, product, 10, 6, Duration::from_millis(50)).await?;
    sleep(Duration::from_secs(2)).await;

    let stopped = Instant::now();
    shop.servers.primary.stop_immediate().await?;
    sleep(AWAY.saturating_sub(stopped.elapsed())).await;
    let successor = &shop.servers.standbys[furthest(&shop.servers).await?];
    successor.promote().await?;
    let promoted = Instant::now();
    println!("promoted {:?} after the stop", promoted - stopped);
    sleep(RESUMED + Duration::from_secs(2)).await;
    let visits = traffic.end().await?;
    watching.send_replace(false);
    report(&visits);

    let failed: Vec<_> = visits
        .iter()
        .filter(|visit| visit.kind != Kind::Order && !visit.is_answered())
        .collect();
    for visit in &failed {
        let since = visit.sent.saturating_duration_since(stopped);
        println!("{since:?} after the stop: {visit:?}");
    }
    ensure!(failed.is_empty(), "{} reads failed", failed.len());
    gave_tokens(&visits, stopped)?;
    refused_promptly(&visits, stopped)?;
    let taken = visits
        .iter()
        .filter(|visit| visit.order.is_some() && visit.sent > stopped)
        .map(Visit::answered_at);
    let first = taken.min().context("no order was taken any more")?;
    let after = first.saturating_duration_since(promoted);
    println!("orders are taken again {after:?} after the promotion");
    assert!(after < RESUMED, "{after:?}");
    let late = visits.iter().rev().find(|visit| !visit.is_answered());
    let late = late.map(|visit| visit.sent.saturating_duration_since(promoted));
    assert!(late.is_none_or(|late| late < RESUMED), "{late:?}");

    let pool = replicated::connect(successor).await?;
    let orders: Vec<_> = visits.iter().filter_map(|visit| visit.order).collect();
    let all = "SELECT count(*) FROM orders WHERE id = ANY($1)";
    let there = count_of(&pool, all, &orders).await?;
    println!("{there} of {} orders are there", orders.len());
    assert_eq!(there, orders.len());
    wait_until("the worker to confirm all orders", SOON, async || {
        let confirmed = "SELECT count(*) FROM orders WHERE id = ANY($1) AND status = 'processing'";
        Ok(count_of(&pool, confirmed, &orders).await? == orders.len())
    })
    .await?;

    let answers = ready.await??;
    let unready = answers.iter().filter(|status| **status != 200).count();
    println!("{} probes, {unready} not ready", answers.len());
    assert_eq!(unready, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_a_frozen_primary_holds_up_are_not_in_the_way_of_those_after_the_promotion()
-> Result<()> {
    const POOL: usize = 2;
    const AWAY: Duration = Duration::from_secs(1);
    /// How long an order may take that nobody can answer.
    const GIVEN_UP: Duration = Duration::from_secs(8);
    let mut shop = Replicated::start(Duration::ZERO).await?;
    let api = shop.api().database_url(&url(&shop.servers));
    let api = api.env("DATABASE_POOL_SIZE", POOL.to_string());
    let api = api.start().await?;
    let product = shop.product("Dhoop", 1000).await?;
    let held = shop.product("Loban", 1000).await?;
    let customer = customer(&api).await?;
    let access = customer.token().context("signed in")?;
    let mut shopper = Shopper::open(&api, access).await?;
    shopper.order(product).await?.expect(201)?;
    shop.servers.wait_until_replayed().await?;

    let mut lock = shop.pool.begin().await?;
    sqlx::query("SELECT FROM products WHERE id = $1 FOR UPDATE")
        .bind(held)
        .execute(&mut *lock)
        .await?;
    let mut under_way = JoinSet::new();
    for _ in 0..POOL {
        let mut shopper = Shopper::open(&api, access).await?;
        under_way.spawn(async move {
            let reply = shopper.order(held).await?;
            anyhow::Ok((Instant::now(), reply.status))
        });
    }
    wait_until("the orders to be under way", SOON, async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE wait_event_type = 'Lock' AND application_name = 'bharatmart-api'",
        )
        .fetch_one(&shop.pool)
        .await?;
        Ok(usize::try_from(waiting)? == POOL)
    })
    .await?;

    shop.servers.primary.pause()?;
    let frozen = Instant::now();
    sleep(AWAY).await;
    shop.servers.standbys[0].promote().await?;
    let promoted = Instant::now();
    wait_until("an order", RESUMED, async || {
        let asked = Instant::now();
        let reply = shopper.order(product).await?;
        ensure!(asked.elapsed() < RESUMED, "{:?}", asked.elapsed());
        Ok(reply.status == 201)
    })
    .await?;
    println!(
        "orders are taken again {:?} after the promotion",
        promoted.elapsed()
    );
    while let Some(outcome) = under_way.join_next().await {
        let (ended, status) = outcome??;
        let took = ended - frozen;
        println!("one that was under way: {status} {took:?} after the primary froze");
        assert_eq!(status, 503);
        assert!(took < GIVEN_UP, "{took:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_answer_however_long_the_primary_is_away() -> Result<()> {
    const MAX_LAG: Duration = Duration::from_secs(2);
    let mut shop = Replicated::start(Duration::ZERO).await?;
    let api = shop.api().env("DATABASE_MAX_REPLICA_LAG", "2s");
    let api = api.start().await?;
    let product = shop.product("Camphor", 1000).await?;
    shop.servers.wait_until_replayed().await?;
    shop.all_in_rotation(&api).await?;
    let traffic = Traffic::start(&api, product, 6, 0, Duration::from_millis(50)).await?;
    // The API sees how far the primary writes, and no standby ever gets all of it.
    let mut open = shop.pool.begin().await?;
    let mut ticks = interval(Duration::from_millis(20));
    for _ in 0..50 {
        ticks.tick().await;
        sqlx::query("UPDATE products SET price = price + 1")
            .execute(&mut *open)
            .await?;
    }
    shop.servers.primary.kill9()?;
    sleep(2 * MAX_LAG).await;
    let visits = traffic.end().await?;
    println!("{} reads", visits.len());
    let failed = visits.iter().find(|visit| !visit.is_answered());
    ensure!(failed.is_none(), "{failed:?}");
    let lagging = "database_replica_rotation_changes_total{reason=\"lagging\"}";
    assert_eq!(api.metric(lagging).await?, None);
    for standby in &shop.servers.standbys {
        in_rotation(&api, standby, true, Duration::ZERO).await?;
    }
    Ok(())
}
