//! What follows from what the gateway says, whether it answers or reports by itself.

use bharatmart_database::{
    self as database, Transaction,
    orders::{self, LockedOrder},
    payments::{self, OwnedPayment, Payment},
};
use bharatmart_domain::{MailKind, OrderStatus, PaymentStatus};
use bharatmart_queue::RefundPayment;
use bharatmart_telemetry::metrics::{PAYMENTS_PROCESSED_TOTAL, PAYMENTS_VALUE_TOTAL};
use metrics::counter;

use crate::{
    audit::{Action, Origin},
    cancellation::cancel,
    gateway::Outcome,
    mails::compose,
    shop::{Consequences, Shop},
};

/// Records what the gateway answered, together with the order's new status and the mail. Does nothing
/// when the payment was settled meanwhile.
pub(crate) async fn record(
    shop: &Shop,
    found: &OwnedPayment,
    outcome: Outcome,
) -> Result<(), database::Error> {
    record_asked(shop, found, outcome, None).await
}

/// [`record`], when an administrator has asked for it: where from.
pub(crate) async fn record_asked(
    shop: &Shop,
    found: &OwnedPayment,
    outcome: Outcome,
    asked: Option<&Origin>,
) -> Result<(), database::Error> {
    let id = found.payment.id;
    let mut transaction = shop.database.begin().await?;
    let Some(order) = orders::lock(&mut transaction, found.payment.order_id).await? else {
        return Ok(());
    };
    let status = payments::find(&mut transaction, id)
        .await?
        .map(|found| found.payment.status);
    if status != Some(PaymentStatus::Pending) {
        return Ok(());
    }
    let mut consequences = Consequences::default();
    let payment = &found.payment;
    let recorded = settle(
        &mut transaction,
        &mut consequences,
        &order,
        payment,
        outcome,
    )
    .await?;
    if let Some(origin) = asked {
        consequences.audit(origin.entry(Action::payment_status(payment, recorded)));
    }
    shop.commit(transaction, consequences).await?;
    count(payment, recorded);
    tracing::info!(payment.id = %id, order.id = %order.id, payment.status = %recorded, "payment settled");
    Ok(())
}

/// Settles a pending payment of a locked order; its new status.
pub(crate) async fn settle(
    transaction: &mut Transaction,
    consequences: &mut Consequences,
    order: &LockedOrder,
    payment: &Payment,
    outcome: Outcome,
) -> Result<PaymentStatus, database::Error> {
    let id = payment.id;
    Ok(match outcome {
        Outcome::Approved { transaction_id } => {
            payments::complete(transaction, id, &transaction_id).await?;
            if order.status == OrderStatus::Cancelled {
                // Charged in the very moment of the cancellation: the money goes back.
                payments::request_refund(transaction, id).await?;
                consequences.add(&RefundPayment {
                    payment_id: id,
                    order_id: order.id,
                });
            } else {
                paid(transaction, order).await?;
                consequences.mail(&compose(MailKind::PaymentSuccess, order));
            }
            PaymentStatus::Completed
        }
        Outcome::Declined { reason } => {
            payments::fail(transaction, id, &reason).await?;
            if order.status == OrderStatus::Pending {
                let to = OrderStatus::PaymentFailed;
                orders::set_status(transaction, order.id, order.status, to, Some(&reason)).await?;
                consequences.mail(&compose(MailKind::PaymentFailed, order));
            }
            PaymentStatus::Failed
        }
        Outcome::Voided => {
            payments::fail(transaction, id, "given up before it was charged").await?;
            PaymentStatus::Failed
        }
    })
}

/// Sends a paid order on its way, by legal steps.
async fn paid(transaction: &mut Transaction, order: &LockedOrder) -> Result<(), database::Error> {
    let mut status = order.status;
    if status == OrderStatus::PaymentFailed {
        orders::set_status(transaction, order.id, status, OrderStatus::Pending, None).await?;
        status = OrderStatus::Pending;
    }
    if status == OrderStatus::Pending {
        let to = OrderStatus::Processing;
        orders::set_status(transaction, order.id, status, to, Some("paid")).await?;
    }
    Ok(())
}

/// Records that the gateway has given a completed payment's money back without being asked by us, or before we have
/// recorded that it did. The order is locked; one that has not left is cancelled.
pub(crate) async fn refunded(
    transaction: &mut Transaction,
    consequences: &mut Consequences,
    payment: &Payment,
) -> Result<(), database::Error> {
    // As it stands now: the same event may have paid it.
    if let Some(order) = orders::lock(transaction, payment.order_id).await?
        && order.status == OrderStatus::Processing
    {
        cancel(transaction, consequences, &order, "refunded").await?;
    }
    give_back(transaction, consequences, payment).await
}

/// Marks a completed payment of a locked order as refunded, and takes the goods back.
pub(crate) async fn give_back(
    transaction: &mut Transaction,
    consequences: &mut Consequences,
    payment: &Payment,
) -> Result<(), database::Error> {
    payments::mark_refunded(transaction, payment.id).await?;
    // The goods of a cancelled order are back already; those of one that has left come back now.
    let reason = format!("order {} refunded", payment.order_id);
    consequences.restocked(orders::restock(transaction, payment.order_id, &reason).await?);
    Ok(())
}

/// Counts a payment that has got `status`.
pub(crate) fn count(payment: &Payment, status: PaymentStatus) {
    let method = payment.payment_method.as_str();
    counter!(PAYMENTS_PROCESSED_TOTAL, "status" => status.as_str(), "payment_method" => method)
        .increment(1);
    counter!(PAYMENTS_VALUE_TOTAL, "status" => status.as_str())
        .increment(payment.amount.paise().unsigned_abs());
}
