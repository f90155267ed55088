//! Sends a mail about an account.
//!
//! The token of its link is made here, when the mail server already waits for the content: the row gets its digest, and
//! right after that COMMIT the content leaves, which is the only place where the token itself ever is. Neither queue nor
//! log nor database can give it away. As it cannot be made a second time, the mail goes out at most once: if the worker
//! dies in between or the server does not answer, nothing is repeated, since its receiver waits for it and can ask for
//! another one, which ends this one's link. Only a server that has proven not to have the mail gets it again, with
//! another token.

use bharatmart_commerce::{account_letter, link_lifetime, random_token, token_digest};
use bharatmart_database::{Database, account_mails};
use bharatmart_domain::Clock;
use bharatmart_queue::{JobError, JobResult, SendAccountMail};
use bharatmart_telemetry::metrics::MAILS_TOTAL;
use metrics::counter;
use serde_json::json;

use crate::{
    deliver::{database_error, job_error},
    mailer::Mailer,
};

pub(crate) async fn send_account_mail(
    database: &Database,
    clock: &dyn Clock,
    mailer: &Mailer,
    job: &SendAccountMail,
) -> JobResult {
    let sent = send(database, clock, mailer, job).await;
    let outcome = match &sent {
        Ok(outcome) => *outcome,
        Err(JobError::Retry(_)) => Some("retried"),
        Err(JobError::Fail(_)) => Some("failed"),
        Err(JobError::Postpone(_)) => None,
    };
    if let Some(outcome) = outcome {
        counter!(MAILS_TOTAL, "kind" => job.kind.as_str(), "outcome" => outcome).increment(1);
    }
    sent?;
    Ok(json!({ "success": true, "emailType": job.kind }))
}

/// What became of it; `None` when there was nothing to do.
async fn send(
    database: &Database,
    clock: &dyn Clock,
    mailer: &Mailer,
    job: &SendAccountMail,
) -> Result<Option<&'static str>, JobError> {
    let mut connection = database.write().await.map_err(database_error)?;
    let found = account_mails::find(&mut connection, job.mail_id).await;
    drop(connection);
    let Some(mail) = found.map_err(database_error)?.filter(|mail| mail.is_open) else {
        return Ok(None);
    };
    let (user, kind) = (mail.user_id, mail.kind);
    let token = random_token();
    let letter = account_letter(kind, &mail.full_name, mailer.storefront(), &token);
    let composed = mailer.compose_account(job, &mail.email, letter);
    let envelope = mailer
        .open(composed.map_err(job_error)?)
        .await
        .map_err(job_error)?;

    let (now, digest) = (clock.now(), token_digest(&token));
    let link = link_lifetime(kind).map(|lifetime| (digest.as_slice(), now + lifetime));
    let mut connection = database.write().await.map_err(database_error)?;
    let marked = account_mails::mark_sent(&mut connection, job.mail_id, now, link).await;
    if !marked.map_err(database_error)? {
        return Ok(None);
    }
    match envelope.hand_over().await {
        Ok(()) => {
            tracing::info!(user.id = %user, mail.kind = %kind, "mail sent");
            Ok(Some("sent"))
        }
        Err(error) if error.proves_refusal() => {
            let unmarked = account_mails::mark_unsent(&mut connection, job.mail_id).await;
            unmarked.map_err(database_error)?;
            Err(job_error(error))
        }
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                user.id = %user,
                mail.kind = %kind,
                "whether the mail server took this mail is not known; it is not sent again"
            );
            Ok(Some("unconfirmed"))
        }
    }
}
