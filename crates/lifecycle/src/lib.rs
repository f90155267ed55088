//! Starts, watches and ends a process: signals, phases, probes.
//!
//! One [`Lifecycle`] is made at the start of a program and passed on; nothing here is global. It turns the first SIGTERM
//! or SIGINT into phases that everything else follows by tokens, bounds them in time, and ends with the exit code:
//!
//! | phase | begins | what it means |
//! |---|---|---|
//! | [`Phase::Running`] | at once | business as usual |
//! | [`Phase::Draining`] | first signal, or a task that died | readiness and `/api/health` are 503; requests are still served, each answer closes its connection |
//! | [`Phase::Stopping`] | after the drain delay | nothing new is accepted or fetched; what runs is finished |
//! | [`Phase::Aborting`] | shortly before the shutdown timeout, or second signal | what still runs is dropped or handed back |
//! | [`Phase::Ended`] | all tasks are gone, or the timeout is over | the process exits |
//!
//! [`Health`] keeps the state of each dependency by probing it in the background, so that no request for a probe asks a
//! dependency anything. [`serve_http`] is the accept loop that follows the phases, [`serve_admin`] serves `/metrics` and
//! the probes until the very end, and [`healthcheck`] asks a running process whether it lives.

mod health;
mod healthcheck;
mod http;
mod lifecycle;
mod task;

pub use health::{Health, Importance, serve_admin};
pub use healthcheck::healthcheck;
pub use http::{HttpOptions, serve_http};
pub use lifecycle::{Lifecycle, Phase};
pub use task::Outcome;
