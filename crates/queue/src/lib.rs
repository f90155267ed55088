//! How work gets from a committed transaction to a worker, exactly as it was asked for and at least once.
//!
//! - [`jobs`]: what can be asked of a worker. An [`OutboxJob`] becomes an outbox row in the transaction
//!   that makes it necessary; the others come by the clock, as [`SCHEDULES`] says.
//! - [`Relay`]: moves committed rows to the queues, through [`JobQueues`].
//! - [`QueueWorker`]: runs the [`Handlers`] of one queue.
//! - [`OutboxWorker`]: runs the handlers of all of them straight from the outbox, where there is no Redis.
//!
//! The wire format is that of Node's `bullmq`; the crate `bullmq` speaks it. What that crate leaves to
//! its users is done here: it connects in the background, bounds every call, catches panics, ends
//! jobs that take too long, renews their locks, and hands unfinished ones back at shutdown.

mod attempt;
mod connection;
mod counts;
mod handlers;
mod in_process;
mod inspect;
pub mod jobs;
mod name;
mod policy;
mod producer;
mod relay;
mod runner;
mod schedules;
mod server;
mod worker;

pub use bharatmart_database::outbox::{NewJob, PendingJob, RefusedJob};
pub use counts::Counts;
pub use handlers::{BoxError, Handlers, JobContext, JobError, JobResult};
pub use in_process::OutboxWorker;
pub use inspect::{ChangeError, JobPage, JobRecord, JobRef, JobState, KeptBy};
pub use jobs::{
    ChargePayment, CleanUp, Job, OrderLine, OutboxJob, PaymentDeadline, ProcessOrder,
    ReconcileMails, ReconcileOrders, ReconcilePayments, RefundPayment, ReportLowStock,
    SendAccountMail, SendEmail, SendReport, all_job_names,
};
pub use name::{QueueName, UnknownQueue};
pub use policy::{Backoff, Policy};
pub use producer::{Added, JobQueues, QueueError};
pub use relay::{Relay, RelayHandle};
pub use schedules::{Repeat, SCHEDULES, Schedule};
pub use server::{UnfitServer, check_server, reach};
pub use worker::{QueueWorker, Shutdown, WorkerOptions, WorkerState};
