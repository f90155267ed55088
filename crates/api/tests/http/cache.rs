//! Product pages from the cache, and what outdates them.

use std::time::Duration;

use bharatmart_test_support::wait_until;
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};

use crate::{Answer, Api, Person};

/// How long a list may show the stock from before an order, and some time to ask.
const LAG: Duration = Duration::from_millis(1500);
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

/// Waits until the list shows this stock, which may take a second.
async fn lists_soon(api: &Api, stock: i64) {
    wait_until("the list to show the stock", LAG, async || {
        let list = api.get("/api/products", None).await;
        (list.body["data"][0]["stock_quantity"] == stock).then_some(())
    })
    .await
    .expect("it does");
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
    assert_eq!(anew(&api, "/api/categories").await, categories);

    let id = path.rsplit('/').next().expect("it ends with the id");
    anew(&api, "/api/products").await;
    let order = api.order(&priya, id).await;
    assert_eq!(anew(&api, &path).await["stock_quantity"], 4);
    lists_soon(&api, 4).await;

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
    lists_soon(&api, 5).await;
    assert_eq!(
        source(&api.get("/api/categories", None).await),
        "HIT",
        "no order changes what there is"
    );

    let hidden = api.call("DELETE", &path, Some(&admin), None).await;
    assert_eq!(hidden.status, StatusCode::NO_CONTENT);
    assert_eq!(api.get(&path, None).await.status, StatusCode::NOT_FOUND);
    assert_eq!(anew(&api, "/api/products").await["data"], json!([]));

    kite(&api, &admin).await;
    let list = anew(&api, "/api/products").await;
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn that_something_is_not_there_is_remembered_for_a_while_and_never_called_a_hit() {
    let api = Api::start_with(&[MEMORY]).await;
    let path = "/api/products/01890000-0000-7000-8000-000000000000";
    for _ in 0..3 {
        let answer = api.get(path, None).await;
        assert_eq!(
            (answer.status, answer.text("error")),
            (StatusCode::NOT_FOUND, "Product not found")
        );
        for name in ["x-cache", "etag"] {
            assert!(!answer.headers.contains_key(name), "{name}");
        }
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    let finds = "SELECT id %FROM products WHERE id = $1 AND is_active";
    let read = api.test_database.statement_calls(finds).await;
    assert_eq!(read.expect("PostgreSQL counts"), 1);
}

#[tokio::test]
async fn what_many_ask_for_at_once_is_read_once() {
    let api = Api::start_with(&[MEMORY]).await;
    let admin = api.admin().await;
    let path = kite(&api, &admin).await;
    let answers = join_all((0..100).map(|_| api.get(&path, None))).await;
    for answer in &answers {
        assert_eq!((answer.status, source(answer)), (StatusCode::OK, "MISS"));
        assert_eq!(answer.headers["etag"], answers[0].headers["etag"]);
    }
    let finds = "SELECT id %FROM products WHERE id = $1 AND is_active";
    let read = api.test_database.statement_calls(finds).await;
    assert_eq!(read.expect("PostgreSQL counts"), 1);
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
