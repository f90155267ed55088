//! The cache's Redis goes away, in every way that it can.

use std::time::{Duration, Instant};

use anyhow::Result;
use bharatmart_test_support::{
    App, AppBuilder,
    servers::{Monitor, RedisCluster, RedisServer, SentinelSet, WHOLE_DATABASE_COMMANDS},
    wait_until,
};
use tokio::{
    sync::watch,
    time::{sleep, sleep_until},
};
use uuid::Uuid;

use crate::{
    cache::{LIST, edit, find, page_of, shares, stocked, walks_nothing},
    load::{Load, Sample, Wire, errors, spread},
    stack::{SOON, Stack},
};

const BREAKER: &str = "circuit_breaker_state{dependency=\"cache\"}";
const SHARED_HITS: &str = "cache_requests_total{tier=\"shared\",outcome=\"hit\"}";
/// So soon bodies come from Redis again when it has lost a server.
const HITS_AGAIN: Duration = Duration::from_secs(15);
/// How long a process that nobody tells of changes may show what was there before, and some time to ask.
const UNTOLD: Duration = Duration::from_millis(1500);
const OLD_PRICE: u64 = 100;
const NEW_PRICE: u64 = 250;

/// Waits until the breaker's metric is this.
async fn breaker_is(api: &App, state: f64, limit: Duration) -> Result<()> {
    wait_until(&format!("the breaker to be {state}"), limit, async || {
        Ok(api.metric(BREAKER).await? == Some(state))
    })
    .await
}

async fn shared_hits(api: &App) -> Result<f64> {
    Ok(api.metric(SHARED_HITS).await?.unwrap_or(0.0))
}

/// When both APIs showed the old price for the last time, on the product's page or on the list, until
/// nobody wants to know any more.
async fn last_old(
    mut visitors: [Wire; 2],
    product: Uuid,
    mut go_on: watch::Receiver<bool>,
) -> Result<Instant> {
    let mut last = Instant::now();
    let page = page_of(product);
    while *go_on.borrow_and_update() {
        for visitor in &mut visitors {
            for path in [LIST, &page] {
                if find(&visitor.json(path).await?, product)["price"] == OLD_PRICE {
                    last = Instant::now();
                }
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(last)
}

fn report(what: &str, samples: impl Iterator<Item = Sample>) -> [Duration; 3] {
    let times: Vec<_> = samples.map(|sample| sample.took).collect();
    let count = times.len();
    let [median, nearly_all, most] = spread(times);
    println!("{what}: {count} requests, median {median:?}, p99 {nearly_all:?}, at most {most:?}");
    [median, nearly_all, most]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_slows_nothing_and_what_is_edited_meanwhile_is_shown() -> Result<()> {
    const HANGS: Duration = Duration::from_secs(6);
    const PROMPT: Duration = Duration::from_millis(50);
    let mut redis = RedisServer::temporary().await?;
    let mut monitor = Monitor::start(&redis.url(), None).await?;
    let stack = Stack::new().await?;
    let api = || stack.api().cache_redis(&redis.url());
    let one = api().start().await?;
    // It comes back later than the first, and only then tells of what it has edited.
    let late = api().env("CACHE_BREAKER_RESET", "700");
    let other = late.start().await?;
    let products = stocked(&stack, 60).await?;
    let product = products[7];
    let admin = stack.admin(&other).await?;
    for api in [&one, &other] {
        shares(api).await?;
        breaker_is(api, 0.0, SOON).await?;
    }
    let paths: Vec<_> = [LIST.to_owned()]
        .into_iter()
        .chain(products[..3].iter().copied().map(page_of))
        .collect();
    let load = Load::start(&one, 32, Duration::from_millis(50), &paths).await?;
    sleep(Duration::from_secs(1)).await;

    redis.pause()?;
    let hung = Instant::now();
    breaker_is(&one, 1.0, Duration::from_secs(2)).await?;
    println!("the breaker opened after {:?}", hung.elapsed());
    sleep_until((hung + HANGS / 2).into()).await;
    edit(&admin, product, NEW_PRICE).await?;
    let edited = Instant::now();
    let visitors = [Wire::open(&one).await?, Wire::open(&other).await?];
    let watching = watch::Sender::new(true);
    let last_old = tokio::spawn(last_old(visitors, product, watching.subscribe()));
    sleep_until((hung + HANGS).into()).await;
    redis.resume()?;
    let resumed = Instant::now();
    for api in [&one, &other] {
        breaker_is(api, 0.0, Duration::from_secs(5)).await?;
        println!("a breaker was closed after {:?}", resumed.elapsed());
    }
    sleep(Duration::from_secs(1)).await;
    let samples = load.end().await?;
    watching.send_replace(false);
    let last_old = last_old.await??;

    println!(
        "the old price was last seen {:?} after the edit",
        last_old.saturating_duration_since(edited)
    );
    assert!(last_old < edited + UNTOLD);
    for api in [&one, &other] {
        let mut visitor = Wire::open(api).await?;
        for path in [LIST, &page_of(product)] {
            let shown = visitor.json(path).await?;
            assert_eq!(find(&shown, product)["price"], NEW_PRICE, "{path}");
        }
    }
    assert_eq!(errors(&samples), 0);
    let settled = |list: bool| {
        samples.iter().copied().filter(move |sample| {
            sample.sent > hung + Duration::from_secs(1) && (sample.path == 0) == list
        })
    };
    for (what, list) in [("the list while Redis hung", true), ("pages", false)] {
        let [_, nearly_all, _] = report(what, settled(list));
        assert!(nearly_all < PROMPT, "{what}: {nearly_all:?}");
    }
    walks_nothing(&monitor.commands().await?);
    Ok(())
}

/// Two APIs with one cache.
struct Pair {
    stack: Stack,
    one: App,
    other: App,
}

impl Pair {
    async fn open(cache: impl Fn(AppBuilder) -> AppBuilder) -> Result<Self> {
        let stack = Stack::new().await?;
        // Has no room for anything in its own memory, so that it asks Redis again and again.
        let asking = cache(stack.api()).env("CACHE_LOCAL_MAX_BYTES", "1");
        Ok(Self {
            one: asking.start().await?,
            other: cache(stack.api()).start().await?,
            stack,
        })
    }

    /// Asks both APIs for the products' pages until the second finds one in Redis.
    async fn shares(&self, products: &[Uuid], limit: Duration) -> Result<()> {
        let mut visitors = [Wire::open(&self.one).await?, Wire::open(&self.other).await?];
        let before = shared_hits(&self.other).await?;
        let mut pages = products.iter().copied().map(page_of).cycle();
        wait_until("hits in Redis", limit, async || {
            if let Some(page) = pages.next() {
                for visitor in &mut visitors {
                    visitor.json(&page).await?;
                }
            }
            Ok(shared_hits(&self.other).await? > before)
        })
        .await
    }

    /// Whatever `break_it` does to Redis before it works again, all requests are answered, and soon from
    /// Redis; the pages of the `lost` products are where it was broken.
    async fn survives(
        &self,
        products: &[Uuid],
        lost: &[Uuid],
        break_it: impl AsyncFnOnce() -> Result<()>,
    ) -> Result<()> {
        let admin = self.stack.admin(&self.one).await?;
        self.shares(lost, SOON).await?;
        let pages = products.iter().copied().map(page_of);
        let paths: Vec<_> = [LIST.to_owned()].into_iter().chain(pages).collect();
        let load = Load::start(&self.one, 16, Duration::from_millis(40), &paths).await?;

        let broken = Instant::now();
        break_it().await?;
        println!("the servers have agreed after {:?}", broken.elapsed());
        self.shares(lost, HITS_AGAIN.saturating_sub(broken.elapsed()))
            .await?;
        println!("hits again after {:?}", broken.elapsed());
        let mut visitor = Wire::open(&self.other).await?;
        let page = page_of(lost[0]);
        visitor.json(&page).await?;
        edit(&admin, lost[0], NEW_PRICE).await?;
        wait_until("the edit", Duration::from_secs(1), async || {
            Ok(visitor.json(&page).await?["price"] == NEW_PRICE)
        })
        .await?;

        let samples = load.end().await?;
        assert_eq!(errors(&samples), 0);
        report("under load", samples.into_iter());
        Ok(())
    }
}

/// No server was told to walk over all keys, or to empty itself, since it was started.
async fn walked_nothing(urls: &[String]) -> Result<()> {
    for url in urls {
        let client = redis::Client::open(url.as_str())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let statistics: String = redis::cmd("INFO")
            .arg("commandstats")
            .query_async(&mut connection)
            .await?;
        for name in WHOLE_DATABASE_COMMANDS {
            let line = format!("cmdstat_{}:", name.to_lowercase());
            assert!(!statistics.contains(&line), "{name} on {url}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_sentinels_appoint_another_master_it_is_used() -> Result<()> {
    let mut set = SentinelSet::start().await?;
    let shop = Pair::open(|api| api.cache_sentinel(&set)).await?;
    let products = stocked(&shop.stack, 60).await?;
    shop.survives(&products, &products, async || {
        set.kill_master().await?;
        set.wait_for_failover().await?;
        Ok(())
    })
    .await?;
    let master = set.master_port().await?;
    walked_nothing(&[format!("redis://127.0.0.1:{master}")]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_cluster_loses_a_master_its_replica_is_used() -> Result<()> {
    const GENERATIONS: &str = "bharatmart:cache:generations";
    let mut cluster = RedisCluster::start().await?;
    let shop = Pair::open(|api| api.cache_cluster(&cluster)).await?;
    let products = stocked(&shop.stack, 60).await?;
    // The one that also holds what invalidations need.
    let lost = cluster.master_of(GENERATIONS).await?;
    let mut there = Vec::new();
    for product in &products {
        let key = format!("bharatmart:cache:product:v2:{product}");
        if cluster.master_of(&key).await? == lost {
            there.push(*product);
        }
    }
    shop.survives(&products, &there, async || {
        cluster.kill_master_of(GENERATIONS).await?;
        cluster.wait_until_ok().await
    })
    .await?;
    walked_nothing(&cluster.living_urls()).await
}

#[tokio::test]
async fn an_api_starts_without_redis_and_uses_it_once_it_is_there() -> Result<()> {
    let mut redis = RedisServer::temporary().await?;
    redis.stop().await?;
    let shop = Pair::open(|api| api.cache_redis(&redis.url())).await?;
    let products = stocked(&shop.stack, 20).await?;
    for api in [&shop.one, &shop.other] {
        let mut visitor = Wire::open(api).await?;
        for path in [LIST, &page_of(products[7])] {
            let asked = Instant::now();
            assert_eq!(visitor.get(path).await?.status, 200);
            assert!(asked.elapsed() < Duration::from_millis(500), "{path}");
        }
    }
    assert!(shared_hits(&shop.other).await? < 1.0);

    redis.start_again().await?;
    let started = Instant::now();
    shop.shares(&products, HITS_AGAIN).await?;
    println!("hits {:?} after the start of Redis", started.elapsed());
    walked_nothing(&[redis.url()]).await
}
