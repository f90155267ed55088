//! Databases and programs of tests, on the server that `cargo xtask test` starts.

use bharatmart_test_support::{App, TestDatabase, test_prefix};

async fn count(pool: &sqlx::PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query)
        .fetch_one(pool)
        .await
        .expect("the query is right")
}

#[tokio::test]
async fn a_test_database_is_migrated_empty_and_nobody_elses() {
    let first = TestDatabase::create().await;
    let second = TestDatabase::create().await;
    let pool = first.pool().await;
    sqlx::query("INSERT INTO users (email, full_name) VALUES ('Asha@example.in', 'Asha')")
        .execute(&pool)
        .await
        .unwrap();
    first.make_admin("asha@example.in").await.unwrap();
    let admins = "SELECT count(*) FROM users WHERE role = 'admin'";
    assert_eq!(count(&pool, admins).await, 1);
    assert_eq!(count(&second.pool().await, admins).await, 0);
}

#[tokio::test]
async fn a_test_database_is_gone_with_its_guard_although_someone_is_connected() {
    let kept = TestDatabase::create().await;
    let dropped = TestDatabase::create().await;
    let name = dropped.name().to_owned();
    let connected = dropped.pool().await;
    drop(dropped);
    let found: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname = $1")
        .bind(name)
        .fetch_one(&kept.pool().await)
        .await
        .unwrap();
    assert_eq!(found, 0);
    assert!(sqlx::query("SELECT 1").execute(&connected).await.is_err());
}

#[tokio::test]
async fn an_app_tells_the_values_of_its_metrics() {
    let database = TestDatabase::create().await;
    let api = App::api()
        .database(&database)
        .queue_prefix(&test_prefix())
        .start()
        .await
        .unwrap();
    let series = "http_requests_total{route=\"/api/products\",status_code=\"200\"}";
    let before = api.metric(series).await.unwrap().unwrap_or(0.0);
    for _ in 0..3 {
        let answer = reqwest::get(format!("{}/api/products", api.base_url()))
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(api.metric(series).await.unwrap(), Some(before + 3.0));
    assert_eq!(api.metric("no_such_metric").await.unwrap(), None);
}
