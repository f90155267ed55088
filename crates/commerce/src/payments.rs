//! Taking money and giving it back.

use std::time::Duration;

use bharatmart_database::{
    self as database, Database, Freshness, orders,
    payments::{self, NewPayment, ONE_OPEN_PAYMENT, OwnedPayment, Payment},
};
use bharatmart_domain::{
    IllegalTransition, Money, OrderId, OrderStatus, PaymentId, PaymentMethod, PaymentStatus,
};
use bharatmart_queue::{ChargePayment, RefundPayment};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{
    actor::Actor,
    audit::{Action, Origin},
    cancellation::cancel,
    gateway::{GatewayError, Outcome},
    idempotency::{Answer, Claim, IdempotencyKey, KeyError},
    settlement::{count, give_back, record, record_asked},
    shop::{Consequences, Shop},
};

/// How soon a waiting request looks whether its payment is settled; doubled each time, so that those
/// who wait for a slow gateway do not keep the database busy.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(800);

/// A payment that a customer wants to make.
#[derive(Clone, Debug)]
pub struct StartPayment {
    /// What it pays for.
    pub order_id: OrderId,
    /// How.
    pub payment_method: PaymentMethod,
    /// How much the customer believes it is.
    pub amount: Option<Money>,
    /// What the gateway knows the card or handle by.
    pub payment_token: Option<String>,
}

/// Why a payment was not started. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum StartPaymentError {
    /// There is no such order, or it is somebody else's.
    #[error("unknown order")]
    NotFound,
    /// The order is not waiting for a payment.
    #[error("{0}")]
    NotPayable(String),
    /// The order costs something else.
    #[error("the order costs {expected}")]
    AmountDiffers {
        /// The order's total.
        expected: Money,
    },
    /// The gateway does not take such a token.
    #[error("payment_token {0}")]
    BadToken(String),
    /// It was sent under a key that forbids it.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] database::Error),
}

/// Writes a pending payment and the job that will charge it. Cash on delivery has no such job: the
/// order goes on at once and the payment is completed when the goods arrive. Under a `key` it does so once.
pub async fn start_payment(
    shop: &Shop,
    actor: Actor,
    start: StartPayment,
    key: Option<&IdempotencyKey>,
) -> Result<Answer<Payment>, StartPaymentError> {
    let mut transaction = match key {
        None => shop.database.begin().await?,
        Some(key) => match key.claim(shop).await? {
            Claim::Open(transaction) => *transaction,
            Claim::Kept(kept) => return Ok(kept.into()),
        },
    };
    let order = orders::lock(&mut transaction, start.order_id)
        .await?
        .filter(|order| order.user_id == actor.user_id)
        .ok_or(StartPaymentError::NotFound)?;
    let on_delivery = !start.payment_method.is_prepaid();
    let ordered_on_delivery = order.payment_method == Some(PaymentMethod::CashOnDelivery);
    if ordered_on_delivery && !on_delivery {
        // The order worker sends such an order on at once, so there is no time to pay in.
        let reason = "The order is to be paid in cash on delivery";
        return Err(StartPaymentError::NotPayable(reason.to_owned()));
    }
    let payable = order.status.is_payable()
        || (on_delivery && ordered_on_delivery && order.status == OrderStatus::Processing);
    if !payable {
        return Err(StartPaymentError::NotPayable(format!(
            "The order is {} and does not wait for a payment",
            order.status
        )));
    }
    if start
        .amount
        .is_some_and(|amount| amount != order.total_amount)
    {
        return Err(StartPaymentError::AmountDiffers {
            expected: order.total_amount,
        });
    }
    let token = start.payment_token.as_deref();
    if let Some(reason) = token.and_then(|token| shop.gateway.refuses_token(token)) {
        return Err(StartPaymentError::BadToken(reason.to_owned()));
    }
    let new = NewPayment {
        id: PaymentId::generate(),
        order_id: order.id,
        amount: order.total_amount,
        payment_method: start.payment_method,
        payment_token: token,
    };
    let payment = payments::insert(&mut transaction, &new)
        .await
        .map_err(|error| {
            if error.is_constraint(ONE_OPEN_PAYMENT) {
                let reason = "The order has a payment that is pending or completed";
                StartPaymentError::NotPayable(reason.to_owned())
            } else {
                error.into()
            }
        })?;
    if order.payment_method != Some(start.payment_method) {
        orders::set_payment_method(&mut transaction, order.id, start.payment_method).await?;
    }
    let mut consequences = Consequences::default();
    let mut status = order.status;
    if status == OrderStatus::PaymentFailed {
        let reason = Some("payment retried");
        orders::set_status(
            &mut transaction,
            order.id,
            status,
            OrderStatus::Pending,
            reason,
        )
        .await?;
        status = OrderStatus::Pending;
    }
    if on_delivery {
        if status == OrderStatus::Pending {
            let (to, reason) = (OrderStatus::Processing, Some("cash on delivery"));
            orders::set_status(&mut transaction, order.id, status, to, reason).await?;
        }
    } else {
        consequences.add(&ChargePayment {
            order_id: order.id,
            payment_id: payment.id,
            amount: payment.amount,
            payment_method: payment.payment_method,
            user_id: order.user_id,
        });
    }
    if let Some(key) = key {
        key.keep(&mut transaction, payment.id.0, &payment).await?;
    }
    shop.commit(transaction, consequences).await?;
    Ok(Answer::Fresh(payment))
}

/// Waits until a payment is settled, but no longer than `at_most`; the payment as it is then, as far as that can be told:
/// that it was started stands, whatever becomes of the database meanwhile.
pub async fn wait_for_outcome(shop: &Shop, id: PaymentId, at_most: Duration) -> Option<Payment> {
    let deadline = Instant::now() + at_most;
    let database = shop.database.clone().with_any_queue();
    let mut pause = FIRST_LOOK;
    let mut latest = None;
    loop {
        match timeout_at(deadline, look(&database, id)).await {
            Ok(Ok(found)) => latest = found,
            Ok(Err(error)) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                payment.id = %id,
                "what became of a payment is not known now"
            ),
            Err(_) => return latest,
        }
        let is_settled = latest
            .as_ref()
            .is_some_and(|payment| payment.status != PaymentStatus::Pending);
        if is_settled || Instant::now() >= deadline {
            return latest;
        }
        sleep_until(deadline.min(Instant::now() + pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn look(database: &Database, id: PaymentId) -> database::Result<Option<Payment>> {
    let mut connection = database.read(Freshness::Latest).await?;
    let found = payments::find(&mut connection, id).await?;
    Ok(found.map(|found| found.payment))
}

/// Why a payment could not be settled. The job is to be tried again.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The gateway's answer is not known.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// Another payment was started at the same moment.
    #[error("another payment was started meanwhile")]
    StartedMeanwhile,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] database::Error),
}

/// Charges a pending payment and records the outcome. Does nothing to one that is settled. One that the gateway decides
/// later stays pending until its webhook comes, or until somebody asks again.
pub async fn charge_payment(shop: &Shop, id: PaymentId) -> Result<(), SettleError> {
    let mut connection = shop.database.write().await?;
    let Some(found) = payments::find(&mut connection, id).await? else {
        tracing::warn!(payment.id = %id, "there is no such payment; nothing to charge");
        return Ok(());
    };
    if found.payment.status != PaymentStatus::Pending {
        tracing::info!(payment.id = %id, payment.status = %found.payment.status, "already settled");
        return Ok(());
    }
    let order = orders::find(&mut connection, found.payment.order_id).await?;
    drop(connection);
    let key = id.to_string();
    // Whoever has sent the order on meanwhile still wants to be paid.
    let wanted = order.is_some_and(|order| order.status != OrderStatus::Cancelled);
    let outcome = if wanted {
        let token = found.payment_token.as_deref();
        let charged = shop
            .gateway
            .charge(&key, found.payment.amount, token)
            .await?;
        let Some(outcome) = charged else {
            tracing::info!(payment.id = %id, "accepted by the gateway; its webhook will tell the outcome");
            return Ok(());
        };
        outcome
    } else {
        shop.gateway.void(&key, found.payment.amount).await?
    };
    record(shop, &found, outcome).await?;
    Ok(())
}

/// Gives a payment's money back and takes the goods back. One that is still pending is made
/// impossible at the gateway instead. Does nothing to one that failed or was refunded.
pub async fn refund_payment(shop: &Shop, id: PaymentId) -> Result<(), SettleError> {
    let Some(mut found) = find(shop, id).await? else {
        return Ok(());
    };
    if found.payment.status == PaymentStatus::Pending {
        let outcome = shop
            .gateway
            .void(&id.to_string(), found.payment.amount)
            .await?;
        record(shop, &found, outcome).await?;
        match find(shop, id).await? {
            Some(settled) => found = settled,
            None => return Ok(()),
        }
    }
    if found.payment.status != PaymentStatus::Completed {
        return Ok(());
    }
    if found.payment.payment_method.is_prepaid() {
        shop.gateway
            .refund(&id.to_string(), found.payment.amount)
            .await?;
    }

    let mut transaction = shop.database.begin().await?;
    let Some(order) = orders::lock(&mut transaction, found.payment.order_id).await? else {
        return Ok(());
    };
    let status = payments::find(&mut transaction, id)
        .await?
        .map(|found| found.payment.status);
    if status != Some(PaymentStatus::Completed) {
        return Ok(());
    }
    let mut consequences = Consequences::default();
    give_back(&mut transaction, &mut consequences, &found.payment).await?;
    shop.commit(transaction, consequences).await?;
    count(&found.payment, PaymentStatus::Refunded);
    tracing::info!(payment.id = %id, order.id = %order.id, "payment refunded");
    Ok(())
}

/// Why a payment's status was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangePaymentError {
    /// There is no such payment.
    #[error("unknown payment")]
    NotFound,
    /// The state machine forbids it.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition<PaymentStatus>),
    /// The gateway's answer is not known.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] database::Error),
}

/// Gives a payment another status on an administrator's word.
///
/// `refunded` is written down first and then carried out; when the gateway is away, the payment is
/// returned as `completed` with `refund_requested_at` set, and the payment worker goes on trying.
/// `completed` and `failed` first make sure that the gateway does not charge it any more.
///
/// It is in the audit log, as coming from `origin`.
pub async fn change_payment_status(
    shop: &Shop,
    origin: &Origin,
    id: PaymentId,
    to: PaymentStatus,
) -> Result<Payment, ChangePaymentError> {
    let found = find(shop, id).await?.ok_or(ChangePaymentError::NotFound)?;
    found.payment.status.transition(to)?;
    match to {
        PaymentStatus::Refunded => {
            request_refund(shop, &found, origin).await?;
            match refund_payment(shop, id).await {
                Ok(()) => {}
                Err(error @ (SettleError::Gateway(_) | SettleError::StartedMeanwhile)) => {
                    tracing::warn!(payment.id = %id, %error, "the refund is left to the worker");
                }
                Err(SettleError::Database(error)) => return Err(error.into()),
            }
        }
        PaymentStatus::Completed | PaymentStatus::Failed => {
            let outcome = if found.payment.payment_method.is_prepaid() {
                shop.gateway
                    .void(&id.to_string(), found.payment.amount)
                    .await?
            } else {
                Outcome::Voided
            };
            let outcome = match (to, outcome) {
                (PaymentStatus::Completed, Outcome::Voided) => Outcome::Approved {
                    transaction_id: format!("manual-{id}"),
                },
                (_, Outcome::Voided) => Outcome::Declined {
                    reason: "marked as failed by an administrator".to_owned(),
                },
                (_, settled) => settled,
            };
            record_asked(shop, &found, outcome, Some(origin)).await?;
        }
        PaymentStatus::Pending => {}
    }
    let changed = find(shop, id)
        .await?
        .ok_or(ChangePaymentError::NotFound)?
        .payment;
    let settled_otherwise = changed.status != to && to != PaymentStatus::Refunded;
    if settled_otherwise {
        return Err(IllegalTransition {
            from: changed.status,
            to,
        }
        .into());
    }
    Ok(changed)
}

/// Writes down that a payment is to be refunded. An order that has not left is cancelled with it, so
/// that it does not leave while the money is on its way back.
async fn request_refund(
    shop: &Shop,
    found: &OwnedPayment,
    origin: &Origin,
) -> Result<(), ChangePaymentError> {
    let (id, order_id) = (found.payment.id, found.payment.order_id);
    let mut transaction = shop.database.begin().await?;
    let order = orders::lock(&mut transaction, order_id).await?;
    let order = order.ok_or(ChangePaymentError::NotFound)?;
    let locked = payments::find(&mut transaction, id).await?;
    let locked = locked.ok_or(ChangePaymentError::NotFound)?;
    let to = PaymentStatus::Refunded;
    locked.payment.status.transition(to)?;
    let mut consequences = Consequences::default();
    consequences.audit(origin.entry(Action::payment_status(&locked.payment, to)));
    if order.status == OrderStatus::Processing {
        cancel(&mut transaction, &mut consequences, &order, "refunded").await?;
    } else {
        payments::request_refund(&mut transaction, id).await?;
        consequences.add(&RefundPayment {
            payment_id: id,
            order_id,
        });
    }
    shop.commit(transaction, consequences).await?;
    Ok(())
}

/// Makes an order's pending payment impossible at the gateway, or records that it was charged.
pub(crate) async fn void_pending(shop: &Shop, order: OrderId) -> Result<(), SettleError> {
    let mut connection = shop.database.write().await?;
    let latest = payments::latest(&mut connection, order).await?;
    drop(connection);
    let Some(pending) = latest.filter(|payment| {
        payment.status == PaymentStatus::Pending && payment.payment_method.is_prepaid()
    }) else {
        return Ok(());
    };
    let Some(found) = find(shop, pending.id).await? else {
        return Ok(());
    };
    let outcome = shop
        .gateway
        .void(&pending.id.to_string(), pending.amount)
        .await?;
    record(shop, &found, outcome).await?;
    Ok(())
}

async fn find(shop: &Shop, id: PaymentId) -> Result<Option<OwnedPayment>, database::Error> {
    let mut connection = shop.database.write().await?;
    payments::find(&mut connection, id).await
}
