//! The Redis under the cache: one server, a cluster, or servers behind sentinels.
//!
//! - `CACHE_REDIS_URL` (alias `OCI_CACHE_ENDPOINT`; with `CACHE_TYPE=redis` then `REDIS_URL`)
//! - `CACHE_REDIS_USERNAME`
//! - `CACHE_REDIS_PASSWORD`
//! - `CACHE_REDIS_DB`
//! - `CACHE_REDIS_CA_FILE`
//! - `CACHE_REDIS_CLUSTER_NODES`
//! - `CACHE_REDIS_SENTINELS`
//! - `CACHE_REDIS_MASTER_NAME`
//! - `CACHE_PREFIX`
//! - `CACHE_COMMAND_TIMEOUT`
//! - `CACHE_BREAKER_THRESHOLD`
//! - `CACHE_BREAKER_RESET`

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::CacheBackend;
use crate::certificates;
use crate::parse::{self, REDIS_PORT};
use crate::queue::REDIS_URL;
use crate::reader::Reader;
use crate::source::Source;
use crate::variable::Variable;

/// Where a sentinel listens when nothing else is said.
const SENTINEL_PORT: u16 = 26379;

// URLs may carry a password, so all three are treated as secrets.
pub(super) const CACHE_REDIS_URL: Variable = Variable::new(
    "CACHE_REDIS_URL",
    "The Redis that holds the cache",
    "a URL such as redis://host:6379 or rediss://host:6380, or host:port",
)
.aliases(&["OCI_CACHE_ENDPOINT"])
.unset("REDIS_URL with CACHE_TYPE=redis, otherwise none")
.secret();
pub(super) const CACHE_REDIS_CLUSTER_NODES: Variable = Variable::new(
    "CACHE_REDIS_CLUSTER_NODES",
    "Some nodes of the cluster; the others are found through them",
    "host:port (6379 when left out) or URLs without a database number, separated by commas; all redis:// or all \
     rediss://, with the same user and password",
)
.unset("CACHE_REDIS_URL with CACHE_TYPE=redis-cluster, otherwise none")
.secret();
pub(super) const CACHE_REDIS_SENTINELS: Variable = Variable::new(
    "CACHE_REDIS_SENTINELS",
    "The sentinels that know the master; user and password in their URLs are the sentinels' own, and rediss:// \
     means TLS to them and to the master",
    "host:port (26379 when left out) or URLs without a database number, separated by commas; all redis:// or all \
     rediss://, with the same user and password",
)
.unset("none; required with CACHE_TYPE=redis-sentinel")
.secret();
pub(super) const CACHE_REDIS_MASTER_NAME: Variable = Variable::new(
    "CACHE_REDIS_MASTER_NAME",
    "What the sentinels call the master",
    "text without spaces",
)
.default("mymaster");
pub(super) const CACHE_REDIS_USERNAME: Variable = Variable::new(
    "CACHE_REDIS_USERNAME",
    "User at that Redis",
    "any text, together with a password",
)
.unset("what the URL says");
pub(super) const CACHE_REDIS_PASSWORD: Variable = Variable::new(
    "CACHE_REDIS_PASSWORD",
    "Password of that Redis",
    "any text; CACHE_REDIS_USERNAME needs it unless the URL has one",
)
.unset("what the URL says")
.secret();
pub(super) const CACHE_REDIS_DB: Variable = Variable::new(
    "CACHE_REDIS_DB",
    "Number of the logical database in that Redis",
    "a number from 0 to 255",
)
.unset("what the URL says, else 0");
pub(super) const CACHE_REDIS_CA_FILE: Variable = Variable::new(
    "CACHE_REDIS_CA_FILE",
    "Authorities that sign that Redis's certificate, instead of the public ones",
    "a file of certificates in PEM form",
)
.unset("the public authorities");
pub(super) const CACHE_PREFIX: Variable = Variable::new(
    "CACHE_PREFIX",
    "First part of every key of the cache",
    "text without spaces, and without { and }, which in a cluster would send every key to one node",
)
.default("bharatmart:cache");
pub(super) const CACHE_COMMAND_TIMEOUT: Variable = Variable::new(
    "CACHE_COMMAND_TIMEOUT",
    "How long to wait for that Redis before going on without it",
    "milliseconds above 0, or a duration such as 100ms",
)
.default("100");
pub(super) const CACHE_BREAKER_THRESHOLD: Variable = Variable::new(
    "CACHE_BREAKER_THRESHOLD",
    "That Redis is left alone after more than so many failures in a row",
    "a whole number above 0",
)
.default("3");
pub(super) const CACHE_BREAKER_RESET: Variable = Variable::new(
    "CACHE_BREAKER_RESET",
    "How long it is left alone before the first try, at most; up to four times as long after tries that fail",
    "milliseconds above 0, or a duration such as 500ms",
)
.default("500");

/// The Redis under the cache.
#[derive(Clone, Debug)]
pub struct RedisCacheConfig {
    /// Which servers.
    pub topology: RedisTopology,
    /// The user, when it is not the URL's.
    pub username: Option<String>,
    /// The password, when it is not the URL's.
    pub password: Option<SecretString>,
    /// The logical database, when it is not the URL's. Never above 0 for a cluster.
    pub db: Option<u8>,
    /// A PEM file of authorities that are trusted instead of the public ones. It was readable when the settings were
    /// read.
    pub ca_file: Option<PathBuf>,
    /// The first part of every key.
    pub prefix: String,
    /// How long one command may take.
    pub command_timeout: Duration,
    /// The breaker opens after more than so many failures in a row; at least 1.
    pub breaker_threshold: u32,
    /// How long the breaker waits before its first probe. Later waits grow.
    pub breaker_reset: Duration,
}

/// Which servers hold the cache. Every address is a `redis://` or `rediss://` URL with its port.
#[derive(Clone, Debug)]
pub enum RedisTopology {
    /// One server.
    Standalone {
        /// Perhaps with user, password and database.
        url: SecretString,
    },
    /// A Redis Cluster.
    Cluster {
        /// Some of its nodes, at least one; all with the same scheme, user and password, none with a database.
        nodes: Vec<SecretString>,
    },
    /// One master among several servers, followed through sentinels.
    Sentinel {
        /// At least one. User and password in these URLs are the sentinels' own. `rediss://` means TLS to the sentinels
        /// and to the master; all have the same scheme.
        sentinels: Vec<SecretString>,
        /// What the sentinels call the master.
        master_name: String,
    },
}

/// Which of the three is asked for.
#[derive(Clone, Copy)]
pub(super) enum Topology {
    Standalone,
    Cluster,
    Sentinel,
}

impl Topology {
    /// What the variables that name servers suggest, if any of them is set.
    pub(super) fn of_servers(source: &Source) -> Option<Self> {
        [
            (&CACHE_REDIS_SENTINELS, Self::Sentinel),
            (&CACHE_REDIS_CLUSTER_NODES, Self::Cluster),
            (&CACHE_REDIS_URL, Self::Standalone),
        ]
        .into_iter()
        .find_map(|(variable, topology)| source.get(variable).map(|_| topology))
    }
}

impl RedisCacheConfig {
    /// Reads the variables that the module's doc lists, as far as `topology` uses them.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        source: &Source,
        topology: Topology,
    ) -> Option<Self> {
        let servers = servers(reader, topology);
        let master_name = match topology {
            Topology::Sentinel => reader.required(&CACHE_REDIS_MASTER_NAME, master_name),
            Topology::Standalone | Topology::Cluster => None,
        };
        let username = reader.optional(&CACHE_REDIS_USERNAME, parse::text);
        let password = reader.optional(&CACHE_REDIS_PASSWORD, parse::secret);
        let db = reader.optional(&CACHE_REDIS_DB, parse::number::<u8>);
        let ca_file = reader.optional(&CACHE_REDIS_CA_FILE, parse::path);
        let prefix = reader.required(&CACHE_PREFIX, prefix);
        let command_timeout = reader.required(&CACHE_COMMAND_TIMEOUT, parse::positive_milliseconds);
        let breaker_threshold = reader.required(&CACHE_BREAKER_THRESHOLD, parse::positive);
        let breaker_reset = reader.required(&CACHE_BREAKER_RESET, parse::positive_milliseconds);

        if let (Topology::Cluster, Some(Some(1..))) = (topology, db) {
            reader.refuse(&CACHE_REDIS_DB, "0: a cluster has no other database");
        }
        if let Some(Some(file)) = &ca_file
            && let Err(reason) = certificates::check(file)
        {
            reader.refuse(&CACHE_REDIS_CA_FILE, reason);
        }
        if let Some(servers) = &servers {
            // The passwords in the URLs of sentinels are not the master's.
            let has_password = !matches!(topology, Topology::Sentinel)
                && servers.iter().any(|server| server.password().is_some());
            if matches!((&username, &password), (Some(Some(_)), Some(None))) && !has_password {
                reader.missing(&CACHE_REDIS_PASSWORD);
            }
            let encrypted = servers.iter().any(|server| server.scheme() == "rediss");
            if matches!(ca_file, Some(Some(_))) && !encrypted {
                source.warn(
                    "CACHE_REDIS_CA_FILE is set but not used: the cache's Redis is reached without TLS (rediss://)",
                );
            }
        }

        let mut urls = servers?
            .into_iter()
            .map(|url| SecretString::from(String::from(url)));
        let topology = match topology {
            Topology::Standalone => RedisTopology::Standalone { url: urls.next()? },
            Topology::Cluster => RedisTopology::Cluster {
                nodes: urls.collect(),
            },
            Topology::Sentinel => RedisTopology::Sentinel {
                sentinels: urls.collect(),
                master_name: master_name?,
            },
        };
        Some(Self {
            topology,
            username: username?,
            password: password?,
            db: db?,
            ca_file: ca_file?,
            prefix: prefix?,
            command_timeout: command_timeout?,
            breaker_threshold: breaker_threshold?,
            breaker_reset: breaker_reset?,
        })
    }
}

/// Says which variables are set, but belong to another `CACHE_TYPE` than the chosen one.
pub(super) fn warn_of_unused(source: &Source, backend: &CacheBackend) {
    let (redis, standalone, cluster, sentinel) = match backend {
        CacheBackend::None | CacheBackend::Memory => (false, false, false, false),
        CacheBackend::Redis(redis) => match redis.topology {
            RedisTopology::Standalone { .. } => (true, true, false, false),
            RedisTopology::Cluster { .. } => (true, false, true, false),
            RedisTopology::Sentinel { .. } => (true, false, false, true),
        },
    };
    let lone_seed = cluster && source.get(&CACHE_REDIS_CLUSTER_NODES).is_none();
    let unused = [
        (&CACHE_REDIS_URL, standalone || lone_seed),
        (&CACHE_REDIS_CLUSTER_NODES, cluster),
        (&CACHE_REDIS_SENTINELS, sentinel),
        (&CACHE_REDIS_MASTER_NAME, sentinel),
        (&CACHE_REDIS_USERNAME, redis),
        (&CACHE_REDIS_PASSWORD, redis),
        (&CACHE_REDIS_DB, redis),
        (&CACHE_REDIS_CA_FILE, redis),
        (&CACHE_PREFIX, redis),
        (&CACHE_COMMAND_TIMEOUT, redis),
        (&CACHE_BREAKER_THRESHOLD, redis),
        (&CACHE_BREAKER_RESET, redis),
    ]
    .into_iter()
    .filter(|(variable, used)| !used && source.get(variable).is_some());
    for (variable, _) in unused {
        source.warn(format!(
            "{} is set but not used: the cache's type is {}",
            variable.name,
            backend.as_str()
        ));
    }
}

/// The addresses to begin with, at least one. A missing one is noted as the topology's own variable.
fn servers(reader: &mut Reader<'_>, topology: Topology) -> Option<Vec<Url>> {
    let (own, found) = match topology {
        Topology::Standalone => (&CACHE_REDIS_URL, standalone(reader)),
        Topology::Cluster => (&CACHE_REDIS_CLUSTER_NODES, cluster(reader)),
        Topology::Sentinel => (
            &CACHE_REDIS_SENTINELS,
            reader.optional(&CACHE_REDIS_SENTINELS, sentinels),
        ),
    };
    if matches!(found, Some(None)) {
        reader.missing(own);
    }
    found?
}

#[expect(
    clippy::option_option,
    reason = "as in Reader::optional: was it readable, and was it set"
)]
fn standalone(reader: &mut Reader<'_>) -> Option<Option<Vec<Url>>> {
    let one = match reader.optional(&CACHE_REDIS_URL, own_url)? {
        Some(url) => Some(url),
        None => reader.optional(&REDIS_URL, shared_url)?,
    };
    Some(one.map(|url| vec![url]))
}

#[expect(
    clippy::option_option,
    reason = "as in Reader::optional: was it readable, and was it set"
)]
fn cluster(reader: &mut Reader<'_>) -> Option<Option<Vec<Url>>> {
    if let Some(nodes) = reader.optional(&CACHE_REDIS_CLUSTER_NODES, nodes)? {
        return Some(Some(nodes));
    }
    // Not REDIS_URL: the queues' Redis is seldom a node of the cache's cluster.
    let seed = reader.optional(&CACHE_REDIS_URL, own_url)?;
    if seed
        .as_ref()
        .is_some_and(|seed| !parse::is_database_0(seed))
    {
        reader.refuse(
            &CACHE_REDIS_URL,
            "a URL without a database number: a cluster has only database 0",
        );
        return None;
    }
    Some(seed.map(|url| vec![url]))
}

fn own_url(value: &str) -> Option<Url> {
    parse::redis_address(value, REDIS_PORT)
}

/// `REDIS_URL` belongs to the queues too, which take nothing but a URL.
fn shared_url(value: &str) -> Option<Url> {
    parse::redis(value).and_then(|_| own_url(value))
}

fn nodes(value: &str) -> Option<Vec<Url>> {
    parse::redis_addresses(value, REDIS_PORT)
}

fn sentinels(value: &str) -> Option<Vec<Url>> {
    parse::redis_addresses(value, SENTINEL_PORT)
}

fn master_name(value: &str) -> Option<String> {
    (!value.contains(char::is_whitespace)).then(|| value.to_owned())
}

fn prefix(value: &str) -> Option<String> {
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || c == '{' || c == '}';
    (!value.contains(forbidden)).then(|| value.to_owned())
}
