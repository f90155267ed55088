//! PgBouncer between the shop and its servers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bharatmart_database::{Connection, Database, Error, Freshness, Rotation};
use bharatmart_test_support::{
    servers::{PgBouncer, PgBouncerOptions, PoolMode, Postgres, PostgresOptions},
    wait_until,
};
use futures_util::future::try_join_all;
use sqlx::{Executor, Row, postgres::PgConnectOptions};
use tokio::{task::JoinSet, time::timeout};

use crate::servers::{
    Metrics, NAME, SOON, Servers, ensure_transient, insert, number, open, read, single,
    wait_for_rest, wait_for_rotation, write, write_in_transaction,
};

/// Servers of a pooler that shares them; far fewer than clients.
const SERVERS: u32 = 3;

async fn pooler(postgres: &Postgres, pool_mode: PoolMode, lenient: bool) -> Result<PgBouncer> {
    let ignored = "options,extra_float_digits".to_owned();
    let options = PgBouncerOptions {
        pool_mode,
        default_pool_size: match pool_mode {
            PoolMode::Session => 20,
            PoolMode::Transaction => SERVERS,
        },
        ignore_startup_parameters: lenient.then_some(ignored),
        ..PgBouncerOptions::default()
    };
    PgBouncer::start(postgres, options).await
}

/// Whether statements get names on their servers.
async fn names_statements(database: &Database) -> Result<bool> {
    let count = "SELECT count(*) FROM pg_prepared_statements";
    let mut answers = Vec::new();
    for connection in [
        &mut database.write().await?,
        &mut *database.begin().await?,
        &mut database.read(Freshness::Any).await?,
    ] {
        let named: i64 = sqlx::query_scalar(count)
            .fetch_one(&mut *connection)
            .await?;
        answers.push(named > 0);
    }
    ensure!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    Ok(answers[0])
}

#[tokio::test]
async fn a_pooler_that_shares_sessions_is_found_out() -> Result<()> {
    let (server, direct) = single(PostgresOptions::default()).await?;
    let strict = pooler(&server, PoolMode::Transaction, false).await?;
    let lenient = pooler(&server, PoolMode::Transaction, true).await?;
    let session = pooler(&server, PoolMode::Session, false).await?;
    for (url, mode, expected) in [
        (&direct, "auto", true),
        (&direct, "session", true),
        (&direct, "transaction", false),
        (&strict.url(NAME), "auto", false),
        (&lenient.url(NAME), "auto", false),
        (&lenient.url(NAME), "transaction", false),
        (&session.url(NAME), "session", true),
        // It cannot be told from the other kind.
        (&session.url(NAME), "auto", false),
    ] {
        let database = open(&[("DATABASE_URL", url), ("DATABASE_POOLER", mode)]);
        let named = names_statements(&database).await?;
        assert_eq!(named, expected, "{url} {mode}");
    }
    Ok(())
}

#[tokio::test]
async fn finding_a_pooler_out_leaves_nothing_behind_in_the_sessions_of_others() -> Result<()> {
    let (server, _) = single(PostgresOptions::default()).await?;
    let pooler = pooler(&server, PoolMode::Transaction, true).await?;
    let url = pooler.url(NAME);
    // Both ways lead to the same sessions.
    let database = open(&[("DATABASE_URL", &url), ("DATABASE_READ_URL", &url)]);
    wait_for_rotation(&database, &[Rotation::Promoted]).await?;
    for id in 0..10 {
        write(&database, id).await?;
        read(&database, Freshness::Latest, id).await?;
    }
    drop(database);
    for _ in 0..2 * SERVERS {
        use sqlx::ConnectOptions as _;
        let options: PgConnectOptions = url.parse()?;
        let mut other = options.extra_float_digits(None).connect().await?;
        let row = sqlx::raw_sql(
            "SELECT current_setting('statement_timeout'), \
                current_setting('default_transaction_read_only')",
        )
        .fetch_one(&mut other)
        .await?;
        let settings: (String, String) = (row.try_get(0)?, row.try_get(1)?);
        assert_eq!(settings, ("0".to_owned(), "off".to_owned()));
    }
    Ok(())
}

/// Asks for something with numbers that nobody else uses, in one of several ways, and checks the answer.
async fn ask(database: &Database, number: i64) -> Result<()> {
    match number % 6 {
        0 => {
            let mut connection = database.write().await?;
            let answer: i64 = sqlx::query_scalar("SELECT $1::bigint")
                .bind(number)
                .fetch_one(&mut connection)
                .await?;
            ensure!(answer == number, "{answer} for {number}");
        }
        1 => {
            let mut connection = database.read(Freshness::Any).await?;
            let row = sqlx::query("SELECT $1::text, $2::bigint, pg_backend_pid()")
                .bind(number.to_string())
                .bind(number + 1)
                .fetch_one(&mut connection)
                .await?;
            let answer: (String, i64, i32) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let pid: i32 = backend(&mut connection).await?;
            ensure!(
                answer == (number.to_string(), number + 1, pid),
                "{answer:?}"
            );
        }
        2 => {
            let mut connection = database.write().await?;
            let answer: i64 = sqlx::query_scalar("INSERT INTO notes VALUES ($1, $2) RETURNING id")
                .bind(number)
                .bind(number.to_string())
                .fetch_one(&mut connection)
                .await?;
            ensure!(answer == number, "{answer} for {number}");
        }
        3 => {
            let mut transaction = database.begin().await?;
            let pid = backend(&mut transaction).await?;
            insert(&mut transaction, number).await?;
            let text: Option<String> = sqlx::query_scalar("SELECT text FROM notes WHERE id = $1")
                .bind(number)
                .fetch_optional(&mut *transaction)
                .await?;
            ensure!(text.as_deref() == Some("a note"), "{text:?}");
            ensure!(backend(&mut transaction).await? == pid);
            transaction.commit().await?;
        }
        4 => {
            let mut connection = database.read(Freshness::Latest).await?;
            let answers: Vec<i64> =
                sqlx::query_scalar("SELECT generate_series($1::bigint, $1 + 9)")
                    .bind(number)
                    .fetch_all(&mut connection)
                    .await?;
            ensure!(answers == (number..number + 10).collect::<Vec<_>>());
        }
        _ => {
            let mut transaction = database.begin().await?;
            insert(&mut transaction, number).await?;
            transaction.rollback().await?;
        }
    }
    Ok(())
}

async fn backend(connection: &mut Connection) -> sqlx::Result<i32> {
    sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(connection)
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_share_few_servers_get_their_own_answers() -> Result<()> {
    const CLIENTS: i64 = 40;
    const STATEMENTS: i64 = 120;
    let (server, _) = single(PostgresOptions::default()).await?;
    for lenient in [false, true] {
        let pooler = pooler(&server, PoolMode::Transaction, lenient).await?;
        // Two programs.
        let url = pooler.url(NAME);
        let databases = [(); 2].map(|()| open(&[("DATABASE_URL", &url)]));
        let base = if lenient { 1_000_000 } else { 0 };
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let database = databases[usize::try_from(client)? % 2].clone();
            clients.spawn(async move {
                for statement in 0..STATEMENTS {
                    let number = base + 1_000 * client + statement;
                    if statement % 10 == 7 {
                        // Gives up somewhere on the way.
                        let patience = Duration::from_micros(rand::random_range(0..3_000));
                        let given_up = ask(&database, 10_000_000 + number);
                        if let Ok(outcome) = timeout(patience, given_up).await {
                            outcome?;
                        }
                    } else {
                        ask(&database, number).await?;
                    }
                }
                anyhow::Ok(())
            });
        }
        while let Some(client) = clients.join_next().await {
            client??;
        }
        for database in &databases {
            wait_for_rest(database).await?;
        }
        ensure!(pooler.servers_used(NAME).await? <= usize::try_from(SERVERS)?);
        let pools = pooler.console("SHOW POOLS").await?;
        let pool = pools
            .iter()
            .find(|pool| pool["database"] == NAME)
            .context("the pool is there")?;
        assert_eq!((&*pool["sv_active"], &*pool["cl_waiting"]), ("0", "0"));

        // Every commit, and no rollback.
        let mut direct = server.connect(NAME).await?;
        let expected = i64::try_from(
            (0..CLIENTS)
                .flat_map(|client| (0..STATEMENTS).map(move |statement| (client, statement)))
                .filter(|(client, statement)| {
                    statement % 10 != 7
                        && [2, 3].contains(&((base + 1_000 * client + statement) % 6))
                })
                .count(),
        )?;
        let count = format!(
            "SELECT count(*) FROM notes WHERE id BETWEEN {base} AND {}",
            base + 999_999
        );
        assert_eq!(number(&mut direct, &count).await?, expected);
        let undone = "SELECT count(*) FROM notes WHERE id % 6 NOT IN (2, 3)";
        assert_eq!(number(&mut direct, undone).await?, 0);
    }
    let log = server.log();
    for mistake in ["prepared statement", "portal", "ERROR"] {
        ensure!(!log.contains(mistake), "{}", server.log_tail(20));
    }
    Ok(())
}

#[tokio::test]
async fn a_transaction_that_is_given_up_gives_the_poolers_server_back() -> Result<()> {
    let (server, _) = single(PostgresOptions::default()).await?;
    let pooler = pooler(&server, PoolMode::Transaction, false).await?;
    let database = open(&[
        ("DATABASE_URL", &pooler.url(NAME)),
        ("DATABASE_STATEMENT_TIMEOUT", "400ms"),
    ]);
    for id in 0..20 {
        let mut transaction = database.begin().await?;
        insert(&mut transaction, id).await?;
        if id % 2 == 0 {
            let sleep = transaction.execute("SELECT pg_sleep(0.02)");
            ensure!(timeout(Duration::from_millis(5), sleep).await.is_err());
        }
        drop(transaction);
        // Reads hold a server as well.
        let mut connection = database.read(Freshness::Any).await?;
        backend(&mut connection).await?;
        drop(connection);
        timeout(Duration::from_secs(1), write(&database, id))
            .await
            .context("the row is still locked")??;
    }
    wait_for_rest(&database).await?;
    let mut direct = server.connect(NAME).await?;
    let open = "SELECT count(*) FROM pg_stat_activity \
        WHERE datname = 'shop' AND xact_start IS NOT NULL AND pid <> pg_backend_pid()";
    assert_eq!(number(&mut direct, open).await?, 0);
    assert_eq!(number(&mut direct, "SELECT count(*) FROM notes").await?, 20);
    Ok(())
}

#[tokio::test]
async fn statements_end_in_time_through_a_pooler_and_without_one() -> Result<()> {
    let (server, direct) = single(PostgresOptions::default()).await?;
    let pooler = pooler(&server, PoolMode::Transaction, false).await?;
    for url in [pooler.url(NAME), direct] {
        let database = open(&[
            ("DATABASE_URL", &url),
            ("DATABASE_STATEMENT_TIMEOUT", "200ms"),
        ]);
        for connection in [
            &mut database.write().await?,
            &mut *database.begin().await?,
            &mut database.read(Freshness::Any).await?,
        ] {
            let asked = Instant::now();
            let outcome = sqlx::query("SELECT pg_sleep(20)")
                .execute(&mut *connection)
                .await;
            ensure!(asked.elapsed() < Duration::from_secs(3));
            let error = outcome.err().context("it ended")?;
            let code = error
                .as_database_error()
                .and_then(sqlx::error::DatabaseError::code);
            assert_eq!(code.as_deref(), Some("57014"), "{error}");
            ensure_transient(&Err::<(), _>(Error::from(error)))?;
        }
        write(
            &database,
            i64::from(pooler.port()) + i64::from(url == pooler.url(NAME)),
        )
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn own_writes_are_seen_through_poolers_on_both_ways() -> Result<()> {
    let metrics = Metrics::install()?;
    for delay in [Duration::ZERO, Duration::from_secs(3)] {
        let servers = Servers::start_with(PostgresOptions::default(), 1, delay).await?;
        let to_primary = pooler(&servers.primary, PoolMode::Transaction, false).await?;
        let to_replica = pooler(&servers.standbys[0], PoolMode::Transaction, false).await?;
        let variables = [
            ("DATABASE_URL", &*to_primary.url(NAME)),
            ("DATABASE_READ_URL", &*to_replica.url(NAME)),
        ];
        let database = open(&variables);
        wait_for_rotation(&database, &[Rotation::In]).await?;
        let before = [
            metrics.reads("replica", "fresh"),
            metrics.reads("primary", "behind"),
        ];
        let clients = (0..8).map(async |client| {
            for number in 0..25 {
                let id = 1_000 * client + number;
                let request = database.for_request(None);
                if number % 2 == 0 {
                    write(&request, id).await?;
                } else {
                    write_in_transaction(&request, id).await?;
                }
                let next = database.for_request(request.token().await);
                let own_write = async || {
                    let (server, seen) = read(&next, Freshness::OwnWrites, id).await?;
                    ensure!(seen, "{server} does not show note {id}");
                    Ok(server == "standby1")
                };
                let is_of_replica = own_write().await?;
                if delay.is_zero() && !is_of_replica {
                    wait_until("the replica to answer", SOON, own_write).await?;
                }
                let (server, _) = read(&next, Freshness::Any, id).await?;
                ensure!(server == "standby1");
            }
            anyhow::Ok(())
        });
        timeout(3 * SOON, try_join_all(clients)).await??;
        let fresh = metrics.reads("replica", "fresh") - before[0];
        let behind = metrics.reads("primary", "behind") - before[1];
        if delay.is_zero() {
            ensure!(fresh >= 200, "{fresh} from the replica");
        } else {
            assert_eq!(fresh + behind, 200);
            ensure!(behind >= 150, "{behind} from the primary");
        }
    }
    Ok(())
}
