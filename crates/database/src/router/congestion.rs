//! Who would wait for a connection too long is told so at once.

use std::time::Duration;

use bharatmart_telemetry::metrics::REQUESTS_SHED_TOTAL;
use metrics::counter;

use super::{Database, Router};
use crate::error::{Error, Result};

impl Database {
    /// The same database for those who are not to queue for a connection for more than about `longest`: when there
    /// are more than can be served in that time, further ones get [`Error::Busy`] at once. So the wait of those who
    /// are served stays short however many come. Work in the background, which can wait, is not refused.
    #[must_use]
    pub fn with_queue_of(self, longest: Duration) -> Self {
        Self {
            longest_queue: Some(longest),
            ..self
        }
    }

    /// The same database for what has begun and had better wait than end.
    #[must_use]
    pub fn with_any_queue(self) -> Self {
        Self {
            longest_queue: None,
            ..self
        }
    }

    pub(super) fn admit_write(&self) -> Result<()> {
        self.admit(|router| router.primary.server.queue_delay())
    }

    pub(super) fn admit_read(&self) -> Result<()> {
        self.admit(|router| {
            // The least loaded one is asked.
            let replicas = router.candidates(&[]);
            let shortest = replicas.map(|replica| replica.server.queue_delay()).min();
            shortest.unwrap_or_else(|| router.primary.server.queue_delay())
        })
    }

    fn admit(&self, delay: impl FnOnce(&Router) -> Duration) -> Result<()> {
        match self.longest_queue {
            Some(longest) if delay(&self.router) > longest => {
                counter!(REQUESTS_SHED_TOTAL, "resource" => "database").increment(1);
                Err(Error::Busy)
            }
            _ => Ok(()),
        }
    }
}
