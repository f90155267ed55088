//! Orders as a CSV file.

use std::time::Duration;

use axum::body::Body;
use bharatmart_test_support::wait_until;
use http::{Request, StatusCode, header::AUTHORIZATION};
use http_body_util::BodyExt;
use serde_json::json;
use sqlx::PgPool;
use tower::ServiceExt;
use uuid::Uuid;

use crate::{Api, Person};

/// Places `count` orders, one each millisecond and each address its number.
async fn place_orders(pool: &PgPool, customer: &Person, count: u16) {
    sqlx::query(
        "INSERT INTO orders (user_id, shipping_address, total_amount, created_at)
         SELECT $1::uuid, 'house ' || number, number,
                timestamptz '2026-01-01 00:00:00Z' + number * interval '1 ms'
         FROM generate_series(1, $2) AS number",
    )
    .bind(&customer.id)
    .bind(i32::from(count))
    .execute(pool)
    .await
    .expect("the orders are placed");
}

async fn export(api: &Api, admin: &Person, query: &str) -> Body {
    let request = Request::get(format!("/api/orders/export{query}"))
        .header(AUTHORIZATION, format!("Bearer {}", admin.token))
        .body(Body::empty())
        .expect("the request is good");
    let response = api.router.clone().oneshot(request).await.expect("answers");
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body()
}

/// The addresses in an export, in its order.
async fn addresses(api: &Api, admin: &Person, query: &str) -> Vec<String> {
    let body = export(api, admin, query).await.collect().await;
    let bytes = body.expect("the transfer is whole").to_bytes();
    let mut reader = csv::Reader::from_reader(bytes.as_ref());
    let rows = reader
        .records()
        .map(|row| row.expect("it is CSV")[7].to_owned());
    rows.collect()
}

#[tokio::test]
async fn a_row_shows_all_of_an_order_and_nothing_that_a_spreadsheet_would_run() {
    let api = Api::start().await;
    let (admin, customer) = (api.admin().await, api.customer("priya").await);
    let kite = json!({ "name": "Kite", "price": 20.5, "category": "Toys", "stock_quantity": 9 });
    let kite = api.product(&admin, &kite).await;
    let body = json!({
        "items": [{ "product_id": kite, "quantity": 2 }],
        "shipping_address": "=HYPERLINK(\"http://evil.example\")\nDelhi, 110001",
        "payment_method": "upi",
    });
    let placed = api.post("/api/orders", Some(&customer), &body).await;
    let answer = api.get("/api/orders/export", Some(&admin)).await;
    assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8");
    assert_eq!(
        answer.headers["content-disposition"],
        "attachment; filename=\"orders.csv\""
    );
    assert_eq!(answer.headers["cache-control"], "no-store");
    let text = answer.body.as_str().unwrap();
    let (header, row) = text.split_once("\r\n").unwrap();
    assert_eq!(
        header,
        "id,created_at,status,user_id,email,total_amount,payment_method,shipping_address,items,processed_at,updated_at"
    );
    let field = |name: &str| placed.text(name);
    let (id, created_at, user_id) = (field("id"), field("created_at"), field("user_id"));
    let updated_at = field("updated_at");
    assert_eq!(
        row,
        format!(
            "{id},{created_at},pending,{user_id},priya@example.in,41,upi,\
             \"'=HYPERLINK(\"\"http://evil.example\"\")\nDelhi, 110001\",1,,{updated_at}\r\n"
        )
    );

    let pool = api.test_database.pool().await;
    for start in ["=", "+", "-", "@", "\t", "\r", "\n"] {
        sqlx::query("UPDATE orders SET shipping_address = $1")
            .bind(format!("{start}1"))
            .execute(&pool)
            .await
            .unwrap();
        let addresses = addresses(&api, &admin, "").await;
        assert_eq!(addresses, [format!("'{start}1")]);
    }
}

#[tokio::test]
async fn filters_are_those_of_the_list_and_times() {
    let api = Api::start().await;
    let (admin, customer) = (api.admin().await, api.customer("priya").await);
    let pool = api.test_database.pool().await;
    place_orders(&pool, &customer, 3).await;
    sqlx::query("UPDATE orders SET status = 'shipped' WHERE shipping_address = 'house 2'")
        .execute(&pool)
        .await
        .unwrap();
    let of_customer = format!("?user_id={}", customer.id);
    let of_nobody = format!("?user_id={}", Uuid::nil());
    for (query, expected) in [
        ("", &[1, 2, 3][..]),
        (&of_customer, &[1, 2, 3]),
        (&of_nobody, &[]),
        ("?status=shipped", &[2]),
        ("?from=2026-01-01T00:00:00.002Z", &[2, 3]),
        ("?to=2026-01-01T00:00:00.002Z", &[1]),
        ("?from=2026-01-01T05:30:00.002%2B05:30&status=pending", &[3]),
        (
            "?from=2026-01-01T00:00:00.002Z&to=2026-01-01T00:00:00.003Z",
            &[2],
        ),
    ] {
        let expected: Vec<_> = expected.iter().map(|n| format!("house {n}")).collect();
        assert_eq!(addresses(&api, &admin, query).await, expected, "{query}");
    }
    for (query, field) in [
        ("?from=yesterday", "from"),
        ("?to=2026-01-01", "to"),
        ("?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "to"),
        ("?status=lost", "status"),
        ("?user_id=7", "user_id"),
    ] {
        let path = format!("/api/orders/export{query}");
        let answer = api.get(&path, Some(&admin)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(answer.fields(), [field], "{query}");
    }
}

#[tokio::test]
async fn a_long_export_is_whole_though_orders_come_meanwhile() {
    const ORDERS: u16 = 2_500;
    let api = Api::start().await;
    let (admin, customer) = (api.admin().await, api.customer("priya").await);
    let pool = api.test_database.pool().await;
    place_orders(&pool, &customer, ORDERS).await;
    // Many of them at the same time, so that ids alone tell them apart.
    sqlx::query("UPDATE orders SET created_at = date_trunc('second', created_at)")
        .execute(&pool)
        .await
        .unwrap();
    let mut body = export(&api, &admin, "").await;
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        text.extend(frame.unwrap().into_data().unwrap());
        // What is added and changed behind the reader's back moves nothing.
        place_orders(&pool, &customer, 10).await;
        sqlx::query("UPDATE orders SET status = 'cancelled', updated_at = now()")
            .execute(&pool)
            .await
            .unwrap();
    }
    let mut reader = csv::Reader::from_reader(text.as_slice());
    let mut found = Vec::new();
    for row in reader.records() {
        let row = row.unwrap();
        found.push((row[1].to_owned(), row[0].to_owned()));
    }
    assert!(found.is_sorted(), "by time and id");
    let mut ids: Vec<_> = found.iter().map(|(_, id)| id).collect();
    ids.sort_unstable();
    assert!(ids.is_sorted_by(|one, next| one < next), "none twice");
    assert!(ids.len() >= usize::from(ORDERS), "{}", ids.len());
}

#[tokio::test]
async fn an_export_outlives_a_database_that_is_away_for_a_moment() {
    let api = Api::start_with(&[("DATABASE_STATEMENT_TIMEOUT", "300ms")]).await;
    let (admin, customer) = (api.admin().await, api.customer("priya").await);
    let pool = api.test_database.pool().await;
    place_orders(&pool, &customer, 2_500).await;
    let mut body = export(&api, &admin, "").await;
    let mut text = body
        .frame()
        .await
        .unwrap()
        .unwrap()
        .into_data()
        .unwrap()
        .to_vec();

    let mut lock = pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let rest = tokio::spawn(body.collect());
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'orders'::regclass";
    for waiting in [1, 0] {
        wait_until(
            "a page to wait, and to fail",
            Duration::from_secs(10),
            async || {
                let count: i64 = sqlx::query_scalar(waits).fetch_one(&mut *lock).await?;
                Ok(count == waiting)
            },
        )
        .await
        .unwrap();
    }
    lock.rollback().await.unwrap();
    let rest = rest.await.unwrap().expect("the transfer ends well");
    text.extend(rest.to_bytes());
    let lines = String::from_utf8(text).unwrap().lines().count();
    assert_eq!(lines, 1 + 2_500);
}

#[tokio::test]
async fn an_export_that_fails_half_way_does_not_look_like_a_whole_one() {
    let api = Api::start().await;
    let (admin, customer) = (api.admin().await, api.customer("priya").await);
    let pool = api.test_database.pool().await;
    place_orders(&pool, &customer, 2_500).await;
    let mut body = export(&api, &admin, "").await;
    assert!(body.frame().await.unwrap().is_ok());
    sqlx::query("ALTER TABLE orders RENAME TO gone")
        .execute(&pool)
        .await
        .unwrap();
    assert!(body.frame().await.unwrap().is_err(), "the transfer breaks");

    let answer = api.get("/api/orders/export", Some(&admin)).await;
    assert_eq!(
        answer.status,
        StatusCode::INTERNAL_SERVER_ERROR,
        "before the first page it is an error as any other"
    );
}
