//! One connection to a server.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bharatmart_config::PoolerMode;
use futures_util::FutureExt;
use sqlx::{ConnectOptions, Executor, PgConnection, Row, postgres::PgConnectOptions};

use super::{Host, unreachable::explain};
use crate::position::Position;

/// What a server says of itself. In the simple protocol, which any pooler hands to one server.
pub(super) const FACTS: &str = "\
    SELECT pg_is_in_recovery() AS in_recovery, \
        current_setting('transaction_read_only') = 'on' AS read_only, \
        current_setting('bharatmart.session', true) AS session, \
        current_setting('wal_block_size')::bigint AS page, \
        (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS server, \
        CASE WHEN pg_is_in_recovery() THEN 0 \
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint END AS timeline, \
        CASE WHEN pg_is_in_recovery() THEN pg_wal_lsn_diff(coalesce(pg_last_wal_replay_lsn(), '0/0'), '0/0') \
            WHEN current_setting('synchronous_commit') = 'off' THEN pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') \
            ELSE pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0') END::bigint AS position";

/// What a server said of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Whether it replays the log of another one.
    pub(crate) in_recovery: bool,
    /// Whether it takes no writes, for that or another reason.
    pub(crate) read_only: bool,
    /// When it was started, in microseconds: no two servers are started in the same one.
    pub(crate) server: i64,
    /// The timeline that it writes; 0 in recovery. It grows with each promotion.
    pub(crate) timeline: u32,
    /// Bytes of a page of its log.
    pub(crate) page: u64,
    /// Up to where its log is written and flushed, so that what was committed lies before, or replayed.
    pub(crate) position: Position,
}

impl Facts {
    /// Whether the server takes writes.
    pub(crate) const fn is_writable(self) -> bool {
        !self.in_recovery && !self.read_only
    }
}

/// What a server holds, and what of it its role may see.
const CONTENT: &str = "\
    SELECT oid::bigint AS database, \
        coalesce(NOT row_security_active(to_regclass('products')) \
            AND has_table_privilege(to_regclass('products'), 'SELECT'), false) AS shows_rows \
    FROM pg_database WHERE datname = current_database()";
const CLUSTER: &str = "SELECT system_identifier FROM pg_control_system()";

/// What a server holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// The cluster that it is one of: all that follow one primary have the same number. `None` where the role
    /// may not know.
    pub(crate) cluster: Option<i64>,
    /// The number of the database: the same on all of a cluster.
    pub(crate) database: i64,
    /// Whether the role sees the shop's rows.
    pub(crate) shows_rows: bool,
}

impl Content {
    /// Whether both hold the same, as far as is known.
    pub(crate) fn is_that_of(&self, other: &Self) -> bool {
        let is_other = |one: Option<i64>, other: Option<i64>| {
            one.zip(other).is_some_and(|(one, other)| one != other)
        };
        self.database == other.database && !is_other(self.cluster, other.cluster)
    }
}

/// Whether a connection can be lent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Nothing is under way.
    Idle,
    /// A statement or a transaction is under way, or was left there by somebody who was cancelled.
    Busy,
    /// It is of no use any more.
    Broken,
}

/// One connection and what is known of it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) connection: PgConnection,
    pub(crate) health: Health,
    pub(crate) host: Arc<Host>,
    pub(crate) mode: PoolerMode,
    pub(crate) facts: Facts,
    pub(crate) opened: Instant,
    /// How long it is used at most.
    pub(crate) lifetime: Duration,
    /// The number of times that connections of its server had broken before it was last known to work.
    pub(crate) epoch: u64,
}

/// The refusal of a start-up parameter (protocol violation): only poolers refuse any.
const PROTOCOL_VIOLATION: &str = "08P01";

impl Link {
    /// Opens a connection, and finds out whether there is a transaction pooler if that is not known.
    pub(crate) async fn open(host: &Arc<Host>, read_only: bool) -> sqlx::Result<Self> {
        // Large and rare: whoever asks a pool for a connection must not carry it along each time.
        let opened = match host.mode() {
            Some(PoolerMode::Transaction) => Self::pooled(host).boxed(),
            Some(PoolerMode::Session) => Self::in_session(host, read_only).boxed(),
            None => Self::explore(host, read_only).boxed(),
        };
        match opened.await {
            Err(sqlx::Error::Io(error)) => {
                let (name, port) = (host.options.get_host(), host.options.get_port());
                Err(explain(name, port, error).await.into())
            }
            opened => opened,
        }
    }

    /// A connection with a session of its own.
    async fn in_session(host: &Arc<Host>, read_only: bool) -> sqlx::Result<Self> {
        let connection = host.options.connect().await?;
        Self::greet(host, connection, read_only).await
    }

    /// Asks for a session parameter that no pooler knows. One that refuses it, or does not keep it, is a
    /// pooler; in which mode it works cannot be asked, so it is taken for the one that gives less.
    async fn explore(host: &Arc<Host>, read_only: bool) -> sqlx::Result<Self> {
        let options = host
            .options
            .clone()
            .options([("bharatmart.session", "kept")]);
        match options.connect().await {
            Ok(mut connection) => {
                // Nothing is set before it is known whose session it would be set in.
                let (_, kept) = ask(&mut connection, FACTS).await?;
                if kept {
                    host.learn(PoolerMode::Session);
                    return Self::greet(host, connection, read_only).await;
                }
            }
            Err(sqlx::Error::Database(error))
                if error.code().as_deref() == Some(PROTOCOL_VIOLATION) => {}
            Err(error) => return Err(error),
        }
        let link = Self::pooled(host).await?;
        host.learn(PoolerMode::Transaction);
        Ok(link)
    }

    /// A connection whose sessions are the pooler's.
    async fn pooled(host: &Arc<Host>) -> sqlx::Result<Self> {
        let options: PgConnectOptions = host.options.clone().statement_cache_capacity(0);
        let mut connection = options.connect().await?;
        let (facts, _) = ask(&mut connection, FACTS).await?;
        Ok(Self::new(host, connection, PoolerMode::Transaction, facts))
    }

    /// Sets a session up.
    async fn greet(
        host: &Arc<Host>,
        mut connection: PgConnection,
        read_only: bool,
    ) -> sqlx::Result<Self> {
        let statements = &host.statements;
        let greeting = if read_only {
            &statements.read_only_session
        } else {
            &statements.session
        };
        let (facts, _) = ask(&mut connection, greeting.clone()).await?;
        Ok(Self::new(host, connection, PoolerMode::Session, facts))
    }

    fn new(host: &Arc<Host>, connection: PgConnection, mode: PoolerMode, facts: Facts) -> Self {
        Self {
            connection,
            health: Health::Idle,
            host: Arc::clone(host),
            mode,
            facts,
            opened: Instant::now(),
            lifetime: Duration::MAX,
            epoch: 0,
        }
    }

    /// Whether the server took writes when the connection was opened.
    pub(crate) const fn is_writable(&self) -> bool {
        self.facts.is_writable()
    }

    /// Asks the server again what it is.
    pub(crate) async fn ask(&mut self) -> sqlx::Result<Facts> {
        let (facts, _) = ask(&mut self.connection, FACTS).await?;
        Ok(facts)
    }

    /// Asks what the server holds.
    pub(crate) async fn content(&mut self) -> sqlx::Result<Content> {
        let row = self.connection.fetch_one(CONTENT).await?;
        // A role may be kept from knowing the cluster; everything else goes on without.
        let cluster = self.connection.fetch_one(CLUSTER).await;
        Ok(Content {
            cluster: cluster.ok().and_then(|row| row.try_get(0).ok()),
            database: row.try_get("database")?,
            shows_rows: row.try_get("shows_rows")?,
        })
    }

    /// Waits for what is under way, and rolls a transaction back that was left open.
    pub(crate) async fn settle(&mut self) -> sqlx::Result<()> {
        self.connection.execute("ROLLBACK").await?;
        self.health = Health::Idle;
        Ok(())
    }
}

async fn ask(
    connection: &mut PgConnection,
    statement: impl sqlx::SqlSafeStr + Send + 'static,
) -> sqlx::Result<(Facts, bool)> {
    let row = connection.fetch_one(statement.into_sql_str()).await?;
    let page = row.try_get::<i64, _>("page")?.unsigned_abs();
    let position = row.try_get::<i64, _>("position")?.unsigned_abs();
    let timeline = row.try_get::<i64, _>("timeline")?;
    let timeline = u32::try_from(timeline).map_err(|error| sqlx::Error::Decode(error.into()))?;
    let facts = Facts {
        in_recovery: row.try_get("in_recovery")?,
        read_only: row.try_get("read_only")?,
        server: row.try_get("server")?,
        timeline,
        page,
        // Also in recovery, so that the two can be compared.
        position: Position::before(timeline, position, page),
    };
    let session: Option<String> = row.try_get("session")?;
    Ok((facts, session.as_deref() == Some("kept")))
}
