//! The pool of one server's connections.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bharatmart_database::{Database, Error, Freshness};
use bharatmart_test_support::{
    servers::{Postgres, PostgresOptions},
    wait_until,
};
use futures_util::future::{join_all, try_join_all};
use sqlx::PgConnection;
use tokio::time::timeout;

use crate::servers::{
    NAME, SOON, Servers, ensure_transient, insert, number, open, read, single, wait_for_rest, write,
};

const BACKENDS: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'database-test'";

async fn backends(direct: &mut PgConnection) -> sqlx::Result<i64> {
    number(direct, BACKENDS).await
}

/// Opens so many connections of the pool for writes.
async fn fill(database: &Database, connections: usize) -> Result<(), Error> {
    try_join_all((0..connections).map(|_| database.write()))
        .await
        .map(drop)
}

/// Ends all sessions of the shop on this server, and waits for that.
async fn terminate_all(server: &Postgres) -> Result<()> {
    let statement = "SELECT count(*) FROM (SELECT pg_terminate_backend(pid, 10000) AS ended
        FROM pg_stat_activity WHERE application_name = 'database-test') AS session WHERE ended";
    let mut direct = server.connect("postgres").await?;
    ensure!(number(&mut direct, statement).await? > 0);
    Ok(())
}

#[tokio::test]
async fn who_gets_no_connection_in_time_is_told_to_come_back() -> Result<()> {
    let (_server, url) = single(PostgresOptions::default()).await?;
    let database = open(&[
        ("DATABASE_URL", &url),
        ("DATABASE_POOL_SIZE", "2"),
        ("DATABASE_CONNECTION_TIMEOUT", "300ms"),
    ]);
    let held = [database.write().await?, database.write().await?];
    let asked = Instant::now();
    let waiters = join_all((0..20).map(|_| read(&database, Freshness::Any, 1)));
    let look = async {
        wait_until(
            "waiters",
            SOON,
            async || Ok(database.status().waiters == 20),
        )
        .await
    };
    let (outcomes, looked) = tokio::join!(waiters, look);
    looked?;
    let took = asked.elapsed();
    for outcome in &outcomes {
        ensure_transient(outcome)?;
    }
    ensure!(
        (Duration::from_millis(300)..Duration::from_millis(1_300)).contains(&took),
        "{took:?}"
    );
    ensure_transient(&database.begin().await)?;

    let [one, two] = held;
    drop(one);
    write(&database, 1).await?;
    drop(two);
    let status = wait_for_rest(&database).await?;
    assert_eq!(status.idle, 2);
    Ok(())
}

/// The patience is for the whole read, not for each server that it might come from.
#[tokio::test]
async fn who_gets_no_connection_of_any_server_in_time_is_told_to_come_back() -> Result<()> {
    let servers = Servers::start(2).await?;
    let database = servers
        .open(&[
            ("DATABASE_POOL_SIZE", "1"),
            ("DATABASE_CONNECTION_TIMEOUT", "1s"),
        ])
        .await?;
    write(&database, 1).await?;
    servers.wait_until_replayed().await?;
    let _held = [
        database.write().await?,
        database.read(Freshness::Any).await?,
        database.read(Freshness::Any).await?,
    ];
    let all = [
        Freshness::Any,
        Freshness::OwnWrites,
        Freshness::Current,
        Freshness::Latest,
    ];
    let patience = Duration::from_secs(1)..Duration::from_secs(2);
    let questions = all.map(async |freshness| {
        let asked = Instant::now();
        let outcome = read(&database, freshness, 1).await;
        (freshness, asked.elapsed(), outcome)
    });
    for (freshness, took, outcome) in join_all(questions).await {
        ensure_transient(&outcome)?;
        ensure!(patience.contains(&took), "{freshness:?} took {took:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_give_up_leave_no_trace_in_the_answers_of_others() -> Result<()> {
    const POOL: usize = 5;
    let (server, url) = single(PostgresOptions::default()).await?;
    let database = open(&[("DATABASE_URL", &url), ("DATABASE_POOL_SIZE", "5")]);
    let mut direct = server.connect("postgres").await?;
    let impatient = async |index: u32| {
        let patience = Duration::from_millis(u64::from(rand::random_range(0..60_u32)));
        let question = async {
            match index % 3 {
                0 => ask_slowly(&mut *database.begin().await?, index).await,
                1 => ask_slowly(&mut database.write().await?, index).await,
                _ => ask_slowly(&mut database.read(Freshness::Any).await?, index).await,
            }
        };
        match timeout(patience, question).await {
            Ok(answer) => {
                assert_eq!(answer?, i64::from(index));
                anyhow::Ok(1)
            }
            Err(_) => Ok(0),
        }
    };
    let mut most = 0;
    let mut answered = 0;
    for round in 0..20 {
        let questions = try_join_all((0..20).map(|index| impatient(20 * round + index)));
        let (answers, seen) = tokio::join!(questions, backends(&mut direct));
        answered += answers?.into_iter().sum::<u32>();
        most = most.max(seen?);
    }
    ensure!((1..400).contains(&answered), "{answered} of 400 answered");
    ensure!((1..=5).contains(&most), "{most} connections");

    let status = wait_for_rest(&database).await?;
    ensure!(status.idle <= POOL, "{status:?}");
    // Each of the pool's connections.
    let mut connections = try_join_all((0..POOL).map(|_| database.write())).await?;
    for (index, connection) in (1_000..).zip(&mut connections) {
        assert_eq!(ask_slowly(connection, index).await?, i64::from(index));
    }
    assert_eq!(backends(&mut direct).await?, 5);
    let open = "SELECT count(*) FROM pg_stat_activity WHERE xact_start IS NOT NULL \
        AND application_name = 'database-test'";
    assert_eq!(number(&mut direct, open).await?, 0);
    Ok(())
}

/// Takes 20 ms to answer with `number`.
async fn ask_slowly(connection: &mut bharatmart_database::Connection, number: u32) -> Result<i64> {
    let answer = sqlx::query_scalar("SELECT $1::bigint FROM pg_sleep(0.02)")
        .bind(i64::from(number))
        .fetch_one(connection)
        .await?;
    Ok(answer)
}

#[tokio::test]
async fn a_statement_that_nobody_waits_for_keeps_its_place_until_it_has_ended() -> Result<()> {
    let (server, url) = single(PostgresOptions::default()).await?;
    let database = open(&[
        ("DATABASE_URL", &url),
        ("DATABASE_POOL_SIZE", "2"),
        ("DATABASE_CONNECTION_TIMEOUT", "200ms"),
        ("DATABASE_STATEMENT_TIMEOUT", "2s"),
    ]);
    let mut direct = server.connect("postgres").await?;
    for _ in 0..2 {
        let mut connection = database.write().await?;
        let sleep = sqlx::query("SELECT pg_sleep(60)").execute(&mut connection);
        ensure!(timeout(Duration::from_millis(50), sleep).await.is_err());
    }
    ensure_transient(&database.write().await.map(drop))?;
    assert_eq!(backends(&mut direct).await?, 2);
    // The server ends them.
    let mut connection = wait_until("a place", SOON, async || database.write().await.ok()).await?;
    let answer = ask_slowly(&mut connection, 7).await?;
    assert_eq!(answer, 7);
    drop(connection);
    wait_for_rest(&database).await?;
    ensure!(backends(&mut direct).await? <= 2);
    Ok(())
}

#[tokio::test]
async fn a_transaction_that_is_given_up_is_undone_at_once() -> Result<()> {
    let (_server, url) = single(PostgresOptions::default()).await?;
    let database = open(&[("DATABASE_URL", &url), ("DATABASE_POOL_SIZE", "3")]);
    for id in 0..50 {
        let mut transaction = database.begin().await?;
        insert(&mut transaction, id).await?;
        drop(transaction);
        // It would wait for the row of the other one.
        timeout(Duration::from_secs(1), write(&database, id))
            .await
            .context("the row is still locked")??;
    }
    let transaction = database.begin().await?;
    transaction.rollback().await?;
    let status = wait_for_rest(&database).await?;
    ensure!(status.idle <= 3, "{status:?}");
    Ok(())
}

#[tokio::test]
async fn connections_that_broke_while_idle_cost_no_read_and_few_writes() -> Result<()> {
    for (size, pool) in [(1, "1"), (5, "5")] {
        let (server, url) = single(PostgresOptions::default()).await?;
        let database = open(&[("DATABASE_URL", &url), ("DATABASE_POOL_SIZE", pool)]);
        write(&database, 0).await?;
        for round in 1..4 {
            fill(&database, size).await?;
            terminate_all(&server).await?;
            let reads = (0..size).map(|_| read(&database, Freshness::Latest, 0));
            for answer in try_join_all(reads).await? {
                assert_eq!(answer, ("primary".to_owned(), true));
            }

            fill(&database, size).await?;
            terminate_all(&server).await?;
            let mut failures = 0;
            for number in 0..20 {
                let outcome = write(&database, 100 * round + number).await;
                if outcome.is_err() {
                    ensure_transient(&outcome)?;
                    failures += 1;
                }
            }
            ensure!(failures <= 1, "{failures} of 20");
        }
        let status = wait_for_rest(&database).await?;
        ensure!(status.idle <= size, "{status:?}");
    }
    Ok(())
}

#[tokio::test]
async fn monitors_whose_connections_break_refuse_nobody() -> Result<()> {
    let servers = Servers::start(1).await?;
    let database = servers.open(&[]).await?;
    write(&database, 0).await?;
    servers.wait_until_replayed().await?;
    for round in 1..6 {
        terminate_all(&servers.primary).await?;
        terminate_all(&servers.standbys[0]).await?;
        let started = Instant::now();
        let mut failures = 0;
        for id in 0.. {
            read(&database, Freshness::Any, 0).await?;
            read(&database, Freshness::Current, 0).await?;
            let outcome = write(&database, 1_000_000 * round + id).await;
            if outcome.is_err() {
                ensure_transient(&outcome)?;
                failures += 1;
            }
            if started.elapsed() > Duration::from_secs(1) {
                break;
            }
        }
        ensure!(failures <= 2, "{failures} writes failed");
    }
    let direct = &mut servers.primary.connect(NAME).await?;
    ensure!(number(direct, "SELECT count(*) FROM notes").await? > 100);
    Ok(())
}
