//! What administrators do is written down, and stays.

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::{Api, PASSWORD, Person};

/// What the log holds, newest first: action, kind, which, changes.
async fn entries(api: &Api, admin: &Person, query: &str) -> Vec<Value> {
    let answer = api.get(&format!("/api/audit?{query}"), Some(admin)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body["data"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn what_an_admin_does_is_written_down_with_who_and_what() {
    let api = Api::start().await;
    let (admin, priya) = (api.admin().await, api.customer("priya").await);
    let kite = json!({ "name": "Kite", "price": 20, "category": "Toys", "stock_quantity": 9 });
    let product = api.product(&admin, &kite).await;
    let order = api.order(&priya, &product).await;
    let pay = json!({ "order_id": order, "payment_method": "upi" });
    let payment = api.post("/api/payments", Some(&priya), &pay).await;
    let payment = payment.text("id").to_owned();
    let call = async |method: &str, path: String, body: Value| {
        let answer = api
            .call(method, &path, Some(&admin), Some(&body.to_string()))
            .await;
        assert!(
            answer.status.is_success(),
            "{method} {path}: {}",
            answer.body
        );
        let id = answer.headers["x-request-id"].to_str().expect("it is text");
        id.to_owned()
    };
    let of_product = format!("/api/products/{product}");
    let status_of = |kind: &str, id: &str| format!("/api/{kind}/{id}/status");
    let edited = call("PUT", of_product.clone(), json!({ "price": 25 })).await;
    for (method, path, body) in [
        ("PUT", of_product.clone(), json!({ "price": 25 })),
        (
            "PATCH",
            format!("/api/users/{}", priya.id),
            json!({ "full_name": "Priya S", "role": "admin" }),
        ),
        (
            "PATCH",
            status_of("payments", &payment),
            json!({ "status": "completed" }),
        ),
        (
            "PATCH",
            status_of("orders", &order),
            json!({ "status": "shipped" }),
        ),
        (
            "PATCH",
            status_of("payments", &payment),
            json!({ "status": "refunded" }),
        ),
    ] {
        call(method, path, body).await;
    }
    let gone = api.call("DELETE", &of_product, Some(&admin), None).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);

    let log = entries(&api, &admin, "").await;
    let told: Vec<_> = log
        .iter()
        .map(|entry| {
            assert_eq!(entry["actor_id"], admin.id.as_str(), "{entry}");
            assert!(entry["request_id"].is_string() && entry["created_at"].is_string());
            let text = |name: &str| entry[name].as_str().expect("a text").to_owned();
            (text("action"), text("resource_id"))
        })
        .collect();
    let expected = [
        ("product.delete", &product),
        ("payment.status", &payment),
        ("order.status", &order),
        ("payment.status", &payment),
        ("user.update", &priya.id),
        ("product.update", &product),
        ("product.create", &product),
        ("sign_in", &admin.id),
    ];
    let expected = expected.map(|(action, id)| (action.to_owned(), id.clone()));
    assert_eq!(told, expected, "an edit that changes nothing is none");
    let changes = |index: usize| &log[index]["changes"];
    assert_eq!(
        changes(1),
        &json!({ "status": { "from": "completed", "to": "refunded" } })
    );
    assert_eq!(
        changes(2),
        &json!({ "status": { "from": "processing", "to": "shipped" } })
    );
    assert_eq!(
        changes(3),
        &json!({ "status": { "from": "pending", "to": "completed" } })
    );
    assert_eq!(
        changes(4),
        &json!({ "role": { "from": "customer", "to": "admin" }, "full_name": { "changed": true } })
    );
    assert_eq!(changes(5), &json!({ "price": { "from": 20, "to": 25 } }));
    assert_eq!(log[5]["request_id"], edited.as_str());
    assert_eq!(changes(6)["name"], json!({ "from": null, "to": "Kite" }));
    let whole = json!(log).to_string();
    assert!(
        !whole.contains(PASSWORD) && !whole.contains("argon2"),
        "{whole}"
    );
}

#[tokio::test]
async fn an_order_for_somebody_else_is_written_down_once() {
    let api = Api::start().await;
    let (admin, priya) = (api.admin().await, api.customer("priya").await);
    let kite = json!({ "name": "Kite", "price": 20, "category": "Toys", "stock_quantity": 9 });
    let product = api.product(&admin, &kite).await;
    let order = |customer: &Person, quantity: u32| {
        json!({
            "user_id": customer.id,
            "items": [{ "product_id": product, "quantity": quantity }],
            "shipping_address": "12 MG Road",
        })
        .to_string()
    };
    let place = async |key: Option<&str>, body: String| {
        let mut request = Request::post("/api/orders")
            .header("authorization", format!("Bearer {}", admin.token))
            .header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Body::from(body));
        api.send(request.expect("the request is good")).await
    };
    let mut placed = Vec::new();
    for key in [None, Some("\"one\""), Some("\"one\"")] {
        let answer = place(key, order(&priya, 1)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        placed.push(answer.text("id").to_owned());
    }
    assert_eq!(placed[1], placed[2], "it is the same one");
    let own = place(None, order(&admin, 1)).await;
    assert_eq!(own.status, StatusCode::CREATED, "{}", own.body);
    let refused = place(None, order(&priya, 100)).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.body);
    api.order(&priya, &product).await;

    let log = entries(&api, &admin, "action=order.create").await;
    let told: Vec<_> = log.iter().map(|entry| &entry["resource_id"]).collect();
    assert_eq!(told, [&placed[1], &placed[0]]);
    for entry in &log {
        assert_eq!(entry["actor_id"], admin.id.as_str());
        assert_eq!(entry["resource_type"], "order");
        assert_eq!(
            entry["changes"],
            json!({
                "user_id": { "from": null, "to": priya.id },
                "total_amount": { "from": null, "to": 20 },
            })
        );
    }
}

#[tokio::test]
async fn the_log_is_filtered_and_read_page_by_page() {
    let api = Api::start().await;
    let (first, second) = (api.admin().await, api.customer("second").await);
    api.test_database
        .make_admin(&second.email)
        .await
        .expect("they have signed up");
    let login = json!({ "email": second.email, "password": PASSWORD });
    let second = Person::of(&api.post("/api/auth/login", None, &login).await);
    for (admin, name) in [(&first, "Kite"), (&second, "Top"), (&second, "Yo-yo")] {
        api.product(
            admin,
            &json!({ "name": name, "price": 20, "category": "Toys" }),
        )
        .await;
    }
    let count = async |query: &str| entries(&api, &first, query).await.len();
    assert_eq!(count("").await, 5);
    assert_eq!(count("action=product.create").await, 3);
    assert_eq!(count(&format!("actor_id={}", second.id)).await, 3);
    assert_eq!(
        count(&format!("actor_id={}&action=sign_in", second.id)).await,
        1
    );
    assert_eq!(
        count(&format!("resource_type=user&resource_id={}", first.id)).await,
        1
    );

    let mut seen = Vec::new();
    let mut query = "limit=2".to_owned();
    loop {
        let page = api.get(&format!("/api/audit?{query}"), Some(&first)).await;
        assert_eq!(page.body["count"], 5);
        let ids = page.body["data"].as_array().expect("a list").iter();
        seen.extend(ids.map(|entry| entry["id"].as_str().expect("an id").to_owned()));
        let Some(cursor) = page.body["next_cursor"].as_str() else {
            break;
        };
        query = format!("limit=2&cursor={cursor}");
    }
    let whole = entries(&api, &first, "").await;
    let whole: Vec<_> = whole
        .iter()
        .map(|entry| entry["id"].as_str().expect("an id"))
        .collect();
    assert_eq!(seen, whole);
    let refused = api.get("/api/audit?actor_id=me", Some(&first)).await;
    assert_eq!(
        (refused.status, refused.fields()),
        (StatusCode::BAD_REQUEST, vec!["actor_id"])
    );
}

#[tokio::test]
async fn what_is_undone_is_not_in_the_log() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let kite = json!({ "name": "Kite", "price": 20, "category": "Toys", "sku": "K" });
    api.product(&admin, &kite).await;
    let again = api.post("/api/products", Some(&admin), &kite).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert_eq!(
        entries(&api, &admin, "action=product.create").await.len(),
        1
    );

    // The log takes no entry, so nothing is done.
    let pool = api.test_database.pool().await;
    sqlx::query("ALTER TABLE audit_log ADD CONSTRAINT shut CHECK (action <> 'product.delete')")
        .execute(&pool)
        .await
        .expect("it is our table");
    let products = api.get("/api/products", None).await;
    let path = format!(
        "/api/products/{}",
        products.body["data"][0]["id"].as_str().expect("an id")
    );
    let hide = api.call("DELETE", &path, Some(&admin), None).await;
    assert_eq!(hide.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(api.get(&path, None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn nobody_changes_the_log_and_only_what_is_a_year_old_goes() {
    let api = Api::start().await;
    let _admin = api.admin().await;
    let pool = api.test_database.pool().await;
    sqlx::query(
        "INSERT INTO audit_log (created_at, action, resource_type, resource_id)
         VALUES (now() - interval '366 days', 'sign_in', 'user', 'old')",
    )
    .execute(&pool)
    .await
    .expect("it may grow");
    for refused in [
        "UPDATE audit_log SET action = 'nothing'",
        "UPDATE audit_log SET created_at = now() - interval '2 years'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
    ] {
        let error = sqlx::query(refused)
            .execute(&pool)
            .await
            .expect_err(refused);
        assert!(error.to_string().contains("append-only"), "{error}");
    }
    let gone = sqlx::query("DELETE FROM audit_log WHERE created_at < now() - interval '365 days'");
    let gone = gone.execute(&pool).await.expect("it is old");
    assert_eq!(gone.rows_affected(), 1);
}
