//! The server: what is started, in which order.

use std::{io, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use bharatmart_cache::Invalidations;
use bharatmart_commerce::Shop;
use bharatmart_config::{ApiConfig, CacheBackend, ConfigError, JobsConfig};
use bharatmart_database::{Database, MigrateError};
use bharatmart_domain::{Clock, SystemClock};
use bharatmart_jobs::{Mailer, MailerError};
use bharatmart_lifecycle::{Health, HttpOptions, Importance, Lifecycle, serve_admin, serve_http};
use bharatmart_queue::{JobQueues, OutboxWorker, Relay};
use bharatmart_telemetry::{MetricsHandle, chain};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    background::{self, Schema, UnusableUrl},
    in_process,
    provider::Provider,
    router::{RouterOptions, build_router},
    state::AppState,
};

/// The version that the API says it is.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Connections that wait to be accepted: of a rush of new clients few are to be turned away by the system, which
/// allows no more than its own limit.
const BACKLOG: u32 = 4096;

/// How long the start waits for the database before it goes on without.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// How often dependencies are probed, and how long a probe may take.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a probe of the queue waits for a connection that is being made.
const CONNECT_GRACE: Duration = Duration::from_millis(500);

/// Why the server could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error(transparent)]
    Settings(#[from] UnusableUrl),
    #[error("no mail can be sent")]
    Mail(#[source] MailerError),
    #[error(transparent)]
    Schema(#[from] MigrateError),
}

impl StartError {
    /// Logs it; the code for the process.
    pub(crate) fn report(self) -> ExitCode {
        tracing::error!("{}", chain(&self));
        match self {
            Self::Settings(_) | Self::Mail(_) => ExitCode::from(ConfigError::EXIT_CODE),
            Self::Schema(error) if error.is_a_setting() => ExitCode::from(ConfigError::EXIT_CODE),
            Self::Listen { .. } | Self::Schema(_) => ExitCode::FAILURE,
        }
    }
}

/// Serves until the lifecycle ends; the code is for the process.
///
/// With `migrate` the migrations that are missing are run first.
pub async fn run(
    config: ApiConfig,
    migrate: bool,
    metrics: MetricsHandle,
    lifecycle: Lifecycle,
) -> ExitCode {
    match start(&config, migrate, metrics, &lifecycle).await {
        Ok(invalidations) => {
            let code = lifecycle.run().await;
            if let Some(invalidations) = invalidations {
                invalidations.finish().await;
            }
            code
        }
        Err(error) => error.report(),
    }
}

async fn start(
    config: &ApiConfig,
    migrate: bool,
    metrics: MetricsHandle,
    lifecycle: &Lifecycle,
) -> Result<Option<Invalidations>, StartError> {
    // Ports first: a second instance on the same ports fails before it has done anything.
    let admin = listen(config.process.host, config.process.metrics_port)?;
    let http = listen(config.http.host, config.http.port)?;
    let health = Health::new(VERSION, lifecycle);
    serve_admin(admin, &health, move || metrics.render(), lifecycle);

    let database = background::connect(&config.database, "bharatmart-api")?;
    let schema = Schema {
        database: database.clone(),
        migrate: migrate.then(|| config.database.clone()),
    };
    let Some(is_current) = lifecycle.during_start(first_look(&schema)).await else {
        // The shutdown has begun already, and `Lifecycle::run` sees to it.
        return Ok(None);
    };
    let (arrived, schema_is_current) = watch::channel(is_current?);
    if !*schema_is_current.borrow() {
        tracing::warn!("the database is not available; starting without, and trying on");
        let waiting = schema.wait(lifecycle.stopping());
        lifecycle.spawn("schema", async move {
            waiting.await?;
            arrived.send_replace(true);
            Ok::<_, MigrateError>(())
        });
    }

    let state = assemble(config, &database, &schema_is_current, &health, lifecycle)?;
    watch_database(&health, &database);
    if let JobsConfig::BullQueue(_) = config.jobs {
        watch_queues(&health, &state.queues);
    }
    if let CacheBackend::Redis(_) = config.cache.backend {
        watch_cache(&health, &state.invalidations);
    }
    let invalidations = state.invalidations.clone();
    let router = build_router(state, &health, &RouterOptions::from(config));
    let options = HttpOptions {
        max_connections: config.http.max_connections,
        keep_alive_timeout: config.http.keep_alive_timeout,
        header_timeout: config.http.header_timeout,
        write_timeout: config.http.write_timeout,
        http2: config.http.http2_cleartext,
    };
    // Not the configured one: port 0 lets the system choose.
    let port = http
        .local_addr()
        .map_or(config.http.port, |address| address.port());
    serve_http(http, router, options, lifecycle);
    health.mark_started();
    let host = config.http.host;
    tracing::info!(%host, port, version = VERSION, "bharatmart-api serves");
    Ok(Some(invalidations))
}

/// Whether the schema is there: `false` when the database is away, which no answer in time is as well.
/// Migrations take as long as they take.
pub(crate) async fn first_look(schema: &Schema) -> Result<bool, MigrateError> {
    let patience = if schema.migrate.is_some() {
        Duration::MAX
    } else {
        FIRST_LOOK
    };
    match timeout(patience, schema.look()).await {
        Ok(Ok(())) => Ok(true),
        Ok(Err(error)) if !error.is_transient() => Err(error),
        Ok(Err(_)) | Err(_) => Ok(false),
    }
}

pub(crate) fn listen(host: std::net::IpAddr, port: u16) -> Result<TcpListener, StartError> {
    let address = SocketAddr::new(host, port);
    bind(address).map_err(|source| StartError::Listen { address, source })
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A port of a process that has just ended.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Makes the parts and starts what works in the background. Nothing here waits.
fn assemble(
    config: &ApiConfig,
    database: &Database,
    schema_is_current: &watch::Receiver<bool>,
    health: &Health,
    lifecycle: &Lifecycle,
) -> Result<AppState, StartError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let stop = lifecycle.stopping();
    let state = |queues, handle, clock| {
        AppState::new(config, database.clone(), queues, handle, health, clock)
    };
    let state = match &config.jobs {
        JobsConfig::BullQueue(config) => {
            let queues = JobQueues::connect(config, clock.clone());
            let (relay, handle) = Relay::new(database.clone(), queues.clone(), clock.clone());
            let (looking, stopped) = (background::look_at_queue(config.clone()), stop.clone());
            lifecycle.spawn("queue server", async move {
                stopped.run_until_cancelled(looking).await;
            });
            lifecycle.spawn("outbox relay", relay.run(stop.clone()));
            state(queues, handle, clock)
        }
        JobsConfig::InProcess { work, mail } => {
            let mailer = Mailer::new(mail).map_err(StartError::Mail)?;
            let (worker, handle) = OutboxWorker::new(database.clone(), *work, clock.clone());
            let state = state(JobQueues::nowhere(clock.clone()), handle, clock);
            // Jobs wait for a connection as long as they must.
            let patient = Shop {
                database: database.clone(),
                ..state.shop.clone()
            };
            in_process::spawn(worker, mailer, &patient, schema_is_current, lifecycle);
            state
        }
    };
    if let Provider::Supabase(supabase) = &state.provider {
        lifecycle.spawn("keys", supabase.clone().keep_keys(stop.clone()));
    }
    lifecycle.spawn("gauges", background::measure(state.pages.clone(), stop));
    Ok(state)
}

/// Nothing is done without the database; without its primary, a replica still shows the shop.
pub(crate) fn watch_database(health: &Health, database: &Database) {
    let database = database.clone();
    let probe = move || {
        let database = database.clone();
        async move { database.check_reads().await }
    };
    health.watch(
        "database",
        Importance::Critical,
        PROBE_INTERVAL,
        PROBE_TIMEOUT,
        probe,
    );
}

/// Orders are taken without the queue.
fn watch_queues(health: &Health, queues: &JobQueues) {
    let queues = queues.clone();
    let probe = move || {
        let queues = queues.clone();
        async move {
            // The first connection is made in the background; not having it yet is no failure.
            let _ = timeout(CONNECT_GRACE, connected(&queues)).await;
            queues.ping().await
        }
    };
    health.watch(
        "queue",
        Importance::Informational,
        PROBE_INTERVAL,
        PROBE_TIMEOUT,
        probe,
    );
}

/// Without it everything is slower and nothing is wrong.
fn watch_cache(health: &Health, invalidations: &Invalidations) {
    let invalidations = invalidations.clone();
    health.watch(
        "cache",
        Importance::Informational,
        PROBE_INTERVAL,
        PROBE_TIMEOUT,
        move || std::future::ready(invalidations.check()),
    );
}

async fn connected(queues: &JobQueues) {
    while !queues.is_available() {
        sleep(Duration::from_millis(20)).await;
    }
}
