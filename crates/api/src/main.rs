//! Entry point of `bharatmart-api`.

use std::process::ExitCode;

use bharatmart_api::cli::{self, Command};
use bharatmart_config::{ConfigError, Process, ProcessConfig, Source, TelemetryConfig};
use bharatmart_lifecycle::Lifecycle;
use bharatmart_telemetry::MetricsHandle;

#[tokio::main]
async fn main() -> ExitCode {
    // Two providers are compiled in, so rustls would not choose. Fails only when one is chosen already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (command, source) = match read() {
        Ok(read) => read,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(ConfigError::EXIT_CODE);
        }
    };
    match command {
        Command::Serve { config, migrate } => {
            let (telemetry, process) = (config.telemetry.clone(), config.process.clone());
            live(&telemetry, &process, &source, async |metrics, lifecycle| {
                bharatmart_api::run(*config, migrate, metrics, lifecycle).await
            })
            .await
        }
        Command::Gateway(config) => {
            let (telemetry, process) = (config.telemetry.clone(), config.process.clone());
            live(&telemetry, &process, &source, async |metrics, lifecycle| {
                bharatmart_api::run_gateway(*config, metrics, lifecycle).await
            })
            .await
        }
        Command::Task(task) => task.run().await,
    }
}

fn read() -> Result<(Command, Source), ConfigError> {
    let parsed = bharatmart_config::parse(cli::definition(), Process::Api)?;
    Ok((Command::read(&parsed)?, parsed.source))
}

/// Runs `server` between the start and the end of telemetry.
async fn live(
    telemetry: &TelemetryConfig,
    process: &ProcessConfig,
    source: &Source,
    server: impl AsyncFnOnce(MetricsHandle, Lifecycle) -> ExitCode,
) -> ExitCode {
    let telemetry = match bharatmart_telemetry::start(telemetry) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(error.exit_code());
        }
    };
    for warning in source.take_warnings() {
        tracing::warn!("{warning}");
    }
    let code = match Lifecycle::new(process.shutdown_timeout, process.shutdown_drain_delay) {
        Ok(lifecycle) => server(telemetry.metrics(), lifecycle).await,
        Err(error) => {
            tracing::error!(%error, "signals cannot be received");
            ExitCode::FAILURE
        }
    };
    telemetry.shutdown();
    code
}
