//! Logs and metrics.
//!
//! - `LOG_LEVEL`
//! - `LOG_FORMAT`
//! - `LOG_FILE`
//! - `ENABLE_METRICS`
//! - `ENVIRONMENT` (with the process)

use std::path::PathBuf;

use crate::Process;
use crate::error::ConfigError;
use crate::parse;
use crate::process::{ENVIRONMENT, Environment};
use crate::reader::Reader;
use crate::source::Source;
use crate::variable::{Table, Variable};

const LOG_LEVEL: Variable = Variable::new(
    "LOG_LEVEL",
    "What is logged",
    "error, warn, info, debug, trace or off, perhaps with single targets such as info,sqlx=debug",
)
.default("info");
const LOG_FORMAT: Variable = Variable::new(
    "LOG_FORMAT",
    "Form of the log on standard output",
    "json or pretty",
)
.default("json");
const LOG_FILE: Variable = Variable::new(
    "LOG_FILE",
    "File to append the log to, as JSON, besides standard output",
    "a file",
)
.unset("no file");
const ENABLE_METRICS: Variable = Variable::new(
    "ENABLE_METRICS",
    "Whether metrics are collected",
    "true or false",
)
.default("true");

pub(crate) const TABLE: Table = Table {
    title: "Logs and metrics",
    variables: &[LOG_LEVEL, LOG_FORMAT, LOG_FILE, ENABLE_METRICS],
};

/// The form of the log on standard output.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// Coloured text, for people.
    Pretty,
}

impl LogFormat {
    fn parse(value: &str) -> Option<Self> {
        match value {
            "json" => Some(Self::Json),
            "pretty" => Some(Self::Pretty),
            _ => None,
        }
    }
}

/// Logs and metrics.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// A level, perhaps with directives for single targets.
    pub log_level: String,
    /// The form of the log on standard output.
    pub log_format: LogFormat,
    /// A file to append the log to.
    pub log_file: Option<PathBuf>,
    /// Whether metrics are collected.
    pub enable_metrics: bool,
    /// The name of this program in every line of the log.
    pub service_name: String,
    /// Where the process runs.
    pub environment: Environment,
}

impl TelemetryConfig {
    /// Reads the variables that the module's doc lists.
    pub fn read(source: &Source, process: Process) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let log_level = reader.required(&LOG_LEVEL, log_level);
        let log_format = reader.required(&LOG_FORMAT, LogFormat::parse);
        let log_file = reader.optional(&LOG_FILE, parse::path);
        let enable_metrics = reader.required(&ENABLE_METRICS, parse::boolean);
        let environment = reader.required(&ENVIRONMENT, Environment::parse);
        let service_name = match process {
            Process::Api => "bharatmart-api",
            Process::Worker => "bharatmart-worker",
        };
        reader.finish(|| {
            Some(Self {
                log_level: log_level?,
                log_format: log_format?,
                log_file: log_file?,
                enable_metrics: enable_metrics?,
                service_name: service_name.to_owned(),
                environment: environment?,
            })
        })
    }
}

/// The log's own parser takes a misspelt level for the name of a target and would log nothing, so levels are checked
/// here. Directives about spans, which contain brackets, are left to it.
fn log_level(value: &str) -> Option<String> {
    let known = |directive: &str| {
        let level = directive
            .rsplit_once('=')
            .map_or(directive, |(_, level)| level);
        directive.contains('[')
            || ["off", "error", "warn", "info", "debug", "trace"]
                .contains(&level.to_ascii_lowercase().as_str())
    };
    value
        .split(',')
        .all(|directive| known(directive.trim()))
        .then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::log_level;

    #[test]
    fn a_misspelt_level_is_refused() {
        for good in [
            "info",
            "INFO",
            "info,sqlx=debug",
            "bharatmart_api=trace",
            "info,[request{id=1}]=debug",
        ] {
            assert!(log_level(good).is_some(), "{good}");
        }
        for bad in ["verbose", "info,", "info,sqlx", "sqlx=loud"] {
            assert!(log_level(bad).is_none(), "{bad}");
        }
    }
}
