//! Databases and programs of tests, on the server that `cargo xtask test` starts.

use bharatmart_test_support::{App, TestDatabase, test_prefix};
use sqlx::{ConnectOptions, Executor, postgres::PgConnectOptions};

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
async fn a_test_database_is_reached_by_both_of_its_urls_and_is_gone_although_a_pooler_is_connected()
{
    let kept = TestDatabase::create().await;
    let dropped = TestDatabase::create().await;
    let mut connections = Vec::new();
    for url in [dropped.url(), dropped.direct_url()] {
        let options: PgConnectOptions = url.parse().unwrap();
        // A pooler does not know this parameter of sqlx's.
        let mut connection = options.extra_float_digits(None).connect().await.unwrap();
        connection
            .execute("SELECT FROM products LIMIT 1")
            .await
            .unwrap();
        connections.push(connection);
    }
    let name = dropped.name().to_owned();
    drop(dropped);
    let found: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname = $1")
        .bind(name)
        .fetch_one(&kept.pool().await)
        .await
        .unwrap();
    assert_eq!(found, 0);
}

#[tokio::test]
async fn an_app_runs_a_subcommand_to_its_end() {
    let database = TestDatabase::create().await;
    let migrate = || App::api().database(&database).run(&["migrate"]);
    migrate().await.unwrap();
    database
        .pool()
        .await
        .execute("DROP TABLE _sqlx_migrations")
        .await
        .unwrap();
    let failed = migrate().await.unwrap_err();
    assert!(format!("{failed:#}").contains("`bharatmart-api migrate` ended with"));
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
