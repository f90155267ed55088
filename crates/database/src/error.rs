//! What can go wrong between us and PostgreSQL.

use std::{borrow::Cow, io, time::Duration};

use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// The result of a database call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a database call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be had, or it broke: worth trying again.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// No server that `DATABASE_URL` names takes writes: worth trying again.
    #[error("the database takes no writes")]
    ReadOnly,
    /// More is asked for than the connections can do in time: worth trying again.
    #[error("too many wait for the database")]
    Busy,
    /// The server does not let this role in, or has no such database.
    #[error("the database refused the connection")]
    Refused(#[source] sqlx::Error),
    /// The settings do not make a pool.
    #[error("the settings of the database are wrong: {0}")]
    Settings(String),
    /// A constraint refused the row.
    #[error("the constraint {constraint} refuses the row")]
    Constraint {
        /// The constraint's name, as in the migrations.
        constraint: String,
        /// PostgreSQL's own error.
        #[source]
        source: sqlx::Error,
    },
    /// Anything else: a defect of ours.
    #[error("the database refused a statement")]
    Statement(#[source] sqlx::Error),
}

impl Error {
    /// How long a client may wait before it tries again after [`Error::Unavailable`].
    pub const RETRY_AFTER: Duration = Duration::from_secs(2);

    /// Whether `constraint` refused the row.
    #[must_use]
    pub fn is_constraint(&self, name: &str) -> bool {
        matches!(self, Self::Constraint { constraint, .. } if constraint == name)
    }

    /// Whether the same call may succeed later without any change.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::ReadOnly | Self::Busy)
    }

    /// No answer in time.
    pub(crate) fn silent() -> Self {
        let silent = io::Error::new(io::ErrorKind::TimedOut, "the server did not answer in time");
        Self::Unavailable(sqlx::Error::Io(silent))
    }

    /// Whether there was no answer in time.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::Unavailable(sqlx::Error::Io(error)) if error.kind() == io::ErrorKind::TimedOut)
    }

    /// Whether the server is full.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Unavailable(error) if code(error) == TOO_MANY_CONNECTIONS)
    }

    /// Whether the connection was lost, or could not be made.
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self, Self::Unavailable(error) if is_loss(error))
    }
}

/// Whether the connection was lost, or could not be made.
pub(crate) fn is_loss(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(_) => {
            let code = code(error);
            let is_of = |classes: &[&str]| classes.iter().any(|class| code.starts_with(class));
            // Who is refused for a wrong name or password, or since the server is full, has lost nothing.
            is_of(&["08", "57P"]) || is_end(error) && !is_of(&["28", "3D", "42", "53"])
        }
        _ => false,
    }
}

/// Whether the server has ended the connection with the error (severity `FATAL` or `PANIC`).
pub(crate) fn is_end(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
        .is_some_and(|error| matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic))
}

/// The SQLSTATE, or nothing.
fn code(error: &sqlx::Error) -> Cow<'_, str> {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .unwrap_or_default()
}

/// Whether the same read may succeed at once on another server: this one is away or full, or has
/// cancelled the read to go on replaying the log.
pub(crate) fn is_of_the_server(error: &sqlx::Error) -> bool {
    is_loss(error) || [RECOVERY_CONFLICT, TOO_MANY_CONNECTIONS].contains(&&*code(error))
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
            sqlx::Error::Database(_) if is_loss(&error) => Self::Unavailable(error),
            sqlx::Error::Database(_) if is_end(&error) && code(&error) != TOO_MANY_CONNECTIONS => {
                Self::Refused(error)
            }
            sqlx::Error::Database(database) => {
                if let Some(constraint) = database.constraint() {
                    let constraint = constraint.to_owned();
                    return Self::Constraint {
                        constraint,
                        source: error,
                    };
                }
                match database.code().as_deref() {
                    Some(code) if is_transient(code) => Self::Unavailable(error),
                    _ => Self::Statement(error),
                }
            }
            _ => Self::Statement(error),
        }
    }
}

/// A read on a standby was in the way of the log (serialisation failure).
const RECOVERY_CONFLICT: &str = "40001";
const TOO_MANY_CONNECTIONS: &str = "53300";

/// Connection exceptions (08), deadlock and serialisation failures (40), insufficient resources (53),
/// shutdown (57P), a cancelled statement (57014), a read-only server (25006): SQLSTATE, `PostgreSQL`
/// appendix A.
fn is_transient(code: &str) -> bool {
    ["08", "40", "53", "57P"]
        .iter()
        .any(|class| code.starts_with(class))
        || code == "25006"
        || code == "57014"
}
