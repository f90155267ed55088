//! The shop's HTTP server, and its subcommands.
//!
//! A handler extracts, calls one function of `bharatmart-commerce` or `bharatmart-database`, and
//! responds; what an order means or how a row is read is decided there. [`build_router`] puts the resources' routers together; [`run`] is the whole server.

mod answer;
mod audit;
mod auth;
mod background;
mod cached;
pub mod cli;
mod compress;
mod consistency;
mod docs;
mod error;
mod events;
mod exports;
mod extract;
mod fields;
mod gateway;
mod import;
mod in_process;
mod limits;
mod observe;
mod openapi;
mod orders;
mod overload;
mod page;
mod payments;
mod problem;
mod products;
mod provider;
mod queues;
mod recovery;
mod router;
mod secured;
mod seed;
mod serve;
mod sessions;
mod state;
mod storefront;
mod supabase;
mod system;
mod tasks;
mod tokens;
mod users;
mod webhooks;

pub use error::{ApiError, FieldError};
pub use events::EventStreams;
pub use gateway::run_gateway;
pub use limits::Limits;
pub use openapi::document as openapi_document;
pub use provider::{Local, Provider};
pub use router::{RouterOptions, build_router};
pub use serve::run;
pub use sessions::Sessions;
pub use state::{AppState, RequestTimeout};
pub use supabase::Supabase;
pub use system::SystemInfo;
pub use tokens::{Claims, Tokens};
pub use webhooks::Webhooks;
