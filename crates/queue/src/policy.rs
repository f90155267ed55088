//! How often a job is tried, and how long it is kept.

use std::time::Duration;

use bullmq::{
    JobOptions,
    types::{BackoffStrategy, KeepJobs, RemoveOnFinish},
};

/// What a queue does with its jobs.
///
/// | queue | attempts | waits between them | kept when completed | kept when failed |
/// |---|---|---|---|---|
/// | `order-processing` | 3 | 2 s, 4 s | 1000 | 5000, 7 days |
/// | `email-notifications` | 5 | 1 s, 2 s, 4 s, 8 s | 1000 | 5000, 7 days |
/// | `payment-processing` | 3 | 5 s, 5 s | 1000 | 5000, 7 days |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How often a job is tried, the first time included.
    pub attempts: u32,
    /// How long it waits between attempts.
    pub backoff: Backoff,
    /// The most completed jobs that are kept.
    pub keep_completed: u32,
    /// The most failed jobs that are kept.
    pub keep_failed: u32,
    /// How long a failed job is kept.
    pub keep_failed_for: Duration,
}

/// How the waits between attempts grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// The same wait every time.
    Fixed(Duration),
    /// Twice the wait before, starting with this one.
    Exponential(Duration),
}

impl Policy {
    /// The wait after failed attempt number `attempt`, which counts from 1.
    #[must_use]
    pub fn delay_after(&self, attempt: u32) -> Duration {
        match self.backoff {
            Backoff::Fixed(delay) => delay,
            Backoff::Exponential(first) => {
                first.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)))
            }
        }
    }

    /// The options of a job with this id.
    pub(crate) fn job_options(&self, job_id: &str) -> JobOptions {
        let backoff = match self.backoff {
            Backoff::Fixed(delay) => BackoffStrategy::Fixed(millis(delay)),
            Backoff::Exponential(first) => BackoffStrategy::Exponential(millis(first)),
        };
        JobOptions::new()
            .job_id(job_id)
            .attempts(self.attempts)
            .backoff(backoff)
            .remove_on_complete(self.completed_retention())
            .remove_on_fail(self.failed_retention())
    }

    pub(crate) const fn completed_retention(&self) -> RemoveOnFinish {
        RemoveOnFinish::Count(self.keep_completed as usize)
    }

    pub(crate) const fn failed_retention(&self) -> RemoveOnFinish {
        RemoveOnFinish::Options(KeepJobs {
            // Seconds, whatever the crate's documentation says: its script multiplies by 1000.
            age: Some(self.keep_failed_for.as_secs()),
            count: Some(self.keep_failed as usize),
            limit: None,
        })
    }
}

/// Whole milliseconds; BullMQ's options hold nothing finer.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use crate::QueueName;

    #[test]
    fn waits_are_those_of_the_table() {
        let waits = |queue: QueueName| {
            let policy = queue.policy();
            (1..policy.attempts)
                .map(|n| policy.delay_after(n).as_secs())
                .collect::<Vec<_>>()
        };
        assert_eq!(waits(QueueName::OrderProcessing), [2, 4]);
        assert_eq!(waits(QueueName::EmailNotifications), [1, 2, 4, 8]);
        assert_eq!(waits(QueueName::PaymentProcessing), [5, 5]);
    }

    #[test]
    fn options_are_whole_numbers_that_node_reads() {
        let options = QueueName::OrderProcessing.policy().job_options("order-1");
        assert_eq!(
            serde_json::to_value(options).unwrap(),
            serde_json::json!({
                "jobId": "order-1",
                "attempts": 3,
                "backoff": {"type": "exponential", "delay": 2000},
                "removeOnComplete": 1000,
                "removeOnFail": {"age": 604_800, "count": 5000},
            })
        );
    }
}
