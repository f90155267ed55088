//! What the API does besides answering.

use std::{error::Error, time::Duration};

use bharatmart_config::{DatabaseConfig, QueueConfig};
use bharatmart_database::{self as database, Database, MigrateError};
use bharatmart_queue::check_server;
use bharatmart_telemetry::chain;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::cached::Pages;

/// How often gauges are set that nothing else sets.
const GAUGE_INTERVAL: Duration = Duration::from_secs(5);
/// How often a database that was away is asked for its schema.
const SCHEMA_INTERVAL: Duration = Duration::from_secs(1);

/// `DATABASE_URL` is a URL that the driver cannot use. It holds a password, so only the reason is told.
#[derive(Debug, thiserror::Error)]
#[error("DATABASE_URL cannot be used: {0}")]
pub(crate) struct UnusableUrl(String);

/// Sets the pool up; nothing is connected yet.
pub(crate) fn connect(config: &DatabaseConfig, name: &str) -> Result<Database, UnusableUrl> {
    Database::connect(config, name).map_err(|error| {
        // The outermost words are of a database that refused something, but none was asked.
        UnusableUrl(chain(error.source().unwrap_or(&error)))
    })
}

/// The schema of this build, in the database that is served.
pub(crate) struct Schema {
    pub(crate) database: Database,
    /// Where to run the migrations that are missing; `None` leaves that to others.
    pub(crate) migrate: Option<DatabaseConfig>,
}

impl Schema {
    /// Looks whether it is there, after running what is missing if this process is to.
    pub(crate) async fn look(&self) -> Result<(), MigrateError> {
        if let Some(config) = &self.migrate {
            database::migrate(config, |progress| tracing::info!("{progress}")).await?;
        }
        Ok(self.database.check_schema().await?)
    }

    /// Waits for a database that is away, and fails when it comes with another schema.
    pub(crate) async fn wait(self, stop: CancellationToken) -> Result<(), MigrateError> {
        let arrival = async {
            let mut told = None;
            while let Err(error) = self.look().await {
                if !error.is_transient() {
                    return Err(error);
                }
                let reason = chain(&error);
                if told.as_ref() != Some(&reason) {
                    tracing::warn!("waiting for the database: {reason}");
                    told = Some(reason);
                }
                sleep(SCHEMA_INTERVAL).await;
            }
            tracing::info!("the database is there and its schema is current");
            Ok(())
        };
        stop.run_until_cancelled(arrival).await.unwrap_or(Ok(()))
    }
}

/// Says once what is wrong with the queue's Redis. Orders are taken all the same, since their jobs are in the
/// outbox as well; workers refuse to work with it.
pub(crate) async fn look_at_queue(config: QueueConfig) {
    if let Err(error) = check_server(&config).await {
        tracing::error!("{error}");
    }
}

/// Shows how full pool and cache are.
pub(crate) async fn measure(pages: Pages, stop: CancellationToken) {
    let mut ticks = interval(GAUGE_INTERVAL);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        pages.measure();
    }
}
