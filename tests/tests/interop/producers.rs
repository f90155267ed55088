//! Their Queue, our worker.

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{servers::SmtpServer, wait_until};
use serde_json::{Value, json};

use crate::{
    EMAILS, ORDERS, PAYMENTS, Shop,
    node::Program,
    stack::{SOON, id},
};

/// The id that a stock Queue gave the job that a call of its method `add` made.
fn job_id(added: &Value) -> Result<String> {
    let id = added["id"].as_str();
    Ok(id.with_context(|| format!("no id in {added}"))?.to_owned())
}

/// A time of a job, in milliseconds.
fn time(job: &Value, field: &str) -> Result<i64> {
    job[field]
        .as_i64()
        .with_context(|| format!("no {field} in {job}"))
}

#[tokio::test]
async fn our_worker_does_their_job_and_tells_their_listeners_the_result() -> Result<()> {
    let shop = Shop::open().await?;
    let placed = shop.order("cash_on_delivery").await?;
    let order = id(&placed)?;
    let ours = format!("order-{order}");
    let events = shop.node.events(ORDERS)?;
    events.event("waiting", &ours).await?;
    // As a Redis that was replaced: what is left to do is theirs.
    shop.stack.forget(ORDERS).await?;

    let payload = json!({
        "orderId": order,
        "userId": shop.customer.user_id(),
        "totalAmount": placed["total_amount"],
        "items": [{"productId": shop.product, "quantity": 2, "price": 1999}],
        "sentBy": "a newer version",
    });
    let calls = json!([["add", "process-order", payload]]);
    let added = shop.node.calls(ORDERS, calls).await?;
    let job = job_id(&added[0])?;
    let _worker = shop.stack.worker("order").start().await?;

    let completed = events.event("completed", &job).await?;
    // Node's listeners get what a job returned as text.
    let returned: Value = match &completed["returnvalue"] {
        Value::String(text) => serde_json::from_str(text)?,
        value => value.clone(),
    };
    let expected = json!({"success": true, "orderId": order});
    assert_eq!(returned, expected, "{completed}");
    assert_eq!(shop.status(order).await?, "processing");
    let job = shop.node.job(ORDERS, &job).await?;
    assert_eq!(job["returnvalue"], expected, "{job}");
    assert_eq!(job["attemptsMade"], 1, "{job}");
    assert!(time(&job, "finishedOn")? >= time(&job, "processedOn")?);
    Ok(())
}

#[tokio::test]
async fn our_worker_waits_for_the_time_of_their_delayed_job() -> Result<()> {
    const DELAY: i64 = 1500;
    let shop = Shop::open().await?;
    let order = shop.unpaid_order().await?;
    let _worker = shop.stack.worker("order").start().await?;
    let events = shop.node.events(ORDERS)?;

    let payload = json!({"orderId": order});
    let calls = json!([["add", "payment-deadline", payload, {"delay": DELAY}]]);
    let added = shop.node.calls(ORDERS, calls).await?;
    let job = job_id(&added[0])?;

    events.event("completed", &job).await?;
    let job = shop.node.job(ORDERS, &job).await?;
    let waited = time(&job, "processedOn")? - time(&job, "timestamp")?;
    assert!((DELAY..DELAY + 1000).contains(&waited), "{waited} ms");
    assert_eq!(shop.status(order).await?, "cancelled");
    assert_eq!(shop.stack.stock(shop.product).await?, 1000);
    Ok(())
}

#[tokio::test]
async fn jobs_of_older_and_newer_versions_are_done_side_by_side() -> Result<()> {
    let shop = Shop::open().await?;
    let smtp = SmtpServer::start().await?;
    let mut orders = Vec::new();
    for method in ["cash_on_delivery", "upi"].repeat(3) {
        orders.push((method, shop.order(method).await?));
    }
    wait_until("the jobs to wait", SOON, async || {
        Ok(shop.stack.llen(ORDERS, "wait").await? == orders.len())
    })
    .await?;
    shop.stack.forget(ORDERS).await?;

    // Of each job what the Node version wrote, and what a later one of ours may: more fields, and more in them.
    let (mut confirm, mut mail, mut charge) = (Vec::new(), Vec::new(), Vec::new());
    for (n, (method, placed)) in orders.iter().enumerate() {
        let order = id(placed)?;
        let is_newer = n % 4 >= 2;
        let mut confirmation = json!({
            "orderId": order,
            "userId": shop.customer.user_id(),
            "totalAmount": placed["total_amount"],
            "items": [{"productId": shop.product, "quantity": 2, "price": 1999}],
        });
        let mut shipped = json!({
            "to": shop.customer.email(),
            "subject": "Order Shipped",
            "body": "It is on its way.",
            "type": "order_shipped",
            "orderId": order,
        });
        if is_newer {
            confirmation["version"] = json!(2);
            confirmation["items"][0]["giftWrap"] = json!({"paper": "red"});
            shipped["locale"] = json!("hi-IN");
            shipped["attachments"] = json!([]);
        }
        confirm.push(json!(["add", "process-order", confirmation]));
        mail.push(json!(["add", "send-email", shipped]));
        if *method == "upi" {
            let body = json!({"order_id": order, "payment_method": "upi"});
            let (status, payment) = shop.customer.post("/api/payments", &body).await?;
            ensure!(status == 201, "{status}: {payment}");
            let mut payload = json!({
                "orderId": order,
                "paymentId": payment["id"],
                "amount": payment["amount"],
                "paymentMethod": "upi",
                "userId": shop.customer.user_id(),
            });
            if is_newer {
                payload["version"] = json!(2);
                payload["risk"] = json!({"score": 0.1});
            }
            charge.push(json!(["add", "charge-payment", payload]));
        }
    }
    wait_until("the payments to wait", SOON, async || {
        Ok(shop.stack.llen(PAYMENTS, "wait").await? == charge.len())
    })
    .await?;
    shop.stack.forget(PAYMENTS).await?;
    for (queue, calls) in [(ORDERS, confirm), (EMAILS, mail), (PAYMENTS, charge)] {
        shop.node.calls(queue, json!(calls)).await?;
    }

    let _worker = shop.stack.worker("all").smtp(&smtp).start().await?;
    wait_until("all orders to be confirmed and paid", SOON, async || {
        let done =
            "SELECT count(*) FROM orders WHERE status = 'processing' AND processed_at IS NOT NULL";
        Ok(shop.stack.count(done).await? == 6)
    })
    .await?;
    wait_until("all mails to be sent", SOON, async || {
        let mails = smtp.mails()?;
        let shipped = mails
            .iter()
            .filter(|mail| mail.headers["x-bharatmart-type"] == "order_shipped");
        Ok(shipped.count() == 6)
    })
    .await?;
    for queue in [ORDERS, EMAILS, PAYMENTS] {
        let failures = shop.stack.failures(queue).await?;
        assert!(failures.is_empty(), "{failures:?}");
    }
    Ok(())
}

/// When the attempts at a job began, in milliseconds.
fn attempts(events: &Program, job: &str) -> Result<Vec<i64>> {
    let began = events.events("active", job)?;
    began.iter().map(|event| time(event, "at")).collect()
}

#[tokio::test]
async fn our_worker_tries_their_mail_as_often_as_they_say_and_says_why_it_failed() -> Result<()> {
    const FIRST_WAIT: i64 = 400;
    let shop = Shop::open().await?;
    let order = id(&shop.order("cash_on_delivery").await?)?;
    let mut smtp = SmtpServer::start().await?;
    smtp.stop().await?;
    let _worker = shop.stack.worker("email").smtp(&smtp).start().await?;
    let events = shop.node.events(EMAILS)?;
    let mail = |kind: &str| {
        json!({
            "to": shop.customer.email(),
            "subject": "Your order",
            "body": "It is on its way.",
            "type": kind,
            "orderId": order,
        })
    };
    let options = json!({
        "attempts": 3,
        "backoff": {"type": "exponential", "delay": FIRST_WAIT},
    });
    let calls = json!([["add", "send-email", mail("order_shipped"), options]]);
    let added = shop.node.calls(EMAILS, calls).await?;
    let job = job_id(&added[0])?;

    let failed = events.event("failed", &job).await?;
    let reason = failed["failedReason"].as_str().unwrap_or_default();
    assert!(reason.contains("mail server"), "{failed}");
    events.event("retries-exhausted", &job).await?;
    let began = attempts(&events, &job)?;
    let waits: Vec<i64> = began.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits.len(), 2, "three attempts: {began:?}");
    for (wait, asked) in waits.into_iter().zip([FIRST_WAIT, 2 * FIRST_WAIT]) {
        assert!(
            (asked..asked + 1000).contains(&wait),
            "{wait} ms: {began:?}"
        );
    }
    let kept = shop.node.job(EMAILS, &job).await?;
    assert_eq!(kept["failedReason"], reason, "{kept}");
    assert_eq!(kept["attemptsMade"], 3, "{kept}");
    let stacks = kept["stacktrace"].as_array().cloned().unwrap_or_default();
    assert_eq!(stacks.len(), 3, "{kept}");
    for stack in stacks {
        let stack = stack.as_str().unwrap_or_default();
        assert!(stack.contains("mail server"), "{kept}");
    }

    // The same again, but the server comes back in time.
    let options = json!({"attempts": 3, "backoff": {"type": "fixed", "delay": 2000}});
    let calls = json!([["add", "send-email", mail("order_cancelled"), options]]);
    let added = shop.node.calls(EMAILS, calls).await?;
    let job = job_id(&added[0])?;
    events.event("delayed", &job).await?;
    smtp.start_again().await?;
    events.event("completed", &job).await?;
    assert_eq!(attempts(&events, &job)?.len(), 2);
    assert_eq!(smtp.mails()?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn their_job_that_cannot_be_done_fails_at_once() -> Result<()> {
    let shop = Shop::open().await?;
    let _worker = shop.stack.worker("order").start().await?;
    let events = shop.node.events(ORDERS)?;
    let calls = json!([
        ["add", "process-order", {"orderId": "none"}, {"attempts": 5}],
        ["add", "polish-shoes", {}, {"attempts": 5}],
    ]);
    let added = shop.node.calls(ORDERS, calls).await?;
    for (added, why) in added.iter().zip(["bad payload", "polish-shoes"]) {
        let job = job_id(added)?;
        let failed = events.event("failed", &job).await?;
        let reason = failed["failedReason"].as_str().unwrap_or_default();
        assert!(reason.contains(why), "{failed}");
        assert_eq!(attempts(&events, &job)?.len(), 1);
    }
    Ok(())
}

#[tokio::test]
async fn their_scheduler_feeds_our_worker_and_each_firing_comes_once() -> Result<()> {
    const EVERY: i64 = 400;
    const TIMES: usize = 4;
    let shop = Shop::open().await?;
    let order = shop.unpaid_order().await?;
    let events = shop.node.events(ORDERS)?;
    let _workers = (
        shop.stack.worker("order").start().await?,
        shop.stack.worker("order").start().await?,
    );
    let schedule = json!([
        "upsertJobScheduler",
        "deadlines",
        {"every": EVERY, "limit": TIMES},
        {"name": "payment-deadline", "data": {"orderId": order}, "opts": {"attempts": 3}},
    ]);
    // Every process of theirs says so when it starts.
    shop.node.calls(ORDERS, json!([schedule, schedule])).await?;

    let fired = events
        .said_times(TIMES, "a firing", |line| {
            let job = line["jobId"].as_str().unwrap_or_default();
            line["event"] == "completed" && job.starts_with("repeat:deadlines:")
        })
        .await?;
    let mut times = fired
        .iter()
        .map(|event| {
            let job = event["jobId"].as_str().context("no job")?;
            let (_, due) = job.rsplit_once(':').context("no time")?;
            Ok(due.parse()?)
        })
        .collect::<Result<Vec<i64>>>()?;
    times.sort_unstable();
    let steps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(steps, [EVERY; TIMES - 1], "{fired:?}");

    // The next one is due only once the last is done, so that the chain may be about to grow when its end is heard of.
    wait_until("no firing to be left", SOON, async || {
        let left = json!([["getJobs", ["delayed", "waiting", "active"]]]);
        let left = shop.node.calls(ORDERS, left).await?;
        let left = left[0].as_array().context("no list")?;
        let ids = left.iter().filter_map(|job| job["id"].as_str());
        Ok(!ids
            .into_iter()
            .any(|id| id.starts_with("repeat:deadlines:")))
    })
    .await
}

#[tokio::test]
async fn they_see_our_schedules_once_however_many_workers_keep_them() -> Result<()> {
    let shop = Shop::open().await?;
    let _workers = (
        shop.stack.worker("order").start().await?,
        shop.stack.worker("order").start().await?,
        shop.stack.worker("order").start().await?,
    );
    let ours = ["clean-up", "reconcile-orders", "report-low-stock"];
    wait_until(
        "each schedule to wait for its next time",
        SOON,
        async || {
            let calls = json!([["getJobSchedulers"], ["getJobs", ["delayed"]]]);
            let answers = shop.node.calls(ORDERS, calls).await?;
            let names = |list: &Value, field: &str| {
                let list = list.as_array().cloned().unwrap_or_default();
                let texts = list.iter().filter_map(|it| it[field].as_str());
                let mut names: Vec<_> = texts.map(str::to_owned).collect();
                names.sort_unstable();
                names
            };
            Ok(names(&answers[0], "key") == ours && names(&answers[1], "name") == ours)
        },
    )
    .await
}

#[tokio::test]
async fn the_same_id_is_added_once_by_whomever() -> Result<()> {
    let shop = Shop::open().await?;
    let order = id(&shop.order("cash_on_delivery").await?)?;
    let ours = format!("order-{order}");
    let events = shop.node.events(ORDERS)?;
    events.event("waiting", &ours).await?;
    let calls = json!([["add", "process-order", {"theirs": true}, {"jobId": ours}]]);
    let added = shop.node.calls(ORDERS, calls).await?;
    assert_eq!(added[0]["id"], json!(ours));
    events.event("duplicated", &ours).await?;
    assert_eq!(shop.stack.llen(ORDERS, "wait").await?, 1);

    let _worker = shop.stack.worker("order").start().await?;
    events.event("completed", &ours).await?;
    assert_eq!(shop.status(order).await?, "processing", "ours was first");
    Ok(())
}

#[tokio::test]
async fn their_deduplication_holds_until_our_worker_is_done() -> Result<()> {
    let shop = Shop::open().await?;
    let order = shop.unpaid_order().await?;
    let events = shop.node.events(ORDERS)?;
    let payload = json!({"orderId": order});
    let once = json!({"deduplication": {"id": "once"}});
    let add = json!(["add", "payment-deadline", payload, once]);
    let added = shop.node.calls(ORDERS, json!([add, add])).await?;
    let first = job_id(&added[0])?;
    assert_eq!(job_id(&added[1])?, first);
    events.event("deduplicated", &first).await?;
    assert_eq!(shop.stack.llen(ORDERS, "wait").await?, 1);

    let _worker = shop.stack.worker("order").start().await?;
    events.event("completed", &first).await?;
    let added = shop.node.calls(ORDERS, json!([add])).await?;
    let second = job_id(&added[0])?;
    assert_ne!(second, first);
    events.event("completed", &second).await?;
    Ok(())
}

#[tokio::test]
async fn our_workers_rest_while_they_have_paused_the_queue() -> Result<()> {
    let shop = Shop::open().await?;
    let _worker = shop.stack.worker("order").start().await?;
    let events = shop.node.events(ORDERS)?;
    shop.node.calls(ORDERS, json!([["pause"]])).await?;
    events
        .said("a pause", |line| line["event"] == "paused")
        .await?;

    let order = id(&shop.order("cash_on_delivery").await?)?;
    let job = format!("order-{order}");
    events.event("waiting", &job).await?;
    let answers = shop.node.calls(ORDERS, json!([["isPaused"]])).await?;
    assert_eq!(answers[0], true);
    assert_eq!(shop.stack.llen(ORDERS, "wait").await?, 1);
    assert!(attempts(&events, &job)?.is_empty());

    shop.node.calls(ORDERS, json!([["resume"]])).await?;
    events.event("completed", &job).await?;
    assert_eq!(shop.status(order).await?, "processing");
    Ok(())
}
