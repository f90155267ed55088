//! Compressed answers, for those who take them.
//!
//! Only what is read (`GET`), only text, and only from [`SMALLEST`] on: less fits into one packet anyway. Streams
//! of events are not compressed, which would hold their events back. Neither are answers that hold tokens: their
//! length would tell something of them (BREACH, CVE-2013-3587).

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    response::Response,
};
use futures_util::{
    TryFutureExt,
    future::{Either, MapOk},
};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, VARY},
};
use tower::{Layer, Service};
use tower_http::{
    CompressionLevel,
    compression::{CompressionLayer, Predicate},
};

/// The shortest body that is compressed, in bytes.
const SMALLEST: u64 = 1024;
/// Its answers hold tokens.
const WITH_TOKENS: &str = "/api/auth/";

/// Puts [`Compressed`] around a service.
#[derive(Clone, Copy)]
pub(crate) struct Compress;

impl<S> Layer<S> for Compress {
    type Service = Compressed<S>;

    fn layer(&self, inner: S) -> Compressed<S> {
        Compressed { inner }
    }
}

/// A service whose longer answers are compressed.
#[derive(Clone)]
pub(crate) struct Compressed<S> {
    inner: S,
}

impl<S> Service<Request> for Compressed<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<
        Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>,
        MapOk<S::Future, fn(Response) -> Response>,
    >;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let is_eligible = request.method() == Method::GET
            && request.headers().contains_key(ACCEPT_ENCODING)
            && !request.uri().path().starts_with(WITH_TOKENS);
        if !is_eligible {
            return Either::Right(self.inner.call(request).map_ok(vary));
        }
        // The one that has said that it is ready is to be called.
        let next = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, next);
        let compressing = CompressionLayer::new()
            .quality(CompressionLevel::Fastest)
            .compress_when(Worthwhile)
            .layer(ready)
            .call(request);
        Either::Left(Box::pin(async move {
            let mut response = compressing.await?.map(Body::new);
            if response.headers().contains_key(CONTENT_ENCODING) {
                weaken(response.headers_mut());
            }
            Ok(vary(response))
        }))
    }
}

/// Whether an answer is compressed for those who take that.
#[derive(Clone, Copy)]
struct Worthwhile;

impl Predicate for Worthwhile {
    fn should_compress<B: HttpBody>(&self, response: &http::Response<B>) -> bool {
        // A stream has none; a file's is in the head only.
        let length = response.body().size_hint().exact();
        length
            .or_else(|| declared_length(response.headers()))
            .is_some_and(|length| length >= SMALLEST)
            && is_text(response.headers())
    }
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn is_text(headers: &HeaderMap) -> bool {
    let text = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    text.is_some_and(|text| {
        [
            "application/json",
            "application/problem+json",
            "image/svg+xml",
            "text/",
        ]
        .iter()
        .any(|prefix| text.starts_with(prefix))
    })
}

/// Tells caches that others may get this answer in another form: one that would be compressed for them, or that says
/// that the one they have is still good.
fn vary(mut response: Response) -> Response {
    let headers = response.headers();
    let differs = response.status() == StatusCode::NOT_MODIFIED
        || headers.contains_key(CONTENT_ENCODING)
        || Worthwhile.should_compress(&response);
    let says_so = || {
        headers
            .get_all(VARY)
            .iter()
            .any(|value| value == "accept-encoding")
    };
    if differs && !says_so() {
        let value = HeaderValue::from_static("accept-encoding");
        response.headers_mut().append(VARY, value);
    }
    response
}

/// The tag of the bytes before they were compressed says of the compressed ones that they mean the same, not that they
/// are the same (RFC 9110, section 8.8.1).
fn weaken(headers: &mut HeaderMap) {
    let strong = headers.get(ETAG).map(HeaderValue::as_bytes);
    if let Some(tag) = strong.filter(|tag| tag.starts_with(b"\""))
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag].concat())
    {
        headers.insert(ETAG, weak);
    }
}
