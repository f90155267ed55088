//! Requests that may be sent again (IETF draft-ietf-httpapi-idempotency-key-header).
//!
//! The answer to a request with a key is kept in the transaction of its effect. The same request under the same key
//! gets that answer and changes nothing; while the first is being done, the others wait for it, but not for long. A
//! refused request has no effect and leaves nothing, so it may be tried again under its key.

use std::time::Duration;

use bharatmart_database::{self as database, Transaction, idempotency_keys as keys};
use bharatmart_domain::UserId;
use chrono::TimeDelta;
use serde::Serialize;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::shop::Shop;

/// How long an answer is kept.
pub(crate) const KEPT_FOR: TimeDelta = TimeDelta::hours(24);
/// How long a request waits for another one under its key, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(5);
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// The key of a request, and what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Who asks; each has keys of their own.
    pub user_id: UserId,
    /// The key, from 1 to 255 bytes.
    pub key: String,
    /// SHA-256 of method, path and body: another request must not use the key.
    pub fingerprint: [u8; 32],
}

/// Why a request under a key was not carried out. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key belongs to another request.
    #[error("the key was used for another request")]
    Mismatch,
    /// The first request under this key is still being done.
    #[error("a request with this key is being processed")]
    InFlight,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] database::Error),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// It was done just now.
    Fresh(T),
    /// It was done before; this was answered then.
    Replayed {
        /// What was made.
        resource_id: Uuid,
        /// The body, to the letter.
        body: String,
    },
}

/// A transaction in which a request is carried out for the first time under its key, or the answer that it got before.
pub(crate) enum Claim {
    Open(Box<Transaction>),
    Kept(keys::Kept),
}

impl IdempotencyKey {
    /// Waits until no other request uses the key.
    pub(crate) async fn claim(&self, shop: &Shop) -> Result<Claim, KeyError> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = FIRST_LOOK;
        loop {
            let mut transaction = shop.database.begin().await?;
            if keys::lock(&mut transaction, self.user_id, &self.key).await? {
                let since = shop.clock.now() - KEPT_FOR;
                return match keys::find(&mut transaction, self.user_id, &self.key, since).await? {
                    None => Ok(Claim::Open(Box::new(transaction))),
                    Some(kept) if kept.fingerprint == self.fingerprint => {
                        transaction.rollback().await?;
                        Ok(Claim::Kept(kept))
                    }
                    Some(_) => Err(KeyError::Mismatch),
                };
            }
            // Whoever waits must not keep a connection from the one who works.
            transaction.rollback().await?;
            if Instant::now() >= deadline {
                return Err(KeyError::InFlight);
            }
            sleep(pause.mul_f64(rand::random_range(0.5..=1.0))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Keeps what became of what was made, so that nobody who asks again is told less than was told before.
    pub async fn keep_outcome<T: Serialize>(
        &self,
        shop: &Shop,
        resource_id: Uuid,
        outcome: &T,
    ) -> Result<(), database::Error> {
        let kept = self.kept(resource_id, outcome);
        let mut connection = shop.database.write().await?;
        keys::replace(&mut connection, self.user_id, &self.key, &kept).await
    }

    /// Keeps what is answered, in the transaction of the effect.
    pub(crate) async fn keep<T: Serialize>(
        &self,
        transaction: &mut Transaction,
        resource_id: Uuid,
        answer: &T,
    ) -> Result<(), database::Error> {
        let kept = self.kept(resource_id, answer);
        keys::keep(transaction, self.user_id, &self.key, &kept).await
    }

    fn kept<T: Serialize>(&self, resource_id: Uuid, answer: &T) -> keys::Kept {
        keys::Kept {
            fingerprint: self.fingerprint.to_vec(),
            resource_id,
            answer: as_json(answer),
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "orders and payments always have a JSON form"
)]
fn as_json<T: Serialize>(answer: &T) -> String {
    serde_json::to_string(answer).expect("an answer is JSON")
}

impl<T> From<keys::Kept> for Answer<T> {
    fn from(kept: keys::Kept) -> Self {
        Self::Replayed {
            resource_id: kept.resource_id,
            body: kept.answer,
        }
    }
}

impl<T: Serialize> Answer<T> {
    /// Answers with what has become of it meanwhile.
    pub fn settle(&mut self, settled: T) {
        match self {
            Self::Fresh(made) => *made = settled,
            Self::Replayed { body, .. } => *body = as_json(&settled),
        }
    }
}
