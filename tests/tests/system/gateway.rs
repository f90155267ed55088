//! A payment gateway at the other end of HTTP: the sandbox, running as one.

use std::time::Duration;

use anyhow::{Result, ensure};
use bharatmart_test_support::{App, ShopClient, free_port, wait_until};
use serde_json::json;
use sqlx::Connection as _;
use uuid::Uuid;

use crate::stack::{SOON, Stack, customer, id, order};

const API_KEY: &str = "the-key-of-the-shop";
const SECRET: &str = "a secret that the gateway and the shop share";
const BREAKER_OPENED: &str = r#"circuit_breaker_open_total{dependency="payment_gateway"}"#;
/// With a busy machine and a job that has used its attempts up, what is left undone is found after two minutes and a half.
const AT_LAST: Duration = Duration::from_secs(200);

/// A shop and its gateway, both running.
struct Market {
    stack: Stack,
    api: App,
    worker: App,
    gateway: App,
    customer: ShopClient,
    product: Uuid,
}

impl Market {
    async fn open() -> Result<Self> {
        let stack = Stack::new().await?;
        let (port, api_port) = (free_port(), free_port());
        let gateway = App::gateway(port, API_KEY)
            .database(&stack.database)
            .env("PAYMENT_WEBHOOK_SECRET", SECRET)
            .env(
                "PAYMENT_SANDBOX_WEBHOOK_URL",
                format!("http://127.0.0.1:{api_port}/api/payments/webhook"),
            );
        let gateway = gateway.start().await?;
        let charging = |app: bharatmart_test_support::AppBuilder| {
            app.env("PAYMENT_PROVIDER", "http")
                .env("PAYMENT_GATEWAY_URL", gateway.base_url())
                .env("PAYMENT_API_KEY", API_KEY)
                .env("PAYMENT_WEBHOOK_SECRET", SECRET)
        };
        let api = charging(stack.api()).env("PORT", api_port.to_string());
        let api = api.start().await?;
        let worker = charging(stack.worker("payment")).start().await?;
        Ok(Self {
            customer: customer(&api).await?,
            product: stack.product("Pashmina Shawl", 2499, 1000).await?,
            stack,
            api,
            worker,
            gateway,
        })
    }

    /// Orders one and begins to pay for it; order and payment.
    async fn pay(&self, token: &str) -> Result<(String, String)> {
        let placed = order(&self.customer, &[(self.product, 1)], "upi").await?;
        let order = id(&placed)?.to_string();
        let (status, payment) = self.customer.pay(&order, "upi", Some(token)).await?;
        ensure!(status == 201, "{status}: {payment}");
        Ok((order, id(&payment)?.to_string()))
    }

    /// Waits until the payment has this status, and makes sure that its order went there once, with one mail.
    async fn settled(&self, paid: &(String, String), status: &str, limit: Duration) -> Result<()> {
        let (order, payment) = paid;
        let settled = self
            .customer
            .wait_for_payment_status(payment, status, limit);
        settled.await?;
        let (to_status, kind) = match status {
            "completed" => ("processing", "payment_success"),
            _ => ("payment_failed", "payment_failed"),
        };
        let (changes, mails): (i64, i64) = sqlx::query_as(
            "SELECT
                (SELECT count(*) FROM order_history WHERE order_id = $1::uuid AND to_status = $2),
                (SELECT count(*) FROM outbox
                 WHERE payload ->> 'orderId' = $1 AND payload ->> 'type' = $3)",
        )
        .bind(order)
        .bind(to_status)
        .bind(kind)
        .fetch_one(&self.stack.pool)
        .await?;
        assert_eq!((changes, mails), (1, 1), "{status}");
        Ok(())
    }

    /// How many charges the gateway's books hold that stand so.
    async fn charges(&self, status: &str) -> Result<i64> {
        let sql = "SELECT count(*) FROM sandbox_gateway.charges WHERE status = $1";
        let count = sqlx::query_scalar(sql).bind(status);
        Ok(count.fetch_one(&self.stack.pool).await?)
    }

    async fn all_webhooks_to_be_delivered(&self, number: i64) -> Result<()> {
        wait_until("the webhooks to be delivered", SOON, async || {
            let sql =
                "SELECT count(*) FROM sandbox_gateway.webhooks WHERE delivered_at IS NOT NULL";
            Ok(self.stack.count(sql).await? == number)
        })
        .await
    }
}

#[tokio::test]
async fn orders_are_paid_declined_and_refunded_by_a_gateway_over_http() -> Result<()> {
    let market = Market::open().await?;
    let paid = market.pay("success@upi").await?;
    market.settled(&paid, "completed", SOON).await?;
    let found_again = market.pay("lost@upi").await?;
    market.settled(&found_again, "completed", SOON).await?;
    let declined = market.pay("insufficient@upi").await?;
    market.settled(&declined, "failed", SOON).await?;
    let path = format!("/api/payments/{}", declined.1);
    let (_, payment) = market.customer.get(&path).await?;
    assert_eq!(payment["failure_reason"], "insufficient funds");
    // Answered 202: nobody asks again for two minutes, so what settles it is the webhook.
    let later = market.pay("later@upi").await?;
    market.settled(&later, "completed", SOON).await?;

    market.all_webhooks_to_be_delivered(4).await?;
    let series = "payment_webhooks_total";
    let received = market.api.metric(series).await?;
    assert_eq!(received, Some(4.0), "each outcome is reported once");
    assert_eq!(
        (
            market.charges("approved").await?,
            market.charges("declined").await?
        ),
        (3, 1)
    );

    // By somebody who is mistaken about the amount.
    let url = format!("{}/v1/charges/{}/refund", market.gateway.base_url(), paid.1);
    let request = market.customer.http().post(url).bearer_auth(API_KEY);
    let answer = request.json(&json!({ "amount": 1 })).send().await?;
    assert_eq!(answer.status(), 422);
    assert_eq!(market.charges("refunded").await?, 0);

    let admin = market.stack.admin(&market.api).await?;
    let path = format!("/api/payments/{}/status", paid.1);
    let (status, refunded) = admin.patch(&path, &json!({ "status": "refunded" })).await?;
    assert_eq!(
        (status, &refunded["status"]),
        (200, &json!("refunded")),
        "{refunded}"
    );
    market.all_webhooks_to_be_delivered(5).await?;
    assert_eq!(market.charges("refunded").await?, 1);
    let calls = r#"external_call_latency_ms_count{dependency="payment_gateway"}"#;
    assert!(market.worker.metric(calls).await? >= Some(4.0));
    let retries = r#"retry_attempts_total{dependency="payment_gateway"}"#;
    assert!(
        market.worker.metric(retries).await? >= Some(1.0),
        "an answer was lost"
    );
    Ok(())
}

#[tokio::test]
async fn a_gateway_that_is_killed_in_the_middle_of_a_charge_charges_once() -> Result<()> {
    let mut market = Market::open().await?;
    let mut books = sqlx::PgConnection::connect(market.stack.database.direct_url()).await?;
    sqlx::raw_sql("BEGIN; LOCK TABLE sandbox_gateway.charges IN EXCLUSIVE MODE")
        .execute(&mut books)
        .await?;
    let paid = market.pay("success@upi").await?;
    wait_until("the gateway to have the charge in hand", SOON, async || {
        let waiting = "SELECT count(*) FROM pg_locks
                       WHERE NOT granted AND relation = 'sandbox_gateway.charges'::regclass";
        Ok(market.stack.count(waiting).await? >= 1)
    })
    .await?;
    market.gateway.kill9();
    books.close().await?;
    market.gateway.start_again().await?;

    market.settled(&paid, "completed", AT_LAST).await?;
    assert_eq!(market.charges("approved").await?, 1);
    assert_eq!(
        market
            .stack
            .count("SELECT count(*) FROM sandbox_gateway.charges")
            .await?,
        1
    );
    let asked = "SELECT count(*) FROM sandbox_gateway.requests WHERE operation = 'charge'";
    assert!(market.stack.count(asked).await? >= 2, "it was asked again");
    market.all_webhooks_to_be_delivered(1).await
}

#[tokio::test]
async fn a_webhook_outlives_the_deaths_of_the_shop_and_of_the_gateway() -> Result<()> {
    let mut market = Market::open().await?;
    let paid = market.pay("later@upi").await?;
    // Before the gateway has decided, which takes it a second.
    market.api.kill9();
    wait_until("a webhook that nobody takes", SOON, async || {
        let tried = "SELECT count(*) FROM sandbox_gateway.webhooks
                     WHERE attempts > 0 AND delivered_at IS NULL";
        Ok(market.stack.count(tried).await? == 1)
    })
    .await?;
    market.gateway.kill9();
    market.api.start_again().await?;
    let (_, payment) = market
        .customer
        .get(&format!("/api/payments/{}", paid.1))
        .await?;
    assert_eq!(payment["status"], "pending");
    market.gateway.start_again().await?;
    market.settled(&paid, "completed", SOON).await?;
    market.all_webhooks_to_be_delivered(1).await
}

#[tokio::test]
async fn payments_stay_pending_while_the_gateway_is_away_and_complete_when_it_is_back() -> Result<()>
{
    let mut market = Market::open().await?;
    market.gateway.sigterm()?;
    assert!(
        market.gateway.wait(SOON).await?.success(),
        "it ends in order"
    );
    let mut paid = Vec::new();
    for _ in 0..2 {
        paid.push(market.pay("success@upi").await?);
    }
    wait_until("the breaker to open", SOON, async || {
        Ok(market.worker.metric(BREAKER_OPENED).await? >= Some(1.0))
    })
    .await?;
    for (_, payment) in &paid {
        let (_, payment) = market
            .customer
            .get(&format!("/api/payments/{payment}"))
            .await?;
        assert_eq!(payment["status"], "pending");
    }
    market.gateway.start_again().await?;
    for paid in &paid {
        market.settled(paid, "completed", AT_LAST).await?;
    }
    assert_eq!(market.charges("approved").await?, 2);
    Ok(())
}

#[tokio::test]
async fn a_gateway_answers_no_stranger_and_names_what_is_wrong() -> Result<()> {
    let stack = Stack::new().await?;
    let gateway = App::gateway(free_port(), API_KEY).database(&stack.database);
    let gateway = gateway.start().await?;
    let client = ShopClient::new(gateway.base_url())?;
    let body = json!({ "amount": 20, "token": "success@upi" });
    let ask = async |api_key: &str, idempotency_key: &str, body: &serde_json::Value| {
        let request = client
            .http()
            .post(format!("{}/v1/charges", gateway.base_url()));
        let request = request
            .bearer_auth(api_key)
            .header("idempotency-key", idempotency_key);
        let answer = request.json(body).send().await?;
        let status = answer.status().as_u16();
        anyhow::Ok((status, answer.json::<serde_json::Value>().await?))
    };
    assert_eq!(ask("another-key", "k1", &body).await?.0, 401);
    let (status, charge) = ask(API_KEY, "k1", &body).await?;
    assert_eq!(
        (status, &charge["status"]),
        (200, &json!("approved")),
        "{charge}"
    );
    let (status, again) = ask(API_KEY, "k1", &body).await?;
    assert_eq!((status, again), (200, charge.clone()));
    let (status, dearer) = ask(API_KEY, "k1", &json!({ "amount": 21 })).await?;
    assert_eq!(
        (status, &dearer["code"]),
        (422, &json!("idempotency_key_reused"))
    );
    let (status, nothing) = ask(API_KEY, "k2", &json!({})).await?;
    assert_eq!(
        (status, &nothing["errors"][0]["field"]),
        (400, &json!("amount")),
        "{nothing}"
    );
    let (status, blank) = ask(API_KEY, "", &body).await?;
    assert_eq!(
        (status, &blank["errors"][0]["field"]),
        (400, &json!("Idempotency-Key")),
        "{blank}"
    );
    let url = format!("{}/v1/charges/k1", gateway.base_url());
    let read = client.http().get(url).bearer_auth(API_KEY).send().await?;
    assert_eq!(read.json::<serde_json::Value>().await?, charge);
    Ok(())
}
