use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use nix::{sys::signal::Signal, unistd::User};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::{DataDir, STOP_LIMIT, leftover, required, wait_until_answers};
use crate::{
    child::{Child, Launch, Output},
    install::{Requirement, postgres_programs},
    ports::free_port,
    scratch::server_user,
};

/// Every test has a database of its own, and a statement is counted anew in each: the default of
/// 5,000 would forget statements of a test while it runs.
const STATEMENT_STATISTICS: [&str; 4] = [
    "shared_preload_libraries=pg_stat_statements",
    "pg_stat_statements.max=100000",
    "pg_stat_statements.track_utility=off",
    "pg_stat_statements.save=off",
];

/// How to run a private PostgreSQL.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Kept here, and used again by the next start; a temporary folder if `None`.
    pub data_dir: Option<PathBuf>,
    /// The port; a free one if `None`.
    pub port: Option<u16>,
    /// Whether a committed transaction survives a crash of the machine. Off is quicker.
    pub durable: bool,
    /// Connections at a time.
    pub max_connections: u32,
    /// Whether it counts how often each statement runs: [`crate::TestDatabase::statement_calls`].
    pub counts_statements: bool,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            data_dir: None,
            port: None,
            durable: false,
            max_connections: 100,
            counts_statements: false,
        }
    }
}

/// A private PostgreSQL. Its superuser is `postgres`, without a password, from this machine only.
#[derive(Debug)]
pub struct Postgres {
    // Dropped before the folder that it writes into.
    server: Child,
    _data: DataDir,
    port: u16,
}

impl Postgres {
    /// Makes a database cluster in the data folder, unless there is one, and starts the server.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, the folder cannot be used or the server does not start.
    pub async fn start(options: PostgresOptions) -> Result<Self> {
        let programs = required(postgres_programs(), Requirement::Postgres)?;
        let user = server_user()?;
        let data = DataDir::new(options.data_dir)?;
        let cluster = data.path().join("pgdata");
        leftover::stop(&cluster.join("postmaster.pid"), "postgres", Signal::SIGINT).await?;
        if !cluster.join("PG_VERSION").exists() {
            make_cluster(&programs, &cluster, options.durable, user.as_ref())?;
        }

        let port = options.port.unwrap_or_else(free_port);
        let durable = if options.durable { "on" } else { "off" };
        let mut settings = vec![
            "listen_addresses=127.0.0.1".to_owned(),
            // The data folder's path may be too long for a socket, and the default folder is not ours.
            "unix_socket_directories=".to_owned(),
            format!("port={port}"),
            format!("max_connections={}", options.max_connections),
            format!("fsync={durable}"),
            format!("synchronous_commit={durable}"),
            format!("full_page_writes={durable}"),
        ];
        if options.counts_statements {
            settings.extend(STATEMENT_STATISTICS.map(str::to_owned));
        }
        let mut launch = Launch::new(
            "PostgreSQL",
            programs.join("postgres"),
            Output::File(data.path().join("postgres.log")),
        )
        .arg("-D")
        .arg(&cluster)
        .directory(data.path())
        .user(user)
        // A fast shutdown, so that not even a killed run leaves the database to be recovered.
        .death_signal(Signal::SIGINT);
        for setting in settings {
            launch = launch.arg("-c").arg(setting);
        }
        let mut server = launch.spawn()?;
        let address = url(port, "postgres");
        wait_until_answers(&mut server, async || {
            match PgConnection::connect(&address).await {
                Ok(connection) => connection.close().await.is_ok(),
                Err(_) => false,
            }
        })
        .await?;
        if options.counts_statements {
            let mut connection = PgConnection::connect(&address).await?;
            connection
                .execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
                .await?;
            connection.close().await?;
        }
        Ok(Self {
            server,
            _data: data,
            port,
        })
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of one of its databases, for the superuser.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        url(self.port, database)
    }

    /// Makes an empty database, unless there is one of that name, and returns its URL.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn create_database(&self, name: &str) -> Result<String> {
        let mut connection = PgConnection::connect(&self.url("postgres")).await?;
        let exists = sqlx::query("SELECT 1 FROM pg_database WHERE datname = $1")
            .bind(name)
            .fetch_optional(&mut connection)
            .await?
            .is_some();
        if !exists {
            connection
                .execute(AssertSqlSafe(format!("CREATE DATABASE \"{name}\"")))
                .await?;
        }
        connection.close().await?;
        Ok(self.url(name))
    }

    /// Runs a file of SQL in one transaction, with `psql`.
    ///
    /// # Errors
    /// With what `psql` says, when a statement fails.
    pub fn run_file(&self, database: &str, file: &Path) -> Result<()> {
        let programs = required(postgres_programs(), Requirement::Postgres)?;
        let output = Command::new(programs.join("psql"))
            .args(["--no-psqlrc", "--quiet", "--single-transaction"])
            .args(["--set", "ON_ERROR_STOP=1", "--dbname", &self.url(database)])
            .arg("--file")
            .arg(file)
            .stdin(Stdio::null())
            .output()
            .context("cannot start psql")?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }

    /// How the server ended, when it has.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        self.server.try_wait()
    }

    /// The last `lines` lines of the server's log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        self.server.log_tail(lines)
    }

    /// Stops the server; connections are closed, transactions in progress are rolled back.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop(mut self) -> Result<()> {
        self.server.stop(Signal::SIGINT, STOP_LIMIT).await?;
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.server.stop_blocking(Signal::SIGINT, STOP_LIMIT);
    }
}

fn url(port: u16, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/{database}")
}

fn make_cluster(programs: &Path, cluster: &Path, durable: bool, user: Option<&User>) -> Result<()> {
    // The same order of names on every machine; only Linux's libc promises this UTF-8 locale.
    let locale = if cfg!(target_os = "linux") {
        "C.UTF-8"
    } else {
        "C"
    };
    let mut command = Command::new(programs.join("initdb"));
    command
        .arg("--pgdata")
        .arg(cluster)
        .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
        .arg(format!("--locale={locale}"))
        .env("LC_ALL", "C")
        .current_dir(cluster.parent().unwrap_or(cluster))
        .stdin(Stdio::null());
    if !durable {
        command.arg("--no-sync");
    }
    if let Some(user) = user {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    let output = command.output().context("cannot start initdb")?;
    ensure!(
        output.status.success(),
        "initdb failed in {}: {}",
        cluster.display(),
        String::from_utf8_lossy(&output.stderr).trim(),
    );
    Ok(())
}
