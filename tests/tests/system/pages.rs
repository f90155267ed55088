//! Cached pages of a shop whose replicas lag.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{AppBuilder, test_prefix, test_redis_url};
use tokio::{task::JoinSet, time::sleep};
use uuid::Uuid;

use crate::{
    cache::{LIST, find, page_of},
    load::{Reply, Wire},
    replicated::Replicated,
    shopper::{Shopper, Token},
    stack::customer,
};

const STOCK: i32 = 100;
/// Longer than a test takes.
const DELAY: Duration = Duration::from_mins(2);
/// For how long it is looked at the pages.
const WATCHED: Duration = Duration::from_secs(8);

/// What has come of the primary.
#[derive(Clone, Copy, Debug)]
enum Primary {
    Frozen,
    Killed,
}

/// How often pages showed what.
#[derive(Debug, Default)]
struct Seen {
    /// The stock of before the order.
    old: usize,
    new: usize,
    /// Nothing for now.
    refused: usize,
}

/// Somebody who looks at a product's pages at one API.
struct Visitor {
    shopper: Shopper,
    product: Uuid,
    tokens: Vec<Option<Token>>,
}

impl Visitor {
    /// Looks at the pages with each of the tokens again and again.
    async fn look(mut self) -> Result<Seen> {
        let paths = [page_of(self.product), LIST.to_owned()];
        let mut seen = Seen::default();
        let begin = Instant::now();
        while begin.elapsed() < WATCHED {
            for path in &paths {
                for token in &self.tokens {
                    let reply = self.shopper.get(path, token.as_ref()).await?;
                    seen.note(&reply, self.product)?;
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(seen)
    }
}

impl Seen {
    fn note(&mut self, reply: &Reply, product: Uuid) -> Result<()> {
        if reply.status == 503 {
            self.refused += 1;
            return Ok(());
        }
        let answer = reply.expect(200)?;
        let stock = &find(&answer, product)["stock_quantity"];
        if *stock == STOCK {
            self.old += 1;
        } else {
            ensure!(*stock == STOCK - 1, "{stock}");
            self.new += 1;
        }
        Ok(())
    }

    fn add(&mut self, other: &Self) {
        self.old += other.old;
        self.new += other.new;
        self.refused += other.refused;
    }
}

/// Orders, has the primary go, and looks at the pages at both APIs.
async fn own_order_is_seen(
    cached: impl Fn(AppBuilder) -> AppBuilder,
    primary: Primary,
) -> Result<()> {
    let mut shop = Replicated::start(Duration::ZERO).await?;
    let api = || cached(shop.api()).env("DATABASE_MAX_REPLICA_LAG", "1h");
    let (one, other) = (api().start().await?, api().start().await?);
    let product = shop.product("Mehndi", STOCK).await?;
    let customer = customer(&one).await?;
    let access = customer.token().context("signed in")?;
    for api in [&one, &other] {
        shop.all_in_rotation(api).await?;
    }
    shop.delay(DELAY).await?;
    let paths = [page_of(product), LIST.to_owned()];
    let mut everybody = Wire::open(&other).await?;
    for path in &paths {
        // One API has them in its memory, the other has not.
        everybody.get(path).await?.expect(200)?;
    }
    let order = Shopper::open(&one, access).await?.order(product).await?;
    order.expect(201)?;
    match primary {
        Primary::Frozen => shop.servers.primary.pause()?,
        Primary::Killed => shop.servers.primary.kill9()?,
    }

    let tokens = vec![Some(Token::header(&order)?), Some(Token::cookie(&order)?)];
    let mut visitors = JoinSet::new();
    for api in [&one, &other] {
        // Those without a token fill the caches for those with one.
        for tokens in [vec![None], tokens.clone()] {
            let visitor = Visitor {
                shopper: Shopper::open(api, access).await?,
                product,
                tokens,
            };
            visitors.spawn(async move {
                let is_buyer = visitor.tokens[0].is_some();
                anyhow::Ok((is_buyer, visitor.look().await?))
            });
        }
    }
    let (mut own, mut others) = (Seen::default(), Seen::default());
    while let Some(visitor) = visitors.join_next().await {
        let (is_buyer, seen) = visitor??;
        let all = if is_buyer { &mut own } else { &mut others };
        all.add(&seen);
    }
    println!("{primary:?}: with a token {own:?}; without {others:?}");
    assert_eq!(own.old, 0);
    assert!(own.new + own.refused > 0);
    // The replicas still show what they have, and to everybody who has not seen more.
    assert!(others.old > 0);
    assert_eq!(others.refused, 0);
    Ok(())
}

fn in_memory(api: AppBuilder) -> AppBuilder {
    api.env("CACHE_TYPE", "memory")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_in_memory_are_not_older_than_ones_own_order_when_the_primary_hangs() -> Result<()> {
    own_order_is_seen(in_memory, Primary::Frozen).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_in_memory_are_not_older_than_ones_own_order_when_the_primary_is_gone() -> Result<()>
{
    own_order_is_seen(in_memory, Primary::Killed).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_pages_are_not_older_than_ones_own_order_when_the_primary_hangs() -> Result<()> {
    own_order_is_seen(shared(), Primary::Frozen).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_pages_are_not_older_than_ones_own_order_when_the_primary_is_gone() -> Result<()> {
    own_order_is_seen(shared(), Primary::Killed).await
}

/// In Redis, with key names of one's own.
fn shared() -> impl Fn(AppBuilder) -> AppBuilder {
    let (redis, prefix) = (test_redis_url(), test_prefix());
    move |api| api.cache_redis(&redis).cache_prefix(&prefix)
}
