//! bharatmart-worker: takes jobs from the queues that `WORKER_TYPE` names and does them.
//!
//! What a job means is in `bharatmart-commerce`; here it is fetched, run, mailed and counted.

pub mod cli;
mod deliver;
pub mod dlq;
mod error;
mod handlers;
mod jobs;
mod mailer;
mod reconcile;
mod run;
mod schema;

pub use run::run;
