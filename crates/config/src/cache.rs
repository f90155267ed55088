//! The cache in front of the database.
//!
//! - `CACHE_TYPE`
//! - `CACHE_TTL`
//! - `CACHE_LOCAL_MAX_BYTES`

use std::time::Duration;

use crate::error::ConfigError;
use crate::parse;
use crate::reader::Reader;
use crate::source::Source;
use crate::variable::{Table, Variable};

const CACHE_TYPE: Variable =
    Variable::new("CACHE_TYPE", "Where answers are cached", "memory or none").default("none");
const CACHE_TTL: Variable = Variable::new(
    "CACHE_TTL",
    "How long a cached answer is good",
    "seconds above 0, or a duration such as 5m",
)
.default("300");
const CACHE_LOCAL_MAX_BYTES: Variable = Variable::new(
    "CACHE_LOCAL_MAX_BYTES",
    "Memory for the cache inside the process, in bytes",
    "a whole number above 0",
)
.default("33554432");

pub(crate) const TABLE: Table = Table {
    title: "Cache",
    variables: &[CACHE_TYPE, CACHE_TTL, CACHE_LOCAL_MAX_BYTES],
};

/// Where answers are cached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CacheBackend {
    /// In the process.
    Memory,
    /// Nowhere.
    None,
}

impl CacheBackend {
    fn parse(value: &str) -> Option<Self> {
        match value {
            "memory" => Some(Self::Memory),
            "none" => Some(Self::None),
            _ => None,
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
    /// Memory for the cache inside the process, in bytes.
    pub local_max_bytes: u64,
}

impl CacheConfig {
    /// Reads the variables that the module's doc lists.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let backend = reader.required(&CACHE_TYPE, CacheBackend::parse);
        let ttl = reader.required(&CACHE_TTL, parse::positive_seconds);
        let local_max_bytes = reader.required(&CACHE_LOCAL_MAX_BYTES, parse::positive);
        reader.finish(|| {
            Some(Self {
                backend: backend?,
                ttl: ttl?,
                local_max_bytes: local_max_bytes?,
            })
        })
    }
}
