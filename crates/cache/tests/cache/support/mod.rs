//! Processes of the shop, each with a cache of its own, and what they cache.

mod backends;
mod raw;
mod shop;

use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bharatmart_cache::{
    Cache, Change, FetchError, Found, Invalidations, Key, Load, Loaded, Source,
};
use bharatmart_config::{CacheBackend, CacheConfig, RedisCacheConfig, RedisTopology};
use bharatmart_domain::{ProductId, SystemClock};
use bharatmart_test_support::wait_until;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

pub use backends::{Backend, Servers, standalone};
pub use raw::{client_of, page_name, raw};
pub use shop::{OutOfOrder, Shop};

/// For what happens soon on a machine that has nothing else to do.
pub const SOON: Duration = Duration::from_secs(5);
/// How long a process may take to hear of a change that another one has announced.
pub const TOLD: Duration = Duration::from_millis(100);
/// Longer than any test takes.
pub const LONG_TTL: Duration = Duration::from_mins(5);
/// How long one command may take.
pub const COMMAND_TIMEOUT: Duration = Duration::from_millis(100);

/// A cache in Redis; all that share a `prefix` share their bodies.
pub fn in_redis(topology: RedisTopology, prefix: &str) -> CacheConfig {
    config(CacheBackend::Redis(RedisCacheConfig {
        topology,
        username: None,
        password: None,
        db: None,
        ca_file: None,
        prefix: prefix.to_owned(),
        command_timeout: COMMAND_TIMEOUT,
        breaker_threshold: 3,
        breaker_reset: Duration::from_millis(500),
    }))
}

/// Any cache, of 32 MiB.
pub fn config(backend: CacheBackend) -> CacheConfig {
    CacheConfig {
        backend,
        ttl: LONG_TTL,
        local_max_bytes: 32 << 20,
    }
}

pub type Outcome = Result<Found, FetchError<OutOfOrder>>;

/// One process of the shop.
#[derive(Clone)]
pub struct Process {
    pub invalidations: Invalidations,
    cache: Cache<OutOfOrder>,
}

/// What a process answered: the version of what it showed, and where from.
pub type Seen = (u64, Source);

impl Process {
    /// One that may still have to reach its Redis.
    pub fn starting(config: &CacheConfig) -> Self {
        let invalidations = Invalidations::connect(config, Arc::new(SystemClock));
        let cache = Cache::new(config, invalidations.clone());
        Self {
            invalidations,
            cache,
        }
    }

    /// One that is connected.
    pub async fn start(config: &CacheConfig) -> Result<Self> {
        let process = Self::starting(config);
        process.wait_until_live().await?;
        Ok(process)
    }

    pub async fn wait_until_live(&self) -> Result<Duration> {
        self.wait_for("the shared tier to be live", || self.is_live())
            .await
    }

    pub async fn wait_until_away(&self) -> Result<Duration> {
        self.wait_for("the shared tier to be away", || !self.is_live())
            .await
    }

    async fn wait_for(&self, what: &str, is: impl Fn() -> bool) -> Result<Duration> {
        let start = Instant::now();
        wait_until(what, SOON * 4, async || Ok(is())).await?;
        Ok(start.elapsed())
    }

    pub fn is_live(&self) -> bool {
        self.invalidations.check().is_ok()
    }

    /// Whatever comes of a request.
    pub async fn request<L, F>(&self, key: &Key, load: L) -> Outcome
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Loaded, OutOfOrder>> + Send + 'static,
    {
        let load = move || {
            let loaded = load();
            async {
                Ok(Load {
                    found: loaded.await?,
                    as_of: Some(0),
                })
            }
        };
        self.request_at_least(key, 0, load).await
    }

    /// Whatever comes of a request of somebody who must see every change up to `at_least`.
    pub async fn request_at_least<L, F>(&self, key: &Key, at_least: u128, load: L) -> Outcome
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Load, OutOfOrder>> + Send + 'static,
    {
        let found = self.cache.get(key.clone(), at_least, load).await;
        if let Ok(Found {
            body: Some(body), ..
        }) = &found
        {
            let tag = bharatmart_cache::Body::new(&body.bytes).etag;
            assert_eq!(body.etag, tag, "the tag is that of the body");
        }
        found
    }

    /// A request that is answered with a version of what is on `shop`.
    pub async fn see(&self, key: &Key, shop: &Shop) -> Result<Seen> {
        let found = self.request(key, shop.load(key)).await?;
        let body = found.body.context("there is a body")?;
        Ok((Shop::version_in(key, &body)?, found.source))
    }

    /// Requests of many clients at once.
    pub async fn see_at_once(&self, count: usize, key: &Key, shop: &Shop) -> Result<Vec<Seen>> {
        let requests: Vec<_> = (0..count)
            .map(|_| {
                let (process, key, shop) = (self.clone(), key.clone(), shop.clone());
                tokio::spawn(async move { process.see(&key, &shop).await })
            })
            .collect();
        let mut seen = Vec::new();
        for request in requests {
            seen.push(request.await??);
        }
        Ok(seen)
    }

    /// Asks until `version` is shown; how long that took.
    pub async fn wait_to_see(&self, version: u64, key: &Key, shop: &Shop) -> Result<Duration> {
        let start = Instant::now();
        loop {
            let (seen, _) = self.see(key, shop).await?;
            if seen == version {
                return Ok(start.elapsed());
            }
            anyhow::ensure!(
                start.elapsed() < SOON,
                "{key:?} shows {seen} and not {version}"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub async fn announce(&self, change: Change) {
        self.invalidations.announce(&[change]).await;
    }
}

/// Checks what was answered.
pub fn same<T: Copy + PartialEq + Debug>(found: T, wanted: T, what: &str) -> Result<()> {
    anyhow::ensure!(
        found == wanted,
        "{what}: found {found:?} and not {wanted:?}"
    );
    Ok(())
}

pub fn product() -> ProductId {
    ProductId::generate()
}

/// A list of products that every process may share.
pub fn list(query: &str) -> Key {
    Key::products(query, bharatmart_cache::Reach::Shared)
}

/// Counts from zero.
#[derive(Default)]
pub struct Count(AtomicUsize);

impl Count {
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// The metrics of this test, which has a process of its own.
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// To be called before anything is counted.
    pub fn install() -> Result<Self> {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder)?;
        Ok(Self(handle))
    }

    /// The sum of the series of `name` that have all of `labels`, each as `label="value"`.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.0.render();
        text.lines()
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }

    /// 1 when it is open.
    pub fn breaker(&self) -> f64 {
        self.sum("circuit_breaker_state", &["dependency=\"cache\""])
    }
}
