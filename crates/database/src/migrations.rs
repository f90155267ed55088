//! The schema, embedded in both binaries.

use bharatmart_config::DatabaseConfig;
use secrecy::ExposeSecret;
use sqlx::{
    ConnectOptions, PgConnection,
    migrate::{MigrateError, Migrator},
};

use crate::{error::Result, pool::connect_options};

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// How a database's schema compares with the one of this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaState {
    /// Everything that this build needs is there.
    Current,
    /// So many migrations are still to be run.
    Pending(usize),
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
pub(crate) async fn schema_state(connection: &mut PgConnection) -> Result<SchemaState> {
    let applied = applied(connection).await?;
    Ok(match MIGRATOR.iter().count().saturating_sub(applied) {
        0 => SchemaState::Current,
        pending => SchemaState::Pending(pending),
    })
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
