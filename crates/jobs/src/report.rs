//! Sends a report.
//!
//! Unlike a customer's mail it is sent again when nobody knows whether it arrived: one too many does less harm than
//! one that is missing. Each copy carries the same `Message-ID`.

use bharatmart_database::{
    Database,
    reports::{self, ReportRef},
};
use bharatmart_queue::{JobError, JobResult, SendReport};
use bharatmart_telemetry::metrics::MAILS_TOTAL;
use metrics::counter;
use serde_json::json;

use crate::{
    deliver::job_error,
    mailer::{Mailer, MailerError},
};

pub(crate) async fn send_report(
    database: &Database,
    mailer: &Mailer,
    job: &SendReport,
) -> JobResult {
    let report = ReportRef {
        kind: job.kind,
        day: job.day,
        user: job.user_id,
    };
    let mut connection = database.write().await.map_err(JobError::retry)?;
    let open = reports::is_open(&mut connection, report).await;
    drop(connection);
    if open.map_err(JobError::retry)? {
        let sent = send(mailer, job).await;
        let outcome = match &sent {
            Ok(()) => "sent",
            Err(error) if error.is_permanent() => "failed",
            Err(_) => "retried",
        };
        counter!(MAILS_TOTAL, "kind" => job.kind.as_str(), "outcome" => outcome).increment(1);
        sent.map_err(job_error)?;
        let mut connection = database.write().await.map_err(JobError::retry)?;
        let marked = reports::mark_sent(&mut connection, report).await;
        marked.map_err(JobError::retry)?;
    }
    Ok(json!({ "success": true, "emailType": job.kind }))
}

async fn send(mailer: &Mailer, job: &SendReport) -> Result<(), MailerError> {
    let mail = mailer.compose_report(job)?;
    mailer.open(mail).await?.hand_over().await
}
