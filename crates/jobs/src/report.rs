//! Sends a report to an administrator, at most once.

use bharatmart_database::{
    self as database, Database,
    mail_deliveries::DeliveryStatus,
    reports::{self, ReportMail},
};
use bharatmart_queue::{JobError, JobResult, SendReport};
use bharatmart_telemetry::metrics::MAILS_TOTAL;
use metrics::counter;
use serde_json::json;

use crate::{deliver::job_error, mailer::Mailer};

/// What `mails_total` calls reports.
const KIND: &str = "report";

/// A run that finds the report at anything but `pending` leaves it alone: it was sent, or a worker died just then.
pub(crate) async fn deliver_report(
    database: &Database,
    mailer: &Mailer,
    job: SendReport,
) -> JobResult {
    let report = ReportMail {
        kind: &job.kind,
        day: job.day,
        user: job.user_id,
    };
    let outcome = send(database, mailer, &job, report).await;
    let counted = match &outcome {
        Ok(name) => *name,
        Err(JobError::Retry(_)) => Some("retried"),
        Err(JobError::Fail(_)) => Some("failed"),
    };
    if let Some(name) = counted {
        counter!(MAILS_TOTAL, "kind" => KIND, "outcome" => name).increment(1);
    }
    outcome?;
    Ok(json!({ "success": true, "report": job.kind }))
}

async fn send(
    database: &Database,
    mailer: &Mailer,
    job: &SendReport,
    report: ReportMail<'_>,
) -> Result<Option<&'static str>, JobError> {
    let look = async {
        let mut connection = database.write().await?;
        reports::status(&mut connection, report).await
    };
    if look.await.map_err(JobError::retry)? != Some(DeliveryStatus::Pending) {
        return Ok(None);
    }
    let mail = mailer.compose_report(job).map_err(job_error)?;
    let envelope = mailer.open(mail).await.map_err(job_error)?;
    if !advance(database, report, DeliveryStatus::Pending, DeliveryStatus::Sending).await? {
        return Ok(None);
    }
    let from = DeliveryStatus::Sending;
    match envelope.hand_over().await {
        Ok(()) => {
            advance(database, report, from, DeliveryStatus::Sent).await?;
            tracing::info!(mail.kind = job.kind, "report sent");
            Ok(Some("sent"))
        }
        Err(error) if error.proves_refusal() => {
            advance(database, report, from, DeliveryStatus::Pending).await?;
            Err(job_error(error))
        }
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                mail.kind = job.kind,
                "whether the mail server took this report is not known; it is not sent again"
            );
            advance(database, report, from, DeliveryStatus::Unconfirmed).await?;
            Ok(Some("unconfirmed"))
        }
    }
}

async fn advance(
    database: &Database,
    report: ReportMail<'_>,
    from: DeliveryStatus,
    to: DeliveryStatus,
) -> Result<bool, JobError> {
    let advance = async || -> database::Result<bool> {
        let mut connection = database.write().await?;
        reports::advance(&mut connection, report, from, to).await
    };
    advance().await.map_err(JobError::retry)
}
