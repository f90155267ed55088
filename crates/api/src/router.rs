//! The resources' routers together, and the layers around them.

use std::{
    any::Any,
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::HttpBody,
    extract::{DefaultBodyLimit, Request},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
};
use bharatmart_config::{ApiConfig, ChaosConfig};
use bharatmart_lifecycle::Health;
use bharatmart_telemetry::metrics::{CHAOS_EVENTS_TOTAL, SIMULATED_LATENCY_MS};
use futures_util::{
    FutureExt, TryFutureExt,
    future::{Either, MapOk},
};
use http::{
    HeaderName, HeaderValue, Method,
    header::{
        ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION, ORIGIN,
        RETRY_AFTER, VARY,
    },
};
use http_body_util::BodyExt;
use metrics::{counter, gauge};
use tower::{Layer, Service, util::MapResponseLayer};
use tower_http::cors::{Cors, CorsLayer};
use utoipa_axum::router::OpenApiRouter;

use crate::{
    answer::REPLAYED,
    audit, auth,
    cached::X_CACHE,
    compress::Compress,
    consistency::{self, Consistency},
    docs,
    error::ApiError,
    events, exports,
    extract::{IDEMPOTENCY_KEY, LAST_EVENT_ID},
    import,
    limits::{self, Limit},
    observe::{Observe, REQUEST_ID},
    orders, payments, products, queues, recovery,
    secured::secured,
    state::AppState,
    storefront, system, users, webhooks,
};

/// The longest body, in bytes, but for that of an import.
pub(crate) const MAX_BODY: usize = 1024 * 1024;
/// As much of a body that is too long is read and dropped, so that its sender gets to see the answer.
const MAX_DISCARDED: usize = 16 * MAX_BODY;
/// How long that may take.
const DISCARDING: Duration = Duration::from_secs(2);
/// Where load balancers and people look to see whether something is wrong.
pub(crate) const HEALTH: &str = "/api/health";

/// The settings of the layers.
#[derive(Clone, Debug)]
pub struct RouterOptions {
    /// The origins whose pages may call the API.
    pub cors_origins: Vec<String>,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// How much a replica may lag that is read from.
    pub max_replica_lag: Duration,
    /// The delay that is added on purpose, if it is enabled.
    pub chaos: ChaosConfig,
}

impl From<&ApiConfig> for RouterOptions {
    fn from(config: &ApiConfig) -> Self {
        Self {
            cors_origins: config.http.cors_origins.clone(),
            request_timeout: config.http.request_timeout,
            max_replica_lag: config.database.max_replica_lag,
            chaos: config.chaos.clone(),
        }
    }
}

/// Every route of the API, with its layers.
pub fn build_router(state: AppState, health: &Health, options: &RouterOptions) -> Router {
    let consistency = Consistency::new(&state.database, options);
    let limits = Limit(Some(Arc::clone(&state.limits)));
    let routes = Router::from(routes())
        .fallback(storefront::answer)
        .with_state(state)
        .merge(health.router())
        .merge(Router::from(docs::router()));
    with_layers(routes, limits, consistency, options)
}

/// The resources' routes, with their part of the OpenAPI document.
pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::default()
        .merge(audit::router())
        .merge(auth::router())
        .merge(events::router())
        .merge(exports::router())
        .merge(import::router())
        .merge(orders::router())
        .merge(payments::router())
        .merge(products::router())
        .merge(queues::router())
        .merge(recovery::router())
        .merge(system::router())
        .merge(users::router())
        .merge(webhooks::router())
}

pub(crate) fn with_layers(
    routes: Router,
    limits: Limit,
    consistency: Option<Consistency>,
    options: &RouterOptions,
) -> Router {
    let routes = routes.method_not_allowed_fallback(async || ApiError::MethodNotAllowed);
    // A request meets the layers in this order:
    // 1. `Observe` gives it an id, sees every answer, whichever layer gave it, logs and counts it,
    //    and writes the bodies of problems;
    // 2. `Compress` makes long answers short for those who take that;
    // 3. every answer gets the headers that make a browser careful with it;
    // 4. CORS answers preflights and marks all other answers, also those of the layers below,
    //    since a browser hides an unmarked error from its page;
    // 5. `Limit` refuses it when there is too much to do, counts it for its client, and refuses what is too much;
    // 6. with replicas, `Consistency` gives it the database as its client has to see it, and every answer
    //    behind which something may have been written a token, also one that came too late;
    // 7. `Guard` turns a panic into an answer, bounds time and size, and delays on purpose, within
    //    the time;
    // 8. the body limit tells the extractors how much to read at most.
    // They are one layer to axum, which would box and clone each of several for every request.
    let outer = (
        Observe::new(),
        Compress,
        MapResponseLayer::new(secured as fn(Response) -> Response),
        CrossOrigin::new(&options.cors_origins),
        limits,
    );
    let inner = (Guard::new(options), DefaultBodyLimit::max(MAX_BODY));
    match consistency {
        None => routes.layer((outer, inner)),
        Some(consistency) => {
            let consistent = from_fn_with_state(consistency, consistency::keep);
            routes.layer((outer, consistent, inner))
        }
    }
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
        .allow_headers([
            ACCEPT,
            AUTHORIZATION,
            CACHE_CONTROL,
            CONTENT_TYPE,
            IF_NONE_MATCH,
            LAST_EVENT_ID,
            PREFER,
            REQUEST_ID,
            consistency::TOKEN,
            IDEMPOTENCY_KEY,
        ])
        .expose_headers(
            [
                ETAG,
                LOCATION,
                RETRY_AFTER,
                X_CACHE,
                payments::PREFERENCE_APPLIED,
                REQUEST_ID,
                consistency::TOKEN,
                REPLAYED,
            ]
            .into_iter()
            .chain(limits::EXPOSED)
            .collect::<Vec<_>>(),
        )
        .max_age(Duration::from_mins(10))
}

/// Puts [`Marked`] around a service.
#[derive(Clone)]
struct CrossOrigin(Arc<CorsLayer>);

impl CrossOrigin {
    fn new(origins: &[String]) -> Self {
        Self(Arc::new(cors(origins)))
    }
}

impl<S> Layer<S> for CrossOrigin {
    type Service = Marked<S>;

    fn layer(&self, inner: S) -> Marked<S> {
        Marked {
            inner,
            cors: Arc::clone(&self.0),
        }
    }
}

/// A service whose answers pages of other origins may read.
#[derive(Clone)]
struct Marked<S> {
    inner: S,
    /// Shared, since axum clones the service for every request.
    cors: Arc<CorsLayer>,
}

impl<S> Service<Request> for Marked<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone,
{
    type Response = Response;
    type Error = Infallible;
    type Future =
        Either<<Cors<S> as Service<Request>>::Future, MapOk<S::Future, fn(Response) -> Response>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // A request that no page of another origin makes needs no marks: `Vary` alone tells caches that
        // the others get some.
        if !request.headers().contains_key(ORIGIN) && request.method() != Method::OPTIONS {
            return Either::Right(self.inner.call(request).map_ok(vary_by_origin));
        }
        // The one that has said that it is ready is to be called.
        let next = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, next);
        Either::Left(self.cors.layer(ready).call(request))
    }
}

fn vary_by_origin(mut response: Response) -> Response {
    response
        .headers_mut()
        .append(VARY, HeaderValue::from_static("origin"));
    response
}

const PREFER: HeaderName = HeaderName::from_static("prefer");

fn after_panic(panic: &(dyn Any + Send)) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    ApiError::Internal(format!("a handler panicked: {message}").into()).into_response()
}

/// Puts [`Guarded`] around a service.
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
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            inner,
            guard: *self,
        }
    }
}

/// A service that always answers, and in time.
#[derive(Clone)]
struct Guarded<S> {
    inner: S,
    guard: Guard,
}

impl<S> Service<Request> for Guarded<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let guard = self.guard;
        let delayed = !guard.latency.is_zero() && !request.uri().path().starts_with(HEALTH);
        let (max_body, timeout) = if import::is_import(&request) {
            (import::MAX_BODY, guard.request_timeout.max(import::TIMEOUT))
        } else {
            (MAX_BODY, guard.request_timeout)
        };
        // Whether a handler reads the body or not.
        let next = if request.body().size_hint().lower() > max_body as u64 {
            Either::Left(refuse(request, max_body))
        } else {
            // Nothing of a handler runs before this is awaited.
            Either::Right(self.inner.call(request))
        };
        Box::pin(async move {
            let answer = async {
                if delayed {
                    counter!(CHAOS_EVENTS_TOTAL).increment(1);
                    tokio::time::sleep(guard.latency).await;
                }
                next.await
            };
            // What a handler shares with others holds no half-made state across an await.
            let answer = AssertUnwindSafe(answer).catch_unwind();
            match tokio::time::timeout(timeout, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(panic)) => Ok(after_panic(&*panic)),
                Err(_) => Ok(ApiError::TimedOut(timeout).into_response()),
            }
        })
    }
}

async fn refuse(request: Request, max_body: usize) -> Result<Response, Infallible> {
    discard(request).await;
    Ok(ApiError::BodyTooLarge(max_body).into_response())
}

/// Reads and drops a body, since closing a connection that still receives makes the client's side
/// throw the answer away. Whoever sends for longer than that takes will have to do without.
pub(crate) async fn discard(request: Request) {
    if request.headers().contains_key(http::header::EXPECT) {
        // The client has not begun to send it.
        return;
    }
    let mut body = request.into_body();
    let discarding = async {
        let mut discarded = 0;
        while discarded < MAX_DISCARDED
            && let Some(Ok(frame)) = body.frame().await
        {
            discarded += frame.data_ref().map_or(0, bytes::Bytes::len);
        }
    };
    if tokio::time::timeout(DISCARDING, discarding).await.is_err() {
        tracing::debug!("a body that nobody wants was not discarded in time");
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, routing::get};
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;

    const SHOP: &str = "https://shop.example.in";

    fn options() -> RouterOptions {
        RouterOptions {
            cors_origins: vec![SHOP.to_owned()],
            request_timeout: Duration::from_secs(5),
            max_replica_lag: Duration::from_secs(10),
            chaos: ChaosConfig {
                enabled: false,
                latency: Duration::ZERO,
            },
        }
    }

    #[tokio::test]
    async fn every_answer_says_that_it_depends_on_the_origin() {
        let router = with_layers(
            Router::new().route("/", get(async || "text")),
            Limit(None),
            None,
            &options(),
        );
        for (origin, allowed) in [
            (None, None),
            (Some("https://evil.example"), None),
            (Some(SHOP), Some(SHOP)),
        ] {
            for path in ["/", "/nowhere"] {
                let mut request = Request::get(path);
                if let Some(origin) = origin {
                    request = request.header(ORIGIN, origin);
                }
                let request = request.body(Body::empty()).unwrap();
                let response = router.clone().oneshot(request).await.unwrap();
                let vary: Vec<_> = response.headers().get_all(VARY).iter().collect();
                assert_eq!(vary, ["origin"], "{origin:?} {path}");
                let told = response.headers().get("access-control-allow-origin");
                assert_eq!(
                    told.map(|value| value.to_str().unwrap()),
                    allowed,
                    "{origin:?} {path}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_that_tells_nothing_of_it() {
        let panics = async || -> &'static str { panic!("the password is 42") };
        let router = with_layers(
            Router::new().route("/", get(panics)),
            Limit(None),
            None,
            &options(),
        );
        let request = Request::get("/")
            .header(ORIGIN, SHOP)
            .header(REQUEST_ID, "mine")
            .body(Body::empty())
            .unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), http::StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            response.headers()["access-control-allow-origin"],
            SHOP,
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
