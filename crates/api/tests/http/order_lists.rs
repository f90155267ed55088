//! Orders of some days, in either order.

use http::StatusCode;
use serde_json::json;

use crate::{Api, Person};

/// Places an order in each hour of the first day of 2026, each address its hour; two of them at the same time.
async fn place_orders(api: &Api, customer: &Person) {
    let pool = api.test_database.pool().await;
    sqlx::query(
        "INSERT INTO orders (user_id, shipping_address, total_amount, status, created_at)
         SELECT $1::uuid, least(hour, 22)::text, hour, CASE WHEN hour % 2 = 0 THEN 'pending' ELSE 'cancelled' END,
                timestamptz '2026-01-01 00:00:00Z' + least(hour, 22) * interval '1 hour'
         FROM generate_series(0, 23) AS hour",
    )
    .bind(&customer.id)
    .execute(&pool)
    .await
    .expect("the orders are placed");
}

/// The addresses of a list, page by page.
async fn walk(api: &Api, person: &Person, query: &str) -> Vec<String> {
    let mut addresses = Vec::new();
    let mut next = String::new();
    loop {
        let path = format!("/api/orders?limit=5&{query}{next}");
        let page = api.get(&path, Some(person)).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.body);
        let rows = page.body["data"].as_array().expect("a list has data");
        addresses.extend(
            rows.iter()
                .map(|row| row["shipping_address"].as_str().expect("text").to_owned()),
        );
        let Some(cursor) = page.body["next_cursor"].as_str() else {
            assert_eq!(page.body["count"], addresses.len(), "{path}");
            return addresses;
        };
        next = format!("&cursor={cursor}");
    }
}

fn hours(hours: impl Iterator<Item = u8>) -> Vec<String> {
    hours.map(|hour| hour.min(22).to_string()).collect()
}

#[tokio::test]
async fn orders_are_listed_by_the_time_they_were_placed_from_either_end() {
    let api = Api::start().await;
    let (admin, priya) = (api.admin().await, api.customer("priya").await);
    place_orders(&api, &priya).await;
    for person in [&admin, &priya] {
        let all = walk(&api, person, "").await;
        assert_eq!(all, hours((0..24).rev()), "the latest first");
        let of = async |query: String| walk(&api, person, &query).await;
        assert_eq!(of("sort=-created_at".to_owned()).await, all);
        assert_eq!(of("sort=created_at".to_owned()).await, hours(0..24));
        // The first moment is in it, the last one is not.
        let from = "from=2026-01-01T09:00:00%2B05:30";
        assert_eq!(of(from.to_owned()).await, hours((4..24).rev()));
        let until = "to=2026-01-01T08:00:00Z";
        assert_eq!(of(format!("sort=created_at&{until}")).await, hours(0..8));
        let both = format!("from=2026-01-01T03:00:00Z&{until}");
        assert_eq!(of(both.clone()).await, hours((3..8).rev()));
        let pending = format!("{both}&status=pending&sort=created_at");
        assert_eq!(of(pending).await, hours([4, 6].into_iter()));
        let nothing = "from=2026-02-01T00:00:00Z&to=2026-02-01T00:00:00Z";
        assert_eq!(of(nothing.to_owned()).await, hours(0..0));
    }
}

#[tokio::test]
async fn an_order_is_found_by_the_number_that_its_customer_sees() {
    let api = Api::start().await;
    let (admin, priya) = (api.admin().await, api.customer("priya").await);
    let arjun = api.customer("arjun").await;
    place_orders(&api, &priya).await;
    let page = api.get("/api/orders?limit=1&offset=3", Some(&admin)).await;
    let id = page.body["data"][0]["id"].as_str().unwrap();
    let digits = &id[id.len() - 8..];
    let shown = format!("%23{}", digits.to_uppercase());
    for (person, number, found) in [
        (&admin, digits, 1),
        (&admin, shown.as_str(), 1),
        (&priya, digits, 1),
        (&arjun, digits, 0),
        (&admin, "00000000", 0),
    ] {
        let path = format!("/api/orders?number={number}");
        let answer = api.get(&path, Some(person)).await;
        let orders = answer.body["data"].as_array().unwrap();
        assert_eq!(orders.len(), found, "{number}: {}", answer.body);
        assert!(orders.iter().all(|order| order["id"] == id));
    }
}

#[tokio::test]
async fn a_list_of_orders_refuses_what_it_does_not_understand() {
    let api = Api::start().await;
    let (admin, priya) = (api.admin().await, api.customer("priya").await);
    place_orders(&api, &priya).await;
    let page = api.get("/api/orders?limit=5", Some(&admin)).await;
    let cursor = page.text("next_cursor");
    for (query, field) in [
        ("sort=total_amount".to_owned(), "sort"),
        ("from=yesterday".to_owned(), "from"),
        (
            "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z".to_owned(),
            "to",
        ),
        ("number=6B9C".to_owned(), "number"),
        ("number=not-hexa".to_owned(), "number"),
        (format!("cursor={cursor}&sort=created_at"), "cursor"),
        (format!("cursor={cursor}&number=6B9C678E"), "cursor"),
        (format!("cursor={cursor}&to=2027-01-01T00:00:00Z"), "cursor"),
    ] {
        let answer = api.get(&format!("/api/orders?{query}"), Some(&admin)).await;
        assert_eq!(
            (answer.status, answer.fields()),
            (StatusCode::BAD_REQUEST, vec![field]),
            "{query}"
        );
    }
    let unknown = api.get("/api/orders?sort=total_amount", Some(&admin)).await;
    assert_eq!(
        unknown.body["errors"],
        json!([{ "field": "sort", "message": "must be one of created_at, -created_at" }])
    );
}
