//! The SQL against a real server.

mod products;
mod restock;
mod schema;
mod schema_strangers;
mod support;
