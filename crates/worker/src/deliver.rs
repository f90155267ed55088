//! Sends a mail at most once, as far as SMTP allows.
//!
//! The delivery is recorded as `sending` between the server's readiness for the content and the
//! content itself, which is one write. A worker that dies before that moment has sent nothing, and
//! the next one sends; a worker that dies after it has, as good as certainly, sent everything, and
//! the next one records `unconfirmed` and sends nothing. What is repeated all the same carries the
//! same `Message-ID`.

use bharatmart_commerce::message_id;
use bharatmart_database::{
    self as database, Database,
    mail_deliveries::{self as deliveries, DeliveryStatus},
};
use bharatmart_queue::{JobError, JobResult, SendEmail};
use bharatmart_telemetry::metrics::MAILS_TOTAL;
use metrics::counter;
use serde_json::json;

use crate::mailer::{Mailer, MailerError};

/// Somebody else is sending this mail at this moment.
#[derive(Debug, thiserror::Error)]
#[error("another worker is sending this mail")]
struct TakenMeanwhile;

pub(crate) async fn deliver(database: &Database, mailer: &Mailer, job: SendEmail) -> JobResult {
    let outcome = send(database, mailer, &job).await;
    let name = match &outcome {
        Ok(DeliveryStatus::Unconfirmed) => "unconfirmed",
        Ok(_) => "sent",
        Err(JobError::Retry(_)) => "retried",
        Err(JobError::Fail(_)) => "failed",
    };
    counter!(MAILS_TOTAL, "kind" => job.kind.as_str(), "outcome" => name).increment(1);
    outcome?;
    Ok(json!({ "success": true, "emailType": job.kind }))
}

async fn send(
    database: &Database,
    mailer: &Mailer,
    job: &SendEmail,
) -> Result<DeliveryStatus, JobError> {
    let (order, kind) = (job.order_id, job.kind);
    let message_id = message_id(order, kind);
    let mut connection = database.write().await.map_err(JobError::retry)?;
    let status = match deliveries::open(&mut connection, order, kind, &message_id).await {
        Ok(status) => status,
        Err(error) if error.is_constraint("mail_deliveries_order_id_fkey") => {
            return Err(JobError::fail(error));
        }
        Err(error) => return Err(JobError::retry(error)),
    };
    drop(connection);
    match status {
        DeliveryStatus::Sent | DeliveryStatus::Unconfirmed => return Ok(status),
        DeliveryStatus::Sending => {
            let (from, to) = (DeliveryStatus::Sending, DeliveryStatus::Unconfirmed);
            advance(database, job, from, to)
                .await
                .map_err(JobError::retry)?;
            tracing::warn!(
                order.id = %order,
                mail.kind = %kind,
                "a worker died while it sent this mail; it is not sent again"
            );
            return Ok(DeliveryStatus::Unconfirmed);
        }
        DeliveryStatus::Pending => {}
    }

    let mail = mailer.compose(job, &message_id).map_err(job_error)?;
    let envelope = mailer.open(mail).await.map_err(job_error)?;
    let (from, to) = (DeliveryStatus::Pending, DeliveryStatus::Sending);
    if !advance(database, job, from, to)
        .await
        .map_err(JobError::retry)?
    {
        return Err(JobError::retry(TakenMeanwhile));
    }
    if let Err(error) = envelope.hand_over().await {
        // The worker lives and knows that the server did not say yes.
        let (from, to) = (DeliveryStatus::Sending, DeliveryStatus::Pending);
        advance(database, job, from, to)
            .await
            .map_err(JobError::retry)?;
        return Err(job_error(error));
    }
    for from in [DeliveryStatus::Sending, DeliveryStatus::Unconfirmed] {
        if advance(database, job, from, DeliveryStatus::Sent)
            .await
            .map_err(JobError::retry)?
        {
            break;
        }
    }
    tracing::info!(order.id = %order, mail.kind = %kind, "mail sent");
    Ok(DeliveryStatus::Sent)
}

async fn advance(
    database: &Database,
    job: &SendEmail,
    from: DeliveryStatus,
    to: DeliveryStatus,
) -> database::Result<bool> {
    let mut connection = database.write().await?;
    deliveries::advance(&mut connection, job.order_id, job.kind, from, to).await
}

fn job_error(error: MailerError) -> JobError {
    if error.is_permanent() {
        JobError::fail(error)
    } else {
        JobError::retry(error)
    }
}
