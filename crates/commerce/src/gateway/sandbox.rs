//! A gateway that moves no money.

use std::{sync::Arc, time::Duration};

use bharatmart_database::{
    self as database, Connection, Database,
    sandbox_gateway::{self as books, Charge, ChargeStatus},
};
use bharatmart_domain::{Clock, Money};
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::GatewayError;
use crate::webhooks::Event;

/// How long it takes to decide what it decides later.
const DECIDES_IN: Duration = Duration::from_secs(1);

/// How the sandbox treats a card or handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    Approves,
    /// Accepts at once and approves a moment later.
    ApprovesLater,
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
            "4000000000000341" | "later@upi" => Self::ApprovesLater,
            "4111111111111111" => Self::Approves,
            _ if is_card_number => {
                return Err("is not a test card number of the sandbox; never send a real one");
            }
            _ => Self::Approves,
        })
    }
}

/// Why `token` may not be sent; `None` when it may.
pub(super) fn refuses_token(token: &str) -> Option<&'static str> {
    Behaviour::of(token).err()
}

/// A gateway that behaves like a real one and takes no money: idempotent by key, with books of its
/// own in PostgreSQL, so that whoever asks again finds what became of a charge.
#[derive(Clone)]
pub struct SandboxGateway {
    database: Database,
    /// The share of charges that are declined although their token would be approved, 0 to 1.
    failure_rate: f64,
    /// Dates the reports of outcomes; `None` when nobody wants any.
    reports: Option<Arc<dyn Clock>>,
}

impl SandboxGateway {
    /// A gateway with its books in `database`, which declines the share `failure_rate` (0 to 1) of what it would
    /// approve.
    #[must_use]
    pub fn new(database: Database, failure_rate: f64) -> Self {
        Self {
            database,
            failure_rate,
            reports: None,
        }
    }

    /// Writes a report of each outcome, in the transaction of the outcome.
    #[must_use]
    pub fn with_reports(mut self, clock: Arc<dyn Clock>) -> Self {
        self.reports = Some(clock);
        self
    }

    /// Takes `amount` unless `key` was settled before; what became of it then or now.
    ///
    /// # Errors
    /// [`GatewayError::Outage`] as `token` wants it, whether the money was taken or not.
    pub async fn charge(
        &self,
        key: &str,
        amount: Money,
        token: Option<&str>,
    ) -> Result<Charge, GatewayError> {
        let behaviour = token.map_or(Ok(Behaviour::Approves), Behaviour::of);
        let calls = self.record_request(key, "charge").await?;
        let mut wanted = Charge {
            key: key.to_owned(),
            amount,
            status: ChargeStatus::Approved,
            transaction_id: Some(format!("sandbox-{key}")),
            decline_reason: None,
        };
        match behaviour {
            Ok(Behaviour::IsDown) => return Err(GatewayError::Outage),
            Ok(Behaviour::IsDownOnce) if calls == 1 => return Err(GatewayError::Outage),
            Err(reason) | Ok(Behaviour::Declines(reason)) => decline(&mut wanted, reason),
            Ok(_) if self.fails_by_rate(key) => {
                decline(&mut wanted, "the bank declined the payment");
            }
            Ok(Behaviour::ApprovesLater) => {
                wanted.status = ChargeStatus::Pending;
                wanted.transaction_id = None;
            }
            Ok(_) => {}
        }
        let charge = self
            .change(async |connection| {
                let charge = books::settle(connection, &wanted, Some(DECIDES_IN)).await?;
                if charge.status != ChargeStatus::Pending {
                    return Ok(charge);
                }
                let decided = books::approve_due(connection, Some(key)).await?.pop();
                Ok(decided.unwrap_or(charge))
            })
            .await?;
        if behaviour == Ok(Behaviour::LosesFirstAnswer) && calls == 1 {
            return Err(GatewayError::Outage);
        }
        Ok(charge)
    }

    /// Makes sure that `key` is never charged from now on; what became of it if it was settled before.
    pub async fn void(&self, key: &str, amount: Money) -> Result<Charge, GatewayError> {
        self.record_request(key, "void").await?;
        let wanted = Charge {
            key: key.to_owned(),
            amount,
            status: ChargeStatus::Voided,
            transaction_id: None,
            decline_reason: None,
        };
        let charge = self
            .change(async |connection| {
                let charge = books::settle(connection, &wanted, None).await?;
                if charge.status != ChargeStatus::Pending {
                    return Ok(charge);
                }
                match books::void_pending(connection, key).await? {
                    Some(voided) => Ok(voided),
                    // It was decided in this very moment.
                    None => Ok(books::find(connection, key).await?.unwrap_or(charge)),
                }
            })
            .await?;
        Ok(charge)
    }

    /// Gives the money of a charge back, once however often it is asked.
    ///
    /// # Errors
    /// [`GatewayError::NothingTaken`] when it has none.
    pub async fn refund(&self, key: &str) -> Result<Charge, GatewayError> {
        self.record_request(key, "refund").await?;
        let known = self.find(key).await?.ok_or(GatewayError::NothingTaken)?;
        match known.status {
            ChargeStatus::Pending | ChargeStatus::Declined => Err(GatewayError::NothingTaken),
            ChargeStatus::Approved | ChargeStatus::Voided | ChargeStatus::Refunded => Ok(self
                .change(async |connection| {
                    Ok(books::refund(connection, key).await?.unwrap_or(known))
                })
                .await?),
        }
    }

    /// The charge under `key`.
    pub async fn find(&self, key: &str) -> Result<Option<Charge>, GatewayError> {
        let mut connection = self.database.write().await?;
        Ok(books::find(&mut connection, key).await?)
    }

    /// Decides what was accepted and is due; how many.
    pub async fn decide_due(&self) -> Result<usize, database::Error> {
        let mut transaction = self.database.begin().await?;
        let decided = books::approve_due(&mut transaction, None).await?;
        if let Some(clock) = &self.reports {
            for charge in &decided {
                report(&mut transaction, charge, clock.now()).await?;
            }
        }
        transaction.commit().await?;
        Ok(decided.len())
    }

    async fn record_request(&self, key: &str, operation: &str) -> Result<i64, database::Error> {
        // Each call commits by itself: the gateway's books know nothing of the shop's transactions.
        let mut connection = self.database.write().await?;
        books::record_request(&mut connection, key, operation).await
    }

    /// Changes the books, together with the report if one is wanted.
    async fn change(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<Charge, database::Error>,
    ) -> Result<Charge, database::Error> {
        let Some(clock) = &self.reports else {
            let mut connection = self.database.write().await?;
            return work(&mut connection).await;
        };
        let mut transaction = self.database.begin().await?;
        let charge = work(&mut transaction).await?;
        report(&mut transaction, &charge, clock.now()).await?;
        transaction.commit().await?;
        Ok(charge)
    }

    /// Decided by the key alone, so that a charge that is asked for twice is decided once.
    fn fails_by_rate(&self, key: &str) -> bool {
        let first = Sha256::digest(key.as_bytes())[0];
        f64::from(first) < self.failure_rate * 256.0
    }
}

/// Writes the report of an outcome.
async fn report(
    connection: &mut Connection,
    charge: &Charge,
    now: DateTime<Utc>,
) -> Result<(), database::Error> {
    if charge.status == ChargeStatus::Pending {
        return Ok(());
    }
    let event = Event::about(charge.clone(), now);
    books::report(connection, charge, &event.id(), &event.to_json()).await
}

fn decline(charge: &mut Charge, reason: &str) {
    charge.status = ChargeStatus::Declined;
    charge.transaction_id = None;
    charge.decline_reason = Some(reason.to_owned());
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
