//! The storefront's pages beside the API.

use std::fs;

use axum::body::Body;
use bharatmart_test_support::ScratchDir;
use http::{Request, StatusCode};

use crate::{Answer, Api};

const PAGE: &str = "<!doctype html><title>Shop</title>";
const SCRIPT: &str = "console.log(1)";

fn built() -> ScratchDir {
    let folder = ScratchDir::create().expect("the temporary folder can be written");
    fs::create_dir(folder.path().join("assets")).expect("it can be made");
    for (name, text) in [
        ("index.html", PAGE),
        ("config.json", r#"{"apiUrl":"https://elsewhere.example"}"#),
        ("assets/index-1a2b.js", SCRIPT),
    ] {
        fs::write(folder.path().join(name), text).expect("it can be written");
    }
    folder
}

async fn get(api: &Api, path: &str) -> Answer {
    let request = Request::get(path)
        .header("accept", "text/html,*/*;q=0.8")
        .body(Body::empty())
        .expect("the request is good");
    api.send(request).await
}

#[tokio::test]
async fn pages_files_and_their_settings_are_served_beside_the_api() {
    let folder = built();
    let dist = folder.path().to_str().expect("plain letters");
    let api = Api::start_with(&[("FRONTEND_DIST", dist)]).await;
    for path in [
        "/",
        "/index.html",
        "/products/1?tab=2",
        "/orders",
        "/apiary",
    ] {
        let answer = get(&api, path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.body, PAGE, "{path}");
        assert_eq!(answer.headers["content-type"], "text/html", "{path}");
        assert_eq!(answer.headers["cache-control"], "no-cache", "{path}");
        let policy = answer.headers["content-security-policy"]
            .to_str()
            .expect("text");
        assert!(
            policy.contains("script-src 'self'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert!(!answer.headers.contains_key("ratelimit-limit"), "{path}");
    }
    let script = get(&api, "/assets/index-1a2b.js").await;
    assert_eq!(script.body, SCRIPT);
    assert_eq!(
        script.headers["cache-control"],
        "public, max-age=31536000, immutable"
    );
    let settings = get(&api, "/config.json").await;
    assert_eq!(settings.body["apiUrl"], "", "the API is here");
    assert_eq!(settings.headers["cache-control"], "no-cache");
}

#[tokio::test]
async fn programs_and_mistakes_are_answered_as_ever() {
    let folder = built();
    let dist = folder.path().to_str().expect("plain letters");
    let api = Api::start_with(&[("FRONTEND_DIST", dist)]).await;
    let about = api.get("/", None).await;
    assert_eq!(about.body["name"], "BharatMart API");
    for path in [
        "/api/nothing",
        "/api",
        "/assets/old-0000.js",
        "/assets/../../etc/passwd",
    ] {
        assert_eq!(
            get(&api, path).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    let answer = api.call("POST", "/orders", None, Some("{}")).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);

    let bare = Api::start().await;
    assert_eq!(get(&bare, "/orders").await.status, StatusCode::NOT_FOUND);
    assert_eq!(get(&bare, "/").await.body["status"], "running");
}
