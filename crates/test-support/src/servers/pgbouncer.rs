use std::{collections::BTreeMap, fmt::Write, fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Connection, Row, ValueRef,
    postgres::{PgConnectOptions, PgRow},
};

use super::{Postgres, STOP_LIMIT, required, wait_until_answers};
use crate::{
    child::{Child, Launch, Output, read_log, tail},
    install::{Requirement, find_program},
    ports::free_port,
    scratch::{ScratchDir, give_to_servers, server_user},
};

/// When a client's connection to the server is given to another client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PoolMode {
    /// When the client leaves.
    Session,
    /// After each transaction.
    #[default]
    Transaction,
}

impl PoolMode {
    /// As PgBouncer's `pool_mode` and the shop's `DATABASE_POOLER` write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Transaction => "transaction",
        }
    }
}

/// How to run a private `PgBouncer`.
#[derive(Clone, Debug)]
pub struct PgBouncerOptions {
    /// The port; a free one if `None`.
    pub port: Option<u16>,
    /// How clients share connections.
    pub pool_mode: PoolMode,
    /// Connections to the server at a time, for each database.
    pub default_pool_size: u32,
    /// Clients at a time.
    pub max_client_conn: u32,
    /// The start-up parameters that clients may send although it does not know them, separated by
    /// commas. `PgBouncer` itself ignores none and refuses such clients.
    pub ignore_startup_parameters: Option<String>,
    /// More settings.
    pub settings: Vec<(String, String)>,
}

impl Default for PgBouncerOptions {
    fn default() -> Self {
        Self {
            port: None,
            pool_mode: PoolMode::default(),
            default_pool_size: 5,
            max_client_conn: 1000,
            ignore_startup_parameters: None,
            settings: Vec::new(),
        }
    }
}

/// A private `PgBouncer` in front of a [`Postgres`]. It lets everyone in from this machine, to any
/// database, as the superuser.
#[derive(Debug)]
pub struct PgBouncer {
    // `None` while it is stopped. Dropped before the folder that it writes into.
    server: Option<Child>,
    folder: ScratchDir,
    port: u16,
}

impl PgBouncer {
    /// Starts it in front of `postgres`, which must take connections without TLS.
    ///
    /// # Errors
    /// When `PgBouncer` is not installed or does not start.
    pub async fn start(postgres: &Postgres, options: PgBouncerOptions) -> Result<Self> {
        let port = options.port.unwrap_or_else(free_port);
        let folder = ScratchDir::create()?;
        let password = match &postgres.options.password {
            Some(password) => format!(" password={password}"),
            None => String::new(),
        };
        let mut text = format!(
            "[databases]\n\
             * = host=127.0.0.1 port={} user=postgres{password}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = any\n\
             admin_users = postgres\n\
             pool_mode = {}\n\
             default_pool_size = {}\n\
             max_client_conn = {}\n",
            postgres.port(),
            options.pool_mode.name(),
            options.default_pool_size,
            options.max_client_conn,
        );
        if let Some(parameters) = &options.ignore_startup_parameters {
            writeln!(text, "ignore_startup_parameters = {parameters}")?;
        }
        if knows_prepared_statements()? {
            // As before version 1.21, and as those run it who have not switched this on.
            writeln!(text, "max_prepared_statements = 0")?;
        }
        for (name, value) in &options.settings {
            writeln!(text, "{name} = {value}")?;
        }
        let mut pooler = Self {
            server: None,
            folder,
            port,
        };
        let file = pooler.config_file();
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        give_to_servers(&file)?;
        pooler.start_again().await?;
        Ok(pooler)
    }

    fn config_file(&self) -> PathBuf {
        self.folder.path().join("pgbouncer.ini")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("pgbouncer.log")
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of one of the server's databases.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// What its console answers to a command such as `SHOW POOLS` or `PAUSE shop`: the columns of
    /// each row by their names, without those that are empty.
    ///
    /// # Errors
    /// When it does not answer or refuses the command.
    pub async fn console(&self, command: &str) -> Result<Vec<BTreeMap<String, String>>> {
        let options: PgConnectOptions = self.url("pgbouncer").parse()?;
        // The console knows neither this parameter nor statements that are parsed first.
        let mut connection = options.extra_float_digits(None).connect().await?;
        let rows = sqlx::raw_sql(AssertSqlSafe(command))
            .fetch_all(&mut connection)
            .await
            .with_context(|| format!("PgBouncer refuses `{command}`"))?;
        connection.close().await?;
        rows.iter().map(columns).collect()
    }

    /// How many connections to the server it has open now for this database.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn servers_used(&self, database: &str) -> Result<usize> {
        self.count("SHOW SERVERS", database).await
    }

    /// How many clients of this database are connected now.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn clients(&self, database: &str) -> Result<usize> {
        self.count("SHOW CLIENTS", database).await
    }

    async fn count(&self, command: &str, database: &str) -> Result<usize> {
        let rows = self.console(command).await?;
        let of_database =
            |row: &&BTreeMap<_, _>| row.get("database").map(String::as_str) == Some(database);
        Ok(rows.iter().filter(of_database).count())
    }

    /// Starts it again after [`PgBouncer::stop`] or [`PgBouncer::kill9`], on the same port.
    ///
    /// # Errors
    /// With the end of its log, when it does not start.
    pub async fn start_again(&mut self) -> Result<()> {
        let program = required(find_program("pgbouncer"), Requirement::PgBouncer)?;
        let mut server = Launch::new("PgBouncer", program, Output::File(self.log_file()))
            .arg(self.config_file())
            .directory(self.folder.path())
            .user(server_user()?)
            .death_signal(Signal::SIGTERM)
            .spawn()?;
        wait_until_answers(&mut server, async || {
            self.console("SHOW VERSION").await.is_ok()
        })
        .await?;
        self.server = Some(server);
        Ok(())
    }

    /// Stops it at once: its clients' connections are closed, and new ones refused.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop(&mut self) -> Result<()> {
        self.resume()?;
        if let Some(mut server) = self.server.take() {
            server.stop(Signal::SIGTERM, STOP_LIMIT).await?;
        }
        Ok(())
    }

    /// Kills it, as a crash would.
    pub fn kill9(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill();
        }
    }

    /// Freezes it: connections stay open and can be opened, and nothing answers.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn pause(&mut self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Ends [`PgBouncer::pause`].
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn resume(&mut self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.server
            .as_mut()
            .map_or(Ok(()), |server| server.signal(signal))
    }

    /// All that it has written to its log.
    #[must_use]
    pub fn log(&self) -> String {
        read_log(&self.log_file())
    }

    /// The last `lines` lines of its log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log(), lines)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- PgBouncer\n{}", self.log_tail(30));
        }
        // It keeps nothing.
        self.kill9();
    }
}

/// Whether this version, 1.21 or newer, can keep the clients' named statements apart.
fn knows_prepared_statements() -> Result<bool> {
    let program = required(find_program("pgbouncer"), Requirement::PgBouncer)?;
    let output = Command::new(program)
        .arg("--version")
        .output()
        .context("cannot start pgbouncer")?;
    // "PgBouncer 1.18.0"
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text
        .split_whitespace()
        .nth(1)
        .and_then(|version| {
            let mut numbers = version.split('.').map(str::parse::<u32>);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        })
        .with_context(|| format!("`{}` tells no version of PgBouncer", text.trim()))?;
    Ok(version >= (1, 21))
}

fn columns(row: &PgRow) -> Result<BTreeMap<String, String>> {
    let mut columns = BTreeMap::new();
    for (index, column) in row.columns().iter().enumerate() {
        if !row.try_get_raw(index)?.is_null() {
            // The console writes all its types as text.
            let value: String = row.try_get_unchecked(index)?;
            columns.insert(column.name().to_owned(), value);
        }
    }
    Ok(columns)
}
