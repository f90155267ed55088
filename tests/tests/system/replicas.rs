//! Reads from replicas: nobody sees what is older than their own writes, and replicas may fail.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{App, AppBuilder, test_prefix, test_redis_url, wait_until};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    cache::{LIST, find, page_of},
    load::{Reply, Wire, spread},
    replicated::{Reads, Replicated, in_rotation},
    shopper::{COOKIE, HEADER, Shopper, Token},
    stack::{SOON, Stack, customer, id},
    traffic::{Traffic, report},
};

/// For how long standbys keep a commit back: nobody could wait for that unnoticed.
const DELAY: Duration = Duration::from_secs(3);
/// So soon the metric shows that a replica has gone or come back.
const NOTICED: Duration = Duration::from_secs(3);

/// Things to write, each with a way to see it.
const KINDS: usize = 5;

/// What was answered to a write, and where to see it.
struct Written {
    reply: Reply,
    path: String,
    sign: Sign,
}

/// By what a write is seen.
enum Sign {
    Id(Uuid),
    Row(Uuid),
    Price(Uuid, usize),
    Name(String),
}

impl Sign {
    fn is_in(&self, answer: &Value) -> bool {
        match self {
            Self::Id(id) => answer["id"] == json!(id),
            Self::Row(id) => answer["data"]
                .as_array()
                .is_some_and(|rows| rows.iter().any(|row| row["id"] == json!(id))),
            Self::Price(product, price) => find(answer, *product)["price"] == *price,
            Self::Name(name) => answer["user"]["full_name"] == name.as_str(),
        }
    }
}

/// Somebody who writes at one API and reads at the other.
struct Lane {
    writer: Shopper,
    editor: Shopper,
    reader: Shopper,
    product: Uuid,
}

impl Lane {
    async fn open(shop: &Replicated, apis: [&App; 2], admin: &str, number: usize) -> Result<Self> {
        let customer = customer(apis[0]).await?;
        let access = customer.token().context("signed in")?;
        Ok(Self {
            writer: Shopper::open(apis[0], access).await?,
            editor: Shopper::open(apis[0], admin).await?,
            reader: Shopper::open(apis[1], access).await?,
            product: shop.product(&format!("Rangoli {number}"), 10_000).await?,
        })
    }

    /// Writes what has the number.
    async fn write(&mut self, number: usize) -> Result<Written> {
        let product = self.product;
        let page = page_of(product);
        let kind = number % KINDS;
        let (reply, path, sign) = match kind {
            0 | 1 => {
                let reply = self.writer.order(product).await?;
                let order = id(&reply.expect(201)?)?;
                if kind == 0 {
                    (reply, format!("/api/orders/{order}"), Sign::Id(order))
                } else {
                    (reply, "/api/orders?limit=5".to_owned(), Sign::Row(order))
                }
            }
            2 | 3 => {
                let price = 1000 + number;
                let body = json!({ "price": price });
                let reply = self.editor.send("PUT", &page, None, Some(&body)).await?;
                let path = if kind == 2 { page } else { LIST.to_owned() };
                (reply, path, Sign::Price(product, price))
            }
            _ => {
                let name = format!("Asha {number}");
                let path = "/api/auth/me";
                let body = json!({ "full_name": name });
                let reply = self.writer.send("PATCH", path, None, Some(&body)).await?;
                (reply, path.to_owned(), Sign::Name(name))
            }
        };
        reply.expect(if kind < 2 { 201 } else { 200 })?;
        Ok(Written { reply, path, sign })
    }

    /// Writes and reads; whether what was read was older than what was written.
    async fn pair(&mut self, number: usize, with_token: bool) -> Result<bool> {
        let Written { reply, path, sign } = self.write(number).await?;
        let token = match (with_token, number / KINDS % 2) {
            (false, _) => None,
            (true, 0) => Some(Token::header(&reply)?),
            (true, _) => Some(Token::cookie(&reply)?),
        };
        let read = self.reader.get(&path, token.as_ref()).await?;
        if matches!(sign, Sign::Id(_)) && read.status == 404 {
            return Ok(true);
        }
        let answer = read.expect(200).context(path)?;
        Ok(!sign.is_in(&answer))
    }

    /// So many pairs from `first` on; how many were stale.
    async fn pairs(&mut self, first: usize, count: usize, with_token: bool) -> Result<usize> {
        let mut stale = 0;
        for number in first..first + count {
            stale += usize::from(self.pair(number, with_token).await?);
        }
        Ok(stale)
    }
}

/// So many pairs on each lane at once; how many were stale.
async fn pairs(lanes: &mut [Lane], first: usize, count: usize, with_token: bool) -> Result<usize> {
    let all = lanes
        .iter_mut()
        .map(|lane| lane.pairs(first, count, with_token));
    Ok(try_join_all(all).await?.into_iter().sum())
}

/// Shows that what is written at one API is seen at the other, whatever the standbys lag. Returns the share
/// of reads with a token that replicas answer when they do not lag.
async fn own_writes_are_seen(cached: impl Fn(AppBuilder) -> AppBuilder) -> Result<f64> {
    const LANES: usize = 10;
    const PAIRS: usize = 200;
    let shop = Replicated::start(DELAY).await?;
    let one = cached(shop.api()).start().await?;
    let other = cached(shop.api()).start().await?;
    let admin = shop.admin(&one).await?;
    let mut lanes = Vec::new();
    for number in 0..LANES {
        lanes.push(Lane::open(&shop, [&one, &other], &admin, number).await?);
    }
    for api in [&one, &other] {
        shop.all_in_rotation(api).await?;
    }

    let begin = Instant::now();
    let stale = pairs(&mut lanes, 0, PAIRS, true).await?;
    let took = begin.elapsed();
    println!(
        "{} pairs in {took:?} with standbys {DELAY:?} behind: {stale} stale",
        LANES * PAIRS
    );
    assert_eq!(stale, 0);

    // Else there was nothing to see.
    let before = Reads::of(&other).await?;
    let stale = pairs(&mut lanes, PAIRS, 2 * KINDS, false).await?;
    let reads = Reads::since(before, &other).await?;
    println!(
        "{} pairs without a token: {stale} stale, {reads:?}",
        LANES * 2 * KINDS
    );
    assert!(stale > 0);
    assert!(reads.replica > 0.0);

    for standby in &shop.servers.standbys {
        standby.set("recovery_min_apply_delay", "0").await?;
    }
    shop.servers.wait_until_replayed().await?;
    wait_until("the API to notice", SOON, async || {
        let lag = other.metric("database_replica_lag_seconds").await?;
        Ok(lag.is_some_and(|lag| lag < 0.1))
    })
    .await?;
    let before = Reads::of(&other).await?;
    let stale = pairs(&mut lanes[..4], PAIRS + 2 * KINDS, PAIRS, true).await?;
    let reads = Reads::since(before, &other).await?;
    let share = reads.share();
    println!("with fresh standbys: {stale} stale, {share:.1} % from replicas, {reads:?}");
    assert_eq!(stale, 0);
    Ok(share)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_sees_its_write_at_another_api_however_far_replicas_lag() -> Result<()> {
    let share = own_writes_are_seen(|api| api).await?;
    assert!(share >= 95.0, "{share}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_sees_its_write_through_the_shared_cache_as_well() -> Result<()> {
    let prefix = test_prefix();
    let redis = test_redis_url();
    own_writes_are_seen(|api| api.cache_redis(&redis).cache_prefix(&prefix)).await?;
    Ok(())
}

#[tokio::test]
async fn reads_without_a_token_and_with_an_invented_one_are_answered_by_replicas() -> Result<()> {
    const READS: usize = 100;
    /// All hosts may be asked whether there is such a timeline.
    const FOUND_OUT: Duration = Duration::from_millis(1_200);
    let shop = Replicated::start(Duration::ZERO).await?;
    let api = shop.api().start().await?;
    let product = shop.product("Toran", 100).await?;
    let customer = customer(&api).await?;
    let mut shopper = Shopper::open(&api, customer.token().context("signed in")?).await?;
    shop.servers.wait_until_replayed().await?;
    shop.all_in_rotation(&api).await?;
    let page = page_of(product);

    // Of this timeline, of one that may come, and of the last one.
    let forged = [
        "000000017000000000000000",
        "00000001ffffffffffffffff",
        "000000020000000000000000",
        "0000000200000000ffffffff",
        "ffffffffffffffffffffffff",
    ];
    let long = "f".repeat(4000);
    let nonsense = [
        "",
        "0",
        "0/16B3748",
        "ffffffffffffffff",
        "-00000010000000000000001",
        "%00",
        "🪔",
        &long,
    ];
    let tokens: Vec<_> = forged
        .iter()
        .chain(&nonsense)
        .flat_map(|token| {
            let pair = format!("{COOKIE}={token}");
            [Token::Header((*token).to_owned()), Token::Cookie(pair)]
        })
        .collect();
    let before = Reads::of(&api).await?;
    let mut longest = Duration::ZERO;
    for token in &tokens {
        let asked = Instant::now();
        let reply = shopper.get(&page, Some(token)).await?;
        assert_eq!(reply.status, 200, "{token:?}");
        let took = asked.elapsed();
        longest = longest.max(took);
        assert!(took < FOUND_OUT, "{token:?}: {took:?}");
        assert!(reply.header(HEADER).is_none(), "a read gives no token");
        // What others are told must not be what somebody has invented.
        let body = json!({ "full_name": "Asha" });
        let path = "/api/auth/me";
        let reply = shopper
            .send("PATCH", path, Some(token), Some(&body))
            .await?;
        let given = reply.header(HEADER).context("no token")?;
        assert_eq!(reply.status, 200, "{token:?}");
        let (timeline, position) = given.split_at_checked(8).context("no timeline")?;
        assert_eq!(timeline, "00000001", "{given}");
        let position = u64::from_str_radix(position, 16)?;
        let written = shop.servers.primary.wal_position().await?;
        assert!(position <= written + 16 * 1024 * 1024, "{given}");
    }
    let reads = Reads::since(before, &api).await?;
    println!(
        "{} reads with inventions, at most {longest:?}: {reads:?}",
        tokens.len()
    );
    assert!(reads.primary < 1.0, "{reads:?}");

    shop.servers.wait_until_replayed().await?;
    let order = shopper.order(product).await?;
    let own = Token::header(&order)?;
    shop.servers.wait_until_replayed().await?;
    for token in [None, Some(&own)] {
        let before = Reads::of(&api).await?;
        for _ in 0..READS {
            shopper.get(&page, token).await?.expect(200)?;
            shopper.get("/api/orders", token).await?.expect(200)?;
        }
        let reads = Reads::since(before, &api).await?;
        let all = u32::try_from(2 * READS)?;
        assert!(reads.replica >= f64::from(all), "{token:?}: {reads:?}");
        assert!(reads.primary < 1.0, "{token:?}: {reads:?}");
    }
    Ok(())
}

#[tokio::test]
async fn without_replicas_no_answer_has_a_token() -> Result<()> {
    let stack = Stack::new().await?;
    let api = stack.api().start().await?;
    let product = stack.product("Mogra", 50, 100).await?;
    let customer = customer(&api).await?;
    let mut shopper = Shopper::open(&api, customer.token().context("signed in")?).await?;
    let order = shopper.order(product).await?;
    let token = Token::Header("000000017fffffffffffffff".to_owned());
    let read = shopper.get("/api/orders", Some(&token)).await?;
    for (reply, status) in [(order, 201), (read, 200)] {
        reply.expect(status)?;
        assert!(reply.header(HEADER).is_none());
        assert!(reply.header("set-cookie").is_none());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_may_die_hang_and_come_back_and_no_request_fails() -> Result<()> {
    let mut shop = Replicated::start(Duration::ZERO).await?;
    let api = shop.api().start().await?;
    let product = shop.product("Kumkum", 1_000_000).await?;
    shop.all_in_rotation(&api).await?;
    let traffic = Traffic::start(&api, product, 12, 4, Duration::from_millis(40)).await?;
    let noticed = async |shop: &Replicated, standby: usize, expected: bool, what: &str| {
        let begin = Instant::now();
        let standby = &shop.servers.standbys[standby];
        in_rotation(&api, standby, expected, NOTICED).await?;
        println!("{what}: noticed after {:?}", begin.elapsed());
        // Some traffic in this state.
        sleep(Duration::from_secs(1)).await;
        anyhow::Ok(())
    };
    sleep(Duration::from_secs(1)).await;

    shop.servers.standbys[0].kill9()?;
    noticed(&shop, 0, false, "the first killed").await?;
    shop.servers.standbys[1].kill9()?;
    noticed(&shop, 1, false, "both killed").await?;
    let none = "database_reads_total{target=\"primary\",reason=\"none_in_rotation\"}";
    assert!(api.metric(none).await?.is_some_and(|count| count > 0.0));
    for standby in 0..2 {
        shop.servers.standbys[standby].start_again().await?;
        noticed(&shop, standby, true, "one back").await?;
    }
    shop.servers.standbys[1].pause()?;
    noticed(&shop, 1, false, "the second hangs").await?;
    shop.servers.standbys[1].resume()?;
    noticed(&shop, 1, true, "it goes on").await?;

    let before = Reads::of(&api).await?;
    sleep(Duration::from_secs(1)).await;
    let reads = Reads::since(before, &api).await?;
    let visits = traffic.end().await?;
    println!("in the end {:.1} % from replicas, {reads:?}", reads.share());
    report(&visits);
    for visit in &visits {
        ensure!(visit.is_answered(), "{visit:?}");
        assert_eq!(visit.gave_token, visit.order.is_some(), "{visit:?}");
    }
    assert!(reads.share() >= 90.0, "{reads:?}");
    for standby in &shop.servers.standbys {
        in_rotation(&api, standby, true, SOON).await?;
    }
    let [_, nearly_all, most] = spread(visits.iter().map(|visit| visit.took));
    println!("p99 {nearly_all:?}, at most {most:?}");
    let mut visitor = Wire::open(&api).await?;
    visitor.json(&page_of(product)).await?;
    Ok(())
}

/// The worker's write is newer than the payer's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_of_a_payment_that_was_waited_for_stays_so() -> Result<()> {
    const PAYMENTS: usize = 3;
    const DELAY: Duration = Duration::from_secs(1);
    let shop = Replicated::start(Duration::ZERO).await?;
    let api = shop.api().start().await?;
    let product = shop.product("Sindoor", 100).await?;
    let customer = customer(&api).await?;
    let access = customer.token().context("signed in")?;
    let mut payer = Shopper::open(&api, access).await?;
    let mut reader = Shopper::open(&api, access).await?;
    shop.all_in_rotation(&api).await?;
    shop.delay(DELAY).await?;
    let mails = tempfile::tempdir()?;
    for _ in 0..PAYMENTS {
        let order = id(&payer.order_paid_by(product, "upi").await?.expect(201)?)?;
        let body = json!({
            "order_id": order,
            "payment_method": "upi",
            "payment_token": "success@upi",
        });
        let paying = payer.send_preferring("wait=10", "/api/payments", &body);
        // It begins when the payment is there.
        let working = async {
            let there = "SELECT count(*) FROM payments WHERE status = 'pending'";
            wait_until("the payment", SOON, async || {
                let count: i64 = sqlx::query_scalar(there).fetch_one(&shop.pool).await?;
                Ok(count > 0)
            })
            .await?;
            let worker = shop.worker("all").mail_dir(mails.path());
            worker.start().await
        };
        let (paid, worker) = tokio::join!(paying, working);
        let (paid, _worker) = (paid?, worker?);
        let answer = paid.expect(201)?;
        assert_eq!(answer["status"], "completed");
        let token = Token::header(&paid)?;
        let pages = [
            (format!("/api/payments/{}", id(&answer)?), "/status"),
            (format!("/api/orders/{order}"), "/payment/status"),
        ];
        let before = Reads::of(&api).await?;
        let paid = Instant::now();
        while paid.elapsed() < DELAY + Duration::from_secs(2) {
            for (path, status) in &pages {
                let shown = reader.get(path, Some(&token)).await?.expect(200)?;
                let status = shown.pointer(status).context("a status")?;
                ensure!(
                    status == "completed",
                    "{path} after {:?}: {shown}",
                    paid.elapsed()
                );
            }
            sleep(Duration::from_millis(5)).await;
        }
        let reads = Reads::since(before, &api).await?;
        println!("reads of what came of a payment: {reads:?}");
        assert!(reads.replica > 0.0 && reads.primary > 0.0, "{reads:?}");
    }
    Ok(())
}
