//! Puts the worker's parts together.

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use bharatmart_cache::Invalidations;
use bharatmart_commerce::{Gateway, Shop};
use bharatmart_config::{
    CacheBackend, CacheConfig, ConfigError, QueueConfig, WorkerProcessConfig, WorkerType,
};
use bharatmart_database::{Database, SchemaError};
use bharatmart_domain::{Clock, SystemClock};
use bharatmart_jobs::{Mailer, handlers};
use bharatmart_lifecycle::{Health, Importance, Lifecycle, serve_admin};
use bharatmart_queue::{JobQueues, QueueName, Relay, SCHEDULES, UnfitServer, check_server};
use bharatmart_telemetry::{MetricsHandle, chain};
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{interval, timeout},
};

use crate::{
    error::StartError,
    jobs::{Served, Service, all_served, grace, served_queues},
    schema,
};

/// How long the start waits for the database before it goes on without.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// How often the dependencies are asked whether they answer.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often depths and pools are published.
const GAUGE_INTERVAL: Duration = Duration::from_secs(5);

/// Works until the lifecycle ends; the code is for the process.
pub async fn run(
    config: WorkerProcessConfig,
    metrics: MetricsHandle,
    lifecycle: Lifecycle,
) -> ExitCode {
    match start(&config, metrics, &lifecycle).await {
        Ok(invalidations) => {
            let code = lifecycle.run().await;
            if let Some(invalidations) = invalidations {
                invalidations.finish().await;
            }
            code
        }
        Err(error) if error.is_a_setting() => {
            eprintln!("{}", chain(&error));
            ExitCode::from(ConfigError::EXIT_CODE)
        }
        Err(error) => {
            tracing::error!("{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

async fn start(
    config: &WorkerProcessConfig,
    metrics: MetricsHandle,
    lifecycle: &Lifecycle,
) -> Result<Option<Invalidations>, StartError> {
    let database = Database::connect(&config.database, "bharatmart-worker")
        .map_err(StartError::DatabaseUrl)?;
    let mail = config.mail.as_ref().map(Mailer::new);
    let mut mailer = mail.transpose().map_err(StartError::Mail)?;

    let address = SocketAddr::new(config.process.host, config.process.metrics_port);
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })?;
    let health = Health::new(env!("CARGO_PKG_VERSION"), lifecycle);
    serve_admin(listener, &health, move || metrics.render(), lifecycle);

    let Some(schema_is_current) = look_at_schema(&database, lifecycle).await? else {
        // The shutdown has begun already, and `Lifecycle::run` sees to it.
        return Ok(None);
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let queues = JobQueues::connect(&config.queue, clock.clone());
    let (relay, relay_handle) = Relay::new(database.clone(), queues.clone(), clock.clone());
    lifecycle.spawn("relay", relay.run(lifecycle.stopping()));

    let cache = cache_to_tell(config);
    let invalidations = Invalidations::connect(&cache, clock.clone());
    let shop = Shop {
        database: database.clone(),
        relay: relay_handle,
        gateway: Gateway::new(&config.payment, database.clone()),
        clock,
        order_payment_timeout: config.payment.order_payment_timeout,
        low_stock_threshold: config.report.low_stock_threshold,
        invalidations: invalidations.clone(),
    };
    let server_is_fit = look_at_server(&config.queue, lifecycle);
    let queue_names = served_queues(config.worker.worker_type);
    let mut served = Vec::with_capacity(queue_names.len());
    for &queue in queue_names {
        let handlers = match queue {
            QueueName::EmailNotifications => match mailer.take() {
                Some(mailer) => handlers::emails(&shop, mailer),
                None => continue,
            },
            QueueName::OrderProcessing => handlers::orders(&shop),
            QueueName::PaymentProcessing => handlers::payments(&shop),
        };
        let service = Service {
            queue: config.queue.clone(),
            worker: config.worker.clone(),
            handlers,
            schema_is_current: schema_is_current.clone(),
            server_is_fit: server_is_fit.clone(),
            stopping: lifecycle.stopping(),
            aborting: lifecycle.aborting(),
            grace: grace(config.process.shutdown_timeout),
            served: Served::default(),
        };
        served.push(service.served.clone());
        lifecycle.spawn(queue.as_str(), service.run());
    }

    let fit = [schema_is_current, server_is_fit];
    keep_schedules(lifecycle, &queues, queue_names, fit);
    watch_dependencies(&health, &database, &queues, served);
    if let CacheBackend::Redis(_) = cache.backend {
        watch_cache(&health, invalidations.clone());
    }
    spawn_gauges(lifecycle, database, queues, queue_names);
    health.mark_started();
    tracing::info!(
        worker_type = config.worker.worker_type.as_str(),
        concurrency = config.worker.concurrency,
        %address,
        "worker started"
    );
    Ok(Some(invalidations))
}

/// Refuses to start with a schema that is not this build's. A database that is away is asked on, in the
/// background; the answer is what says that jobs may be taken. `None` when the shutdown came first.
async fn look_at_schema(
    database: &Database,
    lifecycle: &Lifecycle,
) -> Result<Option<watch::Receiver<bool>>, SchemaError> {
    let look = timeout(FIRST_LOOK, database.check_schema());
    let Some(looked) = lifecycle.during_start(look).await else {
        return Ok(None);
    };
    let current = match looked {
        Ok(Ok(())) => true,
        Ok(Err(error)) if error.is_transient() => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the database is not available; no job is taken before it is"
            );
            false
        }
        Ok(Err(error)) => return Err(error),
        Err(_) => {
            tracing::warn!("the database does not answer; no job is taken before it does");
            false
        }
    };
    let (sender, receiver) = watch::channel(current);
    if !current {
        let stopping = lifecycle.stopping();
        lifecycle.spawn(
            "schema",
            schema::wait_for(database.clone(), sender, stopping),
        );
    }
    Ok(Some(receiver))
}

/// Has the queue's Redis looked at when it answers; one that could lose jobs ends the process. The answer is what
/// says that jobs may be taken.
fn look_at_server(config: &QueueConfig, lifecycle: &Lifecycle) -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    let (config, stopping) = (config.clone(), lifecycle.stopping());
    lifecycle.spawn("queue server", async move {
        if let Some(checked) = stopping.run_until_cancelled(check_server(&config)).await {
            checked?;
            sender.send_replace(true);
        }
        // Whoever still waits is told by the end of the process.
        stopping.cancelled().await;
        Ok::<_, UnfitServer>(())
    });
    receiver
}

/// Sees to it that what comes by the clock comes to the queues that are served, once jobs may be taken.
fn keep_schedules(
    lifecycle: &Lifecycle,
    queues: &JobQueues,
    served: &'static [QueueName],
    fit: [watch::Receiver<bool>; 2],
) {
    let schedules: Vec<_> = SCHEDULES
        .iter()
        .filter(|schedule| served.contains(&schedule.queue))
        .copied()
        .collect();
    let (queues, stopping) = (queues.clone(), lifecycle.stopping());
    lifecycle.spawn("schedules", async move {
        let keeping = async {
            for mut fit in fit {
                // Whoever looks says why it gave up.
                if fit.wait_for(|fit| *fit).await.is_err() {
                    return;
                }
            }
            Box::pin(queues.keep_schedules(&schedules)).await;
        };
        stopping.run_until_cancelled(keeping).await;
    });
}

/// A worker is ready when it would take a job and could do it.
fn watch_dependencies(
    health: &Health,
    database: &Database,
    queues: &JobQueues,
    served: Vec<Served>,
) {
    let database = database.clone();
    health.watch(
        "database",
        Importance::Critical,
        PROBE_INTERVAL,
        PROBE_TIMEOUT,
        move || {
            let database = database.clone();
            async move { database.check_schema().await }
        },
    );
    let queues = queues.clone();
    health.watch(
        "queue",
        Importance::Critical,
        PROBE_INTERVAL,
        PROBE_TIMEOUT,
        move || {
            let queues = queues.clone();
            async move { queues.ping().await }
        },
    );
    health.watch(
        "jobs",
        Importance::Critical,
        PROBE_INTERVAL,
        PROBE_TIMEOUT,
        move || std::future::ready(all_served(&served)),
    );
}

/// The cache that is told of changes. Mails change nothing that it shows.
fn cache_to_tell(config: &WorkerProcessConfig) -> CacheConfig {
    let mut cache = config.cache.clone();
    if config.worker.worker_type == WorkerType::Email {
        cache.backend = CacheBackend::None;
    }
    cache
}

/// Without it jobs are done as ever, and the pages that they change stay as they are until it is back.
fn watch_cache(health: &Health, invalidations: Invalidations) {
    health.watch(
        "cache",
        Importance::Informational,
        PROBE_INTERVAL,
        PROBE_TIMEOUT,
        move || std::future::ready(invalidations.check()),
    );
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
                database.measure();
                for &queue in served {
                    if let Err(error) = queues.publish_depth(queue).await {
                        tracing::debug!(
                            %queue,
                            error = &error as &dyn std::error::Error,
                            "the queue's depth is not known"
                        );
                    }
                }
            }
        };
        stopping.run_until_cancelled(publish).await;
    });
}
