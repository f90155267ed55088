use std::path::PathBuf;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::{DataDir, STOP_LIMIT, greets, leftover, required, wait_until_answers};
use crate::{
    child::{Child, Launch, Output},
    install::{Requirement, find_program},
    ports::free_port,
    scratch::server_user,
};

/// How to run a private Redis.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    /// Kept here, and used again by the next start; a temporary folder if `None`.
    pub data_dir: Option<PathBuf>,
    /// The port; a free one if `None`.
    pub port: Option<u16>,
    /// Whether its data survives a stop.
    pub append_only: bool,
}

/// A private Redis, without a password, from this machine only.
#[derive(Debug)]
pub struct RedisServer {
    // `None` while it is stopped. Dropped before the folder that it writes into.
    server: Option<Child>,
    data: DataDir,
    port: u16,
    append_only: bool,
}

impl RedisServer {
    /// Starts the server.
    ///
    /// # Errors
    /// When Redis is not installed, the folder cannot be used or the server does not start.
    pub async fn start(options: RedisOptions) -> Result<Self> {
        let mut redis = Self {
            server: None,
            data: DataDir::new(options.data_dir)?,
            port: options.port.unwrap_or_else(free_port),
            append_only: options.append_only,
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

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
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
        let append_only = if self.append_only { "yes" } else { "no" };
        let mut server = Launch::new("Redis", program, Output::File(folder.join("redis.log")))
            .args(["--port", &self.port.to_string()])
            .args(["--bind", "127.0.0.1"])
            .args(["--save", ""])
            .args(["--appendonly", append_only])
            .arg("--dir")
            .arg(folder)
            .arg("--pidfile")
            .arg(folder.join("redis.pid"))
            // A queue must never lose a job to make room.
            .args(["--maxmemory-policy", "noeviction"])
            .directory(folder)
            .user(server_user()?)
            .death_signal(Signal::SIGTERM)
            .spawn()?;
        let port = self.port;
        wait_until_answers(&mut server, async || greets(port, b"PING\r\n", b"+PONG")).await?;
        self.server = Some(server);
        Ok(())
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
            if self.append_only {
                server.stop_blocking(Signal::SIGTERM, STOP_LIMIT);
            } else {
                server.kill();
            }
        }
    }
}
