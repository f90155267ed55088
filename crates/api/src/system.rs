//! What this process is and how it is set up. Never a secret.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use axum::{
    Json,
    extract::{Request, State},
    response::Response,
};
use bharatmart_commerce::Shop;
use bharatmart_config::{ApiConfig, CacheBackend, JobsConfig, LogFormat, WorkerMode};
use bharatmart_database::{Database, ReplicaStatus, Rotation};
use bharatmart_lifecycle::Health;
use bharatmart_queue::JobQueues;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

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
    /// For everybody.
    features: Value,
    /// For administrators.
    settings: Value,
    environment: &'static str,
}

impl SystemInfo {
    /// Takes from `config` what may be shown.
    #[must_use]
    pub fn new(config: &ApiConfig, health: Health, started_at: DateTime<Utc>) -> Self {
        let ApiConfig {
            process,
            http,
            database,
            jobs,
            cache,
            auth,
            telemetry,
            chaos,
            ..
        } = config;
        let caches = !matches!(cache.backend, CacheBackend::None);
        let queue_prefix = match jobs {
            JobsConfig::BullQueue(queue) => Some(&queue.prefix),
            JobsConfig::InProcess { .. } => None,
        };
        let log_format = match telemetry.log_format {
            LogFormat::Json => "json",
            LogFormat::Pretty => "pretty",
        };
        Self(Arc::new(Inner {
            health,
            started: Instant::now(),
            started_at,
            features: json!({
                "metrics": { "enabled": telemetry.enable_metrics },
                "cache": { "enabled": caches },
                "chaosEngineering": { "enabled": chaos.enabled },
                "auth": { "provider": auth.provider.as_str() },
            }),
            settings: json!({
                "deployment": { "host": http.host, "port": http.port },
                "features": {
                    "metrics": {
                        "enabled": telemetry.enable_metrics,
                        "endpoint": "/metrics",
                        "port": process.metrics_port,
                    },
                    "logging": {
                        "enabled": true,
                        "level": telemetry.log_level,
                        "format": log_format,
                        "file": telemetry.log_file,
                    },
                    "cache": { "enabled": caches },
                    "auth": { "provider": auth.provider.as_str() },
                    "chaosEngineering": {
                        "enabled": chaos.enabled,
                        "latencyMs": u64::try_from(chaos.latency.as_millis()).unwrap_or(u64::MAX),
                    },
                },
                "configuration": {
                    "databaseType": "postgresql",
                    "poolMin": database.pool_min,
                    "poolMax": database.pool_size,
                    "cacheType": cache.backend.as_str(),
                    "workerMode": jobs.mode().as_str(),
                    "queuePrefix": queue_prefix,
                    "authProvider": auth.provider.as_str(),
                },
                "endpoints": {
                    "health": "/api/health",
                    "readiness": "/api/health/ready",
                    "liveness": "/api/health/live",
                    "info": "/api/system/info",
                },
            }),
            environment: process.environment.as_str(),
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

/// How this is set up; what only administrators see is null for others.
#[derive(Serialize, ToSchema)]
struct Setup {
    application: Application,
    #[schema(value_type = Object)]
    features: Value,
    #[schema(value_type = Option<Object>)]
    deployment: Option<Value>,
    #[schema(value_type = Option<Object>)]
    services: Option<Value>,
    #[schema(value_type = Option<Object>)]
    configuration: Option<Value>,
    #[schema(value_type = Option<Object>)]
    endpoints: Option<Value>,
}

#[derive(Serialize, ToSchema)]
struct Application {
    name: &'static str,
    version: &'static str,
    /// In seconds.
    uptime: u64,
    environment: Option<String>,
    #[serde(rename = "startTime")]
    start_time: Option<DateTime<Utc>>,
    timestamp: Option<DateTime<Utc>>,
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
    Own(database): Own<Database>,
    State(queues): State<JobQueues>,
    State(mode): State<WorkerMode>,
) -> Result<Json<Setup>, ApiError> {
    let mut application = Application {
        name: NAME,
        version: VERSION,
        uptime: info.uptime_seconds(),
        environment: None,
        start_time: None,
        timestamp: None,
    };
    if !user.is_some_and(|user| user.is_admin()) {
        return Ok(Json(Setup {
            application,
            features: info.0.features.clone(),
            deployment: None,
            services: None,
            configuration: None,
            endpoints: None,
        }));
    }
    application.environment = Some(info.0.environment.to_owned());
    application.start_time = Some(info.0.started_at);
    application.timestamp = Some(shop.clock.now());
    let pool = database.status();
    let queue = match mode {
        WorkerMode::BullQueue => {
            json!({ "type": "redis", "status": status(queues.is_available()) })
        }
        WorkerMode::InProcess => json!({ "type": "postgresql", "status": status(true) }),
    };
    let settings = &info.0.settings;
    Ok(Json(Setup {
        application,
        features: settings["features"].clone(),
        deployment: Some(settings["deployment"].clone()),
        services: Some(json!({
            "api": { "ready": info.0.health.is_ready() },
            "database": {
                "type": "postgresql",
                "pool": { "idle": pool.idle, "inUse": pool.in_use, "waiting": pool.waiters },
                "replicas": database.replicas().iter().map(replica).collect::<Vec<_>>(),
            },
            "queue": queue,
        })),
        configuration: Some(settings["configuration"].clone()),
        endpoints: Some(settings["endpoints"].clone()),
    }))
}

fn replica(status: &ReplicaStatus) -> Value {
    json!({
        "name": status.name,
        "inRotation": status.rotation == Rotation::In,
        "reason": status.rotation.as_str(),
        "lagBytes": status.lag_bytes,
        "lagSeconds": status.lag.as_secs_f64(),
    })
}

const fn status(healthy: bool) -> &'static str {
    if healthy { "healthy" } else { "unhealthy" }
}
