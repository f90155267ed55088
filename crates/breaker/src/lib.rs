//! What stands between us and a dependency that may be away.
//!
//! - [`Breaker`]: closed, open, half-open; a state machine to which the time is passed in.
//! - [`CircuitBreaker`]: a [`Breaker`] that callers share, which logs and counts its transitions.
//! - [`Backoff`]: the waits between attempts.

mod backoff;
mod breaker;
mod circuit;

pub use backoff::Backoff;
pub use breaker::{Breaker, BreakerState, Refused, Transition};
pub use circuit::{BreakerStatus, CircuitBreaker};
