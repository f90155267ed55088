//! A Redis that does not answer.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bharatmart_cache::{Change, Key, Source};
use bharatmart_config::CacheConfig;
use bharatmart_test_support::{FlakyProxy, servers::RedisServer, wait_until};

use super::PREFIX;
use crate::support::{
    COMMAND_TIMEOUT, Metrics, Process, SOON, Shop, TOLD, in_redis, list, product, raw, same,
    standalone,
};

/// How soon a tier comes back whose Redis is well again.
const BACK: Duration = Duration::from_secs(5);

fn directly(redis: &RedisServer) -> CacheConfig {
    in_redis(standalone(&redis.url()), PREFIX)
}

/// A process whose way to Redis may fail alone.
async fn through_a_proxy(redis: &RedisServer) -> Result<(FlakyProxy, CacheConfig)> {
    let proxy = FlakyProxy::start(format!("127.0.0.1:{}", redis.port())).await?;
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    Ok((proxy, in_redis(standalone(&url), PREFIX)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_down_at_the_start_is_used_once_it_is_up() -> Result<()> {
    let mut redis = RedisServer::temporary().await?;
    redis.stop().await?;
    let config = directly(&redis);
    let (first, second) = (Process::starting(&config), Process::starting(&config));
    let (page, shop) = (Key::product(product()), Shop::new());
    ensure!(!first.is_live());
    same(first.see(&page, &shop).await?, (1, Source::Miss), "alone")?;
    same(
        first.see(&page, &shop).await?,
        (1, Source::Hit),
        "for itself",
    )?;
    same(
        second.see(&page, &shop).await?,
        (1, Source::Miss),
        "not shared",
    )?;
    // Nobody tells it of changes, so it does not trust what it has for long.
    shop.change();
    let took = first.wait_to_see(2, &page, &shop).await?;
    ensure!(took <= Duration::from_millis(1200), "it took {took:?}");

    redis.start_again().await?;
    for process in [&first, &second] {
        let took = process.wait_until_live().await?;
        ensure!(took <= BACK, "it took {took:?}");
    }
    let page = Key::product(product());
    same(first.see(&page, &shop).await?, (2, Source::Miss), "first")?;
    same(second.see(&page, &shop).await?, (2, Source::Hit), "shared")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_holds_up_few_requests_and_those_not_for_long() -> Result<()> {
    let metrics = Metrics::install()?;
    let mut redis = RedisServer::temporary().await?;
    let (here, there) = (
        Process::start(&directly(&redis)).await?,
        Process::start(&directly(&redis)).await?,
    );
    let (id, shop) = (product(), Shop::new());
    let keys = [Key::product(id), list("a"), Key::categories()];
    for key in &keys {
        here.see(key, &shop).await?;
        there.see(key, &shop).await?;
    }
    same(metrics.breaker(), 0.0, "the breaker")?;

    redis.pause()?;
    let paused = Instant::now();
    while here.is_live() || there.is_live() {
        for process in [&here, &there] {
            let asked = Instant::now();
            process.see(&Key::product(product()), &shop).await?;
            let took = asked.elapsed();
            ensure!(took <= 2 * COMMAND_TIMEOUT, "a request took {took:?}");
        }
        ensure!(paused.elapsed() < Duration::from_secs(2), "still waiting");
    }
    same(metrics.breaker(), 1.0, "the breaker")?;
    let new = shop.change();
    let asked = Instant::now();
    here.announce(Change::Product(id)).await;
    for key in &keys {
        same(here.see(key, &shop).await?.0, new, "here")?;
    }
    for _ in 0..100 {
        here.see(&Key::product(product()), &shop).await?;
    }
    let took = asked.elapsed();
    ensure!(took <= 10 * COMMAND_TIMEOUT, "103 requests took {took:?}");

    redis.resume()?;
    for process in [&here, &there] {
        let took = process.wait_until_live().await?;
        ensure!(took <= BACK, "it took {took:?}");
    }
    same(metrics.breaker(), 0.0, "the breaker")?;
    let back = Instant::now();
    for key in &keys {
        same(here.see(key, &shop).await?.0, new, "here again")?;
        there.wait_to_see(new, key, &shop).await?;
    }
    let took = back.elapsed();
    ensure!(took <= Duration::from_secs(1), "there it took {took:?}");
    Ok(())
}

/// Cut off or stalled, one process cannot tell the others; what it changes is told when it is back.
async fn changes_of_a_lonely_process_are_told(fail: fn(&FlakyProxy)) -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let (proxy, config) = through_a_proxy(&redis).await?;
    let lonely = Process::start(&config).await?;
    let other = Process::start(&directly(&redis)).await?;
    let shop = Shop::new();
    let (edited, sold) = (product(), product());
    let at_once = [
        Key::product(edited),
        Key::product(sold),
        list("a"),
        Key::categories(),
    ];
    for key in &at_once {
        lonely.see(key, &shop).await?;
        other.see(key, &shop).await?;
    }
    fail(&proxy);
    lonely.wait_until_away().await?;
    let new = shop.change();
    lonely.announce(Change::Product(edited)).await;
    lonely.announce(Change::Stock(sold)).await;
    for key in &at_once {
        same(lonely.see(key, &shop).await?.0, new, "the lonely one")?;
        same(other.see(key, &shop).await?, (1, Source::Hit), "the other")?;
    }
    proxy.restore();
    lonely.wait_until_live().await?;
    let back = Instant::now();
    for key in &at_once {
        other.wait_to_see(new, key, &shop).await?;
        same(lonely.see(key, &shop).await?.0, new, "the lonely one")?;
    }
    let took = back.elapsed();
    ensure!(took <= TOLD, "the other heard after {took:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_a_process_that_was_cut_off_are_told_before_it_uses_redis_again() -> Result<()> {
    changes_of_a_lonely_process_are_told(FlakyProxy::cut).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_a_process_that_was_stalled_are_told_before_it_uses_redis_again() -> Result<()> {
    changes_of_a_lonely_process_are_told(FlakyProxy::stall).await
}

/// The breaker does not open for a short wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_redis_does_not_hide_a_change_from_who_made_it() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let (proxy, config) = through_a_proxy(&redis).await?;
    let process = Process::start(&config).await?;
    for _ in 0..5 {
        let (id, shop) = (product(), Shop::new());
        let keys = [Key::product(id), list(&id.to_string()), Key::categories()];
        for key in &keys {
            process.see(key, &shop).await?;
        }
        let (_, source) = process.see(&keys[2], &shop).await?;
        same(source, Source::Hit, "before")?;
        proxy.stall();
        let new = shop.change();
        let announced = Instant::now();
        process.announce(Change::Product(id)).await;
        let took = announced.elapsed();
        ensure!(took <= 3 * COMMAND_TIMEOUT, "it was held up for {took:?}");
        proxy.restore();
        // At once, before what waits to be announced has been.
        let (page, list, categories) = tokio::try_join!(
            process.see(&keys[0], &shop),
            process.see(&keys[1], &shop),
            process.see(&keys[2], &shop),
        )?;
        same([page.0, list.0, categories.0], [new; 3], "after it")?;
        process.wait_until_live().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_while_the_messages_are_lost() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let client = redis.client()?;
    let process = Process::start(&directly(&redis)).await?;
    for _ in 0..5 {
        let (id, shop) = (product(), Shop::new());
        let page = Key::product(id);
        process.see(&page, &shop).await?;
        same(process.see(&page, &shop).await?, (1, Source::Hit), "before")?;

        let killed: u32 = raw(&client, &[b"CLIENT", b"KILL", b"TYPE", b"pubsub"]).await?;
        same(killed, 1, "connections")?;
        // What another process would do, with nobody listening.
        let name = crate::support::page_name(PREFIX, id);
        raw::<()>(&client, &[b"DEL", name.as_bytes()]).await?;
        shop.change();
        let took = process.wait_to_see(2, &page, &shop).await?;
        ensure!(took <= TOLD, "it took {took:?}");
        wait_until("the messages to be heard again", SOON, async || {
            let list: String = raw(&client, &[b"CLIENT", b"LIST", b"TYPE", b"pubsub"]).await?;
            Ok(process.is_live() && !list.is_empty())
        })
        .await?;
    }
    Ok(())
}
