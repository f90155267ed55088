//! The storefront's pages, served beside the API (`FRONTEND_DIST`).
//!
//! Paths that nothing else has are the app's own business, so they are answered with its one page. What is under
//! `/assets/` has its content's hash in its name, and may be kept for ever.

use std::path::Path;

use axum::{
    Json,
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY},
};
use serde_json::json;
use tower::ServiceExt;
use tower_http::services::{ServeDir, ServeFile};

use crate::error::ApiError;

const API: &str = "/api";
const ASSETS: &str = "/assets/";
/// Where the pages look for the API.
const CONFIG: &str = "/config.json";
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Kept, but asked for again each time.
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
/// What the pages may load: their own files, pictures of products from anywhere, and the API beside them.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: data:; font-src 'self'; \
     manifest-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The built storefront, if there is one; cheap to clone.
#[derive(Clone, Debug)]
pub struct Storefront(Option<Files>);

#[derive(Clone, Debug)]
struct Files {
    all: ServeDir,
    page: ServeFile,
}

impl Storefront {
    /// Of this folder.
    #[must_use]
    pub fn new(folder: Option<&Path>) -> Self {
        Self(folder.map(|folder| Files {
            all: ServeDir::new(folder).append_index_html_on_directories(false),
            page: ServeFile::new(folder.join("index.html")),
        }))
    }

    /// The page, for those who ask for `/` to look at it: programs are told what this is.
    pub(crate) async fn at_root(&self, headers: &HeaderMap) -> Option<Response> {
        let files = self.0.as_ref()?;
        let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
        if !accepted.is_some_and(|types| types.contains("text/html")) {
            return None;
        }
        Some(files.page(Request::new(Body::empty())).await)
    }

    /// Answers a request that is for no route of the API.
    pub(crate) async fn answer(&self, request: Request) -> Result<Response, ApiError> {
        let path = request.uri().path().to_owned();
        let is_read = [Method::GET, Method::HEAD].contains(request.method());
        let Some(files) = self.0.as_ref().filter(|_| is_read && !is_of_api(&path)) else {
            return Err(ApiError::RouteNotFound);
        };
        if path == CONFIG {
            // Whatever the build says, the API is here.
            let headers = [(CACHE_CONTROL, NO_CACHE)];
            return Ok((headers, Json(json!({ "apiUrl": "" }))).into_response());
        }
        let is_asset = path.starts_with(ASSETS);
        let (parts, _) = request.into_parts();
        let asked = Request::from_parts(parts.clone(), Body::empty());
        let Ok(response) = files.all.clone().oneshot(asked).await;
        if response.status() != StatusCode::NOT_FOUND {
            let kept = if is_asset { FOR_EVER } else { NO_CACHE };
            return Ok(finished(response.map(Body::new), kept));
        }
        if is_asset {
            return Err(ApiError::NotFound("File"));
        }
        Ok(files.page(Request::from_parts(parts, Body::empty())).await)
    }
}

impl Files {
    async fn page(&self, request: Request) -> Response {
        let Ok(response) = self.page.clone().oneshot(request).await;
        finished(response.map(Body::new), NO_CACHE)
    }
}

fn is_of_api(path: &str) -> bool {
    let rest = path.strip_prefix(API);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn finished(mut response: Response, kept: HeaderValue) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, kept);
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    response
}
