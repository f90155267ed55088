//! Which server a read goes to.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use bharatmart_database::{Database, Freshness, Position, Rotation};
use bharatmart_test_support::{servers::PostgresOptions, wait_until};
use sqlx::Executor;

use crate::servers::{
    Metrics, SOON, Servers, insert, look, number, read, rotation, wait_for_rotation, who, write,
    write_in_transaction,
};

/// Keeps the replicas behind for longer than a test of stale reads takes.
const DELAY: Duration = Duration::from_secs(3);

async fn delayed() -> Result<Servers> {
    Servers::start_with(PostgresOptions::default(), 2, DELAY).await
}

async fn written(database: &Database) -> Result<Position> {
    database.token().await.context("it has written")
}

#[tokio::test]
async fn reads_take_turns_and_avoid_the_replica_that_is_busy() -> Result<()> {
    let metrics = Metrics::install()?;
    let servers = Servers::start(2).await?;
    let database = servers.open(&[]).await?;

    let mut answers = BTreeMap::<String, usize>::new();
    for _ in 0..40 {
        let (server, _) = read(&database, Freshness::Any, 1).await?;
        *answers.entry(server).or_default() += 1;
    }
    assert_eq!(answers.keys().collect::<Vec<_>>(), ["standby1", "standby2"]);
    ensure!(answers.values().all(|count| *count >= 15), "{answers:?}");

    let mut busy = database.read(Freshness::Any).await?;
    let busy = (who(&mut busy).await?, busy);
    for _ in 0..10 {
        let (server, _) = read(&database, Freshness::Any, 1).await?;
        assert_ne!(server, busy.0);
    }
    assert_eq!(metrics.reads("replica", "any"), 51);
    assert_eq!(metrics.sum("database_reads_total", &[]), 51);
    Ok(())
}

#[tokio::test]
async fn replicas_that_keep_up_answer_those_who_have_just_written() -> Result<()> {
    const WRITES: u64 = 300;
    /// A busy machine holds replicas up for longer than a read waits for one.
    const ATTEMPTS: u64 = 3;
    let metrics = Metrics::install()?;
    let servers = Servers::start(2).await?;
    let database = servers.open(&[]).await?;

    let mut most = 0;
    for attempt in 0..ATTEMPTS {
        let (fresh, behind) = (
            metrics.reads("replica", "fresh"),
            metrics.reads("primary", "behind"),
        );
        write_and_look(&database, attempt * WRITES..(attempt + 1) * WRITES).await?;
        let (fresh, behind) = (
            metrics.reads("replica", "fresh") - fresh,
            metrics.reads("primary", "behind") - behind,
        );
        assert_eq!(fresh + behind, WRITES);
        most = most.max(fresh);
        if most * 100 >= WRITES * 95 {
            return Ok(());
        }
    }
    bail!("at most {most} of {WRITES} reads went to replicas")
}

/// Writes these notes, each with a token with which it is looked at.
async fn write_and_look(database: &Database, ids: Range<u64>) -> Result<()> {
    for id in ids {
        let id = i64::try_from(id)?;
        let request = database.for_request(None);
        if id % 2 == 0 {
            write(&request, id).await?;
        } else {
            write_in_transaction(&request, id).await?;
        }
        let token = written(&request).await?;
        let next = database.for_request(Some(token));
        let (server, seen) = read(&next, Freshness::OwnWrites, id).await?;
        ensure!(seen, "{server} does not show note {id}");
    }
    Ok(())
}

#[tokio::test]
async fn nobody_reads_what_is_older_than_their_own_writes() -> Result<()> {
    let metrics = Metrics::install()?;
    let servers = delayed().await?;
    let (one, two) = (servers.open(&[]).await?, servers.open(&[]).await?);

    let mut last = Position::ZERO;
    for id in [1, 2, 3, 4] {
        let request = one.for_request(None);
        let is_transaction = id % 2 == 0;
        if is_transaction {
            write_in_transaction(&request, id).await?;
        } else {
            write(&request, id).await?;
        }
        let at_primary = ("primary".to_owned(), true);
        assert_eq!(read(&request, Freshness::OwnWrites, id).await?, at_primary);
        // The next request of the same client may meet another instance.
        let position = written(&request).await?;
        last = position;
        let token: Position = position.to_string().parse()?;
        let next = two.for_request(two.believe(token).await);
        assert_eq!(next.needs(), Some(position));
        assert_eq!(next.token().await, None);
        for freshness in [
            Freshness::OwnWrites,
            Freshness::AtLeast(position),
            Freshness::Current,
            Freshness::Latest,
        ] {
            let answer = read(&next, freshness, id).await?;
            assert_eq!(answer, at_primary, "{freshness:?}");
        }
        // Nobody knows what somebody without a request has written.
        assert_eq!(read(&two, Freshness::OwnWrites, id).await?, at_primary);
        let mut as_of = two.read_as_of_now().await?;
        assert_eq!(look(&mut as_of.connection, id).await?, at_primary);
        ensure!(as_of.position >= Some(position), "{as_of:?}");
        // All this would hold without a delay as well.
        for (database, freshness) in [
            (&two, Freshness::Any),
            (&two.for_request(None), Freshness::OwnWrites),
        ] {
            let (server, seen) = read(database, freshness, id).await?;
            ensure!(server.starts_with("standby") && !seen, "{server}: {seen}");
        }
    }
    assert_eq!(rotation(&two), [Rotation::In; 2]);
    ensure!(metrics.reads("primary", "behind") >= 20);

    servers.wait_until_replayed().await?;
    let next = two.for_request(two.believe(last).await);
    assert_eq!(next.needs(), Some(last));
    // The monitors ask a few times each second.
    let seen = wait_until("a replica to answer", Duration::from_secs(1), async || {
        let (server, seen) = read(&next, Freshness::OwnWrites, 4).await.ok()?;
        server.starts_with("standby").then_some(seen)
    })
    .await?;
    ensure!(seen);
    Ok(())
}

#[tokio::test]
async fn a_delayed_replica_answers_as_soon_as_it_has_caught_up() -> Result<()> {
    let servers = delayed().await?;
    let database = servers.open(&[]).await?;
    let request = database.for_request(None);
    write(&request, 1).await?;
    let position = written(&request).await?;
    servers.wait_until_replayed().await?;
    // Its monitor asks a few times each second.
    let answer = wait_until("a replica to answer", Duration::from_secs(1), async || {
        let (server, seen) = read(&database, Freshness::AtLeast(position), 1)
            .await
            .ok()?;
        server.starts_with("standby").then_some(seen)
    })
    .await?;
    ensure!(answer);
    let (server, seen) = read(&database, Freshness::Current, 1).await?;
    ensure!(server.starts_with("standby") && seen, "{server}: {seen}");
    Ok(())
}

#[tokio::test]
async fn tokens_are_believed_up_to_where_the_log_is_written() -> Result<()> {
    let servers = Servers::start(1).await?;
    let (one, two) = (servers.open(&[]).await?, servers.open(&[]).await?);

    for id in 0..20 {
        let request = one.for_request(None);
        write(&request, id).await?;
        let position = written(&request).await?;
        assert_eq!(two.believe(position).await, Some(position));
    }
    let request = one.for_request(None);
    write(&request, 20).await?;
    let token = written(&request).await?;
    let (timeline, bytes) = (token.timeline(), token.bytes());
    for ahead in [1 << 20, 1 << 40, u64::MAX - bytes] {
        let token = Position::new(timeline, bytes + ahead);
        assert_eq!(two.believe(token).await, None, "{token}");
    }

    let url = servers.primary.url(crate::servers::NAME);
    let alone = crate::servers::open(&[("DATABASE_URL", &url)]);
    assert_eq!(alone.believe(token).await, None);
    let request = alone.for_request(Some(token));
    write(&request, 21).await?;
    assert_eq!((request.token().await, request.needs()), (None, None));
    Ok(())
}

#[tokio::test]
async fn a_connection_to_a_replica_cannot_write_even_when_that_takes_over() -> Result<()> {
    let servers = Servers::start(1).await?;
    let database = servers.open(&[]).await?;
    let mut connection = database.read(Freshness::Any).await?;
    assert_eq!(who(&mut connection).await?, "standby1");
    refused_as_read_only(insert(&mut connection, 1).await)?;

    let mut connection = database.read(Freshness::Any).await?;
    assert_eq!(who(&mut connection).await?, "standby1");
    servers.standbys[0].promote().await?;
    refused_as_read_only(insert(&mut connection, 2).await)?;
    for server in [&servers.primary, &servers.standbys[0]] {
        let mut direct = server.connect(crate::servers::NAME).await?;
        let notes = number(&mut direct, "SELECT count(*) FROM notes").await?;
        assert_eq!(notes, 0, "{}", server.name());
    }
    wait_for_rotation(&database, &[Rotation::Promoted]).await
}

fn refused_as_read_only(outcome: sqlx::Result<()>) -> Result<()> {
    let error = outcome.err().context("it was not refused")?;
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    ensure!(code.as_deref() == Some("25006"), "{error}");
    Ok(())
}

/// The start of a page of the log is behind the page's header for the one who writes, and before it for
/// those who replay.
#[tokio::test]
async fn replicas_of_a_primary_that_rests_at_the_start_of_a_page_of_its_log_do_not_lag()
-> Result<()> {
    let servers = Servers::start(1).await?;
    let database = servers.open(&[("DATABASE_MAX_REPLICA_LAG", "1s")]).await?;
    let request = database.for_request(None);
    write(&request, 1).await?;
    let mut direct = servers.primary.connect("postgres").await?;
    direct.execute("SELECT pg_switch_wal()").await?;
    drop(direct);
    servers.wait_until_replayed().await?;

    wait_until("the replica to answer", SOON, async || {
        let (server, seen) = read(&database, Freshness::Current, 1).await?;
        Ok(server == "standby1" && seen)
    })
    .await?;
    let still = wait_until("the replica to lag", Duration::from_secs(3), async || {
        Ok(rotation(&database) != [Rotation::In])
    })
    .await;
    ensure!(still.is_err(), "{:?}", database.replicas());
    let status = database.replicas().remove(0);
    assert_eq!((status.lag_bytes, status.lag), (0, Duration::ZERO));
    Ok(())
}
