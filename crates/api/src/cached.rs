//! Answers that may come from the cache: JSON that does not depend on who asks.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use bharatmart_cache::{Cache, Key, Source};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header::CONTENT_TYPE};
use serde::Serialize;

use crate::error::ApiError;

/// Tells whether an answer came from the cache.
pub(crate) const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// A JSON body and where it came from.
pub(crate) struct Cached {
    body: Bytes,
    source: Source,
}

impl IntoResponse for Cached {
    fn into_response(self) -> Response {
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (X_CACHE, HeaderValue::from_static(self.source.as_str())),
        ];
        (headers, self.body).into_response()
    }
}

/// The body under `key`, or what `load` makes of the database.
pub(crate) async fn cached<T: Serialize>(
    cache: &Cache,
    key: Key,
    load: impl Future<Output = Result<T, ApiError>>,
) -> Result<Cached, ApiError> {
    // Boxed, since the cache's own futures hold it several times over.
    let load = Box::pin(async {
        let value = load.await?;
        let json = serde_json::to_vec(&value).map_err(|error| ApiError::Internal(error.into()))?;
        Ok(Bytes::from(json))
    });
    match cache.get_or_load(key, load).await {
        Ok((body, source)) => Ok(Cached { body, source }),
        Err(error) => Err(Arc::try_unwrap(error).unwrap_or_else(|shared| again(&shared))),
    }
}

/// The error of a load, for the others who waited for it.
fn again(shared: &ApiError) -> ApiError {
    match shared {
        ApiError::NotFound(what) => ApiError::NotFound(what),
        ApiError::Unavailable {
            what,
            retry_after,
            source,
        } => ApiError::Unavailable {
            what,
            retry_after: *retry_after,
            source: source.to_string().into(),
        },
        other => ApiError::Internal(other.to_string().into()),
    }
}
