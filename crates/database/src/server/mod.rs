//! One server, or the several of which one is the primary: how it is reached, and the pool of its
//! connections.

mod host;
mod link;
mod pool;
mod unreachable;

pub(crate) use host::Host;
pub(crate) use link::{Content, Facts, Health, Link};
pub use pool::PoolStatus;
pub(crate) use pool::{Lease, Limits, Role, Server};
