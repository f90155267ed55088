//! TLS to PostgreSQL.
//!
//! - `DATABASE_SSL_MODE`
//! - `DATABASE_SSL_CA_FILE`

use std::path::Path;

use crate::certificates;
use crate::parse;
use crate::reader::Reader;
use crate::variable::Variable;

pub(super) const DATABASE_SSL_MODE: Variable = Variable::new(
    "DATABASE_SSL_MODE",
    "TLS to the database, for URLs without an sslmode of their own: verify-full checks the certificate and the host's \
     name, verify-ca the certificate alone; require checks nothing, unless there is a file of authorities, when it \
     means verify-ca; allow means disable",
    "disable, allow, prefer, require, verify-ca or verify-full",
)
.unset("verify-full if DATABASE_SSL_CA_FILE is set, else require for Supabase's hosts, else prefer");
pub(super) const DATABASE_SSL_CA_FILE: Variable = Variable::new(
    "DATABASE_SSL_CA_FILE",
    "Authorities that sign the database's certificate, besides the public ones",
    "a file of certificates in PEM form",
)
.unset("the public authorities");

/// How far a connection is encrypted and the server's certificate is checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl SslMode {
    pub(super) fn parse(value: &str) -> Option<Self> {
        match value {
            "disable" => Some(Self::Disable),
            "allow" => Some(Self::Allow),
            "prefer" => Some(Self::Prefer),
            "require" => Some(Self::Require),
            "verify-ca" => Some(Self::VerifyCa),
            "verify-full" => Some(Self::VerifyFull),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// What holds for the URLs that say nothing themselves.
pub(super) struct Tls {
    mode: Option<SslMode>,
    ca_file: Option<String>,
    /// Whether a URL made use of `ca_file`.
    ca_file_used: bool,
}

impl Tls {
    /// Reads the variables that the module's doc lists.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mode = reader.optional(&DATABASE_SSL_MODE, SslMode::parse);
        let ca_file = reader.optional(&DATABASE_SSL_CA_FILE, parse::text);
        if let Some(Some(file)) = &ca_file
            && let Err(reason) = certificates::check(Path::new(file))
        {
            reader.refuse(&DATABASE_SSL_CA_FILE, reason);
            return None;
        }
        Some(Self {
            mode: mode?,
            ca_file: ca_file?,
            ca_file_used: false,
        })
    }

    /// The parameters of one URL, from what it says itself, what the variables say, and where its host is.
    pub(super) fn parameters(
        &mut self,
        own_mode: Option<SslMode>,
        own_authorities: Option<&str>,
        at_supabase: bool,
    ) -> Vec<(String, String)> {
        let authorities = own_authorities.or(self.ca_file.as_deref());
        let mode = own_mode
            .or(self.mode)
            .or(authorities.map(|_| SslMode::VerifyFull))
            .or(at_supabase.then_some(SslMode::Require));
        let Some(mut mode) = mode else {
            return Vec::new();
        };
        // As libpq does it. sqlx would check nothing.
        if mode == SslMode::Require && authorities.is_some() {
            mode = SslMode::VerifyCa;
        }
        let mut parameters = vec![("sslmode".to_owned(), mode.as_str().to_owned())];
        if matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull)
            && let Some(authorities) = authorities
        {
            parameters.push(("sslrootcert".to_owned(), authorities.to_owned()));
            self.ca_file_used |= own_authorities.is_none();
        }
        parameters
    }

    /// Whether a file was given and no URL made use of it.
    pub(super) fn has_unused_file(&self) -> bool {
        self.ca_file.is_some() && !self.ca_file_used
    }
}
