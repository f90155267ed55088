//! `bharatmart-api migrate` and `bharatmart-api serve --migrate`, as processes.

use std::time::Duration;

use bharatmart_test_support::{
    Child, Launch, Output, ScratchDir, ShopClient, TestDatabase, free_port, test_prefix,
    test_redis_url, wait_until,
};
use nix::sys::signal::Signal;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

const LIMIT: Duration = Duration::from_secs(30);
/// The advisory lock of whoever runs the migrations.
const LOCK: i64 = 0x6268_6172_6174_6d74;
const PROCESSES: usize = 10;

async fn connect(database: &TestDatabase) -> PgConnection {
    PgConnection::connect(database.direct_url())
        .await
        .expect("the database answers")
}

/// A database without anything in it.
async fn empty() -> TestDatabase {
    let database = TestDatabase::create().await;
    connect(&database)
        .await
        .execute("DROP SCHEMA public, sandbox_gateway CASCADE; CREATE SCHEMA public")
        .await
        .expect("it is emptied");
    database
}

/// The program with the settings that all its commands need.
fn program(database: &TestDatabase, folder: &ScratchDir, name: &str) -> Launch {
    Launch::new(
        name,
        env!("CARGO_BIN_EXE_bharatmart-api"),
        Output::File(folder.path().join(format!("{name}.log"))),
    )
    .clear_environment()
    .directory(folder.path())
    .env("HOST", "127.0.0.1")
    .env("DATABASE_URL", database.url())
    .env("DATABASE_DIRECT_URL", database.direct_url())
    .env("DATABASE_POOL_SIZE", "2")
    .env("REDIS_URL", test_redis_url())
    .env("QUEUE_PREFIX", test_prefix())
    .env("JWT_SECRET", "a secret for tests, 32 bytes or more")
    .env("SHUTDOWN_DRAIN_DELAY", "0")
}

/// A server that migrates first; also the port of its probes.
fn serve(database: &TestDatabase, folder: &ScratchDir, name: &str) -> (Child, u16) {
    let metrics_port = free_port();
    let child = program(database, folder, name)
        .env("PORT", free_port().to_string())
        .env("METRICS_PORT", metrics_port.to_string())
        .args(["serve", "--migrate"])
        .spawn()
        .expect("the program starts");
    (child, metrics_port)
}

/// Runs a command to its end: its exit code and what it wrote.
async fn ended(launch: Launch) -> (Option<i32>, String) {
    let mut child = launch.spawn().expect("the program starts");
    let status = child.wait(LIMIT).await.expect("it ends");
    (status.code(), child.log())
}

#[tokio::test]
async fn of_ten_that_start_at_once_on_an_empty_database_one_migrates_and_all_serve() {
    let database = empty().await;
    let folder = ScratchDir::create().expect("a folder is made");
    let visitor = ShopClient::new("").expect("a client is made");
    let mut servers: Vec<_> = (0..PROCESSES)
        .map(|number| serve(&database, &folder, &format!("api-{number}")))
        .collect();
    for (child, port) in &mut servers {
        let ready = format!("http://127.0.0.1:{port}/api/health/ready");
        wait_until("a server to be ready", LIMIT, async || {
            let ended = child.try_wait().expect("the system tells");
            assert_eq!(ended, None, "{}", child.log());
            let answer = visitor.http().get(&ready).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await
        .expect("it serves");
    }
    let all: i64 = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations WHERE success")
        .fetch_one(&mut connect(&database).await)
        .await
        .expect("the database is migrated");
    let mut ran = Vec::new();
    for (mut child, _) in servers {
        ran.push(child.log().matches("ran the migration").count());
        let status = child.stop(Signal::SIGTERM, LIMIT).await.expect("it ends");
        assert!(status.success(), "{}", child.log());
    }
    ran.sort_unstable();
    let mut expected = [0; PROCESSES];
    expected[PROCESSES - 1] = usize::try_from(all).expect("a count");
    assert_eq!(ran, expected);
}

#[tokio::test]
async fn a_server_that_waits_for_its_turn_to_migrate_says_so_and_ends_when_told_to() {
    let database = empty().await;
    let mut holder = connect(&database).await;
    holder
        .execute(AssertSqlSafe(format!("SELECT pg_advisory_lock({LOCK})")))
        .await
        .expect("the lock is free");
    let folder = ScratchDir::create().expect("a folder is made");
    let (mut child, _) = serve(&database, &folder, "api");
    wait_until("the server to say so", LIMIT, async || {
        child
            .log()
            .contains("another process runs the migrations")
            .then_some(())
    })
    .await
    .expect("it says so");
    let status = child.stop(Signal::SIGTERM, LIMIT).await.expect("it ends");
    assert!(status.success(), "{}", child.log());
    let made: Option<String> = sqlx::query_scalar("SELECT to_regclass('products')::text")
        .fetch_one(&mut holder)
        .await
        .expect("the database answers");
    assert_eq!(made, None);
}

#[tokio::test]
async fn the_status_tells_by_its_exit_code_whether_the_schema_is_current() {
    let database = empty().await;
    let folder = ScratchDir::create().expect("a folder is made");
    let command = |name: &str| program(&database, &folder, name).arg("migrate");
    let (code, said) = ended(command("before").arg("--status")).await;
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.lines().count() > 0 && said.lines().all(|line| line.ends_with("pending")),
        "{said}"
    );
    let migrations = said.lines().count();
    let (code, said) = ended(command("run")).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("ran the migration").count(), migrations);
    connect(&database)
        .await
        .execute("INSERT INTO _sqlx_migrations VALUES (99991231000000, 'of tomorrow', now(), true, '', 0)")
        .await
        .expect("a newer build was here");
    let (code, said) = ended(command("after").arg("--status")).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("unknown to this build").count(), 1, "{said}");
    assert_eq!(said.lines().count(), migrations + 1, "{said}");
    let (code, said) = ended(command("again")).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said, "the schema is current; nothing to migrate\n");
}
