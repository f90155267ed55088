//! PostgreSQL.
//!
//! - `DATABASE_URL`
//! - `DATABASE_READ_URL` (alias `DATABASE_READ_REPLICA_URL`)
//! - `DATABASE_DIRECT_URL`
//! - `DATABASE_POOLER`
//! - `DATABASE_POOL_SIZE` (alias `DATABASE_POOL_MAX`)
//! - `DATABASE_POOL_MIN`
//! - `DATABASE_CONNECTION_TIMEOUT`
//! - `DATABASE_STATEMENT_TIMEOUT`
//! - `DATABASE_MAX_REPLICA_LAG`
//!
//! TLS is in [`tls`], the database of a Supabase project in [`supabase`].

mod parameters;
mod supabase;
mod tls;
mod url;

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::Process;
use crate::error::ConfigError;
use crate::parse;
use crate::reader::Reader;
use crate::source::Source;
use crate::variable::{Table, Variable};
use tls::Tls;
use url::{Parts, Role};

// The URLs carry a password, so they are treated as secrets.
const DATABASE_URL: Variable = Variable::new(
    "DATABASE_URL",
    "The database; of several hosts, host1:5432,host2:5432, the one that takes writes is used",
    "a URL such as postgres://user:password@host:5432/bharatmart, or SUPABASE_URL and SUPABASE_DB_PASSWORD in its place",
)
.unset("the database of the project in SUPABASE_URL; one of the two is required")
.secret();
const DATABASE_READ_URL: Variable = Variable::new(
    "DATABASE_READ_URL",
    "Replicas that answer reads",
    "URLs such as postgres://user:password@replica:5432/bharatmart, separated by commas, with one host in each",
)
.aliases(&["DATABASE_READ_REPLICA_URL"])
.unset("none: every read goes to DATABASE_URL")
.secret();
const DATABASE_DIRECT_URL: Variable = Variable::new(
    "DATABASE_DIRECT_URL",
    "The database past a connection pooler, for migrations",
    "a URL such as postgres://user:password@host:5432/bharatmart",
)
.unset("DATABASE_URL")
.secret();
const DATABASE_POOLER: Variable = Variable::new(
    "DATABASE_POOLER",
    "What is between here and the database: session for nothing, or a pooler that lends a server for a session; \
     transaction for one that lends it for a transaction; auto to find out",
    "auto, session or transaction",
)
.default("auto");
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
    "Connections to the primary that are kept open",
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
const DATABASE_MAX_REPLICA_LAG: Variable = Variable::new(
    "DATABASE_MAX_REPLICA_LAG",
    "A replica that is further behind answers no reads",
    "milliseconds above 0, or a duration such as 10s",
)
.default("10000");
/// PostgreSQL keeps it in a signed number of 32 bits.
const STATEMENT_TIMEOUT_MAX: Duration = Duration::from_millis(i32::MAX as u64);

pub(crate) const API_TABLE: Table = Table {
    title: "Database",
    variables: &[
        DATABASE_URL,
        DATABASE_READ_URL,
        DATABASE_DIRECT_URL,
        supabase::SUPABASE_URL,
        supabase::SUPABASE_DB_PASSWORD,
        tls::DATABASE_SSL_MODE,
        tls::DATABASE_SSL_CA_FILE,
        DATABASE_POOLER,
        API_POOL_SIZE,
        DATABASE_POOL_MIN,
        DATABASE_CONNECTION_TIMEOUT,
        DATABASE_STATEMENT_TIMEOUT,
        DATABASE_MAX_REPLICA_LAG,
    ],
};

pub(crate) const WORKER_TABLE: Table = Table {
    title: "Database",
    variables: &[
        DATABASE_URL,
        DATABASE_READ_URL,
        DATABASE_DIRECT_URL,
        supabase::SUPABASE_URL,
        supabase::SUPABASE_DB_PASSWORD,
        tls::DATABASE_SSL_MODE,
        tls::DATABASE_SSL_CA_FILE,
        DATABASE_POOLER,
        WORKER_POOL_SIZE,
        DATABASE_POOL_MIN,
        DATABASE_CONNECTION_TIMEOUT,
        DATABASE_STATEMENT_TIMEOUT,
        DATABASE_MAX_REPLICA_LAG,
    ],
};

/// PostgreSQL.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// The database, perhaps through a pooler: one URL for each host that may take writes, in the order given; never
    /// empty.
    pub primary: Vec<DatabaseUrl>,
    /// Servers that answer reads; may be empty.
    pub replicas: Vec<DatabaseUrl>,
    /// The database past the pooler, one URL for each host; empty when `primary` is to be used for migrations too.
    pub direct: Vec<DatabaseUrl>,
    /// What kind of pooler there is on the way to `primary` and `replicas`; `None` when that is to be found out.
    pub pooler: Option<PoolerMode>,
    /// Connections at a time to each server, at most.
    pub pool_size: u32,
    /// Connections to the primary that are kept open; not above `pool_size`. Those to replicas are opened when needed.
    pub pool_min: u32,
    /// How long to wait for a connection.
    pub connection_timeout: Duration,
    /// How long one statement may run.
    pub statement_timeout: Duration,
    /// A replica that is further behind answers no reads.
    pub max_replica_lag: Duration,
}

/// One server.
#[derive(Clone, Debug)]
pub struct DatabaseUrl {
    /// One host; what was said about TLS is in it, and nothing that sqlx does not know. Host and port have to be read
    /// from the fields below: an IPv6 address or a socket is in a parameter.
    pub url: SecretString,
    /// A name, an address (IPv6 without brackets) or the folder of a Unix socket, for people to read. `localhost` when
    /// none was named; sqlx then looks for a local socket first.
    pub host: String,
    /// The TCP port, or the number in a socket's name.
    pub port: u16,
    /// What the URL itself gives away about a pooler.
    pub pooler: Option<PoolerMode>,
}

/// For how long a server behind a pooler belongs to one client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PoolerMode {
    /// For a session, as if there were no pooler.
    Session,
    /// For a transaction; the next one may meet another server.
    Transaction,
}

impl PoolerMode {
    /// `auto` is the inner `None`.
    #[expect(clippy::option_option, reason = "was it allowed, and does it decide")]
    fn parse(value: &str) -> Option<Option<Self>> {
        match value {
            "auto" => Some(None),
            "session" => Some(Some(Self::Session)),
            "transaction" => Some(Some(Self::Transaction)),
            _ => None,
        }
    }
}

impl DatabaseConfig {
    /// [`DatabaseConfig::read`], or `None` when nothing says where the database is: for what can do without.
    pub fn read_if_set(source: &Source, process: Process) -> Result<Option<Self>, ConfigError> {
        let set = [&DATABASE_URL, &supabase::SUPABASE_URL];
        if set.iter().any(|variable| source.get(variable).is_some()) {
            Self::read(source, process).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Reads the variables that the docs of this module, of `supabase` and of `tls` list. The API's default pool is larger
    /// than a worker's.
    pub fn read(source: &Source, process: Process) -> Result<Self, ConfigError> {
        let pool_size = match process {
            Process::Api => API_POOL_SIZE,
            Process::Worker => WORKER_POOL_SIZE,
        };
        let mut reader = Reader::new(source);
        let urls = Urls::read(&mut reader, source);
        let pooler = reader.required(&DATABASE_POOLER, PoolerMode::parse);
        let pool_size = reader.required(&pool_size, parse::positive::<u32>);
        let pool_min = reader.required(&DATABASE_POOL_MIN, parse::number::<u32>);
        let connection_timeout =
            reader.required(&DATABASE_CONNECTION_TIMEOUT, parse::positive_milliseconds);
        let statement_timeout = reader.required(&DATABASE_STATEMENT_TIMEOUT, statement_timeout);
        let max_replica_lag =
            reader.required(&DATABASE_MAX_REPLICA_LAG, parse::positive_milliseconds);
        if let (Some(size), Some(min)) = (pool_size, pool_min)
            && min > size
        {
            reader.refuse(
                &DATABASE_POOL_MIN,
                format!("at most DATABASE_POOL_SIZE, which is {size}"),
            );
        }
        reader.finish(|| {
            let urls = urls?;
            Some(Self {
                primary: urls.primary,
                replicas: urls.replicas,
                direct: urls.direct,
                pooler: pooler?,
                pool_size: pool_size?,
                pool_min: pool_min?,
                connection_timeout: connection_timeout?,
                statement_timeout: statement_timeout?,
                max_replica_lag: max_replica_lag?,
            })
        })
    }
}

/// Every server.
struct Urls {
    primary: Vec<DatabaseUrl>,
    replicas: Vec<DatabaseUrl>,
    direct: Vec<DatabaseUrl>,
}

impl Urls {
    fn read(reader: &mut Reader<'_>, source: &Source) -> Option<Self> {
        let primary = primary(reader, source);
        let replicas = parts(reader, &DATABASE_READ_URL, url::parse_list);
        let direct = parts(reader, &DATABASE_DIRECT_URL, |text| {
            Parts::parse(text, Role::Primary).map(|one| vec![one])
        });
        let tls = Tls::read(reader);
        let (primary, replicas, direct, mut tls) = (primary?, replicas?, direct?, tls?);

        for (variable, parts) in [
            (&DATABASE_URL, std::slice::from_ref(&primary)),
            (&DATABASE_READ_URL, &replicas[..]),
            (&DATABASE_DIRECT_URL, &direct[..]),
        ] {
            for name in parts.iter().flat_map(|parts| &parts.unused) {
                source.warn(format!(
                    "{} has a parameter that is not used: {name}",
                    variable.name
                ));
            }
        }
        // With several hosts, those that are no primary may well be read from.
        if !primary.is_several() && replicas.iter().any(|replica| replica.is_at(&primary)) {
            source.warn("DATABASE_READ_URL names a server and database of DATABASE_URL: it takes no load off it");
        }
        let mut all = |parts: &[Parts]| -> Vec<_> {
            let urls = parts.iter().flat_map(|parts| parts.urls(&mut tls));
            urls.collect()
        };
        let urls = Self {
            primary: all(&[primary]),
            replicas: all(&replicas),
            direct: all(&direct),
        };
        if tls.has_unused_file() {
            source.warn("DATABASE_SSL_CA_FILE is set but not used: certificates are checked with the sslmode verify-ca or verify-full");
        }
        Some(urls)
    }
}

/// `DATABASE_URL`, or the database of a Supabase project.
fn primary(reader: &mut Reader<'_>, source: &Source) -> Option<Parts> {
    let given = parts(reader, &DATABASE_URL, |text| {
        Parts::parse(text, Role::Primary).map(Some)
    });
    if source.get(&DATABASE_URL).is_some() {
        if source.get(&supabase::SUPABASE_DB_PASSWORD).is_some() {
            source.warn("SUPABASE_DB_PASSWORD is set but not used: DATABASE_URL is set");
        }
        return given?;
    }
    let password = reader.optional(&supabase::SUPABASE_DB_PASSWORD, parse::secret)?;
    let (Some(_), Some(password)) = (source.get(&supabase::SUPABASE_URL), password) else {
        reader.missing(&DATABASE_URL);
        return None;
    };
    let project = reader.optional(&supabase::SUPABASE_URL, supabase::project)??;
    let url = supabase::database_url(&project, password.expose_secret());
    Parts::parse(&url, Role::Primary)
        .map_err(|expected| reader.refuse(&supabase::SUPABASE_URL, expected))
        .ok()
}

/// The URLs in a variable; nothing when it is not set.
fn parts<T: std::default::Default>(
    reader: &mut Reader<'_>,
    variable: &Variable,
    parse: impl FnOnce(&str) -> Result<T, &'static str>,
) -> Option<T> {
    let text = reader.optional(variable, parse::secret)?;
    let Some(text) = text else {
        return Some(T::default());
    };
    match parse(text.expose_secret()) {
        Ok(parts) => Some(parts),
        Err(expected) => {
            reader.refuse(variable, expected);
            None
        }
    }
}

fn statement_timeout(value: &str) -> Option<Duration> {
    // Less than one of its milliseconds would be 0 to PostgreSQL: no bound at all.
    parse::milliseconds(value)
        .filter(|duration| (Duration::from_millis(1)..=STATEMENT_TIMEOUT_MAX).contains(duration))
}
