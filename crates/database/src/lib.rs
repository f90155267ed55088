//! Pools, migrations, and the SQL of each aggregate.
//!
//! Functions take a `&mut PgConnection`, so the caller owns the transaction. "Not found" is
//! `Ok(None)`. Which kind of connection a piece of work needs is said where it asks for one:
//! [`Database::write`], [`Database::begin`] or [`Database::read`].

pub mod accounts;
mod error;
mod list;
pub mod mail_deliveries;
mod migrations;
pub mod orders;
pub mod outbox;
pub mod payments;
mod pool;
pub mod products;
pub mod sandbox_gateway;
pub mod seed;
pub mod users;

pub use error::{Error, Result};
pub use migrations::{SchemaError, migrate};
pub use pool::{Connection, Database, PoolStatus, Transaction};
pub use sqlx::PgConnection;
