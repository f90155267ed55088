//! Sends a mail at most once, as far as SMTP allows.
//!
//! When the server waits for the content, the delivery is recorded as `sending`, and the content, one
//! write, follows on the heels of that COMMIT, before its answer. So a worker that dies before that
//! moment has sent nothing and recorded nothing, and the next one sends; a worker that dies after it
//! has, as good as certainly, done both, and the next one records `unconfirmed` and sends nothing. The
//! same goes for a server that does not answer to the content: only its reply that it does not want
//! the mail makes it be sent again. What is repeated all the same carries the same `Message-ID`.
//!
//! The mails of one order go out in the order in which they became necessary: one waits while an earlier
//! one is still to be sent, but not for ever.

use std::time::Duration;

use bharatmart_database::{
    self as database, Database,
    mail_deliveries::{self as deliveries, DeliveryStatus},
};
use bharatmart_queue::{JobContext, JobError, JobResult, SendEmail};
use bharatmart_telemetry::metrics::MAILS_TOTAL;
use metrics::counter;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use crate::mailer::{Mailer, MailerError};

#[cfg(test)]
mod tests;

/// How long a mail waits at a time while an earlier one of its order is still to be sent.
const TURN: Duration = Duration::from_secs(1);
/// How long a mail waits at a time while the database is away.
const DATABASE_WAIT: Duration = Duration::from_secs(5);
/// No mail waits longer for an earlier one: late news is better than none.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// Somebody else is sending this mail at this moment.
#[derive(Debug, thiserror::Error)]
#[error("another worker is sending this mail")]
struct TakenMeanwhile;

/// The last attempt has taken as long as it may.
#[derive(Debug, thiserror::Error)]
#[error("the mail could not be sent in the time that its job has")]
struct OutOfTime;

/// What a run of the job did to the mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The mail server, or the folder, has it.
    Sent,
    /// Whether anybody has it is not known, and will not be.
    Unconfirmed,
    /// Nothing: an earlier run had settled it.
    SettledBefore,
}

pub(crate) async fn deliver(
    database: &Database,
    mailer: &Mailer,
    job: SendEmail,
    context: &JobContext,
) -> JobResult {
    let is_last = context.attempt >= context.attempts;
    let outcome = if is_last {
        // Nobody comes after this attempt, so it must be over while there is time to say how it ended.
        let now = Instant::now();
        let end = now + context.deadline.saturating_duration_since(now).mul_f64(0.9);
        let sent = timeout_at(end, send(database, mailer, &job)).await;
        sent.unwrap_or_else(|_| Err(JobError::retry(OutOfTime)))
    } else {
        send(database, mailer, &job).await
    };
    let is_given_up = match &outcome {
        Err(JobError::Fail(_)) => true,
        Err(JobError::Retry(_)) => is_last,
        Err(JobError::Postpone(_)) | Ok(_) => false,
    };
    // An end that cannot be written is none: the attempt comes again.
    let outcome = match is_given_up.then(|| give_up(database, &job)) {
        Some(giving_up) => giving_up.await.and(outcome),
        None => outcome,
    };
    let counted = match &outcome {
        Ok(Outcome::Sent) => Some("sent"),
        Ok(Outcome::Unconfirmed) => Some("unconfirmed"),
        Ok(Outcome::SettledBefore) | Err(JobError::Postpone(_)) => None,
        Err(JobError::Retry(_)) => Some("retried"),
        Err(JobError::Fail(_)) => Some("failed"),
    };
    if let Some(name) = counted {
        counter!(MAILS_TOTAL, "kind" => job.kind.as_str(), "outcome" => name).increment(1);
    }
    outcome?;
    Ok(json!({ "success": true, "emailType": job.kind }))
}

/// Records that nobody will send the mail, or, if its content was under way, that nobody knows whether it arrived.
async fn give_up(database: &Database, job: &SendEmail) -> Result<(), JobError> {
    for (from, to) in [
        (DeliveryStatus::Pending, DeliveryStatus::Failed),
        (DeliveryStatus::Sending, DeliveryStatus::Unconfirmed),
    ] {
        advance(database, job, &[from], to).await?;
    }
    Ok(())
}

async fn send(database: &Database, mailer: &Mailer, job: &SendEmail) -> Result<Outcome, JobError> {
    let (order, kind) = (job.order_id, job.kind);
    let message_id = mailer.message_id(order, kind);
    let mut connection = database.write().await.map_err(database_error)?;
    let status = match deliveries::open(&mut connection, order, kind, &message_id).await {
        Ok(status) => status,
        Err(error) if error.is_constraint("mail_deliveries_order_id_fkey") => {
            return Err(JobError::fail(error));
        }
        Err(error) => return Err(database_error(error)),
    };
    if matches!(status, DeliveryStatus::Pending | DeliveryStatus::Failed) {
        let preceded = deliveries::is_preceded(&mut connection, order, kind, LONGEST_WAIT).await;
        if preceded.map_err(database_error)? {
            return Err(JobError::Postpone(TURN));
        }
    }
    drop(connection);
    match status {
        DeliveryStatus::Sent | DeliveryStatus::Unconfirmed => return Ok(Outcome::SettledBefore),
        DeliveryStatus::Sending => {
            let (from, to) = (&[DeliveryStatus::Sending], DeliveryStatus::Unconfirmed);
            if !advance(database, job, from, to).await? {
                return Ok(Outcome::SettledBefore);
            }
            tracing::warn!(
                order.id = %order,
                mail.kind = %kind,
                "a worker died while it sent this mail; it is not sent again"
            );
            return Ok(Outcome::Unconfirmed);
        }
        DeliveryStatus::Pending => {}
        // Its job was replayed.
        DeliveryStatus::Failed => {
            let (from, to) = (&[DeliveryStatus::Failed], DeliveryStatus::Pending);
            advance(database, job, from, to).await?;
        }
    }

    let mail = mailer.compose(job, &message_id).map_err(job_error)?;
    let envelope = mailer.open(mail).await.map_err(job_error)?;
    let mut transaction = database.begin().await.map_err(database_error)?;
    let (from, to) = (DeliveryStatus::Pending, DeliveryStatus::Sending);
    let marked = deliveries::advance(&mut transaction, order, kind, from, to).await;
    if !marked.map_err(database_error)? {
        return Err(JobError::retry(TakenMeanwhile));
    }
    let (recorded, handed_over) = tokio::join!(transaction.commit(), envelope.hand_over());
    if let Err(error) = recorded {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            order.id = %order,
            mail.kind = %kind,
            "that this mail is being sent could not be recorded"
        );
    }
    // `unconfirmed`: another run that found `sending` meanwhile has taken this one for dead. `pending`:
    // the record above has failed.
    let open = &[
        DeliveryStatus::Sending,
        DeliveryStatus::Unconfirmed,
        DeliveryStatus::Pending,
    ];
    match handed_over {
        Ok(()) => {}
        Err(error) if error.proves_refusal() => {
            let from = &[DeliveryStatus::Sending, DeliveryStatus::Unconfirmed];
            advance(database, job, from, DeliveryStatus::Pending).await?;
            return Err(job_error(error));
        }
        Err(error) => {
            let from = &[DeliveryStatus::Sending, DeliveryStatus::Pending];
            let recorded = advance(database, job, from, DeliveryStatus::Unconfirmed).await?;
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                order.id = %order,
                mail.kind = %kind,
                "whether the mail server took this mail is not known; it is not sent again"
            );
            return Ok(if recorded {
                Outcome::Unconfirmed
            } else {
                Outcome::SettledBefore
            });
        }
    }
    advance(database, job, open, DeliveryStatus::Sent).await?;
    tracing::info!(order.id = %order, mail.kind = %kind, "mail sent");
    Ok(Outcome::Sent)
}

/// Moves the delivery from the first status of `from` that it stands at; whether it stood at one.
async fn advance(
    database: &Database,
    job: &SendEmail,
    from: &[DeliveryStatus],
    to: DeliveryStatus,
) -> Result<bool, JobError> {
    let move_on = async || -> database::Result<bool> {
        let mut connection = database.write().await?;
        for &from in from {
            if deliveries::advance(&mut connection, job.order_id, job.kind, from, to).await? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    move_on().await.map_err(database_error)
}

/// A database that is away for a while must not use the attempts up: it is not known then which mails were sent, and
/// how a last attempt ended could not be written.
pub(crate) fn database_error(error: database::Error) -> JobError {
    if error.is_transient() {
        JobError::Postpone(DATABASE_WAIT)
    } else {
        JobError::retry(error)
    }
}

pub(crate) fn job_error(error: MailerError) -> JobError {
    if error.is_permanent() {
        JobError::fail(error)
    } else {
        JobError::retry(error)
    }
}
