use anyhow::{Context, Result};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, postgres::PgPoolOptions};
use uuid::Uuid;

use crate::environment::{
    POOLER_VARIABLE, POSTGRES_VARIABLE, REDIS_VARIABLE, given_by_xtask, perhaps_given_by_xtask,
};

/// The migrated database that each test's database is a copy of.
pub const TEMPLATE_DATABASE: &str = "bharatmart_template";

/// A migrated database without rows, for one test; dropped with this value.
#[derive(Debug)]
pub struct TestDatabase {
    server: String,
    name: String,
    url: String,
    direct_url: String,
}

impl TestDatabase {
    /// Makes the database.
    ///
    /// # Panics
    /// When the tests do not run under `cargo xtask test`, or the server does not answer.
    pub async fn create() -> Self {
        let server = given_by_xtask(POSTGRES_VARIABLE);
        let name = format!("test_{}", Uuid::new_v4().simple());
        let statement = format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE_DATABASE}");
        execute(&server, statement)
            .await
            .expect("the shared PostgreSQL makes a database");
        let direct_url = url_of(&server, &name);
        let url = perhaps_given_by_xtask(POOLER_VARIABLE)
            .map_or_else(|| direct_url.clone(), |pooler| url_of(&pooler, &name));
        Self {
            server,
            name,
            url,
            direct_url,
        }
    }

    /// The URL by which the product is to reach this database, as the superuser: through a pooler
    /// under `cargo xtask test --pooler`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of this database on the server itself, for the superuser.
    #[must_use]
    pub fn direct_url(&self) -> &str {
        &self.direct_url
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A pool of up to 10 direct connections to it.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(10)
            .connect(&self.direct_url)
            .await
            .expect("the test's database answers")
    }

    /// Makes the user with this address an admin. Tokens that were given out before still say
    /// "customer".
    ///
    /// # Errors
    /// When there is no such user.
    pub async fn make_admin(&self, email: &str) -> Result<()> {
        let mut connection = PgConnection::connect(&self.direct_url).await?;
        let done = sqlx::query("UPDATE users SET role = 'admin' WHERE lower(email) = lower($1)")
            .bind(email)
            .execute(&mut connection)
            .await?;
        connection.close().await?;
        anyhow::ensure!(done.rows_affected() == 1, "there is no user {email}");
        Ok(())
    }

    /// How many times the statements of which the text is `like` this pattern of SQL's `LIKE` have
    /// run to their end in this database, by PostgreSQL's own count. In the text each run of white
    /// space is one blank, and constants are `$1`, `$2`, ….
    ///
    /// # Errors
    /// When the server does not answer or does not count.
    pub async fn statement_calls(&self, like: &str) -> Result<u64> {
        let mut connection = PgConnection::connect(&self.server).await?;
        let calls: i64 = sqlx::query_scalar(
            r"SELECT coalesce(sum(counted.calls), 0)::bigint
              FROM pg_stat_statements AS counted
              JOIN pg_database ON pg_database.oid = counted.dbid
              WHERE pg_database.datname = $1
                AND btrim(regexp_replace(counted.query, '\s+', ' ', 'g')) LIKE $2",
        )
        .bind(&self.name)
        .bind(like)
        .fetch_one(&mut connection)
        .await
        .context("the shared PostgreSQL does not count statements")?;
        connection.close().await?;
        Ok(calls.unsigned_abs())
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let server = self.server.clone();
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // The test's own runtime may be shutting down.
        let dropped = std::thread::spawn(move || -> Result<()> {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(execute(&server, statement))
        })
        .join();
        if !matches!(dropped, Ok(Ok(()))) {
            eprintln!("{} was not dropped: {dropped:?}", self.name);
        }
    }
}

/// The URL of the Redis that all tests of a run share. Keep keys apart with [`test_prefix`]; a test
/// that stops Redis starts its own [`crate::servers::RedisServer`].
///
/// # Panics
/// When the tests do not run under `cargo xtask test`.
#[must_use]
pub fn test_redis_url() -> String {
    given_by_xtask(REDIS_VARIABLE)
}

/// A prefix for keys in the shared Redis that no other test uses.
#[must_use]
pub fn test_prefix() -> String {
    format!("test-{}", Uuid::new_v4().simple())
}

/// The URL of another database of the same server.
fn url_of(server: &str, database: &str) -> String {
    let (base, _) = server
        .rsplit_once('/')
        .expect("a PostgreSQL URL names a database");
    format!("{base}/{database}")
}

async fn execute(server: &str, statement: String) -> Result<()> {
    let mut connection = PgConnection::connect(server)
        .await
        .context("the shared PostgreSQL does not answer")?;
    connection.execute(AssertSqlSafe(statement)).await?;
    connection.close().await?;
    Ok(())
}
