//! PostgreSQL.
//!
//! - `DATABASE_URL`
//! - `DATABASE_DIRECT_URL`
//! - `DATABASE_POOL_SIZE` (alias `DATABASE_POOL_MAX`)
//! - `DATABASE_POOL_MIN`
//! - `DATABASE_CONNECTION_TIMEOUT`
//! - `DATABASE_STATEMENT_TIMEOUT`

use std::time::Duration;

use secrecy::SecretString;

use crate::Process;
use crate::error::ConfigError;
use crate::parse;
use crate::reader::Reader;
use crate::source::Source;
use crate::variable::{Table, Variable};

// The URLs carry a password, so they are treated as secrets.
const DATABASE_URL: Variable = Variable::new(
    "DATABASE_URL",
    "The database",
    "a URL such as postgres://user:password@host:5432/bharatmart",
)
.secret();
const DATABASE_DIRECT_URL: Variable = Variable::new(
    "DATABASE_DIRECT_URL",
    "The database past a connection pooler, for migrations",
    "a URL such as postgres://user:password@host:5432/bharatmart",
)
.unset("DATABASE_URL")
.secret();
const DATABASE_POOL_SIZE: Variable = Variable::new(
    "DATABASE_POOL_SIZE",
    "Connections to the database at a time, at most",
    "a whole number above 0",
)
.aliases(&["DATABASE_POOL_MAX"]);
const API_POOL_SIZE: Variable = DATABASE_POOL_SIZE.default("20");
const WORKER_POOL_SIZE: Variable = DATABASE_POOL_SIZE.default("10");
const DATABASE_POOL_MIN: Variable = Variable::new(
    "DATABASE_POOL_MIN",
    "Connections to the database that are kept open",
    "a whole number, not above DATABASE_POOL_SIZE",
)
.default("1");
const DATABASE_CONNECTION_TIMEOUT: Variable = Variable::new(
    "DATABASE_CONNECTION_TIMEOUT",
    "How long to wait for a connection before giving up",
    "milliseconds above 0, or a duration such as 5s",
)
.default("5000");
const DATABASE_STATEMENT_TIMEOUT: Variable = Variable::new(
    "DATABASE_STATEMENT_TIMEOUT",
    "How long one statement may run",
    "milliseconds from 1 to 2147483647, or a duration such as 10s",
)
.default("10000");
/// PostgreSQL keeps it in a signed number of 32 bits.
const STATEMENT_TIMEOUT_MAX: Duration = Duration::from_millis(i32::MAX as u64);

pub(crate) const API_TABLE: Table = Table {
    title: "Database",
    variables: &[
        DATABASE_URL,
        DATABASE_DIRECT_URL,
        API_POOL_SIZE,
        DATABASE_POOL_MIN,
        DATABASE_CONNECTION_TIMEOUT,
        DATABASE_STATEMENT_TIMEOUT,
    ],
};

pub(crate) const WORKER_TABLE: Table = Table {
    title: "Database",
    variables: &[
        DATABASE_URL,
        DATABASE_DIRECT_URL,
        WORKER_POOL_SIZE,
        DATABASE_POOL_MIN,
        DATABASE_CONNECTION_TIMEOUT,
        DATABASE_STATEMENT_TIMEOUT,
    ],
};

/// PostgreSQL.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// The database, perhaps through a pooler.
    pub url: SecretString,
    /// The database past the pooler; migrations prefer it.
    pub direct_url: Option<SecretString>,
    /// Connections at a time, at most.
    pub pool_size: u32,
    /// Connections that are kept open; not above `pool_size`.
    pub pool_min: u32,
    /// How long to wait for a connection.
    pub connection_timeout: Duration,
    /// How long one statement may run.
    pub statement_timeout: Duration,
}

impl DatabaseConfig {
    /// Reads the variables that the module's doc lists. The API's default pool is larger than a worker's.
    pub fn read(source: &Source, process: Process) -> Result<Self, ConfigError> {
        let pool_size = match process {
            Process::Api => API_POOL_SIZE,
            Process::Worker => WORKER_POOL_SIZE,
        };
        let mut reader = Reader::new(source);
        let url = reader.required(&DATABASE_URL, parse::postgres_url);
        let direct_url = reader.optional(&DATABASE_DIRECT_URL, parse::postgres_url);
        let pool_size = reader.required(&pool_size, parse::positive::<u32>);
        let pool_min = reader.required(&DATABASE_POOL_MIN, parse::number::<u32>);
        let connection_timeout =
            reader.required(&DATABASE_CONNECTION_TIMEOUT, parse::positive_milliseconds);
        let statement_timeout = reader.required(&DATABASE_STATEMENT_TIMEOUT, statement_timeout);
        if let (Some(size), Some(min)) = (pool_size, pool_min)
            && min > size
        {
            reader.refuse(
                &DATABASE_POOL_MIN,
                format!("at most DATABASE_POOL_SIZE, which is {size}"),
            );
        }
        reader.finish(|| {
            Some(Self {
                url: url?,
                direct_url: direct_url?,
                pool_size: pool_size?,
                pool_min: pool_min?,
                connection_timeout: connection_timeout?,
                statement_timeout: statement_timeout?,
            })
        })
    }
}

fn statement_timeout(value: &str) -> Option<Duration> {
    // Less than one of its milliseconds would be 0 to PostgreSQL: no bound at all.
    parse::milliseconds(value)
        .filter(|duration| (Duration::from_millis(1)..=STATEMENT_TIMEOUT_MAX).contains(duration))
}
