//! What can go wrong between us and PostgreSQL.

use std::time::Duration;

/// The result of a database call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a database call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be had, or it broke: worth trying again.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
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
        matches!(self, Self::Unavailable(_))
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
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
