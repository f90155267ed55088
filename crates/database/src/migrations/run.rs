//! Running the migrations.

use std::{
    error::Error as _,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use bharatmart_config::{DatabaseConfig, DatabaseUrl, PoolerMode};
use sqlx::{Connection, Executor, PgConnection, migrate::MigrateError as Refusal};
use tokio::time::{sleep, timeout};

use super::{MIGRATOR, Migration, MigrationState, MigrationStatus, SchemaError, recorded};
use crate::{
    error::Error,
    server::{Host, Link},
};

/// The advisory lock of whoever runs the migrations. The migrator has one of its own, but waits for it
/// within a statement. A statement that waits keeps its snapshot, and what a migration waits for may be
/// just that: the two would wait for each other.
const LOCK: i64 = 0x6268_6172_6174_6d74;
/// How often the lock is tried that another process holds.
const TURN_INTERVAL: Duration = Duration::from_millis(250);
/// How long a migration stands in the queue for a lock of a table. Behind it stands everybody who wants to
/// use the table, so it steps aside in time, lets them through and queues again.
const SESSION: &str = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET lock_timeout = '2s'";
/// How long it steps aside.
const ASIDE: Duration = Duration::from_secs(3);

/// Why the migrations were not run.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The variable holds a URL that the driver cannot use. It holds a password, so it is not shown.
    #[error("{variable} cannot be used: {reason}")]
    Url {
        /// The variable.
        variable: &'static str,
        /// What the driver says.
        reason: String,
    },
    /// A session's lock means nothing where each statement may meet another session.
    #[error(
        "migrations do not run through a transaction pooler, which {} leads to: set DATABASE_DIRECT_URL to the database itself",
        .variable
    )]
    Pooler {
        /// The variable.
        variable: &'static str,
    },
    /// All hosts that answer are replicas, or read-only for another reason.
    #[error("no host of {variable} takes writes")]
    ReadOnly {
        /// The variable.
        variable: &'static str,
    },
    /// The file of a migration that was run is not what it was.
    #[error("the migration {0} was changed after it had been run")]
    Changed(Migration),
    /// A statement of the migration failed, and all of the migration was undone.
    #[error("the migration {migration} failed")]
    Failed {
        /// The migration.
        migration: Migration,
        /// What the database says.
        #[source]
        source: Error,
    },
    /// The schema is in no state to be migrated, or the database is away.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

impl MigrateError {
    /// Whether the same call may succeed later without any change.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::ReadOnly { .. } => true,
            Self::Failed { source, .. } => source.is_transient(),
            Self::Schema(error) => error.is_transient(),
            Self::Url { .. } | Self::Pooler { .. } | Self::Changed(_) => false,
        }
    }

    /// Whether a setting has to be changed.
    #[must_use]
    pub const fn is_a_setting(&self) -> bool {
        matches!(self, Self::Url { .. } | Self::Pooler { .. })
    }
}

impl From<Error> for MigrateError {
    fn from(error: Error) -> Self {
        Self::Schema(error.into())
    }
}

/// How it goes, for the operator; each is said once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another process runs the migrations; this one waits until it has ended.
    Waiting {
        /// That process, as the database knows it.
        holder: String,
    },
    /// A migration wants a lock that others hold; it is tried again until it gets it.
    Blocked(Migration),
    /// A migration was run.
    Ran {
        /// The migration.
        migration: Migration,
        /// What it took.
        duration: Duration,
    },
}

impl fmt::Display for Progress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { holder } => {
                write!(
                    formatter,
                    "another process runs the migrations, waiting for it: {holder}"
                )
            }
            Self::Blocked(migration) => write!(
                formatter,
                "the migration {migration} waits for a lock that others hold, trying on"
            ),
            Self::Ran {
                migration,
                duration,
            } => write!(
                formatter,
                "ran the migration {migration} in {} ms",
                duration.as_millis()
            ),
        }
    }
}

/// Runs the migrations that are missing, one transaction each, and tells how it goes; the number run.
///
/// Any number of processes may call it at once: one runs them while the others wait, for as long as it
/// takes. A call that is dropped leaves nothing half done. Of several hosts the primary is used, and
/// `DATABASE_DIRECT_URL` rather than `DATABASE_URL`.
pub async fn migrate(
    config: &DatabaseConfig,
    mut tell: impl FnMut(&Progress) + Send,
) -> Result<usize, MigrateError> {
    let target = connect(config).await?;
    let mut connection = target.link.connection;
    if pending(&mut connection).await?.is_empty() {
        return Ok(0);
    }
    if !target.writable {
        return Err(MigrateError::ReadOnly {
            variable: target.variable,
        });
    }
    connection.execute(SESSION).await.map_err(Error::from)?;
    await_turn(&mut connection, &mut tell).await?;
    // Whoever had the lock may have run some of them, or all.
    let pending = pending(&mut connection).await?;
    for migration in &pending {
        run(&mut connection, migration, &mut tell).await?;
    }
    // The lock ends with the session.
    connection.close().await.map_err(Error::from)?;
    Ok(pending.len())
}

async fn pending(connection: &mut PgConnection) -> Result<Vec<Migration>, MigrateError> {
    let recorded = recorded(connection).await.map_err(Error::from)?;
    if recorded.hidden {
        return Err(SchemaError::RowsHidden.into());
    }
    let mut pending = Vec::new();
    for MigrationStatus { migration, state } in recorded.compared() {
        match state {
            MigrationState::Pending => pending.push(migration),
            MigrationState::Failed(_) => return Err(SchemaError::Failed(migration).into()),
            MigrationState::Applied(_) | MigrationState::Unknown(_) => {}
        }
    }
    Ok(pending)
}

/// Waits until no other process runs the migrations.
async fn await_turn(
    connection: &mut PgConnection,
    tell: &mut (impl FnMut(&Progress) + Send),
) -> Result<(), Error> {
    let mut told = false;
    while !sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "ours!""#, LOCK)
        .fetch_one(&mut *connection)
        .await?
    {
        if !told && let Some(holder) = holder(connection).await? {
            tell(&Progress::Waiting { holder });
            told = true;
        }
        sleep(TURN_INTERVAL).await;
    }
    Ok(())
}

/// Who has the lock.
async fn holder(connection: &mut PgConnection) -> Result<Option<String>, Error> {
    let holder = sqlx::query_scalar!(
        r#"
        SELECT
            concat(
                'server process ',
                pg_locks.pid,
                ' of ' || nullif(pg_stat_activity.application_name, ''),
                ' from ' || host(pg_stat_activity.client_addr)
            ) AS "holder!"
        FROM pg_locks
        LEFT JOIN pg_stat_activity ON pg_stat_activity.pid = pg_locks.pid
        WHERE pg_locks.locktype = 'advisory'
            AND pg_locks.granted
            AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND pg_locks.classid::bigint = $1::bigint >> 32
            AND pg_locks.objid::bigint = $1::bigint & 4294967295
            AND pg_locks.objsubid = 1
        "#,
        LOCK,
    )
    .fetch_optional(connection)
    .await?;
    Ok(holder)
}

/// Runs one migration, as often as it takes to get its locks.
async fn run(
    connection: &mut PgConnection,
    migration: &Migration,
    tell: &mut (impl FnMut(&Progress) + Send),
) -> Result<(), MigrateError> {
    let mut told = false;
    loop {
        let begin = Instant::now();
        let result = MIGRATOR
            .run_direct(Some(migration.version), &mut *connection, false)
            .await;
        let source = match result {
            Ok(()) => {
                tell(&Progress::Ran {
                    migration: migration.clone(),
                    duration: begin.elapsed(),
                });
                return Ok(());
            }
            Err(Refusal::Execute(source) | Refusal::ExecuteMigration(source, _)) => source,
            Err(Refusal::VersionMismatch(version)) => {
                return Err(MigrateError::Changed(named(version)));
            }
            Err(Refusal::Dirty(version)) => return Err(SchemaError::Failed(named(version)).into()),
            Err(refusal) => sqlx::Error::from(refusal),
        };
        if !is_blocked(&source) {
            return Err(MigrateError::Failed {
                migration: migration.clone(),
                source: source.into(),
            });
        }
        if !told {
            tell(&Progress::Blocked(migration.clone()));
            told = true;
        }
        sleep(ASIDE).await;
    }
}

/// The migration of this build with this version.
fn named(version: i64) -> Migration {
    MIGRATOR
        .iter()
        .find(|migration| migration.version == version)
        .map_or_else(
            || Migration {
                version,
                name: "not of this build".to_owned(),
            },
            Migration::from,
        )
}

/// Whether a lock was not to be had in time (55P03), or was part of a deadlock (40P01).
fn is_blocked(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("55P03" | "40P01"))
}

/// Where migrations are run.
pub(super) struct Target {
    pub(super) link: Link,
    writable: bool,
    variable: &'static str,
}

/// Connects to the primary, or to another host when there is none.
pub(super) async fn connect(config: &DatabaseConfig) -> Result<Target, MigrateError> {
    let (variable, urls, pooler) = if config.direct.is_empty() {
        ("DATABASE_URL", &config.primary, config.pooler)
    } else {
        // What is said of the pooler is said of DATABASE_URL; but where none works in transactions, this one
        // does not either.
        let pooler = config
            .pooler
            .filter(|mode| matches!(mode, PoolerMode::Session));
        ("DATABASE_DIRECT_URL", &config.direct, pooler)
    };
    let config = DatabaseConfig {
        pooler,
        ..config.clone()
    };
    let mut best: Option<Target> = None;
    let mut failure = None;
    for url in urls {
        let link = match open(url, &config, variable).await {
            Ok(link) => link,
            Err(error) if error.is_transient() => {
                failure = Some(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        let target = Target {
            writable: link.is_writable(),
            link,
            variable,
        };
        // A primary that was left behind by a failover may still take writes; its timeline is older.
        let rank = |target: &Target| (target.writable, target.link.facts.timeline);
        if best.as_ref().is_none_or(|best| rank(best) < rank(&target)) {
            best = Some(target);
        }
    }
    match (best, failure) {
        (Some(target), _) => Ok(target),
        (None, Some(failure)) => Err(failure),
        (None, None) => Err(MigrateError::ReadOnly { variable }),
    }
}

async fn open(
    url: &DatabaseUrl,
    config: &DatabaseConfig,
    variable: &'static str,
) -> Result<Link, MigrateError> {
    let refusal = MigrateError::Pooler { variable };
    let host = Host::new(url, config, "bharatmart-migrate").map_err(|error| MigrateError::Url {
        variable,
        // The outermost words are of a database that refused something, but none was asked.
        reason: error
            .source()
            .map_or_else(|| error.to_string(), ToString::to_string),
    })?;
    if matches!(host.mode(), Some(PoolerMode::Transaction)) {
        return Err(refusal);
    }
    let link = timeout(
        config.connection_timeout,
        Link::open(&Arc::new(host), false),
    )
    .await
    .unwrap_or(Err(sqlx::Error::PoolTimedOut))
    .map_err(Error::from)?;
    if matches!(link.mode, PoolerMode::Transaction) {
        return Err(refusal);
    }
    Ok(link)
}
