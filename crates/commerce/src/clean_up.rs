//! Deletes what nobody will ask for any more.

use bharatmart_database::{
    self as database, Connection, account_mails, accounts, audit_log, idempotency_keys, outbox,
    payment_events, reports, sign_in_attempts,
};
use chrono::{DateTime, TimeDelta, Utc};

use crate::{idempotency::KEPT_FOR, shop::Shop, webhooks};

/// Rows that one statement deletes at most, so that none holds its locks for long.
const BATCH: i64 = 1000;
/// How long jobs that were given up are kept for somebody to look at.
const REFUSED_FOR: TimeDelta = TimeDelta::days(30);
/// How long is known which reports were sent.
const REPORTS_FOR: TimeDelta = TimeDelta::days(30);

/// How many rows are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleaned {
    /// Of sign-ins that are over.
    pub sign_ins: u64,
    /// Of jobs that were given up long ago.
    pub refused_jobs: u64,
    /// Of reports that were sent long ago.
    pub reports: u64,
    /// Of answers that are not given again any more.
    pub idempotency_keys: u64,
    /// Of webhooks that came long ago.
    pub payment_events: u64,
    /// Of sign-ins that did not succeed.
    pub sign_in_attempts: u64,
    /// Of the audit log.
    pub audit_log: u64,
    /// Of mails about accounts.
    pub account_mails: u64,
}

/// How long mails about accounts are kept, far longer than their links are good.
const ACCOUNT_MAILS_FOR: TimeDelta = TimeDelta::days(7);

/// How long the audit log remembers: a day more than its table demands, whatever the clocks say.
const AUDITED_FOR: TimeDelta = TimeDelta::days(366);

/// Deletes the records of sign-ins that are over, and jobs, reports, answers and webhooks of long ago, a batch at a time.
pub async fn clean_up(shop: &Shop) -> Result<Cleaned, database::Error> {
    let now = shop.clock.now();
    let mut connection = shop.database.write().await?;
    let connection = &mut connection;
    let (refused, answered) = (now - REFUSED_FOR, now - KEPT_FOR);
    let (received, audited) = (now - webhooks::KEPT_FOR, now - AUDITED_FOR);
    let mailed = now - ACCOUNT_MAILS_FOR;
    let sign_ins = in_batches(connection, now, accounts::delete_expired).await?;
    let refused_jobs = in_batches(connection, refused, outbox::delete_refused_before).await?;
    let idempotency_keys =
        in_batches(connection, answered, idempotency_keys::delete_before).await?;
    let payment_events = in_batches(connection, received, payment_events::delete_before).await?;
    let sign_in_attempts = in_batches(connection, now, sign_in_attempts::delete_forgotten).await?;
    let audit_log = in_batches(connection, audited, audit_log::delete_before).await?;
    let account_mails = in_batches(connection, mailed, account_mails::delete_before).await?;
    let reports = reports::delete_before(connection, now - REPORTS_FOR).await?;
    Ok(Cleaned {
        sign_ins,
        refused_jobs,
        reports,
        idempotency_keys,
        payment_events,
        sign_in_attempts,
        audit_log,
        account_mails,
    })
}

/// Deletes what is from before this time; how much it was.
async fn in_batches(
    connection: &mut Connection,
    before: DateTime<Utc>,
    delete: impl AsyncFn(&mut Connection, DateTime<Utc>, i64) -> database::Result<u64>,
) -> database::Result<u64> {
    let mut deleted = 0;
    loop {
        match delete(connection, before, BATCH).await? {
            0 => return Ok(deleted),
            batch => deleted += batch,
        }
    }
}
