//! The parameters behind the question mark of a database's URL.

use std::net::IpAddr;

use url::form_urlencoded;

use super::PoolerMode;
use super::tls::SslMode;
use super::url::{ESCAPED, HOSTS, Role};
use crate::certificates;

const SSL_MODE: &str =
    "a URL whose sslmode is disable, allow, prefer, require, verify-ca or verify-full";
const SYSTEM_CA: &str = "sslmode=verify-full beside sslrootcert=system";
const SSL_ROOT_CERT: &str = "a file of certificates in PEM form as sslrootcert";
const STATEMENT_CACHE: &str = "a whole number as statement-cache-capacity";
const WRITABLE: &str = "target_session_attrs to be read-write, primary or any: the host that takes writes is always looked for";
const READABLE: &str =
    "target_session_attrs to be any, read-only, standby or prefer-standby where only reads go";

/// What parameters say beside user, host and database.
#[derive(Default)]
pub(super) struct Parameters {
    pub(super) hosts: Option<String>,
    pub(super) addresses: Option<String>,
    pub(super) ports: Option<String>,
    pub(super) known: Vec<(String, String)>,
    pub(super) ssl_mode: Option<SslMode>,
    pub(super) ssl_root_cert: Option<String>,
    pub(super) pooler: Option<PoolerMode>,
    pub(super) unused: Vec<String>,
}

impl Parameters {
    pub(super) fn parse(query: &str, role: Role) -> Result<Self, &'static str> {
        let mut found = Self::default();
        for piece in query.split('&') {
            for (key, value) in form_urlencoded::parse(piece.as_bytes()) {
                found.take(piece, key.into_owned(), value.into_owned(), role)?;
            }
        }
        if found.ssl_root_cert.as_deref() == Some("system") {
            // The public authorities, which sqlx trusts anyway.
            found.ssl_root_cert = None;
            if *found.ssl_mode.get_or_insert(SslMode::VerifyFull) != SslMode::VerifyFull {
                return Err(SYSTEM_CA);
            }
        }
        Ok(found)
    }

    fn take(
        &mut self,
        piece: &str,
        key: String,
        value: String,
        role: Role,
    ) -> Result<(), &'static str> {
        match key.as_str() {
            "host" => self.hosts = Some(value).filter(|hosts| !hosts.is_empty()),
            "hostaddr" => {
                if !value
                    .split(',')
                    .all(|address| address.parse::<IpAddr>().is_ok())
                {
                    return Err(HOSTS);
                }
                self.addresses = Some(value);
            }
            "port" => self.ports = Some(value),
            "sslmode" | "ssl-mode" => {
                let mode = SslMode::parse(&value.to_ascii_lowercase());
                self.ssl_mode = Some(mode.ok_or(SSL_MODE)?);
            }
            "sslrootcert" | "ssl-root-cert" | "ssl-ca" => {
                if value != "system" && !is_authorities(&value) {
                    return Err(SSL_ROOT_CERT);
                }
                self.ssl_root_cert = Some(value);
            }
            "statement-cache-capacity" => {
                if value.parse::<usize>().is_err() {
                    return Err(STATEMENT_CACHE);
                }
                self.known.push((key, value));
            }
            "target_session_attrs" => match (role, value.as_str()) {
                (_, "any")
                | (Role::Primary, "read-write" | "primary")
                | (Role::Replica, "read-only" | "standby" | "prefer-standby") => {}
                (Role::Primary, _) => return Err(WRITABLE),
                (Role::Replica, _) => return Err(READABLE),
            },
            "pgbouncer" if value == "true" => self.pooler = Some(PoolerMode::Transaction),
            "pgbouncer" if value == "false" => self.pooler = None,
            "sslcert" | "ssl-cert" | "sslkey" | "ssl-key" | "dbname" | "user" | "password"
            | "application_name" | "options" => self.known.push((key, value)),
            _ if key.starts_with("options[") && key.ends_with(']') => self.known.push((key, value)),
            // The rest of a password with an unescaped question mark; no word of it may be logged.
            _ if piece.contains('@') || !is_name(&key) => return Err(ESCAPED),
            _ => {
                if !self.unused.contains(&key) {
                    self.unused.push(key);
                }
            }
        }
        Ok(())
    }
}

/// Certificates themselves, which sqlx takes as well, or a file of them.
fn is_authorities(value: &str) -> bool {
    value.trim_start().starts_with("-----BEGIN") || certificates::check(value.as_ref()).is_ok()
}

/// Whether it can be the name of a parameter.
fn is_name(key: &str) -> bool {
    key.starts_with(|first: char| first.is_ascii_alphabetic())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}
