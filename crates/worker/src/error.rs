//! Why the worker could not start, or cannot go on.

use std::{io, net::SocketAddr};

use bharatmart_database::SchemaError;
use bharatmart_jobs::MailerError;
use bharatmart_queue::QueueName;

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

/// A queue's worker is gone although nobody told it to stop.
#[derive(Debug, thiserror::Error)]
#[error("the worker of {0} ended by itself")]
pub(crate) struct WorkerEnded(pub(crate) QueueName);
