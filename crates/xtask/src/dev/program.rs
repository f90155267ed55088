use std::{io::Read, path::Path, process::ExitStatus, time::Duration};

use anyhow::{Context, Result, bail};
use bharatmart_test_support::{Child, Launch, Output, wait_until};
use nix::sys::signal::Signal;

use crate::console::{Log, coloured, line};

/// The programs give up their own drain after 30 s.
const STOP_LIMIT: Duration = Duration::from_secs(40);
const READY_LIMIT: Duration = Duration::from_mins(1);

/// One of the shop's programs, running, with its log.
pub struct Program {
    name: String,
    child: Child,
    log: Log,
    metrics_port: u16,
    /// Whether its end has been reported already.
    crashed: bool,
}

impl Program {
    /// Starts `program`; its log lines carry `name` in `colour`.
    pub fn start(
        name: &str,
        colour: u8,
        program: &Path,
        folder: &Path,
        environment: &[(&str, String)],
        metrics_port: u16,
    ) -> Result<Self> {
        let mut launch = Launch::new(name, program, Output::Piped)
            // The shell may be set up for another shop, and so may a `.env` in the checkout.
            .clear_environment()
            .directory(folder)
            .env("METRICS_PORT", metrics_port.to_string());
        for (name, value) in environment {
            launch = launch.env(*name, value);
        }
        let mut child = launch.spawn()?;
        let (output, errors) = child.take_output().context("the output is not piped")?;
        let streams: Vec<Box<dyn Read + Send>> = vec![Box::new(output), Box::new(errors)];
        let prefix = coloured(&format!("{name:>14} |"), colour);
        Ok(Self {
            name: name.to_owned(),
            child,
            log: Log::follow(prefix, streams),
            metrics_port,
            crashed: false,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn metrics_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.metrics_port)
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&mut self, http: &reqwest::Client) -> Result<()> {
        let url = format!("{}/api/health/ready", self.metrics_url());
        let what = format!("{} to be ready", self.name);
        let child = &mut self.child;
        let mut ended = None;
        let waited = wait_until(&what, READY_LIMIT, async || {
            ended = child.try_wait()?;
            let answer = http.get(&url).send().await;
            Ok(ended.is_some() || answer.is_ok_and(|answer| answer.status().is_success()))
        })
        .await;
        if let Some(status) = ended {
            return Err(self.crashed(status));
        }
        if waited.is_err() {
            self.show_tail(20);
        }
        waited
    }

    /// An error when it has ended, which nobody asked for.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => Err(self.crashed(status)),
            None => Ok(()),
        }
    }

    /// Shows its last lines and says that it ended.
    fn crashed(&mut self, status: ExitStatus) -> anyhow::Error {
        self.crashed = true;
        self.log.finish();
        self.show_tail(20);
        anyhow::anyhow!("{} ended by itself ({status})", self.name)
    }

    /// Shows its log from its beginning, and as it goes on.
    pub fn show_log(&self) {
        self.log.show();
    }

    pub fn show_tail(&self, count: usize) {
        line(format!("--- the last lines of {}", self.name));
        for text in self.log.tail(count) {
            line(text);
        }
        line("---");
    }

    /// Holds it as it is, connections and all.
    pub fn pause(&mut self) -> Result<()> {
        self.child.signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    pub fn resume(&mut self) -> Result<()> {
        self.child.signal(Signal::SIGCONT)
    }

    /// Asks it to stop.
    pub fn terminate(&mut self) -> Result<()> {
        self.child.signal(Signal::SIGTERM)?;
        // While it is held it cannot be asked.
        self.resume()
    }

    /// Waits for its end; an exit code other than 0 is an error, unless it crashed before.
    pub async fn stopped(&mut self) -> Result<()> {
        let status = self.child.wait(STOP_LIMIT).await?;
        self.log.finish();
        if !status.success() && !self.crashed {
            self.show_tail(20);
            bail!("{} did not stop cleanly ({status})", self.name);
        }
        Ok(())
    }
}
