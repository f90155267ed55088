//! What this process is and how it is set up. Never a secret.

mod setup;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use axum::{
    Json,
    extract::{Request, State},
    response::Response,
};
use bharatmart_breaker::BreakerState;
use bharatmart_cache::Invalidations;
use bharatmart_commerce::Shop;
use bharatmart_config::{ApiConfig, WorkerMode};
use bharatmart_database::Database;
use bharatmart_lifecycle::Health;
use bharatmart_queue::JobQueues;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::setup::{
    ApiService, Application, BreakerService, Configuration, DatabaseService, Deployment, Features,
    POSTGRESQL, ReplicaService, Service, ServiceStatus, Services, Setup,
};
use crate::{
    consistency::Own, error::ApiError, extract::AuthUser, serve::VERSION, state::AppState,
    storefront::Storefront,
};

const NAME: &str = "BharatMart API";

pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::default()
        .routes(routes!(root))
        .routes(routes!(system_info))
}

/// What does not change while the process runs; cheap to clone.
#[derive(Clone)]
pub struct SystemInfo(Arc<Inner>);

struct Inner {
    health: Health,
    started: Instant,
    started_at: DateTime<Utc>,
    features: Features,
    deployment: Deployment,
    configuration: Configuration,
    environment: &'static str,
}

impl SystemInfo {
    /// Takes from `config` what may be shown.
    #[must_use]
    pub fn new(config: &ApiConfig, health: Health, started_at: DateTime<Utc>) -> Self {
        Self(Arc::new(Inner {
            health,
            started: Instant::now(),
            started_at,
            features: Features::of(config),
            deployment: Deployment::of(config),
            configuration: Configuration::of(config),
            environment: config.process.environment.as_str(),
        }))
    }

    fn uptime_seconds(&self) -> u64 {
        self.0.started.elapsed().as_secs()
    }
}

/// What this is, and where what is.
#[derive(Serialize, ToSchema)]
struct About {
    name: &'static str,
    version: &'static str,
    status: &'static str,
    /// Paths, by what is there.
    endpoints: BTreeMap<&'static str, &'static str>,
}

/// What this is
///
/// With `FRONTEND_DIST` those who accept HTML get the shop.
#[utoipa::path(
    get,
    path = "/",
    tag = "System",
    responses((status = 200, description = "Its name, its version, and where what is.", body = About))
)]
async fn root(
    State(storefront): State<Storefront>,
    request: Request,
) -> Result<Response, ApiError> {
    storefront.at_root(request, Json(about())).await
}

fn about() -> About {
    About {
        name: NAME,
        version: VERSION,
        status: "running",
        endpoints: BTreeMap::from([
            ("auth", "/api/auth"),
            ("health", "/api/health"),
            ("ready", "/api/health/ready"),
            ("systemInfo", "/api/system/info"),
            ("products", "/api/products"),
            ("categories", "/api/categories"),
            ("orders", "/api/orders"),
            ("payments", "/api/payments"),
            ("docs", "/api/docs"),
            ("openapi", "/api/openapi.json"),
        ]),
    }
}

/// How this is set up
///
/// Everybody sees the version and what is switched on; administrators see the settings that are no secrets, and the
/// state of what the API depends on.
#[utoipa::path(
    get,
    path = "/api/system/info",
    tag = "System",
    security((), ("bearer" = [])),
    responses((status = 200, description = "How it is set up.", body = Setup))
)]
async fn system_info(
    user: Option<AuthUser>,
    State(info): State<SystemInfo>,
    Own(shop): Own<Shop>,
    State(invalidations): State<Invalidations>,
    State(queues): State<JobQueues>,
    State(mode): State<WorkerMode>,
) -> Json<Setup> {
    let mut application = Application {
        name: NAME,
        version: VERSION,
        uptime: info.uptime_seconds(),
        environment: None,
        start_time: None,
        timestamp: None,
    };
    let told = &info.0;
    if !user.is_some_and(|user| user.is_admin()) {
        return Json(Setup {
            application,
            features: told.features.for_everybody(),
            deployment: None,
            services: None,
            configuration: None,
            endpoints: None,
        });
    }
    application.environment = Some(told.environment.to_owned());
    application.start_time = Some(told.started_at);
    application.timestamp = Some(shop.clock.now());
    Json(Setup {
        application,
        features: told.features.clone(),
        deployment: Some(told.deployment.clone()),
        services: Some(Services {
            api: ApiService {
                ready: told.health.is_ready(),
            },
            database: database_service(&shop.database),
            queue: queue_service(&queues, mode),
            cache: cache_service(&invalidations, told.configuration.cache_type),
            breakers: breakers(&shop, &invalidations, &queues, mode),
        }),
        configuration: Some(told.configuration.clone()),
        endpoints: Some(BTreeMap::from([
            ("health", "/api/health"),
            ("readiness", "/api/health/ready"),
            ("liveness", "/api/health/live"),
            ("info", "/api/system/info"),
        ])),
    })
}

fn database_service(database: &Database) -> DatabaseService {
    DatabaseService {
        kind: POSTGRESQL,
        pool: database.status().into(),
        replicas: database
            .replicas()
            .iter()
            .map(ReplicaService::from)
            .collect(),
    }
}

fn queue_service(queues: &JobQueues, mode: WorkerMode) -> Service {
    match mode {
        WorkerMode::BullQueue => Service {
            kind: "redis",
            status: ServiceStatus::of(queues.is_available()),
        },
        WorkerMode::InProcess => Service {
            kind: POSTGRESQL,
            status: ServiceStatus::Healthy,
        },
    }
}

fn cache_service(invalidations: &Invalidations, kind: &'static str) -> Service {
    let lets_through = invalidations
        .breaker()
        .is_none_or(|breaker| breaker.state == BreakerState::Closed);
    Service {
        kind,
        status: ServiceStatus::of(lets_through && invalidations.check().is_ok()),
    }
}

fn breakers(
    shop: &Shop,
    invalidations: &Invalidations,
    queues: &JobQueues,
    mode: WorkerMode,
) -> Vec<BreakerService> {
    let queue = match mode {
        WorkerMode::BullQueue => Some(queues.breaker()),
        WorkerMode::InProcess => None,
    };
    [invalidations.breaker(), queue, shop.gateway.breaker()]
        .into_iter()
        .flatten()
        .map(BreakerService::from)
        .collect()
}
