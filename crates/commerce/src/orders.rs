//! What happens to an order after it was placed.

use bharatmart_database::{
    self as database, Freshness, Transaction,
    orders::{self, HistoryEntry, Item, LockedOrder, Order},
    payments::{self, NewPayment, Payment},
};
use bharatmart_domain::{
    IllegalTransition, MailKind, OrderId, OrderStatus, PaymentId, PaymentMethod, PaymentStatus,
};
use bharatmart_queue::PaymentDeadline;

use crate::{
    actor::Actor,
    audit::{Action, Origin},
    cancellation::cancel,
    mails::compose,
    payments::{SettleError, void_pending},
    settlement::count,
    shop::{Consequences, Shop},
};

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
    let mut connection = shop.database.read(Freshness::OwnWrites).await?;
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
///
/// What an administrator does is in the audit log, as coming from `origin`.
pub async fn change_order_status(
    shop: &Shop,
    actor: Actor,
    origin: &Origin,
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
    let mut consequences = Consequences::default();
    let mut collected = None;
    let by = if actor.is_admin() {
        "by an administrator"
    } else {
        "by the customer"
    };
    match to {
        OrderStatus::Cancelled => cancel(&mut transaction, &mut consequences, &order, by).await?,
        OrderStatus::Shipped => {
            orders::set_status(&mut transaction, id, order.status, to, Some(by)).await?;
            consequences.mail(&compose(MailKind::OrderShipped, &order));
        }
        OrderStatus::Delivered => {
            orders::set_status(&mut transaction, id, order.status, to, Some(by)).await?;
            collected = collect_cash(&mut transaction, &order).await?;
        }
        OrderStatus::Pending | OrderStatus::Processing | OrderStatus::PaymentFailed => {
            orders::set_status(&mut transaction, id, order.status, to, Some(by)).await?;
        }
    }
    let changed = orders::find(&mut transaction, id)
        .await?
        .ok_or(ChangeOrderError::NotFound)?;
    if actor.is_admin() {
        consequences.audit(origin.entry(Action::order_status(&order, changed.status)));
    }
    shop.commit(transaction, consequences).await?;
    if let Some(payment) = collected {
        count(&payment, PaymentStatus::Completed);
    }
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
    let mut consequences = Consequences::default();
    consequences.mail(&compose(MailKind::OrderConfirmation, &order));
    if order.status.is_payable() {
        let prepaid = order.payment_method.is_none_or(PaymentMethod::is_prepaid);
        if prepaid {
            let deadline = order.created_at + shop.order_payment_timeout;
            consequences.add_at(&PaymentDeadline { order_id: id }, deadline);
        } else {
            let (from, to) = (order.status, OrderStatus::Processing);
            orders::set_status(&mut transaction, id, from, to, Some("cash on delivery")).await?;
        }
    }
    shop.commit(transaction, consequences).await?;
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
    let mut consequences = Consequences::default();
    cancel(
        &mut transaction,
        &mut consequences,
        &order,
        "not paid in time",
    )
    .await?;
    shop.commit(transaction, consequences).await?;
    tracing::info!(order.id = %id, "order cancelled: not paid in time");
    Ok(())
}

/// Records that the carrier took the cash of an order that was to be paid on delivery; its payment.
async fn collect_cash(
    transaction: &mut Transaction,
    order: &LockedOrder,
) -> Result<Option<Payment>, database::Error> {
    let payment = match payments::latest(transaction, order.id).await? {
        Some(payment) => payment,
        None if order.payment_method == Some(PaymentMethod::CashOnDelivery) => {
            let new = NewPayment {
                id: PaymentId::generate(),
                order_id: order.id,
                amount: order.total_amount,
                payment_method: PaymentMethod::CashOnDelivery,
                payment_token: None,
            };
            payments::insert(transaction, &new).await?
        }
        None => return Ok(None),
    };
    if payment.status != PaymentStatus::Pending || payment.payment_method.is_prepaid() {
        return Ok(None);
    }
    payments::complete(transaction, payment.id, &format!("cash-{}", payment.id)).await?;
    Ok(Some(payment))
}
