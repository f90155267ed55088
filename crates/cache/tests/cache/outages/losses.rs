//! A Redis that answers and has lost something.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bharatmart_cache::{Change, Key, LISTED_STOCK_LAG, Source};
use bharatmart_config::CacheConfig;
use bharatmart_domain::ProductId;
use bharatmart_test_support::{
    servers::{RedisOptions, RedisServer},
    wait_until,
};

use super::PREFIX;
use crate::support::{
    Process, SOON, Shop, TOLD, in_redis, list, page_name, product, raw, same, standalone,
};

const GENERATIONS: &[u8] = b"outages:generations";

fn config(redis: &RedisServer) -> CacheConfig {
    in_redis(standalone(&redis.url()), PREFIX)
}

async fn two(redis: &RedisServer) -> Result<(Process, Process)> {
    let config = config(redis);
    Ok((
        Process::start(&config).await?,
        Process::start(&config).await?,
    ))
}

/// Keys of each kind.
fn keys(id: ProductId) -> [Key; 3] {
    [Key::product(id), list("a"), Key::categories()]
}

/// Has all keys in both processes and in Redis.
async fn warm(processes: [&Process; 2], keys: &[Key], shop: &Shop) -> Result<()> {
    for key in keys {
        for process in processes {
            process.wait_to_see(shop.version(), key, shop).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_back_empty_is_filled_again() -> Result<()> {
    let mut redis = RedisServer::temporary().await?;
    let (first, second) = two(&redis).await?;
    let (id, shop) = (product(), Shop::new());
    warm([&first, &second], &keys(id), &shop).await?;
    redis.kill9();
    first.wait_until_away().await?;
    second.wait_until_away().await?;
    let new = shop.change();
    first.announce(Change::Product(id)).await;
    redis.start_again().await?;
    first.wait_until_live().await?;
    second.wait_until_live().await?;
    for key in keys(id) {
        same(first.see(&key, &shop).await?.0, new, "first")?;
        same(second.see(&key, &shop).await?, (new, Source::Hit), "shared")?;
    }
    Ok(())
}

/// A Redis that has what it had before a change, which it was told of and has lost in a crash. The
/// processes are given back with their product.
async fn crashed() -> Result<(RedisServer, [Process; 2], ProductId, Shop)> {
    let mut redis = RedisServer::start(RedisOptions {
        append_only: true,
        ..RedisOptions::default()
    })
    .await?;
    let client = redis.client()?;
    let (first, second) = two(&redis).await?;
    let (id, shop) = (product(), Shop::new());
    warm([&first, &second], &keys(id), &shop).await?;
    // What happens from now on is lost.
    raw::<()>(&client, &[b"CONFIG", b"SET", b"appendonly", b"no"]).await?;
    shop.change();
    first.announce(Change::Product(id)).await;
    warm([&first, &second], &keys(id), &shop).await?;
    redis.kill9();
    first.wait_until_away().await?;
    second.wait_until_away().await?;
    Ok((redis, [first, second], id, shop))
}

async fn has_the_old_page(redis: &RedisServer, id: ProductId) -> Result<()> {
    let name = page_name(PREFIX, id);
    let page: Vec<u8> = raw(&redis.client()?, &[b"GET", name.as_bytes()]).await?;
    ensure!(page.windows(5).any(|text| text == b"1 of "), "{page:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_back_with_old_data_brings_back_no_old_body() -> Result<()> {
    let (mut redis, processes, id, shop) = crashed().await?;
    redis.start_again().await?;
    has_the_old_page(&redis, id).await?;
    for process in &processes {
        process.wait_until_live().await?;
        for key in keys(id) {
            same(process.see(&key, &shop).await?.0, 2, "nothing old")?;
        }
    }
    Ok(())
}

/// It has not known the Redis from before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_it_for_a_process_that_comes_first_and_is_new() -> Result<()> {
    let (mut redis, processes, id, shop) = crashed().await?;
    drop(processes);
    redis.start_again().await?;
    has_the_old_page(&redis, id).await?;
    let process = Process::start(&config(&redis)).await?;
    for key in keys(id) {
        same(process.see(&key, &shop).await?.0, 2, "nothing old")?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_generations_nothing_old_is_shown() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let client = redis.client()?;
    let (here, there) = two(&redis).await?;
    let shop = Shop::new();
    for _ in 0..3 {
        let id = product();
        warm([&here, &there], &keys(id), &shop).await?;
        raw::<()>(&client, &[b"DEL", GENERATIONS]).await?;
        let new = shop.change();
        here.announce(Change::Product(id)).await;
        let announced = Instant::now();
        for key in keys(id) {
            same(here.see(&key, &shop).await?.0, new, "here")?;
        }
        for key in keys(id) {
            there.wait_to_see(new, &key, &shop).await?;
        }
        let took = announced.elapsed();
        ensure!(took <= TOLD, "the other process heard after {took:?}");
        let third = Process::start(&config(&redis)).await?;
        for key in keys(id) {
            same(third.see(&key, &shop).await?.0, new, "a new process")?;
        }
    }
    Ok(())
}

/// As when all of it was evicted, and much else with it, before a new process comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_without_generations_does_not_trust_what_is_there() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let client = redis.client()?;
    let (here, there) = two(&redis).await?;
    let (id, shop) = (product(), Shop::new());
    warm([&here, &there], &keys(id), &shop).await?;
    raw::<()>(&client, &[b"DEL", GENERATIONS]).await?;
    let third = Process::start(&config(&redis)).await?;
    for key in keys(id) {
        same(
            third.see(&key, &shop).await?.1,
            Source::Miss,
            "a body from before",
        )?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_told_even_when_the_memory_of_redis_is_full() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let client = redis.client()?;
    let (here, there) = two(&redis).await?;
    let (id, shop) = (product(), Shop::new());
    warm([&here, &there], &keys(id), &shop).await?;
    raw::<()>(&client, &[b"CONFIG", b"SET", b"maxmemory", b"1"]).await?;
    let full = raw::<()>(&client, &[b"SET", b"other", b"1"]).await;
    ensure!(full.is_err(), "it takes nothing more");
    let new = shop.change();
    here.announce(Change::Product(id)).await;
    let announced = Instant::now();
    for key in keys(id) {
        same(here.see(&key, &shop).await?.0, new, "here")?;
        there.wait_to_see(new, &key, &shop).await?;
    }
    let took = announced.elapsed();
    ensure!(took <= TOLD, "the other process heard after {took:?}");
    Ok(())
}

async fn stock_generation(redis: &RedisServer) -> Result<u64> {
    let generation: Option<u64> = raw(&redis.client()?, &[b"HGET", GENERATIONS, b"stock"]).await?;
    Ok(generation.unwrap_or(0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_stock_in_two_processes_outdate_the_lists_once() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let (here, there) = two(&redis).await?;
    let (list, shop) = (list("a"), Shop::new());
    let before = stock_generation(&redis).await?;
    let new = shop.change();
    here.announce(Change::Stock(product())).await;
    tokio::time::sleep(LISTED_STOCK_LAG / 4).await;
    there.announce(Change::Stock(product())).await;
    wait_until("the lists to be outdated", SOON, async || {
        Ok(stock_generation(&redis).await? > before)
    })
    .await?;
    // The second process is due in a quarter of the time.
    tokio::time::sleep(LISTED_STOCK_LAG / 2).await;
    same(stock_generation(&redis).await?, before + 1, "generations")?;
    for process in [&here, &there] {
        same(process.see(&list, &shop).await?.0, new, "the list")?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_was_put_back_does_not_keep_lists_old() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let (here, there) = two(&redis).await?;
    let (list, shop) = (list("a"), Shop::new());
    warm([&here, &there], std::slice::from_ref(&list), &shop).await?;
    // The last change of stock was announced by a clock that is far ahead.
    let ahead = b"5000000000000000";
    raw::<()>(
        &redis.client()?,
        &[b"HSET", GENERATIONS, b"stock_at", ahead],
    )
    .await?;
    let new = shop.change();
    // The first one is due as the only one, so that what Redis knows decides.
    here.announce(Change::Stock(product())).await;
    for process in [&here, &there] {
        let took = process.wait_to_see(new, &list, &shop).await?;
        let most = LISTED_STOCK_LAG + Duration::from_millis(300);
        ensure!(took <= most, "it took {took:?}");
    }
    Ok(())
}

/// As when the connection between two nodes of a cluster is lost for a moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announcement_that_is_lost_is_made_up_for_by_the_next() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let client = redis.client()?;
    let (here, there) = two(&redis).await?;
    let (id, shop) = (product(), Shop::new());
    let page = Key::product(id);
    warm([&here, &there], &keys(id), &shop).await?;
    // All that somebody does who changes it, but for the message.
    let new = shop.change();
    let name = page_name(PREFIX, id);
    raw::<()>(&client, &[b"DEL", name.as_bytes()]).await?;
    raw::<()>(&client, &[b"HINCRBY", GENERATIONS, b"announcements", b"1"]).await?;
    same(there.see(&page, &shop).await?, (1, Source::Hit), "not told")?;
    here.announce(Change::Stock(product())).await;
    let announced = Instant::now();
    there.wait_to_see(new, &page, &shop).await?;
    let took = announced.elapsed();
    ensure!(took <= TOLD, "it noticed after {took:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_no_master_any_more_is_left() -> Result<()> {
    let (redis, master) = (
        RedisServer::temporary().await?,
        RedisServer::temporary().await?,
    );
    let client = redis.client()?;
    let process = Process::start(&config(&redis)).await?;
    let (id, shop) = (product(), Shop::new());
    let port = master.port().to_string();
    raw::<()>(&client, &[b"REPLICAOF", b"127.0.0.1", port.as_bytes()]).await?;
    // It goes on answering all that only reads.
    let page = Key::product(id);
    process.see(&page, &shop).await?;
    process.wait_until_away().await?;
    raw::<()>(&client, &[b"REPLICAOF", b"NO", b"ONE"]).await?;
    process.wait_until_live().await?;
    let new = shop.change();
    process.announce(Change::Product(id)).await;
    same(process.see(&page, &shop).await?.0, new, "after it")
}

/// As one whose replicas are gone, or whose disk is full: it answers, and refuses to be written to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_writes_is_left_by_those_who_only_read_too() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let client = redis.client()?;
    let (here, there) = two(&redis).await?;
    let (id, shop) = (product(), Shop::new());
    let page = Key::product(id);
    warm([&here, &there], &keys(id), &shop).await?;
    let replicas = b"min-replicas-to-write";
    raw::<()>(&client, &[b"CONFIG", b"SET", replicas, b"1"]).await?;
    let new = shop.change();
    here.announce(Change::Product(id)).await;
    there.wait_until_away().await?;
    same(there.see(&page, &shop).await?.0, new, "without Redis")?;
    raw::<()>(&client, &[b"CONFIG", b"SET", replicas, b"0"]).await?;
    here.wait_until_live().await?;
    there.wait_until_live().await?;
    same(there.see(&page, &shop).await?.0, new, "with it again")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generations_that_are_spoilt_by_hand_are_made_anew() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let client = redis.client()?;
    let (here, there) = two(&redis).await?;
    let (id, shop) = (product(), Shop::new());
    let spoils: [&[&[u8]]; 5] = [
        &[b"SET", GENERATIONS, b"x"],
        &[b"HSET", GENERATIONS, b"epoch", b"abc"],
        &[b"HSET", GENERATIONS, b"epoch", b"18446744073709551615"],
        &[b"HSET", GENERATIONS, b"catalogue", b"abc"],
        &[b"HSET", GENERATIONS, b"catalogue", b"0"],
    ];
    for spoil in spoils {
        here.wait_until_live().await?;
        there.wait_until_live().await?;
        warm([&here, &there], &keys(id), &shop).await?;
        raw::<()>(&client, spoil).await?;
        let new = shop.change();
        here.announce(Change::Product(id)).await;
        for key in &keys(id) {
            there.wait_to_see(new, key, &shop).await?;
            here.wait_to_see(new, key, &shop).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_ends_tells_the_lists_what_they_still_lag() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let (here, there) = two(&redis).await?;
    let (id, shop) = (product(), Shop::new());
    warm([&here, &there], &keys(id), &shop).await?;
    let new = shop.change();
    here.announce(Change::Stock(id)).await;
    let changed = Instant::now();
    here.invalidations.finish().await;
    there.wait_to_see(new, &list("a"), &shop).await?;
    let took = changed.elapsed();
    ensure!(took < LISTED_STOCK_LAG / 2, "the list lagged {took:?}");
    Ok(())
}
