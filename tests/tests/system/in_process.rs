//! The shop with PostgreSQL alone: the API does the jobs itself.

use std::{path::Path, time::Duration};

use anyhow::Result;
use bharatmart_test_support::{
    AppBuilder, ShopClient, read_mail_dir, servers::SmtpServer, wait_until,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    drain::hold,
    stack::{SOON, Stack, by_order_and_type, customer, id, order},
};

const LEASED: &str = "SELECT count(*) FROM outbox WHERE leased_until > now()";
/// Each passage to `processing`: twice would be processed twice.
const PASSAGES: &str = "SELECT count(*) FROM order_history WHERE to_status = 'processing'";

const ATTEMPTS: &str = "SELECT sum(attempts)::bigint FROM outbox WHERE job_name = 'process-order'";

/// An API that does the jobs and knows no Redis.
fn alone(stack: &Stack) -> AppBuilder {
    stack
        .api()
        .env("REDIS_URL", "")
        .env("WORKER_MODE", "in-process")
        .env("WORKER_LOCK_DURATION", "1000")
}

async fn until(stack: &Stack, what: &str, sql: &'static str, count: i64) -> Result<()> {
    wait_until(what, SOON, async || Ok(stack.count(sql).await? == count)).await
}

async fn mails(folder: &Path, count: usize) -> Result<()> {
    wait_until("the mails to be there", SOON, async || {
        let counts = by_order_and_type(&read_mail_dir(folder)?);
        Ok(counts.values().sum::<usize>() >= count)
    })
    .await?;
    let counts = by_order_and_type(&read_mail_dir(folder)?);
    assert_eq!(counts.len(), count, "{counts:?}");
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    Ok(())
}

async fn cash_order(customer: &ShopClient, product: Uuid) -> Result<Uuid> {
    id(&order(customer, &[(product, 1)], "cash_on_delivery").await?)
}

/// A shop with something to buy.
struct Shop {
    stack: Stack,
    product: Uuid,
    mails: TempDir,
}

impl Shop {
    async fn new() -> Result<Self> {
        let stack = Stack::new().await?;
        let product = stack.product("Chanderi Saree", 3499, 1000).await?;
        let mails = tempfile::tempdir()?;
        Ok(Self {
            stack,
            product,
            mails,
        })
    }

    fn alone(&self) -> AppBuilder {
        alone(&self.stack).mail_dir(self.mails.path())
    }

    /// Orders whose jobs wait in the outbox: they were placed for queues that nobody can reach.
    async fn outboxed(&self, count: usize) -> Result<Vec<Uuid>> {
        let mut api = self
            .stack
            .api()
            .redis("redis://127.0.0.1:1")
            .start()
            .await?;
        let customer = customer(&api).await?;
        let mut orders = Vec::new();
        for _ in 0..count {
            orders.push(cash_order(&customer, self.product).await?);
        }
        api.sigterm()?;
        api.wait(SOON).await?;
        Ok(orders)
    }
}

#[tokio::test]
async fn postgresql_alone_takes_an_order_to_its_last_mail() -> Result<()> {
    let shop = Shop::new().await?;
    let api = shop.alone().start().await?;
    let customer = customer(&api).await?;
    let order = id(&order(&customer, &[(shop.product, 2)], "upi").await?)?;
    let (status, answer) = customer
        .pay(&order.to_string(), "upi", Some("flaky@upi"))
        .await?;
    assert_eq!(status, 201, "{answer}");
    customer
        .wait_for_order_status(&order.to_string(), "processing", SOON)
        .await?;
    mails(shop.mails.path(), 2).await?;

    let (_, ready) = customer.get("/api/health/ready").await?;
    assert_eq!(ready["checks"]["database"]["status"], "ok", "{ready}");
    assert_eq!(ready["checks"].get("queue"), None, "{ready}");
    let admin = shop.stack.admin(&api).await?;
    let (_, info) = admin.get("/api/system/info").await?;
    assert_eq!(info["configuration"]["workerMode"], "in-process", "{info}");
    assert_eq!(info["configuration"]["queuePrefix"], Value::Null, "{info}");
    assert_eq!(info["services"]["queue"]["type"], "postgresql", "{info}");
    wait_until("the statistics to say so", SOON, async || {
        let queues = admin.get("/api/queues/stats").await?.1["queues"].clone();
        // Customer and administrator were asked to prove their mailboxes.
        Ok(queues["emails"]["completed"] == 4
            && queues["payments"]["completed"] == 1
            // The payment's deadline is still to come.
            && queues["orders"]["completed"] == 1
            && queues["orders"]["delayed"] == 1)
    })
    .await?;
    let retried = "jobs_processed_total{queue=\"payment-processing\",outcome=\"retried\"}";
    assert_eq!(api.metric(retried).await?, Some(1.0));
    Ok(())
}

#[tokio::test]
async fn what_failed_for_good_is_listed_replayed_and_purged_without_any_queue() -> Result<()> {
    let shop = Shop::new().await?;
    let api = shop.alone().start().await?;
    let admin = shop.stack.admin(&api).await?;
    sqlx::query(
        "INSERT INTO outbox (queue, job_name, job_id, payload)
         VALUES ('order-processing', 'process-order', 'order-none', '{\"orderId\": \"none\"}')",
    )
    .execute(&shop.stack.pool)
    .await?;
    let jobs = "/api/queues/orders/jobs";
    let failed = async |count: usize| {
        wait_until("the failed jobs to be listed", SOON, async || {
            let (_, list) = admin.get(jobs).await.ok()?;
            let list = list["data"].as_array()?;
            (list.len() == count).then(|| list.clone())
        })
        .await
    };
    let listed = failed(1).await?;
    let id = listed[0]["id"].as_str().unwrap_or_default();
    let reason = listed[0]["failed_reason"].to_string();
    assert!(reason.contains("bad payload"), "{listed:?}");

    let (status, answer) = admin
        .post(&format!("{jobs}/{id}/retry"), &Value::Null)
        .await?;
    assert_eq!((status, &answer["state"]), (200, &json!("pending")));
    failed(1).await?;
    let (status, _) = admin.delete(&format!("{jobs}/{id}")).await?;
    assert_eq!(status, 204);
    failed(0).await?;

    let (status, answer) = admin.get(&format!("{jobs}?state=waiting")).await?;
    assert_eq!(status, 400, "{answer}");
    for (method, path) in [("GET", "/order-none"), ("POST", "/order-none/retry")] {
        let path = format!("{jobs}{path}");
        let (status, answer) = match method {
            "GET" => admin.get(&path).await?,
            _ => admin.post(&path, &Value::Null).await?,
        };
        assert_eq!(status, 404, "{method} {path}: {answer}");
    }
    Ok(())
}

#[tokio::test]
async fn an_unpaid_order_is_cancelled_at_its_deadline_without_any_queue() -> Result<()> {
    let shop = Shop::new().await?;
    let api = shop
        .alone()
        .env("ORDER_PAYMENT_TIMEOUT", "2s")
        .start()
        .await?;
    let customer = customer(&api).await?;
    let order = id(&order(&customer, &[(shop.product, 5)], "upi").await?)?;
    customer
        .wait_for_order_status(&order.to_string(), "cancelled", SOON)
        .await?;
    assert_eq!(shop.stack.stock(shop.product).await?, 1000);
    mails(shop.mails.path(), 2).await
}

#[tokio::test]
async fn the_job_of_a_killed_api_is_taken_over_by_another() -> Result<()> {
    let shop = Shop::new().await?;
    let held = hold(&shop.stack, &shop.outboxed(1).await?).await?;
    let mut first = shop.alone().start().await?;
    until(&shop.stack, "the job to be taken", LEASED, 1).await?;
    first.kill9();
    first.wait(SOON).await?;
    let _second = shop.alone().start().await?;
    let taken_over = "SELECT count(*) FROM outbox WHERE stalls = 1 AND leased_until > now()";
    until(&shop.stack, "the job to be taken over", taken_over, 1).await?;
    held.rollback().await?;
    until(&shop.stack, "the order to be confirmed", PASSAGES, 1).await?;
    mails(shop.mails.path(), 1).await?;
    assert_eq!(shop.stack.count(ATTEMPTS).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_stopped_api_ends_the_jobs_that_it_can_and_hands_the_rest_back_unharmed() -> Result<()> {
    const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
    let shop = Shop::new().await?;
    let orders = shop.outboxed(4).await?;
    let able = hold(&shop.stack, &orders[..2]).await?;
    let unable = hold(&shop.stack, &orders[2..]).await?;
    let mut api = shop
        .alone()
        .env("WORKER_CONCURRENCY", "4")
        .env("SHUTDOWN_TIMEOUT", SHUTDOWN_TIMEOUT.as_millis().to_string())
        .start()
        .await?;
    until(&shop.stack, "four jobs in flight", LEASED, 4).await?;
    api.sigterm()?;
    able.rollback().await?;
    let status = api.wait(SHUTDOWN_TIMEOUT).await?;
    assert!(status.success(), "{status}\n{}", api.log_tail(30));
    assert_eq!(shop.stack.count(LEASED).await?, 0);
    assert_eq!(shop.stack.count(PASSAGES).await?, 2);

    unable.rollback().await?;
    let _next = shop.alone().start().await?;
    until(&shop.stack, "the next one to do the rest", PASSAGES, 4).await?;
    mails(shop.mails.path(), 4).await?;
    assert_eq!(shop.stack.count(ATTEMPTS).await?, 0);
    let stalls = "SELECT sum(stalls)::bigint FROM outbox";
    assert_eq!(shop.stack.count(stalls).await?, 0);
    Ok(())
}

#[tokio::test]
async fn modes_are_switched_with_jobs_pending_and_nothing_is_lost_or_done_twice() -> Result<()> {
    let shop = Shop::new().await?;
    let stack = &shop.stack;

    // To the queues: a job is due, another one is to be tried again, and the third is under way.
    let orders = shop.outboxed(3).await?;
    let sql = "UPDATE outbox SET attempts = 2, run_at = now() + interval '3 seconds'
               WHERE job_id = 'order-' || $1::text";
    sqlx::query(sql)
        .bind(orders[1])
        .execute(&stack.pool)
        .await?;
    let held = hold(stack, &[orders[0], orders[2]]).await?;
    let mut alone = shop.alone().env("WORKER_CONCURRENCY", "1").start().await?;
    until(stack, "a job to be taken", LEASED, 1).await?;
    alone.kill9();
    alone.wait(SOON).await?;
    held.rollback().await?;
    let mut api = stack.api().start().await?;
    let mut worker = stack
        .worker("all")
        .mail_dir(shop.mails.path())
        .start()
        .await?;
    until(stack, "all three in bull-queue mode", PASSAGES, 3).await?;
    mails(shop.mails.path(), 3).await?;

    // And back: one job is in the queue already, where nobody takes it any more, and one is not.
    worker.sigterm()?;
    worker.wait(SOON).await?;
    let client = customer(&api).await?;
    let queued = cash_order(&client, shop.product).await?;
    wait_until("the job to be in the queue", SOON, async || {
        Ok(stack.llen("order-processing", "wait").await? == 1)
    })
    .await?;
    api.sigterm()?;
    api.wait(SOON).await?;
    shop.outboxed(1).await?;
    let age = "UPDATE orders SET created_at = now() - interval '5 minutes' WHERE id = $1";
    sqlx::query(age).bind(queued).execute(&stack.pool).await?;
    let mut alone = shop.alone().start().await?;
    until(stack, "all five in the API's own mode", PASSAGES, 5).await?;
    mails(shop.mails.path(), 5).await?;

    // What the queue still holds is done once more, and changes nothing.
    alone.sigterm()?;
    alone.wait(SOON).await?;
    let _worker = stack
        .worker("all")
        .mail_dir(shop.mails.path())
        .start()
        .await?;
    wait_until("the queue to be empty", SOON, async || {
        Ok(
            stack.is_idle("order-processing").await?
                && stack.is_idle("email-notifications").await?,
        )
    })
    .await?;
    assert_eq!(stack.count(PASSAGES).await?, 5);
    mails(shop.mails.path(), 5).await
}

#[tokio::test]
async fn apis_that_share_the_jobs_and_are_killed_process_charge_and_mail_each_order_once()
-> Result<()> {
    const ORDERS: usize = 40;
    let stack = Stack::new().await?;
    let smtp = SmtpServer::start().await?;
    let product = stack.product("Kolhapuri Chappal", 899, 1000).await?;
    let mut victim = alone(&stack).smtp(&smtp).start().await?;
    let survivor = alone(&stack).smtp(&smtp).start().await?;
    let client = customer(&survivor).await?;
    let shopping = tokio::spawn(async move {
        for _ in 0..ORDERS {
            let order = id(&order(&client, &[(product, 1)], "upi").await?)?;
            let (status, answer) = client
                .pay(&order.to_string(), "upi", Some("success@upi"))
                .await?;
            anyhow::ensure!(status == 201, "{status}: {answer}");
            // The victim is to have some of them under way whenever it is killed.
            sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    });
    let mut kills = 0;
    while !shopping.is_finished() {
        wait_until("a job under way, or the end", SOON, async || {
            Ok(shopping.is_finished() || stack.count(LEASED).await? > 0)
        })
        .await?;
        victim.kill9();
        victim.wait(SOON).await?;
        victim.start_again().await?;
        kills += 1;
    }
    shopping.await??;
    println!("{kills} kills");

    let expected = i64::try_from(ORDERS)?;
    let mailed = "SELECT count(*) FROM mail_deliveries WHERE status IN ('sent', 'unconfirmed')";
    until(&stack, "every order to be mailed", mailed, expected * 2).await?;
    assert_eq!(stack.count(PASSAGES).await?, expected);
    for books in [
        "SELECT count(*) FROM payments WHERE status = 'completed'",
        "SELECT count(*) FROM sandbox_gateway.charges WHERE status = 'approved'",
    ] {
        assert_eq!(stack.count(books).await?, expected, "{books}");
    }
    let counts = by_order_and_type(&smtp.mails()?);
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    let unconfirmed = "SELECT count(*) FROM mail_deliveries WHERE status = 'unconfirmed'";
    let unconfirmed = usize::try_from(stack.count(unconfirmed).await?)?;
    assert!(counts.len() + unconfirmed >= ORDERS * 2, "{unconfirmed}");
    let failed = "SELECT count(*) FROM outbox WHERE failed_at IS NOT NULL";
    assert_eq!(stack.count(failed).await?, 0);
    let done = "jobs_processed_total{outcome=\"completed\"}";
    assert!(survivor.metric(done).await?.is_some_and(|done| done > 0.0));
    Ok(())
}
