//! The cache in front of the database.
//!
//! - `CACHE_TYPE`
//! - `CACHE_TTL`
//! - `CACHE_LOCAL_MAX_BYTES`
//!
//! What only a cache in Redis needs is in [`redis`].

mod redis;

use std::time::Duration;

pub use redis::{RedisCacheConfig, RedisTopology};

use crate::error::ConfigError;
use crate::parse;
use crate::reader::Reader;
use crate::source::Source;
use crate::variable::{Table, Variable};
use redis::Topology;

const CACHE_TYPE: Variable = Variable::new(
    "CACHE_TYPE",
    "Where answers are cached: in Redis and in the process, in the process alone, or nowhere",
    "redis, redis-cluster, redis-sentinel, memory or none",
)
.unset(
    "redis-sentinel if CACHE_REDIS_SENTINELS is set, else redis-cluster if CACHE_REDIS_CLUSTER_NODES is set, else \
     redis if CACHE_REDIS_URL is set, else none",
);
const CACHE_TTL: Variable = Variable::new(
    "CACHE_TTL",
    "How long a cached answer is good",
    "seconds above 0, or a duration such as 5m",
)
.default("300");
const CACHE_LOCAL_MAX_BYTES: Variable = Variable::new(
    "CACHE_LOCAL_MAX_BYTES",
    "Memory for the cache inside the API's process, in bytes",
    "a whole number above 0",
)
.default("33554432");

pub(crate) const TABLE: Table = Table {
    title: "Cache",
    variables: &[
        CACHE_TYPE,
        redis::CACHE_REDIS_URL,
        redis::CACHE_REDIS_USERNAME,
        redis::CACHE_REDIS_PASSWORD,
        redis::CACHE_REDIS_DB,
        redis::CACHE_REDIS_CA_FILE,
        redis::CACHE_REDIS_CLUSTER_NODES,
        redis::CACHE_REDIS_SENTINELS,
        redis::CACHE_REDIS_MASTER_NAME,
        CACHE_TTL,
        redis::CACHE_PREFIX,
        redis::CACHE_COMMAND_TIMEOUT,
        CACHE_LOCAL_MAX_BYTES,
        redis::CACHE_BREAKER_THRESHOLD,
        redis::CACHE_BREAKER_RESET,
    ],
};

/// Where answers are cached.
#[derive(Clone, Debug)]
pub enum CacheBackend {
    /// Nowhere.
    None,
    /// In the process.
    Memory,
    /// In Redis, with the process's own memory above it.
    Redis(RedisCacheConfig),
}

impl CacheBackend {
    /// The value of `CACHE_TYPE` that stands for it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Memory => "memory",
            Self::Redis(redis) => match redis.topology {
                RedisTopology::Standalone { .. } => "redis",
                RedisTopology::Cluster { .. } => "redis-cluster",
                RedisTopology::Sentinel { .. } => "redis-sentinel",
            },
        }
    }
}

/// The cache in front of the database.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// Where answers are cached.
    pub backend: CacheBackend,
    /// How long a cached answer is good.
    pub ttl: Duration,
    /// Memory for the cache inside the process, in bytes. Workers hold none.
    pub local_max_bytes: u64,
}

impl CacheConfig {
    /// Reads the variables that the docs of this module and of `redis` list. What is set for another `CACHE_TYPE` than
    /// the chosen one is not read; it only makes a warning.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let backend = match kind(&mut reader, source) {
            Some(Kind::None) => Some(CacheBackend::None),
            Some(Kind::Memory) => Some(CacheBackend::Memory),
            Some(Kind::Redis(topology)) => {
                RedisCacheConfig::read(&mut reader, source, topology).map(CacheBackend::Redis)
            }
            None => None,
        };
        let ttl = reader.required(&CACHE_TTL, parse::positive_seconds);
        let local_max_bytes = reader.required(&CACHE_LOCAL_MAX_BYTES, parse::positive);
        if let Some(backend) = &backend {
            redis::warn_of_unused(source, backend);
        }
        reader.finish(|| {
            Some(Self {
                backend: backend?,
                ttl: ttl?,
                local_max_bytes: local_max_bytes?,
            })
        })
    }
}

/// What `CACHE_TYPE` says.
enum Kind {
    None,
    Memory,
    Redis(Topology),
}

impl Kind {
    fn parse(value: &str) -> Option<Self> {
        match value {
            "none" => Some(Self::None),
            "memory" => Some(Self::Memory),
            "redis" => Some(Self::Redis(Topology::Standalone)),
            "redis-cluster" => Some(Self::Redis(Topology::Cluster)),
            "redis-sentinel" => Some(Self::Redis(Topology::Sentinel)),
            _ => None,
        }
    }
}

/// `CACHE_TYPE`, or what follows from the servers that are given. `REDIS_URL` alone turns no cache on: it may be there
/// for the queues only.
fn kind(reader: &mut Reader<'_>, source: &Source) -> Option<Kind> {
    let given = reader.optional(&CACHE_TYPE, Kind::parse)?;
    Some(given.unwrap_or_else(|| Topology::of_servers(source).map_or(Kind::None, Kind::Redis)))
}
