//! Sets up the process's log and its metrics.
//!
//! [`start`] installs both for the whole process, once. Logs go to standard output as JSON lines or as text for people,
//! and besides to a file as JSON when `LOG_FILE` is set; writing happens on threads of its own, and what these cannot
//! keep up with is dropped and counted rather than letting requests wait. Metrics are rendered for Prometheus by
//! [`MetricsHandle::render`]; their names and help texts stand in [`metrics`].

mod errors;
mod json;
mod logs;
pub mod metrics;
mod recorder;
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
    /// The log or the metrics of this process were already started.
    #[error("telemetry is already started: {0}")]
    AlreadyStarted(String),
}

impl TelemetryError {
    /// The exit code of a program that gets no further: [`ConfigError::EXIT_CODE`] where a setting is at fault.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Filter { .. } | Self::LogFile { .. } => ConfigError::EXIT_CODE,
            Self::AlreadyStarted(_) => 1,
        }
    }
}

/// The running telemetry. Dropping it writes out what is still buffered.
#[must_use = "dropping it ends the log"]
pub struct Telemetry {
    metrics: MetricsHandle,
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

/// Starts logs and metrics. To be called once in a process, inside a tokio runtime.
///
/// # Errors
///
/// See [`TelemetryError`].
pub fn start(config: &TelemetryConfig) -> Result<Telemetry, TelemetryError> {
    let logs = logs::start(config)?;
    let metrics = recorder::start(config.enable_metrics, logs.dropped_lines())?;
    Ok(Telemetry {
        _upkeep: recorder::Upkeep::start(&metrics),
        metrics,
        _logs: logs,
    })
}
