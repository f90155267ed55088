//! Private instances of the servers that the shop stands on.
//!
//! Each listens on a port of 127.0.0.1 only, answers when `start` returns, keeps its data in a
//! folder of its own, and ends with its owner: when it is dropped and when this process dies.

mod certificate;
mod cluster;
mod haproxy;
mod initdb;
mod leftover;
mod monitor;
mod pgbouncer;
mod postgres;
mod processes;
mod question;
mod redis;
mod replication;
mod sentinel;
mod smtp;

pub use cluster::RedisCluster;
pub use haproxy::HaProxy;
pub use monitor::Monitor;
pub use pgbouncer::{PgBouncer, PgBouncerOptions, PoolMode};
pub use postgres::{Postgres, PostgresOptions};
pub use redis::{RedisOptions, RedisServer, WHOLE_DATABASE_COMMANDS};
pub use replication::{Replication, StandbyOptions};
pub use sentinel::SentinelSet;
pub use smtp::{Refusals, SmtpServer};

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    child::Child,
    install::Requirement,
    scratch::{ScratchDir, create_private},
    wait::wait_until,
};

/// How long a server may take until it answers; the machine may be busy compiling.
const START_LIMIT: Duration = Duration::from_mins(1);
/// How long a server may take to stop when asked.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// For masters of replicas. A full copy would wait for five seconds for a second replica, and a
/// replica confirm it only with the next ping, which comes every ten seconds.
const PROMPT_REPLICAS: [&str; 4] = [
    "--repl-diskless-sync-delay",
    "0",
    "--repl-ping-replica-period",
    "1",
];

/// Where a server keeps its data.
#[derive(Debug)]
enum DataDir {
    Temporary(ScratchDir),
    Kept(PathBuf),
}

impl DataDir {
    fn new(kept: Option<PathBuf>) -> Result<Self> {
        match kept {
            Some(path) => {
                create_private(&path)?;
                Ok(Self::Kept(path))
            }
            None => Ok(Self::Temporary(ScratchDir::create()?)),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(scratch) => scratch.path(),
            Self::Kept(path) => path,
        }
    }
}

/// Waits until `answers` is true, and fails early, with its log, when the server ends instead.
async fn wait_until_answers(
    child: &mut Child,
    mut answers: impl AsyncFnMut() -> bool,
) -> Result<()> {
    let what = format!("{} to answer", child.name());
    let waited = wait_until(&what, START_LIMIT, async || {
        if let Some(status) = child.try_wait()? {
            bail!("{} ended with {status}", child.name());
        }
        Ok(answers().await)
    })
    .await;
    waited.with_context(|| child.log_tail(10))
}

/// Connects to `port`, sends `question`, and says whether the answer begins with `expected`.
fn greets(port: u16, question: &[u8], expected: &[u8]) -> bool {
    let limit = Duration::from_millis(500);
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(question)?;
        let mut answer = vec![0; expected.len()];
        stream.read_exact(&mut answer)?;
        Ok(answer == expected)
    };
    ask().unwrap_or(false)
}

fn required<T>(found: Option<T>, requirement: Requirement) -> Result<T> {
    found.with_context(|| format!("{} is not installed", requirement.name()))
}
