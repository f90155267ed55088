//! The storefront's pages, served beside the API (`FRONTEND_DIST`).
//!
//! Paths that nothing else has are the app's own business, so they are answered with its one page. What is under
//! `/assets/` has its content's hash in its name, and may be kept for ever.

use std::{
    io::{self, ErrorKind},
    path::Path,
};

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
    header::{
        ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, IF_MATCH, IF_UNMODIFIED_SINCE, RANGE, VARY,
    },
};
use serde_json::json;
use tower_http::services::ServeDir;

use crate::error::ApiError;

const API: &str = "/api";
const ASSETS: &str = "/assets/";
const PAGE: &str = "/index.html";
/// Where the pages look for the API.
const CONFIG: &str = "/config.json";
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Kept, but asked for again each time.
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
const CROSS_ORIGIN_OPENER_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-opener-policy");
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
/// The shop asks for none of these.
const NO_PERMISSIONS: HeaderValue = HeaderValue::from_static(
    "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
);
/// What the pages may load: their own files, pictures of products from anywhere, and the API beside them.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https:; font-src 'self'; \
     manifest-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The built storefront, if there is one; cheap to clone.
#[derive(Clone, Debug)]
pub struct Storefront(Option<ServeDir>);

impl Storefront {
    /// Of this folder.
    #[must_use]
    pub fn new(folder: Option<&Path>) -> Self {
        Self(folder.map(|folder| {
            ServeDir::new(folder)
                .append_index_html_on_directories(false)
                .precompressed_br()
                .precompressed_gzip()
        }))
    }

    /// Answers `GET /`: with the page for browsers, with `about` for programs.
    pub(crate) async fn at_root(
        &self,
        request: Request,
        about: impl IntoResponse,
    ) -> Result<Response, ApiError> {
        let Some(files) = &self.0 else {
            return Ok(about.into_response());
        };
        let mut response = if takes_html(request.headers()) {
            page(files, request).await?
        } else {
            about.into_response()
        };
        response.headers_mut().append(VARY, ACCEPT.into());
        Ok(response)
    }
}

/// Answers a request that is for no route of the API.
pub(crate) async fn answer(
    State(storefront): State<Storefront>,
    request: Request,
) -> Result<Response, ApiError> {
    let path = request.uri().path().to_owned();
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    let Some(files) = storefront.0.filter(|_| is_read && !is_of_api(&path)) else {
        return Err(ApiError::RouteNotFound);
    };
    if path == CONFIG {
        // Whatever the build says, the API is here.
        let headers = [(CACHE_CONTROL, NO_CACHE)];
        return Ok((headers, Json(json!({ "apiUrl": "" }))).into_response());
    }
    let is_asset = path.starts_with(ASSETS);
    if is_hidden(&path) {
        return if is_asset {
            Err(ApiError::NotFound("File"))
        } else {
            page(&files, request).await
        };
    }
    if is_asset {
        let file = read(&files, without_body(&request), FOR_EVER).await?;
        return file.ok_or(ApiError::NotFound("File"));
    }
    match read(&files, without_body(&request), NO_CACHE).await? {
        Some(file) => Ok(file),
        None => page(&files, request).await,
    }
}

fn is_of_api(path: &str) -> bool {
    let rest = path.strip_prefix(API);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a part of the path begins with a dot, perhaps an encoded one: such files are notes of the build's, or of others.
fn is_hidden(path: &str) -> bool {
    path.split('/')
        .any(|part| part.starts_with('.') || part.starts_with("%2e") || part.starts_with("%2E"))
}

fn takes_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|types| types.contains("text/html"))
}

fn without_body(request: &Request) -> Request {
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// The app's one page, whatever the request is for.
async fn page(files: &ServeDir, mut request: Request) -> Result<Response, ApiError> {
    *request.uri_mut() = Uri::from_static(PAGE);
    let found = read(files, request, NO_CACHE).await?;
    found.ok_or(ApiError::NotFound("Page"))
}

/// The file that `request` is for, if there is one.
async fn read(
    files: &ServeDir,
    mut request: Request,
    kept: HeaderValue,
) -> Result<Option<Response>, ApiError> {
    // Files are small, and served whole: a part could be one of another release.
    for name in [RANGE, IF_MATCH, IF_UNMODIFIED_SINCE] {
        request.headers_mut().remove(name);
    }
    let mut response = match files.clone().try_call(request).await {
        Ok(response) if response.status() == StatusCode::NOT_FOUND => return Ok(None),
        Ok(response) => response.map(Body::new),
        Err(error) if is_no_file(&error) => return Ok(None),
        Err(error) => return Err(ApiError::Internal(error.into())),
    };
    if response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED {
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, kept);
        headers.insert(CONTENT_SECURITY_POLICY, POLICY);
        headers.insert(CROSS_ORIGIN_OPENER_POLICY, SAME_ORIGIN);
        headers.insert(PERMISSIONS_POLICY, NO_PERMISSIONS);
    }
    Ok(Some(response))
}

/// Whether there is no such file, or cannot be one of that name.
fn is_no_file(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidFilename
    )
}
