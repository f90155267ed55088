//! The SQL against a real server.

mod products;
mod restock;
mod support;
