//! bharatmart-worker: takes jobs from the queues that `WORKER_TYPE` names and does them.
//!
//! What a job means is in `bharatmart-commerce`; here it is fetched, run, mailed and counted.

mod deliver;
mod handlers;
mod mailer;
mod run;

pub use run::run;
