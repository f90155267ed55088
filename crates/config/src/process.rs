//! The process itself.
//!
//! - `ENVIRONMENT` (alias `NODE_ENV`)
//! - `HOST`
//! - `METRICS_PORT`
//! - `SHUTDOWN_TIMEOUT`
//! - `SHUTDOWN_DRAIN_DELAY`

use std::net::IpAddr;
use std::time::Duration;

use crate::error::ConfigError;
use crate::parse;
use crate::reader::Reader;
use crate::source::Source;
use crate::variable::{Default, Table, Variable};

pub(crate) const ENVIRONMENT: Variable = Variable::new(
    "ENVIRONMENT",
    "Where this runs; in production no secret has a default",
    "development or production",
)
.aliases(&["NODE_ENV"])
.default("development");
pub(crate) const HOST: Variable =
    Variable::new("HOST", "Address to listen on", "an IPv4 or IPv6 address").default("0.0.0.0");
const METRICS_PORT: Variable = Variable::new(
    "METRICS_PORT",
    "Port of /metrics and of the probes",
    "a port number from 0 to 65535 (0 lets the system choose)",
)
.default("9090");
const SHUTDOWN_TIMEOUT: Variable = Variable::new(
    "SHUTDOWN_TIMEOUT",
    "Time between SIGTERM and the end of the process, at most",
    "milliseconds above 0, or a duration such as 30s",
)
.default("30000");
const SHUTDOWN_DRAIN_DELAY: Variable = Variable::new(
    "SHUTDOWN_DRAIN_DELAY",
    "How long the API keeps serving after SIGTERM while load balancers notice; part of SHUTDOWN_TIMEOUT, and \
     when not set at most half of it",
    "milliseconds, or a duration such as 5s, less than SHUTDOWN_TIMEOUT",
)
.default("5000");

pub(crate) const TABLE: Table = Table {
    title: "Process",
    variables: &[
        ENVIRONMENT,
        HOST,
        METRICS_PORT,
        SHUTDOWN_TIMEOUT,
        SHUTDOWN_DRAIN_DELAY,
    ],
};

/// Where the process runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Environment {
    /// A developer's machine: convenient defaults.
    Development,
    /// Real customers: nothing secret has a default.
    Production,
}

impl Environment {
    /// The value of `ENVIRONMENT`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Production => "production",
        }
    }

    pub(crate) fn parse(value: &str) -> Option<Self> {
        match value {
            "development" => Some(Self::Development),
            "production" => Some(Self::Production),
            _ => None,
        }
    }

    /// What the source says, or `None` when it says something that is not allowed.
    pub(crate) fn of(source: &Source) -> Option<Self> {
        let default = match ENVIRONMENT.default {
            Default::Value(value) => value,
            Default::Development(_) | Default::Required | Default::Unset(_) => "",
        };
        Self::parse(source.get(&ENVIRONMENT).unwrap_or(default))
    }
}

/// Addresses and shutdown of a process.
#[derive(Clone, Debug)]
pub struct ProcessConfig {
    /// Where the process runs.
    pub environment: Environment,
    /// The address that every port of the process listens on.
    pub host: IpAddr,
    /// The port of `/metrics` and of the probes.
    pub metrics_port: u16,
    /// From the signal to the end, at most.
    pub shutdown_timeout: Duration,
    /// How long the API keeps serving after the signal. Less than `shutdown_timeout`.
    pub shutdown_drain_delay: Duration,
}

impl ProcessConfig {
    /// Reads the variables that the module's doc lists.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let environment = reader.required(&ENVIRONMENT, Environment::parse);
        let host = reader.required(&HOST, parse::ip);
        let metrics_port = reader.required(&METRICS_PORT, parse::port);
        let shutdown_timeout = reader.required(&SHUTDOWN_TIMEOUT, parse::positive_milliseconds);
        let shutdown_drain_delay = reader.required(&SHUTDOWN_DRAIN_DELAY, parse::milliseconds);
        let delay_is_given = source.get(&SHUTDOWN_DRAIN_DELAY).is_some();
        if let (Some(timeout), Some(delay)) = (shutdown_timeout, shutdown_drain_delay)
            && delay_is_given
            && delay >= timeout
        {
            let limit = format!(
                "less than SHUTDOWN_TIMEOUT, which is {} ms",
                timeout.as_millis()
            );
            reader.refuse(&SHUTDOWN_DRAIN_DELAY, limit);
        }
        reader.finish(|| {
            let shutdown_timeout = shutdown_timeout?;
            // Whoever shortens the whole shutdown alone keeps at least half of it for finishing work.
            let longest_delay = if delay_is_given {
                shutdown_timeout
            } else {
                shutdown_timeout / 2
            };
            Some(Self {
                environment: environment?,
                host: host?,
                metrics_port: metrics_port?,
                shutdown_timeout,
                shutdown_drain_delay: shutdown_drain_delay?.min(longest_delay),
            })
        })
    }

    /// Reads `METRICS_PORT` alone, for the `healthcheck` subcommand, which must work whatever else is wrong.
    pub fn read_metrics_port(source: &Source) -> Result<u16, ConfigError> {
        let mut reader = Reader::new(source);
        let port = reader.required(&METRICS_PORT, parse::port);
        reader.finish(|| port)
    }
}
