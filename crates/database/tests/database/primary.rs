//! A primary that goes away, and others that take over.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bharatmart_database::{Database, Error, Freshness, Position, Rotation};
use bharatmart_test_support::{
    servers::{Postgres, PostgresOptions},
    wait_until,
};
use sqlx::{Executor, PgConnection};
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
    wait_until("the primary to be watched", SOON, async || {
        Ok(metrics.sum("database_primary_up", &[]) == 1)
    })
    .await?;

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

/// Inserts on the server that wait for another one to end.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND application_name = 'database-test'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_full_of_what_a_frozen_primary_does_not_answer_serves_the_one_that_takes_over()
-> Result<()> {
    const AWAY: Duration = Duration::from_secs(1);
    let mut servers = Servers::start(1).await?;
    let database = open(&[
        ("DATABASE_URL", &servers.write_url()),
        ("DATABASE_POOL_SIZE", "2"),
    ]);
    let mut id = 0;
    wait_for_write(&database, &mut id).await?;
    let mut direct = servers.primary.connect(NAME).await?;
    direct
        .execute("BEGIN; INSERT INTO notes VALUES (1000, 'not yet')")
        .await?;
    let mut under_way = JoinSet::new();
    for _ in 0..2 {
        let database = database.clone();
        under_way.spawn(async move { write(&database, 1_000).await });
    }
    let mut watching = servers.primary.connect(NAME).await?;
    wait_until("both to wait", SOON, async || {
        Ok(number(&mut watching, WAITING).await? == 2)
    })
    .await?;

    servers.primary().pause()?;
    let frozen = Instant::now();
    tokio::time::sleep(AWAY).await;
    servers.standbys[0].promote().await?;
    let promoted = Instant::now();
    wait_until("a write", SOON, async || {
        id += 1;
        let outcome = timeout(FAST, write(&database, id)).await;
        Ok(matches!(outcome, Ok(Ok(()))))
    })
    .await?;
    let resumed = promoted.elapsed();
    ensure!(resumed < Duration::from_secs(5), "{resumed:?}");
    while let Some(outcome) = under_way.join_next().await {
        ensure_transient(&outcome?)?;
    }
    let ended = frozen.elapsed();
    ensure!(ended < Duration::from_secs(10), "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn a_token_from_before_a_takeover_is_answered_by_the_servers_after_it() -> Result<()> {
    let mut servers = Servers::start(2).await?;
    servers.set_synchronous(2).await?;
    let database = servers
        .open(&[("DATABASE_URL", &servers.write_url())])
        .await?;
    // It gets everything and shows nothing.
    servers.standbys[1]
        .set("recovery_min_apply_delay", "1min")
        .await?;
    let request = database.for_request(None);
    write(&request, 1).await?;
    let token = request.token().await.context("it has written")?;
    // What the one before has written last may be lost.
    let lost = Position::new(token.timeline(), token.bytes() + (1 << 20));
    servers.primary().stop_fast().await?;
    servers.standbys[0].promote().await?;
    wait_for_rotation(&database, &[Rotation::Promoted, Rotation::Diverged]).await?;

    let ask = async |token| {
        let asked = Instant::now();
        let next = database.for_request(database.believe(token).await);
        let (server, seen) = read(&next, Freshness::OwnWrites, 1).await?;
        ensure!(seen, "{server} does not show the note");
        ensure!(asked.elapsed() < FAST, "{:?}", asked.elapsed());
        Ok(server)
    };
    assert_eq!(ask(token).await?, "standby1");
    assert_eq!(ask(lost).await?, "standby1");
    servers.standbys[1]
        .set("recovery_min_apply_delay", "0")
        .await?;
    servers.standbys[1].follow(&servers.standbys[0]).await?;
    wait_for_rotation(&database, &[Rotation::Promoted, Rotation::In]).await?;
    assert_eq!(ask(token).await?, "standby2");
    assert_eq!(ask(lost).await?, "standby2");
    Ok(())
}

/// The instance that writes knows of it; the others ask all hosts only every few seconds.
#[tokio::test]
async fn a_token_tells_of_a_takeover_that_was_not_noticed_yet() -> Result<()> {
    let servers = Servers::start(2).await?;
    let url = servers.write_url();
    let early = servers.open(&[("DATABASE_URL", &url)]).await?;
    servers.standbys[0].promote().await?;
    wait_for_rotation(&early, &[Rotation::Promoted, Rotation::In]).await?;
    let late = servers.open_at_once(&[("DATABASE_URL", &url)]);
    let request = late.for_request(None);
    write(&request, 1).await?;
    assert_eq!(notes(&servers.primary).await?, 0);

    let token = request.token().await.context("it has written")?;
    let next = early.for_request(early.believe(token).await);
    let answer = read(&next, Freshness::OwnWrites, 1).await?;
    assert_eq!(answer, ("standby1".to_owned(), true));
    Ok(())
}

#[tokio::test]
async fn a_token_of_a_timeline_to_come_is_no_token_and_soon_found_out() -> Result<()> {
    let mut servers = Servers::start(1).await?;
    let database = servers
        .open(&[("DATABASE_URL", &servers.write_url())])
        .await?;
    let request = database.for_request(None);
    write(&request, 1).await?;
    servers.wait_until_replayed().await?;
    let token = request.token().await.context("it has written")?;
    let inventions = [
        Position::new(token.timeline() + 1, token.bytes()),
        Position::new(token.timeline() + 1, 0),
        Position::new(u32::MAX, u64::MAX),
    ];
    for stopped in [false, true] {
        if stopped {
            servers.primary().stop_fast().await?;
        }
        for invention in inventions {
            let asked = Instant::now();
            let believed = database.believe(invention).await;
            let took = asked.elapsed();
            ensure!(took < Duration::from_millis(1_500), "{invention}: {took:?}");
            ensure!(stopped || believed.is_none(), "{invention}");
        }
    }
    Ok(())
}
