//! Logs, metrics and traces.
//!
//! - `LOG_LEVEL`
//! - `LOG_FORMAT`
//! - `LOG_FILE`
//! - `ENABLE_METRICS`
//! - `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG`, as OpenTelemetry means them
//!   (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>)
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
const OTEL_EXPORTER_OTLP_ENDPOINT: Variable = Variable::new(
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "Collector that traces are sent to, with OTLP over HTTP at /v1/traces; a trace has the spans that LOG_LEVEL lets through",
    "an origin such as http://collector:4318",
)
.unset("no traces are sent");
const OTEL_SERVICE_NAME: Variable = Variable::new(
    "OTEL_SERVICE_NAME",
    "Name of this program in the log and in traces",
    "any text",
)
.unset("bharatmart-api or bharatmart-worker");
const OTEL_TRACES_SAMPLER: Variable = Variable::new(
    "OTEL_TRACES_SAMPLER",
    "Which traces are sent; parentbased_… follows the caller's choice where there is one",
    "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off or parentbased_traceidratio",
)
.default("parentbased_always_on");
const OTEL_TRACES_SAMPLER_ARG: Variable = Variable::new(
    "OTEL_TRACES_SAMPLER_ARG",
    "Share of traces that the samplers …traceidratio send",
    "a number from 0 to 1",
)
.default("1");

pub(crate) const TABLE: Table = Table {
    title: "Logs, metrics and traces",
    variables: &[
        LOG_LEVEL,
        LOG_FORMAT,
        LOG_FILE,
        ENABLE_METRICS,
        OTEL_EXPORTER_OTLP_ENDPOINT,
        OTEL_SERVICE_NAME,
        OTEL_TRACES_SAMPLER,
        OTEL_TRACES_SAMPLER_ARG,
    ],
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

/// Where traces go, and which.
#[derive(Clone, Debug, PartialEq)]
pub struct TracesConfig {
    /// The collector's origin.
    pub endpoint: String,
    /// The share of the traces that begin here.
    pub share: f64,
    /// Whether a caller's own choice is followed.
    pub follows_caller: bool,
}

/// Logs, metrics and traces.
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
    /// Where traces go, if anywhere.
    pub traces: Option<TracesConfig>,
    /// The name of this program in every line of the log and in every trace.
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
        let endpoint = reader.optional(&OTEL_EXPORTER_OTLP_ENDPOINT, parse::origin);
        let sampler = reader.required(&OTEL_TRACES_SAMPLER, sampler);
        let share = reader.required(&OTEL_TRACES_SAMPLER_ARG, parse::share);
        let own_name = reader.optional(&OTEL_SERVICE_NAME, parse::text);
        let service_name = match process {
            Process::Api => "bharatmart-api",
            Process::Worker => "bharatmart-worker",
        };
        reader.finish(|| {
            let (follows_caller, fixed) = sampler?;
            let share = fixed.unwrap_or(share?);
            Some(Self {
                log_level: log_level?,
                log_format: log_format?,
                log_file: log_file?,
                enable_metrics: enable_metrics?,
                traces: endpoint?.map(|endpoint| TracesConfig {
                    endpoint,
                    share,
                    follows_caller,
                }),
                service_name: own_name?.unwrap_or_else(|| service_name.to_owned()),
                environment: environment?,
            })
        })
    }
}

/// Whether a caller's choice is followed, and the share that the sampler's name says.
fn sampler(value: &str) -> Option<(bool, Option<f64>)> {
    let (follows_caller, own) = match value.strip_prefix("parentbased_") {
        Some(own) => (true, own),
        None => (false, value),
    };
    let share = match own {
        "always_on" => Some(1.0),
        "always_off" => Some(0.0),
        "traceidratio" => None,
        _ => return None,
    };
    Some((follows_caller, share))
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
    use super::{log_level, sampler};

    #[test]
    fn samplers_have_the_names_of_opentelemetry() {
        assert_eq!(sampler("always_off"), Some((false, Some(0.0))));
        assert_eq!(sampler("parentbased_always_on"), Some((true, Some(1.0))));
        assert_eq!(sampler("parentbased_traceidratio"), Some((true, None)));
        for bad in ["", "parentbased_", "jaeger_remote", "Always_On"] {
            assert_eq!(sampler(bad), None, "{bad}");
        }
    }

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
