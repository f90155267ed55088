//! Giving an order up.

use bharatmart_database::{
    self as database, Transaction,
    orders::{self, LockedOrder},
    payments,
};
use bharatmart_domain::{MailKind, OrderStatus, PaymentStatus};
use bharatmart_queue::RefundPayment;

use crate::{mails::compose, shop::Consequences};

/// Cancels a locked order that may be cancelled: its stock comes back, and so does its money.
pub(crate) async fn cancel(
    transaction: &mut Transaction,
    consequences: &mut Consequences,
    order: &LockedOrder,
    reason: &str,
) -> Result<(), database::Error> {
    let (id, to) = (order.id, OrderStatus::Cancelled);
    orders::set_status(transaction, id, order.status, to, Some(reason)).await?;
    let restocked = orders::restock(transaction, id, &format!("order {id} cancelled")).await?;
    consequences.restocked(restocked);
    if let Some(payment) = payments::latest(transaction, id).await? {
        match payment.status {
            PaymentStatus::Pending | PaymentStatus::Completed => {
                payments::request_refund(transaction, payment.id).await?;
                consequences.add(&RefundPayment {
                    payment_id: payment.id,
                    order_id: id,
                });
            }
            PaymentStatus::Failed | PaymentStatus::Refunded => {}
        }
    }
    consequences.mail(&compose(MailKind::OrderCancelled, order));
    Ok(())
}
