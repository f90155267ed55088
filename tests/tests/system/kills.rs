//! Workers are killed in the middle of their jobs.

use std::time::Duration;

use anyhow::Result;
use bharatmart_test_support::{App, ShopClient, servers::SmtpServer, wait_until};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    sync::watch,
    time::{interval, sleep},
};
use uuid::Uuid;

use crate::stack::{SOON, Stack, by_order_and_type, customer, id, order};

const KILLS_OF_EACH: usize = 20;

/// Between one shopper's orders: the workers are to be busy, not buried.
const PACE: Duration = Duration::from_millis(150);

/// Places and pays orders until told to stop; their ids.
async fn shop(
    client: ShopClient,
    product: Uuid,
    mut stop: watch::Receiver<bool>,
) -> Result<Vec<String>> {
    let mut orders = Vec::new();
    let mut pace = interval(PACE);
    while !*stop.borrow_and_update() {
        pace.tick().await;
        let placed = order(&client, &[(product, 1)], "upi").await?;
        let order = id(&placed)?.to_string();
        let (status, answer) = client.pay(&order, "upi", Some("success@upi")).await?;
        anyhow::ensure!(status == 201, "{status}: {answer}");
        orders.push(order);
    }
    Ok(orders)
}

/// The types of worker, and the queue of each.
const WORKERS: [(&str, &str); 3] = [
    ("order", "order-processing"),
    ("payment", "payment-processing"),
    ("email", "email-notifications"),
];

/// Kills each worker again and again, at random moments at which it has a job.
async fn kill_often(stack: &Stack, workers: &mut [App], rng: &mut StdRng) -> Result<()> {
    let mut in_the_middle = [0; 3];
    for kill in 0..KILLS_OF_EACH * workers.len() {
        let worker = kill % workers.len();
        let (app, (_, queue)) = (&mut workers[worker], WORKERS[worker]);
        wait_until("a job to be worked on", SOON, async || {
            Ok(stack.llen(queue, "active").await? > 0)
        })
        .await?;
        // The randomness of the moment is the point: no condition can be awaited.
        sleep(Duration::from_millis(rng.random_range(0..4))).await;
        app.kill9();
        app.wait(SOON).await?;
        in_the_middle[worker] += usize::from(stack.llen(queue, "active").await? > 0);
        app.start_again().await?;
    }
    println!("{in_the_middle:?} of {KILLS_OF_EACH} kills each left a job behind");
    assert!(
        in_the_middle.iter().all(|hits| *hits > 0),
        "{in_the_middle:?}"
    );
    Ok(())
}

/// Each order has its two mails once, by the mail server's own records.
async fn every_mail_came_once(stack: &Stack, smtp: &SmtpServer, orders: &[String]) -> Result<()> {
    let counts = by_order_and_type(&smtp.mails()?);
    let unconfirmed: Vec<(String, String)> = sqlx::query_as(
        "SELECT order_id::text, kind FROM mail_deliveries WHERE status = 'unconfirmed'",
    )
    .fetch_all(&stack.pool)
    .await?;
    let mut lost = 0;
    for order in orders {
        for kind in ["order_confirmation", "payment_success"] {
            let key = (order.clone(), kind.to_owned());
            let mails = counts.get(&key).copied().unwrap_or_default();
            // Between the record and the content a kill loses the mail, visibly: SMTP has no way to
            // ask whether it arrived, and a repetition would come twice to nearly everybody.
            let is_lost = mails == 0 && unconfirmed.contains(&key);
            assert!(
                mails == 1 || is_lost,
                "{mails} mails {kind} for order {order}"
            );
            lost += usize::from(is_lost);
        }
    }
    println!(
        "{} mails, {} unconfirmed, of which {lost} did not arrive",
        counts.len(),
        unconfirmed.len()
    );
    assert!(lost * 50 <= orders.len() * 2, "{lost} mails were lost");
    Ok(())
}

/// What has not come to its end, and what the queues say of it.
async fn left_undone(stack: &Stack) -> Result<String> {
    let orders: Vec<(String, String)> = sqlx::query_as(
        "SELECT id::text, status FROM orders WHERE status <> 'processing' OR processed_at IS NULL",
    )
    .fetch_all(&stack.pool)
    .await?;
    let mails: Vec<(String, String, Option<String>)> = sqlx::query_as(
        "SELECT orders.id::text, kinds.kind, mail_deliveries.status
         FROM orders
         CROSS JOIN unnest(ARRAY['order_confirmation', 'payment_success']) AS kinds (kind)
         LEFT JOIN mail_deliveries
            ON mail_deliveries.order_id = orders.id AND mail_deliveries.kind = kinds.kind
         WHERE coalesce(mail_deliveries.status, '') NOT IN ('sent', 'unconfirmed')",
    )
    .fetch_all(&stack.pool)
    .await?;
    let mut failures = Vec::new();
    for (_, queue) in WORKERS {
        failures.extend(stack.failures(queue).await?);
    }
    Ok(format!(
        "orders {orders:?}, mails {mails:?}, failed jobs {failures:?}"
    ))
}

#[tokio::test]
async fn workers_killed_at_any_moment_process_charge_and_mail_every_order_exactly_once()
-> Result<()> {
    let seed = rand::rng().random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let stack = Stack::new().await?;
    let smtp = SmtpServer::start().await?;
    let api = stack.api().start().await?;
    let quick = |worker: bharatmart_test_support::AppBuilder| {
        worker
            .env("WORKER_LOCK_DURATION", "2000")
            .env("WORKER_STALLED_INTERVAL", "1000")
    };
    let mut workers: Vec<App> = Vec::new();
    for (kind, _) in WORKERS {
        workers.push(quick(stack.worker(kind)).smtp(&smtp).start().await?);
    }
    let product = stack.product("Kolhapuri Chappal", 899, 1_000_000).await?;
    let (stop, stopped) = watch::channel(false);
    let mut shoppers = Vec::new();
    for _ in 0..4 {
        let client = customer(&api).await?;
        shoppers.push(tokio::spawn(shop(client, product, stopped.clone())));
    }

    kill_often(&stack, &mut workers, &mut rng).await?;
    stop.send(true)?;
    let mut orders = Vec::new();
    for shopper in shoppers {
        orders.extend(shopper.await??);
    }
    let placed = i64::try_from(orders.len())?;
    println!("{placed} orders, {} kills", KILLS_OF_EACH * workers.len());

    let ended = wait_until(
        "every order to be paid, confirmed and mailed",
        // What a lost job has left undone is found within two minutes and a half.
        Duration::from_secs(200),
        async || {
            let done = stack
                .count(
                    "SELECT count(*) FROM orders
                 WHERE status = 'processing' AND processed_at IS NOT NULL",
                )
                .await?;
            let mailed = stack
                .count(
                    "SELECT count(*) FROM mail_deliveries WHERE status IN ('sent', 'unconfirmed')",
                )
                .await?;
            Ok(done == placed && mailed == placed * 2)
        },
    )
    .await;
    if let Err(error) = ended {
        return Err(error.context(left_undone(&stack).await?));
    }

    let history = "SELECT count(*) FROM order_history WHERE to_status = 'processing'";
    assert_eq!(
        stack.count(history).await?,
        placed,
        "each order is processed once"
    );
    let charges = "SELECT count(*) FROM sandbox_gateway.charges WHERE status = 'approved'";
    assert_eq!(
        stack.count(charges).await?,
        placed,
        "the gateway's books: one charge an order"
    );
    let payments = "SELECT count(*) FROM payments WHERE status = 'completed'";
    assert_eq!(stack.count(payments).await?, placed);

    every_mail_came_once(&stack, &smtp, &orders).await?;
    let left = stack.stock(product).await?;
    assert_eq!(
        i64::from(1_000_000 - left),
        placed,
        "stock + sold is constant"
    );
    Ok(())
}
