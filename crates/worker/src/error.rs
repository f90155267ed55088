//! Why the worker could not start, or cannot go on.

use std::{error::Error, fmt::Write, io, net::SocketAddr};

use bharatmart_queue::QueueName;

use crate::mailer::MailerError;

/// Why the worker could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Another process has the port.
    #[error("cannot listen on {address} (METRICS_PORT)")]
    Listen {
        /// What was to be listened on.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The text is no URL of a database. It may hold a password, so it is not shown.
    #[error("DATABASE_URL cannot be used (not shown)")]
    DatabaseUrl(#[source] bharatmart_database::Error),
    /// No mail can be sent with these settings.
    #[error("no mail can be sent")]
    Mail(#[source] MailerError),
    /// The schema is not the one of this build, or cannot be looked at.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

impl StartError {
    /// Whether a setting is at fault that looked right until it was used.
    pub(crate) const fn is_a_setting(&self) -> bool {
        match self {
            Self::DatabaseUrl(_) | Self::Mail(_) => true,
            Self::Listen { .. } | Self::Schema(_) => false,
        }
    }
}

/// Why the schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SchemaError {
    /// Some migrations are missing.
    #[error("{0} migrations are pending: run `bharatmart-api migrate` first")]
    Pending(usize),
    /// The database is away, or answers with an error.
    #[error("the database cannot be used")]
    Database(#[from] bharatmart_database::Error),
}

/// A queue's worker is gone although nobody told it to stop.
#[derive(Debug, thiserror::Error)]
#[error("the worker of {0} ended by itself")]
pub(crate) struct WorkerEnded(pub(crate) QueueName);

/// Writes an error and its causes on one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        // Some wrappers repeat what they wrap.
        if !text.ends_with(&inner_text) {
            // Writing to a string does not fail.
            let _ = write!(text, ": {inner_text}");
        }
        source = inner.source();
    }
    text
}
