//! Products, from being added to being hidden.

use http::StatusCode;
use serde_json::{Value, json};

use crate::Api;

#[tokio::test]
async fn a_product_is_added_changed_and_hidden() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let body = json!({
        "name": "Basmati Rice 5 kg", "price": 899.5, "category": "Groceries", "sku": "RICE-5",
        "description": "Aged.", "stock_quantity": 10,
    });
    let added = api.post("/api/products", Some(&admin), &body).await;
    assert_eq!(added.status, StatusCode::CREATED);
    let path = format!("/api/products/{}", added.text("id"));
    assert_eq!(added.headers["location"], path.as_str());
    assert_eq!(added.body["price"], json!(899.5));
    assert_eq!(
        added.body["image_url"],
        Value::Null,
        "absent is null, not missing"
    );
    assert_eq!(api.get(&path, None).await.body, added.body);

    let change = r#"{"price":950,"description":null,"stock_quantity":7}"#;
    let changed = api.call("PUT", &path, Some(&admin), Some(change)).await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_eq!(changed.body["price"], 950);
    assert_eq!(changed.body["description"], Value::Null);
    assert_eq!(
        changed.body["name"], "Basmati Rice 5 kg",
        "what is not sent stays"
    );

    let twin = api.post("/api/products", Some(&admin), &body).await;
    assert_eq!(
        (twin.status, twin.fields()),
        (StatusCode::CONFLICT, vec!["sku"])
    );

    for (status, error) in [
        (StatusCode::NO_CONTENT, None),
        (StatusCode::NOT_FOUND, Some("Product not found")),
    ] {
        let answer = api.call("DELETE", &path, Some(&admin), None).await;
        assert_eq!(
            (answer.status, answer.body["error"].as_str()),
            (status, error)
        );
    }
    for (method, body) in [("GET", None), ("PUT", Some("{}"))] {
        let answer = api.call(method, &path, Some(&admin), body).await;
        assert_eq!(
            (answer.status, answer.text("error")),
            (StatusCode::NOT_FOUND, "Product not found")
        );
    }
    assert_eq!(api.get("/api/products", None).await.body["count"], 0);
}

#[tokio::test]
async fn an_order_keeps_a_product_that_is_no_longer_sold() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let priya = api.customer("priya").await;
    let body = json!({ "name": "Kite", "price": 20, "category": "Toys", "stock_quantity": 3 });
    let kite = api.product(&admin, &body).await;
    let order = api.order(&priya, &kite).await;
    let path = format!("/api/products/{kite}");
    assert_eq!(
        api.call("DELETE", &path, Some(&admin), None).await.status,
        StatusCode::NO_CONTENT
    );
    let order = api.get(&format!("/api/orders/{order}"), Some(&priya)).await;
    assert_eq!(order.body["items"][0]["products"]["name"], "Kite");
}
