//! The routes that tell how the process is, and what they say.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use http::{HeaderName, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Check, CheckState, Health};

impl Health {
    /// `GET /api/health`, `/api/health/live` and `/api/health/ready`.
    pub fn router<S>(&self) -> Router<S> {
        Router::from(Self::routes()).with_state(self.clone())
    }

    /// The same without a process that they tell of, with their part of the OpenAPI document.
    #[must_use]
    pub fn routes() -> OpenApiRouter<Self> {
        OpenApiRouter::default()
            .routes(routes!(health))
            .routes(routes!(live))
            .routes(routes!(ready))
    }
}

impl Check {
    fn report(&self) -> DependencyReport {
        match self.state {
            CheckState::Pending => DependencyReport {
                status: "pending",
                response_time_ms: None,
            },
            CheckState::Known { ok, took } => DependencyReport {
                status: if ok { "ok" } else { "error" },
                response_time_ms: Some(milliseconds(took)),
            },
        }
    }
}

/// Whether this process can serve.
#[derive(Serialize, ToSchema)]
struct HealthReport {
    ok: bool,
    /// Only while it is not: whether that is because it stops.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    draining: Option<bool>,
    /// Seconds since the process began.
    uptime: u64,
    version: &'static str,
    timestamp: String,
}

/// That this process runs.
#[derive(Serialize, ToSchema)]
struct LivenessReport {
    /// Always `alive`.
    status: &'static str,
    timestamp: String,
}

/// Whether this process should be sent requests, and why not.
#[derive(Serialize, ToSchema)]
struct ReadinessReport {
    /// `ready` or `not ready`.
    status: &'static str,
    timestamp: String,
    checks: Checks,
}

/// The dependencies by their names, and the process itself.
#[derive(Serialize, ToSchema)]
struct Checks {
    /// `ok`, `starting` or `draining`.
    service: &'static str,
    #[serde(flatten)]
    dependencies: BTreeMap<&'static str, DependencyReport>,
}

/// How the last probe of a dependency went.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DependencyReport {
    /// `ok`, `error`, or `pending` before the first probe has ended.
    status: &'static str,
    response_time_ms: Option<f64>,
}

/// Whether this process can serve
///
/// For load balancers and people. No dependency is asked.
#[utoipa::path(
    get,
    path = "/api/health",
    tag = "Health",
    responses(
        (status = 200, description = "It serves.", body = HealthReport),
        (status = 503, description = "It has not started yet, or it stops.", body = HealthReport),
    )
)]
async fn health(State(health): State<Health>) -> Response {
    let ok = health.serves();
    answer(
        ok,
        HealthReport {
            ok,
            draining: (!ok).then(|| health.draining()),
            uptime: health.inner.since.elapsed().as_secs(),
            version: health.inner.version,
            timestamp: timestamp(),
        },
    )
}

/// Whether this process runs
///
/// For whoever restarts what hangs. It says yes while it stops, too.
#[utoipa::path(
    get,
    path = "/api/health/live",
    tag = "Health",
    responses((status = 200, description = "It runs.", body = LivenessReport))
)]
async fn live() -> Response {
    let report = LivenessReport {
        status: "alive",
        timestamp: timestamp(),
    };
    answer(true, report)
}

/// Whether this process should be sent requests
///
/// It is ready when it serves and when what it cannot do without answered the last probe.
#[utoipa::path(
    get,
    path = "/api/health/ready",
    tag = "Health",
    responses(
        (status = 200, description = "It is ready.", body = ReadinessReport),
        (status = 503, description = "It is not.", body = ReadinessReport),
    )
)]
async fn ready(State(health): State<Health>) -> Response {
    let ready = health.is_ready();
    let dependencies = health.read_checks(|checks| {
        let reports = checks.iter().map(|check| (check.name, check.report()));
        reports.collect()
    });
    let service = match (health.started(), health.draining()) {
        (_, true) => "draining",
        (false, false) => "starting",
        (true, false) => "ok",
    };
    answer(
        ready,
        ReadinessReport {
            status: if ready { "ready" } else { "not ready" },
            timestamp: timestamp(),
            checks: Checks {
                service,
                dependencies,
            },
        },
    )
}

fn answer(ok: bool, body: impl Serialize) -> Response {
    const NEVER_CACHED: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];
    if ok {
        (NEVER_CACHED, Json(body)).into_response()
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            NEVER_CACHED,
            [(header::RETRY_AFTER, "5")],
            Json(body),
        )
            .into_response()
    }
}

fn timestamp() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

/// With one decimal, since a healthy dependency answers within a few.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}
