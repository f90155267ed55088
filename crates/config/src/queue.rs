//! The Redis that holds the queues.
//!
//! - `QUEUE_REDIS_URL`
//! - `REDIS_URL`
//! - `QUEUE_REDIS_DB`
//! - `QUEUE_REDIS_PASSWORD`
//! - `QUEUE_PREFIX`

use secrecy::SecretString;

use crate::error::ConfigError;
use crate::parse;
use crate::reader::Reader;
use crate::source::Source;
use crate::variable::{Table, Variable};

// The URLs may carry a password, so they are treated as secrets.
const QUEUE_REDIS_URL: Variable = Variable::new(
    "QUEUE_REDIS_URL",
    "The Redis that holds the queues",
    "a URL such as redis://host:6379 or rediss://host:6380, here or in REDIS_URL",
)
.unset("REDIS_URL")
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
const QUEUE_PREFIX: Variable = Variable::new(
    "QUEUE_PREFIX",
    "First part of every key of the queues",
    "text without spaces and without a colon",
)
.default("bull");

pub(crate) const TABLE: Table = Table {
    title: "Queues",
    variables: &[
        QUEUE_REDIS_URL,
        REDIS_URL,
        QUEUE_REDIS_DB,
        QUEUE_REDIS_PASSWORD,
        QUEUE_PREFIX,
    ],
};

/// The Redis that holds the queues.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// `redis://` or `rediss://`.
    pub url: SecretString,
    /// The logical database, when it is not the URL's.
    pub db: Option<u8>,
    /// The password, when it is not the URL's.
    pub password: Option<SecretString>,
    /// The first part of every key.
    pub prefix: String,
}

impl QueueConfig {
    /// Reads the variables that the module's doc lists.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let own_url = reader.optional(&QUEUE_REDIS_URL, parse::redis_url);
        // A bad REDIS_URL is nobody's concern here as long as the queues have a Redis of their own.
        let url = match own_url {
            Some(None) => reader.optional(&REDIS_URL, parse::redis_url),
            known => known,
        };
        if matches!(url, Some(None)) {
            reader.missing(&QUEUE_REDIS_URL);
        }
        let db = reader.optional(&QUEUE_REDIS_DB, parse::number);
        let password = reader.optional(&QUEUE_REDIS_PASSWORD, parse::secret);
        let prefix = reader.required(&QUEUE_PREFIX, prefix);
        reader.finish(|| {
            Some(Self {
                url: url??,
                db: db?,
                password: password?,
                prefix: prefix?,
            })
        })
    }
}

fn prefix(value: &str) -> Option<String> {
    // BullMQ joins the parts of a key with colons.
    (!value.contains(|c: char| c == ':' || c.is_whitespace())).then(|| value.to_owned())
}
