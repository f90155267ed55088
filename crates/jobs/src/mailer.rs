//! Mails by SMTP or into files.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bharatmart_commerce::html_body;
use bharatmart_config::{MailConfig, MailTransport, SmtpSecurity};
use bharatmart_domain::{MailKind, OrderId};
use bharatmart_queue::{SendAccountMail, SendEmail, SendReport};
use lettre::{
    Address, Message,
    address::AddressError,
    message::{
        Mailbox, MultiPart,
        header::{HeaderName, HeaderValue},
    },
    transport::smtp::{
        self,
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::ClientId,
    },
};
use secrecy::ExposeSecret;
use tokio::{fs, io::AsyncWriteExt, time::timeout};
use uuid::Uuid;

/// What tells mail programs and tests which mail they have before them.
const ORDER_HEADER: &str = "X-BharatMart-Order";
const TYPE_HEADER: &str = "X-BharatMart-Type";
/// How long one answer of the mail server may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for the content: servers look for spam and viruses before they take it.
const CONTENT_TIMEOUT: Duration = Duration::from_secs(20);
/// The same for the goodbye, which nothing depends on.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a mail was not sent. Says nothing about the recipient.
#[derive(Debug, thiserror::Error)]
pub enum MailerError {
    /// The address of the sender.
    #[error("EMAIL_FROM is not an e-mail address")]
    Sender(#[source] AddressError),
    /// The address of the recipient.
    #[error("the recipient's address is not an e-mail address")]
    Recipient(#[source] AddressError),
    /// The mail could not be composed.
    #[error("the mail cannot be composed")]
    Compose(#[from] lettre::error::Error),
    /// The mail server said no, or the connection failed. The inner text names its own cause.
    #[error("the mail server: {0}")]
    Smtp(smtp::Error),
    /// The mail server took too long.
    #[error("the mail server did not answer to {step} within {limit:?}")]
    NoAnswer {
        /// What was asked.
        step: &'static str,
        /// How long it had.
        limit: Duration,
    },
    /// The file could not be written.
    #[error("cannot write {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl MailerError {
    /// Whether trying again is in vain (RFC 5321, section 4.2.1: 5yz replies).
    pub(crate) fn is_permanent(&self) -> bool {
        match self {
            Self::Sender(_) | Self::Recipient(_) | Self::Compose(_) => true,
            Self::Smtp(error) => error.is_permanent(),
            Self::NoAnswer { .. } | Self::File { .. } => false,
        }
    }

    /// Whether nobody can have taken the mail although its content was handed over.
    ///
    /// Of a mail server only its reply says so. A connection that broke may have lost a "yes".
    pub(crate) fn proves_refusal(&self) -> bool {
        match self {
            Self::Sender(_) | Self::Recipient(_) | Self::Compose(_) | Self::File { .. } => true,
            Self::Smtp(error) => error.is_transient() || error.is_permanent(),
            Self::NoAnswer { .. } => false,
        }
    }
}

/// Sends mails from one address by one transport.
pub struct Mailer {
    from: Mailbox,
    transport: Transport,
    storefront: String,
}

enum Transport {
    File(PathBuf),
    Smtp(Smtp),
}

struct Smtp {
    host: String,
    port: u16,
    security: SmtpSecurity,
    tls: Option<TlsParameters>,
    credentials: Option<Credentials>,
}

/// A mail that is ready to go.
pub(crate) struct Composed {
    message_id: String,
    recipient: Address,
    bytes: Vec<u8>,
}

/// A mail whose content the server waits for.
pub(crate) enum Envelope {
    File {
        path: PathBuf,
        bytes: Vec<u8>,
    },
    Smtp {
        connection: Box<AsyncSmtpConnection>,
        bytes: Vec<u8>,
    },
}

impl Mailer {
    /// Connects nowhere yet.
    pub fn new(config: &MailConfig) -> Result<Self, MailerError> {
        let from = config.from.parse().map_err(MailerError::Sender)?;
        let transport = match &config.transport {
            MailTransport::File { dir } => Transport::File(dir.clone()),
            MailTransport::Smtp {
                host,
                port,
                security,
                credentials,
            } => Transport::Smtp(Smtp {
                host: host.clone(),
                port: *port,
                security: *security,
                tls: match security {
                    SmtpSecurity::None => None,
                    SmtpSecurity::StartTls | SmtpSecurity::Tls => {
                        Some(TlsParameters::new(host.clone()).map_err(MailerError::Smtp)?)
                    }
                },
                credentials: credentials.as_ref().map(|(user, password)| {
                    Credentials::new(user.clone(), password.expose_secret().to_owned())
                }),
            }),
        };
        Ok(Self {
            from,
            transport,
            storefront: config.frontend_url.clone(),
        })
    }

    /// The `Message-ID` of a mail, without brackets. Whoever sends the mail, and however often, it is the
    /// same, and its right-hand side is the sender's own domain.
    pub(crate) fn message_id(&self, order: OrderId, kind: MailKind) -> String {
        format!("{order}.{kind}@{}", self.from.email.domain())
    }

    /// Makes a mail of a text part, an HTML part and the headers that name order and type.
    pub(crate) fn compose(
        &self,
        job: &SendEmail,
        message_id: &str,
    ) -> Result<Composed, MailerError> {
        // A mail says which order it is about, whoever wrote its text.
        let order = job.order_id.to_string();
        let text = if job.body.contains(&order) {
            job.body.clone()
        } else {
            format!("{}\n\nOrder: {order}", job.body)
        };
        let headers = [
            (ORDER_HEADER, order.as_str()),
            (TYPE_HEADER, job.kind.as_str()),
        ];
        self.write((&job.to, &job.subject, text), message_id, &headers)
    }

    /// The `Message-ID` of a report, without brackets.
    pub(crate) fn report_id(&self, job: &SendReport) -> String {
        let SendReport {
            kind, day, user_id, ..
        } = job;
        format!("{user_id}.{kind}.{day}@{}", self.from.email.domain())
    }

    /// Makes a mail of a report, as [`Mailer::compose`] does of one about an order.
    pub(crate) fn compose_report(&self, job: &SendReport) -> Result<Composed, MailerError> {
        let headers = [(TYPE_HEADER, job.kind.as_str())];
        let letter = (job.to.as_str(), job.subject.as_str(), job.body.clone());
        self.write(letter, &self.report_id(job), &headers)
    }

    /// The origin that links lead to.
    pub(crate) fn storefront(&self) -> &str {
        &self.storefront
    }

    /// Makes a mail about an account.
    pub(crate) fn compose_account(
        &self,
        job: &SendAccountMail,
        to: &str,
        (subject, text): (String, String),
    ) -> Result<Composed, MailerError> {
        let SendAccountMail { mail_id, kind } = job;
        let message_id = format!("{mail_id}.{kind}@{}", self.from.email.domain());
        let headers = [(TYPE_HEADER, kind.as_str())];
        self.write((to, &subject, text), &message_id, &headers)
    }

    fn write(
        &self,
        (to, subject, text): (&str, &str, String),
        message_id: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Composed, MailerError> {
        let recipient: Address = to.parse().map_err(MailerError::Recipient)?;
        let html = html_body(&text);
        let mut message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, recipient.clone()))
            .subject(subject)
            .message_id(Some(format!("<{message_id}>")))
            .multipart(MultiPart::alternative_plain_html(text, html))?;
        for &(name, value) in headers {
            let name = HeaderName::new_from_ascii_str(name);
            message
                .headers_mut()
                .insert_raw(HeaderValue::new(name, value.to_owned()));
        }
        Ok(Composed {
            message_id: message_id.to_owned(),
            recipient,
            bytes: message.formatted(),
        })
    }

    /// Does everything that comes before the content: after it, one write sends the mail.
    pub(crate) async fn open(&self, mail: Composed) -> Result<Envelope, MailerError> {
        match &self.transport {
            Transport::File(dir) => {
                let created = fs::create_dir_all(dir).await;
                created.map_err(|source| MailerError::File {
                    path: dir.clone(),
                    source,
                })?;
                let path = dir.join(format!("{}.eml", mail.message_id));
                Ok(Envelope::File {
                    path,
                    bytes: mail.bytes,
                })
            }
            Transport::Smtp(smtp) => {
                let mut connection = Box::new(smtp.connect().await?);
                let from = Mail::new(Some(self.from.email.clone()), vec![]);
                answered("MAIL", ANSWER_TIMEOUT, connection.command(from)).await?;
                let to = Rcpt::new(mail.recipient, vec![]);
                answered("RCPT", ANSWER_TIMEOUT, connection.command(to)).await?;
                answered("DATA", ANSWER_TIMEOUT, connection.command(Data)).await?;
                Ok(Envelope::Smtp {
                    connection,
                    bytes: mail.bytes,
                })
            }
        }
    }
}

impl Envelope {
    /// Sends the content. Whether an error means that nobody took it, [`MailerError::proves_refusal`] says.
    pub(crate) async fn hand_over(self) -> Result<(), MailerError> {
        match self {
            Self::File { path, bytes } => write_whole(&path, &bytes)
                .await
                .map_err(|source| MailerError::File { path, source }),
            Self::Smtp {
                mut connection,
                bytes,
            } => {
                let content = connection.message(&bytes);
                answered("the content", CONTENT_TIMEOUT, content).await?;
                // Nobody is to wait for the goodbye, least of all the record that the mail is sent.
                tokio::spawn(async move {
                    if let Err(error) = answered("QUIT", GOODBYE_TIMEOUT, connection.quit()).await {
                        tracing::debug!(
                            error = &error as &dyn std::error::Error,
                            "the mail was taken, but the server did not say goodbye"
                        );
                    }
                });
                Ok(())
            }
        }
    }
}

impl Smtp {
    async fn connect(&self) -> Result<AsyncSmtpConnection, MailerError> {
        let hello = ClientId::default();
        let wrapper = self
            .tls
            .clone()
            .filter(|_| self.security == SmtpSecurity::Tls);
        let server = (self.host.as_str(), self.port);
        let connecting = AsyncSmtpConnection::connect_tokio1(server, None, &hello, wrapper, None);
        let mut connection = answered("the connection", ANSWER_TIMEOUT, connecting).await?;
        if let (SmtpSecurity::StartTls, Some(tls)) = (self.security, self.tls.clone()) {
            let upgrade = connection.starttls(tls, &hello);
            answered("STARTTLS", ANSWER_TIMEOUT, upgrade).await?;
        }
        if let Some(credentials) = &self.credentials {
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            let sign_in = connection.auth(&mechanisms, credentials);
            answered("AUTH", ANSWER_TIMEOUT, sign_in).await?;
        }
        Ok(connection)
    }
}

/// Awaits an answer of the mail server for no longer than `limit`: the client itself would wait for ever.
async fn answered<T>(
    step: &'static str,
    limit: Duration,
    answer: impl Future<Output = Result<T, smtp::Error>>,
) -> Result<T, MailerError> {
    match timeout(limit, answer).await {
        Ok(answer) => answer.map_err(MailerError::Smtp),
        Err(_) => Err(MailerError::NoAnswer { step, limit }),
    }
}

/// Writes a file that is whole or not there, under a name that is the same for the same mail.
///
/// Until it is whole its name begins with a dot and does not end in `.eml`, so that readers pass it over.
async fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let scratch = path.with_file_name(format!(".{name}.{}.tmp", Uuid::new_v4()));
    let mut file = fs::File::create(&scratch).await?;
    file.write_all(bytes).await?;
    file.sync_all().await?;
    fs::rename(&scratch, path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_not_awaited_for_ever_and_may_have_the_mail() {
        let limit = Duration::from_millis(10);
        let silence = std::future::pending::<Result<(), smtp::Error>>();
        let error = answered("the content", limit, silence).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the mail server did not answer to the content within 10ms"
        );
        assert!(!error.proves_refusal() && !error.is_permanent());
    }
}
