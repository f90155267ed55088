//! The migrations and what is made of their state.

use std::time::Duration;

use bharatmart_config::{DatabaseConfig, PoolerMode};
use bharatmart_database::{
    MigrateError, MigrationState, Progress, SchemaError, migrate, migration_status,
};
use bharatmart_test_support::TestDatabase;
use sqlx::{AssertSqlSafe, Connection as _, Executor, PgConnection};
use tokio::sync::mpsc;

use crate::support::{config, open};

/// A version that no build knows.
const FUTURE: i64 = 99_991_231_000_000;

/// The settings of `urls` together, as the hosts of one database.
fn several(urls: &[&str]) -> DatabaseConfig {
    DatabaseConfig {
        primary: urls.iter().flat_map(|url| config(url).primary).collect(),
        ..config(urls[0])
    }
}

async fn execute(url: &str, statements: &str) {
    let mut connection = PgConnection::connect(url).await.expect("it answers");
    connection
        .execute(AssertSqlSafe(statements.to_owned()))
        .await
        .expect("the statements are good");
    connection.close().await.expect("it closes");
}

/// A database without anything in it.
async fn empty() -> TestDatabase {
    let database = TestDatabase::create().await;
    let clear = "DROP SCHEMA public, sandbox_gateway CASCADE; CREATE SCHEMA public";
    execute(database.direct_url(), clear).await;
    database
}

async fn check(url: &str) -> Result<(), SchemaError> {
    open(url).check_schema().await
}

#[tokio::test]
async fn of_many_at_once_one_runs_the_migrations_and_the_others_wait_for_it() {
    let database = empty().await;
    let all = migration_status(&config(database.direct_url()))
        .await
        .expect("an empty database has a status");
    assert!(
        all.iter()
            .all(|status| status.state == MigrationState::Pending)
    );
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let config = config(database.direct_url());
            tokio::spawn(async move {
                let mut told = Vec::new();
                let run = migrate(&config, |progress| told.push(progress.clone())).await;
                (run.expect("it migrates"), told)
            })
        })
        .collect();
    let mut runs = Vec::new();
    for call in calls {
        let (run, told) = call.await.expect("it ends");
        let ran = told
            .iter()
            .filter(|progress| matches!(progress, Progress::Ran { .. }));
        assert_eq!(ran.count(), run, "each one that was run is told");
        if run == 0
            && let Some(progress) = told.first()
        {
            let Progress::Waiting { holder } = progress else {
                panic!("{progress}");
            };
            assert!(holder.contains("bharatmart-migrate"), "{holder}");
        }
        runs.push(run);
    }
    runs.sort_unstable();
    let mut expected = [0; 10];
    expected[9] = all.len();
    assert_eq!(runs, expected);
    check(database.direct_url())
        .await
        .expect("the schema is current");
}

#[tokio::test]
async fn pending_migrations_are_named() {
    let database = TestDatabase::create().await;
    let all = migration_status(&config(database.direct_url()))
        .await
        .expect("it has a status");
    let last = &all.last().expect("there are migrations").migration;
    let forget = format!(
        "DELETE FROM _sqlx_migrations WHERE version = {}",
        last.version
    );
    execute(database.direct_url(), &forget).await;
    let error = check(database.direct_url())
        .await
        .expect_err("one is pending");
    let SchemaError::Pending(pending) = &error else {
        panic!("{error}");
    };
    assert_eq!(pending.as_slice(), std::slice::from_ref(last));
    assert!(!error.is_transient());
    let text = error.to_string();
    assert!(
        text.contains(&last.version.to_string()) && text.contains(&last.name),
        "{text}"
    );
}

#[tokio::test]
async fn a_database_that_is_ahead_is_served_and_left_alone() {
    let database = TestDatabase::create().await;
    let later = format!(
        "INSERT INTO _sqlx_migrations VALUES ({FUTURE}, 'of tomorrow', now(), true, '', 0)"
    );
    execute(database.direct_url(), &later).await;
    check(database.direct_url()).await.expect("it is served");
    let config = config(database.direct_url());
    let run = migrate(&config, |progress| panic!("{progress}")).await;
    assert_eq!(run.expect("an older build may start"), 0);
    let all = migration_status(&config).await.expect("it has a status");
    let last = all.last().expect("there are migrations");
    assert_eq!(last.migration.version, FUTURE);
    assert!(
        matches!(last.state, MigrationState::Unknown(_)),
        "{:?}",
        last.state
    );
}

#[tokio::test]
async fn a_migration_that_failed_half_way_is_named_and_not_run_over() {
    let database = TestDatabase::create().await;
    let fail = "UPDATE _sqlx_migrations SET success = false WHERE version = 20261123000003;
                DELETE FROM _sqlx_migrations WHERE version > 20261123000003";
    execute(database.direct_url(), fail).await;
    let seen = check(database.direct_url()).await;
    assert!(
        matches!(&seen, Err(SchemaError::Failed(migration)) if migration.name == "outbox"),
        "{seen:?}"
    );
    let run = migrate(&config(database.direct_url()), |progress| {
        panic!("{progress}")
    })
    .await;
    assert!(
        matches!(
            &run,
            Err(MigrateError::Schema(SchemaError::Failed(migration))) if migration.name == "outbox"
        ),
        "{run:?}"
    );
}

#[tokio::test]
async fn a_migration_that_waits_for_a_table_lets_others_use_it_meanwhile() {
    let database = TestDatabase::create().await;
    // Both may be run again.
    let forget = "DELETE FROM _sqlx_migrations WHERE version IN (20261123000007, 20261123000008)";
    execute(database.direct_url(), forget).await;
    let pool = database.pool().await;
    let mut reader = pool.begin().await.expect("it begins");
    reader
        .execute("SELECT FROM products")
        .await
        .expect("it reads");

    let (sender, mut progress) = mpsc::unbounded_channel();
    let config = config(database.direct_url());
    let migrating = tokio::spawn(async move {
        migrate(&config, |progress| {
            sender.send(progress.clone()).expect("it is listened to");
        })
        .await
    });
    let first = progress.recv().await.expect("it says why it takes long");
    assert!(
        matches!(&first, Progress::Blocked(migration) if migration.name == "row security"),
        "{first}"
    );
    let read = pool.execute("SELECT FROM products");
    let read = tokio::time::timeout(Duration::from_secs(1), read).await;
    read.expect("nobody stands in the way").expect("it reads");
    assert!(!migrating.is_finished());
    reader.commit().await.expect("it ends");
    assert_eq!(
        migrating.await.expect("it ends").expect("it migrates"),
        2,
        "once the reader is done"
    );
}

#[tokio::test]
async fn migrations_do_not_run_through_a_transaction_pooler() {
    let database = empty().await;
    let pooled = DatabaseConfig {
        pooler: Some(PoolerMode::Transaction),
        ..config(database.direct_url())
    };
    let refused = migrate(&pooled, |progress| panic!("{progress}"))
        .await
        .expect_err("an advisory lock would be lost");
    assert!(matches!(refused, MigrateError::Pooler { .. }), "{refused}");
    assert!(refused.is_a_setting());
    assert!(
        refused.to_string().contains("DATABASE_DIRECT_URL"),
        "{refused}"
    );
    let direct = DatabaseConfig {
        direct: config(database.direct_url()).primary,
        ..pooled
    };
    assert!(migrate(&direct, |_| ()).await.expect("it migrates") > 0);
}

#[tokio::test]
async fn of_several_hosts_the_one_that_takes_writes_is_migrated() {
    let (read_only, writable) = (empty().await, empty().await);
    let lock = format!(
        "ALTER DATABASE {} SET default_transaction_read_only = on",
        read_only.name()
    );
    execute(writable.direct_url(), &lock).await;
    let both = several(&[read_only.direct_url(), writable.direct_url()]);
    assert!(migrate(&both, |_| ()).await.expect("it migrates") > 0);
    check(writable.direct_url())
        .await
        .expect("the schema is current");
    let none = migrate(&config(read_only.direct_url()), |_| ()).await;
    assert!(
        matches!(&none, Err(error @ MigrateError::ReadOnly { .. }) if error.is_transient()),
        "{none:?}"
    );
}

#[tokio::test]
async fn a_role_from_which_row_level_security_hides_everything_is_refused() {
    let database = TestDatabase::create().await;
    let role = format!("other_{}", database.name());
    execute(
        database.direct_url(),
        &format!("CREATE ROLE {role} LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"),
    )
    .await;
    let url = database
        .direct_url()
        .replace("postgres@", &format!("{role}@"));
    let seen = check(&url).await;
    assert!(matches!(seen, Err(SchemaError::RowsHidden)), "{seen:?}");
}
