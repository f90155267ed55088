use std::path::Path;

use anyhow::{Result, bail};
use redis::ConnectionAddr;
use uuid::Uuid;

use super::{START_LIMIT, question, required};
use crate::{
    child::{Child, Launch, Output},
    install::{Requirement, find_program},
    scratch::ScratchDir,
    wait::wait_until,
};

/// Begins the text of what a monitor itself sends.
const MARK: &str = "monitor-mark-";

/// `redis-cli monitor`: sees every command that a Redis runs, and slows it down.
#[derive(Debug)]
pub struct Monitor {
    // Dropped before the folder that it writes into.
    cli: Child,
    _folder: ScratchDir,
    client: redis::Client,
}

impl Monitor {
    /// Watches the Redis at `url`, which may hold a password; `ca_file` is the authority to trust
    /// if it is a `rediss` one. Of a cluster, one node is seen.
    ///
    /// # Errors
    /// When `redis-cli` is not installed or is not let in.
    pub async fn start(url: &str, ca_file: Option<&Path>) -> Result<Self> {
        let program = required(find_program("redis-cli"), Requirement::Redis)?;
        let client = question::client(url, ca_file)?;
        let folder = ScratchDir::create()?;
        let log = Output::File(folder.path().join("monitor.log"));
        // Not by its URL: `redis-cli` 7.0 takes a URL without a user's name for one with an empty name.
        let settings = client.get_connection_info();
        let (host, port, tls) = match settings.addr() {
            ConnectionAddr::Tcp(host, port) => (host, port, false),
            ConnectionAddr::TcpTls { host, port, .. } => (host, port, true),
            other => bail!("cannot watch {other}"),
        };
        let mut launch = Launch::new("redis-cli monitor", program, log).args([
            "-h",
            host,
            "-p",
            &port.to_string(),
        ]);
        if let Some(user) = settings.redis_settings().username() {
            launch = launch.args(["--user", user]);
        }
        if let Some(password) = settings.redis_settings().password() {
            launch = launch.env("REDISCLI_AUTH", password);
        }
        if tls {
            launch = launch.arg("--tls");
        }
        if let Some(ca_file) = ca_file {
            launch = launch.arg("--cacert").arg(ca_file);
        }
        let mut monitor = Self {
            cli: launch.arg("monitor").spawn()?,
            _folder: folder,
            client,
        };
        monitor
            .wait_for("redis-cli to be let in", |log| {
                log.lines().any(|line| line == "OK")
            })
            .await?;
        Ok(monitor)
    }

    /// A line for each command that has run since the start and until now, as `redis-cli` writes
    /// it: `1700000000.123456 [0 127.0.0.1:40000] "get" "key"`, or `[0 lua]` where a script ran it.
    /// Connecting shows as well: `auth`, without the password, and perhaps `client`.
    ///
    /// # Errors
    /// When Redis does not answer or `redis-cli` has ended.
    pub async fn lines(&mut self) -> Result<Vec<String>> {
        // Redis tells the monitor in the order in which it runs commands: what ran before this one
        // is there when this one is.
        let mark = format!("{MARK}{}", Uuid::new_v4().simple());
        question::ask::<()>(&self.client, &["ECHO", &mark]).await?;
        let log = self
            .wait_for("the monitor to catch up", |log| log.contains(&mark))
            .await?;
        Ok(log
            .lines()
            .take_while(|line| !line.contains(&mark))
            .filter(|line| command_name(line).is_some() && !line.contains(MARK))
            .map(str::to_owned)
            .collect())
    }

    /// The names, in upper case, of the commands in [`Monitor::lines`].
    ///
    /// # Errors
    /// As [`Monitor::lines`].
    pub async fn commands(&mut self) -> Result<Vec<String>> {
        let lines = self.lines().await?;
        let names = lines.iter().filter_map(|line| command_name(line));
        Ok(names.map(str::to_uppercase).collect())
    }

    async fn wait_for(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let cli = &mut self.cli;
        wait_until(what, START_LIMIT, async || {
            let log = cli.log();
            if wanted(&log) {
                return Ok(true);
            }
            if let Some(status) = cli.try_wait()? {
                bail!("redis-cli ended with {status}: {}", cli.log_tail(3));
            }
            Ok(false)
        })
        .await?;
        Ok(self.cli.log())
    }
}

fn command_name(line: &str) -> Option<&str> {
    let (_, words) = line.split_once("] \"")?;
    words.split('"').next()
}
