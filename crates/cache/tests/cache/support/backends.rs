use anyhow::{Context, Result};
use bharatmart_config::{CacheBackend, CacheConfig, RedisTopology};
use bharatmart_test_support::servers::{
    Monitor, RedisCluster, RedisOptions, RedisServer, SentinelSet,
};
use secrecy::SecretString;

use super::{config, in_redis};

/// Every value of `CACHE_TYPE`, and Redis at its most guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    None,
    Memory,
    Redis,
    /// TLS only, an authority of its own, a password, another database than the first.
    GuardedRedis,
    Cluster,
    Sentinel,
}

impl Backend {
    /// Whether anything is cached.
    pub fn keeps(self) -> bool {
        self != Self::None
    }

    /// Whether processes share what they cache.
    pub fn shares(self) -> bool {
        !matches!(self, Self::None | Self::Memory)
    }
}

/// The servers of a backend.
pub enum Servers {
    None,
    Memory,
    Redis(RedisServer),
    Guarded(RedisServer),
    Cluster(RedisCluster),
    Sentinel(SentinelSet),
}

const PASSWORD: &str = "opensesame";
const DATABASE: u8 = 3;

impl Servers {
    pub async fn start(backend: Backend) -> Result<Self> {
        Ok(match backend {
            Backend::None => Self::None,
            Backend::Memory => Self::Memory,
            Backend::Redis => Self::Redis(RedisServer::temporary().await?),
            Backend::GuardedRedis => {
                let options = RedisOptions {
                    password: Some(PASSWORD.to_owned()),
                    tls: true,
                    ..RedisOptions::default()
                };
                Self::Guarded(RedisServer::start(options).await?)
            }
            Backend::Cluster => Self::Cluster(RedisCluster::start().await?),
            Backend::Sentinel => Self::Sentinel(SentinelSet::start().await?),
        })
    }

    /// The settings of a process that keeps its bodies under `prefix`.
    pub fn config(&self, prefix: &str) -> Result<CacheConfig> {
        Ok(match self {
            Self::None => config(CacheBackend::None),
            Self::Memory => config(CacheBackend::Memory),
            Self::Redis(redis) => in_redis(standalone(&redis.url()), prefix),
            Self::Guarded(redis) => {
                // The password comes beside the URL, as it does from a secret of Kubernetes.
                let url = redis.url().replace(&format!(":{PASSWORD}@"), "");
                let mut config = in_redis(standalone(&url), prefix);
                if let CacheBackend::Redis(settings) = &mut config.backend {
                    settings.password = Some(PASSWORD.into());
                    settings.db = Some(DATABASE);
                    settings.ca_file =
                        Some(redis.ca_file().context("it speaks TLS")?.to_path_buf());
                }
                config
            }
            Self::Cluster(cluster) => {
                let nodes = cluster.nodes().iter().map(|node| url(node)).collect();
                in_redis(RedisTopology::Cluster { nodes }, prefix)
            }
            Self::Sentinel(set) => {
                let topology = RedisTopology::Sentinel {
                    sentinels: set.sentinels().iter().map(|address| url(address)).collect(),
                    master_name: set.master_name().to_owned(),
                };
                in_redis(topology, prefix)
            }
        })
    }

    /// One for each server that takes commands.
    pub async fn monitors(&self) -> Result<Vec<Monitor>> {
        let (urls, ca_file) = match self {
            Self::None | Self::Memory => (Vec::new(), None),
            Self::Redis(redis) | Self::Guarded(redis) => (vec![redis.url()], redis.ca_file()),
            Self::Cluster(cluster) => (cluster.living_urls(), None),
            Self::Sentinel(set) => (
                vec![format!("redis://127.0.0.1:{}", set.master_port().await?)],
                None,
            ),
        };
        let mut monitors = Vec::new();
        for url in urls {
            monitors.push(Monitor::start(&url, ca_file).await?);
        }
        Ok(monitors)
    }
}

fn url(address: &str) -> SecretString {
    format!("redis://{address}").into()
}

/// A single server.
pub fn standalone(url: &str) -> RedisTopology {
    RedisTopology::Standalone {
        url: url.to_owned().into(),
    }
}
