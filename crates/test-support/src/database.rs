use anyhow::{Context, Result};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, postgres::PgPoolOptions};
use uuid::Uuid;

use crate::environment::{POSTGRES_VARIABLE, REDIS_VARIABLE, given_by_xtask};

/// The migrated database that each test's database is a copy of.
pub const TEMPLATE_DATABASE: &str = "bharatmart_template";

/// A migrated database without rows, for one test; dropped with this value.
#[derive(Debug)]
pub struct TestDatabase {
    server: String,
    name: String,
    url: String,
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
        let (base, _) = server
            .rsplit_once('/')
            .expect("a PostgreSQL URL names a database");
        let url = format!("{base}/{name}");
        Self { server, name, url }
    }

    /// The URL of this database, for the superuser.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A pool of up to 10 connections to it.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(10)
            .connect(&self.url)
            .await
            .expect("the test's database answers")
    }

    /// Makes the user with this address an admin. Tokens that were given out before still say
    /// "customer".
    ///
    /// # Errors
    /// When there is no such user.
    pub async fn make_admin(&self, email: &str) -> Result<()> {
        let mut connection = PgConnection::connect(&self.url).await?;
        let done = sqlx::query("UPDATE users SET role = 'admin' WHERE lower(email) = lower($1)")
            .bind(email)
            .execute(&mut connection)
            .await?;
        connection.close().await?;
        anyhow::ensure!(done.rows_affected() == 1, "there is no user {email}");
        Ok(())
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

async fn execute(server: &str, statement: String) -> Result<()> {
    let mut connection = PgConnection::connect(server)
        .await
        .context("the shared PostgreSQL does not answer")?;
    connection.execute(AssertSqlSafe(statement)).await?;
    connection.close().await?;
    Ok(())
}
