//! The Redis that holds the queues.
//!
//! - `QUEUE_REDIS_URL`
//! - `REDIS_URL`
//! - `QUEUE_REDIS_DB`
//! - `QUEUE_REDIS_PASSWORD`
//! - `QUEUE_REDIS_CA_FILE`
//! - `QUEUE_REDIS_CLUSTER_NODES`
//! - `QUEUE_ALLOW_EVICTION`
//! - `QUEUE_PREFIX`

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use crate::certificates;
use crate::error::ConfigError;
use crate::parse::{self, REDIS_PORT};
use crate::reader::Reader;
use crate::source::Source;
use crate::variable::{Table, Variable};

// The URLs may carry a password, so they are treated as secrets.
const QUEUE_REDIS_URL: Variable = Variable::new(
    "QUEUE_REDIS_URL",
    "The Redis that holds the queues",
    "a URL such as redis://host:6379 or rediss://host:6380, here or in REDIS_URL",
)
.unset("QUEUE_REDIS_CLUSTER_NODES, else REDIS_URL")
.secret();
pub(crate) const REDIS_URL: Variable = Variable::new(
    "REDIS_URL",
    "One Redis for everything that has none of its own",
    "a URL such as redis://host:6379 or rediss://host:6380",
)
.unset("none; then QUEUE_REDIS_URL is required")
.secret();
const QUEUE_REDIS_DB: Variable = Variable::new(
    "QUEUE_REDIS_DB",
    "Number of the logical database in that Redis",
    "a number from 0 to 255",
)
.unset("what the URL says");
const QUEUE_REDIS_PASSWORD: Variable =
    Variable::new("QUEUE_REDIS_PASSWORD", "Password of that Redis", "any text")
        .unset("what the URL says")
        .secret();
const QUEUE_REDIS_CA_FILE: Variable = Variable::new(
    "QUEUE_REDIS_CA_FILE",
    "Authorities that sign that Redis's certificate, instead of the public ones",
    "a file of certificates in PEM form",
)
.unset("the public authorities");
const QUEUE_REDIS_CLUSTER_NODES: Variable = Variable::new(
    "QUEUE_REDIS_CLUSTER_NODES",
    "Some nodes of the Redis Cluster that holds the queues; the others are found through them",
    "host:port (6379 when left out) or URLs without a database number, separated by commas; all redis:// or all \
     rediss://, with the same user and password",
)
.unset("no cluster")
.secret();
const QUEUE_ALLOW_EVICTION: Variable = Variable::new(
    "QUEUE_ALLOW_EVICTION",
    "Works with a Redis that may drop jobs when its memory is full (a maxmemory-policy other than noeviction)",
    "true or false",
)
.default("false");
const QUEUE_PREFIX: Variable = Variable::new(
    "QUEUE_PREFIX",
    "First part of every key of the queues; in a cluster in braces, so that a queue's keys are on one node",
    "text without spaces, colons and braces",
)
.default("bull");

pub(crate) const TABLE: Table = Table {
    title: "Queues",
    variables: &[
        QUEUE_REDIS_URL,
        REDIS_URL,
        QUEUE_REDIS_DB,
        QUEUE_REDIS_PASSWORD,
        QUEUE_REDIS_CA_FILE,
        QUEUE_REDIS_CLUSTER_NODES,
        QUEUE_ALLOW_EVICTION,
        QUEUE_PREFIX,
    ],
};

/// The Redis that holds the queues.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// Which servers.
    pub servers: QueueServers,
    /// The password, when it is not the URL's.
    pub password: Option<SecretString>,
    /// A PEM file of authorities that are trusted instead of the public ones. It was readable when the settings were
    /// read.
    pub ca_file: Option<PathBuf>,
    /// Whether a Redis is good enough that may drop jobs when its memory is full.
    pub allow_eviction: bool,
    /// The first part of every key.
    pub prefix: String,
}

/// Which servers hold the queues. Every address is a `redis://` or `rediss://` URL.
#[derive(Clone, Debug)]
pub enum QueueServers {
    /// One server.
    Standalone {
        /// Perhaps with user, password and database.
        url: SecretString,
        /// The logical database, when it is not the URL's.
        db: Option<u8>,
    },
    /// A Redis Cluster.
    Cluster {
        /// Some of its nodes, at least one; all with the same scheme, user and password, none with a database.
        nodes: Vec<SecretString>,
    },
}

impl QueueServers {
    /// Whether they are reached through TLS.
    fn are_encrypted(&self) -> bool {
        let one = match self {
            Self::Standalone { url, .. } => Some(url),
            Self::Cluster { nodes } => nodes.first(),
        };
        one.is_some_and(|url| url.expose_secret().starts_with("rediss://"))
    }
}

impl QueueConfig {
    /// Reads the variables that the module's doc lists.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let servers = servers(&mut reader);
        let password = reader.optional(&QUEUE_REDIS_PASSWORD, parse::secret);
        let ca_file = reader.optional(&QUEUE_REDIS_CA_FILE, parse::path);
        let allow_eviction = reader.required(&QUEUE_ALLOW_EVICTION, parse::boolean);
        let prefix = reader.required(&QUEUE_PREFIX, prefix);
        if let Some(Some(file)) = &ca_file
            && let Err(reason) = certificates::check(file)
        {
            reader.refuse(&QUEUE_REDIS_CA_FILE, reason);
        }
        if matches!(ca_file, Some(Some(_)))
            && servers
                .as_ref()
                .is_some_and(|servers| !servers.are_encrypted())
        {
            source.warn(
                "QUEUE_REDIS_CA_FILE is set but not used: the queues' Redis is reached without TLS (rediss://)",
            );
        }
        reader.finish(|| {
            Some(Self {
                servers: servers?,
                password: password?,
                ca_file: ca_file?,
                allow_eviction: allow_eviction?,
                prefix: prefix?,
            })
        })
    }
}

/// The servers that are named, first by a URL of the queues' own, then as a cluster, then for everything.
fn servers(reader: &mut Reader<'_>) -> Option<QueueServers> {
    let own_url = reader.optional(&QUEUE_REDIS_URL, parse::redis_url);
    let nodes = reader.optional(&QUEUE_REDIS_CLUSTER_NODES, nodes);
    let db = reader.optional(&QUEUE_REDIS_DB, parse::number::<u8>);
    let (own_url, nodes, db) = (own_url?, nodes?, db?);
    if let Some(nodes) = nodes {
        if own_url.is_some() {
            reader.refuse(
                &QUEUE_REDIS_CLUSTER_NODES,
                "either these or QUEUE_REDIS_URL, not both",
            );
        }
        if db.is_some_and(|db| db > 0) {
            reader.refuse(&QUEUE_REDIS_DB, "0: a cluster has no other database");
        }
        return Some(QueueServers::Cluster { nodes });
    }
    let url = match own_url {
        // A bad REDIS_URL is nobody's concern here as long as the queues have a Redis of their own.
        None => reader.optional(&REDIS_URL, parse::redis_url)?,
        own => own,
    };
    if url.is_none() {
        reader.missing(&QUEUE_REDIS_URL);
    }
    Some(QueueServers::Standalone { url: url?, db })
}

fn nodes(value: &str) -> Option<Vec<SecretString>> {
    let urls = parse::redis_addresses(value, REDIS_PORT)?;
    Some(
        urls.into_iter()
            .map(|url| SecretString::from(String::from(url)))
            .collect(),
    )
}

fn prefix(value: &str) -> Option<String> {
    // BullMQ joins the parts of a key with colons; a cluster takes what is in braces for the key's place.
    let forbidden = |c: char| matches!(c, ':' | '{' | '}') || c.is_whitespace();
    (!value.contains(forbidden)).then(|| value.to_owned())
}
