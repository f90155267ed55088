//! The schema, embedded in both binaries: what of it a database has.

mod run;

use std::{
    fmt,
    sync::{
        LazyLock,
        atomic::{AtomicI64, Ordering},
    },
};

use bharatmart_config::DatabaseConfig;
use chrono::{DateTime, Utc};
use sqlx::{Executor, Postgres, migrate::Migrator};

use crate::{error::Error, router::Database, scope::Freshness};

pub use run::{MigrateError, Progress, migrate};

/// The migrations of this build. Those that a later build has run are none of its business, so that
/// the old and the new one can serve side by side while a deployment goes on.
static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("../../migrations");
    migrator.set_ignore_missing(true);
    migrator
});

/// One step of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// When it was written, which is also its place in the sequence.
    pub version: i64,
    /// What it is about.
    pub name: String,
}

impl fmt::Display for Migration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.version, self.name)
    }
}

impl From<&sqlx::migrate::Migration> for Migration {
    fn from(migration: &sqlx::migrate::Migration) -> Self {
        Self {
            version: migration.version,
            name: migration.description.clone().into_owned(),
        }
    }
}

/// What became of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MigrationState {
    /// It was run then.
    Applied(DateTime<Utc>),
    /// It is still to be run.
    Pending,
    /// It was begun then and not finished.
    Failed(DateTime<Utc>),
    /// It was run then, by a build that is newer than this one.
    Unknown(DateTime<Utc>),
}

/// A migration and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationStatus {
    /// The migration.
    pub migration: Migration,
    /// What became of it.
    pub state: MigrationState,
}

/// Why the schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// These migrations of this build are still to be run, in this order.
    #[error("migrations are pending: {}; run `bharatmart-api migrate` first", list(.0))]
    Pending(Vec<Migration>),
    /// This migration was begun and not finished.
    #[error(
        "the migration {0} has failed half-way: finish or undo it by hand, then correct its row in _sqlx_migrations"
    )]
    Failed(Migration),
    /// The tables belong to another role, so that row-level security hides their rows from this one.
    #[error(
        "row-level security hides the shop's rows from this role: connect as the role that ran the migrations"
    )]
    RowsHidden,
    /// The database is away, or answers with an error.
    #[error("the database cannot be used")]
    Database(#[from] Error),
}

impl SchemaError {
    /// Whether waiting may cure it: the database is away.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Pending(_) | Self::Failed(_) | Self::RowsHidden => false,
            Self::Database(error) => error.is_transient(),
        }
    }
}

fn list(migrations: &[Migration]) -> String {
    let names: Vec<_> = migrations.iter().map(Migration::to_string).collect();
    names.join(", ")
}

/// Compares the migrations that were applied with those of this build, which may be fewer.
pub(crate) async fn check_schema(
    database: &Database,
    freshness: Freshness,
) -> Result<(), SchemaError> {
    let mut connection = database.read(freshness).await?;
    let recorded = recorded(&mut connection).await.map_err(Error::from)?;
    if recorded.hidden {
        return Err(SchemaError::RowsHidden);
    }
    let mut pending = Vec::new();
    let mut unknown = Vec::new();
    for MigrationStatus { migration, state } in recorded.compared() {
        match state {
            MigrationState::Applied(_) => {}
            MigrationState::Pending => pending.push(migration),
            MigrationState::Failed(_) => return Err(SchemaError::Failed(migration)),
            MigrationState::Unknown(_) => unknown.push(migration),
        }
    }
    if !pending.is_empty() {
        return Err(SchemaError::Pending(pending));
    }
    tell_unknown(&unknown);
    Ok(())
}

/// Says that the database is ahead of this build, once for each time that it moves on.
fn tell_unknown(unknown: &[Migration]) {
    static TOLD: AtomicI64 = AtomicI64::new(i64::MIN);
    if let Some(last) = unknown.last()
        && TOLD.fetch_max(last.version, Ordering::Relaxed) < last.version
    {
        tracing::info!(
            "the database is ahead of this build, which serves on: it has {}",
            list(unknown)
        );
    }
}

/// What the database says of its migrations.
#[derive(Debug, Default)]
struct Recorded {
    rows: Vec<Row>,
    /// Whether there is a table of which this role sees no row.
    hidden: bool,
}

/// A row of the migrator's table.
#[derive(Clone, Debug, sqlx::FromRow)]
struct Row {
    version: i64,
    description: String,
    installed_on: DateTime<Utc>,
    success: bool,
}

impl Recorded {
    /// Those of this build and those of the database, by version.
    fn compared(self) -> Vec<MigrationStatus> {
        let mut all: Vec<_> = MIGRATOR
            .iter()
            .filter(|known| !self.rows.iter().any(|row| row.version == known.version))
            .map(|known| MigrationStatus {
                migration: known.into(),
                state: MigrationState::Pending,
            })
            .collect();
        all.extend(self.rows.into_iter().map(|row| {
            let at = row.installed_on;
            MigrationStatus {
                state: if !row.success {
                    MigrationState::Failed(at)
                } else if MIGRATOR.version_exists(row.version) {
                    MigrationState::Applied(at)
                } else {
                    MigrationState::Unknown(at)
                },
                migration: Migration {
                    version: row.version,
                    name: row.description,
                },
            }
        }));
        all.sort_by_key(|status| status.migration.version);
        all
    }
}

/// Reads the migrator's table, which is not there at first.
async fn recorded<C>(connection: &mut C) -> sqlx::Result<Recorded>
where
    for<'c> &'c mut C: Executor<'c, Database = Postgres>,
{
    // Unchecked at compile time: the table belongs to the migrator.
    let hidden: Option<bool> =
        sqlx::query_scalar("SELECT row_security_active(to_regclass('_sqlx_migrations'))")
            .fetch_one(&mut *connection)
            .await?;
    let Some(hidden) = hidden else {
        return Ok(Recorded::default());
    };
    let rows = sqlx::query_as(
        "SELECT version, description, installed_on, success FROM _sqlx_migrations ORDER BY version",
    )
    .fetch_all(connection)
    .await?;
    Ok(Recorded { rows, hidden })
}

/// What became of each migration. Where no host takes writes, any that answers is asked.
pub async fn migration_status(
    config: &DatabaseConfig,
) -> Result<Vec<MigrationStatus>, MigrateError> {
    let mut connection = run::connect(config).await?.link.connection;
    let recorded = recorded(&mut connection).await.map_err(Error::from)?;
    if recorded.hidden {
        return Err(SchemaError::RowsHidden.into());
    }
    Ok(recorded.compared())
}

#[cfg(test)]
mod tests {
    use super::MIGRATOR;

    #[test]
    fn every_migration_is_one_transaction() {
        for migration in MIGRATOR.iter() {
            assert!(!migration.no_tx, "{}", migration.version);
        }
    }
}
