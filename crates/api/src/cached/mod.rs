//! Answers that may come from the cache.

mod conditional;
mod pages;

use axum::response::{IntoResponse, Response};
use bharatmart_cache::{Body, Cache, FetchError, Load, Loaded, Source};
use bharatmart_database::{AsOf, Database, Freshness, Position};
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG},
};

pub(crate) use conditional::IfNoneMatch;
pub(crate) use pages::{Categories, CategoriesPage, ProductPage, ProductsPage};

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

    /// The same pages, of `database`.
    pub(crate) fn with(self, database: Database) -> Self {
        Self { database, ..self }
    }

    /// Publishes how full pools and cache are.
    pub(crate) fn measure(&self) {
        self.database.measure();
        self.cache.measure();
    }

    /// The answer with `page`, or 304 when the client has it already.
    pub(crate) async fn answer<P: Page>(
        &self,
        page: P,
        condition: &IfNoneMatch,
    ) -> Result<Response, ApiError> {
        let database = self.database.clone();
        let kept = self.cache.keeps();
        let needed = database.needs().unwrap_or_default();
        let found = self
            .cache
            .get(page.key(), needed.ordinal(), move || async move {
                // Once, however many wait for it.
                load(page, &database, kept).await.inspect_err(ApiError::log)
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

/// Makes a page: with all that was committed by now if it is `kept`, for others will see it, else with
/// what the client needs.
async fn load<P: Page>(page: P, database: &Database, kept: bool) -> Result<Load, ApiError> {
    let AsOf {
        mut connection,
        position,
    } = if kept {
        database.read_as_of_now().await?
    } else {
        AsOf {
            connection: database.read(Freshness::OwnWrites).await?,
            position: Some(Position::ZERO),
        }
    };
    let shown = page.load(&mut connection).await?;
    // Not to be held while the body is made.
    drop(connection);
    let found = match shown {
        None => Loaded::Absent,
        Some(shown) => {
            let json =
                serde_json::to_vec(&shown).map_err(|error| ApiError::Internal(error.into()))?;
            if shown.is_empty() {
                Loaded::Empty(json)
            } else {
                Loaded::Found(json)
            }
        }
    };
    Ok(Load {
        found,
        as_of: position.map(Position::ordinal),
    })
}

/// How many headers an answer gets, here and from the layers: room for them is made once.
const HEADERS: usize = 18;

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
