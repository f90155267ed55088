//! Response bodies kept in the process, so that a hit costs neither a query nor a serialisation.
//!
//! Entries belong to a [`Group`], and a group is invalidated as a whole by raising its generation:
//! entries of an older generation are never read again, not even those whose loading began before
//! the invalidation and ends after it. However many ask for one key, one of them loads it.
//!
//! This tier knows nothing of other processes: what they change is seen when an entry's time is up.

mod key;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bharatmart_config::{CacheBackend, CacheConfig};
use bharatmart_telemetry::metrics::CACHE_REQUESTS_TOTAL;
use bytes::Bytes;
use metrics::counter;
use moka::future::Cache as Tier;

pub use key::{Group, Key};

/// What an entry costs beside its body: key, bookkeeping, allocations. In bytes.
const ENTRY_OVERHEAD: usize = 200;

/// The cache; cheap to clone.
#[derive(Clone)]
pub struct Cache {
    tier: Option<Tier<(u64, Key), Bytes>>,
    generations: Arc<[AtomicU64; Group::COUNT]>,
}

/// Where a body came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The cache.
    Hit,
    /// Whoever made it.
    Miss,
}

impl Source {
    /// The value of the `X-Cache` header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "HIT",
            Self::Miss => "MISS",
        }
    }
}

impl Cache {
    /// The cache that the settings describe; with [`CacheBackend::None`] everything is a miss.
    #[must_use]
    pub fn new(config: &CacheConfig) -> Self {
        let tier = match config.backend {
            CacheBackend::None => None,
            CacheBackend::Memory => Some(memory(config.local_max_bytes, config.ttl)),
        };
        Self {
            tier,
            generations: Arc::default(),
        }
    }

    /// The body under `key`, made by `load` if it is not there. An error is passed on and not kept.
    pub async fn get_or_load<E>(
        &self,
        key: Key,
        load: impl Future<Output = Result<Bytes, E>>,
    ) -> Result<(Bytes, Source), Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        let Some(tier) = &self.tier else {
            return load
                .await
                .map(|body| (body, Source::Miss))
                .map_err(Arc::new);
        };
        let generation = self.generations[key.group().index()].load(Ordering::Acquire);
        let entry = tier
            .entry((generation, key))
            .or_try_insert_with(load)
            .await?;
        let source = if entry.is_fresh() {
            Source::Miss
        } else {
            Source::Hit
        };
        let outcome = if entry.is_fresh() { "miss" } else { "hit" };
        counter!(CACHE_REQUESTS_TOTAL, "tier" => "local", "outcome" => outcome).increment(1);
        Ok((entry.into_value(), source))
    }

    /// From now on nothing that was loaded before is served from `group`.
    pub fn invalidate(&self, group: Group) {
        self.generations[group.index()].fetch_add(1, Ordering::AcqRel);
    }
}

fn memory(max_bytes: u64, ttl: Duration) -> Tier<(u64, Key), Bytes> {
    Tier::builder()
        .max_capacity(max_bytes)
        .weigher(|(_, key): &(u64, Key), body: &Bytes| {
            u32::try_from(key.len() + body.len() + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
        })
        .time_to_live(ttl)
        .build()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures_util::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    fn cache() -> Cache {
        Cache::new(&CacheConfig {
            backend: CacheBackend::Memory,
            ttl: Duration::from_mins(1),
            local_max_bytes: 1_000_000,
        })
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "what a load that succeeds answers"
    )]
    fn body(text: &'static str) -> Result<Bytes, String> {
        Ok(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn many_who_ask_at_once_load_once() {
        let (cache, loads) = (cache(), AtomicUsize::new(0));
        let answers = join_all((0..100).map(|_| {
            cache.get_or_load(Key::product("1"), async {
                loads.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                body("kurta")
            })
        }))
        .await;
        assert_eq!(loads.load(Ordering::Relaxed), 1);
        let misses = answers
            .iter()
            .flatten()
            .filter(|(_, source)| *source == Source::Miss)
            .count();
        assert_eq!((answers.len(), misses), (100, 1));
    }

    #[tokio::test]
    async fn what_was_loaded_before_an_invalidation_is_not_served_after_it() {
        let (cache, go) = (cache(), Arc::new(Notify::new()));
        let slow = {
            let (cache, go) = (cache.clone(), go.clone());
            tokio::spawn(async move {
                cache
                    .get_or_load(Key::product("1"), async {
                        go.notified().await;
                        body("old")
                    })
                    .await
            })
        };
        tokio::task::yield_now().await;
        cache.invalidate(Group::Products);
        go.notify_one();
        assert!(slow.await.unwrap().is_ok());
        let (body, source) = cache
            .get_or_load(Key::product("1"), async { body("new") })
            .await
            .unwrap();
        assert_eq!((body, source), (Bytes::from_static(b"new"), Source::Miss));
    }

    #[tokio::test]
    async fn an_error_is_passed_on_and_not_kept() {
        let cache = cache();
        let failed = cache
            .get_or_load(Key::product("1"), async { Err("no".to_owned()) })
            .await;
        assert_eq!(*failed.unwrap_err(), "no");
        let (_, source) = cache
            .get_or_load(Key::product("1"), async { body("yes") })
            .await
            .unwrap();
        assert_eq!(source, Source::Miss);
    }

    #[tokio::test]
    async fn with_no_cache_everything_is_a_miss() {
        let cache = Cache::new(&CacheConfig {
            backend: CacheBackend::None,
            ttl: Duration::from_mins(1),
            local_max_bytes: 1_000_000,
        });
        for _ in 0..2 {
            let (_, source) = cache
                .get_or_load(Key::categories(), async { body("[]") })
                .await
                .unwrap();
            assert_eq!(source, Source::Miss);
        }
    }
}
