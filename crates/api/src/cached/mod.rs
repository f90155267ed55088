//! Answers that may come from the cache.

mod conditional;
mod pages;

use axum::response::{IntoResponse, Response};
use bharatmart_cache::{Body, Cache, FetchError, Loaded, Source};
use bharatmart_database::Database;
use bharatmart_telemetry::metrics::show_pool;
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG},
};

pub(crate) use conditional::IfNoneMatch;
pub(crate) use pages::{CategoriesPage, ProductPage, ProductsPage};

use crate::error::ApiError;
use pages::{Page, Public};

/// Tells whether an answer came from the cache.
pub(crate) const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// Answers with pages; cheap to clone.
#[derive(Clone)]
pub struct Pages {
    cache: Cache<ApiError>,
    database: Database,
}

impl Pages {
    /// Pages made of `database` and kept in `cache`.
    pub(crate) const fn new(cache: Cache<ApiError>, database: Database) -> Self {
        Self { cache, database }
    }

    /// Publishes how full pool and cache are.
    pub(crate) fn measure(&self) {
        let status = self.database.status();
        show_pool(status.idle, status.in_use);
        self.cache.measure();
    }

    /// The answer with `page`, or 304 when the client has it already.
    pub(crate) async fn answer<P: Page>(
        &self,
        page: P,
        condition: &IfNoneMatch,
    ) -> Result<Response, ApiError> {
        let database = self.database.clone();
        let found = self
            .cache
            .get(page.key(), move || async move {
                // Once, however many wait for it.
                load(page, &database).await.inspect_err(ApiError::log)
            })
            .await
            .map_err(|error| match error {
                FetchError::Load(error) => ApiError::Shared(error),
                FetchError::Panicked => ApiError::Internal(error.into()),
            })?;
        let body = found.body.ok_or(ApiError::NotFound(P::Shown::NAME))?;
        Ok(respond(body, found.source, P::CACHE_CONTROL, condition))
    }
}

async fn load<P: Page>(page: P, database: &Database) -> Result<Loaded, ApiError> {
    let Some(shown) = page.load(database).await? else {
        return Ok(Loaded::Absent);
    };
    let json = serde_json::to_vec(&shown).map_err(|error| ApiError::Internal(error.into()))?;
    Ok(if shown.is_empty() {
        Loaded::Empty(json)
    } else {
        Loaded::Found(json)
    })
}

/// How many headers an answer gets, here and from the layers: room for them is made once.
const HEADERS: usize = 10;

fn respond(
    body: Body,
    source: Source,
    cache_control: &'static str,
    condition: &IfNoneMatch,
) -> Response {
    let not_modified = condition.is_met_by(&body.etag);
    let mut response = if not_modified {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        axum::body::Body::from(body.bytes).into_response()
    };
    let headers = response.headers_mut();
    headers.reserve(HEADERS);
    if !not_modified {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    headers.insert(X_CACHE, HeaderValue::from_static(source.as_str()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache_control));
    // What is made of base64 between quotes is a header's value.
    if let Ok(etag) = HeaderValue::from_maybe_shared(body.etag) {
        headers.insert(ETAG, etag);
    }
    response
}
