//! Entry point of `bharatmart-api`.

use std::process::ExitCode;

use bharatmart_api::cli::{self, Command};
use bharatmart_config::{ApiConfig, ConfigError, Process, Source};
use bharatmart_lifecycle::Lifecycle;

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
        Command::Serve { config, migrate } => serve(*config, migrate, &source).await,
        Command::Task(task) => task.run().await,
    }
}

fn read() -> Result<(Command, Source), ConfigError> {
    let parsed = bharatmart_config::parse(cli::definition(), Process::Api)?;
    Ok((Command::read(&parsed)?, parsed.source))
}

async fn serve(config: ApiConfig, migrate: bool, source: &Source) -> ExitCode {
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
    let times = (
        config.process.shutdown_timeout,
        config.process.shutdown_drain_delay,
    );
    let code = match Lifecycle::new(times.0, times.1) {
        Ok(lifecycle) => bharatmart_api::run(config, migrate, telemetry.metrics(), lifecycle).await,
        Err(error) => {
            tracing::error!(%error, "signals cannot be received");
            ExitCode::FAILURE
        }
    };
    telemetry.shutdown();
    code
}
