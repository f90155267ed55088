//! What every piece of business needs.

use std::{sync::Arc, time::Duration};

use bharatmart_database::{Database, Error, Transaction, outbox};
use bharatmart_domain::Clock;
use bharatmart_queue::{Job, NewJob, RelayHandle};
use chrono::{DateTime, Utc};

use crate::gateway::Gateway;

/// The shop's parts; cheap to clone.
#[derive(Clone)]
pub struct Shop {
    /// Where everything is kept.
    pub database: Database,
    /// Told after each commit that left jobs in the outbox.
    pub relay: RelayHandle,
    /// Takes the money.
    pub gateway: Gateway,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// How long a prepaid order waits for its payment.
    pub order_payment_timeout: Duration,
}

/// The jobs of one transaction, in the order in which they are to be carried.
#[derive(Default)]
pub(crate) struct Jobs(Vec<NewJob>);

impl Jobs {
    pub(crate) fn add<J: Job>(&mut self, job: &J) {
        self.0.push(as_row(job.to_outbox()));
    }

    pub(crate) fn add_at<J: Job>(&mut self, job: &J, run_at: DateTime<Utc>) {
        self.0.push(as_row(job.to_outbox_at(run_at)));
    }
}

#[expect(
    clippy::expect_used,
    reason = "ids, names and amounts always have a JSON form"
)]
fn as_row(row: Result<NewJob, serde_json::Error>) -> NewJob {
    row.expect("a job's payload is JSON")
}

impl Shop {
    /// Writes `jobs`, commits, and tells the relay.
    pub(crate) async fn commit(
        &self,
        mut transaction: Transaction,
        jobs: Jobs,
    ) -> Result<(), Error> {
        if !jobs.0.is_empty() {
            outbox::insert(&mut transaction, &jobs.0).await?;
        }
        transaction.commit().await?;
        if !jobs.0.is_empty() {
            self.relay.notify();
        }
        Ok(())
    }
}
