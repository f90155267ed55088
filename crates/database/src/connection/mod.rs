//! Connections on loan, and transactions.

mod executor;

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use bharatmart_config::PoolerMode;
use sqlx::{Executor as _, Row, SqlStr};

use crate::{
    error::{Error, Result, is_end, is_loss},
    position::Position,
    router::Read,
    scope::Scope,
    server::{Facts, Health, Lease, Link},
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
            scope: read.scope.clone(),
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

    /// Goes on with another server after `error`.
    async fn fail_over(&mut self, error: sqlx::Error) -> sqlx::Result<()> {
        let Some(read) = self.read.take() else {
            return Err(error);
        };
        // Else those who go from one server to another would wait for each other's places. What the server
        // has cancelled is rare enough to lose a connection over it.
        self.link().health = Health::Broken;
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

    async fn begin(&mut self, statement: SqlStr) -> sqlx::Result<()> {
        // Whoever is cancelled here leaves a transaction behind.
        self.in_transaction = true;
        self.control(statement).await
    }

    /// Sends a statement that begins or ends something. If that fails, nobody knows what state the session is
    /// in.
    async fn control(&mut self, statement: SqlStr) -> sqlx::Result<()> {
        let done = self
            .lease
            .run(|connection| connection.execute(statement))
            .await;
        if done.is_err() {
            self.link().health = Health::Broken;
        }
        done.map(|_| ())
    }

    /// Commits, and notes up to where the log was written. A failed statement before has made it a rollback.
    async fn commit(&mut self) -> sqlx::Result<()> {
        match self.scope.clone() {
            None => self.control(SqlStr::from_static("COMMIT")).await?,
            Some(scope) => {
                scope.doubt();
                scope.note(self.tell(COMMIT_AND_TELL).await?);
            }
        }
        self.in_transaction = false;
        Ok(())
    }

    async fn tell(&mut self, statement: &'static str) -> sqlx::Result<Position> {
        let told = self
            .lease
            .run(|connection| connection.fetch_one(statement))
            .await;
        let link = self.link();
        if told.is_err() {
            link.health = Health::Broken;
        }
        let bytes: i64 = told?.try_get(0)?;
        let Facts { timeline, page, .. } = link.facts;
        Ok(Position::before(timeline, bytes.unsigned_abs(), page))
    }

    async fn rollback(&mut self) -> sqlx::Result<()> {
        self.control(SqlStr::from_static("ROLLBACK")).await?;
        self.in_transaction = false;
        Ok(())
    }

    /// Opens what a statement of its own needs.
    async fn open_statement(&mut self) -> sqlx::Result<()> {
        if self.link().mode == PoolerMode::Transaction {
            let begin = self.link().host.statements.begin.clone();
            self.begin(begin).await?;
        } else if let Some(scope) = &self.scope {
            scope.doubt();
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
        } else if let Some(scope) = self.scope.clone() {
            match &outcome {
                Ok(_) => match self.tell(TELL).await {
                    Ok(position) => scope.note(position),
                    // What was written is written.
                    Err(error) => tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the position of a write is not known: its client may read an older state from a replica"
                    ),
                },
                // The server has refused it.
                Err(error) if !is_fatal(error) => scope.trust(),
                Err(_) => {}
            }
        }
        outcome
    }

    /// Notes up to where the log was written, for whoever has read it to read no less later.
    async fn remember(&mut self) -> sqlx::Result<()> {
        if let Some(scope) = self.scope.clone() {
            scope.note(self.tell(TELL).await?);
        }
        Ok(())
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
    pub(crate) fn note<T>(&mut self, outcome: &sqlx::Result<T>) {
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
    // The server takes no writes any more, or there is a pooler that was not seen.
    const UNFIT: [&str; 3] = ["25006", "26000", "42P05"];
    is_loss(error)
        || is_end(error)
        || error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .is_some_and(|code| UNFIT.contains(&&*code))
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

    /// Commits. When it fails, nobody knows whether it was committed. After a statement that has failed there is
    /// nothing to commit, and nothing is.
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
