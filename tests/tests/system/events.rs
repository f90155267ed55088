//! Customers follow their orders while everything around them breaks.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{
    App, FlakyProxy, ShopClient,
    servers::{Postgres, PostgresOptions},
    test_prefix, wait_until,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use uuid::Uuid;

use crate::stack::{SOON, Stack, add_product, customer, id, order};

/// How long an event may take that another process has made.
const PROMPT: Duration = Duration::from_secs(1);
const STEPS: [&str; 3] = ["processing", "shipped", "delivered"];

/// An open stream.
struct EventStream {
    answer: reqwest::Response,
    text: String,
}

#[derive(Debug)]
struct Event {
    id: Option<i64>,
    name: String,
    data: Value,
}

impl EventStream {
    async fn open(client: &ShopClient, order: Uuid, last: Option<i64>) -> Result<Self> {
        let url = format!("{}/api/orders/{order}/events", client.base_url());
        let mut request = client
            .http()
            .get(url)
            .bearer_auth(client.token().context("signed in")?)
            // It is to last.
            .timeout(Duration::from_mins(5));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = request.send().await?;
        ensure!(answer.status() == 200, "{}", answer.status());
        Ok(Self {
            answer,
            text: String::new(),
        })
    }

    /// What stands before the next empty line; `None` at the end.
    async fn block(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block = self.text[..end].to_owned();
                self.text.drain(..end + 2);
                return Ok(Some(block));
            }
            match self.answer.chunk().await? {
                Some(bytes) => self.text.push_str(std::str::from_utf8(&bytes)?),
                None => return Ok(None),
            }
        }
    }

    async fn event(&mut self) -> Result<Option<Event>> {
        while let Some(block) = self.block().await? {
            let field = |name: &str| {
                let mut fields = block.lines().filter_map(|line| line.split_once(": "));
                fields.find(|(key, _)| *key == name).map(|(_, value)| value)
            };
            if let Some(data) = field("data") {
                return Ok(Some(Event {
                    id: field("id").map(str::parse).transpose()?,
                    name: field("event").context("a name")?.to_owned(),
                    data: serde_json::from_str(data)?,
                }));
            }
        }
        Ok(None)
    }

    /// Waits for this status.
    async fn expect(&mut self, status: &str, limit: Duration) -> Result<()> {
        let event = timeout(limit, self.event()).await;
        let event = event.with_context(|| format!("{status} took more than {limit:?}"))??;
        let event = event.context("the stream ended")?;
        ensure!(event.data["to_status"] == status, "{event:?}");
        Ok(())
    }
}

async fn set_status(admin: &ShopClient, order: Uuid, status: &str) -> Result<()> {
    let path = format!("/api/orders/{order}/status");
    let (code, answer) = admin.patch(&path, &json!({ "status": status })).await?;
    ensure!(code == 200, "{code}: {answer}");
    Ok(())
}

#[tokio::test]
async fn a_change_made_through_one_api_arrives_at_the_other_within_a_second() -> Result<()> {
    let stack = Stack::new().await?;
    let (here, there) = (stack.api().start().await?, stack.api().start().await?);
    let product = stack.product("Brass Diya", 300, 10).await?;
    let (customer, admin) = (customer(&here).await?, stack.admin(&there).await?);
    let order = id(&order(&customer, &[(product, 1)], "upi").await?)?;
    let mut stream = EventStream::open(&customer, order, None).await?;
    stream.expect("pending", PROMPT).await?;
    let mut latest = Duration::ZERO;
    for status in STEPS {
        set_status(&admin, order, status).await?;
        let start = Instant::now();
        stream.expect(status, PROMPT).await?;
        latest = latest.max(start.elapsed());
    }
    println!("the latest event took {latest:?}");
    let end = stream.event().await?.context("an end")?;
    assert_eq!(end.name, "end");
    assert!(stream.event().await?.is_none(), "and nothing after it");
    let open = here.metric("event_streams_open").await?;
    assert_eq!(open, Some(0.0));
    Ok(())
}

/// Follows an order to its end over a connection that breaks; the statuses as they came, with their ids, and how
/// often it broke.
async fn follow(client: ShopClient, order: Uuid) -> Result<(Vec<(i64, String)>, usize)> {
    let mut seen: Vec<(i64, String)> = Vec::new();
    let mut breaks = 0;
    loop {
        let last = seen.last().map(|(id, _)| *id);
        if let Ok(mut stream) = EventStream::open(&client, order, last).await {
            while let Ok(Some(event)) = stream.event().await {
                if event.name == "end" {
                    return Ok((seen, breaks));
                }
                let status = event.data["to_status"].as_str().context("a status")?;
                seen.push((event.id.context("an id")?, status.to_owned()));
            }
        }
        if seen.last().is_some_and(|(_, status)| status == "delivered") {
            // The end alone was lost, and a further request would be answered 204.
            return Ok((seen, breaks));
        }
        breaks += 1;
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn who_comes_back_with_the_last_id_sees_every_event_once_and_in_order() -> Result<()> {
    const ORDERS: usize = 20;
    const SEED: u64 = 7;
    let stack = Stack::new().await?;
    let roomy = || stack.api().env("MAX_EVENT_STREAMS_PER_USER", "500");
    let (here, there) = (roomy().start().await?, roomy().start().await?);
    let product = stack.product("Clay Kulhad", 40, 1000).await?;
    let (customer, admin) = (customer(&here).await?, stack.admin(&there).await?);
    let proxies = [
        FlakyProxy::start(here.base_url().replace("http://", "")).await?,
        FlakyProxy::start(there.base_url().replace("http://", "")).await?,
    ];
    let mut orders = Vec::new();
    let mut followers = JoinSet::new();
    for number in 0..ORDERS {
        let order = id(&order(&customer, &[(product, 1)], "upi").await?)?;
        let proxy = &proxies[number % 2];
        let client = customer.at(format!("http://{}", proxy.address()));
        followers.spawn(follow(client, order));
        orders.push(order);
    }
    let changes = async {
        for status in STEPS {
            for order in &orders {
                set_status(&admin, *order, status).await?;
                sleep(Duration::from_millis(50)).await;
            }
        }
        anyhow::Ok(())
    };
    let failures = async {
        let mut rng = StdRng::seed_from_u64(SEED);
        loop {
            let proxy = &proxies[rng.random_range(0..2)];
            sleep(Duration::from_millis(rng.random_range(50..400))).await;
            proxy.cut();
            sleep(Duration::from_millis(rng.random_range(1..50))).await;
            proxy.restore();
        }
    };
    tokio::select! {
        done = changes => done?,
        () = failures => {}
    }
    proxies.iter().for_each(FlakyProxy::restore);
    let mut breaks = 0;
    while let Some(follower) = timeout(SOON, followers.join_next()).await? {
        let (seen, broken) = follower??;
        breaks += broken;
        let statuses: Vec<_> = seen.iter().map(|(_, status)| status.as_str()).collect();
        assert_eq!(statuses, ["pending", "processing", "shipped", "delivered"]);
        assert!(seen.is_sorted_by(|one, next| one.0 < next.0), "{seen:?}");
    }
    println!("{ORDERS} orders were followed over {breaks} broken connections");
    assert!(breaks >= ORDERS, "the connections did break: {breaks}");
    Ok(())
}

#[tokio::test]
async fn five_hundred_streams_do_not_hold_a_shutdown_up() -> Result<()> {
    const STREAMS: u16 = 500;
    const DRAIN: Duration = Duration::from_secs(3);
    let stack = Stack::new().await?;
    let mut api = stack
        .api()
        .env("MAX_EVENT_STREAMS_PER_USER", STREAMS.to_string())
        .env("SHUTDOWN_DRAIN_DELAY", DRAIN.as_millis().to_string())
        .start()
        .await?;
    let product = stack.product("Jute Bag", 150, 10).await?;
    let customer = customer(&api).await?;
    let order = id(&order(&customer, &[(product, 1)], "upi").await?)?;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut stream = EventStream::open(&customer, order, None).await?;
        stream.expect("pending", SOON).await?;
        streams.push(stream);
    }
    assert_eq!(
        api.metric("event_streams_open").await?,
        Some(f64::from(STREAMS))
    );

    let start = Instant::now();
    api.sigterm()?;
    for mut stream in streams {
        let end = timeout(SOON, stream.block()).await?;
        assert_eq!(end?, None, "a clean end, not a broken connection");
    }
    let closed = start.elapsed();
    let status = api.wait(SOON).await?;
    let ended = start.elapsed();
    println!("{STREAMS} streams were closed after {closed:?}, the process ended after {ended:?}");
    assert!(status.success(), "{status}\n{}", api.log_tail(30));
    assert!(closed < DRAIN, "at once: {closed:?}");
    assert!(ended < DRAIN + Duration::from_secs(2), "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn streams_outlast_a_frozen_and_a_restarted_database() -> Result<()> {
    let durable = PostgresOptions {
        durable: true,
        ..PostgresOptions::default()
    };
    let mut postgres = Postgres::start(durable).await?;
    let url = postgres.create_database("shop").await?;
    App::api().database_url(&url).run(&["migrate"]).await?;
    let api = App::api()
        .database_url(&url)
        .queue_prefix(&test_prefix())
        .start()
        .await?;
    let pool = PgPool::connect(&url).await?;
    let product = add_product(&pool, "Terracotta Pot", 90, 10).await?;
    let customer = customer(&api).await?;
    let mut admin = customer.clone();
    sqlx::query("UPDATE users SET role = 'admin'")
        .execute(&pool)
        .await?;
    let email = admin.email().to_owned();
    admin
        .login(&email, bharatmart_test_support::TEST_PASSWORD)
        .await?;
    pool.close().await;
    let order = id(&order(&customer, &[(product, 1)], "upi").await?)?;
    let mut stream = EventStream::open(&customer, order, None).await?;
    stream.expect("pending", SOON).await?;

    postgres.pause()?;
    loop {
        let block = timeout(SOON, stream.block()).await??;
        if block.context("the stream stays open")?.starts_with(':') {
            break;
        }
    }
    postgres.resume()?;
    let change = async |status: &str| {
        let mut last = Ok(());
        let waited = wait_until("the database to be back", SOON, async || {
            last = set_status(&admin, order, status).await;
            Ok(last.is_ok())
        })
        .await;
        waited.with_context(|| format!("at last it was {last:?}"))
    };
    change("processing").await?;
    stream.expect("processing", Duration::from_secs(5)).await?;

    postgres.stop_immediate().await?;
    sleep(Duration::from_secs(2)).await;
    postgres.start_again().await?;
    change("shipped").await?;
    stream.expect("shipped", Duration::from_secs(5)).await?;
    let log = api.log();
    assert_eq!(
        log.matches("event streams wait for the database").count(),
        2,
        "once for each outage:\n{log}"
    );
    Ok(())
}
