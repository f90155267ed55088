//! How fresh a read must be, and what a client has written.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    position::{Position, SharedPosition},
    primary::Primary,
};

/// What a read needs to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing in particular: any replica in rotation.
    Any,
    /// What the client of this request has written, as far as its token and this request tell. Without a
    /// request ([`crate::Database::for_request`]) nobody knows that, so the primary is asked.
    OwnWrites,
    /// What was written before this position.
    AtLeast(Position),
    /// What was committed before the call: the primary is asked for its position, and a replica that has
    /// reached it for the rest.
    Current,
    /// The primary itself.
    Latest,
}

/// What is known of the writes of one client.
#[derive(Debug)]
pub(crate) struct Scope {
    primary: Arc<Primary>,
    /// From its token.
    seen: Option<Position>,
    /// By this request; zero when it wrote nothing.
    written: SharedPosition,
    /// Whether something may have been written behind that.
    is_in_doubt: AtomicBool,
}

impl Scope {
    pub(crate) fn new(primary: Arc<Primary>, seen: Option<Position>) -> Self {
        Self {
            primary,
            seen,
            written: SharedPosition::default(),
            is_in_doubt: AtomicBool::new(false),
        }
    }

    /// Notes that what this request has written lies before `position`.
    pub(crate) fn note(&self, position: Position) {
        self.written.advance(position);
        self.primary.learn(position);
        self.trust();
    }

    /// Notes that something may be written from now on.
    pub(crate) fn doubt(&self) {
        self.is_in_doubt.store(true, Ordering::Release);
    }

    /// Notes that what may have been written is known, or was not.
    pub(crate) fn trust(&self) {
        self.is_in_doubt.store(false, Ordering::Release);
    }

    /// Whether something may have been written of which nobody knows where.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.is_in_doubt.load(Ordering::Acquire)
    }

    /// Behind the last write of this request, if it has written.
    pub(crate) fn written(&self) -> Option<Position> {
        Some(self.written.get()).filter(|position| *position > Position::ZERO)
    }

    /// Behind the last write of the client that is known.
    pub(crate) fn needs(&self) -> Option<Position> {
        self.seen.max(self.written())
    }
}
