//! Events that the payment gateway reports.
//!
//! They come at least once, in any order, and beside the answers that the payment worker gets. An event is noted in the
//! transaction of its effect, and the payment's state machine decides under the order's lock what that is, so
//! whoever comes first settles a payment and the others change nothing.

use bharatmart_database::{
    self as database, Transaction,
    orders::{self, LockedOrder},
    payment_events,
    payments::{self, OwnedPayment, Payment},
    sandbox_gateway::{Charge, ChargeStatus},
};
use bharatmart_domain::{PaymentId, PaymentStatus};
use bharatmart_telemetry::metrics::PAYMENT_WEBHOOKS_TOTAL;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use metrics::counter;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    gateway::{GatewayError, Outcome},
    settlement::{self, count},
    shop::{Consequences, Shop},
};

/// How long the events are known that came: longer than a gateway goes on delivering one.
pub(crate) const KEPT_FOR: TimeDelta = TimeDelta::days(30);
/// What the types of events about charges begin with.
const CHARGE: &str = "charge.";

/// What a gateway reports, as the Standard Webhooks specification shapes it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ChargeEvent)]
pub struct Event {
    /// `charge.` and the charge's status.
    #[serde(rename = "type")]
    kind: String,
    /// When it happened, as RFC 3339.
    #[schema(format = DateTime)]
    timestamp: String,
    /// The charge as it stood then.
    data: Charge,
}

impl Event {
    /// Reports where `charge` stands.
    pub(crate) fn about(charge: Charge, now: DateTime<Utc>) -> Self {
        let status = match charge.status {
            ChargeStatus::Pending => "pending",
            ChargeStatus::Approved => "approved",
            ChargeStatus::Declined => "declined",
            ChargeStatus::Voided => "voided",
            ChargeStatus::Refunded => "refunded",
        };
        Self {
            kind: format!("{CHARGE}{status}"),
            timestamp: now.to_rfc3339_opts(SecondsFormat::Millis, true),
            data: charge,
        }
    }

    /// One for each status of a charge.
    pub(crate) fn id(&self) -> String {
        format!("{}.{}", self.kind, self.data.key)
    }

    #[expect(
        clippy::expect_used,
        reason = "texts and amounts always have a JSON form"
    )]
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an event is JSON")
    }
}

/// An event as it comes: only those about charges are read further.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// What an event has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A payment's status.
    Applied,
    /// Nothing: it came before.
    Duplicate,
    /// Nothing: it says what is known, or is about nothing of ours.
    Ignored,
}

/// Why an event was not taken. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// It is no event, or one about a charge that lacks something.
    #[error("The event cannot be read: {0}")]
    Malformed(String),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] database::Error),
}

/// Takes an event whose signature was verified: `id` is the event's, the same at each attempt to deliver it.
pub async fn receive_event(shop: &Shop, id: &str, body: &[u8]) -> Result<Received, WebhookError> {
    let malformed = |error: serde_json::Error| WebhookError::Malformed(error.to_string());
    let Envelope { kind, data } = serde_json::from_slice(body).map_err(malformed)?;
    let charge: Option<Charge> = match data.filter(|_| kind.starts_with(CHARGE)) {
        Some(data) => Some(serde_json::from_str(data.get()).map_err(malformed)?),
        None => None,
    };
    let received = apply(shop, id, &kind, charge).await?;
    let outcome = match received {
        Received::Applied => "applied",
        Received::Duplicate => "duplicate",
        Received::Ignored => "ignored",
    };
    counter!(PAYMENT_WEBHOOKS_TOTAL, "outcome" => outcome).increment(1);
    tracing::info!(
        event.id = id,
        event.kind = kind,
        outcome,
        "webhook received"
    );
    Ok(received)
}

async fn apply(
    shop: &Shop,
    id: &str,
    kind: &str,
    charge: Option<Charge>,
) -> Result<Received, database::Error> {
    let mut transaction = shop.database.begin().await?;
    if !payment_events::insert(&mut transaction, id, kind).await? {
        transaction.rollback().await?;
        return Ok(Received::Duplicate);
    }
    let mut consequences = Consequences::default();
    let changes = if let Some(charge) = charge {
        change(&mut transaction, &mut consequences, charge).await?
    } else {
        tracing::warn!(
            event.id = id,
            event.kind = kind,
            "an event of an unknown type is ignored"
        );
        None
    };
    shop.commit(transaction, consequences).await?;
    let Some((payment, reached)) = changes else {
        return Ok(Received::Ignored);
    };
    for status in &reached {
        count(&payment, *status);
        tracing::info!(
            payment.id = %payment.id,
            order.id = %payment.order_id,
            payment.status = %status,
            "payment settled by a webhook"
        );
    }
    Ok(Received::Applied)
}

/// Does what follows from where `charge` stands; the payment, and what it has become, one after the other.
async fn change(
    transaction: &mut Transaction,
    consequences: &mut Consequences,
    charge: Charge,
) -> Result<Option<(Payment, Vec<PaymentStatus>)>, database::Error> {
    let Some((order, payment)) = lock(transaction, &charge).await? else {
        return Ok(None);
    };
    let was_refunded = charge.status == ChargeStatus::Refunded;
    let outcome = match Outcome::of(charge) {
        Ok(Some(outcome)) => outcome,
        Ok(None) => return Ok(None),
        Err(error) => {
            report_useless(&payment, &error);
            return Ok(None);
        }
    };
    let mut reached = Vec::new();
    let mut status = payment.status;
    if status == PaymentStatus::Pending {
        status = settlement::settle(transaction, consequences, &order, &payment, outcome).await?;
        reached.push(status);
    } else if status == PaymentStatus::Failed && matches!(outcome, Outcome::Approved { .. }) {
        // Nothing of ours asks for a charge that has failed.
        tracing::error!(payment.id = %payment.id, "the gateway has taken money for a payment that has failed");
    }
    if was_refunded && status == PaymentStatus::Completed {
        settlement::refunded(transaction, consequences, &payment).await?;
        reached.push(PaymentStatus::Refunded);
    }
    Ok((!reached.is_empty()).then_some((payment, reached)))
}

/// Locks the order of the payment that `charge` is about; both as they stand then, `None` when it is no charge of ours.
async fn lock(
    transaction: &mut Transaction,
    charge: &Charge,
) -> Result<Option<(LockedOrder, Payment)>, database::Error> {
    let found = match charge.key.parse::<PaymentId>() {
        Ok(id) => payments::find(transaction, id).await?,
        Err(_) => None,
    };
    let Some(found) = found else {
        tracing::warn!(
            charge.key,
            "an event about a charge of no payment of ours is ignored"
        );
        return Ok(None);
    };
    let order = orders::lock(transaction, found.payment.order_id).await?;
    let payment = payments::find(transaction, found.payment.id).await?;
    let (Some(order), Some(OwnedPayment { payment, .. })) = (order, payment) else {
        return Ok(None);
    };
    if !payment.payment_method.is_prepaid() || payment.amount != charge.amount {
        tracing::error!(
            payment.id = %payment.id,
            charge.amount = %charge.amount,
            "an event about a charge that does not fit its payment is ignored"
        );
        return Ok(None);
    }
    Ok(Some((order, payment)))
}

fn report_useless(payment: &Payment, error: &GatewayError) {
    tracing::error!(
        payment.id = %payment.id,
        error = error as &dyn std::error::Error,
        "an event is ignored"
    );
}
