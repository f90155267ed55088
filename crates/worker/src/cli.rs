//! The command line.

use bharatmart_config::{ConfigError, Parsed, ProcessConfig, WorkerProcessConfig};

use crate::dlq::{self, Dlq};

/// What the program is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Take jobs until told to stop.
    Run(Box<WorkerProcessConfig>),
    /// Do something with the dead letters and end.
    Dlq(Box<Dlq>),
    /// Ask the worker on this port whether it lives.
    Healthcheck(u16),
}

/// The subcommands; `bharatmart-config` adds a flag for every variable.
#[must_use]
pub fn definition() -> clap::Command {
    clap::Command::new("bharatmart-worker")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Does the jobs of the BharatMart shop")
        .subcommand(clap::Command::new("run").about("Take jobs until told to stop (the default)"))
        .subcommand(dlq::definition())
        .subcommand(
            clap::Command::new("healthcheck").about("Exit 0 when the worker on METRICS_PORT lives"),
        )
}

impl Command {
    /// Reads what the subcommand needs, and no more.
    pub fn read(parsed: &Parsed) -> Result<Self, ConfigError> {
        let source = &parsed.source;
        Ok(match parsed.matches.subcommand() {
            Some(("dlq", arguments)) => Self::Dlq(Box::new(Dlq::read(source, arguments)?)),
            Some(("healthcheck", _)) => {
                Self::Healthcheck(ProcessConfig::read_metrics_port(source)?)
            }
            _ => Self::Run(Box::new(WorkerProcessConfig::read(source)?)),
        })
    }
}
