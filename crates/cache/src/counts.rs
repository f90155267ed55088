//! Counting what all processes do together.

use std::sync::Arc;

use crate::{Invalidations, shared::Shared};

/// A stretch of time, of equal stretches from 1970 on, and where in it we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Which one it is.
    pub index: u64,
    /// How long it is, in milliseconds; above 0.
    pub length: u64,
    /// How much of it is over, in milliseconds.
    pub elapsed: u64,
}

/// The most that a window's count may come to, with as much of the count of the window before as is left of
/// this one: an estimate of what there was within one length of a window up to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling(pub u64);

/// What there is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// In this window.
    pub current: u64,
    /// In the one before.
    pub previous: u64,
    /// Whether the count was raised; always, without a [`Ceiling`].
    pub added: bool,
}

/// Counts in the Redis of the cache; cheap to clone.
#[derive(Clone)]
pub struct Counts {
    shared: Arc<Shared>,
    /// Keeps the connection.
    _invalidations: Invalidations,
}

impl Counts {
    /// Uses the connection of `invalidations`; `None` if the settings name no Redis.
    #[must_use]
    pub fn over(invalidations: &Invalidations) -> Option<Self> {
        let shared = Arc::clone(invalidations.shared()?);
        Some(Self {
            shared,
            _invalidations: invalidations.clone(),
        })
    }

    /// Adds `number` to the count of `subject` in `window`, in one round trip; a count is kept for two windows.
    /// `None` when Redis is away, at once, or does not answer within the time of a command.
    pub async fn add(
        &self,
        subject: &str,
        window: Window,
        number: u64,
        ceiling: Option<Ceiling>,
    ) -> Option<Counted> {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        self.shared.count(subject, window, number, ceiling).await
    }

    /// Takes one back of what was added in `window`, unless Redis is away.
    pub async fn take_back(&self, subject: &str, window: Window) {
        // A failure has been counted; then one too many is.
        let _ = self.shared.count(subject, window, -1, None).await;
    }
}
