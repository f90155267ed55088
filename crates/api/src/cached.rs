//! Answers that may come from the cache: JSON that does not depend on who asks; and what outdates
//! them.

use axum::response::{IntoResponse, Response};
use bharatmart_cache::{Cache, Group, Key, Source};
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
    let load = async {
        let json = async {
            serde_json::to_vec(&load.await?).map_err(|error| ApiError::Internal(error.into()))
        };
        // Once, however many wait for it.
        json.await.map(Bytes::from).inspect_err(ApiError::log)
    };
    // Boxed, since the cache's own futures hold it several times over.
    cache
        .get_or_load(key, Box::pin(load))
        .await
        .map(|(body, source)| Cached { body, source })
        .map_err(ApiError::Shared)
}

/// Does what changes products, and sees to it that pages made before are not served afterwards.
///
/// That must also happen when this is dropped half-way, as it is when the client hangs up: the
/// change may have been committed by then.
pub(crate) async fn changing_products<T, E: Into<ApiError>>(
    cache: &Cache,
    change: impl Future<Output = Result<T, E>>,
) -> Result<T, ApiError> {
    let mut outdated = Outdated { cache, armed: true };
    let result = change.await.map_err(Into::into);
    // A refusal has changed nothing, and a client must not be able to empty the cache with bad
    // requests. With any other error nobody knows.
    outdated.armed = !matches!(&result, Err(error) if error.status().is_client_error());
    result
}

/// Invalidates the products at its end.
struct Outdated<'a> {
    cache: &'a Cache,
    armed: bool,
}

impl Drop for Outdated<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.cache.invalidate(Group::Products);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use bharatmart_config::{CacheBackend, CacheConfig};
    use http::StatusCode;
    use tokio::{join, sync::Notify, time::timeout};

    use super::*;

    fn memory() -> Cache {
        Cache::new(&CacheConfig {
            backend: CacheBackend::Memory,
            ttl: Duration::from_mins(1),
            local_max_bytes: 1_000_000,
        })
    }

    async fn source(cache: &Cache) -> Source {
        let found = cached(cache, Key::product("1"), async { Ok("kite") }).await;
        found.expect("it loads").source
    }

    #[tokio::test]
    async fn a_change_that_is_given_up_half_way_invalidates() {
        let cache = memory();
        source(&cache).await;
        assert_eq!(source(&cache).await, Source::Hit);
        let change = changing_products(&cache, pending::<Result<(), ApiError>>());
        timeout(Duration::from_millis(1), change).await.unwrap_err();
        assert_eq!(source(&cache).await, Source::Miss);
    }

    #[tokio::test]
    async fn a_refused_change_leaves_the_cache_alone_and_an_unclear_one_does_not() {
        let cache = memory();
        source(&cache).await;
        for (error, then) in [
            (ApiError::NotFound("Product"), Source::Hit),
            (ApiError::Internal("lost".into()), Source::Miss),
        ] {
            let change = changing_products(&cache, async { Err::<(), _>(error) });
            change.await.unwrap_err();
            assert_eq!(source(&cache).await, then);
        }
    }

    #[tokio::test]
    async fn all_who_wait_for_a_load_are_refused_alike() {
        let (cache, go) = (memory(), Notify::new());
        let ask = || async {
            let load = async {
                go.notified().await;
                Err::<(), _>(ApiError::Conflict {
                    code: "busy",
                    message: "Busy".to_owned(),
                    field: None,
                })
            };
            let refused = cached(&cache, Key::product("1"), load).await.err();
            let refused = refused.expect("the load fails");
            (refused.status(), refused.code(), refused.to_string())
        };
        let (first, second, ()) = join!(ask(), ask(), async { go.notify_one() });
        assert_eq!(first, (StatusCode::CONFLICT, "busy", "Busy".to_owned()));
        assert_eq!(first, second);
    }
}
