//! The pool.

use std::time::Duration;

use bharatmart_config::DatabaseConfig;
use secrecy::ExposeSecret;
use sqlx::{
    PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{
    error::{Error, Result},
    migrations::{self, SchemaError},
};

/// A connection on loan from the pool.
pub type Connection = PoolConnection<Postgres>;
/// A transaction; rolled back when dropped.
pub type Transaction = sqlx::Transaction<'static, Postgres>;

/// A connection that idled longer than this is tried before it is lent.
const TRUSTED_IDLE: Duration = Duration::from_secs(5);

/// The database; cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    pool: PgPool,
}

/// How full the pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    /// Connections that wait to be lent.
    pub idle: usize,
    /// Connections on loan.
    pub in_use: usize,
}

impl Database {
    /// Sets the pool up without connecting; the first use does.
    ///
    /// `application_name` is what `pg_stat_activity` shows.
    pub fn connect(config: &DatabaseConfig, application_name: &str) -> Result<Self> {
        let options = connect_options(config.url.expose_secret(), application_name)?.options([(
            "statement_timeout",
            config.statement_timeout.as_millis().to_string(),
        )]);
        let pool = PgPoolOptions::new()
            .max_connections(config.pool_size)
            .min_connections(config.pool_min)
            .acquire_timeout(config.connection_timeout)
            // A ping before each use would double the round trips of a one-statement checkout.
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for < TRUSTED_IDLE {
                        return Ok(true);
                    }
                    Ok(sqlx::Connection::ping(connection).await.is_ok())
                })
            })
            .connect_lazy_with(options);
        Ok(Self { pool })
    }

    /// A connection for statements that write.
    pub async fn write(&self) -> Result<Connection> {
        Ok(self.pool.acquire().await?)
    }

    /// A transaction for statements that write.
    pub async fn begin(&self) -> Result<Transaction> {
        Ok(self.pool.begin().await?)
    }

    /// A connection for statements that only read and may see a slightly older state.
    pub async fn read(&self) -> Result<Connection> {
        Ok(self.pool.acquire().await?)
    }

    /// Asks the server whether it answers and whether its schema is the one of this build.
    pub async fn check_schema(&self) -> Result<(), SchemaError> {
        let mut connection = self.read().await?;
        migrations::check_schema(&mut connection).await
    }

    /// How full the pool is.
    #[must_use]
    pub fn status(&self) -> PoolStatus {
        let idle = self.pool.num_idle();
        PoolStatus {
            idle,
            in_use: (self.pool.size() as usize).saturating_sub(idle),
        }
    }
}

/// Reads a connection URL.
pub(crate) fn connect_options(url: &str, application_name: &str) -> Result<PgConnectOptions> {
    let options: PgConnectOptions = url.parse().map_err(Error::from)?;
    Ok(options.application_name(application_name))
}
