//! The schema, embedded in both binaries.

use bharatmart_config::DatabaseConfig;
use secrecy::ExposeSecret;
use sqlx::{
    ConnectOptions, PgConnection,
    migrate::{MigrateError, Migrator},
};

use crate::{
    error::{Error, Result},
    pool::connect_options,
};

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// Why the schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// So many migrations of this build are still to be run.
    #[error("{0} migrations are pending: run `bharatmart-api migrate` first")]
    Pending(usize),
    /// The database is away, or answers with an error.
    #[error("the database cannot be used")]
    Database(#[from] Error),
}

impl SchemaError {
    /// Whether waiting may cure it: the database is away.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Pending(_) => false,
            Self::Database(error) => error.is_transient(),
        }
    }
}

/// Runs the migrations that are missing, over the direct URL when there is one; the number run.
///
/// An advisory lock lets any number of processes call it at once.
pub async fn migrate(config: &DatabaseConfig) -> Result<usize, MigrateError> {
    let url = config.direct_url.as_ref().unwrap_or(&config.url);
    let options = connect_options(url.expose_secret(), "bharatmart-migrate")
        .map_err(|error| MigrateError::Source(error.into()))?;
    let mut connection = options.connect().await?;
    let before = applied(&mut connection).await?;
    MIGRATOR.run_direct(None, &mut connection, false).await?;
    Ok(applied(&mut connection).await? - before)
}

/// Compares the migrations that were applied with those of this build.
pub(crate) async fn check_schema(connection: &mut PgConnection) -> Result<(), SchemaError> {
    let applied = applied(connection).await.map_err(Error::from)?;
    match MIGRATOR.iter().count().saturating_sub(applied) {
        0 => Ok(()),
        pending => Err(SchemaError::Pending(pending)),
    }
}

/// How many migrations of this build the database has.
async fn applied(connection: &mut PgConnection) -> sqlx::Result<usize> {
    // Unchecked at compile time: the table belongs to the migrator and is missing at first.
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(0);
    }
    let versions: Vec<i64> =
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
            .fetch_all(connection)
            .await?;
    Ok(MIGRATOR
        .iter()
        .filter(|migration| versions.contains(&migration.version))
        .count())
}
