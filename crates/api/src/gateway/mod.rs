//! `bharatmart-api gateway`: the sandbox as a payment gateway of its own, with which a shop speaks as with any other.

mod reports;
mod routes;

use std::{process::ExitCode, sync::Arc, time::Duration};

use bharatmart_commerce::SandboxGateway;
use bharatmart_config::GatewayProcessConfig;
use bharatmart_domain::{Clock, SystemClock};
use bharatmart_lifecycle::{Health, HttpOptions, Lifecycle, serve_admin, serve_http};
use bharatmart_telemetry::MetricsHandle;

use crate::{
    background::{self, Schema},
    serve::{StartError, VERSION, first_look, listen, watch_database},
};
use reports::Reporter;

/// More than any shop needs.
const HTTP: HttpOptions = HttpOptions {
    max_connections: 1000,
    keep_alive_timeout: Duration::from_secs(65),
    header_timeout: Duration::from_secs(10),
    write_timeout: Duration::from_secs(20),
    http2: false,
};

/// Serves until the lifecycle ends; the code is for the process.
pub async fn run_gateway(
    config: GatewayProcessConfig,
    metrics: MetricsHandle,
    lifecycle: Lifecycle,
) -> ExitCode {
    match start(config, metrics, &lifecycle).await {
        Ok(()) => lifecycle.run().await,
        Err(error) => error.report(),
    }
}

async fn start(
    config: GatewayProcessConfig,
    metrics: MetricsHandle,
    lifecycle: &Lifecycle,
) -> Result<(), StartError> {
    let host = config.process.host;
    let admin = listen(host, config.process.metrics_port)?;
    let http = listen(host, config.gateway.port)?;
    let health = Health::new(VERSION, lifecycle);
    serve_admin(admin, &health, move || metrics.render(), lifecycle);

    let database = background::connect(&config.database, "bharatmart-gateway")?;
    let schema = Schema {
        database: database.clone(),
        migrate: None,
    };
    let Some(is_current) = lifecycle.during_start(first_look(&schema)).await else {
        return Ok(());
    };
    if !is_current? {
        tracing::warn!("the database is not available; starting without, and trying on");
        lifecycle.spawn("schema", schema.wait(lifecycle.stopping()));
    }
    watch_database(&health, &database);

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut gateway = SandboxGateway::new(database.clone(), config.gateway.failure_rate);
    if let Some((url, secret)) = config.gateway.webhooks {
        gateway = gateway.with_reports(clock.clone());
        let reporter = Reporter::new(url, secret, database, gateway.clone(), clock);
        lifecycle.spawn("reports", reporter.run(lifecycle.stopping()));
    }
    let port = http
        .local_addr()
        .map_or(config.gateway.port, |address| address.port());
    let router = routes::router(gateway, &config.gateway.api_key);
    serve_http(http, router, HTTP, lifecycle);
    health.mark_started();
    tracing::info!(%host, port, version = VERSION, "the sandbox gateway serves; no money moves");
    Ok(())
}
