//! A release build of one of the programs, running.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bharatmart_test_support::{
    free_port,
    servers::{Postgres, PostgresOptions, RedisOptions, RedisServer},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::paths;

/// How often readiness is asked for: the error of the start-up time.
const POLL: Duration = Duration::from_millis(1);
const READY_LIMIT: Duration = Duration::from_secs(30);

/// PostgreSQL as in production (fsync on) and Redis that appends, with a migrated database.
pub struct Servers {
    pub postgres: Postgres,
    pub redis: RedisServer,
    pub database_url: String,
    /// Whether the programs are those of the release build.
    release: bool,
}

impl Servers {
    pub async fn start(release: bool) -> Result<Self> {
        let postgres = Postgres::start(PostgresOptions {
            durable: true,
            ..PostgresOptions::default()
        })
        .await?;
        let redis = RedisServer::start(RedisOptions {
            append_only: true,
            ..RedisOptions::default()
        })
        .await?;
        let database_url = postgres.create_database("bharatmart").await?;
        let servers = Self {
            postgres,
            redis,
            database_url,
            release,
        };
        let status = servers
            .command("bharatmart-api")?
            .arg("migrate")
            .status()
            .await?;
        ensure!(status.success(), "`bharatmart-api migrate` failed");
        Ok(servers)
    }

    /// A command with the variables that both programs need, and no others.
    pub fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(paths::programs(self.release)?.join(program));
        command
            .env_clear()
            .env("ENVIRONMENT", "production")
            .env("HOST", "127.0.0.1")
            .env("DATABASE_URL", &self.database_url)
            .env("REDIS_URL", self.redis.url())
            // All requests come from one address, and more than usual at a time.
            .env("OVERLOAD_DELAY", "1d")
            .env("RATE_LIMIT_MAX_REQUESTS", "1000000000")
            .env("RATE_LIMIT_AUTH_MAX_REQUESTS", "1000000")
            .env("JWT_SECRET", "a secret for benchmarks, 32 bytes or more")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        Ok(command)
    }
}

/// The release build of `program`.
pub fn binary(program: &str) -> Result<PathBuf> {
    Ok(paths::programs(true)?.join(program))
}

/// The release build of an example.
pub fn example(name: &str) -> Result<PathBuf> {
    Ok(paths::programs(true)?.join("examples").join(name))
}

pub struct Program {
    child: Child,
    pub port: u16,
    pub metrics_port: u16,
    /// From the start of the process to its first `ready`.
    pub start_up: Duration,
}

impl Program {
    /// Starts `command` on free ports and waits until it is ready. If its output is a pipe, it is read.
    pub async fn start(mut command: Command) -> Result<Self> {
        let (port, metrics_port) = (free_port(), free_port());
        command
            .env("PORT", port.to_string())
            .env("METRICS_PORT", metrics_port.to_string());
        let url = format!("http://127.0.0.1:{metrics_port}/api/health/ready");
        Self::launch(command, port, metrics_port, &url).await
    }

    /// Starts `command`, the bare handler, which answers `path` with the bytes of `file`.
    pub async fn start_bare(mut command: Command, path: &str, file: &Path) -> Result<Self> {
        let port = free_port();
        command.args([&port.to_string(), path]).arg(file);
        let url = format!("http://127.0.0.1:{port}{path}");
        Self::launch(command, port, 0, &url).await
    }

    async fn launch(mut command: Command, port: u16, metrics_port: u16, url: &str) -> Result<Self> {
        let client = reqwest::Client::builder().timeout(READY_LIMIT).build()?;
        let start = Instant::now();
        let mut child = command.spawn().context("cannot start the program")?;
        if let Some(mut output) = child.stdout.take() {
            // Ends with the program; a log that cannot be read shows as lines that it lost.
            tokio::spawn(async move { tokio::io::copy(&mut output, &mut tokio::io::sink()).await });
        }
        let ready = async {
            loop {
                if let Some(status) = child.try_wait()? {
                    bail!("the program ended at once: {status}");
                }
                if let Ok(answer) = client.get(url).send().await
                    && answer.status().is_success()
                {
                    return Ok(start.elapsed());
                }
                sleep(POLL).await;
            }
        };
        let start_up = timeout(READY_LIMIT, ready)
            .await
            .context("the program does not get ready")??;
        Ok(Self {
            child,
            port,
            metrics_port,
            start_up,
        })
    }

    /// What Prometheus would read.
    pub async fn metrics(&self) -> Result<String> {
        let url = format!("http://127.0.0.1:{}/metrics", self.metrics_port);
        Ok(reqwest::get(url).await?.error_for_status()?.text().await?)
    }

    fn pid(&self) -> Result<i32> {
        let id = self.child.id().context("the program has ended")?;
        Ok(i32::try_from(id)?)
    }

    /// Resident memory now, in MB (10⁶ bytes).
    pub fn resident_megabytes(&self) -> Result<f64> {
        megabytes(self.pid()?, "VmRSS:")
    }

    /// The most resident memory that there was so far, in MB (10⁶ bytes).
    pub fn highest_megabytes(&self) -> Result<f64> {
        megabytes(self.pid()?, "VmHWM:")
    }

    /// Processor time of the process so far, in seconds.
    pub fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds(self.pid()?)
    }

    pub async fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.pid()?), Signal::SIGTERM)?;
        let status = self.child.wait().await?;
        ensure!(status.success(), "the program ended with {status}");
        Ok(())
    }
}

/// A process's memory in MB (10⁶ bytes), by its name in `/proc`.
pub fn megabytes(pid: i32, name: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kibibytes: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .with_context(|| format!("no {name}"))?
        .trim()
        .parse()?;
    Ok(kibibytes * 1024.0 / 1e6)
}

/// Processor time of a process so far, in seconds, from `/proc`.
pub fn cpu_seconds(pid: i32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no stat")?;
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<f64>)
        .sum::<Result<f64, _>>()?;
    // USER_HZ is 100 on every Linux that Rust runs on.
    Ok(ticks / 100.0)
}
