//! The primary and its replicas, migrations, and the SQL of each aggregate.
//!
//! Functions take a `&mut` [`Connection`], so the caller owns the transaction. "Not found" is `Ok(None)`.
//! Which server a piece of work needs is said where it asks for a connection: [`Database::write`],
//! [`Database::begin`], or [`Database::read`] and how fresh.
//!
//! **Nobody reads what is older than their own writes.** A write's position in the log is handed to its
//! client; a read that comes with a position goes to a replica that has replayed the log so far, or to the
//! primary. Monitors, one for each server, know how far each is, and take replicas out of rotation that
//! fail or lag.
//!
//! **Poolers are normal.** Behind one that gives each transaction another server, no statement has a name
//! and each unit of work is one transaction; [`Connection`] sees to it.

pub mod account_mails;
pub mod accounts;
pub mod audit_log;
mod connection;
mod error;
pub mod idempotency_keys;
mod list;
pub mod mail_deliveries;
mod migrations;
pub mod orders;
pub mod outbox;
pub mod payment_events;
pub mod payments;
mod position;
mod primary;
pub mod products;
mod reads;
mod replica;
pub mod reports;
mod router;
pub mod sandbox_gateway;
mod scope;
pub mod seed;
mod server;
pub mod sign_in_attempts;
pub mod users;
pub mod worklist;

pub use connection::{Connection, Transaction};
pub use error::{Error, Result};
pub use migrations::{
    MigrateError, Migration, MigrationState, MigrationStatus, Progress, SchemaError, migrate,
    migration_status,
};
pub use position::{NotAPosition, Position};
pub use replica::{ReplicaStatus, Rotation};
pub use router::{AsOf, Database};
pub use scope::Freshness;
pub use server::PoolStatus;
