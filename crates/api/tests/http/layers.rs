//! What the layers add to every answer.

use std::time::{Duration, Instant};

use axum::body::Body;
use http::{Request, StatusCode};

use crate::Api;

#[tokio::test]
async fn a_sane_request_id_is_echoed_and_any_other_replaced() {
    let api = Api::start().await;
    for (sent, kept) in [
        ("order-42", true),
        ("two words", false),
        (&"x".repeat(129), false),
    ] {
        let request = Request::get("/")
            .header("x-request-id", sent)
            .body(Body::empty())
            .unwrap();
        let answer = api.send(request).await;
        assert_eq!(answer.headers["x-request-id"] == sent, kept, "{sent}");
    }
    let answer = api.get("/api/nowhere", None).await;
    assert_eq!(
        (answer.text("error"), answer.text("instance")),
        ("Route not found", "/api/nowhere")
    );
}

#[tokio::test]
async fn browsers_are_told_to_be_careful_with_every_answer() {
    let api = Api::start().await;
    let admin = api.admin().await;
    for (path, person) in [
        ("/", None),
        ("/api/products", None),
        ("/api/nowhere", None),
        ("/api/orders", None),
        ("/api/orders", Some(&admin)),
        ("/api/health/live", None),
    ] {
        let headers = api.get(path, person).await.headers;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(headers[name], value, "{path}");
        }
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("frame-ancestors 'none'"), "{path}");
        let cached = headers["cache-control"].to_str().unwrap();
        assert_eq!(
            cached == "no-store",
            path != "/api/products",
            "{path}: {cached}"
        );
    }
}

#[tokio::test]
async fn only_our_own_pages_may_read_answers() {
    let api = Api::start_with(&[(
        "CORS_ORIGIN",
        "https://shop.example.in,https://admin.example.in",
    )])
    .await;
    for (origin, allowed) in [
        ("https://shop.example.in", true),
        ("https://admin.example.in", true),
        ("https://evil.example", false),
        ("null", false),
    ] {
        for path in ["/api/products", "/api/nowhere"] {
            let request = Request::get(path)
                .header("origin", origin)
                .body(Body::empty())
                .unwrap();
            let answer = api.send(request).await;
            let told = answer.headers.get("access-control-allow-origin");
            assert_eq!(
                told.map(|value| value.to_str().unwrap()),
                allowed.then_some(origin),
                "{path}"
            );
        }
    }
    let preflight = Request::options("/api/orders/1/status")
        .header("origin", "https://shop.example.in")
        .header("access-control-request-method", "PATCH")
        .header(
            "access-control-request-headers",
            "authorization,content-type",
        )
        .body(Body::empty())
        .unwrap();
    let answer = api.send(preflight).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(
        answer.headers["access-control-allow-methods"]
            .to_str()
            .unwrap()
            .contains("PATCH")
    );
    assert!(
        answer.headers["access-control-allow-headers"]
            .to_str()
            .unwrap()
            .contains("authorization")
    );
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_503_with_a_time_to_come_back() {
    let api = Api::start_with(&[
        ("CHAOS_ENABLED", "true"),
        ("CHAOS_LATENCY_MS", "5000"),
        ("REQUEST_TIMEOUT", "50"),
    ])
    .await;
    let begin = Instant::now();
    let answer = api.get("/api/products", None).await;
    assert_eq!(
        (answer.status, answer.text("code")),
        (StatusCode::SERVICE_UNAVAILABLE, "timed_out")
    );
    assert!(answer.headers.contains_key("retry-after"));
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert_eq!(
        api.get("/api/health/live", None).await.status,
        StatusCode::OK,
        "no chaos for probes"
    );
}

#[tokio::test]
async fn latency_is_added_only_when_chaos_is_enabled() {
    let settings = [
        ("CHAOS_ENABLED", "false"),
        ("CHAOS_LATENCY_MS", "5000"),
        ("REQUEST_TIMEOUT", "2000"),
    ];
    let api = Api::start_with(&settings).await;
    assert_eq!(api.get("/", None).await.status, StatusCode::OK);
}
