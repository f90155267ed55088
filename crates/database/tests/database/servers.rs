//! What the tests of the router share: servers with a table of notes, and what shows where reads went.

use std::{ops::Deref, time::Duration};

use anyhow::{Context, Result, ensure};
use bharatmart_config::{DatabaseConfig, Process, Source};
use bharatmart_database::{Connection, Database, Error, Freshness, PoolStatus, Rotation};
use bharatmart_test_support::{
    servers::{Postgres, PostgresOptions, Replication},
    wait_until,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

/// The database of these tests.
pub const NAME: &str = "shop";
/// How long what happens by itself may take; the machine may be busy.
pub const SOON: Duration = Duration::from_secs(20);

const TABLE: &str = "CREATE TABLE notes (id bigint PRIMARY KEY, text text NOT NULL)";

/// What `variables` make of the settings.
pub fn settings(variables: &[(&str, &str)]) -> DatabaseConfig {
    let source = Source::from_map(variables.iter().copied());
    DatabaseConfig::read(&source, Process::Api).expect("the settings are good")
}

/// The database with these settings.
pub fn open(variables: &[(&str, &str)]) -> Database {
    Database::connect(&settings(variables), "database-test").expect("the settings are good")
}

/// Makes the database and its table, and returns its URL.
pub async fn prepare(server: &Postgres) -> Result<String> {
    let url = server.create_database(NAME).await?;
    server.connect(NAME).await?.execute(TABLE).await?;
    Ok(url)
}

/// A server with the table, and the URL of the database.
pub async fn single(options: PostgresOptions) -> Result<(Postgres, String)> {
    let server = Postgres::start(options).await?;
    let url = prepare(&server).await?;
    Ok((server, url))
}

/// A primary and its standbys, which all have the table.
pub struct Servers(Replication);

impl Servers {
    pub async fn start(standbys: usize) -> Result<Self> {
        Self::start_with(PostgresOptions::default(), standbys, Duration::ZERO).await
    }

    pub async fn start_with(
        options: PostgresOptions,
        standbys: usize,
        apply_delay: Duration,
    ) -> Result<Self> {
        let replication = Replication::start_with(options, standbys, apply_delay).await?;
        prepare(&replication.primary).await?;
        replication.wait_until_replayed().await?;
        Ok(Self(replication))
    }

    /// `DATABASE_READ_URL` for all standbys.
    pub fn read_url(&self) -> String {
        let urls: Vec<_> = self
            .standbys
            .iter()
            .map(|server| server.url(NAME))
            .collect();
        urls.join(",")
    }

    /// `DATABASE_URL` with the primary and the first standby as hosts.
    pub fn write_url(&self) -> String {
        let (first, second) = (self.primary.port(), self.standbys[0].port());
        format!("postgres://postgres@127.0.0.1:{first},127.0.0.1:{second}/{NAME}")
    }

    /// The database with all standbys as replicas, once all are in rotation.
    pub async fn open(&self, more: &[(&str, &str)]) -> Result<Database> {
        let database = self.open_at_once(more);
        let all = vec![Rotation::In; self.standbys.len()];
        wait_for_rotation(&database, &all).await?;
        Ok(database)
    }

    /// The same without waiting.
    pub fn open_at_once(&self, more: &[(&str, &str)]) -> Database {
        let (url, read_url) = (self.primary.url(NAME), self.read_url());
        let mut variables = vec![("DATABASE_URL", &*url), ("DATABASE_READ_URL", &*read_url)];
        variables.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
        variables.extend(more);
        open(&variables)
    }

    pub fn primary(&mut self) -> &mut Postgres {
        &mut self.0.primary
    }

    pub fn standby(&mut self, index: usize) -> &mut Postgres {
        &mut self.0.standbys[index]
    }
}

impl Deref for Servers {
    type Target = Replication;

    fn deref(&self) -> &Replication {
        &self.0
    }
}

/// Waits until the replicas, in their order, are in rotation or out of it like this.
pub async fn wait_for_rotation(database: &Database, expected: &[Rotation]) -> Result<()> {
    let what = format!("rotation {expected:?}");
    wait_until(&what, SOON, async || Ok(rotation(database) == expected))
        .await
        .with_context(|| format!("{:?}", database.replicas()))
}

pub fn rotation(database: &Database) -> Vec<Rotation> {
    let replicas = database.replicas();
    replicas.iter().map(|replica| replica.rotation).collect()
}

/// Writes a note, and perhaps notes in the request's scope up to where.
pub async fn write(database: &Database, id: i64) -> Result<(), Error> {
    insert(&mut database.write().await?, id).await?;
    Ok(())
}

/// The same as a transaction.
pub async fn write_in_transaction(database: &Database, id: i64) -> Result<(), Error> {
    let mut transaction = database.begin().await?;
    insert(&mut transaction, id).await?;
    transaction.commit().await
}

/// Adds the note `id`.
pub async fn insert(connection: &mut Connection, id: i64) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO notes VALUES ($1, 'a note')")
        .bind(id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Which server answered, and whether it showed the note `id`.
pub async fn look(connection: &mut Connection, id: i64) -> sqlx::Result<(String, bool)> {
    let row = sqlx::query(
        "SELECT current_setting('cluster_name'), EXISTS (SELECT FROM notes WHERE id = $1)",
    )
    .bind(id)
    .fetch_one(connection)
    .await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// The same on a connection of its own.
pub async fn read(
    database: &Database,
    freshness: Freshness,
    id: i64,
) -> Result<(String, bool), Error> {
    Ok(look(&mut database.read(freshness).await?, id).await?)
}

/// Which server answered.
pub async fn who(connection: &mut Connection) -> sqlx::Result<String> {
    sqlx::query_scalar("SELECT current_setting('cluster_name')")
        .fetch_one(connection)
        .await
}

/// The only number that `statement` asks for.
pub async fn number(connection: &mut PgConnection, statement: &str) -> sqlx::Result<i64> {
    sqlx::query_scalar(AssertSqlSafe(statement.to_owned()))
        .fetch_one(connection)
        .await
}

/// Waits until no connection of the primary's pool is on loan.
pub async fn wait_for_rest(database: &Database) -> Result<PoolStatus> {
    wait_until("a pool at rest", SOON, async || {
        let status = database.status();
        Ok((status.in_use, status.waiters) == (0, 0))
    })
    .await?;
    Ok(database.status())
}

/// The metrics of this test, which has a process of its own.
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// To be called before anything is counted.
    pub fn install() -> Result<Self> {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder)?;
        Ok(Self(handle))
    }

    /// The sum of the series of `name` that have all of `labels`, each as `label="value"`;
    /// of those that are whole numbers.
    pub fn sum(&self, name: &str, labels: &[&str]) -> u64 {
        let text = self.0.render();
        text.lines()
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
            .sum()
    }

    /// How many reads went to the `target` for this reason.
    pub fn reads(&self, target: &str, reason: &str) -> u64 {
        let (target, reason) = (
            format!("target=\"{target}\""),
            format!("reason=\"{reason}\""),
        );
        self.sum("database_reads_total", &[&target, &reason])
    }

    /// How many changes of rotation had this reason.
    pub fn changes(&self, reason: &str) -> u64 {
        let reason = format!("reason=\"{reason}\"");
        self.sum("database_replica_rotation_changes_total", &[&reason])
    }
}

/// Fails unless `error` is worth trying again later.
pub fn ensure_transient<T: std::fmt::Debug>(outcome: &Result<T, Error>) -> Result<()> {
    let transient = outcome.as_ref().is_err_and(Error::is_transient);
    ensure!(transient, "{outcome:?}");
    Ok(())
}
