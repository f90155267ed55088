//! wrk, the load generator that costs less than what it measures.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::install::{self, Requirement};
use tokio::process::Command;

use super::processors::Processors;

const SCRIPT: &str = include_str!("wrk.lua");
const THREADS: u64 = 2;
pub const CONNECTIONS: u64 = 64;

/// A load that asks for some paths in turn. The more it asks for, the more it costs to ask, so only
/// loads of as many paths compare.
pub struct Load {
    first: String,
    script: PathBuf,
}

impl Load {
    pub fn new(name: &str, paths: &[String]) -> Result<Self> {
        let [first, rest @ ..] = paths else {
            anyhow::bail!("nothing to ask for");
        };
        // wrk itself is quicker without a script that is asked for every request.
        let listed: Vec<_> = match rest {
            [] => Vec::new(),
            _ => paths.iter().map(|path| format!("{path:?}")).collect(),
        };
        let script = SCRIPT
            .replace("PATHS", &listed.join(", "))
            .replace("THREADS", &THREADS.to_string());
        let file = format!("bharatmart-{}-{name}.lua", std::process::id());
        let load = Self {
            first: first.clone(),
            script: std::env::temp_dir().join(file),
        };
        fs::write(&load.script, script)?;
        Ok(load)
    }

    /// Loads the server on `port` for `length`. Any answer but 2xx is an error.
    pub async fn run(&self, port: u16, length: Duration) -> Result<Report> {
        self.run_with(Command::new(wrk()?), port, length).await
    }

    /// As [`Load::run`] does, from processors of its own.
    pub async fn run_beside(
        &self,
        processors: &Processors,
        port: u16,
        length: Duration,
    ) -> Result<Report> {
        let command = processors.for_load(&wrk()?);
        self.run_with(command, port, length).await
    }

    async fn run_with(&self, mut command: Command, port: u16, length: Duration) -> Result<Report> {
        let output = command
            .arg("--script")
            .arg(&self.script)
            .arg(format!("--threads={THREADS}"))
            .arg(format!("--connections={CONNECTIONS}"))
            .arg(format!("--duration={}s", length.as_secs()))
            .arg(format!("http://127.0.0.1:{port}{}", self.first))
            .kill_on_drop(true)
            .output()
            .await?;
        let text = String::from_utf8_lossy(&output.stdout);
        let result = text.lines().find_map(|line| line.strip_prefix("RESULT "));
        let numbers = result
            .with_context(|| format!("wrk: {text}{}", String::from_utf8_lossy(&output.stderr)))?
            .split(' ')
            .map(str::parse)
            .collect::<Result<Vec<u64>, _>>()?;
        let [done, microseconds, failed] = numbers[..] else {
            anyhow::bail!("wrk answers {numbers:?}");
        };
        ensure!(failed == 0, "{failed} of {done} requests failed");
        Ok(Report {
            done,
            elapsed: Duration::from_micros(microseconds),
        })
    }
}

fn wrk() -> Result<PathBuf> {
    install::find_program("wrk")
        .with_context(|| format!("{} is not installed", Requirement::Wrk.name()))
}

impl Drop for Load {
    fn drop(&mut self) {
        // A file that is left in the temporary folder is no reason to fail.
        let _ = fs::remove_file(&self.script);
    }
}

/// What a load did.
pub struct Report {
    pub done: u64,
    elapsed: Duration,
}

impl Report {
    /// Answers a second.
    pub fn rate(&self) -> f64 {
        super::to_f64(self.done) / self.elapsed.as_secs_f64()
    }
}
