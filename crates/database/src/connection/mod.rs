//! Connections on loan, and transactions.

mod executor;

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use bharatmart_config::PoolerMode;
use sqlx::{Executor as _, Row, SqlStr};

use crate::{
    error::{Error, Result},
    position::Position,
    replica::Replica,
    router::Read,
    scope::Scope,
    server::{Health, Lease, Link},
};

/// Tells up to where the log was written when what this session has committed was in it. A commit waits until
/// it is flushed, unless the server is told not to; what others have not committed yet lies behind that, and no
/// replica may ever get it.
macro_rules! tell {
    ($before:literal) => {
        concat!(
            $before,
            "SELECT pg_wal_lsn_diff(CASE current_setting('synchronous_commit') WHEN 'off' \
                THEN pg_current_wal_insert_lsn() ELSE pg_current_wal_flush_lsn() END, '0/0')::bigint"
        )
    };
}
const TELL: &str = tell!("");
/// Ends a transaction before.
const COMMIT_AND_TELL: &str = tell!("COMMIT; ");

/// A connection on loan from a pool.
///
/// Each statement is a transaction of its own unless it is part of a [`Transaction`] or of a read. Through
/// a transaction pooler it is made one, since the two halves of a statement (parse, then bind and execute)
/// could otherwise reach two servers.
#[derive(Debug)]
pub struct Connection {
    lease: Lease,
    /// Whether a transaction is open that ends with the loan.
    in_transaction: bool,
    /// Who wants to know up to where was written.
    scope: Option<Arc<Scope>>,
    /// Where else to read; `None` for what may write.
    read: Option<Read>,
}

impl Connection {
    pub(crate) fn for_writes(lease: Lease, scope: Option<Arc<Scope>>) -> Self {
        Self {
            lease,
            in_transaction: false,
            scope,
            read: None,
        }
    }

    /// A connection that only reads: through a transaction pooler it is one transaction.
    pub(crate) async fn for_reads(lease: Lease, read: Read) -> Result<Self> {
        let mut connection = Self {
            lease,
            in_transaction: false,
            scope: None,
            read: Some(read),
        };
        if connection.link().mode == PoolerMode::Transaction {
            let begin = connection.link().host.statements.begin_read_only.clone();
            connection.begin(begin).await?;
        }
        Ok(connection)
    }

    fn is_read(&self) -> bool {
        self.read.is_some()
    }

    /// The replica that is read from, if it is one.
    fn replica(&self) -> Option<&Arc<Replica>> {
        self.read.as_ref()?.replica.as_ref()
    }

    /// Goes on with another server after `error`.
    async fn fail_over(&mut self, error: sqlx::Error) -> sqlx::Result<()> {
        let Some(read) = self.read.take() else {
            return Err(error);
        };
        // Else all who have lost their connections would wait for each other's places.
        self.lease.discard();
        match read.elsewhere(&error).await {
            Some(connection) => {
                *self = connection;
                Ok(())
            }
            None => Err(error),
        }
    }

    pub(crate) fn link(&mut self) -> &mut Link {
        self.lease.link()
    }

    /// Whether a statement needs more than itself: a transaction around it, or a question behind it.
    fn is_wrapped(&mut self) -> bool {
        !self.in_transaction
            && (self.scope.is_some() || self.link().mode == PoolerMode::Transaction)
    }

    async fn begin(&mut self, statement: SqlStr) -> Result<()> {
        // Whoever is cancelled here leaves a transaction behind.
        self.in_transaction = true;
        self.control(statement).await?;
        Ok(())
    }

    /// Sends a statement that begins or ends something.
    async fn control(&mut self, statement: SqlStr) -> sqlx::Result<()> {
        let link = self.link();
        link.health = Health::Busy;
        let done = link.connection.execute(statement).await;
        link.note(&done);
        done.map(|_| ())
    }

    /// Commits, and notes up to where the log was written.
    async fn commit(&mut self) -> sqlx::Result<()> {
        match self.scope.clone() {
            None => self.control(SqlStr::from_static("COMMIT")).await?,
            Some(scope) => scope.note(self.tell(COMMIT_AND_TELL).await?),
        }
        self.in_transaction = false;
        Ok(())
    }

    async fn tell(&mut self, statement: &'static str) -> sqlx::Result<Position> {
        let link = self.link();
        link.health = Health::Busy;
        let told = link.connection.fetch_one(statement).await;
        link.note(&told);
        let bytes: i64 = told?.try_get(0)?;
        Ok(Position::before(bytes.unsigned_abs(), link.facts.page))
    }

    async fn rollback(&mut self) -> sqlx::Result<()> {
        self.control(SqlStr::from_static("ROLLBACK")).await?;
        self.in_transaction = false;
        Ok(())
    }

    /// Opens what a statement of its own needs.
    async fn open_statement(&mut self) -> sqlx::Result<()> {
        if self.link().mode == PoolerMode::Transaction {
            self.in_transaction = true;
            let begin = self.link().host.statements.begin.clone();
            self.control(begin).await?;
        }
        Ok(())
    }

    /// Ends what [`Connection::open_statement`] has opened; what the statement came to.
    async fn close_statement<T>(&mut self, outcome: sqlx::Result<T>) -> sqlx::Result<T> {
        if self.in_transaction {
            match &outcome {
                Ok(_) => self.commit().await?,
                // The statement's own error is the one to report. Should this fail, too, then the
                // connection is not lent again.
                Err(_) => drop(self.rollback().await),
            }
        } else if let (Ok(_), Some(scope)) = (&outcome, self.scope.clone()) {
            match self.tell(TELL).await {
                Ok(position) => scope.note(position),
                // What was written is written.
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the position of a write is not known: its client may read an older state from a replica"
                ),
            }
        }
        outcome
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.in_transaction {
            let link = self.link();
            if link.health == Health::Idle {
                link.health = Health::Busy;
            }
        }
    }
}

impl Link {
    /// Notes what became of a statement.
    fn note<T>(&mut self, outcome: &sqlx::Result<T>) {
        self.health = match outcome {
            Ok(_) => Health::Idle,
            Err(error) => Health::after(error),
        };
    }
}

impl Health {
    /// What a statement's error leaves behind.
    fn after(error: &sqlx::Error) -> Self {
        if is_fatal(error) {
            Self::Broken
        } else {
            Self::Idle
        }
    }
}

/// Whether a connection is of no use after an error, or not for what it was opened for.
fn is_fatal(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            // The server is going, takes no writes any more, or there is a pooler that was not seen.
            ["08", "57P"].iter().any(|class| code.starts_with(class))
                || ["25006", "26000", "42P05"].contains(&code.as_ref())
        }),
        _ => false,
    }
}

/// A transaction; rolled back when it is dropped.
#[derive(Debug)]
pub struct Transaction {
    connection: Connection,
}

impl Transaction {
    pub(crate) async fn begin(mut connection: Connection) -> Result<Self> {
        let begin = match connection.link().mode {
            PoolerMode::Session => SqlStr::from_static("BEGIN"),
            PoolerMode::Transaction => connection.link().host.statements.begin.clone(),
        };
        connection.begin(begin).await?;
        Ok(Self { connection })
    }

    /// Commits. When it fails, nobody knows whether it was committed.
    pub async fn commit(mut self) -> Result<()> {
        self.connection.commit().await.map_err(Error::from)
    }

    /// Rolls back, and waits for that.
    pub async fn rollback(mut self) -> Result<()> {
        self.connection.rollback().await.map_err(Error::from)
    }
}

impl Deref for Transaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}
