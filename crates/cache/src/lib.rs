//! Response bodies, kept so that a hit costs neither a query nor a serialisation.
//!
//! Two tiers: one in the process, bounded in bytes, above one in Redis that all processes share. A body
//! is found under a [`Key`], which says nothing of who asks; however many ask for it at once, one of
//! them loads it, in this process and, by a lease in Redis, among all.
//!
//! **What is outdated is not served.** Whoever changes what a body shows says so through
//! [`Invalidations`]. The pages of changed products are deleted; what else is outdated
//! is outdated by a generation, a number that each body carries: no key is ever searched for. Every
//! process hears of it over a channel of Redis. A lease that is deleted, or a generation that has
//! passed, also keeps a slow loader from storing what it read before the change.
//!
//! The same Redis also holds [`Counts`] that all processes make together, for limits.
//!
//! **Redis may be away.** Then each process caches for itself, for a second at most, since nobody tells it
//! what changes elsewhere; what it changes itself is announced when Redis is back. A circuit breaker
//! keeps requests from waiting for a Redis that does not answer.

mod counts;
mod entry;
mod flights;
mod invalidations;
mod key;
mod local;
mod shared;
mod stamps;

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    sync::Arc,
    time::Duration,
};

use bharatmart_config::{CacheBackend, CacheConfig};
use bharatmart_telemetry::metrics::{
    CACHE_COALESCED_TOTAL, CACHE_LOADS_TOTAL, CACHE_REQUESTS_TOTAL,
};
use futures_util::FutureExt;
use metrics::{Counter, counter};
use tracing::Instrument;

pub use counts::{Ceiling, Counted, Counts, Window};
pub use entry::{Body, Load, Loaded};
pub use invalidations::{Change, Effect, Invalidations};
pub use key::{Key, Reach, Shows};

use entry::{Ages, Entry, SharedEntry};
use flights::{Flight, Flights};
use local::Local;
use shared::{Answer, Lease, Shared, Stored};
use stamps::Stamp;

/// How long a list may show the stock from before an order.
pub const LISTED_STOCK_LAG: Duration = Duration::from_secs(1);

/// The cache of bodies whose loads fail with `E`; cheap to clone.
pub struct Cache<E> {
    inner: Arc<Inner<E>>,
}

impl<E> Clone for Cache<E> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

struct Inner<E> {
    /// `None` when nothing is cached.
    local: Option<Local>,
    ages: Ages,
    /// What those who have seen more demand may not be had while others can be served, so they fly apart.
    flights: Flights<(String, Stamp, bool), Result<Fetched, Arc<E>>>,
    invalidations: Invalidations,
    counters: Counters,
}

/// What an entry holds and where it came from.
#[derive(Clone)]
struct Fetched {
    entry: SharedEntry,
    source: Source,
}

/// Counters of the busiest path, looked up once.
struct Counters {
    hits: Counter,
    stale: Counter,
    misses: Counter,
    coalesced: Counter,
}

impl Counters {
    fn new() -> Self {
        let local = |outcome: &'static str| counter!(CACHE_REQUESTS_TOTAL, "tier" => "local", "outcome" => outcome);
        Self {
            hits: local("hit"),
            stale: local("stale"),
            misses: local("miss"),
            coalesced: counter!(CACHE_COALESCED_TOTAL),
        }
    }
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

/// What there is under a key.
#[derive(Clone, Debug)]
pub struct Found {
    /// The body; `None` when there is nothing under the key.
    pub body: Option<Body>,
    /// Where that is known from.
    pub source: Source,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError<E> {
    /// The load failed, for everybody who waited for it.
    #[error("the load failed")]
    Load(Arc<E>),
    /// The load panicked.
    #[error("the load panicked")]
    Panicked,
}

impl<E: Send + Sync + 'static> Cache<E> {
    /// The cache whose entries `invalidations` outdates, with the settings of both; with
    /// [`CacheBackend::None`] everything is a miss.
    #[must_use]
    pub fn new(config: &CacheConfig, invalidations: Invalidations) -> Self {
        let local = match config.backend {
            CacheBackend::None => None,
            CacheBackend::Memory | CacheBackend::Redis(_) => {
                Some(Local::new(config.local_max_bytes))
            }
        };
        Self {
            inner: Arc::new(Inner {
                local,
                ages: Ages::new(config.ttl),
                flights: Flights::new(),
                invalidations,
                counters: Counters::new(),
            }),
        }
    }

    /// Whether anything is kept.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.inner.local.is_some()
    }

    /// What there is under `key`, by `load` if the cache does not know, or not up to the change `at_least`
    /// (0: whatever is not outdated). `load` runs in a task of its own and ends there even if nobody waits
    /// any more; it sees every change that was made before it began. What fails is not kept.
    pub async fn get<L, F>(&self, key: Key, at_least: u128, load: L) -> Result<Found, FetchError<E>>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Load, E>> + Send + 'static,
    {
        let inner = &self.inner;
        let counters = &inner.counters;
        // Before anything is looked up: what changes from now on must not be hidden by what is found.
        let stamp = inner.invalidations.stamps().of(key.shows);
        if let Some(entry) = inner
            .local
            .as_ref()
            .and_then(|local| local.get(&key.name, stamp))
            .filter(|entry| entry.as_of >= at_least)
        {
            if entry.is_fresh() {
                counters.hits.increment(1);
            } else {
                counters.stale.increment(1);
                // Nobody waits for it; its failure is reported by the load.
                drop(inner.fetch(key, stamp, 0, load));
            }
            return Ok(Found {
                body: entry.body.clone(),
                source: Source::Hit,
            });
        }
        counters.misses.increment(1);
        let (flight, joined) = inner.fetch(key, stamp, at_least, load);
        if joined {
            counters.coalesced.increment(1);
        }
        match flight.await {
            Some(Ok(Fetched { entry, source })) => Ok(Found {
                body: entry.body.clone(),
                source,
            }),
            Some(Err(error)) => Err(FetchError::Load(error)),
            None => Err(FetchError::Panicked),
        }
    }

    /// Publishes how many bytes the tier in the process holds.
    pub fn measure(&self) {
        if let Some(local) = &self.inner.local {
            local.measure();
        }
    }
}

impl<E: Send + Sync + 'static> Inner<E> {
    /// Starts to fetch, or joins those who do; also tells which.
    fn fetch<L, F>(
        self: &Arc<Self>,
        key: Key,
        stamp: Stamp,
        at_least: u128,
        load: L,
    ) -> (Flight<Result<Fetched, Arc<E>>>, bool)
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Load, E>> + Send + 'static,
    {
        let name = key.name.clone();
        let inner = Arc::clone(self);
        let fetch = move || async move { inner.bring(key, stamp, at_least, load).await };
        if self.local.is_none() {
            // Without a cache nobody would hear of a change that another process makes meanwhile.
            return (flights::alone(fetch()), false);
        }
        self.flights
            .join((name, stamp, at_least > 0), at_least, fetch)
    }

    /// Brings what is under `key` from the shared tier or by `load`.
    async fn bring<L, F>(
        self: Arc<Self>,
        key: Key,
        stamp: Stamp,
        at_least: u128,
        load: L,
    ) -> Result<Fetched, Arc<E>>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Load, E>> + Send + 'static,
    {
        let shared = self.invalidations.shared().cloned();
        let told = shared.as_ref().is_none_or(|shared| shared.is_live());
        let answer = match (&shared, key.reach) {
            (Some(shared), Reach::Shared) if self.local.is_some() => {
                shared.look_up(&key, at_least).await
            }
            _ => Answer::Alone,
        };
        match (answer, shared) {
            (Answer::Fresh(stored), Some(shared)) => {
                let fresh = shared.fresh_for(&stored);
                // Redis is asked again when that is over, and knows whether somebody loads it anew.
                let Stored { body, as_of, .. } = stored;
                let entry = Entry::new(Some(body), stamp, as_of, fresh, Duration::ZERO);
                Ok(self.keep(key.name, entry, Source::Hit))
            }
            (Answer::Stale(stored, lease), Some(shared)) => {
                let Stored { body, as_of, .. } = stored;
                let untold = self.ages.untold();
                let entry = Entry::new(Some(body), stamp, as_of, untold, Duration::ZERO);
                let stale = self.keep(key.name.clone(), entry, Source::Hit);
                if let Some(lease) = lease {
                    let refresh = async move {
                        // Its failure is reported by the load; the stale body serves on for a while.
                        let _ = self
                            .load(key.name, stamp, load, told, Some((shared, lease)))
                            .await;
                    };
                    tokio::spawn(refresh.in_current_span());
                }
                Ok(stale)
            }
            (Answer::Load(lease), Some(shared)) => {
                self.load(key.name, stamp, load, told, Some((shared, lease)))
                    .await
            }
            (_, _) => self.load(key.name, stamp, load, told, None).await,
        }
    }

    async fn load<L, F>(
        &self,
        name: String,
        stamp: Stamp,
        load: L,
        told: bool,
        share: Option<(Arc<Shared>, Lease)>,
    ) -> Result<Fetched, Arc<E>>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Load, E>>,
    {
        let loaded = match AssertUnwindSafe(async { load().await })
            .catch_unwind()
            .await
        {
            Ok(loaded) => loaded,
            Err(panic) => {
                if let Some((shared, lease)) = share {
                    shared.give_up(&lease).await;
                }
                resume_unwind(panic);
            }
        };
        let outcome = match loaded.as_ref().map(|load| &load.found) {
            Ok(Loaded::Found(_) | Loaded::Empty(_)) => "found",
            Ok(Loaded::Absent) => "absent",
            Err(_) => "failed",
        };
        counter!(CACHE_LOADS_TOTAL, "outcome" => outcome).increment(1);
        let Load { found, as_of } = match loaded {
            Ok(load) => load,
            Err(error) => {
                if let Some((shared, lease)) = share {
                    shared.give_up(&lease).await;
                }
                return Err(Arc::new(error));
            }
        };
        let (body, worth_sharing) = match found {
            Loaded::Found(bytes) => (Some(Body::new(&bytes)), true),
            Loaded::Empty(bytes) => (Some(Body::new(&bytes)), false),
            Loaded::Absent => (None, false),
        };
        let Some(as_of) = as_of else {
            if let Some((shared, lease)) = share {
                shared.give_up(&lease).await;
            }
            let entry = Entry::new(body, stamp, 0, Duration::ZERO, Duration::ZERO);
            return Ok(Fetched {
                entry: Arc::new(entry),
                source: Source::Miss,
            });
        };
        if let Some((shared, lease)) = share {
            match &body {
                Some(body) if worth_sharing => shared.store(&lease, body, as_of).await,
                _ => shared.delete(&lease).await,
            }
        }
        let (fresh, stale) = if !told {
            (self.ages.untold(), Duration::ZERO)
        } else if worth_sharing {
            (self.ages.fresh(), self.ages.stale())
        } else {
            (self.ages.negative(), Duration::ZERO)
        };
        let entry = Entry::new(body, stamp, as_of, fresh, stale);
        Ok(self.keep(name, entry, Source::Miss))
    }

    /// Keeps an entry in the process.
    fn keep(&self, name: String, entry: Entry, source: Source) -> Fetched {
        let entry = Arc::new(entry);
        if let Some(local) = &self.local {
            local.insert(name, Arc::clone(&entry));
        }
        Fetched { entry, source }
    }
}

/// Whether the shared tier can be used; for health checks.
#[derive(Debug, thiserror::Error)]
#[error("the cache's Redis is away")]
pub struct Away;
