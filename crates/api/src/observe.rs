//! The outermost layer: the request's id, its span, its line in the log, its metrics, and the body
//! of a problem.

use std::{
    cell::RefCell,
    collections::HashMap,
    convert::Infallible,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request},
    response::Response,
};
use bharatmart_telemetry::metrics::{
    ERRORS_TOTAL, HTTP_REQUEST_DURATION_SECONDS, HTTP_REQUESTS_IN_FLIGHT, HTTP_REQUESTS_TOTAL,
};
use bharatmart_telemetry::trace::{self, TRACE_PARENT, TraceContext};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header::CACHE_CONTROL};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tower::{Layer, Service};
use tracing::{Instrument, Span, field, info_span};
use uuid::fmt::Hyphenated;

use crate::{error::OVERLOADED, problem::Problem, router::HEALTH};

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Names a request in answers and logs.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longer ids are not taken over from clients, since they go into every line of the log.
const LONGEST_ID: usize = 128;

/// The id of a request, as the header that its answer gets.
#[derive(Clone)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// The client's own id, if it is sane, else a new one.
    fn of(headers: &HeaderMap) -> Self {
        let sane = |id: &&HeaderValue| {
            (1..=LONGEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        Self(
            headers
                .get(REQUEST_ID)
                .filter(sane)
                .map_or_else(new_id, HeaderValue::clone),
        )
    }

    pub(crate) fn as_str(&self) -> &str {
        // Both kinds are ASCII.
        self.0.to_str().unwrap_or_default()
    }
}

fn new_id() -> HeaderValue {
    let mut text = [0; Hyphenated::LENGTH];
    // The thread's own generator: `Uuid::new_v4` asks the system each time.
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let text = id.hyphenated().encode_lower(&mut text);
    // Digits, letters and hyphens are allowed in a header.
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The trace that the client has begun; what may leave jobs behind begins one otherwise, and everything does where spans are
/// exported.
fn trace_of(request: &Request, span: &Span) -> Option<TraceContext> {
    let sent = request.headers().get(TRACE_PARENT);
    let sent = sent.and_then(|sent| TraceContext::parse(sent.to_str().ok()?));
    trace::place(span, sent).or_else(|| (!request.method().is_safe()).then(TraceContext::begin))
}

/// A method as a label: clients can invent methods, and each would be a series of its own.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "OTHER",
    }
}

/// Counts a request for as long as it is worked on, also when the client hangs up.
struct InFlight(Gauge);

impl InFlight {
    fn new(gauge: Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// The metrics of one kind of request.
struct Series {
    method: &'static str,
    status: StatusCode,
    requests: Counter,
    duration: Histogram,
}

impl Series {
    fn new(method: &'static str, route: &str, status: StatusCode) -> Self {
        let labels = [
            ("method", method.into()),
            ("route", metrics::SharedString::from(route.to_owned())),
            ("status_code", status.as_str().to_owned().into()),
        ];
        Self {
            method,
            status,
            requests: counter!(HTTP_REQUESTS_TOTAL, &labels),
            duration: histogram!(HTTP_REQUEST_DURATION_SECONDS, &labels),
        }
    }
}

thread_local! {
    /// The series of each route that this thread has answered on. To find one among all series of the
    /// process takes several allocations and locks, which is more than the counting itself. There are
    /// as many as there are routes, methods and statuses.
    static SERIES: RefCell<HashMap<Box<str>, Vec<Series>>> = RefCell::default();
}

fn count(method: &'static str, route: &str, status: StatusCode, elapsed: Duration) {
    SERIES.with_borrow_mut(|routes| {
        if !routes.contains_key(route) {
            routes.insert(route.into(), Vec::new());
        }
        let Some(of_route) = routes.get_mut(route) else {
            return;
        };
        let known = of_route
            .iter()
            .position(|series| series.status == status && series.method == method);
        let index = known.unwrap_or_else(|| {
            of_route.push(Series::new(method, route, status));
            of_route.len() - 1
        });
        of_route[index].requests.increment(1);
        of_route[index].duration.record(elapsed);
    });
}

/// Puts [`Observed`] around a service.
#[derive(Clone)]
pub(crate) struct Observe {
    in_flight: Gauge,
}

impl Observe {
    pub(crate) fn new() -> Self {
        Self {
            in_flight: gauge!(HTTP_REQUESTS_IN_FLIGHT),
        }
    }
}

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed {
            inner,
            in_flight: self.in_flight.clone(),
        }
    }
}

/// A service whose requests are named, logged and counted.
#[derive(Clone)]
pub(crate) struct Observed<S> {
    inner: S,
    in_flight: Gauge,
}

impl<S> Service<Request> for Observed<S>
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

    fn call(&mut self, mut request: Request) -> Self::Future {
        let started = Instant::now();
        let in_flight = InFlight::new(self.in_flight.clone());
        let id = RequestId::of(request.headers());
        if !request.method().is_safe() {
            // For the audit log, which is about changes.
            request.extensions_mut().insert(id.clone());
        }
        let method = method_label(request.method());
        let matched = request.extensions().get::<MatchedPath>().cloned();
        let uri = request.uri().clone();
        let span = info_span!(
            "request",
            request_id = id.as_str(),
            method,
            route = matched.as_ref().map_or("unmatched", MatchedPath::as_str),
            trace_id = field::Empty
        );
        let traced = trace_of(&request, &span);
        if let Some(traced) = traced {
            span.record("trace_id", traced.trace_id());
        }
        let answer = trace::scope(traced, self.inner.call(request));
        Box::pin(async move {
            let _in_flight = in_flight;
            let route = matched.as_ref().map_or("unmatched", MatchedPath::as_str);
            let path = uri.path();
            let mut answer = pin!(answer.instrument(span));
            let mut response = answer.as_mut().await?;

            let status = response.status();
            // Asked every few seconds by everything around us.
            let mut is_worth_a_line = !path.starts_with(HEALTH);
            if let Some(problem) = response.extensions_mut().remove::<Problem>() {
                if status.is_server_error() {
                    let route = route.to_owned();
                    counter!(ERRORS_TOTAL, "error_type" => problem.code(), "endpoint" => route)
                        .increment(1);
                }
                // Those are counted, and what writes too many lines cannot do what it is short of time for.
                is_worth_a_line &= problem.code() != OVERLOADED;
                problem.write(&mut response, path, id.as_str());
            }
            let elapsed = started.elapsed();
            count(method, route, status, elapsed);
            answer
                .span()
                .in_scope(|| log(is_worth_a_line, method, path, status, elapsed));
            let headers = response.headers_mut();
            headers.insert(REQUEST_ID, id.0);
            // What does not say that it may be kept is for the one who asked.
            headers.entry(CACHE_CONTROL).or_insert(NO_STORE);
            Ok(response)
        })
    }
}

fn log(is_worth_a_line: bool, method: &str, path: &str, status: StatusCode, elapsed: Duration) {
    let status = status.as_u16();
    // Microseconds are precise enough, and shorter to read.
    let duration_ms = (elapsed.as_secs_f64() * 1_000_000.0).round() / 1000.0;
    if is_worth_a_line {
        tracing::info!(path, status, duration_ms, "{method} {path} {status}");
    } else {
        tracing::debug!(path, status, duration_ms, "{method} {path} {status}");
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_sane_id_is_kept_and_any_other_is_replaced() {
        let of = |id: &[u8]| {
            let headers =
                HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_bytes(id).unwrap())]);
            RequestId::of(&headers).as_str().to_owned()
        };
        assert_eq!(of(b"abc-123"), "abc-123");
        assert_eq!(of(&[b'x'; 128]), "x".repeat(128));
        for id in [
            b"".as_slice(),
            b"a b",
            b"a\tb",
            &[b'x'; 129],
            "é".as_bytes(),
        ] {
            assert!(Uuid::parse_str(&of(id)).is_ok(), "{id:?}");
        }
    }

    #[test]
    fn an_invented_method_is_no_label_of_its_own() {
        assert_eq!(method_label(&Method::GET), "GET");
        assert_eq!(method_label(&Method::from_bytes(b"BREW").unwrap()), "OTHER");
    }
}
