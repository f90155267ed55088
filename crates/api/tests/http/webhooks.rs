//! What the payment gateway reports by itself.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use axum::body::{Body, Bytes};
use bharatmart_commerce::{charge_payment, sign};
use bharatmart_config::WebhookSecret;
use bharatmart_domain::{Clock, PaymentId, SystemClock};
use chrono::TimeDelta;
use futures_util::{StreamExt, future::join_all, stream};
use http::{Request, StatusCode};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::timeout;

use crate::{Answer, Api, Person};

const SECRET: &str = "a secret that the gateway and the shop share";

/// A shop that takes webhooks, and a customer in it.
struct Shop {
    api: Api,
    pool: PgPool,
    customer: Person,
    product: String,
}

/// A pending payment, and its order.
#[derive(Clone)]
struct Pending {
    id: String,
    order: String,
}

/// A webhook as it goes over the wire.
#[derive(Clone)]
struct Delivery {
    id: String,
    timestamp: i64,
    signatures: String,
    body: String,
}

fn key(text: &str) -> WebhookSecret {
    WebhookSecret(text.as_bytes().to_vec().into())
}

fn event(status: &str, payment: &str) -> Value {
    let transaction_id = matches!(status, "approved" | "refunded").then(|| format!("tx-{payment}"));
    let decline_reason = (status == "declined").then_some("insufficient funds");
    json!({
        "type": format!("charge.{status}"),
        "timestamp": "2026-11-28T08:00:00Z",
        "data": {
            "key": payment,
            "amount": 20,
            "status": status,
            "transaction_id": transaction_id,
            "decline_reason": decline_reason,
        },
    })
}

impl Delivery {
    /// Signed `ago` with the right key.
    fn signed(id: &str, body: &Value, ago: TimeDelta) -> Self {
        let (now, body) = (SystemClock.now() - ago, body.to_string());
        Self {
            id: id.to_owned(),
            timestamp: now.timestamp(),
            signatures: sign(&key(SECRET), id, now, body.as_bytes()),
            body,
        }
    }
}

impl Shop {
    async fn open() -> Self {
        let api = Api::start_with(&[("PAYMENT_WEBHOOK_SECRET", SECRET)]).await;
        let admin = api.admin().await;
        let customer = api.customer("buyer").await;
        let kite =
            json!({ "name": "Kite", "price": 20, "category": "Toys", "stock_quantity": 1000 });
        let product = api.product(&admin, &kite).await;
        Self {
            pool: api.test_database.pool().await,
            api,
            customer,
            product,
        }
    }

    async fn payment(&self) -> Pending {
        let order = self.api.order(&self.customer, &self.product).await;
        let body = json!({ "order_id": order, "payment_method": "upi" });
        let answer = self
            .api
            .post("/api/payments", Some(&self.customer), &body)
            .await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        Pending {
            id: answer.text("id").to_owned(),
            order,
        }
    }

    async fn deliver(&self, delivery: Delivery) -> Answer {
        let request = Request::post("/api/payments/webhook")
            .header("content-type", "application/json")
            .header("webhook-id", delivery.id)
            .header("webhook-timestamp", delivery.timestamp)
            .header("webhook-signature", delivery.signatures)
            .body(delivery.body.into());
        self.api.send(request.expect("the request is good")).await
    }

    /// Delivers an event about a payment, which must be taken.
    async fn report(&self, id: &str, status: &str, payment: &Pending) {
        let delivery = Delivery::signed(id, &event(status, &payment.id), TimeDelta::zero());
        let answer = self.deliver(delivery).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        assert_eq!(answer.body, json!({ "received": true }));
    }

    async fn status(&self, payment: &Pending) -> String {
        let path = format!("/api/payments/{}", payment.id);
        let answer = self.api.get(&path, Some(&self.customer)).await;
        answer.text("status").to_owned()
    }

    /// The statuses that the payment's order went through, and the kinds of mails about it in the outbox.
    async fn traces(&self, payment: &Pending) -> (Vec<String>, Vec<String>) {
        let history = sqlx::query_scalar(
            "SELECT to_status FROM order_history WHERE order_id = $1::uuid ORDER BY id",
        );
        let mails = sqlx::query_scalar(
            "SELECT payload ->> 'type' FROM outbox
             WHERE queue = 'email-notifications' AND payload ->> 'orderId' = $1 ORDER BY id",
        );
        let history = history.bind(&payment.order).fetch_all(&self.pool).await;
        let mails = mails.bind(&payment.order).fetch_all(&self.pool).await;
        (
            history.expect("they are there"),
            mails.expect("they are there"),
        )
    }

    async fn count(&self, sql: &'static str) -> i64 {
        let count = sqlx::query_scalar(sql).fetch_one(&self.pool).await;
        count.expect("the database answers")
    }
}

#[tokio::test]
async fn a_thousand_webhooks_in_any_order_and_repeated_change_each_payment_once() {
    const PAYMENTS: usize = 20;
    const EVENTS_OF_EACH: usize = 25;
    let shop = Shop::open().await;
    let mut deliveries = Vec::new();
    let mut payments = Vec::new();
    for number in 0..PAYMENTS {
        let payment = shop.payment().await;
        for event_number in 0..EVENTS_OF_EACH {
            let status = match number % 3 {
                0 => "approved",
                1 => "declined",
                _ => ["approved", "refunded"][event_number % 2],
            };
            let id = format!("event-{number}-{event_number}");
            let delivery = Delivery::signed(&id, &event(status, &payment.id), TimeDelta::zero());
            deliveries.extend([delivery.clone(), delivery]);
        }
        payments.push(payment);
    }
    let seed = rand::random();
    println!("seed {seed}");
    deliveries.shuffle(&mut StdRng::seed_from_u64(seed));
    assert_eq!(deliveries.len(), 1000);

    let answers = stream::iter(deliveries)
        .map(|delivery| shop.deliver(delivery))
        .buffer_unordered(40)
        .map(|answer| answer.status);
    let mut statuses = BTreeMap::new();
    for status in answers.collect::<Vec<_>>().await {
        *statuses.entry(status.as_u16()).or_insert(0) += 1;
    }
    assert_eq!(statuses, BTreeMap::from([(200, 1000)]));

    for (number, payment) in payments.iter().enumerate() {
        let (history, mails) = shop.traces(payment).await;
        let (status, expected_history, expected_mails) = match number % 3 {
            0 => (
                "completed",
                &["pending", "processing"][..],
                &["payment_success"][..],
            ),
            1 => (
                "failed",
                &["pending", "payment_failed"][..],
                &["payment_failed"][..],
            ),
            _ => (
                "refunded",
                &["pending", "processing", "cancelled"][..],
                &["payment_success", "order_cancelled"][..],
            ),
        };
        assert_eq!(shop.status(payment).await, status, "payment {number}");
        assert_eq!(history, expected_history, "payment {number}");
        assert_eq!(mails, expected_mails, "payment {number}");
    }
    let events = shop.count("SELECT count(*) FROM payment_events").await;
    assert_eq!(events, i64::try_from(PAYMENTS * EVENTS_OF_EACH).unwrap());
    // A third of the orders, less one, was given back once each.
    let stock = shop
        .count("SELECT stock_quantity::bigint FROM products")
        .await;
    assert_eq!(stock, 1000 - 20 + 6);
}

#[tokio::test]
async fn a_webhook_and_the_worker_that_race_settle_a_payment_once() {
    let shop = Shop::open().await;
    for round in 0..10 {
        let payment = shop.payment().await;
        let id: PaymentId = payment.id.parse().expect("it is an id");
        let worker = join_all((0..4).map(|_| charge_payment(&shop.api.shop, id)));
        let ids: Vec<_> = (0..4)
            .map(|number| format!("event-{round}-{number}"))
            .collect();
        let reports = join_all(ids.iter().map(|id| shop.report(id, "approved", &payment)));
        let (charged, _) = tokio::join!(worker, reports);
        for result in charged {
            result.expect("the sandbox approves");
        }
        assert_eq!(shop.status(&payment).await, "completed");
        let (history, mails) = shop.traces(&payment).await;
        assert_eq!(history, ["pending", "processing"]);
        assert_eq!(mails, ["payment_success"]);
    }
}

#[tokio::test]
async fn what_is_not_signed_just_now_by_the_gateway_changes_nothing() {
    let shop = Shop::open().await;
    let payment = shop.payment().await;
    let body = event("approved", &payment.id);
    let good = Delivery::signed("event", &body, TimeDelta::zero());
    let aged = |minutes, seconds| {
        let ago = TimeDelta::minutes(minutes) + TimeDelta::seconds(seconds);
        Delivery::signed("event", &body, ago)
    };
    let stranger = {
        let now = SystemClock.now();
        let signatures = sign(
            &key(&SECRET.replace('a', "b")),
            "event",
            now,
            good.body.as_bytes(),
        );
        Delivery {
            signatures,
            timestamp: now.timestamp(),
            ..good.clone()
        }
    };
    let changed = |change: fn(&mut Delivery)| {
        let mut delivery = good.clone();
        change(&mut delivery);
        delivery
    };
    for (what, delivery, sentence) in [
        ("a replay", aged(5, 1), "too old"),
        ("from the future", aged(-5, -5), "too new"),
        ("a stranger's", stranger, "webhook-signature"),
        (
            "another body",
            changed(|delivery| delivery.body = delivery.body.replace("20", "21")),
            "webhook-signature",
        ),
        (
            "another event",
            changed(|delivery| delivery.id.push('2')),
            "webhook-signature",
        ),
        (
            "another time",
            changed(|delivery| delivery.timestamp += 1),
            "webhook-signature",
        ),
        (
            "no signature",
            changed(|delivery| delivery.signatures.clear()),
            "webhook-signature",
        ),
        (
            "no id",
            changed(|delivery| delivery.id.clear()),
            "webhook-id",
        ),
    ] {
        let answer = shop.deliver(delivery).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{what}");
        assert_eq!(answer.text("code"), "bad_webhook", "{what}");
        assert!(
            answer.text("error").contains(sentence),
            "{what}: {}",
            answer.body
        );
    }
    let bare = shop.api.post("/api/payments/webhook", None, &body).await;
    assert_eq!(bare.status, StatusCode::BAD_REQUEST);
    assert_eq!(bare.text("error"), "The header webhook-id is required");
    assert_eq!(shop.status(&payment).await, "pending");
    assert_eq!(shop.count("SELECT count(*) FROM payment_events").await, 0);

    // Old, but not too old; and the right signature beside one of another key.
    let mut late = aged(4, 50);
    late.signatures = format!("v1,c29tZXRoaW5nIGVsc2U= {}", late.signatures);
    let answer = shop.deliver(late).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(shop.status(&payment).await, "completed");
}

#[tokio::test]
async fn what_is_refused_for_its_head_is_refused_before_its_body_has_come() {
    let shop = Shop::open().await;
    let off = Api::start().await;
    let request = |ago, is_signed: bool| {
        let delivery = Delivery::signed("event", &json!({}), ago);
        let never = stream::pending::<Result<Bytes, Infallible>>();
        let mut request = Request::post("/api/payments/webhook").header("webhook-id", "event");
        if is_signed {
            request = request.header("webhook-signature", delivery.signatures);
        }
        let request = request.header("webhook-timestamp", delivery.timestamp);
        request.body(Body::from_stream(never)).unwrap()
    };
    let old = TimeDelta::minutes(6);
    for (api, request, status) in [
        (&shop.api, request(old, true), StatusCode::BAD_REQUEST),
        (
            &shop.api,
            request(TimeDelta::zero(), false),
            StatusCode::BAD_REQUEST,
        ),
        (
            &off,
            request(TimeDelta::zero(), true),
            StatusCode::NOT_FOUND,
        ),
    ] {
        // Less than the time of a request, after which whoever waits for a body gives up.
        let answer = timeout(Duration::from_secs(10), api.send(request)).await;
        assert_eq!(answer.expect("an answer at once").status, status);
    }
}

#[tokio::test]
async fn an_older_event_never_undoes_a_later_state() {
    let shop = Shop::open().await;
    let [refunded, completed, failed] = [
        shop.payment().await,
        shop.payment().await,
        shop.payment().await,
    ];
    shop.report("r1", "refunded", &refunded).await;
    assert_eq!(shop.status(&refunded).await, "refunded");
    let after_refund = shop.traces(&refunded).await;
    shop.report("c1", "approved", &completed).await;
    let after_approval = shop.traces(&completed).await;
    shop.report("f1", "declined", &failed).await;
    let after_decline = shop.traces(&failed).await;

    for (payment, status, traces) in [
        (&refunded, "refunded", after_refund),
        (&completed, "completed", after_approval),
        (&failed, "failed", after_decline),
    ] {
        for older in ["pending", "approved", "declined", "voided"] {
            shop.report(&format!("{older}-{status}"), older, payment)
                .await;
        }
        assert_eq!(shop.status(payment).await, status);
        assert_eq!(shop.traces(payment).await, traces);
    }
}

#[tokio::test]
async fn what_is_about_nothing_of_ours_is_taken_and_ignored() {
    let shop = Shop::open().await;
    let payment = shop.payment().await;
    let unknown = "01890000-0000-7000-8000-000000000000";
    let mut dearer = event("approved", &payment.id);
    dearer["data"]["amount"] = 21.into();
    let mut unnamed = event("approved", &payment.id);
    unnamed["data"]["transaction_id"] = Value::Null;
    for (id, body) in [
        ("unknown payment", event("approved", unknown)),
        ("no id of a payment", event("approved", "ch_42")),
        ("unknown type", json!({ "type": "payout.paid", "data": 7 })),
        ("another amount", dearer),
        ("no transaction", unnamed),
        ("still pending", event("pending", &payment.id)),
    ] {
        let id = id.replace(' ', "-");
        let answer = shop
            .deliver(Delivery::signed(&id, &body, TimeDelta::zero()))
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{id}: {}", answer.body);
    }
    assert_eq!(shop.status(&payment).await, "pending");
    assert_eq!(shop.count("SELECT count(*) FROM payment_events").await, 6);
}

#[tokio::test]
async fn an_event_is_known_by_its_id_whatever_it_says() {
    let shop = Shop::open().await;
    let (first, second) = (shop.payment().await, shop.payment().await);
    shop.report("event", "approved", &first).await;
    shop.report("event", "approved", &second).await;
    assert_eq!(shop.status(&first).await, "completed");
    assert_eq!(shop.status(&second).await, "pending");
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_refused_and_may_come_again() {
    let shop = Shop::open().await;
    let payment = shop.payment().await;
    for body in [
        json!("text"),
        json!({ "data": {} }),
        json!({ "type": "charge.approved", "data": { "key": payment.id } }),
    ] {
        let answer = shop
            .deliver(Delivery::signed("event", &body, TimeDelta::zero()))
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(
            answer.text("error").contains("cannot be read"),
            "{}",
            answer.body
        );
    }
    shop.report("event", "approved", &payment).await;
    assert_eq!(shop.status(&payment).await, "completed");
}

#[tokio::test]
async fn a_shop_without_a_key_takes_no_webhooks() {
    let api = Api::start().await;
    let answer = api.post("/api/payments/webhook", None, &json!({})).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(
        answer.text("error").contains("PAYMENT_WEBHOOK_SECRET"),
        "{}",
        answer.body
    );
}
