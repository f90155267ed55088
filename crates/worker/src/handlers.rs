//! Which function does which job: one list a queue, in order of the alphabet.

use std::sync::Arc;

use bharatmart_commerce::{
    SettleError, Shop, charge_payment, expire_order, process_order, refund_payment,
};
use bharatmart_queue::{
    ChargePayment, Handlers, JobError, JobResult, PaymentDeadline, ProcessOrder, QueueName,
    RefundPayment, SendEmail,
};
use serde_json::json;

use crate::{deliver::deliver, mailer::Mailer};

/// What the email worker does.
pub(crate) fn emails(shop: &Shop, mailer: Mailer) -> Handlers {
    let (database, mailer) = (shop.database.clone(), Arc::new(mailer));
    Handlers::new(QueueName::EmailNotifications).on(move |job: SendEmail, _context| {
        let (database, mailer) = (database.clone(), mailer.clone());
        async move { deliver(&database, &mailer, job).await }
    })
}

/// What the order worker does.
pub(crate) fn orders(shop: &Shop) -> Handlers {
    let (expiring, processing) = (shop.clone(), shop.clone());
    Handlers::new(QueueName::OrderProcessing)
        .on(move |job: PaymentDeadline, _context| {
            let shop = expiring.clone();
            async move { settled(expire_order(&shop, job.order_id).await) }
        })
        .on(move |job: ProcessOrder, _context| {
            let shop = processing.clone();
            async move {
                process_order(&shop, job.order_id)
                    .await
                    .map_err(JobError::retry)?;
                Ok(json!({ "success": true, "orderId": job.order_id }))
            }
        })
}

/// What the payment worker does.
pub(crate) fn payments(shop: &Shop) -> Handlers {
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
