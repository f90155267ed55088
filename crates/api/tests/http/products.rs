//! Products, from being added to being hidden.

use http::StatusCode;
use serde_json::{Value, json};

use crate::{Api, Person};

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

/// The names of a list, and what it says how many there are.
async fn names(api: &Api, person: Option<&Person>, path: &str) -> (Vec<String>, i64) {
    let answer = api.get(path, person).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
    let rows = answer.body["data"].as_array().expect("a list has data");
    let name = |row: &Value| row["name"].as_str().expect("it has a name").to_owned();
    let count = answer.body["count"].as_i64().expect("a count");
    (rows.iter().map(name).collect(), count)
}

#[tokio::test]
async fn what_was_taken_off_sale_is_listed_and_put_back() {
    // With a cache, which must neither show the one nor hide the other.
    let api = Api::start_with(&[("CACHE_TYPE", "memory")]).await;
    let admin = api.admin().await;
    let mut paths = Vec::new();
    for name in ["Kite", "Drum", "Bat"] {
        let body = json!({ "name": name, "price": 20, "category": "Toys", "sku": format!("T-{name}"), "stock_quantity": 3 });
        paths.push(format!(
            "/api/products/{}",
            api.product(&admin, &body).await
        ));
    }
    let off_sale = "/api/products/off-sale";
    assert_eq!(names(&api, Some(&admin), off_sale).await, (vec![], 0));
    for path in &paths[..2] {
        let hidden = api.call("DELETE", path, Some(&admin), None).await;
        assert_eq!(hidden.status, StatusCode::NO_CONTENT);
        let gone = api.get(path, None).await;
        assert_eq!(gone.status, StatusCode::NOT_FOUND);
    }
    let strings = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&api, None, "/api/products").await,
        (strings(&["Bat"]), 1)
    );
    for (query, found, count) in [
        ("", vec!["Drum", "Kite"], 2),
        ("?search=t-KITE", vec!["Kite"], 1),
        ("?search=Bat", vec![], 0),
        ("?limit=1", vec!["Drum"], 2),
        ("?limit=1&offset=1", vec!["Kite"], 2),
    ] {
        let listed = names(&api, Some(&admin), &format!("{off_sale}{query}")).await;
        assert_eq!(listed, (strings(&found), count), "{query}");
    }
    let first = api.get(&format!("{off_sale}?limit=1"), Some(&admin)).await;
    let cursor = first.text("next_cursor");
    let next = format!("{off_sale}?limit=1&cursor={cursor}");
    assert_eq!(
        names(&api, Some(&admin), &next).await,
        (strings(&["Kite"]), 2)
    );
    let of_the_shop = api
        .get(&format!("/api/products?cursor={cursor}"), None)
        .await;
    assert_eq!(of_the_shop.fields(), ["cursor"]);

    let path = format!("{}/restore", paths[0]);
    let restored = api.call("POST", &path, Some(&admin), None).await;
    assert_eq!(restored.status, StatusCode::OK);
    assert_eq!(restored.body["stock_quantity"], 3);
    assert_eq!(restored.body["is_active"], true);
    assert_eq!(api.get(&paths[0], None).await.body, restored.body);
    assert_eq!(
        names(&api, None, "/api/products").await,
        (strings(&["Bat", "Kite"]), 2)
    );
    assert_eq!(
        names(&api, Some(&admin), off_sale).await,
        (strings(&["Drum"]), 1)
    );
    let again = api.call("POST", &path, Some(&admin), None).await;
    assert_eq!((again.status, again.body), (StatusCode::OK, restored.body));
    let log = "/api/audit?action=product.restore";
    let log = api.get(log, Some(&admin)).await;
    assert_eq!(
        log.body["count"], 1,
        "what changes nothing is not written down"
    );
}
