//! What `/api/system/info` tells, in types, so that the OpenAPI document knows it.

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use bharatmart_breaker::{BreakerState, BreakerStatus};
use bharatmart_config::{ApiConfig, CacheBackend, JobsConfig, LogFormat};
use bharatmart_database::{PoolStatus, ReplicaStatus, Rotation};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

/// How this is set up; what only administrators see is null for others.
#[derive(Serialize, ToSchema)]
pub(super) struct Setup {
    pub(super) application: Application,
    pub(super) features: Features,
    pub(super) deployment: Option<Deployment>,
    pub(super) services: Option<Services>,
    pub(super) configuration: Option<Configuration>,
    /// Paths, by what is there.
    pub(super) endpoints: Option<BTreeMap<&'static str, &'static str>>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Application {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    /// In seconds.
    pub(super) uptime: u64,
    pub(super) environment: Option<String>,
    #[serde(rename = "startTime")]
    pub(super) start_time: Option<DateTime<Utc>>,
    pub(super) timestamp: Option<DateTime<Utc>>,
}

/// What is switched on.
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Features {
    metrics: MetricsFeature,
    logging: Option<LoggingFeature>,
    cache: CacheFeature,
    auth: AuthFeature,
    chaos_engineering: ChaosFeature,
}

#[derive(Clone, Serialize, ToSchema)]
struct MetricsFeature {
    enabled: bool,
    endpoint: Option<&'static str>,
    port: Option<u16>,
}

#[derive(Clone, Serialize, ToSchema)]
struct LoggingFeature {
    enabled: bool,
    level: String,
    #[schema(example = "json")]
    format: &'static str,
    #[schema(value_type = Option<String>)]
    file: Option<PathBuf>,
}

#[derive(Clone, Serialize, ToSchema)]
struct CacheFeature {
    enabled: bool,
}

#[derive(Clone, Serialize, ToSchema)]
struct AuthFeature {
    #[schema(example = "local")]
    provider: &'static str,
}

#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ChaosFeature {
    enabled: bool,
    latency_ms: Option<u64>,
}

impl Features {
    /// As administrators see them.
    pub(super) fn of(config: &ApiConfig) -> Self {
        let (telemetry, chaos) = (&config.telemetry, &config.chaos);
        Self {
            metrics: MetricsFeature {
                enabled: telemetry.enable_metrics,
                endpoint: Some("/metrics"),
                port: Some(config.process.metrics_port),
            },
            logging: Some(LoggingFeature {
                enabled: true,
                level: telemetry.log_level.clone(),
                format: match telemetry.log_format {
                    LogFormat::Json => "json",
                    LogFormat::Pretty => "pretty",
                },
                file: telemetry.log_file.clone(),
            }),
            cache: CacheFeature {
                enabled: !matches!(config.cache.backend, CacheBackend::None),
            },
            auth: AuthFeature {
                provider: config.auth.provider.as_str(),
            },
            chaos_engineering: ChaosFeature {
                enabled: chaos.enabled,
                latency_ms: Some(u64::try_from(chaos.latency.as_millis()).unwrap_or(u64::MAX)),
            },
        }
    }

    /// What of it is anybody's business.
    pub(super) fn for_everybody(&self) -> Self {
        Self {
            metrics: MetricsFeature {
                endpoint: None,
                port: None,
                ..self.metrics.clone()
            },
            logging: None,
            chaos_engineering: ChaosFeature {
                latency_ms: None,
                ..self.chaos_engineering.clone()
            },
            ..self.clone()
        }
    }
}

#[derive(Clone, Serialize, ToSchema)]
pub(super) struct Deployment {
    host: String,
    port: u16,
}

impl Deployment {
    pub(super) fn of(config: &ApiConfig) -> Self {
        Self {
            host: config.http.host.to_string(),
            port: config.http.port,
        }
    }
}

/// Settings that are no secrets.
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Configuration {
    #[schema(example = "postgresql")]
    database_type: &'static str,
    pool_min: u32,
    pool_max: u32,
    #[schema(example = "redis")]
    pub(super) cache_type: &'static str,
    #[schema(example = "bull-queue")]
    worker_mode: &'static str,
    /// Null where this process does the jobs itself.
    queue_prefix: Option<String>,
    #[schema(example = "local")]
    auth_provider: &'static str,
}

impl Configuration {
    pub(super) fn of(config: &ApiConfig) -> Self {
        Self {
            database_type: POSTGRESQL,
            pool_min: config.database.pool_min,
            pool_max: config.database.pool_size,
            cache_type: config.cache.backend.as_str(),
            worker_mode: config.jobs.mode().as_str(),
            queue_prefix: match &config.jobs {
                JobsConfig::BullQueue(queue) => Some(queue.prefix.clone()),
                JobsConfig::InProcess { .. } => None,
            },
            auth_provider: config.auth.provider.as_str(),
        }
    }
}

pub(super) const POSTGRESQL: &str = "postgresql";

/// The layers, as this process sees them.
#[derive(Serialize, ToSchema)]
pub(super) struct Services {
    pub(super) api: ApiService,
    pub(super) database: DatabaseService,
    pub(super) queue: Service,
    pub(super) cache: Service,
    /// Those that this process has. What needs none, such as a cache in its own memory, has none.
    pub(super) breakers: Vec<BreakerService>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ApiService {
    pub(super) ready: bool,
}

#[derive(Serialize, ToSchema)]
pub(super) struct DatabaseService {
    #[serde(rename = "type")]
    #[schema(example = "postgresql")]
    pub(super) kind: &'static str,
    pub(super) pool: PoolService,
    /// None without replicas.
    pub(super) replicas: Vec<ReplicaService>,
}

/// Connections to the primary.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PoolService {
    idle: usize,
    in_use: usize,
    waiting: usize,
}

impl From<PoolStatus> for PoolService {
    fn from(status: PoolStatus) -> Self {
        Self {
            idle: status.idle,
            in_use: status.in_use,
            waiting: status.waiters,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReplicaService {
    /// Its host and port.
    name: String,
    in_rotation: bool,
    /// Why it is, or is not, read from.
    reason: RotationReason,
    lag_bytes: u64,
    lag_seconds: f64,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RotationReason {
    InRotation,
    New,
    Unreachable,
    Lagging,
    Promoted,
    Diverged,
    Foreign,
    Unfit,
}

impl From<&ReplicaStatus> for ReplicaService {
    fn from(status: &ReplicaStatus) -> Self {
        Self {
            name: status.name.clone(),
            in_rotation: status.rotation == Rotation::In,
            reason: match status.rotation {
                Rotation::In => RotationReason::InRotation,
                Rotation::New => RotationReason::New,
                Rotation::Unreachable => RotationReason::Unreachable,
                Rotation::Lagging => RotationReason::Lagging,
                Rotation::Promoted => RotationReason::Promoted,
                Rotation::Diverged => RotationReason::Diverged,
                Rotation::Foreign => RotationReason::Foreign,
                Rotation::Unfit => RotationReason::Unfit,
            },
            lag_bytes: status.lag_bytes,
            lag_seconds: status.lag.as_secs_f64(),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct Service {
    #[serde(rename = "type")]
    #[schema(example = "redis")]
    pub(super) kind: &'static str,
    pub(super) status: ServiceStatus,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ServiceStatus {
    Healthy,
    Unhealthy,
}

impl ServiceStatus {
    pub(super) const fn of(is_healthy: bool) -> Self {
        if is_healthy {
            Self::Healthy
        } else {
            Self::Unhealthy
        }
    }
}

/// A circuit breaker.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CircuitBreaker)]
pub(super) struct BreakerService {
    #[schema(example = "payment_gateway")]
    dependency: &'static str,
    state: CircuitState,
    /// Until the next call is let through; null when it is now.
    retry_in_seconds: Option<f64>,
}

/// Closed lets calls through; open refuses them; half-open has let one through to try.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum CircuitState {
    Closed,
    Open,
    HalfOpen,
}

impl From<BreakerStatus> for BreakerService {
    fn from(status: BreakerStatus) -> Self {
        let wait = status
            .retry_at
            .map(|at| at.saturating_duration_since(Instant::now()));
        Self {
            dependency: status.dependency,
            state: match status.state {
                BreakerState::Closed => CircuitState::Closed,
                BreakerState::Open => CircuitState::Open,
                BreakerState::HalfOpen => CircuitState::HalfOpen,
            },
            retry_in_seconds: wait
                .filter(|wait| !wait.is_zero())
                .map(|wait| wait.as_secs_f64()),
        }
    }
}
