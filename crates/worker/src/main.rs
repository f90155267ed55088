//! Entry point of `bharatmart-worker`.

use std::{process::ExitCode, time::Duration};

use bharatmart_config::{ConfigError, Process, Source, WorkerProcessConfig};
use bharatmart_lifecycle::{Lifecycle, healthcheck};
use bharatmart_worker::cli::{self, Command};

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
        Command::Run(config) => run(*config, &source).await,
        Command::Dlq(dlq) => dlq.run().await,
        Command::Healthcheck(port) => healthcheck(port).await,
    }
}

fn read() -> Result<(Command, Source), ConfigError> {
    let parsed = bharatmart_config::parse(cli::definition(), Process::Worker)?;
    Ok((Command::read(&parsed)?, parsed.source))
}

async fn run(config: WorkerProcessConfig, source: &Source) -> ExitCode {
    let telemetry = match bharatmart_telemetry::start(&config.telemetry) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(error.exit_code());
        }
    };
    for warning in source.take_warnings() {
        tracing::warn!("{warning}");
    }
    // No load balancer has to notice that a worker stops.
    let code = match Lifecycle::new(config.process.shutdown_timeout, Duration::ZERO) {
        Ok(lifecycle) => bharatmart_worker::run(config, telemetry.metrics(), lifecycle).await,
        Err(error) => {
            tracing::error!(%error, "signals cannot be received");
            ExitCode::FAILURE
        }
    };
    telemetry.shutdown();
    code
}
