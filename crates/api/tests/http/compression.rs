//! Answers in fewer bytes.

use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::json;
use tower::ServiceExt;

use crate::{Api, PASSWORD};

/// The answer as it goes over the wire.
async fn get(api: &Api, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).expect("the request is good");
    let response = api
        .router
        .clone()
        .oneshot(request)
        .await
        .expect("it always answers");
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("the body ends").to_bytes();
    (parts.status, parts.headers, bytes.to_vec())
}

fn varies(headers: &HeaderMap) -> usize {
    let values = headers.get_all("vary").iter();
    values.filter(|value| *value == "accept-encoding").count()
}

#[tokio::test]
async fn long_answers_are_compressed_for_those_who_take_that() {
    let api = Api::start_with(&[("CACHE_TYPE", "memory")]).await;
    let admin = api.admin().await;
    for number in 0..20 {
        let name = format!("Kite number {number}");
        let kite = json!({ "name": name, "price": 20, "category": "Toys", "stock_quantity": 5 });
        api.product(&admin, &kite).await;
    }
    let (_, plain, body) = get(&api, "/api/products", &[]).await;
    assert!(!plain.contains_key("content-encoding"));
    assert_eq!(
        varies(&plain),
        1,
        "caches must know that there are other forms"
    );
    let tag = plain["etag"].to_str().unwrap();
    assert!(tag.starts_with('"'), "{tag}");

    for encoding in ["gzip", "br", "zstd"] {
        let (status, headers, bytes) =
            get(&api, "/api/products", &[("accept-encoding", encoding)]).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers["content-encoding"], encoding);
        assert_eq!(varies(&headers), 1);
        assert!(
            bytes.len() * 3 < body.len(),
            "{encoding}: {} of {}",
            bytes.len(),
            body.len()
        );
        assert_eq!(headers["etag"], format!("W/{tag}"));
    }
    for known in [tag.to_owned(), format!("W/{tag}")] {
        let sent = [
            ("accept-encoding", "gzip"),
            ("if-none-match", known.as_str()),
        ];
        let (status, headers, bytes) = get(&api, "/api/products", &sent).await;
        assert_eq!(
            (status, bytes.len()),
            (StatusCode::NOT_MODIFIED, 0),
            "{known}"
        );
        assert_eq!(varies(&headers), 1);
    }
    let (_, headers, same) = get(&api, "/api/products", &[("accept-encoding", "deflate")]).await;
    assert!(!headers.contains_key("content-encoding"));
    assert_eq!(same, body);
}

#[tokio::test]
async fn short_answers_and_those_with_tokens_are_not() {
    let api = Api::start().await;
    let customer = api.customer("priya").await;
    let token = format!("Bearer {}", customer.token);
    let sent = [
        ("accept-encoding", "gzip"),
        ("authorization", token.as_str()),
    ];
    for path in ["/api/categories", "/api/auth/me", "/api/nowhere", "/"] {
        let (_, headers, _) = get(&api, path, &sent).await;
        assert!(!headers.contains_key("content-encoding"), "{path}");
    }
    let body = json!({ "email": customer.email, "password": PASSWORD }).to_string();
    let request = Request::post("/api/auth/login")
        .header("accept-encoding", "gzip")
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap();
    // It reads the body as JSON.
    let answer = api.send(request).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!answer.headers.contains_key("content-encoding"));
}
