//! Which function does which job: one list a queue, in order of the alphabet.

use std::sync::Arc;

use bharatmart_cache::Change;
use bharatmart_commerce::{
    SettleError, Shop, charge_payment, expire_order, process_order, refund_payment,
};
use bharatmart_database::Database;
use bharatmart_queue::{
    ChargePayment, Handlers, JobError, JobResult, PaymentDeadline, ProcessOrder, QueueName,
    RefundPayment, SendEmail,
};
use serde_json::json;

use crate::{deliver::deliver, mailer::Mailer};

/// Sends mails.
#[must_use]
pub fn emails(database: &Database, mailer: Mailer) -> Handlers {
    let (database, mailer) = (database.clone(), Arc::new(mailer));
    Handlers::new(QueueName::EmailNotifications).on(move |job: SendEmail, _context| {
        let (database, mailer) = (database.clone(), mailer.clone());
        async move { deliver(&database, &mailer, job).await }
    })
}

/// Confirms orders, and cancels those whose deadline is over.
#[must_use]
pub fn orders(shop: &Shop) -> Handlers {
    let (expiring, processing) = (shop.clone(), shop.clone());
    Handlers::new(QueueName::OrderProcessing)
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
}

/// Charges and refunds payments.
#[must_use]
pub fn payments(shop: &Shop) -> Handlers {
    let (charging, refunding) = (shop.clone(), shop.clone());
    Handlers::new(QueueName::PaymentProcessing)
        .on(move |job: ChargePayment, _context| {
            let shop = charging.clone();
            async move { settled(charge_payment(&shop, job.payment_id).await) }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bharatmart_cache::Invalidations;
    use bharatmart_commerce::Gateway;
    use bharatmart_config::{
        CacheConfig, DatabaseConfig, MailConfig, MailTransport, PaymentConfig, Process,
        QueueConfig, Source,
    };
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
            invalidations: Invalidations::connect(&CacheConfig::read(&source).unwrap(), clock),
        };
        let mailer = Mailer::new(&MailConfig {
            transport: MailTransport::File { dir: "/".into() },
            from: "orders@shop.example".into(),
        });
        let handlers = [
            orders(&shop),
            emails(&database, mailer.unwrap()),
            payments(&shop),
        ];
        for (queue, handlers) in QueueName::ALL.into_iter().zip(handlers) {
            assert_eq!(handlers.names(), all_job_names(queue), "{queue}");
        }
    }
}
