//! Deletes what nobody will ask for any more.

use bharatmart_database::{
    self as database, account_mails, accounts, audit_log, idempotency_keys, outbox, payment_events,
    reports, sign_in_attempts,
};
use chrono::TimeDelta;

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
    let mut sign_ins = 0;
    loop {
        let batch = accounts::delete_expired(&mut connection, now, BATCH).await?;
        sign_ins += batch;
        if batch == 0 {
            break;
        }
    }
    let mut refused_jobs = 0;
    loop {
        let before = now - REFUSED_FOR;
        let batch = outbox::delete_refused_before(&mut connection, before, BATCH).await?;
        refused_jobs += batch;
        if batch == 0 {
            break;
        }
    }
    let mut idempotency_keys = 0;
    loop {
        let before = now - KEPT_FOR;
        let batch = idempotency_keys::delete_before(&mut connection, before, BATCH).await?;
        idempotency_keys += batch;
        if batch == 0 {
            break;
        }
    }
    let mut payment_events = 0;
    loop {
        let before = now - webhooks::KEPT_FOR;
        let batch = payment_events::delete_before(&mut connection, before, BATCH).await?;
        payment_events += batch;
        if batch == 0 {
            break;
        }
    }
    let mut sign_in_attempts = 0;
    loop {
        let batch = sign_in_attempts::delete_forgotten(&mut connection, now, BATCH).await?;
        sign_in_attempts += batch;
        if batch == 0 {
            break;
        }
    }
    let mut audit_log = 0;
    loop {
        let before = now - AUDITED_FOR;
        let batch = audit_log::delete_before(&mut connection, before, BATCH).await?;
        audit_log += batch;
        if batch == 0 {
            break;
        }
    }
    let mut account_mails = 0;
    loop {
        let before = now - ACCOUNT_MAILS_FOR;
        let batch = account_mails::delete_before(&mut connection, before, BATCH).await?;
        account_mails += batch;
        if batch == 0 {
            break;
        }
    }
    let reports = reports::delete_before(&mut connection, now - REPORTS_FOR).await?;
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
