//! Sets up the process's log, its metrics and its traces.
//!
//! [`start`] installs all three for the whole process, once. Logs go to standard output as JSON lines or as text for people,
//! and besides to a file as JSON when `LOG_FILE` is set; writing happens on threads of its own, and what these cannot
//! keep up with is dropped and counted rather than letting requests wait. Metrics are rendered for Prometheus by
//! [`MetricsHandle::render`]; their names and help texts stand in [`metrics`]. Spans go to a collector when
//! `OTEL_EXPORTER_OTLP_ENDPOINT` is set.

mod errors;
mod json;
mod logs;
pub mod metrics;
mod recorder;
mod spans;
pub mod trace;

use bharatmart_config::{ConfigError, TelemetryConfig};

pub use errors::chain;
pub use recorder::MetricsHandle;

/// Why telemetry could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `LOG_LEVEL` has a directive that the filter does not understand.
    #[error("LOG_LEVEL={level:?} is not allowed: {source}")]
    Filter {
        /// The whole value.
        level: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// `LOG_FILE` cannot be opened.
    #[error("LOG_FILE={path:?} cannot be written: {source}")]
    LogFile {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Spans cannot be sent to `OTEL_EXPORTER_OTLP_ENDPOINT`.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT={endpoint:?} cannot be used: {source}")]
    Traces {
        /// The collector.
        endpoint: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The log or the metrics of this process were already started.
    #[error("telemetry is already started: {0}")]
    AlreadyStarted(String),
}

impl TelemetryError {
    /// The exit code of a program that gets no further: [`ConfigError::EXIT_CODE`] where a setting is at fault.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Filter { .. } | Self::LogFile { .. } | Self::Traces { .. } => {
                ConfigError::EXIT_CODE
            }
            Self::AlreadyStarted(_) => 1,
        }
    }
}

/// The running telemetry. Dropping it writes out what is still buffered.
#[must_use = "dropping it ends the log"]
pub struct Telemetry {
    metrics: MetricsHandle,
    // Before the log, to which it tells what was not sent.
    _spans: Option<spans::Spans>,
    _upkeep: recorder::Upkeep,
    _logs: logs::Guards,
}

impl Telemetry {
    /// A handle for the `/metrics` route.
    #[must_use]
    pub fn metrics(&self) -> MetricsHandle {
        self.metrics.clone()
    }

    /// Writes out what is still buffered.
    pub fn shutdown(self) {
        drop(self);
    }
}

/// Starts logs, metrics and traces. To be called once in a process, inside a tokio runtime.
///
/// # Errors
///
/// See [`TelemetryError`].
pub fn start(config: &TelemetryConfig) -> Result<Telemetry, TelemetryError> {
    let spans = spans(config)?;
    let logs = logs::start(config, spans.as_ref())?;
    let metrics = recorder::start(config.enable_metrics, logs.dropped_lines())?;
    Ok(Telemetry {
        _upkeep: recorder::Upkeep::start(&metrics),
        metrics,
        _spans: spans,
        _logs: logs,
    })
}

fn spans(config: &TelemetryConfig) -> Result<Option<spans::Spans>, TelemetryError> {
    let Some(traces) = &config.traces else {
        return Ok(None);
    };
    spans::Spans::start(config, traces)
        .map(Some)
        .map_err(|source| TelemetryError::Traces {
            endpoint: traces.endpoint.clone(),
            source,
        })
}
