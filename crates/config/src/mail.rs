//! How mails leave.
//!
//! - `EMAIL_TRANSPORT`
//! - `EMAIL_FROM` (alias `FROM_EMAIL`)
//! - `EMAIL_DIR`
//! - `SMTP_HOST`
//! - `SMTP_PORT`
//! - `SMTP_SECURE`
//! - `SMTP_USER`
//! - `SMTP_PASSWORD`
//! - `FRONTEND_URL` (with the API's HTTP server)
//!
//! `SMTP_SECURE` is `tls` (TLS from the first byte, as on port 465), `starttls` (plain greeting, then TLS or nothing) or
//! `none`. Not set, the port decides: 465 `tls`, 587 `starttls`, any other `none`. Two spellings of older set-ups are
//! understood: `true` is `tls`, and `false` ("not from the first byte") is what the port decides, where 465 becomes
//! `starttls`.

use std::path::PathBuf;

use secrecy::SecretString;

use crate::error::ConfigError;
use crate::http::FRONTEND_URL;
use crate::parse;
use crate::process::{ENVIRONMENT, Environment};
use crate::reader::Reader;
use crate::source::Source;
use crate::variable::{Table, Variable};

const EMAIL_TRANSPORT: Variable = Variable::new(
    "EMAIL_TRANSPORT",
    "How mails leave: through a server, or as .eml files into EMAIL_DIR",
    "smtp or file",
)
.default("smtp");
const EMAIL_FROM: Variable = Variable::new(
    "EMAIL_FROM",
    "Sender of every mail",
    "an address such as orders@shop.example or \"BharatMart <orders@shop.example>\"",
)
.aliases(&["FROM_EMAIL"])
.development("BharatMart <orders@bharatmart.example>");
const EMAIL_DIR: Variable = Variable::new(
    "EMAIL_DIR",
    "Folder for the mails of EMAIL_TRANSPORT=file",
    "a folder",
)
.unset("none; required with EMAIL_TRANSPORT=file");
const SMTP_HOST: Variable = Variable::new("SMTP_HOST", "Mail server", "a host name or address")
    .unset("none; required with EMAIL_TRANSPORT=smtp");
const SMTP_PORT: Variable = Variable::new(
    "SMTP_PORT",
    "Port of the mail server",
    "a port number from 1 to 65535",
)
.default("587");
const SMTP_SECURE: Variable = Variable::new(
    "SMTP_SECURE",
    "Encryption to the mail server",
    "tls (or true), starttls, none, or false (starttls on 465 and 587, else none)",
)
.unset("tls on port 465, starttls on 587, else none");
const SMTP_USER: Variable = Variable::new(
    "SMTP_USER",
    "Sign-in at the mail server",
    "any text, together with SMTP_PASSWORD",
)
.unset("no sign-in");
const SMTP_PASSWORD: Variable = Variable::new(
    "SMTP_PASSWORD",
    "Password at the mail server",
    "any text, together with SMTP_USER",
)
.unset("no sign-in")
.secret();

pub(crate) const TABLE: Table = Table {
    title: "Mail",
    variables: &[
        EMAIL_TRANSPORT,
        EMAIL_FROM,
        EMAIL_DIR,
        SMTP_HOST,
        SMTP_PORT,
        SMTP_SECURE,
        SMTP_USER,
        SMTP_PASSWORD,
    ],
};

pub(crate) const WORKER_TABLE: Table = Table {
    title: TABLE.title,
    variables: &[
        EMAIL_TRANSPORT,
        EMAIL_FROM,
        EMAIL_DIR,
        SMTP_HOST,
        SMTP_PORT,
        SMTP_SECURE,
        SMTP_USER,
        SMTP_PASSWORD,
        FRONTEND_URL,
    ],
};

/// How the connection to the mail server is encrypted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SmtpSecurity {
    /// Not at all; for a server on the same machine or network.
    None,
    /// Plain greeting, then TLS; no mail without it.
    StartTls,
    /// From the first byte.
    Tls,
}

/// How mails leave.
#[derive(Clone, Debug)]
pub enum MailTransport {
    /// Through a mail server.
    Smtp {
        /// Host name or address.
        host: String,
        /// TCP port.
        port: u16,
        /// Encryption.
        security: SmtpSecurity,
        /// User and password, when the server asks for them.
        credentials: Option<(String, SecretString)>,
    },
    /// One `.eml` file for each mail.
    File {
        /// The folder; made when it is missing.
        dir: PathBuf,
    },
}

/// How mails leave, and from whom.
#[derive(Clone, Debug)]
pub struct MailConfig {
    /// How they leave.
    pub transport: MailTransport,
    /// The sender, with or without a display name.
    pub from: String,
    /// The origin of the shop's pages, which links lead to; without a slash at its end.
    pub frontend_url: String,
}

impl MailConfig {
    /// Reads the variables that the module's doc lists.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        // Decides whether the sender has a default.
        let environment = reader.required(&ENVIRONMENT, Environment::parse);
        let transport = match reader.required(&EMAIL_TRANSPORT, Transport::parse) {
            Some(Transport::Smtp) => smtp(&mut reader),
            Some(Transport::File) => file(&mut reader),
            None => None,
        };
        let from = reader.required(&EMAIL_FROM, sender);
        let frontend_url = reader.required(&FRONTEND_URL, parse::origin);
        if environment == Some(Environment::Production)
            && let Some(MailTransport::Smtp {
                security: SmtpSecurity::None,
                credentials: Some(_),
                ..
            }) = transport
        {
            source.warn(
                "SMTP_PASSWORD goes over the network unencrypted: set SMTP_SECURE=starttls or tls",
            );
        }
        reader.finish(|| {
            Some(Self {
                transport: transport?,
                from: from?,
                frontend_url: frontend_url?,
            })
        })
    }
}

enum Transport {
    Smtp,
    File,
}

impl Transport {
    fn parse(value: &str) -> Option<Self> {
        match value {
            "smtp" => Some(Self::Smtp),
            "file" => Some(Self::File),
            _ => None,
        }
    }
}

fn smtp(reader: &mut Reader<'_>) -> Option<MailTransport> {
    let host = reader.optional(&SMTP_HOST, parse::text);
    if matches!(host, Some(None)) {
        reader.missing(&SMTP_HOST);
    }
    let port = reader.required(&SMTP_PORT, parse::positive::<u16>);
    let asked = reader.optional(&SMTP_SECURE, Asked::parse);
    let user = reader.optional(&SMTP_USER, parse::text);
    let password = reader.optional(&SMTP_PASSWORD, parse::secret);
    let credentials = match (user?, password?) {
        (Some(user), Some(password)) => Some((user, password)),
        (None, None) => None,
        (Some(_), None) => {
            reader.missing(&SMTP_PASSWORD);
            return None;
        }
        (None, Some(_)) => {
            reader.missing(&SMTP_USER);
            return None;
        }
    };
    let port = port?;
    Some(MailTransport::Smtp {
        host: host??,
        port,
        security: security(asked?, port),
        credentials,
    })
}

fn file(reader: &mut Reader<'_>) -> Option<MailTransport> {
    let dir = reader.optional(&EMAIL_DIR, parse::path);
    if matches!(dir, Some(None)) {
        reader.missing(&EMAIL_DIR);
    }
    Some(MailTransport::File { dir: dir?? })
}

/// What `SMTP_SECURE` says.
enum Asked {
    Exactly(SmtpSecurity),
    NotFromTheStart,
}

impl Asked {
    fn parse(value: &str) -> Option<Self> {
        match value {
            "tls" | "true" => Some(Self::Exactly(SmtpSecurity::Tls)),
            "starttls" => Some(Self::Exactly(SmtpSecurity::StartTls)),
            "none" => Some(Self::Exactly(SmtpSecurity::None)),
            "false" => Some(Self::NotFromTheStart),
            _ => None,
        }
    }
}

fn security(asked: Option<Asked>, port: u16) -> SmtpSecurity {
    match (asked, port) {
        (Some(Asked::Exactly(security)), _) => security,
        (None, 465) => SmtpSecurity::Tls,
        (None, 587) | (Some(Asked::NotFromTheStart), 465 | 587) => SmtpSecurity::StartTls,
        (None | Some(Asked::NotFromTheStart), _) => SmtpSecurity::None,
    }
}

/// `local@domain` or `Name <local@domain>`.
fn sender(value: &str) -> Option<String> {
    let address = match value.split_once('<') {
        Some((_, rest)) => rest.strip_suffix('>')?,
        None => value,
    };
    parse::email(address).map(|_| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_decides_where_nothing_was_asked() {
        assert_eq!(security(None, 465), SmtpSecurity::Tls);
        assert_eq!(security(None, 587), SmtpSecurity::StartTls);
        assert_eq!(security(None, 25), SmtpSecurity::None);
    }

    #[test]
    fn false_is_not_from_the_start_and_none_is_none() {
        assert_eq!(security(Asked::parse("false"), 587), SmtpSecurity::StartTls);
        assert_eq!(security(Asked::parse("false"), 1025), SmtpSecurity::None);
        assert_eq!(security(Asked::parse("none"), 587), SmtpSecurity::None);
        assert_eq!(security(Asked::parse("true"), 2525), SmtpSecurity::Tls);
    }

    #[test]
    fn a_sender_may_have_a_name() {
        assert!(sender("BharatMart <orders@shop.example>").is_some());
        assert!(sender("orders@shop.example").is_some());
        assert!(sender("BharatMart").is_none());
        assert!(sender("BharatMart <orders@shop.example").is_none());
    }
}
