//! What customers and administrators do, from the first page to the last mail.

use std::time::Duration;

use anyhow::{Context, Result};
use bharatmart_test_support::{App, ShopClient, read_mail_dir, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::stack::{SOON, Stack, customer, id, order};

/// The API and one worker that does everything, its mails in a folder.
struct Shop {
    stack: Stack,
    api: App,
    worker: App,
    mails: TempDir,
}

impl Shop {
    async fn open() -> Result<Self> {
        Self::open_with_deadline("30m").await
    }

    async fn open_with_deadline(deadline: &str) -> Result<Self> {
        let stack = Stack::new().await?;
        let mails = tempfile::tempdir()?;
        let api = stack.api().start().await?;
        let worker = stack
            .worker("all")
            .env("ORDER_PAYMENT_TIMEOUT", deadline)
            .mail_dir(mails.path())
            .start()
            .await?;
        Ok(Self {
            stack,
            api,
            worker,
            mails,
        })
    }

    async fn admin(&self) -> Result<ShopClient> {
        self.stack.admin(&self.api).await
    }

    /// Waits until the order has got exactly these types of mail.
    async fn mailed(&self, order: Uuid, kinds: &[&str]) -> Result<()> {
        let mut expected: Vec<_> = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        expected.sort();
        wait_until(&format!("mails {kinds:?}"), SOON, async || {
            let mut got: Vec<_> = read_mail_dir(self.mails.path())?
                .into_iter()
                .filter(|mail| mail.headers.get("x-bharatmart-order") == Some(&order.to_string()))
                .filter_map(|mail| mail.headers.get("x-bharatmart-type").cloned())
                .collect();
            got.sort();
            Ok(got == expected)
        })
        .await
    }
}

async fn pay(client: &ShopClient, order: Uuid, token: &str) -> Result<Value> {
    let (status, answer) = client.pay(&order.to_string(), "upi", Some(token)).await?;
    anyhow::ensure!(status == 201, "{status}: {answer}");
    assert_eq!(answer["status"], "pending", "{answer}");
    Ok(answer)
}

async fn details(client: &ShopClient, order: Uuid) -> Result<Value> {
    let (status, answer) = client.get(&format!("/api/orders/{order}")).await?;
    anyhow::ensure!(status == 200, "{status}: {answer}");
    Ok(answer)
}

async fn statuses(client: &ShopClient, order: Uuid) -> Result<Vec<String>> {
    let details = details(client, order).await?;
    let entries = details["history"].as_array().cloned().unwrap_or_default();
    Ok(entries
        .iter()
        .filter_map(|entry| entry["to_status"].as_str().map(str::to_owned))
        .collect())
}

async fn set_status(client: &ShopClient, path: &str, status: &str) -> Result<(u16, Value)> {
    client.patch(path, &json!({ "status": status })).await
}

#[tokio::test]
async fn a_prepaid_order_is_priced_reserved_paid_mailed_shipped_and_delivered() -> Result<()> {
    let shop = Shop::open().await?;
    let product = shop.stack.product("Kanjivaram Saree", 4999, 10).await?;
    let customer = customer(&shop.api).await?;

    let placed = order(&customer, &[(product, 3)], "upi").await?;
    assert_eq!(placed["status"], "pending");
    assert_eq!(
        placed["total_amount"],
        json!(14997),
        "a number, from the database's price"
    );
    assert_eq!(shop.stack.stock(product).await?, 7);
    let order = id(&placed)?;

    let payment = pay(&customer, order, "success@upi").await?;
    let payment_id = id(&payment)?;
    customer
        .wait_for_payment_status(&payment_id.to_string(), "completed", SOON)
        .await?;
    customer
        .wait_for_order_status(&order.to_string(), "processing", SOON)
        .await?;
    shop.mailed(order, &["order_confirmation", "payment_success"])
        .await?;
    let mut mails = read_mail_dir(shop.mails.path())?;
    mails.retain(|mail| mail.headers.contains_key("x-bharatmart-order"));
    for mail in &mails {
        assert!(
            mail.text.contains(&order.to_string()),
            "the text names the order: {}",
            mail.text
        );
        assert!(
            mail.html.contains(&order.to_string()),
            "so does the HTML part: {}",
            mail.html
        );
        assert_eq!(mail.to, [customer.email()]);
    }

    let shown = details(&customer, order).await?;
    assert_eq!(shown["payment"]["status"], "completed");
    assert_eq!(shown["items"][0]["products"]["name"], "Kanjivaram Saree");
    assert!(!shown["processed_at"].is_null());

    let admin = shop.admin().await?;
    let path = format!("/api/orders/{order}/status");
    for status in ["shipped", "delivered"] {
        let (code, answer) = set_status(&admin, &path, status).await?;
        assert_eq!(code, 200, "{answer}");
        assert_eq!(answer["status"], *status);
    }
    let (code, answer) = set_status(&admin, &path, "pending").await?;
    assert_eq!(code, 409, "{answer}");
    shop.mailed(
        order,
        &["order_confirmation", "order_shipped", "payment_success"],
    )
    .await?;
    assert_eq!(
        statuses(&customer, order).await?,
        ["pending", "processing", "shipped", "delivered"]
    );
    Ok(())
}

#[tokio::test]
async fn a_declined_payment_may_be_retried() -> Result<()> {
    let shop = Shop::open().await?;
    let product = shop.stack.product("Pashmina Shawl", 8999, 5).await?;
    let customer = customer(&shop.api).await?;
    let order = id(&order(&customer, &[(product, 1)], "upi").await?)?;

    let declined = id(&pay(&customer, order, "decline@upi").await?)?;
    let failed = customer
        .wait_for_payment_status(&declined.to_string(), "failed", SOON)
        .await?;
    assert_eq!(failed["failure_reason"], "the bank declined the payment");
    customer
        .wait_for_order_status(&order.to_string(), "payment_failed", SOON)
        .await?;
    assert_eq!(
        shop.stack.stock(product).await?,
        4,
        "the goods are still kept"
    );

    pay(&customer, order, "success@upi").await?;
    let (status, answer) = customer
        .pay(&order.to_string(), "upi", Some("success@upi"))
        .await?;
    assert_eq!(status, 409, "one open payment at a time: {answer}");
    customer
        .wait_for_order_status(&order.to_string(), "processing", SOON)
        .await?;
    shop.mailed(
        order,
        &["order_confirmation", "payment_failed", "payment_success"],
    )
    .await?;
    let path = ["pending", "payment_failed", "pending", "processing"];
    assert_eq!(statuses(&customer, order).await?, path);
    Ok(())
}

#[tokio::test]
async fn a_charge_whose_answer_was_lost_is_found_again_by_its_key() -> Result<()> {
    let shop = Shop::open().await?;
    let product = shop.stack.product("Brass Lamp", 1299, 5).await?;
    let customer = customer(&shop.api).await?;
    for token in ["lost@upi", "flaky@upi"] {
        let order = id(&order(&customer, &[(product, 1)], "upi").await?)?;
        let payment = id(&pay(&customer, order, token).await?)?;
        customer
            .wait_for_payment_status(&payment.to_string(), "completed", SOON)
            .await?;
    }
    let charges = "SELECT count(*) FROM sandbox_gateway.charges WHERE status = 'approved'";
    assert_eq!(shop.stack.count(charges).await?, 2);
    let requests = "SELECT count(*) FROM sandbox_gateway.requests WHERE operation = 'charge'";
    assert_eq!(
        shop.stack.count(requests).await?,
        4,
        "each was asked for twice"
    );
    Ok(())
}

#[tokio::test]
async fn cash_on_delivery_goes_on_without_a_payment() -> Result<()> {
    let shop = Shop::open().await?;
    let product = shop.stack.product("Alphonso Mangoes", 1200, 5).await?;
    let customer = customer(&shop.api).await?;
    let order = id(&order(&customer, &[(product, 1)], "cash_on_delivery").await?)?;
    customer
        .wait_for_order_status(&order.to_string(), "processing", SOON)
        .await?;
    shop.mailed(order, &["order_confirmation"]).await?;
    let jobs = "SELECT count(*) FROM outbox WHERE queue = 'payment-processing'";
    assert_eq!(shop.stack.count(jobs).await?, 0);
    let payments = shop.stack.llen("payment-processing", "wait").await?;
    assert_eq!(payments, 0);
    let (status, answer) = customer.pay(&order.to_string(), "upi", None).await?;
    assert_eq!(status, 409, "it is paid in cash: {answer}");

    let admin = shop.admin().await?;
    for status in ["shipped", "delivered"] {
        let path = format!("/api/orders/{order}/status");
        let (code, answer) = set_status(&admin, &path, status).await?;
        assert_eq!(code, 200, "{answer}");
    }
    let payment = details(&customer, order).await?["payment"].clone();
    assert_eq!(
        payment["status"], "completed",
        "the carrier has the cash: {payment}"
    );
    assert_eq!(payment["payment_method"], "cash_on_delivery");
    Ok(())
}

/// The trace of the first line of this log that has these words.
fn trace_of(app: &App, words: &[&str]) -> Result<String> {
    let log = app.log();
    let line = log
        .lines()
        .find(|line| words.iter().all(|word| line.contains(word)))
        .with_context(|| format!("no line has {words:?}: {log}"))?;
    let line: Value = serde_json::from_str(line)?;
    let trace = line["trace_id"].as_str();
    Ok(trace.context("the line is of no trace")?.to_owned())
}

#[tokio::test]
async fn one_trace_leads_from_the_request_through_the_jobs_to_the_mail() -> Result<()> {
    let shop = Shop::open().await?;
    let product = shop.stack.product("Kullu Shawl", 1999, 5).await?;
    let customer = customer(&shop.api).await?;
    let order = id(&order(&customer, &[(product, 1)], "upi").await?)?;
    shop.mailed(order, &["order_confirmation"]).await?;
    let order = order.to_string();
    let sent = ["mail sent", &*order];
    wait_until("the mail to be in the log", SOON, async || {
        let log = shop.worker.log();
        Ok(log
            .lines()
            .any(|line| sent.iter().all(|word| line.contains(word))))
    })
    .await?;
    let begun = trace_of(&shop.api, &["POST /api/orders 201"])?;
    assert_eq!(begun.len(), 32);
    for words in [["order confirmed", &*order], sent] {
        assert_eq!(trace_of(&shop.worker, &words)?, begun, "{words:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_customer_may_turn_to_cash_on_delivery() -> Result<()> {
    let shop = Shop::open().await?;
    let product = shop.stack.product("Khadi Kurta", 1450, 5).await?;
    let customer = customer(&shop.api).await?;
    let order = id(&order(&customer, &[(product, 1)], "credit_card").await?)?;
    let (status, answer) = customer
        .pay(&order.to_string(), "cash_on_delivery", None)
        .await?;
    assert_eq!(
        (status, &answer["status"]),
        (201, &json!("pending")),
        "{answer}"
    );
    let shown = details(&customer, order).await?;
    assert_eq!(shown["payment_method"], "cash_on_delivery");
    assert_eq!(shown["status"], "processing");
    Ok(())
}

#[tokio::test]
async fn an_unpaid_order_is_cancelled_at_its_deadline_and_its_stock_comes_back() -> Result<()> {
    let shop = Shop::open_with_deadline("2s").await?;
    let product = shop.stack.product("Chess Set", 950, 5).await?;
    let customer = customer(&shop.api).await?;
    let unpaid = id(&order(&customer, &[(product, 2)], "upi").await?)?;
    // The gateway never answers this one: at the deadline it is made impossible there.
    let stuck = id(&order(&customer, &[(product, 1)], "upi").await?)?;
    let payment = id(&pay(&customer, stuck, "outage@upi").await?)?;
    assert_eq!(shop.stack.stock(product).await?, 2);

    for order in [unpaid, stuck] {
        customer
            .wait_for_order_status(&order.to_string(), "cancelled", SOON)
            .await?;
        shop.mailed(order, &["order_cancelled", "order_confirmation"])
            .await?;
    }
    customer
        .wait_for_payment_status(&payment.to_string(), "failed", SOON)
        .await?;
    assert_eq!(shop.stack.stock(product).await?, 5);
    Ok(())
}

#[tokio::test]
async fn cancelling_a_paid_order_refunds_it_and_restocks_once() -> Result<()> {
    let shop = Shop::open().await?;
    let product = shop.stack.product("Pressure Cooker", 2199, 5).await?;
    let customer = customer(&shop.api).await?;
    let order = id(&order(&customer, &[(product, 2)], "upi").await?)?;
    let payment = id(&pay(&customer, order, "success@upi").await?)?;
    customer
        .wait_for_order_status(&order.to_string(), "processing", SOON)
        .await?;
    assert_eq!(shop.stack.stock(product).await?, 3);

    let path = format!("/api/orders/{order}/status");
    let (status, answer) = set_status(&customer, &path, "shipped").await?;
    assert_eq!(status, 403, "a customer may only cancel: {answer}");
    let (status, answer) = set_status(&customer, &path, "cancelled").await?;
    assert_eq!((status, &answer["status"]), (200, &json!("cancelled")));
    let (status, answer) = set_status(&customer, &path, "cancelled").await?;
    assert_eq!(status, 409, "not twice: {answer}");

    customer
        .wait_for_payment_status(&payment.to_string(), "refunded", SOON)
        .await?;
    assert_eq!(shop.stack.stock(product).await?, 5);
    let books = "SELECT count(*) FROM sandbox_gateway.charges WHERE status = 'refunded'";
    assert_eq!(shop.stack.count(books).await?, 1);
    Ok(())
}

#[tokio::test]
async fn an_administrators_refund_gives_money_and_goods_back() -> Result<()> {
    let shop = Shop::open().await?;
    let product = shop.stack.product("Cricket Bat", 3499, 5).await?;
    let customer = customer(&shop.api).await?;
    let order = id(&order(&customer, &[(product, 1)], "upi").await?)?;
    let payment = id(&pay(&customer, order, "success@upi").await?)?;
    customer
        .wait_for_payment_status(&payment.to_string(), "completed", SOON)
        .await?;

    let admin = shop.admin().await?;
    let path = format!("/api/payments/{payment}/status");
    let (status, answer) = set_status(&admin, &path, "refunded").await?;
    assert_eq!(
        (status, &answer["status"]),
        (200, &json!("refunded")),
        "{answer}"
    );
    let (status, answer) = set_status(&admin, &path, "refunded").await?;
    assert_eq!(status, 409, "not twice: {answer}");
    customer
        .wait_for_order_status(&order.to_string(), "cancelled", Duration::from_secs(5))
        .await?;
    assert_eq!(shop.stack.stock(product).await?, 5);
    Ok(())
}
