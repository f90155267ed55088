//! What may befall Redis, and what must not come of it: an error, a long wait, an old body.

mod absence;
mod failover;
mod losses;
mod strangers;

/// All processes of these tests share their bodies.
const PREFIX: &str = "outages";
