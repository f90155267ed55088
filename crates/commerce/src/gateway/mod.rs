//! The payment gateway: whoever takes the money.

mod http;
mod sandbox;

use std::time::Instant;

use bharatmart_breaker::BreakerStatus;
use bharatmart_config::{PaymentConfig, PaymentProvider};
use bharatmart_database::{
    self as database, Database,
    sandbox_gateway::{Charge, ChargeStatus},
};
use bharatmart_domain::Money;
use bharatmart_telemetry::metrics::{EXTERNAL_CALL_LATENCY_MS, dependency};
use metrics::histogram;

pub use http::HttpGateway;
pub use sandbox::SandboxGateway;

/// Why the gateway has not done what it was asked. The outcome is not known: ask again with the same
/// key.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// It said so, or its answer was lost.
    #[error("the payment gateway is not available")]
    Outage,
    /// No answer came.
    #[error("the payment gateway did not answer")]
    NoAnswer(#[source] reqwest::Error),
    /// Too many calls have failed; none is tried for a while.
    #[error("the payment gateway is left alone for a while, because calls to it kept failing")]
    LeftAlone,
    /// It was asked for an outcome and has not got one yet.
    #[error("the payment gateway has not decided yet")]
    Undecided,
    /// It was asked to give back what it has not taken.
    #[error("the payment gateway has not taken this money")]
    NothingTaken,
    /// It does not accept the request, as it stands or from us.
    #[error("the payment gateway refused the request with status {0}")]
    Refused(u16),
    /// Its answer cannot be understood.
    #[error("the payment gateway's answer is {0}")]
    Unreadable(String),
    /// It could not reach its own books.
    #[error("the payment gateway could not reach its books")]
    Books(#[from] database::Error),
}

/// What became of a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The money was taken.
    Approved {
        /// The gateway's own name for the charge.
        transaction_id: String,
    },
    /// The customer's bank refused; it always will under this key.
    Declined {
        /// Why, in words for the customer.
        reason: String,
    },
    /// Given up before it was charged; it never will be under this key.
    Voided,
}

impl Outcome {
    /// What a gateway's words mean; `None` when the outcome is still to come.
    pub(crate) fn of(charge: Charge) -> Result<Option<Self>, GatewayError> {
        Ok(Some(match (charge.status, charge.transaction_id) {
            (ChargeStatus::Pending, _) => return Ok(None),
            (ChargeStatus::Approved | ChargeStatus::Refunded, Some(transaction_id)) => {
                Self::Approved { transaction_id }
            }
            (ChargeStatus::Approved | ChargeStatus::Refunded, None) => {
                let what = "an approval without transaction_id";
                return Err(GatewayError::Unreadable(what.to_owned()));
            }
            (ChargeStatus::Declined, _) => Self::Declined {
                reason: charge
                    .decline_reason
                    .unwrap_or_else(|| "the bank declined the payment".to_owned()),
            },
            (ChargeStatus::Voided, _) => Self::Voided,
        }))
    }
}

/// A payment gateway; cheap to clone.
#[derive(Clone)]
pub enum Gateway {
    /// Ours, for development and tests.
    Sandbox(SandboxGateway),
    /// One at the other end of HTTP.
    Http(HttpGateway),
}

impl Gateway {
    /// The gateway that the settings name.
    #[must_use]
    pub fn new(config: &PaymentConfig, database: Database) -> Self {
        match &config.provider {
            PaymentProvider::Sandbox { failure_rate } => {
                Self::Sandbox(SandboxGateway::new(database, *failure_rate))
            }
            PaymentProvider::Http { url, api_key } => {
                Self::Http(HttpGateway::new(url, api_key.clone()))
            }
        }
    }

    /// How the breaker before a gateway does that is somebody else's.
    #[must_use]
    pub fn breaker(&self) -> Option<BreakerStatus> {
        match self {
            Self::Sandbox(_) => None,
            Self::Http(gateway) => Some(gateway.breaker()),
        }
    }

    /// Takes `amount` unless `key` was settled before; what became of it then or now, `None` when the gateway has
    /// accepted it and decides later.
    pub(crate) async fn charge(
        &self,
        key: &str,
        amount: Money,
        token: Option<&str>,
    ) -> Result<Option<Outcome>, GatewayError> {
        Outcome::of(match self {
            Self::Sandbox(sandbox) => timed(sandbox.charge(key, amount, token)).await?,
            Self::Http(gateway) => gateway.charge(key, amount, token).await?,
        })
    }

    /// Makes sure that `key` is never charged from now on; what became of it if it was settled before.
    pub(crate) async fn void(&self, key: &str, amount: Money) -> Result<Outcome, GatewayError> {
        let charge = match self {
            Self::Sandbox(sandbox) => timed(sandbox.void(key, amount)).await?,
            Self::Http(gateway) => gateway.void(key, amount).await?,
        };
        Outcome::of(charge)?.ok_or(GatewayError::Undecided)
    }

    /// Gives the money of a charge back, once however often it is asked.
    pub(crate) async fn refund(&self, key: &str, amount: Money) -> Result<(), GatewayError> {
        let charge = match self {
            Self::Sandbox(sandbox) => timed(sandbox.refund(key)).await?,
            Self::Http(gateway) => gateway.refund(key, amount).await?,
        };
        match charge.status {
            // A voided charge was never taken: the shop was paid by other means.
            ChargeStatus::Refunded | ChargeStatus::Voided => Ok(()),
            ChargeStatus::Approved | ChargeStatus::Pending => Err(GatewayError::Undecided),
            ChargeStatus::Declined => Err(GatewayError::NothingTaken),
        }
    }

    /// Why `token` cannot be used; `None` when it can.
    pub(crate) fn refuses_token(&self, token: &str) -> Option<&'static str> {
        let refused = sandbox::refuses_token(token);
        match self {
            Self::Sandbox(_) => refused,
            Self::Http(_) => {
                refused.map(|_| "looks like a card number; send what the gateway knows the card by")
            }
        }
    }
}

/// Measures one call.
async fn timed<T>(call: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let result = call.await;
    histogram!(EXTERNAL_CALL_LATENCY_MS, "dependency" => dependency::PAYMENT_GATEWAY)
        .record(start.elapsed().as_secs_f64() * 1000.0);
    result
}
