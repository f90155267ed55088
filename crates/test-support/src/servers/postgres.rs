use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use nix::{sys::signal::Signal, unistd::Pid};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::{
    DataDir, START_LIMIT, STOP_LIMIT, certificate::Certificate, initdb::make_cluster, leftover,
    processes, required, wait_until_answers,
};
use crate::{
    child::{Child, Launch, Output, read_log, tail},
    install::{Requirement, postgres_programs},
    ports::free_port,
    scratch::{give_to_servers, server_user},
    wait::wait_until,
};

/// Every test has a database of its own, and a statement is counted anew in each: the default of
/// 5,000 would forget statements of a test while it runs.
const STATEMENT_STATISTICS: [(&str, &str); 4] = [
    ("shared_preload_libraries", "pg_stat_statements"),
    ("pg_stat_statements.max", "100000"),
    ("pg_stat_statements.track_utility", "off"),
    ("pg_stat_statements.save", "off"),
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
    /// The superuser's password, of letters and digits, proved by SCRAM; `None` lets everyone in.
    pub password: Option<String>,
    /// Whether it takes connections with TLS only; see [`Postgres::ca_file`].
    pub tls: bool,
    /// More settings, which win against those above; [`Postgres::set`] can change all of them.
    pub settings: Vec<(String, String)>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            data_dir: None,
            port: None,
            durable: false,
            max_connections: 100,
            counts_statements: false,
            password: None,
            tls: false,
            settings: Vec::new(),
        }
    }
}

/// A private PostgreSQL, from this machine only. Its superuser is `postgres`.
#[derive(Debug)]
pub struct Postgres {
    // `None` while it is stopped. Dropped before the folder that it writes into.
    server: Option<Child>,
    /// The server's own processes while it is frozen.
    frozen: Vec<Pid>,
    pub(super) data: DataDir,
    port: u16,
    pub(super) options: PostgresOptions,
    certificate: Option<Certificate>,
    pub(super) name: String,
}

impl Postgres {
    /// Makes a database cluster in the data folder, unless there is one, and starts the server.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, the folder cannot be used or the server does not start.
    pub async fn start(options: PostgresOptions) -> Result<Self> {
        let data = DataDir::new(options.data_dir.clone())?;
        let cluster = data.path().join("pgdata");
        leftover::stop(&cluster.join("postmaster.pid"), "postgres", Signal::SIGINT).await?;
        if !cluster.join("PG_VERSION").exists() {
            make_cluster(&cluster, &options)?;
        }
        let postgres = Self::start_on(data, options, "primary").await?;
        if postgres.options.counts_statements {
            let mut connection = postgres.connect("postgres").await?;
            connection
                .execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
                .await?;
            connection.close().await?;
        }
        Ok(postgres)
    }

    /// Starts a server, called `name`, on the cluster in the data folder.
    pub(super) async fn start_on(
        data: DataDir,
        options: PostgresOptions,
        name: &str,
    ) -> Result<Self> {
        let certificate = if options.tls {
            Some(Certificate::create(data.path())?)
        } else {
            None
        };
        let mut postgres = Self {
            server: None,
            frozen: Vec::new(),
            port: options.port.unwrap_or_else(free_port),
            data,
            options,
            certificate,
            name: name.to_owned(),
        };
        postgres.write_settings()?;
        postgres.start_again().await?;
        Ok(postgres)
    }

    /// In a file, since those of the command line could not be changed while it runs.
    fn write_settings(&self) -> Result<()> {
        let options = &self.options;
        let durable = if options.durable { "on" } else { "off" };
        let connections = options.max_connections.to_string();
        let mut settings = vec![
            ("cluster_name", self.name.as_str()),
            ("max_connections", &connections),
            ("fsync", durable),
            ("synchronous_commit", durable),
            ("full_page_writes", durable),
        ];
        if options.counts_statements {
            settings.extend(STATEMENT_STATISTICS);
        }
        if let Some(certificate) = &self.certificate {
            settings.extend([
                ("ssl", "on"),
                ("ssl_cert_file", utf8(&certificate.server)?),
                ("ssl_key_file", utf8(&certificate.key)?),
            ]);
        }
        let more = options.settings.iter();
        settings.extend(more.map(|(name, value)| (name.as_str(), value.as_str())));

        // After the one that `initdb` made; what `ALTER SYSTEM` has set comes last in any case.
        let mut text = "include 'pgdata/postgresql.conf'\n".to_owned();
        for (name, value) in settings {
            writeln!(text, "{name} = {}", quoted(value))?;
        }
        let file = self.settings_file();
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        give_to_servers(&file)
    }

    fn settings_file(&self) -> PathBuf {
        self.data.path().join("settings.conf")
    }

    fn log_file(&self) -> PathBuf {
        self.data.path().join("postgres.log")
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its `cluster_name`. A standby also has it as its `application_name` at the primary.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL of one of its databases, for the superuser, with the password. With TLS it names
    /// `localhost`, as the certificate does, and asks for `verify-full`.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let password = match &self.options.password {
            Some(password) => format!(":{password}"),
            None => String::new(),
        };
        let (host, parameters) = match &self.certificate {
            Some(certificate) => {
                let authority = certificate.authority.display();
                let parameters = format!("?sslmode=verify-full&sslrootcert={authority}");
                ("localhost", parameters)
            }
            None => ("127.0.0.1", String::new()),
        };
        let port = self.port;
        format!("postgres://postgres{password}@{host}:{port}/{database}{parameters}")
    }

    /// The certificate, as PEM, of the authority that a client of a server with TLS is to trust.
    #[must_use]
    pub fn ca_file(&self) -> Option<&Path> {
        self.certificate
            .as_ref()
            .map(|certificate| certificate.authority.as_path())
    }

    /// A connection to one of its databases, for the superuser.
    ///
    /// # Errors
    /// When the server does not let it in.
    pub async fn connect(&self, database: &str) -> Result<PgConnection> {
        PgConnection::connect(&self.url(database))
            .await
            .with_context(|| format!("{} on port {} does not answer", self.name, self.port))
    }

    /// Makes an empty database, unless there is one of that name, and returns its URL.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn create_database(&self, name: &str) -> Result<String> {
        let mut connection = self.connect("postgres").await?;
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

    /// Changes one of its settings, for this run and the following ones. New connections have it
    /// when this returns, others from their next statement on, and some settings only take effect
    /// after [`Postgres::start_again`].
    ///
    /// # Errors
    /// When the server does not answer or refuses the value.
    pub async fn set(&self, parameter: &str, value: &str) -> Result<()> {
        let loaded = "SELECT pg_conf_load_time()::text";
        let mut connection = self.connect("postgres").await?;
        let before: String = sqlx::query_scalar(loaded)
            .fetch_one(&mut connection)
            .await?;
        let statement = format!("ALTER SYSTEM SET {parameter} = {}", quoted(value));
        connection.execute(AssertSqlSafe(statement)).await?;
        connection.execute("SELECT pg_reload_conf()").await?;
        connection.close().await?;
        wait_until("the new settings", START_LIMIT, async || {
            let mut connection = self.connect("postgres").await?;
            let now: String = sqlx::query_scalar(loaded)
                .fetch_one(&mut connection)
                .await?;
            connection.close().await?;
            Ok(now != before)
        })
        .await
    }

    /// Starts a stopped or killed server on the same port and data, and waits until it answers.
    ///
    /// # Errors
    /// With the end of its log, when it does not start.
    pub async fn start_again(&mut self) -> Result<()> {
        let programs = required(postgres_programs(), Requirement::Postgres)?;
        let settings = format!("config_file={}", self.settings_file().display());
        let port = format!("port={}", self.port);
        let mut server = Launch::new(
            "PostgreSQL",
            programs.join("postgres"),
            Output::File(self.log_file()),
        )
        .arg("-D")
        .arg(self.data.path().join("pgdata"))
        .args(["-c", &settings])
        .args(["-c", &port])
        .args(["-c", "listen_addresses=127.0.0.1"])
        // The data folder's path may be too long for a socket, and the default folder is not ours.
        .args(["-c", "unix_socket_directories="])
        .directory(self.data.path())
        // Before a standby speaks TLS it looks for a certificate there.
        .env("HOME", self.data.path())
        .user(server_user()?)
        .death_signal(self.end_signal())
        .spawn()?;
        wait_until_answers(&mut server, async || match self.connect("postgres").await {
            Ok(connection) => connection.close().await.is_ok(),
            Err(_) => false,
        })
        .await?;
        self.server = Some(server);
        Ok(())
    }

    /// How the server is stopped when nobody asks for it: what is kept is not left to be recovered,
    /// not even by a killed run; all else only has to end at once, whatever others do.
    fn end_signal(&self) -> Signal {
        match self.data {
            DataDir::Kept(_) => Signal::SIGINT,
            DataDir::Temporary(_) => Signal::SIGQUIT,
        }
    }

    /// Stops the server; connections are closed, transactions in progress are rolled back.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop(mut self) -> Result<()> {
        self.stop_fast().await
    }

    /// Stops the server as its service would: connections are closed, transactions in progress are
    /// rolled back, and standbys get all that was committed.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop_fast(&mut self) -> Result<()> {
        self.stop_with(Signal::SIGINT).await
    }

    /// Stops the server without a word to anyone; the next start recovers from its log.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop_immediate(&mut self) -> Result<()> {
        self.stop_with(Signal::SIGQUIT).await
    }

    async fn stop_with(&mut self, signal: Signal) -> Result<()> {
        self.resume()?;
        if let Some(mut server) = self.server.take() {
            server.stop(signal, STOP_LIMIT).await?;
        }
        Ok(())
    }

    /// Kills the server and all its processes, as a crash would.
    ///
    /// # Errors
    /// When they cannot be found or signalled.
    pub fn kill9(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            let children = processes::freeze(pid(&server))?;
            server.kill();
            processes::signal_all(&children, Signal::SIGKILL)?;
            processes::wait_for_end(&children)?;
            self.frozen.clear();
        }
        Ok(())
    }

    /// Freezes the server: connections stay open and can be opened, and nothing answers.
    ///
    /// # Errors
    /// When its processes cannot be found or signalled.
    pub fn pause(&mut self) -> Result<()> {
        if let Some(server) = &self.server {
            self.frozen = processes::freeze(pid(server))?;
        }
        Ok(())
    }

    /// Ends [`Postgres::pause`].
    ///
    /// # Errors
    /// When its processes cannot be signalled.
    pub fn resume(&mut self) -> Result<()> {
        processes::signal_all(&std::mem::take(&mut self.frozen), Signal::SIGCONT)?;
        self.server
            .as_mut()
            .map_or(Ok(()), |server| server.signal(Signal::SIGCONT))
    }

    /// Whether it has been started and not stopped or killed by its owner since.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.server.is_some()
    }

    /// How the server ended, when it has by itself.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        self.server.as_mut().map_or(Ok(None), Child::try_wait)
    }

    /// All that the server has written to its log.
    #[must_use]
    pub fn log(&self) -> String {
        read_log(&self.log_file())
    }

    /// The last `lines` lines of the server's log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log(), lines)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Err(error) = self.resume() {
            eprintln!("{} may be left frozen: {error:#}", self.name);
        }
        let signal = self.end_signal();
        if let Some(server) = &mut self.server {
            server.stop_blocking(signal, STOP_LIMIT);
        } else if let DataDir::Temporary(folder) = &self.data {
            let pid_file = folder.path().join("pgdata/postmaster.pid");
            if let Err(error) = processes::delete_shared_memory(&pid_file) {
                eprintln!("{} leaves shared memory behind: {error:#}", self.name);
            }
        }
    }
}

fn pid(server: &Child) -> Pid {
    Pid::from_raw(server.id().cast_signed())
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}

/// As a constant of SQL or of a settings file.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}
