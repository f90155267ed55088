//! Lists: filters, sorts and pages.

use http::StatusCode;
use serde_json::{Value, json};

use crate::{Api, Person};

async fn stock(api: &Api, admin: &Person) {
    for (number, name) in ["Tea", "Rice", "Atta", "Ghee", "Dal", "Tea", "Salt 100%"]
        .iter()
        .enumerate()
    {
        let body = json!({
            "name": name,
            // Ties, so that only the id tells two products apart.
            "price": ([json!(50), json!(100), json!(100.5)][number % 3]),
            "category": if number < 4 { "Groceries" } else { "Spices" },
            "description": if number == 1 { "long grain" } else { "plain" },
            "stock_quantity": number % 2,
            "sku": format!("SKU-{number}"),
        });
        api.product(admin, &body).await;
    }
}

fn column(list: &Value, name: &str) -> Vec<Value> {
    list["data"]
        .as_array()
        .expect("a list has data")
        .iter()
        .map(|row| row[name].clone())
        .collect()
}

/// Walks a list in pages of two, by offset and by cursor, and returns the ids of both walks.
async fn walk(api: &Api, person: Option<&Person>, path: &str) -> (Vec<Value>, Vec<Value>) {
    let whole = api.get(&format!("{path}limit=100"), person).await;
    let count =
        usize::try_from(whole.body["count"].as_i64().expect("a count")).expect("not negative");
    let mut by_offset = Vec::new();
    while by_offset.len() < count {
        let page = api
            .get(&format!("{path}limit=2&offset={}", by_offset.len()), person)
            .await;
        assert_eq!(page.body["offset"], by_offset.len());
        by_offset.extend(column(&page.body, "id"));
    }
    let mut by_cursor = Vec::new();
    let mut next = String::new();
    loop {
        let page = api.get(&format!("{path}limit=2{next}"), person).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        assert_eq!(
            page.body["count"], count,
            "the total does not depend on the page"
        );
        by_cursor.extend(column(&page.body, "id"));
        match page.body["next_cursor"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(column(&whole.body, "id"), by_offset);
    (by_offset, by_cursor)
}

#[tokio::test]
async fn a_walk_by_cursor_sees_what_a_walk_by_offset_sees() {
    let api = Api::start().await;
    let admin = api.admin().await;
    stock(&api, &admin).await;
    for sort in [
        "name",
        "-name",
        "price",
        "-price",
        "created_at",
        "-created_at",
    ] {
        for filter in ["", "category=Groceries&", "in_stock=true&", "search=a&"] {
            let path = format!("/api/products?sort={sort}&{filter}");
            let (by_offset, by_cursor) = walk(&api, None, &path).await;
            assert_eq!(by_offset, by_cursor, "{path}");
            assert!(by_offset.len() > 2, "{path}");
        }
    }
    let kite = json!({ "name": "Kite", "price": 20, "category": "Toys", "stock_quantity": 9 });
    let kite = api.product(&admin, &kite).await;
    let priya = api.customer("priya").await;
    for _ in 0..5 {
        api.order(&priya, &kite).await;
    }
    for (path, length) in [
        ("/api/orders?", 5),
        ("/api/orders?status=pending&", 5),
        ("/api/users?", 2),
        ("/api/users?search=example.in&", 2),
    ] {
        let (by_offset, by_cursor) = walk(&api, Some(&admin), path).await;
        assert_eq!(by_offset, by_cursor, "{path}");
        assert_eq!(by_offset.len(), length, "{path}");
    }
}

#[tokio::test]
async fn filters_and_sorts_do_what_they_say() {
    let api = Api::start().await;
    let admin = api.admin().await;
    stock(&api, &admin).await;
    for (query, names) in [
        (
            "",
            vec!["Atta", "Dal", "Ghee", "Rice", "Salt 100%", "Tea", "Tea"],
        ),
        ("?category=Spices", vec!["Dal", "Salt 100%", "Tea"]),
        ("?category=spices", vec!["Dal", "Salt 100%", "Tea"]),
        (
            "?category=&search=",
            vec!["Atta", "Dal", "Ghee", "Rice", "Salt 100%", "Tea", "Tea"],
        ),
        ("?search=LONG", vec!["Rice"]),
        ("?search=sku-4", vec!["Dal"]),
        ("?search=%25", vec!["Salt 100%"]),
        ("?search=_", vec![]),
        ("?min_price=100&max_price=100", vec!["Dal", "Rice"]),
        ("?min_price=100.5", vec!["Atta", "Tea"]),
        ("?in_stock=true", vec!["Ghee", "Rice", "Tea"]),
        ("?in_stock=false&category=Spices", vec!["Dal", "Salt 100%"]),
        ("?sort=-name&limit=1", vec!["Tea"]),
        ("?sort=created_at&limit=2", vec!["Tea", "Rice"]),
    ] {
        let answer = api.get(&format!("/api/products{query}"), None).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.body);
        assert_eq!(column(&answer.body, "name"), names, "{query}");
    }
    let categories = api.get("/api/categories", None).await;
    assert_eq!(
        categories.body,
        json!({ "data": [{ "category": "Groceries", "count": 4 }, { "category": "Spices", "count": 3 }] })
    );
}

#[tokio::test]
async fn a_cursor_belongs_to_its_filters() {
    let api = Api::start().await;
    let admin = api.admin().await;
    stock(&api, &admin).await;
    let page = api.get("/api/products?limit=2", None).await;
    let cursor = page.text("next_cursor");
    api.customer("priya").await;
    let page = api.get("/api/users?limit=1", Some(&admin)).await;
    let users = page.text("next_cursor");
    for path in [
        format!("/api/products?cursor={cursor}&sort=price"),
        format!("/api/products?cursor={cursor}&category=Spices"),
        format!("/api/products?cursor={cursor}&offset=0"),
        format!("/api/orders?cursor={cursor}"),
        format!("/api/users?cursor={cursor}"),
        format!("/api/users?cursor={users}&search=priya"),
        "/api/products?cursor=garbage".to_owned(),
    ] {
        let answer = api.get(&path, Some(&admin)).await;
        assert_eq!(
            (answer.status, answer.fields()),
            (StatusCode::BAD_REQUEST, vec!["cursor"]),
            "{path}"
        );
    }
    let same = api
        .get(&format!("/api/products?limit=3&cursor={cursor}"), None)
        .await;
    assert_eq!(same.status, StatusCode::OK, "the size of a page may change");
}

#[tokio::test]
async fn a_customer_lists_their_own_and_an_admin_everybodys() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let (priya, arjun) = (api.customer("priya").await, api.customer("arjun").await);
    let kite = json!({ "name": "Kite", "price": 20, "category": "Toys", "stock_quantity": 9 });
    let kite = api.product(&admin, &kite).await;
    for person in [&priya, &priya, &arjun] {
        let order = api.order(person, &kite).await;
        let pay = json!({ "order_id": order, "payment_method": "upi" });
        assert_eq!(
            api.post("/api/payments", Some(person), &pay).await.status,
            StatusCode::CREATED
        );
    }
    for list in ["/api/orders", "/api/payments"] {
        for (person, query, count) in [
            (&priya, String::new(), 2),
            (&priya, format!("?user_id={}", priya.id), 2),
            (&arjun, String::new(), 1),
            (&arjun, "?status=completed".to_owned(), 0),
            (&admin, String::new(), 3),
            (&admin, format!("?user_id={}", arjun.id), 1),
        ] {
            if list == "/api/orders" && query.contains("completed") {
                continue;
            }
            let answer = api.get(&format!("{list}{query}"), Some(person)).await;
            assert_eq!(
                answer.body["count"], count,
                "{list}{query}: {}",
                answer.body
            );
        }
        let theirs = api
            .get(&format!("{list}?user_id={}", arjun.id), Some(&priya))
            .await;
        assert_eq!(theirs.status, StatusCode::FORBIDDEN, "{list}");
    }
}

#[tokio::test]
async fn people_are_found_by_a_part_of_their_name_or_address() {
    let api = Api::start().await;
    let admin = api.admin().await;
    let (priya, arjun) = (api.customer("priya").await, api.customer("arjun").await);
    let name = Some(r#"{"full_name":"Arjun 100%_Rao किरण"}"#);
    let path = format!("/api/users/{}", arjun.id);
    let changed = api.call("PATCH", &path, Some(&admin), name).await;
    assert_eq!(changed.status, StatusCode::OK);
    for (search, found) in [
        ("PRIYA@", vec![priya.email.as_str()]),
        ("rao", vec![arjun.email.as_str()]),
        (
            "%E0%A4%95%E0%A4%BF%E0%A4%B0%E0%A4%A3",
            vec![arjun.email.as_str()],
        ),
        ("100%25_", vec![arjun.email.as_str()]),
        // Wildcards of the database are text.
        ("rjun%25@", vec![]),
        ("pr_ya", vec![]),
        ("nobody", vec![]),
        ("", vec![arjun.email.as_str(), &priya.email, &admin.email]),
    ] {
        let answer = api
            .get(&format!("/api/users?search={search}"), Some(&admin))
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{search}: {}", answer.body);
        assert_eq!(column(&answer.body, "email"), found, "{search}");
        assert_eq!(answer.body["count"], found.len(), "{search}");
    }
    let answer = api.get(&path, Some(&admin)).await;
    assert_eq!(
        answer.body, changed.body,
        "one is read as they were changed"
    );
    assert!(answer.body.get("password_hash").is_none());
    let long = format!("/api/users?search={}", "a".repeat(201));
    let answer = api.get(&long, Some(&admin)).await;
    assert_eq!(
        (answer.status, answer.fields()),
        (StatusCode::BAD_REQUEST, vec!["search"])
    );
}
