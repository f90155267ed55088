use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::{
    DataDir, STOP_LIMIT, certificate::Certificate, leftover, question, required, wait_until_answers,
};
use crate::{
    child::{Child, Launch, Output},
    install::{Requirement, find_program},
    ports::free_port,
    scratch::server_user,
};

/// Commands that walk over, or empty, a whole database: the shop sends none of them.
pub const WHOLE_DATABASE_COMMANDS: [&str; 4] = ["FLUSHALL", "FLUSHDB", "KEYS", "SCAN"];

/// How to run a private Redis.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    /// Kept here, and used again by the next start; a temporary folder if `None`.
    pub data_dir: Option<PathBuf>,
    /// The port; a free one if `None`.
    pub port: Option<u16>,
    /// Whether its data survives a stop.
    pub append_only: bool,
    /// The password of its default user, of letters and digits; `None` lets everyone in.
    pub password: Option<String>,
    /// Whether it speaks TLS, and nothing else; see [`RedisServer::ca_file`].
    pub tls: bool,
    /// What it drops when it is full. If `None` nothing, for a queue must never lose a job to make
    /// room.
    pub maxmemory_policy: Option<String>,
    /// More arguments of `redis-server`, such as `--maxmemory` and `100mb`.
    pub arguments: Vec<String>,
}

/// A private Redis, from this machine only.
#[derive(Debug)]
pub struct RedisServer {
    // `None` while it is stopped. Dropped before the folder that it writes into.
    server: Option<Child>,
    data: DataDir,
    port: u16,
    options: RedisOptions,
    certificate: Option<Certificate>,
}

impl RedisServer {
    /// Starts the server.
    ///
    /// # Errors
    /// When Redis is not installed, the folder cannot be used or the server does not start.
    pub async fn start(options: RedisOptions) -> Result<Self> {
        let data = DataDir::new(options.data_dir.clone())?;
        let certificate = if options.tls {
            Some(Certificate::create(data.path())?)
        } else {
            None
        };
        let mut redis = Self {
            server: None,
            data,
            port: options.port.unwrap_or_else(free_port),
            options,
            certificate,
        };
        let pid_file = redis.data.path().join("redis.pid");
        leftover::stop(&pid_file, "redis-server", Signal::SIGTERM).await?;
        redis.start_again().await?;
        Ok(redis)
    }

    /// A Redis that keeps nothing when it stops.
    ///
    /// # Errors
    /// As [`RedisServer::start`].
    pub async fn temporary() -> Result<Self> {
        Self::start(RedisOptions::default()).await
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL, with the password. With TLS it names `localhost`, as the certificate does.
    #[must_use]
    pub fn url(&self) -> String {
        let password = match &self.options.password {
            Some(password) => format!(":{password}@"),
            None => String::new(),
        };
        let (scheme, host) = if self.options.tls {
            ("rediss", "localhost")
        } else {
            ("redis", "127.0.0.1")
        };
        format!("{scheme}://{password}{host}:{}", self.port)
    }

    /// The certificate, as PEM, of the authority that a client of a server with TLS is to trust.
    #[must_use]
    pub fn ca_file(&self) -> Option<&Path> {
        self.certificate
            .as_ref()
            .map(|certificate| certificate.authority.as_path())
    }

    /// A client that trusts the server.
    ///
    /// # Errors
    /// When the authority's certificate cannot be read.
    pub fn client(&self) -> Result<redis::Client> {
        question::client(&self.url(), self.ca_file())
    }

    /// How often each command was called since the server's start, from clients and from scripts,
    /// by its name in upper case. Those of two words are `CONFIG|GET`.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn command_counts(&self) -> Result<BTreeMap<String, u64>> {
        let statistics: String = question::ask(&self.client()?, &["INFO", "commandstats"]).await?;
        statistics.lines().filter_map(command_count).collect()
    }

    /// Stops the server: connections are refused from now on.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            server.stop(Signal::SIGTERM, STOP_LIMIT).await?;
        }
        Ok(())
    }

    /// Starts a stopped server on the same port; what it held is gone unless it is append-only.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_again(&mut self) -> Result<()> {
        let program = required(find_program("redis-server"), Requirement::Redis)?;
        let folder = self.data.path();
        let options = &self.options;
        let append_only = if self.options.append_only {
            "yes"
        } else {
            "no"
        };
        let policy = options.maxmemory_policy.as_deref().unwrap_or("noeviction");
        let port = self.port.to_string();
        let mut launch = Launch::new("Redis", program, Output::File(folder.join("redis.log")))
            .args(["--bind", "127.0.0.1"])
            .args(["--save", ""])
            .args(["--appendonly", append_only])
            .arg("--dir")
            .arg(folder)
            .arg("--pidfile")
            .arg(folder.join("redis.pid"))
            .args(["--maxmemory-policy", policy])
            .directory(folder)
            .user(server_user()?)
            .death_signal(Signal::SIGTERM);
        if let Some(certificate) = &self.certificate {
            launch = launch
                .args([
                    "--port",
                    "0",
                    "--tls-port",
                    &port,
                    "--tls-auth-clients",
                    "no",
                ])
                .arg("--tls-cert-file")
                .arg(&certificate.server)
                .arg("--tls-key-file")
                .arg(&certificate.key)
                .arg("--tls-ca-cert-file")
                .arg(&certificate.authority);
        } else {
            launch = launch.args(["--port", &port]);
        }
        if let Some(password) = &options.password {
            launch = launch.args(["--requirepass", password]);
        }
        let mut server = launch.args(&options.arguments).spawn()?;
        let client = self.client()?;
        wait_until_answers(&mut server, async || {
            question::ask::<()>(&client, &["PING"]).await.is_ok()
        })
        .await?;
        self.server = Some(server);
        Ok(())
    }

    /// Kills the server, as a crash would.
    pub fn kill9(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill();
        }
    }

    /// Whether it has been started and not stopped or killed by its owner since.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.server.is_some()
    }

    /// Freezes the server: connections stay open, and nothing answers.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn pause(&mut self) -> Result<()> {
        self.server
            .as_mut()
            .map_or(Ok(()), |server| server.signal(Signal::SIGSTOP))
    }

    /// Ends [`RedisServer::pause`].
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn resume(&mut self) -> Result<()> {
        self.server
            .as_mut()
            .map_or(Ok(()), |server| server.signal(Signal::SIGCONT))
    }

    /// How the server ended, when it has.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        self.server.as_mut().map_or(Ok(None), Child::try_wait)
    }

    /// The last `lines` lines of the server's log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        self.server
            .as_ref()
            .map(|server| server.log_tail(lines))
            .unwrap_or_default()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            if self.options.append_only {
                server.stop_blocking(Signal::SIGTERM, STOP_LIMIT);
            } else {
                server.kill();
            }
        }
    }
}

/// `cmdstat_get:calls=7,usec=12,…`
fn command_count(line: &str) -> Option<Result<(String, u64)>> {
    let (name, statistics) = line.strip_prefix("cmdstat_")?.split_once(':')?;
    let calls = statistics
        .split(',')
        .find_map(|statistic| statistic.strip_prefix("calls="))?;
    let count = calls
        .parse()
        .with_context(|| format!("`{line}` counts nothing"));
    Some(count.map(|count| (name.to_uppercase(), count)))
}
