//! Programs are told to stop while they are busy.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use bharatmart_test_support::{ShopClient, free_port, servers::HaProxy, wait_until};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::stack::{SOON, Stack, customer, id, order};

const QUEUE: &str = "order-processing";

/// Locks orders, so that whoever wants to confirm them has to wait.
pub async fn hold<'a>(
    stack: &Stack,
    orders: &[Uuid],
) -> Result<sqlx::Transaction<'a, sqlx::Postgres>> {
    let mut transaction = stack.pool.begin().await?;
    sqlx::query("SELECT FROM orders WHERE id = ANY($1) FOR UPDATE")
        .bind(orders)
        .execute(&mut *transaction)
        .await?;
    Ok(transaction)
}

#[tokio::test]
async fn a_stopped_worker_ends_what_it_can_and_hands_the_rest_back_unharmed() -> Result<()> {
    const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(8);
    let stack = Stack::new().await?;
    let api = stack.api().start().await?;
    let product = stack.product("Madhubani Painting", 2500, 100).await?;
    let customer = customer(&api).await?;
    let mut orders = Vec::new();
    for _ in 0..10 {
        orders.push(id(
            &order(&customer, &[(product, 1)], "cash_on_delivery").await?
        )?);
    }
    let able = hold(&stack, &orders[..5]).await?;
    let unable = hold(&stack, &orders[5..]).await?;
    let mut worker = stack
        .worker("order")
        .env("WORKER_CONCURRENCY", "10")
        .env("MAX_CONCURRENT_JOBS", "10")
        .env("SHUTDOWN_TIMEOUT", SHUTDOWN_TIMEOUT.as_millis().to_string())
        .start()
        .await?;
    wait_until("ten jobs in flight", SOON, async || {
        Ok(stack.llen(QUEUE, "active").await? == 10)
    })
    .await?;

    worker.sigterm()?;
    able.rollback().await?;
    let status = worker.wait(SHUTDOWN_TIMEOUT).await?;

    assert!(status.success(), "{status}\n{}", worker.log_tail(30));
    assert_eq!(stack.llen(QUEUE, "active").await?, 0);
    assert_eq!(stack.llen(QUEUE, "wait").await?, 5);
    let processing = "SELECT count(*) FROM orders WHERE status = 'processing'";
    assert_eq!(stack.count(processing).await?, 5);

    unable.rollback().await?;
    let _next = stack.worker("order").start().await?;
    wait_until(
        "the next worker to do the rest",
        Duration::from_secs(5),
        async || Ok(stack.count(processing).await? == 10),
    )
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_job_that_was_taken_from_a_killed_worker_is_counted_once() -> Result<()> {
    let stack = Stack::new().await?;
    let api = stack.api().start().await?;
    let product = stack.product("Dhokra Figurine", 1800, 100).await?;
    let customer = customer(&api).await?;
    let order = id(&order(&customer, &[(product, 1)], "cash_on_delivery").await?)?;
    let held = hold(&stack, &[order]).await?;
    let watchful = || {
        stack
            .worker("order")
            .env("WORKER_LOCK_DURATION", "2000")
            .env("WORKER_STALLED_INTERVAL", "1000")
            .env("JOB_TIMEOUT", "3000")
    };
    let mut victim = watchful().start().await?;
    wait_until("the job to be in flight", SOON, async || {
        Ok(stack.llen(QUEUE, "active").await? == 1)
    })
    .await?;
    victim.kill9();

    let heir = watchful().start().await?;
    let stalls = async || {
        let series = "jobs_stalled_total{queue=\"order-processing\"}";
        heir.metric(series).await
    };
    wait_until("the job to be taken over", SOON, async || {
        Ok(stalls().await? == Some(1.0))
    })
    .await?;
    let timeouts = "jobs_processed_total{queue=\"order-processing\",outcome=\"timeout\"}";
    wait_until("an attempt to end in time", SOON, async || {
        Ok(heir.metric(timeouts).await? == Some(1.0))
    })
    .await?;
    held.rollback().await?;
    wait_until("the order to be confirmed", SOON, async || {
        let processing = "SELECT count(*) FROM orders WHERE status = 'processing'";
        Ok(stack.count(processing).await? == 1)
    })
    .await?;
    assert_eq!(stalls().await?, Some(1.0), "an attempt is no stall");
    Ok(())
}

#[tokio::test]
async fn a_second_signal_has_a_worker_hand_its_jobs_back_at_once() -> Result<()> {
    let stack = Stack::new().await?;
    let api = stack.api().start().await?;
    let product = stack.product("Pattachitra Scroll", 3200, 100).await?;
    let customer = customer(&api).await?;
    let order = id(&order(&customer, &[(product, 1)], "cash_on_delivery").await?)?;
    let held = hold(&stack, &[order]).await?;
    let mut worker = stack
        .worker("order")
        .env("SHUTDOWN_TIMEOUT", "60000")
        .start()
        .await?;
    wait_until("the job to be in flight", SOON, async || {
        Ok(stack.llen(QUEUE, "active").await? == 1)
    })
    .await?;
    worker.sigterm()?;
    wait_until("the worker to note it", SOON, async || {
        Ok(worker.log().contains("received, shutting down"))
    })
    .await?;
    worker.sigterm()?;
    worker.wait(Duration::from_secs(5)).await?;
    assert_eq!(stack.llen(QUEUE, "active").await?, 0);
    assert_eq!(stack.llen(QUEUE, "wait").await?, 1);
    held.rollback().await?;
    Ok(())
}

#[tokio::test]
async fn an_idle_worker_stops_at_once() -> Result<()> {
    let stack = Stack::new().await?;
    let mut worker = stack.worker("payment").start().await?;
    worker.sigterm()?;
    let status = worker.wait(Duration::from_secs(4)).await?;
    assert!(status.success(), "{status}\n{}", worker.log_tail(30));
    Ok(())
}

#[tokio::test]
async fn a_second_signal_ends_the_api_at_once() -> Result<()> {
    let stack = Stack::new().await?;
    let mut api = stack
        .api()
        .env("SHUTDOWN_DRAIN_DELAY", "20000")
        .start()
        .await?;
    api.sigterm()?;
    let health = format!("{}/api/health", api.base_url());
    let client = ShopClient::new(api.base_url())?;
    wait_until("health to say that it drains", SOON, async || {
        let answer = client.http().get(&health).send().await?;
        let (status, body) = (
            answer.status().as_u16(),
            answer.json::<serde_json::Value>().await?,
        );
        Ok(status == 503 && body["ok"] == false && body["draining"] == true)
    })
    .await?;
    let (status, _) = client.get("/api/products").await?;
    assert_eq!(status, 200, "a draining API still serves");
    let (status, _) = client.get("/api/health/live").await?;
    assert_eq!(status, 200, "a draining API is alive");
    let (status, _) = client.get("/api/health/ready").await?;
    assert_eq!(status, 503, "a draining API is not ready");
    api.sigterm()?;
    let status = api.wait(Duration::from_secs(3)).await?;
    assert!(!status.success(), "cut short: {status}");
    Ok(())
}

/// A load balancer in front of two APIs that asks each for its health, as OCI's and Kubernetes' do.
fn load_balancer(port: u16, upstreams: [u16; 2]) -> String {
    let [first, second] = upstreams;
    format!(
        "defaults
             mode http
             timeout connect 2s
             timeout client 30s
             timeout server 30s
         listen api
             bind 127.0.0.1:{port}
             balance roundrobin
             option httpchk GET /api/health
             default-server check inter 100ms fall 2 rise 2
             server first 127.0.0.1:{first}
             server second 127.0.0.1:{second}
"
    )
}

#[tokio::test]
async fn a_rolling_restart_of_the_api_under_load_fails_no_request() -> Result<()> {
    let stack = Stack::new().await?;
    let product = stack.product("Steel Tiffin", 650, 1_000_000).await?;
    let ports = [free_port(), free_port()];
    let mut apis = Vec::new();
    for port in ports {
        let api = stack
            .api()
            .env("PORT", port.to_string())
            .env("SHUTDOWN_DRAIN_DELAY", "1500")
            .start()
            .await?;
        apis.push(api);
    }
    let front = free_port();
    let _balancer = HaProxy::start(front, &load_balancer(front, ports)).await?;
    let mut client = ShopClient::new(format!("http://127.0.0.1:{front}"))?;
    client.sign_up().await?;

    let (stop, sent) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut shoppers = JoinSet::new();
    for _ in 0..8 {
        let (client, stop, sent) = (client.clone(), stop.clone(), sent.clone());
        shoppers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let (status, answer) = client.get("/api/products").await?;
                ensure!(status == 200, "browsing: {status}: {answer}");
                order(&client, &[(product, 1)], "upi").await?;
                sent.fetch_add(2, Ordering::Relaxed);
            }
            Ok(())
        });
    }
    for api in &mut apis {
        let before = sent.load(Ordering::Relaxed);
        wait_until("load", SOON, async || {
            Ok(sent.load(Ordering::Relaxed) > before + 50)
        })
        .await?;
        api.sigterm()?;
        let status = api.wait(SOON).await?;
        assert!(status.success(), "{status}\n{}", api.log_tail(30));
        api.start_again().await?;
        let before = sent.load(Ordering::Relaxed);
        wait_until("load", SOON, async || {
            Ok(sent.load(Ordering::Relaxed) > before + 50)
        })
        .await?;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(shopper) = shoppers.join_next().await {
        shopper??;
    }
    println!("{} requests, none failed", sent.load(Ordering::Relaxed));
    Ok(())
}
