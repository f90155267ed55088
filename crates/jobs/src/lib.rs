//! What each job does.
//!
//! What a job means is in `bharatmart-commerce`; here each is tied to the function that does it, and
//! mails are sent. A worker runs these handlers on what the queues hold, and the API those of the outbox
//! when it does the jobs itself.

mod account;
mod deliver;
pub mod handlers;
mod mailer;
mod report;

pub use mailer::{Mailer, MailerError};
