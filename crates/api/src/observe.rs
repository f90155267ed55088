//! The outermost layer: the request's id, its span, its line in the log, its metrics, and the body
//! of a problem.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use bharatmart_telemetry::metrics::{
    ERRORS_TOTAL, HTTP_REQUEST_DURATION_SECONDS, HTTP_REQUESTS_IN_FLIGHT, HTTP_REQUESTS_TOTAL,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use metrics::{counter, gauge, histogram};
use tracing::{Instrument, info_span};
use uuid::Uuid;

use crate::{problem::Problem, router::HEALTH};

/// Names a request in answers and logs.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longer ids are not taken over from clients, since they go into every line of the log.
const LONGEST_ID: usize = 128;

/// The client's own id, if it is sane, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| {
            (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
        })
        .map_or_else(|| Uuid::new_v4().to_string(), str::to_owned)
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
struct InFlight;

impl InFlight {
    fn new() -> Self {
        gauge!(HTTP_REQUESTS_IN_FLIGHT).increment(1.0);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        gauge!(HTTP_REQUESTS_IN_FLIGHT).decrement(1.0);
    }
}

pub(crate) async fn middleware(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let _in_flight = InFlight::new();
    let request_id = request_id(request.headers());
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or_else(
        || "unmatched".to_owned(),
        |matched| matched.as_str().to_owned(),
    );
    let path = request.uri().path().to_owned();
    let span = info_span!("request", request_id, method, route);

    let mut response = next.run(request).instrument(span.clone()).await;

    let status = response.status();
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        if status.is_server_error() {
            counter!(ERRORS_TOTAL, "error_type" => problem.code(), "endpoint" => route.clone())
                .increment(1);
        }
        problem.write(&mut response, &path, &request_id);
    }
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let elapsed = started.elapsed();
    let labels = [
        ("method", method.into()),
        ("route", metrics::SharedString::from(route)),
        ("status_code", status.as_str().to_owned().into()),
    ];
    counter!(HTTP_REQUESTS_TOTAL, &labels).increment(1);
    histogram!(HTTP_REQUEST_DURATION_SECONDS, &labels).record(elapsed);
    let _entered = span.enter();
    let status = status.as_u16();
    // Microseconds are precise enough, and shorter to read.
    let duration_ms = (elapsed.as_secs_f64() * 1_000_000.0).round() / 1000.0;
    if path.starts_with(HEALTH) {
        // Asked every few seconds by everything around us.
        tracing::debug!(path, status, duration_ms, "{method} {path} {status}");
    } else {
        tracing::info!(path, status, duration_ms, "{method} {path} {status}");
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_id_is_kept_and_any_other_is_replaced() {
        let of = |id: &[u8]| {
            let headers =
                HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_bytes(id).unwrap())]);
            request_id(&headers)
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
