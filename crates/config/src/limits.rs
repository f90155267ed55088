//! How much one client may ask for, and how long anybody may queue.
//!
//! - `RATE_LIMIT_WINDOW_MS`
//! - `RATE_LIMIT_MAX_REQUESTS`
//! - `RATE_LIMIT_AUTH_MAX_REQUESTS`
//! - `TRUSTED_PROXIES`
//! - `TRUSTED_PROXY_HEADER`
//! - `OVERLOAD_DELAY`

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::error::ConfigError;
use crate::parse;
use crate::process::Environment;
use crate::reader::Reader;
use crate::source::Source;
use crate::variable::{Table, Variable};

const RATE_LIMIT_WINDOW_MS: Variable = Variable::new(
    "RATE_LIMIT_WINDOW_MS",
    "The time over which the requests of a client are counted",
    "milliseconds from 1000 up, or a duration such as 15m",
)
.default("900000");
const RATE_LIMIT_MAX_REQUESTS: Variable = Variable::new(
    "RATE_LIMIT_MAX_REQUESTS",
    "Requests of one user, or of one address without a user, in that time",
    "a whole number; 0 for any number",
)
.default("3000");
const RATE_LIMIT_AUTH_MAX_REQUESTS: Variable = Variable::new(
    "RATE_LIMIT_AUTH_MAX_REQUESTS",
    "Sign-ins of one address in that time, as many sign-ups, as many requests of each other kind about passwords and \
     addresses, and ten times as many refreshed tokens",
    "a whole number; 0 for any number",
)
.default("20");
const TRUSTED_PROXIES: Variable = Variable::new(
    "TRUSTED_PROXIES",
    "Proxies and load balancers that are believed when they say whose request they forward",
    "addresses such as 10.0.0.7 and networks such as 10.0.0.0/8 or fd00::/8, separated by commas",
)
.unset("none: the client is whoever connects");
const TRUSTED_PROXY_HEADER: Variable = Variable::new(
    "TRUSTED_PROXY_HEADER",
    "The header in which they say it; the other one, which they may pass on from the client, counts for nothing",
    "x-forwarded-for or forwarded (RFC 7239)",
)
.default("x-forwarded-for");
const OVERLOAD_DELAY: Variable = Variable::new(
    "OVERLOAD_DELAY",
    "How long requests may queue for the processor or a database connection before some are answered 503",
    "milliseconds above 0, or a duration such as 50ms",
)
.default("20");

pub(crate) const TABLE: Table = Table {
    title: "Limits",
    variables: &[
        RATE_LIMIT_WINDOW_MS,
        RATE_LIMIT_MAX_REQUESTS,
        RATE_LIMIT_AUTH_MAX_REQUESTS,
        TRUSTED_PROXIES,
        TRUSTED_PROXY_HEADER,
        OVERLOAD_DELAY,
    ],
};

/// In which header a proxy says whose request it forwards.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`, as most do.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl ProxyHeader {
    fn parse(value: &str) -> Option<Self> {
        match value.to_ascii_lowercase().as_str() {
            "x-forwarded-for" => Some(Self::XForwardedFor),
            "forwarded" => Some(Self::Forwarded),
            _ => None,
        }
    }
}

/// How much one client may ask for, and how long anybody may queue.
#[derive(Clone, Debug)]
pub struct LimitsConfig {
    /// The time over which requests are counted; at least a second.
    pub window: Duration,
    /// Requests of a user or an address in that time; 0 is any number.
    pub max_requests: u32,
    /// Sign-ins of an address in that time; 0 is any number.
    pub auth_max_requests: u32,
    /// Who is believed when they say whose request they forward.
    pub trusted_proxies: Vec<IpNet>,
    /// Where they say it.
    pub trusted_proxy_header: ProxyHeader,
    /// Whether the log warns of a peer that may be a proxy and is not believed: in production.
    pub warn_of_proxies: bool,
    /// How long requests may queue before some are refused.
    pub overload_delay: Duration,
}

impl LimitsConfig {
    /// Reads the variables that the module's doc lists.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let window = reader.required(&RATE_LIMIT_WINDOW_MS, window);
        let max_requests = reader.required(&RATE_LIMIT_MAX_REQUESTS, parse::number);
        let auth_max_requests = reader.required(&RATE_LIMIT_AUTH_MAX_REQUESTS, parse::number);
        let trusted_proxies = reader.optional(&TRUSTED_PROXIES, networks);
        let trusted_proxy_header = reader.required(&TRUSTED_PROXY_HEADER, ProxyHeader::parse);
        let overload_delay = reader.required(&OVERLOAD_DELAY, parse::positive_milliseconds);
        reader.finish(|| {
            Some(Self {
                window: window?,
                max_requests: max_requests?,
                auth_max_requests: auth_max_requests?,
                trusted_proxies: trusted_proxies?.unwrap_or_default(),
                trusted_proxy_header: trusted_proxy_header?,
                warn_of_proxies: Environment::of(source) == Some(Environment::Production),
                overload_delay: overload_delay?,
            })
        })
    }
}

/// Clients are told in whole seconds.
fn window(value: &str) -> Option<Duration> {
    parse::milliseconds(value).filter(|window| *window >= Duration::from_secs(1))
}

fn networks(value: &str) -> Option<Vec<IpNet>> {
    value
        .split(',')
        .map(|part| {
            let part = part.trim();
            part.parse()
                .or_else(|_| part.parse::<IpAddr>().map(IpNet::from))
                .ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_addresses_and_networks() {
        let both = networks("10.0.0.7, fd00::/8,127.0.0.0/8").unwrap();
        let text: Vec<_> = both.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["10.0.0.7/32", "fd00::/8", "127.0.0.0/8"]);
        for bad in [
            "",
            "10.0.0.7,",
            "10.0.0.0/33",
            "proxy.example",
            "*",
            "10.0.0.7:80",
        ] {
            assert_eq!(networks(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_window_is_at_least_a_second() {
        assert_eq!(window("1000"), Some(Duration::from_secs(1)));
        assert_eq!(window("999"), None);
        assert_eq!(window("15m"), Some(Duration::from_mins(15)));
    }
}
