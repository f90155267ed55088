//! Whatever is sent, the answer is a 4xx that names what is wrong.

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::{Api, Person};

const UNKNOWN: &str = "01890000-0000-7000-8000-000000000000";

/// A route that takes a body, a good value for each of its fields, and whether a field must be there.
fn routes() -> Vec<(&'static str, String, Value, &'static [&'static str])> {
    let product = json!({
        "name": "Tea", "price": 10, "category": "Drinks", "description": "", "stock_quantity": 1,
        "sku": "T", "image_url": "/tea.png",
    });
    let item = json!([{ "product_id": UNKNOWN, "quantity": 1 }]);
    let person = json!({ "full_name": "A", "phone": "1", "address": "A" });
    let user = json!({ "full_name": "A", "phone": "1", "address": "A", "role": "customer", "is_active": true });
    vec![
        (
            "POST",
            "/api/auth/signup".to_owned(),
            json!({ "email": "a@example.in", "password": "12345678", "full_name": "A" }),
            &["email", "password", "full_name"],
        ),
        (
            "POST",
            "/api/auth/login".to_owned(),
            json!({ "email": "a", "password": "a" }),
            &["email", "password"],
        ),
        (
            "POST",
            "/api/auth/refresh".to_owned(),
            json!({ "refreshToken": "a" }),
            &["refreshToken"],
        ),
        (
            "POST",
            "/api/auth/verify-email".to_owned(),
            json!({ "token": "a" }),
            &["token"],
        ),
        (
            "POST",
            "/api/auth/forgot-password".to_owned(),
            json!({ "email": "a" }),
            &["email"],
        ),
        (
            "POST",
            "/api/auth/reset-password".to_owned(),
            json!({ "token": "a", "password": "12345678" }),
            &["token", "password"],
        ),
        ("PATCH", "/api/auth/me".to_owned(), person, &[]),
        (
            "POST",
            "/api/products".to_owned(),
            product.clone(),
            &["name", "price", "category"],
        ),
        ("PUT", format!("/api/products/{UNKNOWN}"), product, &[]),
        (
            "POST",
            "/api/orders".to_owned(),
            json!({ "items": item, "shipping_address": "A", "payment_method": "upi", "user_id": UNKNOWN }),
            &["items", "shipping_address"],
        ),
        (
            "PATCH",
            format!("/api/orders/{UNKNOWN}/status"),
            json!({ "status": "shipped" }),
            &["status"],
        ),
        (
            "POST",
            "/api/payments".to_owned(),
            json!({ "order_id": UNKNOWN, "payment_method": "upi", "amount": 1, "payment_token": "tok" }),
            &["order_id", "payment_method"],
        ),
        (
            "PATCH",
            format!("/api/payments/{UNKNOWN}/status"),
            json!({ "status": "failed" }),
            &["status"],
        ),
        ("PATCH", format!("/api/users/{UNKNOWN}"), user, &[]),
    ]
}

/// Values that no field takes.
fn nonsense() -> Vec<Value> {
    vec![
        json!({}),
        json!([[]]),
        json!(-1),
        json!(0.001),
        json!(99_999_999_999_i64),
        json!("\u{0}"),
        json!("x".repeat(20_000)),
    ]
}

#[tokio::test]
async fn a_wrong_value_is_refused_by_the_name_of_its_field() {
    let api = Api::start().await;
    let admin = api.admin().await;
    for (method, path, good, _) in routes() {
        for (field, _) in good.as_object().unwrap() {
            for value in nonsense() {
                let mut body = good.clone();
                body[field] = value.clone();
                let answer = api
                    .call(method, &path, Some(&admin), Some(&body.to_string()))
                    .await;
                let what = format!(
                    "{method} {path} {field}={:.40}: {}",
                    value.to_string(),
                    answer.body
                );
                // Old clients may send anything there, so all that is known of it is that it is nobody's id.
                let expected = match field.as_str() {
                    "user_id" => StatusCode::UNPROCESSABLE_ENTITY,
                    _ => StatusCode::BAD_REQUEST,
                };
                assert_eq!(answer.status, expected, "{what}");
                assert!(
                    answer
                        .fields()
                        .iter()
                        .any(|name| name.starts_with(field.as_str())),
                    "{what}"
                );
            }
        }
    }
}

#[tokio::test]
async fn missing_fields_are_all_named() {
    let api = Api::start().await;
    let admin = api.admin().await;
    for (method, path, _, required) in routes() {
        if required.is_empty() {
            continue;
        }
        let request = Request::builder()
            .method(method)
            .uri(&path)
            .header("authorization", format!("Bearer {}", admin.token))
            .body(Body::empty())
            .unwrap();
        for answer in [
            api.call(method, &path, Some(&admin), Some("{}")).await,
            api.send(request).await,
        ] {
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
            assert_eq!(answer.fields(), required, "{path}");
            let expected = format!("Missing required fields: {}", required.join(", "));
            assert_eq!(answer.text("detail"), expected, "{path}");
        }
    }
}

#[tokio::test]
async fn quantities_are_whole_and_positive_and_orders_bounded() {
    let api = Api::start().await;
    let priya = api.customer("priya").await;
    for quantity in [
        "0",
        "-1",
        "1.5",
        "1e3",
        "10001",
        "99999999999999999999",
        "\"1\"",
        "null",
        "true",
    ] {
        let body = format!(
            r#"{{"items":[{{"product_id":"{UNKNOWN}","quantity":{quantity}}}],"shipping_address":"x"}}"#
        );
        let answer = api
            .call("POST", "/api/orders", Some(&priya), Some(&body))
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{quantity}");
        assert_eq!(answer.fields(), ["items[0].quantity"], "{quantity}");
    }
    let item = json!({ "product_id": UNKNOWN, "quantity": 1 });
    for (items, field) in [
        (json!(vec![item; 101]), "items"),
        (json!([[UNKNOWN, 1]]), "items[0]"),
        (json!([{ "quantity": 1 }]), "items[0].product_id"),
    ] {
        let body = json!({ "items": items, "shipping_address": "x" });
        let answer = api.post("/api/orders", Some(&priya), &body).await;
        assert_eq!(
            (answer.status, answer.fields()),
            (StatusCode::BAD_REQUEST, vec![field])
        );
    }
}

#[tokio::test]
async fn what_is_no_json_is_refused_on_every_route() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(2_000_000));
    for (method, path, good, _) in routes() {
        for (media_type, body, expected) in [
            ("application/json", "{\"name\":", 400),
            ("application/json", "[]", 400),
            ("application/json", "null", 400),
            ("application/json", "{} {}", 400),
            ("application/json", "\u{feff}{}", 400),
            ("text/plain", good.to_string().as_str(), 415),
            ("application/x-www-form-urlencoded", "name=Tea", 415),
            ("application/json", long.as_str(), 413),
        ] {
            let answer = raw(&api, method, &path, &admin, media_type, body.as_bytes()).await;
            assert_eq!(
                answer.status.as_u16(),
                expected,
                "{method} {path} {body:.30}: {}",
                answer.body
            );
        }
        let answer = raw(
            &api,
            method,
            &path,
            &admin,
            "application/json",
            b"{\"name\":\"\xff\"}",
        )
        .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{method} {path}");
    }
}

async fn raw(
    api: &Api,
    method: &str,
    path: &str,
    person: &Person,
    media_type: &str,
    body: &[u8],
) -> crate::Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {}", person.token))
        .header("content-type", media_type)
        .body(Body::from(body.to_vec()))
        .expect("the request is good");
    api.send(request).await
}

#[tokio::test]
async fn wrong_ids_and_parameters_are_refused_by_name() {
    let api = Api::start().await;
    let admin = api.admin().await;
    for (path, field) in [
        ("/api/products/7", "id"),
        ("/api/products/%00", "id"),
        ("/api/products/%ff", "id"),
        ("/api/orders/x", "id"),
        ("/api/payments/x", "id"),
        ("/api/products?min_price=cheap", "min_price"),
        ("/api/products?max_price=-1", "max_price"),
        ("/api/products?in_stock=maybe", "in_stock"),
        ("/api/products?sort=colour", "sort"),
        ("/api/products?search=%00", "search"),
        ("/api/products?category=a%00b", "category"),
        ("/api/products?limit=0", "limit"),
        ("/api/products?limit=5&limit=6", "limit"),
        ("/api/orders?offset=-1", "offset"),
        ("/api/orders?status=lost", "status"),
        ("/api/orders?user_id=me", "user_id"),
        ("/api/payments?order_id=1", "order_id"),
        ("/api/payments?status=paid", "status"),
        ("/api/users?limit=1000", "limit"),
        ("/api/queues/orders/jobs?state=lost", "state"),
        ("/api/queues/orders/jobs?limit=0", "limit"),
        ("/api/queues/orders/jobs?offset=x", "offset"),
        ("/api/queues/orders/jobs/%ff", "path"),
    ] {
        let answer = api.get(path, Some(&admin)).await;
        assert_eq!(
            (answer.status, answer.fields()),
            (StatusCode::BAD_REQUEST, vec![field]),
            "{path}"
        );
    }
    for (path, error) in [
        ("/api/products", "Product not found"),
        ("/api/orders", "Order not found"),
        ("/api/payments", "Payment not found"),
    ] {
        let answer = api.get(&format!("{path}/{UNKNOWN}"), Some(&admin)).await;
        assert_eq!(
            (answer.status, answer.text("error")),
            (StatusCode::NOT_FOUND, error)
        );
    }
}

#[tokio::test]
async fn bodies_of_errors_look_like_this() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let body = json!({ "price": -1, "stock_quantity": 1.5 });
    let answer = api.post("/api/products", Some(&admin), &body).await;
    insta::assert_json_snapshot!("missing_and_invalid", answer.body, { ".request_id" => "[id]" });
    let answer = api.get(&format!("/api/products/{UNKNOWN}"), None).await;
    insta::assert_json_snapshot!("not_found", answer.body, { ".request_id" => "[id]" });
}
