//! The resources' routers together, and the layers around them.

use std::{any::Any, time::Duration};

use axum::{
    Router,
    body::HttpBody,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use bharatmart_config::{ApiConfig, ChaosConfig};
use bharatmart_lifecycle::Health;
use bharatmart_telemetry::metrics::{CHAOS_EVENTS_TOTAL, SIMULATED_LATENCY_MS};
use http::{
    HeaderName, HeaderValue, Method,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER},
};
use http_body_util::BodyExt;
use metrics::{counter, gauge};
use tower_http::{catch_panic::CatchPanicLayer, cors::CorsLayer};

use crate::{
    auth,
    cached::X_CACHE,
    error::ApiError,
    observe::{self, REQUEST_ID},
    orders, payments, products, queues,
    state::AppState,
    system, users,
};

/// The longest body, in bytes.
pub(crate) const MAX_BODY: usize = 1024 * 1024;
/// As much of a body that is too long is read and dropped, so that its sender gets to see the answer.
const MAX_DISCARDED: usize = 16 * MAX_BODY;
/// Where load balancers and people look to see whether something is wrong.
pub(crate) const HEALTH: &str = "/api/health";

/// The settings of the layers.
#[derive(Clone, Debug)]
pub struct RouterOptions {
    /// The origins whose pages may call the API.
    pub cors_origins: Vec<String>,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// The delay that is added on purpose, if it is enabled.
    pub chaos: ChaosConfig,
}

impl From<&ApiConfig> for RouterOptions {
    fn from(config: &ApiConfig) -> Self {
        Self {
            cors_origins: config.http.cors_origins.clone(),
            request_timeout: config.http.request_timeout,
            chaos: config.chaos.clone(),
        }
    }
}

/// Every route of the API, with its layers.
pub fn build_router(state: AppState, health: &Health, options: &RouterOptions) -> Router {
    let routes = Router::new()
        .merge(auth::router())
        .merge(orders::router())
        .merge(payments::router())
        .merge(products::router())
        .merge(queues::router())
        .merge(system::router())
        .merge(users::router())
        .with_state(state)
        .merge(health.router());
    with_layers(routes, options)
}

fn with_layers(routes: Router, options: &RouterOptions) -> Router {
    routes
        .fallback(async || ApiError::RouteNotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        // A request meets the layers from the last to the first:
        // 1. `observe` gives it an id, sees every answer, whichever layer gave it, logs and counts it,
        //    and writes the bodies of problems;
        // 2. CORS answers preflights and marks all other answers, also those of the layers below,
        //    since a browser hides an unmarked error from its page;
        // 3. a panic becomes an answer, also one in `guard`;
        // 4. `guard` bounds time and size, and delays on purpose, within the time;
        // 5. the body limit tells the extractors how much to read at most.
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(Guard::new(options), Guard::middleware))
        .layer(CatchPanicLayer::custom(after_panic))
        .layer(cors(&options.cors_origins))
        .layer(from_fn(observe::middleware))
}

fn cors(origins: &[String]) -> CorsLayer {
    let origins: Vec<_> = origins
        .iter()
        .filter_map(|origin| HeaderValue::from_str(origin).ok())
        .collect();
    CorsLayer::new()
        .allow_origin(origins)
        .allow_credentials(true)
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        .allow_headers([ACCEPT, AUTHORIZATION, CONTENT_TYPE, PREFER, REQUEST_ID])
        .expose_headers([
            LOCATION,
            RETRY_AFTER,
            X_CACHE,
            payments::PREFERENCE_APPLIED,
            REQUEST_ID,
        ])
        .max_age(Duration::from_mins(10))
}

const PREFER: HeaderName = HeaderName::from_static("prefer");

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that the layer wants"
)]
fn after_panic(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "no message".to_owned());
    ApiError::Internal(format!("a handler panicked: {message}").into()).into_response()
}

#[derive(Clone, Copy)]
struct Guard {
    request_timeout: Duration,
    /// Zero unless chaos is enabled.
    latency: Duration,
}

impl Guard {
    fn new(options: &RouterOptions) -> Self {
        let latency = if options.chaos.enabled {
            options.chaos.latency
        } else {
            Duration::ZERO
        };
        gauge!(SIMULATED_LATENCY_MS).set(latency.as_secs_f64() * 1000.0);
        Self {
            request_timeout: options.request_timeout,
            latency,
        }
    }

    async fn middleware(State(guard): State<Self>, request: Request, next: Next) -> Response {
        let answer = async {
            if !guard.latency.is_zero() && !request.uri().path().starts_with(HEALTH) {
                counter!(CHAOS_EVENTS_TOTAL).increment(1);
                tokio::time::sleep(guard.latency).await;
            }
            // Whether a handler reads the body or not.
            if request.body().size_hint().lower() > MAX_BODY as u64 {
                discard(request).await;
                return ApiError::BodyTooLarge(MAX_BODY).into_response();
            }
            next.run(request).await
        };
        tokio::time::timeout(guard.request_timeout, answer)
            .await
            .unwrap_or_else(|_| ApiError::TimedOut(guard.request_timeout).into_response())
    }
}

/// Reads and drops a body, since closing a connection that still receives makes the client's side
/// throw the answer away.
async fn discard(request: Request) {
    if request.headers().contains_key(http::header::EXPECT) {
        // The client has not begun to send it.
        return;
    }
    let mut body = request.into_body();
    let mut discarded = 0;
    while discarded < MAX_DISCARDED
        && let Some(Ok(frame)) = body.frame().await
    {
        discarded += frame.data_ref().map_or(0, bytes::Bytes::len);
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, routing::get};
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_answer_that_tells_nothing_of_it() {
        let panics = async || -> &'static str { panic!("the password is 42") };
        let options = RouterOptions {
            cors_origins: vec!["https://shop.example.in".to_owned()],
            request_timeout: Duration::from_secs(5),
            chaos: ChaosConfig {
                enabled: false,
                latency: Duration::ZERO,
            },
        };
        let router = with_layers(Router::new().route("/", get(panics)), &options);
        let request = Request::get("/")
            .header("origin", "https://shop.example.in")
            .header(REQUEST_ID, "mine")
            .body(Body::empty())
            .unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), http::StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            response.headers()["access-control-allow-origin"],
            "https://shop.example.in",
            "a page may read its own errors"
        );
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            (&body["code"], &body["request_id"]),
            (&"internal_error".into(), &"mine".into())
        );
        assert!(!body.to_string().contains("42"), "{body}");
    }
}
