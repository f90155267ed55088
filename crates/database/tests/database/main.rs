//! The SQL against a real server.

mod congestion;
mod misdirected;
mod pool;
mod pooler;
mod primary;
mod products;
mod replicas;
mod restock;
mod rotation;
mod schema;
mod schema_strangers;
mod servers;
mod support;
mod tls;
