//! Entry point of `bharatmart-worker`.

use std::{process::ExitCode, time::Duration};

use bharatmart_config::{ConfigError, Process, ProcessConfig, Source, WorkerProcessConfig};
use bharatmart_lifecycle::{Lifecycle, healthcheck};
use clap::Command;

#[tokio::main]
async fn main() -> ExitCode {
    let command = Command::new("bharatmart-worker")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Does the jobs of the BharatMart shop")
        .subcommand(Command::new("run").about("Take jobs until told to stop (the default)"))
        .subcommand(
            Command::new("healthcheck").about("Exit 0 when the worker on METRICS_PORT lives"),
        );
    let parsed = match bharatmart_config::parse(command, Process::Worker) {
        Ok(parsed) => parsed,
        Err(error) => return refuse(&error),
    };
    let result = match parsed.matches.subcommand_name() {
        Some("healthcheck") => match ProcessConfig::read_metrics_port(&parsed.source) {
            Ok(port) => Ok(healthcheck(port).await),
            Err(error) => Err(error),
        },
        _ => run(&parsed.source).await,
    };
    result.unwrap_or_else(|error| refuse(&error))
}

fn refuse(error: &ConfigError) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(ConfigError::EXIT_CODE)
}

async fn run(source: &Source) -> Result<ExitCode, ConfigError> {
    let config = WorkerProcessConfig::read(source)?;
    let telemetry = match bharatmart_telemetry::start(&config.telemetry) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("{error}");
            return Ok(ExitCode::FAILURE);
        }
    };
    for warning in source.take_warnings() {
        tracing::warn!("{warning}");
    }
    let code = start(config, &telemetry).await.unwrap_or_else(|error| {
        tracing::error!("{error}");
        ExitCode::FAILURE
    });
    telemetry.shutdown();
    Ok(code)
}

async fn start(
    config: WorkerProcessConfig,
    telemetry: &bharatmart_telemetry::Telemetry,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // No load balancer has to notice that a worker stops.
    let lifecycle = Lifecycle::new(config.process.shutdown_timeout, Duration::ZERO)?;
    bharatmart_worker::run(config, telemetry.metrics(), &lifecycle).await?;
    Ok(lifecycle.run().await)
}
