//! Replicas that fail, lag or take over, and come back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bharatmart_database::{Database, Error, Freshness, Rotation};
use bharatmart_test_support::{
    free_port,
    servers::{HaProxy, Postgres, StandbyOptions},
    wait_until,
};
use sqlx::Executor;
use tokio::{
    task::JoinSet,
    time::{interval, sleep},
};

use crate::servers::{
    Metrics, NAME, SOON, Servers, number, open, read, rotation, wait_for_rotation, who, write,
};

/// Sleeps for a second on whichever server, and says on which one.
const SLOW: &str = "SELECT current_setting('cluster_name') FROM pg_sleep(1)";

/// Those who read all the time.
struct Readers {
    tasks: JoinSet<Result<usize, Error>>,
    stop: Arc<AtomicBool>,
}

impl Readers {
    fn start(database: &Database) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for _ in 0..4 {
            let (database, stop) = (database.clone(), Arc::clone(&stop));
            tasks.spawn(async move {
                let mut reads = 0;
                while !stop.load(Ordering::Acquire) {
                    read(&database, Freshness::Any, 1).await?;
                    reads += 1;
                }
                Ok(reads)
            });
        }
        Self { tasks, stop }
    }

    /// How many reads there were; none has failed.
    async fn stop(mut self) -> Result<usize> {
        self.stop.store(true, Ordering::Release);
        let mut reads = 0;
        while let Some(task) = self.tasks.join_next().await {
            reads += task??;
        }
        Ok(reads)
    }
}

/// Waits until this server runs the slow statement.
async fn wait_for_slow_statement(server: &Postgres) -> Result<()> {
    let mut direct = server.connect("postgres").await?;
    wait_until("the statement to run", SOON, async || {
        let running = "SELECT count(*) FROM pg_stat_activity \
            WHERE wait_event = 'PgSleep' AND application_name = 'database-test'";
        Ok(number(&mut direct, running).await? > 0)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_stop_leave_and_return_by_themselves_and_cost_no_read() -> Result<()> {
    let metrics = Metrics::install()?;
    let mut servers = Servers::start(2).await?;
    let database = servers.open(&[]).await?;
    let in_rotation = || metrics.sum("database_replica_in_rotation", &[]);
    assert_eq!(in_rotation(), 2);
    let readers = Readers::start(&database);

    servers.standby(0).kill9()?;
    let noticed = Instant::now();
    wait_for_rotation(&database, &[Rotation::Unreachable, Rotation::In]).await?;
    assert_eq!(in_rotation(), 1);
    servers.standby(1).stop_fast().await?;
    wait_for_rotation(&database, &[Rotation::Unreachable; 2]).await?;
    ensure!(noticed.elapsed() < Duration::from_secs(10));
    assert_eq!(in_rotation(), 0);
    assert_eq!(metrics.changes("unreachable"), 2);
    let (server, _) = read(&database, Freshness::Any, 1).await?;
    assert_eq!(server, "primary");

    servers.standby(0).start_again().await?;
    servers.standby(1).start_again().await?;
    wait_for_rotation(&database, &[Rotation::In; 2]).await?;
    let reads = readers.stop().await?;
    assert_eq!(metrics.changes("in_rotation"), 4);
    let counted = [
        metrics.reads("replica", "any"),
        metrics.reads("primary", "none_in_rotation"),
        metrics.reads("primary", "failed"),
    ];
    ensure!(
        counted[0] > 0 && counted[1] > 0,
        "{counted:?} of {reads} reads"
    );
    Ok(())
}

#[tokio::test]
async fn a_read_on_a_replica_that_dies_is_answered_by_another_and_at_last_by_the_primary()
-> Result<()> {
    let mut servers = Servers::start(2).await?;
    let database = servers.open(&[]).await?;
    for expected_after in ["standby", "primary"] {
        let mut connection = database.read(Freshness::Any).await?;
        let first = who(&mut connection).await?;
        let index = usize::from(first == "standby2");
        let answer = tokio::spawn(async move {
            sqlx::query_scalar::<_, String>(SLOW)
                .fetch_one(&mut connection)
                .await
        });
        wait_for_slow_statement(&servers.standbys[index]).await?;
        servers.standby(index).kill9()?;
        let second = answer.await??;
        ensure!(
            second.starts_with(expected_after) && second != first,
            "{first}, then {second}"
        );
        wait_until("it to leave", SOON, async || {
            Ok(rotation(&database)[index] == Rotation::Unreachable)
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_read_on_a_replica_that_freezes_is_answered_by_another_in_bounded_time() -> Result<()> {
    let mut servers = Servers::start(2).await?;
    let database = servers.open(&[]).await?;
    let mut connection = database.read(Freshness::Any).await?;
    let first = who(&mut connection).await?;
    let index = usize::from(first == "standby2");
    let answer = tokio::spawn(async move {
        sqlx::query_scalar::<_, String>(SLOW)
            .fetch_one(&mut connection)
            .await
    });
    wait_for_slow_statement(&servers.standbys[index]).await?;
    servers.standby(index).pause()?;
    let frozen = Instant::now();
    // Those who come now do not wait for it for ever either.
    let (server, _) = read(&database, Freshness::Any, 1).await?;
    let (other, _) = read(&database, Freshness::Any, 1).await?;
    ensure!(server != first || other != first, "{server}, {other}");
    let second = answer.await??;
    assert_ne!(second, first);
    // The monitor asks after a quarter of a second and waits for one; the statement sleeps for another.
    ensure!(
        frozen.elapsed() < Duration::from_secs(4),
        "{:?}",
        frozen.elapsed()
    );
    servers.standby(index).resume()?;
    wait_for_rotation(&database, &[Rotation::In; 2]).await
}

#[tokio::test]
async fn a_replica_that_lags_too_much_leaves_until_it_has_caught_up() -> Result<()> {
    let metrics = Metrics::install()?;
    let servers = Servers::start(2).await?;
    let database = servers.open(&[("DATABASE_MAX_REPLICA_LAG", "1s")]).await?;
    let mut direct = servers.standbys[0].connect(NAME).await?;
    direct.execute("SELECT pg_wal_replay_pause()").await?;
    write(&database, 1).await?;
    wait_for_rotation(&database, &[Rotation::Lagging, Rotation::In]).await?;
    let status = database.replicas().remove(0);
    ensure!(
        status.lag >= Duration::from_secs(1) && status.lag_bytes > 0,
        "{status:?}"
    );
    for _ in 0..10 {
        let answer = read(&database, Freshness::Any, 1).await?;
        assert_eq!(answer, ("standby2".to_owned(), true));
    }

    direct.execute("SELECT pg_wal_replay_resume()").await?;
    wait_for_rotation(&database, &[Rotation::In; 2]).await?;
    assert_eq!(metrics.changes("lagging"), 1);
    assert_eq!(metrics.changes("in_rotation"), 3);
    Ok(())
}

/// It has all that a position asks for, and nothing of what comes after.
#[tokio::test]
async fn a_replica_that_does_not_follow_the_new_primary_is_not_read_from() -> Result<()> {
    let metrics = Metrics::install()?;
    let mut servers = Servers::start(2).await?;
    let database = servers
        .open(&[("DATABASE_URL", &servers.write_url())])
        .await?;
    // The first standby misses some of what the second one gets.
    servers.standby(0).stop_fast().await?;
    for id in 1..100 {
        write(&database, id).await?;
    }
    servers.wait_until_replayed().await?;
    servers.primary().stop_immediate().await?;
    servers.standby(0).start_again().await?;
    servers.standbys[0].promote().await?;

    wait_for_rotation(&database, &[Rotation::Promoted, Rotation::Diverged]).await?;
    assert_eq!(metrics.sum("database_primary_changes_total", &[]), 1);
    // Now beyond where the second standby has stopped, and the tokens of before are none any more.
    let behind = servers.standbys[1].wal_position().await?;
    let request = database.for_request(None);
    for id in 1_000.. {
        write(&request, id).await?;
        let written = request.token().await.context("it has written")?;
        let answer = read(&request, Freshness::OwnWrites, id).await?;
        assert_eq!(answer, ("standby1".to_owned(), true));
        let (server, _) = read(&database, Freshness::Any, id).await?;
        assert_eq!(server, "standby1");
        if written.bytes() > behind + 100_000 {
            break;
        }
    }
    assert_eq!(
        rotation(&database),
        [Rotation::Promoted, Rotation::Diverged]
    );
    Ok(())
}

#[tokio::test]
async fn a_replica_that_follows_the_new_primary_is_read_from_again_though_nobody_writes()
-> Result<()> {
    let mut servers = Servers::start(2).await?;
    let database = servers
        .open(&[("DATABASE_URL", &servers.write_url())])
        .await?;
    write(&database, 1).await?;
    servers.wait_until_replayed().await?;
    servers.primary().stop_fast().await?;
    servers.standbys[0].promote().await?;
    wait_for_rotation(&database, &[Rotation::Promoted, Rotation::Diverged]).await?;
    let (server, seen) = read(&database, Freshness::Any, 1).await?;
    ensure!(server == "standby1" && seen, "{server}: {seen}");

    servers.standbys[1].follow(&servers.standbys[0]).await?;
    wait_for_rotation(&database, &[Rotation::Promoted, Rotation::In]).await?;
    let (server, seen) = read(&database, Freshness::Current, 1).await?;
    ensure!(server == "standby2" && seen, "{server}: {seen}");
    Ok(())
}

#[tokio::test]
async fn a_connection_that_one_read_has_lost_disturbs_no_other_read() -> Result<()> {
    let metrics = Metrics::install()?;
    let servers = Servers::start(1).await?;
    let database = servers.open(&[]).await?;
    let mut connection = database.read(Freshness::Any).await?;
    let mut slow = database.read(Freshness::Any).await?;
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut connection)
        .await?;
    let slow = tokio::spawn(async move {
        sqlx::query_scalar::<_, String>(SLOW)
            .fetch_one(&mut slow)
            .await
    });
    wait_for_slow_statement(&servers.standbys[0]).await?;
    let mut direct = servers.standbys[0].connect("postgres").await?;
    let ended: bool = sqlx::query_scalar("SELECT pg_terminate_backend($1, 10000)")
        .bind(pid)
        .fetch_one(&mut direct)
        .await?;
    ensure!(ended);
    // It is read again, at the primary, since there is no other replica.
    assert_eq!(who(&mut connection).await?, "primary");
    assert_eq!(slow.await??, "standby1");
    let (server, _) = read(&database, Freshness::Any, 1).await?;
    assert_eq!(server, "standby1");
    assert_eq!(metrics.changes("unreachable"), 0);
    Ok(())
}

/// How many sessions of the shop this server has.
async fn sessions(server: &Postgres) -> Result<i64> {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'database-test'";
    Ok(number(&mut server.connect("postgres").await?, count).await?)
}

#[tokio::test]
async fn own_writes_are_seen_when_several_servers_share_a_replicas_address() -> Result<()> {
    let metrics = Metrics::install()?;
    let servers = Servers::start(1).await?;
    let delayed = StandbyOptions {
        name: "delayed".to_owned(),
        apply_delay: Duration::from_secs(3),
    };
    let delayed = servers.primary.standby(delayed).await?;
    let port = free_port();
    let config = format!(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n\
         listen replicas\n bind 127.0.0.1:{port}\n balance roundrobin\n\
         server one 127.0.0.1:{}\n server two 127.0.0.1:{}\n",
        servers.standbys[0].port(),
        delayed.port(),
    );
    let _balancer = HaProxy::start(port, &config).await?;
    let read_url = format!("postgres://postgres@127.0.0.1:{port}/{NAME}");
    let url = servers.primary.url(NAME);
    let variables = [("DATABASE_URL", &*url), ("DATABASE_READ_URL", &*read_url)];
    // The monitor may speak with either of them.
    for (round, wanted) in (0..).zip([&servers.standbys[0], &delayed]) {
        let database = loop {
            wait_until("the last one's sessions to end", SOON, async || {
                Ok(sessions(&servers.standbys[0]).await? + sessions(&delayed).await? == 0)
            })
            .await?;
            let database = open(&variables);
            wait_for_rotation(&database, &[Rotation::In]).await?;
            if sessions(wanted).await? > 0 {
                break database;
            }
        };
        let mut clients = JoinSet::new();
        for client in 0..8 {
            let database = database.clone();
            clients.spawn(async move {
                for number in 0..25 {
                    let id = 1_000 * round + 100 * client + number;
                    let request = database.for_request(None);
                    write(&request, id).await?;
                    let next = database.for_request(request.token().await);
                    let (server, seen) = read(&next, Freshness::OwnWrites, id).await?;
                    ensure!(seen, "{server} does not show note {id}");
                    read(&next, Freshness::Any, id).await?;
                }
                Ok(())
            });
        }
        while let Some(client) = clients.join_next().await {
            client??;
        }
    }
    ensure!(metrics.reads("primary", "behind") > 0);
    assert_eq!(metrics.reads("replica", "any"), 400);
    Ok(())
}

/// What is written and not committed stays where it is, and nobody replays it.
#[tokio::test]
async fn replicas_do_not_lag_while_a_transaction_is_open() -> Result<()> {
    const LOOKS: usize = 40;
    let servers = Servers::start(2).await?;
    let database = servers.open(&[("DATABASE_MAX_REPLICA_LAG", "1s")]).await?;
    let mut direct = servers.primary.connect(NAME).await?;
    direct.execute("BEGIN").await?;
    let mut ticks = interval(Duration::from_millis(100));
    let mut at_primary = 0;
    for look in 0..LOOKS {
        ticks.tick().await;
        sqlx::query("INSERT INTO notes VALUES ($1, 'not yet')")
            .bind(i64::try_from(look)?)
            .execute(&mut direct)
            .await?;
        let (server, seen) = read(&database, Freshness::Current, 0).await?;
        ensure!(!seen, "{server}");
        at_primary += usize::from(server == "primary");
        assert_eq!(
            rotation(&database),
            [Rotation::In; 2],
            "{:?}",
            database.replicas()
        );
    }
    // Now and then the server writes down what is open.
    ensure!(at_primary <= 2, "{at_primary} of {LOOKS}");
    Ok(())
}

#[tokio::test]
async fn replicas_do_not_lag_behind_a_primary_that_is_away() -> Result<()> {
    let mut servers = Servers::start(2).await?;
    let database = servers.open(&[("DATABASE_MAX_REPLICA_LAG", "1s")]).await?;
    write(&database, 0).await?;
    servers.wait_until_replayed().await?;
    let mut direct = servers.primary.connect(NAME).await?;
    direct
        .execute("BEGIN; INSERT INTO notes VALUES (1, 'never')")
        .await?;
    // Its monitor sees it.
    sleep(Duration::from_millis(500)).await;
    servers.primary().kill9()?;
    let away = Instant::now();
    let mut ticks = interval(Duration::from_millis(50));
    while away.elapsed() < Duration::from_secs(4) {
        ticks.tick().await;
        let (server, seen) = read(&database, Freshness::Any, 0).await?;
        ensure!(server.starts_with("standby") && seen, "{server}: {seen}");
        assert_eq!(
            rotation(&database),
            [Rotation::In; 2],
            "{:?}",
            database.replicas()
        );
    }
    Ok(())
}
