//! PostgreSQL's standbys, its TLS, and the pooler in front of it.

use std::time::{Duration, Instant};

use bharatmart_test_support::{
    servers::{
        PgBouncer, PgBouncerOptions, PoolMode, Postgres, PostgresOptions, Replication,
        StandbyOptions,
    },
    wait_until,
};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, postgres::PgConnectOptions};
use tokio::time::timeout;

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);

/// SQLSTATEs.
const READ_ONLY_TRANSACTION: &str = "25006";
const DUPLICATE_STATEMENT: &str = "42P05";
const UNKNOWN_STATEMENT: &str = "26000";

fn code(error: &sqlx::Error) -> Option<String> {
    let code = error.as_database_error()?.code()?;
    Some(code.into_owned())
}

async fn insert(url: &str, number: i32) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query("INSERT INTO notes VALUES ($1)")
        .bind(number)
        .execute(&mut connection)
        .await?;
    connection.close().await
}

async fn count(url: &str) -> sqlx::Result<i64> {
    let mut connection = PgConnection::connect(url).await?;
    let count = sqlx::query_scalar("SELECT count(*) FROM notes")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(count)
}

/// A database with an empty table, on all servers.
async fn notes(replication: &Replication) -> anyhow::Result<String> {
    let url = replication.create_database("shop").await?;
    let mut connection = PgConnection::connect(&url).await?;
    connection
        .execute("CREATE TABLE notes (number integer)")
        .await?;
    replication.wait_until_replayed().await?;
    Ok(url)
}

/// Through a pooler, to which sqlx would send a start-up parameter that it does not know.
async fn pooled(pooler: &PgBouncer) -> sqlx::Result<PgConnection> {
    let options: PgConnectOptions = pooler.url("postgres").parse()?;
    options.extra_float_digits(None).connect().await
}

#[tokio::test]
async fn standbys_show_what_the_primary_wrote_and_take_no_writes() {
    let replication = Replication::start(2).await.unwrap();
    let url = notes(&replication).await.unwrap();
    insert(&url, 1).await.unwrap();
    replication.wait_until_replayed().await.unwrap();
    for standby in &replication.standbys {
        let url = standby.url("shop");
        assert_eq!(count(&url).await.unwrap(), 1);
        let refused = insert(&url, 2).await.unwrap_err();
        assert_eq!(code(&refused).as_deref(), Some(READ_ONLY_TRANSACTION));
        let mut connection = standby.connect("postgres").await.unwrap();
        let name: String = sqlx::query_scalar("SHOW cluster_name")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(name, standby.name());
    }
    assert_eq!(replication.standbys[1].name(), "standby2");
}

#[tokio::test]
async fn a_delayed_standby_shows_a_commit_late_until_the_delay_is_set_back() {
    let replication = Replication::start(0).await.unwrap();
    let url = notes(&replication).await.unwrap();
    let delay = Duration::from_secs(2);
    let standby = replication
        .primary
        .standby(StandbyOptions {
            apply_delay: delay,
            ..StandbyOptions::default()
        })
        .await
        .unwrap();

    let start = Instant::now();
    insert(&url, 1).await.unwrap();
    let position = replication.primary.wal_position().await.unwrap();
    assert_eq!(count(&standby.url("shop")).await.unwrap(), 0);
    standby.wait_until_replayed(position).await.unwrap();
    assert_eq!(count(&standby.url("shop")).await.unwrap(), 1);
    let took = start.elapsed();
    assert!(took >= delay, "{took:?}");

    standby.set("recovery_min_apply_delay", "0").await.unwrap();
    let start = Instant::now();
    insert(&url, 2).await.unwrap();
    let position = replication.primary.wal_position().await.unwrap();
    standby.wait_until_replayed(position).await.unwrap();
    let took = start.elapsed();
    assert!(took < delay, "{took:?}");
}

#[tokio::test]
async fn a_promoted_standby_has_all_that_was_confirmed_and_the_others_can_follow_it() {
    let mut replication = Replication::start(2).await.unwrap();
    let url = notes(&replication).await.unwrap();
    replication.set_synchronous(2).await.unwrap();
    for number in 0..20 {
        insert(&url, number).await.unwrap();
    }
    replication.primary.kill9().unwrap();
    assert!(count(&url).await.is_err());

    let [first, second] = &replication.standbys[..] else {
        panic!("two standbys were asked for");
    };
    first.promote().await.unwrap();
    assert_eq!(count(&first.url("shop")).await.unwrap(), 20);
    insert(&first.url("shop"), 20).await.unwrap();
    second.follow(first).await.unwrap();
    let position = first.wal_position().await.unwrap();
    second.wait_until_replayed(position).await.unwrap();
    assert_eq!(count(&second.url("shop")).await.unwrap(), 21);
}

#[tokio::test]
async fn a_killed_primary_returns_with_what_it_confirmed_and_its_standby_follows_again() {
    let mut replication = Replication::start(1).await.unwrap();
    let url = notes(&replication).await.unwrap();
    for number in 0..20 {
        insert(&url, number).await.unwrap();
    }
    replication.primary.kill9().unwrap();
    assert!(!replication.primary.is_started());
    assert!(count(&url).await.is_err());
    assert_eq!(
        count(&replication.standbys[0].url("shop")).await.unwrap(),
        20
    );
    replication.primary.start_again().await.unwrap();
    assert_eq!(count(&url).await.unwrap(), 20);
    insert(&url, 20).await.unwrap();
    replication
        .primary
        .wait_for_standby("standby1")
        .await
        .unwrap();
    replication.wait_until_replayed().await.unwrap();
}

#[tokio::test]
async fn a_stopped_standby_catches_up_when_it_returns() {
    for fast in [true, false] {
        let mut replication = Replication::start(1).await.unwrap();
        let url = notes(&replication).await.unwrap();
        let standby = &mut replication.standbys[0];
        if fast {
            standby.stop_fast().await.unwrap();
        } else {
            standby.stop_immediate().await.unwrap();
        }
        assert!(count(&standby.url("shop")).await.is_err());
        insert(&url, 1).await.unwrap();
        let standby = &mut replication.standbys[0];
        standby.start_again().await.unwrap();
        replication.wait_until_replayed().await.unwrap();
        let url = replication.standbys[0].url("shop");
        assert_eq!(count(&url).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_frozen_postgres_is_silent_on_old_and_new_connections_until_it_resumes() {
    let mut postgres = Postgres::start(PostgresOptions::default()).await.unwrap();
    let mut open = postgres.connect("postgres").await.unwrap();
    postgres.pause().unwrap();
    {
        let answer = open.execute("SELECT 1");
        tokio::pin!(answer);
        assert!(timeout(SHORT, &mut answer).await.is_err());
        assert!(timeout(SHORT, postgres.connect("postgres")).await.is_err());
        postgres.resume().unwrap();
        timeout(LONG, answer).await.unwrap().unwrap();
    }
    timeout(LONG, postgres.connect("postgres"))
        .await
        .unwrap()
        .unwrap();
    // A frozen server is no hindrance to its end either.
    postgres.pause().unwrap();
    let start = Instant::now();
    drop(postgres);
    assert!(start.elapsed() < LONG);
}

#[tokio::test]
async fn a_setting_that_was_changed_is_kept_over_a_restart() {
    let mut postgres = Postgres::start(PostgresOptions {
        settings: vec![("work_mem".to_owned(), "5MB".to_owned())],
        ..PostgresOptions::default()
    })
    .await
    .unwrap();
    let show = async |postgres: &Postgres, name: &str| -> String {
        let mut connection = postgres.connect("postgres").await.unwrap();
        sqlx::query_scalar("SELECT current_setting($1)")
            .bind(name)
            .fetch_one(&mut connection)
            .await
            .unwrap()
    };
    assert_eq!(show(&postgres, "work_mem").await, "5MB");
    postgres.set("work_mem", "6MB").await.unwrap();
    assert_eq!(show(&postgres, "work_mem").await, "6MB");
    postgres.set("max_connections", "33").await.unwrap();
    assert_eq!(show(&postgres, "max_connections").await, "100");
    postgres.stop_fast().await.unwrap();
    postgres.start_again().await.unwrap();
    assert_eq!(show(&postgres, "work_mem").await, "6MB");
    assert_eq!(show(&postgres, "max_connections").await, "33");
    let refused = postgres.set("work_mem", "much").await.unwrap_err();
    assert!(format!("{refused:#}").contains("work_mem"), "{refused:#}");
}

#[tokio::test]
async fn a_postgres_with_tls_refuses_plain_connections_unknown_authorities_and_wrong_passwords() {
    let options = PostgresOptions {
        tls: true,
        password: Some("Saffron108".to_owned()),
        ..PostgresOptions::default()
    };
    let postgres = Postgres::start(options.clone()).await.unwrap();
    let other = Postgres::start(options).await.unwrap();
    let url = postgres.url("postgres");
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let encrypted: bool =
        sqlx::query_scalar("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert!(encrypted);
    PgConnection::connect(&url.replace("localhost", "127.0.0.1"))
        .await
        .unwrap();

    let (plain, _) = url.split_once('?').unwrap();
    let refused = PgConnection::connect(&format!("{plain}?sslmode=disable"))
        .await
        .unwrap_err();
    // "no pg_hba.conf entry for host …, no encryption"
    assert_eq!(code(&refused).as_deref(), Some("28000"));

    let wrong = PgConnection::connect(&url.replace("Saffron", "Turmeric"))
        .await
        .unwrap_err();
    assert_eq!(code(&wrong).as_deref(), Some("28P01"));

    let authority = |server: &Postgres| server.ca_file().unwrap().display().to_string();
    let strangers = url.replace(&authority(&postgres), &authority(&other));
    assert!(matches!(
        PgConnection::connect(&strangers).await.unwrap_err(),
        sqlx::Error::Tls(_) | sqlx::Error::Io(_)
    ));
}

#[tokio::test]
async fn a_password_is_asked_for_and_its_standbys_and_poolers_know_it() {
    let replication = Replication::start_with(
        PostgresOptions {
            password: Some("Saffron108".to_owned()),
            ..PostgresOptions::default()
        },
        1,
        Duration::ZERO,
    )
    .await
    .unwrap();
    let url = replication.primary.url("postgres");
    PgConnection::connect(&url).await.unwrap();
    let wrong = PgConnection::connect(&url.replace("Saffron", "Turmeric"))
        .await
        .unwrap_err();
    assert_eq!(code(&wrong).as_deref(), Some("28P01"));
    let pooler = PgBouncer::start(&replication.primary, PgBouncerOptions::default())
        .await
        .unwrap();
    pooled(&pooler)
        .await
        .unwrap()
        .execute("SELECT 1")
        .await
        .unwrap();
}

#[tokio::test]
async fn clients_share_connections_by_transaction_and_by_session_they_do_not() {
    let postgres = Postgres::start(PostgresOptions::default()).await.unwrap();
    for (pool_mode, servers) in [(PoolMode::Transaction, 1), (PoolMode::Session, 3)] {
        let pooler = PgBouncer::start(
            &postgres,
            PgBouncerOptions {
                pool_mode,
                ..PgBouncerOptions::default()
            },
        )
        .await
        .unwrap();
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = pooled(&pooler).await.unwrap();
            client.execute("SELECT 1").await.unwrap();
            clients.push(client);
        }
        assert_eq!(pooler.clients("postgres").await.unwrap(), 3);
        assert_eq!(pooler.servers_used("postgres").await.unwrap(), servers);
    }
}

#[tokio::test]
async fn named_statements_fail_when_clients_share_connections_by_transaction() {
    let postgres = Postgres::start(PostgresOptions::default()).await.unwrap();
    let pooler = PgBouncer::start(
        &postgres,
        PgBouncerOptions {
            default_pool_size: 1,
            ..PgBouncerOptions::default()
        },
    )
    .await
    .unwrap();
    let (mut first, mut second) = (
        pooled(&pooler).await.unwrap(),
        pooled(&pooler).await.unwrap(),
    );
    // Each client calls its first statement the same.
    let ask = "SELECT $1::integer";
    sqlx::query(ask).bind(1).execute(&mut first).await.unwrap();
    let error = sqlx::query(ask)
        .bind(1)
        .execute(&mut second)
        .await
        .unwrap_err();
    assert_eq!(code(&error).as_deref(), Some(DUPLICATE_STATEMENT));

    // And a connection that has never seen a client's statement may be the next to run it.
    let pooler = PgBouncer::start(&postgres, PgBouncerOptions::default())
        .await
        .unwrap();
    let (mut first, mut second) = (
        pooled(&pooler).await.unwrap(),
        pooled(&pooler).await.unwrap(),
    );
    sqlx::query(ask).bind(1).execute(&mut first).await.unwrap();
    second.execute("BEGIN").await.unwrap();
    let error = sqlx::query(ask)
        .bind(1)
        .execute(&mut first)
        .await
        .unwrap_err();
    assert_eq!(code(&error).as_deref(), Some(UNKNOWN_STATEMENT));
}

#[tokio::test]
async fn a_start_up_parameter_is_refused_by_the_pooler_unless_it_is_told_to_ignore_it() {
    let postgres = Postgres::start(PostgresOptions::default()).await.unwrap();
    let strict = PgBouncer::start(&postgres, PgBouncerOptions::default())
        .await
        .unwrap();
    let refused = PgConnection::connect(&strict.url("postgres"))
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("extra_float_digits"),
        "{refused}"
    );
    assert!(strict.log().contains("extra_float_digits"));
    let lenient = PgBouncer::start(
        &postgres,
        PgBouncerOptions {
            ignore_startup_parameters: Some("extra_float_digits".to_owned()),
            ..PgBouncerOptions::default()
        },
    )
    .await
    .unwrap();
    PgConnection::connect(&lenient.url("postgres"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_pooler_can_be_frozen_stopped_killed_and_started_again() {
    let postgres = Postgres::start(PostgresOptions::default()).await.unwrap();
    let mut pooler = PgBouncer::start(&postgres, PgBouncerOptions::default())
        .await
        .unwrap();
    let mut client = pooled(&pooler).await.unwrap();
    pooler.pause().unwrap();
    {
        let answer = client.execute("SELECT 1");
        tokio::pin!(answer);
        assert!(timeout(SHORT, &mut answer).await.is_err());
        pooler.resume().unwrap();
        timeout(LONG, answer).await.unwrap().unwrap();
    }
    pooler.stop().await.unwrap();
    assert!(client.execute("SELECT 1").await.is_err());
    assert!(pooler.console("SHOW VERSION").await.is_err());
    pooler.start_again().await.unwrap();
    pooled(&pooler)
        .await
        .unwrap()
        .execute("SELECT 1")
        .await
        .unwrap();
    pooler.kill9();
    pooler.start_again().await.unwrap();
    let mut client = pooled(&pooler).await.unwrap();
    client.execute("SELECT 1").await.unwrap();
    // Connections that nobody uses are closed when it is asked to.
    pooler.console("RECONNECT postgres").await.unwrap();
    wait_until("the end of the server's connection", LONG, async || {
        Ok(pooler.servers_used("postgres").await? == 0)
    })
    .await
    .unwrap();
}
