//! Mails by SMTP or into files.

use std::{path::PathBuf, time::Duration};

use bharatmart_commerce::html_body;
use bharatmart_config::{MailConfig, MailTransport, SmtpSecurity};
use bharatmart_queue::SendEmail;
use lettre::{
    Address, Message,
    message::{
        Mailbox, MultiPart,
        header::{HeaderName, HeaderValue},
    },
    transport::smtp::{
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::ClientId,
    },
};
use secrecy::ExposeSecret;
use tokio::{fs, io::AsyncWriteExt};
use uuid::Uuid;

/// How long one answer of the mail server may take.
const SMTP_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a mail was not sent.
#[derive(Debug, thiserror::Error)]
pub enum MailerError {
    /// The sender's or the recipient's address.
    #[error("{0} is not an e-mail address: {1}")]
    Address(String, lettre::address::AddressError),
    /// The mail could not be composed.
    #[error("the mail cannot be composed: {0}")]
    Compose(#[from] lettre::error::Error),
    /// The mail server said no, or did not answer.
    #[error("the mail server: {0}")]
    Smtp(#[from] lettre::transport::smtp::Error),
    /// The file could not be written.
    #[error("cannot write {path}: {source}")]
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
            Self::Address(..) | Self::Compose(_) => true,
            Self::Smtp(error) => error.is_permanent(),
            Self::File { .. } => false,
        }
    }
}

/// Sends mails from one address by one transport.
pub(crate) struct Mailer {
    from: Mailbox,
    transport: Transport,
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
    pub(crate) fn new(config: &MailConfig) -> Result<Self, MailerError> {
        let from = config
            .from
            .parse()
            .map_err(|error| MailerError::Address(config.from.clone(), error))?;
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
                        Some(TlsParameters::new(host.clone())?)
                    }
                },
                credentials: credentials.as_ref().map(|(user, password)| {
                    Credentials::new(user.clone(), password.expose_secret().to_owned())
                }),
            }),
        };
        Ok(Self { from, transport })
    }

    /// Makes a mail of a text part, an HTML part and the headers that name order and type.
    pub(crate) fn compose(
        &self,
        job: &SendEmail,
        message_id: &str,
    ) -> Result<Composed, MailerError> {
        let recipient: Address = job
            .to
            .parse()
            .map_err(|error| MailerError::Address(job.to.clone(), error))?;
        // A mail says which order it is about, whoever wrote its text.
        let order = job.order_id.to_string();
        let text = if job.body.contains(&order) {
            job.body.clone()
        } else {
            format!("{}\n\nOrder: {order}", job.body)
        };
        let mut message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, recipient.clone()))
            .subject(&job.subject)
            .message_id(Some(format!("<{message_id}>")))
            .multipart(MultiPart::alternative_plain_html(
                text.clone(),
                html_body(&text),
            ))?;
        for (name, value) in [
            (HeaderName::new_from_ascii_str("X-BharatMart-Order"), order),
            (
                HeaderName::new_from_ascii_str("X-BharatMart-Type"),
                job.kind.to_string(),
            ),
        ] {
            message
                .headers_mut()
                .insert_raw(HeaderValue::new(name, value));
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
                let from = self.from.email.clone();
                connection.command(Mail::new(Some(from), vec![])).await?;
                connection
                    .command(Rcpt::new(mail.recipient, vec![]))
                    .await?;
                connection.command(Data).await?;
                Ok(Envelope::Smtp {
                    connection,
                    bytes: mail.bytes,
                })
            }
        }
    }
}

impl Envelope {
    /// Sends the content. An error means that nobody took it.
    pub(crate) async fn hand_over(self) -> Result<(), MailerError> {
        match self {
            Self::File { path, bytes } => write_whole(&path, &bytes)
                .await
                .map_err(|source| MailerError::File { path, source }),
            Self::Smtp {
                mut connection,
                bytes,
            } => {
                connection.message(&bytes).await?;
                if let Err(error) = connection.quit().await {
                    tracing::debug!(%error, "the mail was taken, but the server did not say goodbye");
                }
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
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some(SMTP_TIMEOUT), &hello, wrapper, None)
                .await?;
        if let (SmtpSecurity::StartTls, Some(tls)) = (self.security, self.tls.clone()) {
            connection.starttls(tls, &hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection
                .auth(&[Mechanism::Plain, Mechanism::Login], credentials)
                .await?;
        }
        Ok(connection)
    }
}

/// Writes a file that is whole or not there, under a name that is the same for the same mail.
async fn write_whole(path: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    let scratch = path.with_extension(format!("{}.part", Uuid::new_v4()));
    let mut file = fs::File::create(&scratch).await?;
    file.write_all(bytes).await?;
    file.sync_all().await?;
    fs::rename(&scratch, path).await
}
