//! Puts the worker's parts together.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bharatmart_commerce::{Gateway, Shop};
use bharatmart_config::{WorkerProcessConfig, WorkerType};
use bharatmart_database::{Database, SchemaState};
use bharatmart_domain::{Clock, SystemClock};
use bharatmart_lifecycle::{Health, Importance, Lifecycle, serve_admin};
use bharatmart_queue::{JobQueues, QueueName, QueueWorker, Relay, WorkerOptions};
use bharatmart_telemetry::{MetricsHandle, metrics::DATABASE_POOL_CONNECTIONS};
use metrics::gauge;
use tokio::{net::TcpListener, time::interval};

use crate::{handlers, mailer::Mailer};

/// How often the dependencies are asked whether they answer.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often depths and pools are published.
const GAUGE_INTERVAL: Duration = Duration::from_secs(5);
/// What handing jobs back may take after the last moment for finishing them.
const HAND_BACK: Duration = Duration::from_secs(3);

/// Why the worker could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process has the port.
    #[error("cannot listen on {address} (METRICS_PORT): {source}")]
    Listen {
        /// What was to be listened on.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The schema is older than this build.
    #[error("{0} migrations are pending; run `bharatmart-api migrate` first")]
    PendingMigrations(usize),
    /// A setting that only shows its fault when it is used.
    #[error(transparent)]
    Mail(#[from] crate::mailer::MailerError),
    /// The database URL is of no use.
    #[error(transparent)]
    Database(#[from] bharatmart_database::Error),
}

/// Starts everything on `lifecycle`; returns as soon as it runs.
pub async fn run(
    config: WorkerProcessConfig,
    metrics: MetricsHandle,
    lifecycle: &Lifecycle,
) -> Result<(), StartError> {
    let address = SocketAddr::new(config.process.host, config.process.metrics_port);
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })?;
    let health = Health::new(env!("CARGO_PKG_VERSION"), lifecycle);
    serve_admin(listener, &health, move || metrics.render(), lifecycle);

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let database = Database::connect(&config.database, "bharatmart-worker")?;
    match database.schema_state().await {
        Ok(SchemaState::Pending(count)) => return Err(StartError::PendingMigrations(count)),
        Ok(SchemaState::Current) => {}
        Err(error) => tracing::warn!(%error, "the database does not answer yet"),
    }
    let queues = JobQueues::connect(&config.queue, clock.clone());
    let (relay, relay_handle) = Relay::new(database.clone(), queues.clone(), clock.clone());
    let stopping = lifecycle.stopping();
    lifecycle.spawn("relay", async move { relay.run(stopping).await });

    let shop = Shop {
        database: database.clone(),
        relay: relay_handle,
        gateway: Gateway::new(&config.payment, database.clone()),
        clock,
        order_payment_timeout: config.payment.order_payment_timeout,
    };
    let served = served_queues(config.worker.worker_type);
    for &queue in served {
        let handlers = match queue {
            QueueName::EmailNotifications => match &config.mail {
                Some(mail) => handlers::emails(&shop, Mailer::new(mail)?),
                None => continue,
            },
            QueueName::OrderProcessing => handlers::orders(&shop),
            QueueName::PaymentProcessing => handlers::payments(&shop),
        };
        let options = WorkerOptions::from(&config.worker);
        let worker = QueueWorker::spawn(&config.queue, options, handlers);
        let (stopping, grace) = (lifecycle.stopping(), grace(config.process.shutdown_timeout));
        lifecycle.spawn(queue.as_str(), async move {
            stopping.cancelled().await;
            let done = worker.shutdown(grace).await;
            tracing::info!(
                queue = %queue,
                finished = done.finished,
                released = done.released,
                abandoned = done.abandoned,
                "worker stopped"
            );
        });
    }

    let probed = database.clone();
    health.watch(
        "database",
        Importance::Critical,
        PROBE_INTERVAL,
        PROBE_TIMEOUT,
        move || {
            let database = probed.clone();
            async move {
                match database.schema_state().await {
                    Ok(SchemaState::Current) => Ok(()),
                    Ok(SchemaState::Pending(count)) => {
                        Err(format!("{count} migrations are pending"))
                    }
                    Err(error) => Err(error.to_string()),
                }
            }
        },
    );
    let probed = queues.clone();
    health.watch(
        "queue",
        Importance::Critical,
        PROBE_INTERVAL,
        PROBE_TIMEOUT,
        move || {
            let queues = probed.clone();
            async move { queues.ping().await }
        },
    );
    spawn_gauges(lifecycle, database, queues, served);
    health.mark_started();
    tracing::info!(
        worker_type = config.worker.worker_type.as_str(),
        concurrency = config.worker.concurrency,
        %address,
        "worker started"
    );
    Ok(())
}

fn served_queues(worker_type: WorkerType) -> &'static [QueueName] {
    match worker_type {
        WorkerType::Email => &[QueueName::EmailNotifications],
        WorkerType::Order => &[QueueName::OrderProcessing],
        WorkerType::Payment => &[QueueName::PaymentProcessing],
        WorkerType::All => &QueueName::ALL,
    }
}

/// How long jobs may go on after SIGTERM: all but what handing the rest back takes.
fn grace(shutdown_timeout: Duration) -> Duration {
    shutdown_timeout
        .saturating_sub(HAND_BACK)
        .max(shutdown_timeout / 2)
}

fn spawn_gauges(
    lifecycle: &Lifecycle,
    database: Database,
    queues: JobQueues,
    served: &'static [QueueName],
) {
    let stopping = lifecycle.stopping();
    lifecycle.spawn("gauges", async move {
        let publish = async {
            let mut ticks = interval(GAUGE_INTERVAL);
            loop {
                ticks.tick().await;
                let pool = database.status();
                for (state, count) in [("idle", pool.idle), ("in_use", pool.in_use)] {
                    let count = u32::try_from(count).unwrap_or(u32::MAX);
                    gauge!(DATABASE_POOL_CONNECTIONS, "state" => state).set(f64::from(count));
                }
                for &queue in served {
                    if let Err(error) = queues.publish_depth(queue).await {
                        tracing::debug!(%queue, %error, "the queue's depth is not known");
                    }
                }
            }
        };
        tokio::select! {
            () = stopping.cancelled() => {}
            () = publish => {}
        }
    });
}
