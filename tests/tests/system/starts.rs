//! Many instances start at once.

use std::time::Instant;

use anyhow::Result;
use bharatmart_test_support::{
    App, AppBuilder,
    servers::{PgBouncer, PgBouncerOptions, Postgres, PostgresOptions},
    test_prefix,
};
use futures_util::future::try_join_all;
use sqlx::Connection;

use crate::load::Wire;

const INSTANCES: usize = 10;
const RAN: &str = "ran the migration";

/// Starts ten on an empty database of the server: one of them runs the migrations.
async fn start_ten(
    postgres: &Postgres,
    database: &str,
    on: impl Fn(AppBuilder) -> AppBuilder,
) -> Result<()> {
    postgres.create_database(database).await?;
    let prefix = test_prefix();
    let begin = Instant::now();
    let apis = try_join_all((0..INSTANCES).map(|_| {
        let api = on(App::api()).queue_prefix(&prefix);
        api.arguments(&["serve", "--migrate"]).start()
    }))
    .await?;
    println!("ten serve after {:?}", begin.elapsed());

    let mut connection = postgres.connect(database).await?;
    let (rows, distinct, succeeded): (i64, i64, i64) = sqlx::query_as(
        "SELECT count(*), count(DISTINCT version), count(*) FILTER (WHERE success) FROM _sqlx_migrations",
    )
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    let ran: Vec<_> = apis
        .iter()
        .map(|api| api.log().matches(RAN).count())
        .filter(|ran| *ran > 0)
        .collect();
    println!("{rows} migrations; {ran:?} were run by those who ran any");
    assert!(rows > 0);
    assert_eq!((distinct, succeeded), (rows, rows));
    assert_eq!(ran, [usize::try_from(rows)?]);
    for api in &apis {
        let mut visitor = Wire::open(api).await?;
        visitor.json("/api/products").await?;
    }
    Ok(())
}

#[tokio::test]
async fn ten_instances_on_an_empty_database_migrate_it_once_and_all_serve() -> Result<()> {
    let postgres = Postgres::start(PostgresOptions::default()).await?;
    start_ten(&postgres, "direct", |api| {
        api.database_url(&postgres.url("direct"))
    })
    .await?;

    let pooler = PgBouncer::start(&postgres, PgBouncerOptions::default()).await?;
    start_ten(&postgres, "pooled", |api| {
        api.database_url(&pooler.url("pooled"))
            .env("DATABASE_DIRECT_URL", postgres.url("pooled"))
    })
    .await
}
