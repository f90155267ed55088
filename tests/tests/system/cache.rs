//! What is cached, while all is well: each page is made once, and none shows what has changed.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bharatmart_test_support::{
    App, AppBuilder, ShopClient,
    servers::{Monitor, RedisServer, WHOLE_DATABASE_COMMANDS},
    wait_until,
};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    load::{Wire, spread},
    stack::{SOON, Stack, customer, order},
};

/// What a visitor sees first.
pub const LIST: &str = "/api/products?limit=50";
/// How long anything old may be shown at all.
const AT_LAST: Duration = Duration::from_secs(2);

/// A shop whose cache is in a Redis of its own, which is watched.
struct Cached {
    stack: Stack,
    redis: RedisServer,
    monitor: Monitor,
}

impl Cached {
    async fn open() -> Result<Self> {
        let redis = RedisServer::temporary().await?;
        Ok(Self {
            stack: Stack::new().await?,
            monitor: Monitor::start(&redis.url(), None).await?,
            redis,
        })
    }

    fn on(&self, app: AppBuilder) -> AppBuilder {
        app.cache_redis(&self.redis.url())
    }

    /// An API that shares its cache with the others.
    async fn api(&self) -> Result<App> {
        let api = self.on(self.stack.api()).start().await?;
        shares(&api).await?;
        Ok(api)
    }

    /// So many products; their ids.
    async fn products(&self, count: usize) -> Result<Vec<Uuid>> {
        stocked(&self.stack, count).await
    }

    async fn close(mut self) -> Result<()> {
        let commands = self.monitor.commands().await?;
        walks_nothing(&commands);
        Ok(())
    }
}

/// Redis was used, and no command walked over all keys or emptied it.
pub fn walks_nothing(commands: &[String]) {
    assert!(commands.iter().any(|name| name == "GET"), "it was used");
    for name in commands {
        assert!(!WHOLE_DATABASE_COMMANDS.contains(&name.as_str()), "{name}");
    }
}

/// So many products in the shop; their ids.
pub async fn stocked(stack: &Stack, count: usize) -> Result<Vec<Uuid>> {
    try_join_all((0..count).map(|number| {
        let name = format!("Diya {number:04}");
        async move { stack.product(&name, 100, 1000).await }
    }))
    .await
}

/// Waits until the API asks Redis.
pub async fn shares(api: &App) -> Result<()> {
    let mut visitor = Wire::open(api).await?;
    wait_until("the cache in Redis to be in use", SOON, async || {
        // In no process's own memory.
        visitor.get(&page_of(Uuid::new_v4())).await?;
        let asked = api.metric("cache_requests_total{tier=\"shared\"}").await?;
        Ok(asked.is_some_and(|count| count > 0.0))
    })
    .await
}

pub fn page_of(product: Uuid) -> String {
    format!("/api/products/{product}")
}

/// The product on its page, or on a list.
pub fn find(answer: &Value, product: Uuid) -> &Value {
    let rows = answer["data"].as_array();
    let row = rows.and_then(|rows| rows.iter().find(|row| row["id"] == json!(product)));
    row.unwrap_or(answer)
}

/// Has an admin change the price.
pub async fn edit(admin: &ShopClient, product: Uuid, rupees: u64) -> Result<()> {
    let price = json!({ "price": rupees });
    let (status, answer) = admin.put(&page_of(product), &price).await?;
    ensure!(status == 200, "{status}: {answer}");
    Ok(())
}

/// How often PostgreSQL has made the list in this order.
async fn lists_made(stack: &Stack, order: &str) -> Result<u64> {
    let like = format!("SELECT id, name, %FROM products%ORDER BY name {order},%");
    stack.database.statement_calls(&like).await
}

/// Has 500 visitors of each API ask for `path` at once, none of whom finds it in the cache; when all have
/// asked, the database still lets them wait for so long.
async fn rush(stack: &Stack, apis: &[&App], path: &str, wait: Duration) -> Result<()> {
    const VISITORS: u32 = 500;
    let misses = async |api: &App| {
        let missed = api
            .metric("cache_requests_total{tier=\"local\",outcome=\"miss\"}")
            .await?;
        anyhow::Ok(missed.unwrap_or(0.0))
    };
    let mut visitors = Vec::new();
    let mut expected = Vec::new();
    for api in apis {
        for _ in 0..VISITORS {
            visitors.push(Wire::open(api).await?);
        }
        expected.push(misses(api).await? + f64::from(VISITORS));
    }
    // Nobody gets an answer before all have asked.
    let mut closed = stack.pool.begin().await?;
    sqlx::query("LOCK TABLE products IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *closed)
        .await?;
    let asking = try_join_all(visitors.iter_mut().map(|visitor| visitor.get(path)));
    let opening = async {
        for (api, expected) in apis.iter().zip(&expected) {
            wait_until("all to have asked", SOON, async || {
                Ok(misses(api).await? >= *expected)
            })
            .await?;
        }
        sleep(wait).await;
        anyhow::Ok(closed.rollback().await?)
    };
    let (replies, ()) = tokio::try_join!(asking, opening)?;
    for reply in &replies {
        assert_eq!(reply.status, 200);
    }
    assert_eq!(replies.len(), apis.len() * 500);
    Ok(())
}

#[tokio::test]
async fn what_500_ask_for_at_once_is_read_from_the_database_once() -> Result<()> {
    let shop = Cached::open().await?;
    shop.products(60).await?;
    let first = shop.api().await?;
    // Longer than they would wait for another process.
    rush(&shop.stack, &[&first], LIST, Duration::from_secs(1)).await?;
    let alone = lists_made(&shop.stack, "ASC").await?;

    let second = shop.api().await?;
    let both = [&first, &second];
    let path = "/api/products?limit=50&sort=-name";
    rush(&shop.stack, &both, path, Duration::ZERO).await?;
    let together = lists_made(&shop.stack, "DESC").await?;
    println!("500 misses of one API: {alone} query; of each of two: {together}");
    assert_eq!(alone, 1);
    assert!((1..=2).contains(&together), "{together}");
    shop.close().await
}

#[tokio::test]
async fn what_one_api_edits_the_other_shows_at_once() -> Result<()> {
    const EDITS: u64 = 50;
    let shop = Cached::open().await?;
    let product = shop.products(50).await?[7];
    let (one, other) = (shop.api().await?, shop.api().await?);
    let admin = shop.stack.admin(&one).await?;
    let mut visitor = Wire::open(&other).await?;
    let paths = [page_of(product), LIST.to_owned()];
    let mut delays = [Vec::new(), Vec::new()];
    for price in 1001..=1000 + EDITS {
        for path in &paths {
            visitor.get(path).await?;
            let again = visitor.get(path).await?;
            assert_eq!(again.header("x-cache"), Some("HIT"), "{path}");
        }
        edit(&admin, product, price).await?;
        let edited = Instant::now();
        let mut seen = [None; 2];
        while seen.contains(&None) {
            for (path, seen) in paths.iter().zip(&mut seen) {
                if seen.is_none() {
                    let answer = visitor.json(path).await?;
                    let new = find(&answer, product)["price"] == price;
                    *seen = new.then(|| edited.elapsed());
                }
            }
            ensure!(edited.elapsed() < AT_LAST, "{seen:?}");
        }
        for (delays, seen) in delays.iter_mut().zip(seen) {
            delays.extend(seen);
        }
    }
    for (what, delays) in ["page", "list"].into_iter().zip(delays) {
        let [median, _, most] = spread(delays);
        println!("an edit is on the {what} of the other API after {median:?}, at most {most:?}");
        assert!(median < Duration::from_millis(100), "{what}: {median:?}");
    }
    shop.close().await
}

#[tokio::test]
async fn a_page_never_shows_the_stock_from_before_your_own_order() -> Result<()> {
    const ORDERS: i64 = 50;
    let shop = Cached::open().await?;
    let product = shop.products(50).await?[7];
    let (one, other) = (shop.api().await?, shop.api().await?);
    let customer = customer(&one).await?;
    let (mut here, mut there) = (Wire::open(&one).await?, Wire::open(&other).await?);
    let path = page_of(product);
    let mut delays = Vec::new();
    for left in (1000 - ORDERS..1000).rev() {
        for visitor in [&mut here, &mut there] {
            visitor.get(&path).await?;
            visitor.get(LIST).await?;
            let again = visitor.get(&path).await?;
            assert_eq!(again.header("x-cache"), Some("HIT"));
        }
        order(&customer, &[(product, 1)], "cash_on_delivery").await?;
        let ordered = Instant::now();
        assert_eq!(here.json(&path).await?["stock_quantity"], left);
        while there.json(&path).await?["stock_quantity"] != left {
            ensure!(ordered.elapsed() < AT_LAST, "the other API lags");
        }
        delays.push(ordered.elapsed());
    }
    let ordered = Instant::now();
    let left = 1000 - ORDERS;
    for visitor in [&mut here, &mut there] {
        wait_until("the lists to show the stock", AT_LAST, async || {
            let list = visitor.json(LIST).await?;
            Ok(find(&list, product)["stock_quantity"] == left)
        })
        .await?;
    }
    let [median, _, most] = spread(delays);
    println!(
        "the stock is on the other API's page after {median:?}, at most {most:?}; on the lists after {:?}",
        ordered.elapsed()
    );
    assert!(median < Duration::from_millis(100), "{median:?}");
    shop.close().await
}

#[tokio::test]
async fn stock_that_a_worker_gives_back_is_on_all_pages_soon() -> Result<()> {
    let shop = Cached::open().await?;
    let product = shop.products(50).await?[7];
    let apis = [shop.api().await?, shop.api().await?];
    let _worker = shop
        .on(shop.stack.worker("order"))
        .env("ORDER_PAYMENT_TIMEOUT", "1s")
        .start()
        .await?;
    let customer = customer(&apis[0]).await?;
    order(&customer, &[(product, 3)], "upi").await?;

    let path = page_of(product);
    let mut visitors = [Wire::open(&apis[0]).await?, Wire::open(&apis[1]).await?];
    wait_until("the worker to cancel", SOON, async || {
        // So that there is something old to show.
        for visitor in &mut visitors {
            visitor.get(&path).await?;
            visitor.get(LIST).await?;
        }
        let cancelled = "SELECT count(*) FROM orders WHERE status = 'cancelled'";
        Ok(shop.stack.count(cancelled).await? == 1)
    })
    .await?;
    let cancelled = Instant::now();
    for path in [path.as_str(), LIST] {
        for visitor in &mut visitors {
            wait_until(path, AT_LAST, async || {
                let answer = visitor.json(path).await?;
                Ok(find(&answer, product)["stock_quantity"] == 1000)
            })
            .await?;
        }
        println!(
            "returned stock is on both {path} after {:?}",
            cancelled.elapsed()
        );
    }
    shop.close().await
}
