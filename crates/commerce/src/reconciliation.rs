//! Does what jobs have left undone.
//!
//! A job can be lost with its Redis, or run out of attempts while the database or the gateway is
//! away. What it was for is still written in the database, so it is found there and done. Everything
//! done here does nothing a second time, so any number of processes may do it, beside the jobs.

use std::time::Duration;

use bharatmart_database::{
    self as database,
    mail_deliveries::{self, OverdueMail},
    orders, payments,
};
use bharatmart_telemetry::metrics::{RETRY_ATTEMPTS_TOTAL, dependency};
use chrono::{DateTime, Utc};
use metrics::counter;

use crate::{
    mails::compose,
    orders::{expire_order, process_order},
    payments::{SettleError, charge_payment, refund_payment},
    shop::{Consequences, Shop},
};

/// How long a job is trusted to be on its way.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long a mail's own job is trusted to be known to its queue, whatever became of it.
const VERY_LATE: Duration = Duration::from_mins(10);
/// The most of each kind in one go.
const BATCH: i64 = 100;

/// Confirms orders that were placed long ago and cancels those that were not paid in time; how many
/// it tried.
pub async fn reconcile_orders(shop: &Shop) -> Result<usize, database::Error> {
    let now = shop.clock.now();
    let mut connection = shop.database.write().await?;
    let unprocessed = orders::unprocessed(&mut connection, now - PATIENCE, BATCH).await?;
    let deadline = now - shop.order_payment_timeout - PATIENCE;
    let unpaid = orders::unpaid(&mut connection, deadline, BATCH).await?;
    drop(connection);
    for &id in &unprocessed {
        tracing::warn!(order.id = %id, "the job that confirms this order did not; confirming it now");
        report(process_order(shop, id).await.map_err(SettleError::from));
    }
    for &id in &unpaid {
        tracing::warn!(order.id = %id, "the job of this order's deadline did nothing; doing it now");
        report(expire_order(shop, id).await);
    }
    Ok(unprocessed.len() + unpaid.len())
}

/// Settles payments that were started long ago and gives back money that is owed; how many it tried.
pub async fn reconcile_payments(shop: &Shop) -> Result<usize, database::Error> {
    let before: DateTime<Utc> = shop.clock.now() - PATIENCE;
    let mut connection = shop.database.write().await?;
    let owed = payments::owed_refunds(&mut connection, before, BATCH).await?;
    let unsettled = payments::unsettled(&mut connection, before, BATCH).await?;
    drop(connection);
    for &id in &owed {
        tracing::warn!(payment.id = %id, "this payment's refund is owed; asking the gateway again");
        counter!(RETRY_ATTEMPTS_TOTAL, "dependency" => dependency::PAYMENT_GATEWAY).increment(1);
        report(refund_payment(shop, id).await);
    }
    for &id in &unsettled {
        tracing::warn!(payment.id = %id, "this payment's outcome is not known; asking the gateway again");
        counter!(RETRY_ATTEMPTS_TOTAL, "dependency" => dependency::PAYMENT_GATEWAY).increment(1);
        report(charge_payment(shop, id).await);
    }
    Ok(unsettled.len() + owed.len())
}

/// Has mails sent again whose jobs were lost, or have failed without saying so; how many.
///
/// First their jobs are added again under their own ids, which changes nothing where one only waits, or is kept with
/// those that have failed. Mails that are very late get a job of another id, one an hour.
pub async fn reconcile_mails(shop: &Shop) -> Result<usize, database::Error> {
    let before = shop.clock.now() - PATIENCE;
    let mut connection = shop.database.write().await?;
    let overdue = mail_deliveries::take_overdue(&mut connection, before, BATCH).await?;
    drop(connection);
    for mail in &overdue {
        tracing::warn!(
            order.id = %mail.order_id,
            mail.kind = %mail.kind,
            "this mail is overdue; its job is added once more"
        );
        report(mail_again(shop, mail).await.map_err(SettleError::from));
    }
    Ok(overdue.len())
}

async fn mail_again(shop: &Shop, mail: &OverdueMail) -> Result<(), database::Error> {
    let mut transaction = shop.database.begin().await?;
    let Some(order) = orders::lock(&mut transaction, mail.order_id).await? else {
        return Ok(());
    };
    let job = compose(mail.kind, &order);
    let mut consequences = Consequences::default();
    let late = shop.clock.now() - mail.created_at;
    if late.to_std().is_ok_and(|late| late > VERY_LATE) {
        consequences.mail_again(&job, &format!("late-{}", late.num_hours()));
    } else {
        consequences.mail(&job);
    }
    shop.commit(transaction, consequences).await
}

/// What fails now is found again the next time, so it must not keep the rest from being done.
fn report(result: Result<(), SettleError>) {
    if let Err(error) = result {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "left for the next time"
        );
    }
}
