//! Requests that are sent again under their key.

use std::{collections::HashSet, time::Duration};

use axum::body::Body;
use bharatmart_test_support::wait_until;
use futures_util::future::join_all;
use http::{Request, StatusCode, header::AUTHORIZATION};
use serde_json::{Value, json};

use crate::{Answer, Api, Person};

const STOCK: i64 = 100;

struct Shop {
    api: Api,
    customer: Person,
    product: String,
}

impl Shop {
    async fn open() -> Self {
        let api = Api::start().await;
        let admin = api.admin().await;
        let product = json!({
            "name": "Mojari", "price": 4999, "category": "Fashion", "stock_quantity": STOCK,
        });
        Self {
            customer: api.customer("priya").await,
            product: api.product(&admin, &product).await,
            api,
        }
    }

    fn order(&self, quantity: i64) -> Value {
        json!({
            "items": [{ "product_id": self.product, "quantity": quantity }],
            "shipping_address": "12 MG Road\nBengaluru 560001",
        })
    }

    async fn post(&self, path: &str, person: &Person, keys: &[&str], body: &Value) -> Answer {
        let mut request = Request::post(path)
            .header(AUTHORIZATION, format!("Bearer {}", person.token))
            .header("content-type", "application/json");
        for key in keys {
            request = request.header("idempotency-key", *key);
        }
        let request = request.body(Body::from(body.to_string()));
        self.api.send(request.expect("the request is good")).await
    }

    async fn left(&self) -> i64 {
        let path = format!("/api/products/{}", self.product);
        let product = self.api.get(&path, None).await.body;
        product["stock_quantity"].as_i64().expect("a stock")
    }
}

fn is_replayed(answer: &Answer) -> bool {
    answer
        .headers
        .get("idempotent-replayed")
        .is_some_and(|value| value == "true")
}

#[tokio::test]
async fn fifty_orders_at_once_under_one_key_are_one_order() {
    let shop = Shop::open().await;
    let body = shop.order(2);
    let sent = (0..50).map(|_| shop.post("/api/orders", &shop.customer, &["k-1"], &body));
    let answers = join_all(sent).await;
    let mut bodies = HashSet::new();
    for answer in &answers {
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        assert_eq!(
            answer.headers["location"],
            format!("/api/orders/{}", answer.text("id")).as_str()
        );
        bodies.insert(answer.body.to_string());
    }
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert_eq!(
        answers.iter().filter(|answer| is_replayed(answer)).count(),
        49
    );
    assert_eq!(shop.left().await, STOCK - 2);
    let orders = shop.api.get("/api/orders", Some(&shop.customer)).await.body;
    assert_eq!(orders["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_key_is_one_request_of_one_person() {
    let shop = Shop::open().await;
    let first = shop
        .post("/api/orders", &shop.customer, &["k"], &shop.order(1))
        .await;
    assert_eq!(first.status, StatusCode::CREATED);
    assert!(!is_replayed(&first));

    let other_body = shop
        .post("/api/orders", &shop.customer, &["k"], &shop.order(2))
        .await;
    assert_eq!(other_body.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(other_body.text("code"), "idempotency_key_reused");
    let payment = json!({ "order_id": first.text("id"), "payment_method": "upi" });
    let other_route = shop
        .post("/api/payments", &shop.customer, &["k"], &payment)
        .await;
    assert_eq!(other_route.status, StatusCode::UNPROCESSABLE_ENTITY);

    let ravi = shop.api.customer("ravi").await;
    let his = shop
        .post("/api/orders", &ravi, &["k"], &shop.order(1))
        .await;
    assert_eq!(his.status, StatusCode::CREATED);
    assert!(!is_replayed(&his));
    // As a string of structured fields it is the same key.
    let quoted = shop
        .post("/api/orders", &shop.customer, &["\"k\""], &shop.order(1))
        .await;
    assert!(is_replayed(&quoted));
    assert_eq!(quoted.body, first.body);
    assert_eq!(shop.left().await, STOCK - 2);
}

#[tokio::test]
async fn a_refused_request_leaves_its_key_free() {
    let shop = Shop::open().await;
    let too_many = shop
        .post(
            "/api/orders",
            &shop.customer,
            &["k"],
            &shop.order(STOCK + 1),
        )
        .await;
    assert_eq!(too_many.status, StatusCode::CONFLICT);
    let fewer = shop
        .post("/api/orders", &shop.customer, &["k"], &shop.order(STOCK))
        .await;
    assert_eq!(fewer.status, StatusCode::CREATED, "{}", fewer.body);
    assert_eq!(shop.left().await, 0);
}

#[tokio::test]
async fn a_payment_is_started_once_under_its_key() {
    let shop = Shop::open().await;
    let order = shop
        .post("/api/orders", &shop.customer, &[], &shop.order(1))
        .await;
    let body = json!({ "order_id": order.text("id"), "payment_method": "upi" });
    let sent = (0..10).map(|_| shop.post("/api/payments", &shop.customer, &["p"], &body));
    let answers = join_all(sent).await;
    let ids: HashSet<_> = answers
        .iter()
        .map(|answer| answer.text("id").to_owned())
        .collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(
        answers.iter().filter(|answer| is_replayed(answer)).count(),
        9
    );
    // Without its key it is another one, which the order does not take.
    let again = shop.post("/api/payments", &shop.customer, &[], &body).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn who_asks_again_is_never_told_less_than_before() {
    let shop = Shop::open().await;
    let order = shop
        .post("/api/orders", &shop.customer, &[], &shop.order(1))
        .await;
    let body = json!({ "order_id": order.text("id"), "payment_method": "upi" });
    let started = shop
        .post("/api/payments", &shop.customer, &["p"], &body)
        .await;
    assert_eq!(started.text("status"), "pending");
    let pool = shop.api.test_database.pool().await;
    sqlx::query("UPDATE payments SET status = 'completed'")
        .execute(&pool)
        .await
        .expect("it can be settled");
    let waited = Request::post("/api/payments")
        .header(AUTHORIZATION, format!("Bearer {}", shop.customer.token))
        .header("content-type", "application/json")
        .header("idempotency-key", "p")
        .header("prefer", "wait=1")
        .body(Body::from(body.to_string()))
        .expect("the request is good");
    let waited = shop.api.send(waited).await;
    assert_eq!(waited.text("status"), "completed");
    let again = shop
        .post("/api/payments", &shop.customer, &["p"], &body)
        .await;
    assert!(is_replayed(&again));
    assert_eq!(again.body, waited.body);
}

#[tokio::test]
async fn a_payment_that_was_started_is_answered_so_though_its_outcome_cannot_be_read() {
    let shop = Shop::open().await;
    let answer = shop
        .post("/api/orders", &shop.customer, &[], &shop.order(1))
        .await;
    let body = json!({ "order_id": answer.text("id"), "payment_method": "upi" });
    let request = Request::post("/api/payments")
        .header(AUTHORIZATION, format!("Bearer {}", shop.customer.token))
        .header("content-type", "application/json")
        .header("prefer", "wait=3")
        .body(Body::from(body.to_string()))
        .expect("the request is good");
    let pool = shop.api.test_database.pool().await;
    let broken = async {
        wait_until(
            "the payment to be started",
            Duration::from_secs(3),
            async || {
                let started = "SELECT count(*) FROM payments";
                let count: i64 = sqlx::query_scalar(started).fetch_one(&pool).await?;
                Ok(count == 1)
            },
        )
        .await
        .expect("it is started");
        sqlx::query("ALTER TABLE payments RENAME TO gone")
            .execute(&pool)
            .await
            .expect("nothing can be read now");
    };
    let (answer, ()) = tokio::join!(shop.api.send(request), broken);
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    assert_eq!(answer.text("status"), "pending");
}

#[tokio::test]
async fn keys_that_are_none_are_refused_before_anything_is_done() {
    let shop = Shop::open().await;
    let long = "x".repeat(256);
    for keys in [&[""][..], &["a b"], &["\"open"], &["a", "b"], &[&long]] {
        let answer = shop
            .post("/api/orders", &shop.customer, keys, &shop.order(1))
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{keys:?}");
        assert_eq!(answer.fields(), ["Idempotency-Key"], "{keys:?}");
    }
    assert_eq!(shop.left().await, STOCK);
}
