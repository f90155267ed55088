//! The queues that exist.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Serialize, Serializer};

use crate::{
    jobs::{ChargePayment, Job, ProcessOrder, SendEmail},
    policy::{Backoff, Policy},
};

/// A queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueName {
    /// Confirms orders and watches their payment deadlines.
    OrderProcessing,
    /// Sends mails.
    EmailNotifications,
    /// Charges and refunds.
    PaymentProcessing,
}

/// A name that no queue has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no queue {0:?}; there are orders, emails and payments")]
pub struct UnknownQueue(pub String);

impl QueueName {
    /// Every queue.
    pub const ALL: [Self; 3] = [
        Self::OrderProcessing,
        Self::EmailNotifications,
        Self::PaymentProcessing,
    ];

    /// The name in Redis.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrderProcessing => "order-processing",
            Self::EmailNotifications => "email-notifications",
            Self::PaymentProcessing => "payment-processing",
        }
    }

    /// The name in the statistics of the API.
    #[must_use]
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::OrderProcessing => "orders",
            Self::EmailNotifications => "emails",
            Self::PaymentProcessing => "payments",
        }
    }

    /// How often its jobs are tried, and how long they are kept.
    #[must_use]
    pub const fn policy(self) -> Policy {
        let (attempts, backoff) = match self {
            Self::OrderProcessing => (3, Backoff::Exponential(Duration::from_secs(2))),
            Self::EmailNotifications => (5, Backoff::Exponential(Duration::from_secs(1))),
            Self::PaymentProcessing => (3, Backoff::Fixed(Duration::from_secs(5))),
        };
        Policy {
            attempts,
            backoff,
            keep_completed: 1000,
            keep_failed: 5000,
            keep_failed_for: Duration::from_hours(7 * 24),
        }
    }

    /// The job that a producer means who does not name one.
    pub(crate) const fn main_job(self) -> &'static str {
        match self {
            Self::OrderProcessing => ProcessOrder::NAME,
            Self::EmailNotifications => SendEmail::NAME,
            Self::PaymentProcessing => ChargePayment::NAME,
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for QueueName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl FromStr for QueueName {
    type Err = UnknownQueue;

    /// Reads either name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|queue| text == queue.as_str() || text == queue.short_name())
            .ok_or_else(|| UnknownQueue(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_are_read_back_and_others_are_refused() {
        for (index, queue) in QueueName::ALL.into_iter().enumerate() {
            assert_eq!(queue.index(), index);
            assert_eq!(queue.as_str().parse(), Ok(queue));
            assert_eq!(queue.short_name().parse(), Ok(queue));
        }
        assert!(
            "order"
                .parse::<QueueName>()
                .unwrap_err()
                .to_string()
                .contains("orders")
        );
    }
}
