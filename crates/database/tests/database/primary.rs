//! A primary that goes away, and others that take over.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bharatmart_database::{Database, Error, Freshness, Rotation};
use bharatmart_test_support::{
    servers::{Postgres, PostgresOptions},
    wait_until,
};
use sqlx::PgConnection;
use tokio::{task::JoinSet, time::timeout};

use crate::servers::{
    Metrics, NAME, SOON, Servers, ensure_transient, number, open, read, single, wait_for_rotation,
    who, write,
};

/// How long a write may take while no server takes writes.
const FAST: Duration = Duration::from_secs(1);

/// Writes, which must end soon, and may only fail in a way that is worth trying again.
async fn try_to_write(database: &Database, id: i64) -> Result<bool> {
    let outcome = timeout(FAST, write(database, id)).await?;
    if outcome.is_err() {
        ensure_transient(&outcome)?;
    }
    Ok(outcome.is_ok())
}

/// Tries to write until that works, each time something new.
async fn wait_for_write(database: &Database, id: &mut i64) -> Result<()> {
    wait_until("a write", SOON, async || {
        *id += 1;
        try_to_write(database, *id).await
    })
    .await
}

async fn notes(server: &Postgres) -> Result<i64> {
    let mut direct = server.connect(NAME).await?;
    Ok(number(&mut direct, "SELECT count(*) FROM notes").await?)
}

#[tokio::test]
async fn writes_fail_fast_without_a_primary_and_go_on_with_the_one_that_takes_over() -> Result<()> {
    let metrics = Metrics::install()?;
    let mut servers = Servers::start(1).await?;
    let database = open(&[("DATABASE_URL", &servers.write_url())]);
    let mut id = 0;
    wait_for_write(&database, &mut id).await?;

    servers.primary().stop_fast().await?;
    for _ in 0..100 {
        id += 1;
        ensure!(!try_to_write(&database, id).await?);
    }
    let refused = write(&database, id).await;
    ensure!(matches!(refused, Err(Error::ReadOnly)), "{refused:?}");
    assert_eq!(metrics.sum("database_primary_up", &[]), 0);

    servers.standbys[0].promote().await?;
    let promoted = Instant::now();
    wait_for_write(&database, &mut id).await?;
    ensure!(
        promoted.elapsed() < Duration::from_secs(5),
        "{:?}",
        promoted.elapsed()
    );
    assert_eq!(who(&mut database.write().await?).await?, "standby1");
    assert_eq!(metrics.sum("database_primary_changes_total", &[]), 1);
    assert_eq!(metrics.sum("database_primary_up", &[]), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_of_the_past_gets_no_writes_though_it_takes_them() -> Result<()> {
    let mut servers = Servers::start(1).await?;
    let database = open(&[("DATABASE_URL", &servers.write_url())]);
    let mut id = 0;
    wait_for_write(&database, &mut id).await?;
    servers.primary().stop_fast().await?;
    servers.standbys[0].promote().await?;
    wait_for_write(&database, &mut id).await?;

    servers.primary().start_again().await?;
    let before = notes(&servers.primary).await?;
    for _ in 0..20 {
        wait_for_write(&database, &mut id).await?;
    }
    // Nor while the other one is away, not even in the moment before that is noticed.
    let mut writers = JoinSet::new();
    for writer in 1..=4_i64 {
        let database = database.clone();
        let mut id = 1_000_000 * writer;
        writers.spawn(async move {
            let mut failures = 0;
            while failures < 200 {
                id += 1;
                failures += i32::from(!try_to_write(&database, id).await?);
            }
            anyhow::Ok(())
        });
    }
    servers.standby(0).stop_fast().await?;
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    servers.standby(0).start_again().await?;
    wait_for_write(&database, &mut id).await?;
    assert_eq!(notes(&servers.primary).await?, before);
    Ok(())
}

#[tokio::test]
async fn a_program_that_starts_beside_a_primary_of_the_past_never_writes_there() -> Result<()> {
    let servers = Servers::start(1).await?;
    servers.standbys[0].promote().await?;
    for id in 0..10 {
        let database = open(&[("DATABASE_URL", &servers.write_url())]);
        write(&database, id).await?;
    }
    assert_eq!(notes(&servers.primary).await?, 0);
    assert_eq!(notes(&servers.standbys[0]).await?, 10);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_from_a_frozen_primary_is_noticed_whoever_sees_it_first() -> Result<()> {
    let metrics = Metrics::install()?;
    let mut servers = Servers::start(2).await?;
    let (url, read_url) = (servers.write_url(), servers.standbys[1].url(NAME));
    let database = open(&[("DATABASE_URL", &url), ("DATABASE_READ_URL", &read_url)]);
    wait_for_rotation(&database, &[Rotation::In]).await?;
    let mut id = 0;
    wait_for_write(&database, &mut id).await?;

    servers.primary().pause()?;
    servers.standbys[0].promote().await?;
    // The pool looks for a server that takes writes, as the monitor does.
    let mut writers = JoinSet::new();
    for writer in 1..=8 {
        let database = database.clone();
        writers.spawn(async move { timeout(SOON, write(&database, 100 * writer)).await });
    }
    wait_for_rotation(&database, &[Rotation::Diverged]).await?;
    assert_eq!(metrics.sum("database_primary_changes_total", &[]), 1);
    wait_for_write(&database, &mut id).await?;
    let answer = read(&database, Freshness::Any, id).await?;
    assert_eq!(answer, ("standby1".to_owned(), true));
    servers.primary().resume()?;
    while let Some(writer) = writers.join_next().await {
        // The one who had a connection to the frozen server gets its answer, or an error.
        let outcome = writer??;
        if outcome.is_err() {
            ensure_transient(&outcome)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_turns_read_only_is_written_to_again_when_it_takes_writes() -> Result<()> {
    let (server, url) = single(PostgresOptions::default()).await?;
    let database = open(&[("DATABASE_URL", &url)]);
    let mut id = 0;
    wait_for_write(&database, &mut id).await?;

    server.set("default_transaction_read_only", "on").await?;
    for _ in 0..50 {
        id += 1;
        ensure!(!try_to_write(&database, id).await?);
    }
    let (server_name, seen) = read(&database, Freshness::Any, 1).await?;
    ensure!(server_name == "primary" && seen);
    server.set("default_transaction_read_only", "off").await?;
    let off = Instant::now();
    wait_for_write(&database, &mut id).await?;
    ensure!(
        off.elapsed() < Duration::from_secs(3),
        "{:?}",
        off.elapsed()
    );
    Ok(())
}

/// The monitor looks for other primaries every few seconds, for which it connects.
#[tokio::test]
async fn writes_go_on_while_the_primary_takes_no_more_connections() -> Result<()> {
    let options = PostgresOptions {
        max_connections: 20,
        ..PostgresOptions::default()
    };
    let servers = Servers::start_with(options, 1, Duration::ZERO).await?;
    let database = open(&[
        ("DATABASE_URL", &servers.write_url()),
        ("DATABASE_POOL_SIZE", "2"),
    ]);
    let mut id = 0;
    wait_for_write(&database, &mut id).await?;
    let mut crowd: Vec<PgConnection> = Vec::new();
    while let Ok(connection) = servers.primary.connect(NAME).await {
        crowd.push(connection);
    }
    let full = Instant::now();
    while full.elapsed() < Duration::from_secs(10) {
        id += 1;
        // Whoever leaves is replaced at once.
        crowd.extend(servers.primary.connect(NAME).await);
        ensure!(
            try_to_write(&database, id).await?,
            "refused after {:?}",
            full.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(crowd);
    Ok(())
}
