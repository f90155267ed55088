//! URLs of replicas that lead to other servers, or to none.

use std::time::Duration;

use anyhow::{Result, ensure};
use bharatmart_database::{Database, Freshness, Rotation};
use bharatmart_test_support::{
    servers::{Postgres, PostgresOptions},
    wait_until,
};
use sqlx::Executor;

use crate::servers::{
    Metrics, NAME, SOON, Servers, open, prepare, read, rotation, wait_for_rotation, write,
};

/// Waits until the only replica is out of rotation for this reason.
async fn wait_for_reason(database: &Database, reason: &str) -> Result<()> {
    wait_until(reason, SOON, async || {
        Ok(database.replicas()[0].rotation.as_str() == reason)
    })
    .await
}

/// Fills some megabytes of the server's log.
async fn fill_log(server: &Postgres) -> Result<()> {
    let mut direct = server.connect(NAME).await?;
    direct
        .execute("CREATE TABLE filler AS SELECT generate_series(1, 50000); DROP TABLE filler")
        .await?;
    Ok(())
}

/// Fills the server's log until it is longer than that.
async fn fill_log_beyond(server: &Postgres, position: u64) -> Result<()> {
    while server.wal_position().await? <= position {
        fill_log(server).await?;
    }
    Ok(())
}

async fn ensure_only_the_primary_is_read(database: &Database) -> Result<()> {
    for freshness in [Freshness::Any, Freshness::Current] {
        let (server, seen) = read(database, freshness, 1).await?;
        ensure!(server == "primary" && seen, "{server}: {seen}");
    }
    Ok(())
}

/// Its log may well be as long as that of one's own.
#[tokio::test]
async fn a_replica_of_another_shop_is_never_read_from() -> Result<()> {
    let metrics = Metrics::install()?;
    let own = Postgres::start(PostgresOptions::default()).await?;
    let url = prepare(&own).await?;
    let other = Servers::start(1).await?;
    fill_log_beyond(&own, other.primary.wal_position().await?).await?;
    let read_url = other.read_url();
    let database = open(&[
        ("DATABASE_URL", &url),
        ("DATABASE_READ_URL", &read_url),
        ("DATABASE_MAX_REPLICA_LAG", "1h"),
    ]);
    write(&database, 1).await?;
    ensure_only_the_primary_is_read(&database).await?;

    // Now it is between where its primary was at first and where that is now.
    let first = own.wal_position().await?;
    fill_log_beyond(&own, first + (16 << 20)).await?;
    fill_log_beyond(&other.primary, first).await?;
    other.wait_until_replayed().await?;
    let read_from = wait_until(
        "the other shop to be read",
        Duration::from_secs(2),
        async || Ok(rotation(&database) == [Rotation::In]),
    );
    ensure!(read_from.await.is_err());
    ensure_only_the_primary_is_read(&database).await?;
    wait_for_reason(&database, "foreign").await?;
    assert_eq!(metrics.changes("in_rotation"), 0);
    assert_eq!(metrics.changes("foreign"), 1);
    Ok(())
}

#[tokio::test]
async fn a_replica_that_lets_nobody_in_is_out_of_reach() -> Result<()> {
    let options = PostgresOptions {
        password: Some("Kesar42".to_owned()),
        ..PostgresOptions::default()
    };
    let servers = Servers::start_with(options, 1, Duration::ZERO).await?;
    let read_url = servers.read_url().replace("Kesar42", "Elaichi7");
    let database = servers.open_at_once(&[("DATABASE_READ_URL", &read_url)]);
    write(&database, 1).await?;
    ensure_only_the_primary_is_read(&database).await?;
    wait_for_rotation(&database, &[Rotation::Unreachable]).await?;
    ensure_only_the_primary_is_read(&database).await
}

/// Each would show an empty shop, or fail at everything.
#[tokio::test]
async fn a_replica_that_shows_another_database_or_no_rows_is_not_read_from() -> Result<()> {
    let servers = Servers::start(1).await?;
    servers.primary.create_database("staging").await?;
    let mut direct = servers.primary.connect(NAME).await?;
    direct
        .execute(
            "CREATE TABLE products (id int);
             ALTER TABLE products ENABLE ROW LEVEL SECURITY;
             CREATE ROLE reader LOGIN;
             GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
        )
        .await?;
    servers.wait_until_replayed().await?;
    let url = servers.read_url();
    let staging = url.replace(&format!("/{NAME}"), "/staging");
    let blind = url.replace("postgres@", "reader@");
    ensure!(staging != url && blind != url, "{url}");
    for (read_url, reason) in [(&staging, "foreign"), (&blind, "unfit")] {
        let database = open(&[
            ("DATABASE_URL", &servers.primary.url(NAME)),
            ("DATABASE_READ_URL", read_url),
        ]);
        wait_for_reason(&database, reason).await?;
    }

    let database = open(&[
        ("DATABASE_URL", &servers.primary.url(NAME)),
        ("DATABASE_READ_URL", &blind),
    ]);
    wait_for_reason(&database, "unfit").await?;
    direct.execute("ALTER ROLE reader BYPASSRLS").await?;
    wait_for_rotation(&database, &[Rotation::In]).await
}
