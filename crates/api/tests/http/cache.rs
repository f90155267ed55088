//! Product pages from the cache, and what outdates them.

use http::StatusCode;
use serde_json::{Value, json};

use crate::{Answer, Api, Person};

const MEMORY: (&str, &str) = ("CACHE_TYPE", "memory");

fn source(answer: &Answer) -> &str {
    answer.headers["x-cache"].to_str().expect("it is a word")
}

async fn kite(api: &Api, admin: &Person) -> String {
    let kite = json!({ "name": "Kite", "price": 20, "category": "Toys", "stock_quantity": 5 });
    format!("/api/products/{}", api.product(admin, &kite).await)
}

/// Asks for `path` twice: the first answer is not from the cache, the second is, and is the same.
async fn anew(api: &Api, path: &str) -> Value {
    let (first, second) = (api.get(path, None).await, api.get(path, None).await);
    assert_eq!((source(&first), source(&second)), ("MISS", "HIT"), "{path}");
    assert_eq!(second.headers["content-type"], "application/json");
    assert_eq!(first.body, second.body);
    first.body
}

#[tokio::test]
async fn a_page_is_kept_until_something_changes_what_it_shows() {
    let api = Api::start_with(&[MEMORY]).await;
    let (admin, priya) = (api.admin().await, api.customer("priya").await);
    let path = kite(&api, &admin).await;
    assert_eq!(anew(&api, &path).await["stock_quantity"], 5);
    for list in ["/api/products", "/api/products?in_stock=true"] {
        assert_eq!(anew(&api, list).await["data"].as_array().unwrap().len(), 1);
    }
    let categories = anew(&api, "/api/categories").await;
    assert_eq!(categories["data"][0]["category"], "Toys");

    let changed = api
        .call("PUT", &path, Some(&admin), Some(r#"{"price":25}"#))
        .await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_eq!(anew(&api, &path).await["price"], 25);

    let id = path.rsplit('/').next().expect("it ends with the id");
    let order = api.order(&priya, id).await;
    assert_eq!(anew(&api, &path).await["stock_quantity"], 4);

    let cancelled = api
        .call(
            "PATCH",
            &format!("/api/orders/{order}/status"),
            Some(&priya),
            Some(r#"{"status":"cancelled"}"#),
        )
        .await;
    assert_eq!(cancelled.status, StatusCode::OK);
    assert_eq!(anew(&api, &path).await["stock_quantity"], 5);

    anew(&api, "/api/products").await;
    let hidden = api.call("DELETE", &path, Some(&admin), None).await;
    assert_eq!(hidden.status, StatusCode::NO_CONTENT);
    assert_eq!(api.get(&path, None).await.status, StatusCode::NOT_FOUND);
    assert_eq!(anew(&api, "/api/products").await["data"], json!([]));

    kite(&api, &admin).await;
    let list = anew(&api, "/api/products").await;
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_not_there_is_not_kept() {
    let api = Api::start_with(&[MEMORY]).await;
    let path = "/api/products/01890000-0000-7000-8000-000000000000";
    for _ in 0..2 {
        let answer = api.get(path, None).await;
        assert_eq!(
            (answer.status, answer.text("error")),
            (StatusCode::NOT_FOUND, "Product not found")
        );
        assert!(!answer.headers.contains_key("x-cache"));
    }
}

#[tokio::test]
async fn a_refused_order_empties_nothing() {
    let api = Api::start_with(&[MEMORY]).await;
    let (admin, priya) = (api.admin().await, api.customer("priya").await);
    let path = kite(&api, &admin).await;
    anew(&api, &path).await;
    let id = path.rsplit('/').next().expect("it ends with the id");
    let body = json!({ "items": [{ "product_id": id, "quantity": 6 }], "shipping_address": "x" });
    let refused = api.post("/api/orders", Some(&priya), &body).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert_eq!(source(&api.get(&path, None).await), "HIT");
}

#[tokio::test]
async fn without_a_cache_everything_is_a_miss() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let path = kite(&api, &admin).await;
    for path in [path.as_str(), "/api/products", "/api/categories"] {
        for _ in 0..2 {
            assert_eq!(source(&api.get(path, None).await), "MISS", "{path}");
        }
    }
}
