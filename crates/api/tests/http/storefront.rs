//! The storefront's pages beside the API.

use std::fs;

use axum::body::Body;
use bharatmart_config::{ApiConfig, Source};
use bharatmart_test_support::ScratchDir;
use http::{Request, StatusCode};

use crate::{Answer, Api};

const PAGE: &str = "<!doctype html><title>Shop</title>";
const SCRIPT: &str = "/assets/index-1a2b.js";
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// As a build leaves it, but for a file above it that is nobody's business.
fn built() -> ScratchDir {
    let folder = ScratchDir::create().expect("the temporary folder can be written");
    let dist = folder.path().join("dist");
    fs::create_dir_all(dist.join("assets")).expect("it can be made");
    for (name, text) in [
        ("../secret", "secret"),
        (".env", "secret"),
        ("index.html", PAGE),
        ("robots.txt", "User-agent: *"),
        ("config.json", r#"{"apiUrl":"https://elsewhere.example"}"#),
        ("assets/index-1a2b.js", &script()),
        ("assets/small-3c4d.js", "plain"),
        ("assets/small-3c4d.js.gz", "gzipped"),
        ("assets/small-3c4d.js.br", "brotli"),
    ] {
        fs::write(dist.join(name), text).expect("it can be written");
    }
    folder
}

/// Long enough to be compressed.
fn script() -> String {
    "console.log('bharatmart');".repeat(100)
}

async fn start(folder: &ScratchDir) -> Api {
    let dist = folder.path().join("dist");
    let dist = dist.to_str().expect("plain letters");
    // One request of the API in a window: pages are not counted.
    Api::start_with(&[("FRONTEND_DIST", dist), ("RATE_LIMIT_MAX_REQUESTS", "1")]).await
}

async fn ask(api: &Api, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).expect("the request is good");
    api.send(request).await
}

/// As a browser asks for what its address line says.
async fn visit(api: &Api, path: &str) -> Answer {
    let accept = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    ask(api, "GET", path, &[accept]).await
}

#[tokio::test]
async fn every_path_that_nothing_else_has_is_the_page() {
    let folder = built();
    let api = start(&folder).await;
    let long_name = format!("/products/{}", "x".repeat(300));
    for path in [
        "/",
        "/index.html",
        "/products/1?tab=2",
        "/orders/",
        "/apiary",
        "/assets",
        "/%00",
        &long_name,
    ] {
        for method in ["GET", "HEAD"] {
            let answer = ask(&api, method, path, &[("accept", "text/html")]).await;
            assert_eq!(answer.status, StatusCode::OK, "{method} {path}");
            if method == "GET" {
                assert_eq!(answer.body, PAGE, "{path}");
            }
            let header = |name: &str| answer.headers[name].to_str().expect("text");
            assert_eq!(header("content-type"), "text/html", "{path}");
            assert_eq!(header("cache-control"), "no-cache", "{path}");
            assert_eq!(header("content-length"), PAGE.len().to_string(), "{path}");
            assert_eq!(
                header("cross-origin-opener-policy"),
                "same-origin",
                "{path}"
            );
            assert!(header("permissions-policy").contains("camera=()"), "{path}");
            assert_eq!(
                header("content-security-policy"),
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https:; font-src 'self'; \
                 manifest-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn files_are_kept_as_long_as_their_names_stand_for_them() {
    let folder = built();
    let api = start(&folder).await;
    let answer = visit(&api, SCRIPT).await;
    assert_eq!(answer.body, script());
    assert_eq!(answer.headers["cache-control"], FOR_EVER);
    assert_eq!(answer.headers["content-type"], "text/javascript");
    let robots = visit(&api, "/robots.txt").await;
    assert_eq!(robots.body, "User-agent: *");
    assert_eq!(robots.headers["cache-control"], "no-cache");
    let config = visit(&api, "/config.json").await;
    assert_eq!(config.body["apiUrl"], "", "the API is here");
    assert_eq!(config.headers["cache-control"], "no-cache");
}

#[tokio::test]
async fn what_a_browser_has_is_not_sent_again_until_it_changes() {
    let folder = built();
    let api = start(&folder).await;
    for path in ["/", "/orders", SCRIPT] {
        let first = visit(&api, path).await;
        for (name, since) in [
            ("if-none-match", "etag"),
            ("if-modified-since", "last-modified"),
        ] {
            let known = first.headers[since].to_str().expect("text");
            let again = ask(&api, "GET", path, &[("accept", "text/html"), (name, known)]).await;
            assert_eq!(again.status, StatusCode::NOT_MODIFIED, "{path} {name}");
            let kept = &first.headers["cache-control"];
            assert_eq!(&again.headers["cache-control"], kept, "{path} {name}");
        }
    }
    let first = visit(&api, "/").await;
    let index = folder.path().join("dist/index.html");
    fs::write(&index, "<!doctype html><title>A newer shop</title>").expect("it can be written");
    let tag = first.headers["etag"].to_str().expect("text");
    let accept = ("accept", "text/html");
    let again = ask(&api, "GET", "/", &[accept, ("if-none-match", tag)]).await;
    assert_eq!(again.status, StatusCode::OK);
}

#[tokio::test]
async fn scripts_are_compressed_by_the_build_or_on_the_way() {
    let folder = built();
    let api = start(&folder).await;
    for (accepted, text) in [
        ("br, gzip", "brotli"),
        ("gzip", "gzipped"),
        ("zstd", "plain"),
    ] {
        let path = "/assets/small-3c4d.js";
        let answer = ask(&api, "GET", path, &[("accept-encoding", accepted)]).await;
        assert_eq!(answer.body, text, "{accepted}");
        let encoding = answer.headers.get("content-encoding");
        let expected = (text != "plain")
            .then(|| accepted.split(',').next())
            .flatten();
        assert_eq!(
            encoding.map(|value| value.to_str().expect("text")),
            expected,
            "{accepted}"
        );
        assert_eq!(answer.headers["content-type"], "text/javascript");
        assert_eq!(answer.headers["cache-control"], FOR_EVER);
    }
    let answer = ask(&api, "GET", SCRIPT, &[("accept-encoding", "gzip")]).await;
    assert_eq!(answer.headers["content-encoding"], "gzip");
    let bytes = answer.body.as_str().expect("bytes").len();
    assert!(bytes * 5 < script().len(), "{bytes}");
}

#[tokio::test]
async fn files_are_whole_whatever_part_is_asked_for() {
    let folder = built();
    let api = start(&folder).await;
    for asked in [
        ("range", "bytes=0-3"),
        ("range", "bytes=999999-"),
        ("if-match", "\"another\""),
        ("if-unmodified-since", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ] {
        for (path, whole) in [("/orders", PAGE.to_owned()), (SCRIPT, script())] {
            let answer = ask(&api, "GET", path, &[asked]).await;
            assert_eq!(answer.status, StatusCode::OK, "{path} {asked:?}");
            assert_eq!(answer.body, whole, "{path} {asked:?}");
        }
    }
}

#[tokio::test]
async fn programs_and_mistakes_are_answered_as_ever() {
    let folder = built();
    let api = start(&folder).await;
    let about = ask(&api, "GET", "/", &[("accept", "*/*")]).await;
    assert_eq!(about.body["name"], "BharatMart API");
    let vary: Vec<_> = about.headers.get_all("vary").iter().collect();
    assert!(
        vary.contains(&"accept".parse().as_ref().expect("text")),
        "{vary:?}"
    );
    for path in [
        "/api",
        "/assets/old-0000.js",
        "/assets/",
        "/assets/../index.html",
    ] {
        let answer = visit(&api, path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    let posted = api.call("POST", "/orders", None, Some("{}")).await;
    assert_eq!(posted.status, StatusCode::NOT_FOUND);
    let second = visit(&api, "/api/nothing").await;
    assert_eq!(
        second.status,
        StatusCode::TOO_MANY_REQUESTS,
        "only pages are not counted"
    );
}

#[tokio::test]
async fn nothing_outside_the_folder_is_served() {
    let folder = built();
    let api = start(&folder).await;
    for path in [
        "/../secret",
        "/..%2fsecret",
        "/%2e%2e/secret",
        "/assets/../../secret",
        "/assets/..%2f..%2fsecret",
        "/assets/%2e%2e/%2e%2e/secret",
        "//secret",
        "/.env",
        "/%2eenv",
        "/%2Eenv",
        "/assets/../.env",
    ] {
        let answer = visit(&api, path).await;
        assert!(
            answer.body == PAGE || answer.status == StatusCode::NOT_FOUND,
            "{path}: {}",
            answer.body
        );
    }
}

#[tokio::test]
async fn a_page_that_cannot_be_read_is_an_error_of_ours() {
    let folder = built();
    let api = start(&folder).await;
    let index = folder.path().join("dist/index.html");
    fs::remove_file(&index).expect("it is there");
    assert_eq!(visit(&api, "/orders").await.status, StatusCode::NOT_FOUND);
    // It leads to itself.
    std::os::unix::fs::symlink(&index, &index).expect("it can be made");
    let answer = visit(&api, "/orders").await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.headers["cache-control"], "no-store");
}

#[tokio::test]
async fn without_a_storefront_there_are_no_pages() {
    let api = Api::start().await;
    assert_eq!(visit(&api, "/orders").await.status, StatusCode::NOT_FOUND);
    assert_eq!(visit(&api, "/").await.body["status"], "running");
}

#[test]
fn a_folder_without_a_page_is_refused_at_start() {
    let folder = ScratchDir::create().expect("the temporary folder can be written");
    for dist in [folder.path().to_owned(), folder.path().join("missing")] {
        let dist = dist.to_str().expect("plain letters");
        let settings = [
            ("DATABASE_URL", "postgres://127.0.0.1/shop"),
            ("JWT_SECRET", "a secret for tests, at least 32 bytes long"),
            ("FRONTEND_DIST", dist),
        ];
        let source = Source::from_map(settings.iter().copied());
        let error = ApiConfig::read(&source)
            .expect_err("there is no page")
            .to_string();
        assert!(
            error.contains("FRONTEND_DIST") && error.contains("index.html") && error.contains(dist),
            "{error}"
        );
    }
}
