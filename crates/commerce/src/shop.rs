//! What every piece of business needs.

use std::{sync::Arc, time::Duration};

use bharatmart_cache::{Change, Effect, Invalidations};
use bharatmart_database::{
    Database, Error, Transaction,
    audit_log::{self, NewEntry},
    mail_deliveries, outbox,
};
use bharatmart_domain::{Clock, MailKind, OrderId, ProductId};
use bharatmart_queue::{NewJob, OutboxJob, RelayHandle, SendEmail};
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
    /// The most that is left of a product that is reported as running out.
    pub low_stock_threshold: i32,
    /// Told after each commit that changed what pages show.
    pub invalidations: Invalidations,
}

/// What one transaction makes necessary.
#[derive(Default)]
pub(crate) struct Consequences {
    /// In the order in which they are to be carried.
    jobs: Vec<NewJob>,
    /// Those of them that are mails.
    mails: Vec<(OrderId, MailKind)>,
    /// What is to be in the audit log.
    audit: Vec<NewEntry>,
    /// Products whose stock is another one.
    stock: Vec<ProductId>,
}

impl Consequences {
    pub(crate) fn add<J: OutboxJob>(&mut self, job: &J) {
        self.jobs.push(as_row(job.to_outbox()));
    }

    pub(crate) fn add_at<J: OutboxJob>(&mut self, job: &J, run_at: DateTime<Utc>) {
        self.jobs.push(as_row(job.to_outbox_at(run_at)));
    }

    pub(crate) fn mail(&mut self, mail: &SendEmail) {
        self.mails.push((mail.order_id, mail.kind));
        self.add(mail);
    }

    /// The same mail by a job that its queue cannot take for one that it has had.
    pub(crate) fn mail_again(&mut self, mail: &SendEmail, suffix: &str) {
        let mut job = as_row(mail.to_outbox());
        job.job_id = format!("{}-{suffix}", job.job_id);
        self.jobs.push(job);
    }

    pub(crate) fn audit(&mut self, entry: NewEntry) {
        self.audit.push(entry);
    }

    pub(crate) fn restocked(&mut self, products: Vec<ProductId>) {
        self.stock.extend(products);
    }
}

#[expect(
    clippy::expect_used,
    reason = "ids, names and amounts always have a JSON form"
)]
pub(crate) fn as_row(row: Result<NewJob, serde_json::Error>) -> NewJob {
    row.expect("a job's payload is JSON")
}

impl Shop {
    /// Writes the jobs, commits, and tells whom it concerns.
    pub(crate) async fn commit(
        &self,
        mut transaction: Transaction,
        consequences: Consequences,
    ) -> Result<(), Error> {
        let Consequences {
            jobs,
            mails,
            audit,
            stock,
        } = consequences;
        for entry in audit {
            audit_log::insert(&mut transaction, &entry).await?;
        }
        for (order, kind) in mails {
            mail_deliveries::announce(&mut transaction, order, kind).await?;
        }
        if !jobs.is_empty() {
            outbox::insert(&mut transaction, &jobs).await?;
        }
        let relay = self.relay.clone();
        let commit = async move {
            transaction.commit().await?;
            if !jobs.is_empty() {
                relay.notify();
            }
            Ok(())
        };
        let changes = stock.into_iter().map(Change::Stock).collect();
        self.invalidations
            .write(commit, |committed| match committed {
                Ok(()) => Effect::Committed(changes),
                Err(_) => Effect::Unclear(changes),
            })
            .await
    }
}
