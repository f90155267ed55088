//! Our outbox, their Worker.

use anyhow::{Context, Result};
use bharatmart_test_support::wait_until;
use serde_json::{Value, json};

use crate::{
    ORDERS, Shop,
    stack::{SOON, id},
};

#[tokio::test]
async fn their_worker_gets_our_order_reports_its_progress_and_returns_a_value() -> Result<()> {
    let shop = Shop::open().await?;
    let events = shop.node.events(ORDERS)?;
    let plan = json!({
        "progress": [25, {"stage": "packed"}],
        "returns": {"handledBy": "Node", "price": 1999.5},
    });
    let worker = shop.node.worker(ORDERS, &plan).await?;
    let placed = shop.order("upi").await?;
    let order = id(&placed)?;
    let job = format!("order-{order}");

    let seen = worker
        .said("a job", |line| !line["started"].is_null())
        .await?;
    let seen = &seen["started"];
    assert_eq!(seen["id"], json!(job));
    assert_eq!(seen["name"], "process-order");
    let mut payload = seen["data"].clone();
    let trace = payload
        .as_object_mut()
        .and_then(|fields| fields.remove("traceparent"));
    assert!(trace.is_some_and(|trace| trace.is_string()), "{seen}");
    assert_eq!(
        payload,
        json!({
            "orderId": order,
            "userId": shop.customer.user_id(),
            "totalAmount": 3998,
            "items": [{"productId": shop.product, "quantity": 2, "price": 1999}],
        })
    );
    for (option, value) in [
        ("attempts", json!(3)),
        ("backoff", json!({"type": "exponential", "delay": 2000})),
        ("removeOnComplete", json!(1000)),
        ("removeOnFail", json!({"age": 604_800, "count": 5000})),
    ] {
        assert_eq!(seen["opts"][option], value, "{seen}");
    }

    let completed = events.event("completed", &job).await?;
    let progress = events.events("progress", &job)?;
    let told: Vec<&Value> = progress.iter().map(|event| &event["data"]).collect();
    assert_eq!(
        told,
        [&json!(25), &json!({"stage": "packed"})],
        "{progress:?}"
    );
    let kept = shop.node.job(ORDERS, &job).await?;
    assert_eq!(kept["returnvalue"], plan["returns"], "{completed}");
    assert_eq!(kept["progress"], json!({"stage": "packed"}));
    let logs = shop
        .node
        .calls(ORDERS, json!([["getJobLogs", job]]))
        .await?;
    assert_eq!(logs[0]["logs"], json!(["attempt 1"]));

    let admin = shop.stack.admin(&shop.api).await?;
    let (status, answer) = admin.get("/api/queues/stats").await?;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["queues"]["orders"]["completed"], 1, "{answer}");
    Ok(())
}

#[tokio::test]
async fn our_worker_makes_the_second_attempt_where_theirs_failed_the_first() -> Result<()> {
    const BACKOFF: i64 = 2000;
    let shop = Shop::open().await?;
    let events = shop.node.events(ORDERS)?;
    let theirs = shop.node.worker(ORDERS, &json!({"failures": 1})).await?;
    let order = id(&shop.order("cash_on_delivery").await?)?;
    let job = format!("order-{order}");
    theirs
        .said("a failure", |line| line["failed"] == json!(job))
        .await?;
    theirs.stop().await?;
    let _ours = shop.stack.worker("order").start().await?;

    events.event("completed", &job).await?;
    assert_eq!(shop.status(order).await?, "processing");
    let began = events.events("active", &job)?;
    assert_eq!(began.len(), 2, "{began:?}");
    let times: Vec<_> = began
        .iter()
        .filter_map(|event| event["at"].as_i64())
        .collect();
    let wait = times[1] - times[0];
    assert!((BACKOFF..BACKOFF + 1500).contains(&wait), "{wait} ms");
    let kept = shop.node.job(ORDERS, &job).await?;
    assert_eq!(kept["attemptsMade"], 2, "{kept}");
    assert_eq!(
        kept["stacktrace"].as_array().map(Vec::len),
        Some(1),
        "{kept}"
    );
    Ok(())
}

#[tokio::test]
async fn our_job_that_their_worker_gives_up_keeps_reason_and_stack() -> Result<()> {
    let shop = Shop::open().await?;
    let events = shop.node.events(ORDERS)?;
    let plan = json!({"failures": 1, "final": true});
    let _worker = shop.node.worker(ORDERS, &plan).await?;
    let job = format!("order-{}", id(&shop.order("upi").await?)?);

    let failed = events.event("failed", &job).await?;
    let reason = format!("no paper left for {job}");
    assert_eq!(failed["failedReason"], json!(reason));
    let kept = shop.node.job(ORDERS, &job).await?;
    assert_eq!(kept["failedReason"], json!(reason));
    let stack = kept["stacktrace"][0].as_str().context("no stack")?;
    assert!(
        stack.contains(&reason) && stack.contains("noPaperLeft"),
        "{stack}"
    );
    let failures = shop.stack.failures(ORDERS).await?;
    assert_eq!(failures, [format!("{job}: {reason}")]);
    Ok(())
}

#[tokio::test]
async fn their_worker_waits_for_the_time_of_our_delayed_job() -> Result<()> {
    let shop = Shop::open().await?;
    let mut ours = shop
        .stack
        .worker("order")
        .env("ORDER_PAYMENT_TIMEOUT", "5s")
        .start()
        .await?;
    let events = shop.node.events(ORDERS)?;
    let order = id(&shop.order("upi").await?)?;
    let job = format!("payment-deadline-{order}");
    let delayed = events.event("delayed", &job).await?;
    let due: i64 = match &delayed["delay"] {
        Value::String(text) => text.parse()?,
        value => value.as_i64().context("no delay")?,
    };
    ours.sigterm()?;
    ours.wait(SOON).await?;
    let theirs = shop.node.worker(ORDERS, &json!({})).await?;

    let started = theirs
        .said("a job", |line| !line["started"].is_null())
        .await?;
    assert_eq!(started["started"]["id"], json!(job), "{started}");
    let late = started["at"].as_i64().context("no time")? - due;
    assert!((0..1000).contains(&late), "{late} ms late");
    wait_until("the job to be done", SOON, async || {
        shop.stack.is_idle(ORDERS).await
    })
    .await?;
    Ok(())
}
