//! The payment gateway: whoever takes the money.

use std::time::Instant;

use bharatmart_config::{PaymentConfig, PaymentProvider};
use bharatmart_database::{
    self as database, Database,
    sandbox_gateway::{self as books, Charge, ChargeStatus},
};
use bharatmart_domain::Money;
use bharatmart_telemetry::metrics::{EXTERNAL_CALL_LATENCY_MS, dependency};
use metrics::histogram;
use sha2::{Digest, Sha256};

/// Why the gateway has not done what it was asked. The outcome is not known: ask again with the same
/// key.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// It said so, or its answer was lost.
    #[error("the payment gateway is not available")]
    Outage,
    /// It was asked to give back what it has not taken.
    #[error("the payment gateway has not taken this money")]
    NothingTaken,
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

/// A payment gateway; cheap to clone.
#[derive(Clone)]
pub enum Gateway {
    /// Ours, for development and tests.
    Sandbox(SandboxGateway),
}

impl Gateway {
    /// The gateway that the settings name.
    #[must_use]
    pub fn new(config: &PaymentConfig, database: Database) -> Self {
        match config.provider {
            PaymentProvider::Sandbox { failure_rate } => Self::Sandbox(SandboxGateway {
                database,
                failure_rate,
            }),
        }
    }

    /// Takes `amount` unless `key` was settled before; what became of it then or now.
    pub(crate) async fn charge(
        &self,
        key: &str,
        amount: Money,
        token: Option<&str>,
    ) -> Result<Outcome, GatewayError> {
        let Self::Sandbox(sandbox) = self;
        timed(sandbox.charge(key, amount, token)).await
    }

    /// Makes sure that `key` is never charged from now on; what became of it if it was settled before.
    pub(crate) async fn void(&self, key: &str, amount: Money) -> Result<Outcome, GatewayError> {
        let Self::Sandbox(sandbox) = self;
        timed(sandbox.void(key, amount)).await
    }

    /// Gives the money of a charge back, once however often it is asked.
    pub(crate) async fn refund(&self, key: &str) -> Result<(), GatewayError> {
        let Self::Sandbox(sandbox) = self;
        timed(sandbox.refund(key)).await
    }

    /// Why `token` cannot be used; `None` when it can.
    pub(crate) fn refuses_token(&self, token: &str) -> Option<&'static str> {
        let Self::Sandbox(_) = self;
        Behaviour::of(token).err()
    }
}

async fn timed<T>(call: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let result = call.await;
    histogram!(EXTERNAL_CALL_LATENCY_MS, "dependency" => dependency::PAYMENT_GATEWAY)
        .record(start.elapsed().as_secs_f64() * 1000.0);
    result
}

/// How the sandbox treats a card or handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    Approves,
    Declines(&'static str),
    /// Never answers.
    IsDown,
    /// Is down for the first call of each charge.
    IsDownOnce,
    /// Takes the money at the first call of each charge, but the answer is lost.
    LosesFirstAnswer,
}

impl Behaviour {
    /// Reads a token: a test card number, a test UPI handle, or any other text that is not a card
    /// number, however people write one.
    fn of(token: &str) -> Result<Self, &'static str> {
        let digits: String = token.chars().filter(|c| c.is_alphanumeric()).collect();
        let is_card_number = digits.chars().count() >= 12 && digits.chars().all(char::is_numeric);
        let known = if is_card_number { &digits } else { token };
        Ok(match known {
            "4000000000000002" | "decline@upi" => Self::Declines("the bank declined the payment"),
            "4000000000009995" | "insufficient@upi" => Self::Declines("insufficient funds"),
            "4000000000000119" | "outage@upi" => Self::IsDown,
            "4000000000000127" | "flaky@upi" => Self::IsDownOnce,
            "4000000000000259" | "lost@upi" => Self::LosesFirstAnswer,
            "4111111111111111" => Self::Approves,
            _ if is_card_number => {
                return Err("is not a test card number of the sandbox; never send a real one");
            }
            _ => Self::Approves,
        })
    }
}

/// A gateway that behaves like a real one and takes no money: idempotent by key, with books of its
/// own in PostgreSQL, so that whoever asks again finds what became of a charge.
#[derive(Clone)]
pub struct SandboxGateway {
    database: Database,
    /// The share of charges that are declined although their token would be approved, 0 to 1.
    failure_rate: f64,
}

impl SandboxGateway {
    async fn charge(
        &self,
        key: &str,
        amount: Money,
        token: Option<&str>,
    ) -> Result<Outcome, GatewayError> {
        let behaviour = token.map_or(Ok(Behaviour::Approves), Behaviour::of);
        // Each call commits by itself: the gateway's books know nothing of the shop's transactions.
        let mut connection = self.database.write().await?;
        let calls = books::record_request(&mut connection, key, "charge").await?;
        let wanted = match behaviour {
            Err(reason) | Ok(Behaviour::Declines(reason)) => declined(reason),
            Ok(Behaviour::IsDown) => return Err(GatewayError::Outage),
            Ok(Behaviour::IsDownOnce) if calls == 1 => return Err(GatewayError::Outage),
            Ok(_) if self.fails_by_rate(key) => declined("the bank declined the payment"),
            Ok(_) => Charge {
                status: ChargeStatus::Approved,
                transaction_id: Some(format!("sandbox-{key}")),
                decline_reason: None,
            },
        };
        let charge = books::settle(&mut connection, key, amount, &wanted).await?;
        if behaviour == Ok(Behaviour::LosesFirstAnswer) && calls == 1 {
            return Err(GatewayError::Outage);
        }
        Ok(outcome(charge))
    }

    async fn void(&self, key: &str, amount: Money) -> Result<Outcome, GatewayError> {
        let mut connection = self.database.write().await?;
        books::record_request(&mut connection, key, "void").await?;
        let wanted = Charge {
            status: ChargeStatus::Voided,
            transaction_id: None,
            decline_reason: None,
        };
        Ok(outcome(
            books::settle(&mut connection, key, amount, &wanted).await?,
        ))
    }

    async fn refund(&self, key: &str) -> Result<(), GatewayError> {
        let mut connection = self.database.write().await?;
        books::record_request(&mut connection, key, "refund").await?;
        match books::refund(&mut connection, key)
            .await?
            .map(|charge| charge.status)
        {
            // A voided charge was never taken: the shop was paid by other means.
            Some(ChargeStatus::Refunded | ChargeStatus::Voided) => Ok(()),
            Some(ChargeStatus::Approved | ChargeStatus::Declined) | None => {
                Err(GatewayError::NothingTaken)
            }
        }
    }

    /// Decided by the key alone, so that a charge that is asked for twice is decided once.
    fn fails_by_rate(&self, key: &str) -> bool {
        let first = Sha256::digest(key.as_bytes())[0];
        f64::from(first) < self.failure_rate * 256.0
    }
}

fn declined(reason: &str) -> Charge {
    Charge {
        status: ChargeStatus::Declined,
        transaction_id: None,
        decline_reason: Some(reason.to_owned()),
    }
}

fn outcome(charge: Charge) -> Outcome {
    match (charge.status, charge.transaction_id) {
        (ChargeStatus::Approved | ChargeStatus::Refunded, Some(transaction_id)) => {
            Outcome::Approved { transaction_id }
        }
        (ChargeStatus::Voided, _) => Outcome::Voided,
        _ => Outcome::Declined {
            reason: charge.decline_reason.unwrap_or_default(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_may_be_a_real_card_is_refused() {
        for number in [
            "5555555555554444",
            "5555-5555-5555-4444",
            "5555 5555 5555 4444",
            "५५५५५५५५५५५५४४४४",
        ] {
            assert!(Behaviour::of(number).is_err(), "{number}");
        }
        assert_eq!(Behaviour::of("4111111111111111"), Ok(Behaviour::Approves));
        assert_eq!(
            Behaviour::of("4111 1111 1111 1111"),
            Ok(Behaviour::Approves)
        );
        let declined = Ok(Behaviour::Declines("the bank declined the payment"));
        assert_eq!(Behaviour::of("4000 0000 0000 0002"), declined);
        assert_eq!(Behaviour::of("success@upi"), Ok(Behaviour::Approves));
    }
}
