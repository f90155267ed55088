//! Which function does which job: one list a queue, in order of the alphabet.

use std::sync::Arc;

use bharatmart_cache::Change;
use bharatmart_commerce::{
    SettleError, Shop, charge_payment, clean_up, expire_order, process_order, reconcile_mails,
    reconcile_orders, reconcile_payments, refund_payment, report_low_stock,
};
use bharatmart_database as database;
use bharatmart_queue::{
    ChargePayment, CleanUp, Handlers, JobError, JobResult, PaymentDeadline, ProcessOrder,
    QueueName, ReconcileMails, ReconcileOrders, ReconcilePayments, RefundPayment, ReportLowStock,
    SendAccountMail, SendEmail, SendReport,
};
use serde_json::json;

use crate::{account::send_account_mail, deliver::deliver, mailer::Mailer, report::send_report};

/// Sends mails.
#[must_use]
pub fn emails(shop: &Shop, mailer: Mailer) -> Handlers {
    let mailer = Arc::new(mailer);
    let reconciling = shop.clone();
    let (sending, mail_sender) = (shop.database.clone(), mailer.clone());
    let (reporting, report_sender) = (shop.database.clone(), mailer.clone());
    let (writing, account_sender) = (shop.clone(), mailer);
    Handlers::new(QueueName::EmailNotifications)
        .on(move |_: ReconcileMails, _context| {
            let shop = reconciling.clone();
            async move { reconciled(reconcile_mails(&shop).await) }
        })
        .on(move |job: SendAccountMail, _context| {
            let (shop, mailer) = (writing.clone(), account_sender.clone());
            async move { send_account_mail(&shop.database, &*shop.clock, &mailer, &job).await }
        })
        .on(move |job: SendEmail, context| {
            let (database, mailer) = (sending.clone(), mail_sender.clone());
            async move { deliver(&database, &mailer, job, &context).await }
        })
        .on(move |job: SendReport, _context| {
            let (database, mailer) = (reporting.clone(), report_sender.clone());
            async move { send_report(&database, &mailer, &job).await }
        })
}

/// Confirms orders, cancels those whose deadline is over, and keeps the shop tidy.
#[must_use]
pub fn orders(shop: &Shop) -> Handlers {
    let (cleaning, expiring, processing) = (shop.clone(), shop.clone(), shop.clone());
    let (reconciling, reporting) = (shop.clone(), shop.clone());
    Handlers::new(QueueName::OrderProcessing)
        .on(move |_: CleanUp, _context| {
            let shop = cleaning.clone();
            async move {
                let cleaned = clean_up(&shop).await.map_err(JobError::retry)?;
                tracing::info!(
                    sign_ins = cleaned.sign_ins,
                    refused_jobs = cleaned.refused_jobs,
                    reports = cleaned.reports,
                    idempotency_keys = cleaned.idempotency_keys,
                    payment_events = cleaned.payment_events,
                    sign_in_attempts = cleaned.sign_in_attempts,
                    audit_log = cleaned.audit_log,
                    account_mails = cleaned.account_mails,
                    "rows deleted that nobody will ask for"
                );
                Ok(json!({ "success": true }))
            }
        })
        .on(move |job: PaymentDeadline, _context| {
            let shop = expiring.clone();
            async move { settled(expire_order(&shop, job.order_id).await) }
        })
        .on(move |job: ProcessOrder, _context| {
            let shop = processing.clone();
            async move {
                // The API has done so as well, unless it died right after the commit.
                let stock: Vec<_> = job
                    .items
                    .iter()
                    .map(|item| Change::Stock(item.product_id))
                    .collect();
                shop.invalidations.announce(&stock).await;
                process_order(&shop, job.order_id)
                    .await
                    .map_err(JobError::retry)?;
                Ok(json!({ "success": true, "orderId": job.order_id }))
            }
        })
        .on(move |_: ReconcileOrders, _context| {
            let shop = reconciling.clone();
            async move { reconciled(reconcile_orders(&shop).await) }
        })
        .on(move |_: ReportLowStock, _context| {
            let shop = reporting.clone();
            async move {
                let recipients = report_low_stock(&shop).await.map_err(JobError::retry)?;
                tracing::info!(recipients, "report of low stock ordered");
                Ok(json!({ "success": true, "recipients": recipients }))
            }
        })
}

/// Charges and refunds payments.
#[must_use]
pub fn payments(shop: &Shop) -> Handlers {
    let (charging, reconciling, refunding) = (shop.clone(), shop.clone(), shop.clone());
    Handlers::new(QueueName::PaymentProcessing)
        .on(move |job: ChargePayment, _context| {
            let shop = charging.clone();
            async move { settled(charge_payment(&shop, job.payment_id).await) }
        })
        .on(move |_: ReconcilePayments, _context| {
            let shop = reconciling.clone();
            async move { reconciled(reconcile_payments(&shop).await) }
        })
        .on(move |job: RefundPayment, _context| {
            let shop = refunding.clone();
            async move { settled(refund_payment(&shop, job.payment_id).await) }
        })
}

fn settled(result: Result<(), SettleError>) -> JobResult {
    result.map_err(JobError::retry)?;
    Ok(json!({ "success": true }))
}

/// What jobs have left undone is looked for often, so only finds are told.
fn reconciled(tried: database::Result<usize>) -> JobResult {
    let tried = tried.map_err(JobError::retry)?;
    if tried > 0 {
        tracing::info!(tried, "reconciled");
    }
    Ok(json!({ "success": true, "tried": tried }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bharatmart_cache::Invalidations;
    use bharatmart_commerce::Gateway;
    use bharatmart_config::{
        CacheConfig, DatabaseConfig, MailConfig, MailTransport, PaymentConfig, Process,
        QueueConfig, Source,
    };
    use bharatmart_database::Database;
    use bharatmart_domain::SystemClock;
    use bharatmart_queue::{JobQueues, Relay, all_job_names};

    use super::*;

    #[tokio::test]
    async fn every_job_has_a_handler() {
        // Nothing connects: the handlers are only asked for their names.
        let source = Source::from_map(BTreeMap::from([
            ("DATABASE_URL", "postgres://127.0.0.1:1/none"),
            ("REDIS_URL", "redis://127.0.0.1:1"),
        ]));
        let config = DatabaseConfig::read(&source, Process::Worker).unwrap();
        let database = Database::connect(&config, "handlers-test").unwrap();
        let clock = Arc::new(SystemClock);
        let queues = JobQueues::connect(&QueueConfig::read(&source).unwrap(), clock.clone());
        let (_, relay) = Relay::new(database.clone(), queues, clock.clone());
        let payment = PaymentConfig::read(&source).unwrap();
        let shop = Shop {
            database: database.clone(),
            relay,
            gateway: Gateway::new(&payment, database.clone()),
            clock: clock.clone(),
            order_payment_timeout: payment.order_payment_timeout,
            low_stock_threshold: 10,
            invalidations: Invalidations::connect(&CacheConfig::read(&source).unwrap(), clock),
        };
        let mailer = Mailer::new(&MailConfig {
            transport: MailTransport::File { dir: "/".into() },
            from: "orders@shop.example".into(),
            frontend_url: "https://shop.example".into(),
        });
        let handlers = [
            orders(&shop),
            emails(&shop, mailer.unwrap()),
            payments(&shop),
        ];
        for (queue, handlers) in QueueName::ALL.into_iter().zip(handlers) {
            assert_eq!(handlers.names(), all_job_names(queue), "{queue}");
        }
    }
}
