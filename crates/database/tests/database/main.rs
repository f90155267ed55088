//! The SQL against a real server.

mod products;
mod replicas;
mod restock;
mod schema;
mod schema_strangers;
mod servers;
mod support;
