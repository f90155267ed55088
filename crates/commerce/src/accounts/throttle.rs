//! Slows down guessing at the password of one address, over all instances.
//!
//! An attempt is counted before the password is looked at and taken back when it was right, so that attempts at the
//! same time are bounded as well. Addresses that nobody has are counted like any other. While an address is blocked
//! nobody gets in with a password, right or wrong: that is as short as it can be while guessing stays hopeless (some
//! hundred attempts a day), does not end sessions that are there, and ends when the owner resets the password by mail.

use std::time::Duration;

use bharatmart_database::{self as database, Database, sign_in_attempts as attempts};
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};

use super::AccountError;

/// Failures that lead to no block yet if they come within [`WINDOW`].
const FREE_FAILURES: i32 = 10;
/// How long failures are added up, and how long a block is remembered after its end.
const WINDOW: TimeDelta = TimeDelta::minutes(15);
/// The first block; each further failure doubles it.
const FIRST_BLOCK: TimeDelta = TimeDelta::minutes(1);
const LONGEST_BLOCK: TimeDelta = TimeDelta::minutes(15);

/// What is kept of an address that somebody tries, in its [`canonical`](super::canonical) form.
pub(super) fn address_hash(email: &str) -> Vec<u8> {
    Sha256::digest(email.as_bytes()).to_vec()
}

/// Counts an attempt as failed until [`attempts::forget`] takes that back; refuses it while the address is blocked.
pub(super) async fn admit(
    database: &Database,
    address: &[u8],
    now: DateTime<Utc>,
) -> Result<(), AccountError> {
    let mut transaction = database.begin().await?;
    let Some(failures) = attempts::count(&mut transaction, address, now, now + WINDOW).await?
    else {
        let until = attempts::blocked_until(&mut transaction, address).await?;
        return Err(refusal(until, now));
    };
    if failures >= FREE_FAILURES {
        let until = now + block_after(failures);
        attempts::block(&mut transaction, address, until, until + WINDOW).await?;
    }
    transaction.commit().await.map_err(database::Error::into)
}

fn refusal(until: Option<DateTime<Utc>>, now: DateTime<Utc>) -> AccountError {
    // Whoever has just signed in may have lifted it.
    let left = until.map_or(TimeDelta::zero(), |until| until - now);
    AccountError::TooManyAttempts {
        retry_after: left.to_std().unwrap_or(Duration::ZERO),
    }
}

/// How long the address is blocked after failure number `failures`, from [`FREE_FAILURES`].
fn block_after(failures: i32) -> TimeDelta {
    let doublings = u32::try_from(failures - FREE_FAILURES).unwrap_or(0).min(10);
    (FIRST_BLOCK * 2_i32.pow(doublings)).min(LONGEST_BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_double_from_a_minute_to_a_quarter_of_an_hour() {
        let minutes: Vec<_> = (10..17)
            .chain([i32::MAX])
            .map(|failures| block_after(failures).num_minutes())
            .collect();
        assert_eq!(minutes, [1, 2, 4, 8, 15, 15, 15, 15]);
    }
}
