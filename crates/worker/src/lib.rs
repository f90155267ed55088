//! bharatmart-worker: takes jobs from the queues that `WORKER_TYPE` names and does them.
//!
//! What a job does is in `bharatmart-jobs`; here it is fetched, run and counted.

pub mod cli;
pub mod dlq;
mod error;
mod jobs;
mod run;
mod schema;

pub use run::run;
