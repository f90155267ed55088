//! What happens to an order after it was placed.

use bharatmart_database::{
    self as database, Transaction,
    orders::{self, HistoryEntry, Item, LockedOrder, Order},
    payments::{self, Payment},
};
use bharatmart_domain::{
    IllegalTransition, MailKind, OrderId, OrderStatus, PaymentMethod, PaymentStatus, Role, UserId,
};
use bharatmart_queue::{PaymentDeadline, RefundPayment};

use crate::{
    mails::compose,
    payments::{SettleError, void_pending},
    shop::{Jobs, Shop},
};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Actor {
    /// The user.
    pub user_id: UserId,
    /// Who they are to the shop.
    pub role: Role,
}

impl Actor {
    /// Whether they run the shop.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    fn may_see(&self, owner: UserId) -> bool {
        self.is_admin() || self.user_id == owner
    }
}

/// Everything about an order.
#[derive(Clone, Debug)]
pub struct OrderDetails {
    /// The order.
    pub order: Order,
    /// What was bought.
    pub items: Vec<Item>,
    /// The latest attempt to pay.
    pub payment: Option<Payment>,
    /// How it got where it stands.
    pub history: Vec<HistoryEntry>,
}

/// Reads an order; `None` when there is none, or when it is not for `actor` to see.
pub async fn order_details(
    shop: &Shop,
    actor: Actor,
    id: OrderId,
) -> Result<Option<OrderDetails>, database::Error> {
    let mut connection = shop.database.read().await?;
    let Some(order) = orders::find(&mut connection, id).await? else {
        return Ok(None);
    };
    if !actor.may_see(order.user_id) {
        return Ok(None);
    }
    Ok(Some(OrderDetails {
        items: orders::items(&mut connection, id).await?,
        payment: payments::latest(&mut connection, id).await?,
        history: orders::history(&mut connection, id).await?,
        order,
    }))
}

/// Why an order's status was not changed. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum ChangeOrderError {
    /// There is no such order, or it is not for the asker to see.
    #[error("unknown order")]
    NotFound,
    /// A customer may only cancel.
    #[error("customers may only cancel")]
    Forbidden,
    /// The state machine forbids it.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition<OrderStatus>),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] database::Error),
}

/// Gives an order another status, with all that goes with it: mails, stock, refunds.
pub async fn change_order_status(
    shop: &Shop,
    actor: Actor,
    id: OrderId,
    to: OrderStatus,
) -> Result<Order, ChangeOrderError> {
    let mut transaction = shop.database.begin().await?;
    let order = orders::lock(&mut transaction, id)
        .await?
        .filter(|order| actor.may_see(order.user_id))
        .ok_or(ChangeOrderError::NotFound)?;
    if !actor.is_admin() && to != OrderStatus::Cancelled {
        return Err(ChangeOrderError::Forbidden);
    }
    order.status.transition(to)?;
    let mut jobs = Jobs::default();
    let by = if actor.is_admin() {
        "by an administrator"
    } else {
        "by the customer"
    };
    match to {
        OrderStatus::Cancelled => cancel(&mut transaction, &mut jobs, &order, by).await?,
        OrderStatus::Shipped => {
            orders::set_status(&mut transaction, id, order.status, to, Some(by)).await?;
            jobs.add(&compose(MailKind::OrderShipped, &order));
        }
        OrderStatus::Delivered => {
            orders::set_status(&mut transaction, id, order.status, to, Some(by)).await?;
            collect_cash(&mut transaction, id).await?;
        }
        OrderStatus::Pending | OrderStatus::Processing | OrderStatus::PaymentFailed => {
            orders::set_status(&mut transaction, id, order.status, to, Some(by)).await?;
        }
    }
    let changed = orders::find(&mut transaction, id)
        .await?
        .ok_or(ChangeOrderError::NotFound)?;
    shop.commit(transaction, jobs).await?;
    Ok(changed)
}

/// Confirms a new order: its mail, and then either its way (cash on delivery) or the deadline for
/// its payment. Does nothing to an order that was confirmed before.
pub async fn process_order(shop: &Shop, id: OrderId) -> Result<(), database::Error> {
    let mut transaction = shop.database.begin().await?;
    let Some(order) = orders::lock(&mut transaction, id).await? else {
        tracing::warn!(order.id = %id, "there is no such order; nothing to confirm");
        return Ok(());
    };
    if order.processed_at.is_some() || order.status == OrderStatus::Cancelled {
        tracing::info!(order.id = %id, order.status = %order.status, "already confirmed or cancelled");
        return Ok(());
    }
    orders::mark_processed(&mut transaction, id).await?;
    let mut jobs = Jobs::default();
    jobs.add(&compose(MailKind::OrderConfirmation, &order));
    if order.status.is_payable() {
        let prepaid = order.payment_method.is_none_or(PaymentMethod::is_prepaid);
        if prepaid {
            let deadline = order.created_at + shop.order_payment_timeout;
            jobs.add_at(&PaymentDeadline { order_id: id }, deadline);
        } else {
            let (from, to) = (order.status, OrderStatus::Processing);
            orders::set_status(&mut transaction, id, from, to, Some("cash on delivery")).await?;
        }
    }
    shop.commit(transaction, jobs).await?;
    tracing::info!(order.id = %id, "order confirmed");
    Ok(())
}

/// Cancels an order whose deadline has passed without a payment. A payment that is under way is
/// made impossible at the gateway first; if it turns out to have been charged, the order goes on.
pub async fn expire_order(shop: &Shop, id: OrderId) -> Result<(), SettleError> {
    void_pending(shop, id).await?;
    let mut transaction = shop.database.begin().await?;
    let Some(order) = orders::lock(&mut transaction, id).await? else {
        return Ok(());
    };
    if !order.status.is_payable() {
        return Ok(());
    }
    let latest = payments::latest(&mut transaction, id).await?;
    if latest.is_some_and(|payment| payment.status == PaymentStatus::Pending) {
        // It was started since: the job's next attempt settles it.
        return Err(SettleError::StartedMeanwhile);
    }
    let mut jobs = Jobs::default();
    cancel(&mut transaction, &mut jobs, &order, "not paid in time").await?;
    shop.commit(transaction, jobs).await?;
    tracing::info!(order.id = %id, "order cancelled: not paid in time");
    Ok(())
}

/// Cancels a locked order that may be cancelled: its stock comes back, and so does its money.
pub(crate) async fn cancel(
    transaction: &mut Transaction,
    jobs: &mut Jobs,
    order: &LockedOrder,
    reason: &str,
) -> Result<(), database::Error> {
    let (id, to) = (order.id, OrderStatus::Cancelled);
    orders::set_status(transaction, id, order.status, to, Some(reason)).await?;
    orders::restock(transaction, id, &format!("order {id} cancelled")).await?;
    if let Some(payment) = payments::latest(transaction, id).await? {
        match payment.status {
            PaymentStatus::Pending | PaymentStatus::Completed => {
                payments::request_refund(transaction, payment.id).await?;
                jobs.add(&RefundPayment {
                    payment_id: payment.id,
                    order_id: id,
                });
            }
            PaymentStatus::Failed | PaymentStatus::Refunded => {}
        }
    }
    jobs.add(&compose(MailKind::OrderCancelled, order));
    Ok(())
}

/// Records that the carrier took the cash of an order that was paid on delivery.
async fn collect_cash(
    transaction: &mut Transaction,
    order: OrderId,
) -> Result<(), database::Error> {
    if let Some(payment) = payments::latest(transaction, order).await?
        && payment.status == PaymentStatus::Pending
        && !payment.payment_method.is_prepaid()
    {
        payments::complete(transaction, payment.id, &format!("cash-{}", payment.id)).await?;
    }
    Ok(())
}
