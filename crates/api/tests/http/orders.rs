//! Orders and payments over HTTP; what they mean is tested where it is written.

use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::Api;

#[tokio::test]
async fn an_order_is_priced_by_the_shop_and_shown_with_all_that_belongs_to_it() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let priya = api.customer("priya").await;
    let shoes =
        json!({ "name": "Mojari", "price": 4999, "category": "Fashion", "stock_quantity": 5 });
    let shoes = api.product(&admin, &shoes).await;
    let body = json!({
        "user_id": admin.id,
        "items": [
            { "product_id": shoes, "quantity": 1, "unit_price": 1 },
            { "product_id": shoes, "quantity": 2 },
        ],
        "shipping_address": "12 MG Road\nBengaluru",
    });
    let placed = api.post("/api/orders", Some(&priya), &body).await;
    assert_eq!(placed.status, StatusCode::CREATED);
    assert_eq!(
        placed.body["total_amount"], 14997,
        "the database's price, and the line summed"
    );
    assert_eq!(
        placed.body["user_id"],
        priya.id.as_str(),
        "a customer orders for themselves"
    );
    let path = format!("/api/orders/{}", placed.text("id"));
    assert_eq!(placed.headers["location"], path.as_str());

    let order = api.get(&path, Some(&priya)).await.body;
    assert_eq!(order["items"].as_array().unwrap().len(), 1);
    assert_eq!(order["items"][0]["quantity"], 3);
    assert_eq!(order["items"][0]["products"]["name"], "Mojari");
    assert_eq!(
        (&order["payment"], &order["history"][0]["to_status"]),
        (&json!(null), &json!("pending"))
    );

    let for_priya = json!({
        "user_id": priya.id, "items": [{ "product_id": shoes, "quantity": 1 }], "shipping_address": "x",
    });
    let for_priya = api.post("/api/orders", Some(&admin), &for_priya).await;
    assert_eq!(
        for_priya.body["user_id"],
        priya.id.as_str(),
        "an admin orders for somebody"
    );
}

#[tokio::test]
async fn whom_an_order_is_for_is_looked_at_only_when_an_admin_says_it() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let priya = api.customer("priya").await;
    let kite = json!({ "name": "Kite", "price": 20, "category": "Toys", "stock_quantity": 20 });
    let kite = api.product(&admin, &kite).await;
    for user_id in [
        r#""""#,
        "null",
        "7",
        "1e999",
        r#"{"$ne":null}"#,
        r#""\ud800""#,
        r#""me""#,
    ] {
        let body = format!(
            r#"{{"user_id":{user_id},"items":[{{"product_id":"{kite}","quantity":1}}],"shipping_address":"x"}}"#
        );
        let placed = api
            .call("POST", "/api/orders", Some(&priya), Some(&body))
            .await;
        assert_eq!(placed.status, StatusCode::CREATED, "{}", placed.body);
        assert_eq!(placed.body["user_id"], priya.id.as_str());
        let by_admin = api
            .call("POST", "/api/orders", Some(&admin), Some(&body))
            .await;
        if user_id == "null" {
            assert_eq!(by_admin.body["user_id"], admin.id.as_str());
        } else {
            assert_eq!(
                (by_admin.status, by_admin.fields()),
                (StatusCode::UNPROCESSABLE_ENTITY, vec!["user_id"]),
                "{user_id}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_out_of_stock_or_unknown_is_named() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let priya = api.customer("priya").await;
    let kite = json!({ "name": "Kite", "price": 20, "category": "Toys", "stock_quantity": 2 });
    let kite = api.product(&admin, &kite).await;
    let order = |product: &str, quantity: i32| json!({ "items": [{ "product_id": product, "quantity": quantity }], "shipping_address": "x" });
    let short = api
        .post("/api/orders", Some(&priya), &order(&kite, 3))
        .await;
    assert_eq!(short.status, StatusCode::CONFLICT);
    let body: Value =
        serde_json::from_str(&short.body.to_string().replace(&kite, "[kite]")).unwrap();
    insta::assert_json_snapshot!("out_of_stock", body, { ".request_id" => "[id]" });
    let unknown = "01890000-0000-7000-8000-000000000000";
    let answer = api
        .post("/api/orders", Some(&priya), &order(unknown, 1))
        .await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.text("detail").contains(unknown));
    assert_eq!(
        api.get(&format!("/api/products/{kite}"), None).await.body["stock_quantity"],
        2
    );
}

#[tokio::test]
async fn an_order_that_costs_more_than_was_said_is_refused_and_leaves_nothing() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let priya = api.customer("priya").await;
    let kite = json!({ "name": "Kite", "price": 20.5, "category": "Toys", "stock_quantity": 5 });
    let kite = api.product(&admin, &kite).await;
    let order = async |quantity: i32, max_total: f64| {
        let body = json!({
            "items": [{ "product_id": kite, "quantity": quantity }], "shipping_address": "x",
            "max_total": max_total,
        });
        api.post("/api/orders", Some(&priya), &body).await
    };
    let dearer = order(2, 40.99).await;
    assert_eq!(
        (dearer.status, dearer.text("code"), dearer.fields()),
        (StatusCode::CONFLICT, "price_changed", vec!["max_total"])
    );
    assert!(dearer.text("error").contains("costs 41 now"));
    let short = order(6, 1.0).await;
    assert_eq!(
        short.text("code"),
        "out_of_stock",
        "what cannot be had comes before what it costs"
    );
    let path = format!("/api/products/{kite}");
    assert_eq!(api.get(&path, None).await.body["stock_quantity"], 5);

    for max_total in [41.0, 100.0] {
        let placed = order(2, max_total).await;
        assert_eq!(placed.status, StatusCode::CREATED);
        assert_eq!(placed.body["total_amount"], 41, "never more than the price");
    }
    let bad = order(1, -1.0).await;
    assert_eq!(
        (bad.status, bad.fields()),
        (StatusCode::BAD_REQUEST, vec!["max_total"])
    );
}

#[tokio::test]
async fn statuses_follow_the_state_machine_and_the_role() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let priya = api.customer("priya").await;
    let kite = json!({ "name": "Kite", "price": 20, "category": "Toys", "stock_quantity": 2 });
    let kite = api.product(&admin, &kite).await;
    let order = api.order(&priya, &kite).await;
    let path = format!("/api/orders/{order}/status");
    for (person, status, expected) in [
        (&priya, "lost", StatusCode::BAD_REQUEST),
        (&admin, "delivered", StatusCode::CONFLICT),
        (&priya, "shipped", StatusCode::FORBIDDEN),
        (&priya, "cancelled", StatusCode::OK),
        (&priya, "cancelled", StatusCode::CONFLICT),
        (&admin, "processing", StatusCode::CONFLICT),
    ] {
        let body = json!({ "status": status }).to_string();
        let answer = api.call("PATCH", &path, Some(person), Some(&body)).await;
        assert_eq!(answer.status, expected, "{status}: {}", answer.body);
        if expected == StatusCode::BAD_REQUEST {
            assert_eq!(answer.text("error"), "Invalid status");
        }
    }
    assert_eq!(
        api.get(&format!("/api/products/{kite}"), None).await.body["stock_quantity"],
        2,
        "cancelling restocks"
    );
}

#[tokio::test]
async fn a_payment_is_for_the_orders_total_and_once() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let (priya, arjun) = (api.customer("priya").await, api.customer("arjun").await);
    let kite = json!({ "name": "Kite", "price": 20.5, "category": "Toys", "stock_quantity": 2 });
    let kite = api.product(&admin, &kite).await;
    let order = api.order(&priya, &kite).await;
    let pay = |amount: f64| json!({ "order_id": order, "payment_method": "upi", "amount": amount });

    let theirs = api.post("/api/payments", Some(&arjun), &pay(20.5)).await;
    assert_eq!(
        (theirs.status, theirs.text("error")),
        (StatusCode::NOT_FOUND, "Order not found")
    );
    let wrong = api.post("/api/payments", Some(&priya), &pay(20.0)).await;
    assert_eq!(
        (wrong.status, wrong.fields()),
        (StatusCode::UNPROCESSABLE_ENTITY, vec!["amount"])
    );
    let paid = api.post("/api/payments", Some(&priya), &pay(20.5)).await;
    assert_eq!(
        (paid.status, paid.text("status")),
        (StatusCode::CREATED, "pending")
    );
    assert!(!paid.headers.contains_key("preference-applied"));
    let twice = api.post("/api/payments", Some(&priya), &pay(20.5)).await;
    assert_eq!(
        (twice.status, twice.text("code")),
        (StatusCode::CONFLICT, "not_payable")
    );

    let path = format!("/api/payments/{}", paid.text("id"));
    let read = api.get(&path, Some(&priya)).await;
    assert_eq!(read.body["orders"]["id"], order.as_str());
    let theirs = api.get(&path, Some(&arjun)).await;
    assert_eq!(
        (theirs.status, theirs.text("error")),
        (StatusCode::NOT_FOUND, "Payment not found")
    );
}

#[tokio::test]
async fn a_payment_that_is_waited_for_is_told_as_it_is_when_the_wait_is_over() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let priya = api.customer("priya").await;
    let kite = json!({ "name": "Kite", "price": 20, "category": "Toys", "stock_quantity": 2 });
    let kite = api.product(&admin, &kite).await;
    let order = api.order(&priya, &kite).await;
    let body = json!({ "order_id": order, "payment_method": "credit_card" }).to_string();
    let request = Request::post("/api/payments")
        .header("authorization", format!("Bearer {}", priya.token))
        .header("content-type", "application/json")
        .header("prefer", "wait=1")
        .body(body.into())
        .unwrap();
    let answer = api.send(request).await;
    assert_eq!(
        (answer.status, answer.text("status")),
        (StatusCode::CREATED, "pending")
    );
    assert_eq!(answer.headers["preference-applied"], "wait=1");
}
