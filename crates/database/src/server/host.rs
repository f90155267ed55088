//! The address of a server.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use bharatmart_config::{DatabaseConfig, DatabaseUrl, PoolerMode};
use secrecy::ExposeSecret;
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr, postgres::PgConnectOptions};

use crate::error::{Error, Result};

/// Where a server is and how to talk to it.
pub(crate) struct Host {
    /// `host:port`, for logs and metrics.
    pub(crate) name: Arc<str>,
    pub(crate) options: PgConnectOptions,
    mode: Mode,
    pub(crate) statements: Statements,
}

/// What the settings say of the pooler, or what was found out.
#[derive(Debug)]
struct Mode(AtomicU8);

const UNKNOWN: u8 = 0;
const SESSION: u8 = 1;
const TRANSACTION: u8 = 2;

impl Mode {
    fn new(mode: Option<PoolerMode>) -> Self {
        Self(AtomicU8::new(code(mode)))
    }
}

const fn code(mode: Option<PoolerMode>) -> u8 {
    match mode {
        None => UNKNOWN,
        Some(PoolerMode::Session) => SESSION,
        Some(PoolerMode::Transaction) => TRANSACTION,
    }
}

/// Statements that depend on the settings, made once.
#[derive(Clone, Debug)]
pub(crate) struct Statements {
    /// Of a session that reads and writes.
    pub(crate) session: SqlStr,
    /// Of a session that only reads.
    pub(crate) read_only_session: SqlStr,
    /// Begins a transaction through a transaction pooler.
    pub(crate) begin: SqlStr,
    /// The same for one that only reads.
    pub(crate) begin_read_only: SqlStr,
}

impl Statements {
    fn new(statement_timeout: Duration) -> Self {
        let timeout = statement_timeout.as_millis();
        let made = |text: String| AssertSqlSafe(Arc::<str>::from(text)).into_sql_str();
        let facts = super::link::FACTS;
        Self {
            session: made(format!("SET statement_timeout = {timeout}; {facts}")),
            read_only_session: made(format!(
                "SET statement_timeout = {timeout}; SET default_transaction_read_only = on; {facts}"
            )),
            begin: made(format!("BEGIN; SET LOCAL statement_timeout = {timeout}")),
            begin_read_only: made(format!(
                "BEGIN READ ONLY; SET LOCAL statement_timeout = {timeout}"
            )),
        }
    }
}

impl Host {
    pub(crate) fn new(
        url: &DatabaseUrl,
        config: &DatabaseConfig,
        application_name: &str,
    ) -> Result<Self> {
        let options: PgConnectOptions = url.url.expose_secret().parse().map_err(Error::from)?;
        let options = options
            .application_name(application_name)
            // Values travel in binary, and PgBouncer refuses the parameter.
            .extra_float_digits(None);
        Ok(Self {
            name: name(&url.host, url.port).into(),
            options,
            mode: Mode::new(config.pooler.or(url.pooler)),
            statements: Statements::new(config.statement_timeout),
        })
    }

    /// Whether sessions are ours or a pooler's; `None` until the server was asked.
    pub(crate) fn mode(&self) -> Option<PoolerMode> {
        match self.mode.0.load(Ordering::Relaxed) {
            SESSION => Some(PoolerMode::Session),
            TRANSACTION => Some(PoolerMode::Transaction),
            _ => None,
        }
    }

    /// Remembers what was found out.
    pub(crate) fn learn(&self, mode: PoolerMode) {
        let known = self.mode.0.swap(code(Some(mode)), Ordering::Relaxed);
        if known != code(Some(mode)) && mode == PoolerMode::Transaction {
            tracing::info!(
                server = %self.name,
                "there is a connection pooler before the database: each unit of work is a transaction without named statements"
            );
        }
    }
}

// The driver's options would show the password.
impl fmt::Debug for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.name, formatter)
    }
}

fn name(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}
