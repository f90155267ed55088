//! Everything fails that can, again and again, while people shop; in the end every order that was
//! taken has come out right.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use bharatmart_test_support::{
    App, AppBuilder, CAMPAIGN_RATE_VARIABLE, CAMPAIGN_SECONDS_VARIABLE, CAMPAIGN_SEED_VARIABLE,
    ShopClient, TEST_PASSWORD,
    servers::{RedisOptions, RedisServer, Refusals, SmtpServer},
    test_parameter, wait_until,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use crate::stack::{SOON, Stack, by_order_and_type, customer, id};

/// How long the campaign is fought and how many orders a second are placed, unless the environment
/// says otherwise.
const SECONDS: u64 = 60;
const RATE: u64 = 50;
const SHOPPERS: u64 = 10;
const STOCK: i32 = 10_000_000;
/// Between two attacks on the processes.
const ATTACK_EVERY: Duration = Duration::from_secs(2);
/// Long enough for every payment, so that only those who do not pay are cancelled.
const PAYMENT_TIMEOUT: &str = "75s";
/// The mail server's refusals. They end before the attempts do: what is given up is for a person to see to.
const REFUSALS: Refusals = Refusals {
    share: 0.1,
    times: 2,
    reply: "451 4.3.0 try again later",
};
/// How long all may take to come out right: the deadline, and the reconciliation of what lost its job. On top of it comes
/// half of the campaign's length, since a machine that does all of this at once cannot keep up with the mails.
const SETTLED_WITHIN: Duration = Duration::from_mins(4);
const QUEUES: [&str; 3] = [
    "order-processing",
    "payment-processing",
    "email-notifications",
];

/// What a customer means to do about an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Plan {
    CashOnDelivery,
    Pay(&'static str),
    BeDeclined,
    Forget,
}

impl Plan {
    /// One in ten payments meets a gateway that fails, and one in twenty a bank that declines.
    fn random(rng: &mut StdRng) -> Self {
        match rng.random_range(0..100) {
            0..20 => Self::CashOnDelivery,
            20..25 => Self::Forget,
            25..30 => Self::BeDeclined,
            30..34 => Self::Pay("flaky@upi"),
            34..38 => Self::Pay("lost@upi"),
            _ => Self::Pay("success@upi"),
        }
    }

    const fn method(self) -> &'static str {
        match self {
            Self::CashOnDelivery => "cash_on_delivery",
            Self::Pay(_) | Self::BeDeclined | Self::Forget => "upi",
        }
    }

    const fn token(self) -> Option<&'static str> {
        match self {
            Self::Pay(token) => Some(token),
            Self::BeDeclined => Some("decline@upi"),
            Self::CashOnDelivery | Self::Forget => None,
        }
    }

    const fn final_status(self) -> &'static str {
        match self {
            Self::CashOnDelivery | Self::Pay(_) => "processing",
            Self::BeDeclined | Self::Forget => "cancelled",
        }
    }

    /// How often the customer is charged.
    const fn charges(self) -> i64 {
        matches!(self, Self::Pay(_)) as i64
    }

    const fn mails(self) -> &'static [&'static str] {
        match self {
            Self::CashOnDelivery => &["order_confirmation"],
            Self::Pay(_) => &["order_confirmation", "payment_success"],
            Self::BeDeclined => &["order_cancelled", "order_confirmation", "payment_failed"],
            Self::Forget => &["order_cancelled", "order_confirmation"],
        }
    }
}

/// Sends a request to one of the APIs after the other until one answers; the status and the body,
/// and whether an earlier request may have been carried out without an answer.
async fn insist(
    clients: &[ShopClient],
    rng: &mut StdRng,
    path: &str,
    body: &Value,
) -> Result<(u16, Value, bool)> {
    let mut in_doubt = false;
    let first = rng.random_range(0..clients.len());
    let patience = Instant::now() + SOON;
    for client in clients.iter().cycle().skip(first) {
        match client.post(path, body).await {
            Ok((503, _)) => {}
            Ok((status, answer)) => return Ok((status, answer, in_doubt)),
            Err(_) => in_doubt = true,
        }
        ensure!(Instant::now() < patience, "{path}: no API answers");
        sleep(Duration::from_millis(100)).await;
    }
    bail!("there is no API")
}

/// Places orders, and does about each what is planned, until the time is over; those that were
/// answered.
async fn shop(
    clients: Vec<ShopClient>,
    product: Uuid,
    mut rng: StdRng,
    pace: Duration,
    until: Instant,
) -> Result<Vec<(String, Plan)>> {
    let mut placed = Vec::new();
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while ticks.tick().await < until {
        let plan = Plan::random(&mut rng);
        let body = json!({
            "items": [{"product_id": product, "quantity": rng.random_range(1..4)}],
            "shipping_address": "12 MG Road, Bengaluru 560001",
            "payment_method": plan.method(),
        });
        let (status, answer, _) = insist(&clients, &mut rng, "/api/orders", &body).await?;
        ensure!(status == 201, "{status}: {answer}");
        let order = id(&answer)?.to_string();
        if let Some(token) = plan.token() {
            let body = json!({
                "order_id": order,
                "payment_method": plan.method(),
                "payment_token": token,
            });
            let (status, answer, in_doubt) =
                insist(&clients, &mut rng, "/api/payments", &body).await?;
            // The payment that was started before is under way or done.
            let started_before = in_doubt && status == 409;
            ensure!(status == 201 || started_before, "{status}: {answer}");
        }
        placed.push((order, plan));
    }
    Ok(placed)
}

/// Kills one program after the other, or asks it to stop, and starts it again; how often.
async fn attack(apps: &mut [App], mut rng: StdRng, until: Instant) -> Result<[usize; 2]> {
    let mut attacks = [0; 2];
    let mut ticks = interval(ATTACK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while ticks.tick().await < until {
        let victim = rng.random_range(0..apps.len());
        let app = &mut apps[victim];
        let kill = rng.random();
        if kill {
            app.kill9();
        } else {
            app.sigterm()?;
            let status = app.wait(SOON).await?;
            ensure!(status.success(), "{status}\n{}", app.log_tail(30));
        }
        attacks[usize::from(kill)] += 1;
        app.start_again().await?;
    }
    Ok(attacks)
}

/// Freezes the queue's Redis now and then, and restarts it; how often each.
async fn attack_redis(
    redis: &mut RedisServer,
    mut rng: StdRng,
    until: Instant,
) -> Result<[usize; 2]> {
    let mut attacks = [0; 2];
    let mut seconds = |from: f64, to: f64| Duration::from_secs_f64(rng.random_range(from..to));
    for attack in [0, 1].into_iter().cycle() {
        // The randomness of the moment is the point: no condition can be awaited.
        sleep(seconds(3.0, 8.0)).await;
        if Instant::now() >= until {
            break;
        }
        let outage = seconds(0.2, 2.5);
        if attack == 0 {
            redis.pause()?;
            sleep(outage).await;
            redis.resume()?;
        } else {
            redis.stop().await?;
            sleep(outage).await;
            redis.start_again().await?;
        }
        attacks[attack] += 1;
    }
    Ok(attacks)
}

/// Waits until nothing is left to be done.
async fn settle(stack: &Stack, within: Duration) -> Result<()> {
    let open = "SELECT count(*) FROM orders
        WHERE status NOT IN ('processing', 'cancelled')
           OR (status = 'processing' AND processed_at IS NULL)";
    let unsent = "SELECT count(*) FROM outbox WHERE dispatched_at IS NULL";
    let settled = wait_until("every order to be settled", within, async || {
        let mut idle = stack.count(open).await? == 0 && stack.count(unsent).await? == 0;
        for queue in QUEUES {
            idle = idle && stack.is_idle(queue).await?;
        }
        Ok(idle)
    })
    .await;
    let Err(error) = settled else {
        return Ok(());
    };
    let orders: Vec<(String, String)> =
        sqlx::query_as("SELECT id::text, status FROM orders WHERE status NOT IN ('processing', 'cancelled') OR processed_at IS NULL LIMIT 20")
            .fetch_all(&stack.pool)
            .await?;
    let mut left = format!("open orders {orders:?}");
    for queue in QUEUES {
        let failed = stack.failures(queue).await?;
        let (waiting, active) = (
            stack.llen(queue, "wait").await?,
            stack.llen(queue, "active").await?,
        );
        write!(
            left,
            "; {queue}: {waiting} waiting, {active} active, failed {failed:?}"
        )?;
    }
    let mails: Vec<(String, i64)> =
        sqlx::query_as("SELECT status, count(*) FROM mail_deliveries GROUP BY status")
            .fetch_all(&stack.pool)
            .await?;
    write!(left, "; mails {mails:?}")?;
    Err(error.context(left))
}

/// The orders are as their customers' plans make them, and nobody was charged twice.
async fn orders_came_out_right(stack: &Stack, placed: &[(String, Plan)]) -> Result<()> {
    let rows: Vec<(String, String, i64, i64)> = sqlx::query_as(
        "SELECT orders.id::text, orders.status,
                count(charges.*) FILTER (WHERE charges.status IN ('approved', 'refunded')),
                count(charges.*) FILTER (WHERE charges.status = 'refunded')
         FROM orders
         LEFT JOIN payments ON payments.order_id = orders.id
         LEFT JOIN sandbox_gateway.charges ON charges.idempotency_key = payments.id::text
         GROUP BY orders.id",
    )
    .fetch_all(&stack.pool)
    .await?;
    let rows: BTreeMap<_, _> = rows
        .into_iter()
        .map(|(id, status, charges, refunds)| (id, (status, charges, refunds)))
        .collect();
    let wrong: Vec<_> = placed
        .iter()
        .map(|(order, plan)| (order, plan, rows.get(order)))
        .filter(|(_, plan, row)| {
            let expected = (plan.final_status().to_owned(), plan.charges(), 0);
            *row != Some(&expected)
        })
        .collect();
    assert!(wrong.is_empty(), "{} orders: {wrong:?}", wrong.len());
    println!(
        "{} orders were answered; {} are there, of which some were answered by a dead API",
        placed.len(),
        rows.len()
    );
    let charges = "SELECT count(*) FROM sandbox_gateway.charges";
    let keys = "SELECT count(DISTINCT idempotency_key) FROM sandbox_gateway.charges";
    assert_eq!(stack.count(charges).await?, stack.count(keys).await?);
    Ok(())
}

/// Each mail of each order came once, by the mail server's own records.
async fn mails_came_once(
    stack: &Stack,
    smtp: &SmtpServer,
    placed: &[(String, Plan)],
) -> Result<()> {
    let mails = smtp.mails()?;
    let counts = by_order_and_type(&mails);
    let unconfirmed: Vec<(String, String)> = sqlx::query_as(
        "SELECT order_id::text, kind FROM mail_deliveries WHERE status = 'unconfirmed'",
    )
    .fetch_all(&stack.pool)
    .await?;
    let unconfirmed: BTreeSet<_> = unconfirmed.into_iter().collect();
    let (mut expected, mut lost, mut wrong) = (0, 0, Vec::new());
    for (order, plan) in placed {
        for kind in plan.mails() {
            expected += 1;
            let key = (order.clone(), (*kind).to_owned());
            match counts.get(&key) {
                Some(1) => {}
                None if unconfirmed.contains(&key) => lost += 1,
                count => wrong.push((key, count)),
            }
        }
    }
    let planned: BTreeMap<_, _> = placed.iter().map(|(order, plan)| (order, plan)).collect();
    for (order, kind) in counts.keys() {
        if let Some(plan) = planned.get(order)
            && !plan.mails().contains(&kind.as_str())
        {
            wrong.push(((order.clone(), kind.clone()), None));
        }
    }
    let ids: BTreeSet<_> = mails.iter().map(|mail| &mail.message_id).collect();
    println!(
        "{} mails came, {} of them a second time by their Message-ID; {} are unconfirmed, of which {lost} did not come",
        mails.len(),
        mails.len() - ids.len(),
        unconfirmed.len()
    );
    assert!(wrong.is_empty(), "{} mails: {wrong:?}", wrong.len());
    assert!(
        lost * 50 <= expected,
        "{lost} of {expected} mails were lost"
    );
    Ok(())
}

/// What is not in the orders is in the shop.
async fn stock_is_conserved(stack: &Stack, product: Uuid) -> Result<()> {
    let sold = stack
        .count(
            "SELECT coalesce(sum(order_items.quantity), 0)
             FROM order_items
             JOIN orders ON orders.id = order_items.order_id
             WHERE orders.status <> 'cancelled'",
        )
        .await?;
    let left = stack.stock(product).await?;
    assert_eq!(i64::from(STOCK - left), sold);
    let logged = "SELECT coalesce(sum(change), 0)::bigint FROM inventory_logs";
    assert_eq!(stack.count(logged).await?, -sold, "the log agrees");
    Ok(())
}

/// A customer of all the APIs.
async fn customer_of(apis: &[App]) -> Result<Vec<ShopClient>> {
    let (first, others) = apis.split_first().context("no API")?;
    let mut clients = vec![customer(first).await?];
    for api in others {
        let mut client = ShopClient::new(api.base_url())?;
        client.login(clients[0].email(), TEST_PASSWORD).await?;
        clients.push(client);
    }
    Ok(clients)
}

#[tokio::test]
async fn every_order_comes_out_right_whatever_fails() -> Result<()> {
    let seconds = test_parameter(CAMPAIGN_SECONDS_VARIABLE).unwrap_or(SECONDS);
    let rate = test_parameter(CAMPAIGN_RATE_VARIABLE).unwrap_or(RATE);
    let seed = test_parameter(CAMPAIGN_SEED_VARIABLE).unwrap_or_else(|| rand::rng().random());
    println!("{seconds} s, {rate} orders a second; again with {CAMPAIGN_SEED_VARIABLE}={seed}");
    let mut redis = RedisServer::start(RedisOptions {
        append_only: true,
        ..RedisOptions::default()
    })
    .await?;
    let stack = Stack::on_redis(&redis.url()).await?;
    let smtp = SmtpServer::start().await?;
    smtp.refuse(Some(REFUSALS))?;
    let product = stack.product("Terracotta Horse", 349, STOCK).await?;
    let quick = |app: AppBuilder| {
        app.env("SHUTDOWN_TIMEOUT", "4000")
            .env("ORDER_PAYMENT_TIMEOUT", PAYMENT_TIMEOUT)
            .env("WORKER_LOCK_DURATION", "2000")
            .env("WORKER_STALLED_INTERVAL", "1000")
    };
    let mut apps = vec![
        quick(stack.api()).start().await?,
        quick(stack.api()).start().await?,
    ];
    let mut customers = Vec::new();
    for _ in 0..SHOPPERS {
        customers.push(customer_of(&apps).await?);
    }
    for kind in ["order", "payment", "email", "all"] {
        apps.push(quick(stack.worker(kind)).smtp(&smtp).start().await?);
    }

    let until = Instant::now() + Duration::from_secs(seconds);
    let pace = Duration::from_secs(SHOPPERS) / u32::try_from(rate)?;
    let rng = |part: u64| StdRng::seed_from_u64(seed.wrapping_add(part));
    let mut shoppers = Vec::new();
    for (clients, part) in customers.into_iter().zip(2..) {
        shoppers.push(tokio::spawn(shop(clients, product, rng(part), pace, until)));
    }
    let (attacks, redis_attacks) = tokio::try_join!(
        attack(&mut apps, rng(0), until),
        attack_redis(&mut redis, rng(1), until)
    )?;
    let mut placed = Vec::new();
    for shopper in shoppers {
        placed.extend(shopper.await??);
    }
    let ([stops, kills], [freezes, restarts]) = (attacks, redis_attacks);
    println!("{stops} SIGTERMs, {kills} kills; Redis: {freezes} freezes, {restarts} restarts");

    let before = Instant::now();
    settle(&stack, SETTLED_WITHIN + Duration::from_secs(seconds / 2)).await?;
    println!("settled {:.0} s later", before.elapsed().as_secs_f64());
    orders_came_out_right(&stack, &placed).await?;
    mails_came_once(&stack, &smtp, &placed).await?;
    stock_is_conserved(&stack, product).await?;
    Ok(())
}
