//! The payment gateway.
//!
//! - `PAYMENT_PROVIDER`
//! - `PAYMENT_GATEWAY_URL`
//! - `PAYMENT_API_KEY`
//! - `PAYMENT_WEBHOOK_SECRET`
//! - `PAYMENT_SANDBOX_FAILURE_RATE`
//! - `PAYMENT_SANDBOX_PORT`
//! - `PAYMENT_SANDBOX_WEBHOOK_URL`
//! - `ORDER_PAYMENT_TIMEOUT`

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{SecretSlice, SecretString};
use url::{Host, Url};

use crate::error::ConfigError;
use crate::parse;
use crate::process::{ENVIRONMENT, Environment};
use crate::reader::Reader;
use crate::source::Source;
use crate::variable::{Table, Variable};

/// A key is as strong as it is long; RFC 2104 advises the length of the hash.
const WEBHOOK_SECRET_MIN_BYTES: usize = 32;
/// The form that the Standard Webhooks specification gives to keys, and how short they are there at least.
const ENCODED_SECRET: &str = "whsec_";
const ENCODED_SECRET_MIN_BYTES: usize = 24;

const PAYMENT_PROVIDER: Variable = Variable::new(
    "PAYMENT_PROVIDER",
    "Who takes the money: nobody, or the gateway at PAYMENT_GATEWAY_URL",
    "sandbox or http",
)
.default("sandbox");
const PAYMENT_GATEWAY_URL: Variable = Variable::new(
    "PAYMENT_GATEWAY_URL",
    "Where the gateway answers; needed with PAYMENT_PROVIDER=http",
    "a URL such as https://gateway.example, without user, query and fragment",
)
.unset("none");
const PAYMENT_API_KEY: Variable = Variable::new(
    "PAYMENT_API_KEY",
    "What the shop shows to the gateway as its bearer token; needed with PAYMENT_PROVIDER=http",
    "visible ASCII characters without blanks",
)
.unset("none")
.secret();
const PAYMENT_WEBHOOK_SECRET: Variable = Variable::new(
    "PAYMENT_WEBHOOK_SECRET",
    "Key that the gateway signs its webhooks with; the API needs it with PAYMENT_PROVIDER=http",
    "at least 32 bytes of random text, or whsec_ and the base64 of at least 24 bytes",
)
.unset("webhooks are refused")
.secret();
const PAYMENT_SANDBOX_FAILURE_RATE: Variable = Variable::new(
    "PAYMENT_SANDBOX_FAILURE_RATE",
    "Share of payments that the sandbox declines",
    "a number from 0 to 1",
)
.default("0");
const PAYMENT_SANDBOX_PORT: Variable = Variable::new(
    "PAYMENT_SANDBOX_PORT",
    "Port of the sandbox when it runs as a gateway of its own (bharatmart-api gateway)",
    "a port number from 0 to 65535 (0 lets the system choose)",
)
.default("4000");
const PAYMENT_SANDBOX_WEBHOOK_URL: Variable = Variable::new(
    "PAYMENT_SANDBOX_WEBHOOK_URL",
    "Where that gateway reports outcomes to, signed with PAYMENT_WEBHOOK_SECRET",
    "a URL such as http://localhost:3000/api/payments/webhook, without user, query and fragment",
)
.unset("it reports nothing");
const ORDER_PAYMENT_TIMEOUT: Variable = Variable::new(
    "ORDER_PAYMENT_TIMEOUT",
    "How long an order waits for its payment before it is cancelled",
    "a duration with its unit, such as 30m",
)
.default("30m");

pub(crate) const API_TABLE: Table = Table {
    title: "Payment",
    variables: &[
        PAYMENT_PROVIDER,
        PAYMENT_GATEWAY_URL,
        PAYMENT_API_KEY,
        PAYMENT_WEBHOOK_SECRET,
        PAYMENT_SANDBOX_FAILURE_RATE,
        PAYMENT_SANDBOX_PORT,
        PAYMENT_SANDBOX_WEBHOOK_URL,
        ORDER_PAYMENT_TIMEOUT,
    ],
};

pub(crate) const WORKER_TABLE: Table = Table {
    title: "Payment",
    variables: &[
        PAYMENT_PROVIDER,
        PAYMENT_GATEWAY_URL,
        PAYMENT_API_KEY,
        PAYMENT_SANDBOX_FAILURE_RATE,
        ORDER_PAYMENT_TIMEOUT,
    ],
};

/// Who takes the money.
#[derive(Clone, Debug)]
pub enum PaymentProvider {
    /// The built-in gateway that moves no money.
    Sandbox {
        /// The share of payments that it declines, from 0 to 1.
        failure_rate: f64,
    },
    /// A gateway at the other end of HTTP.
    Http {
        /// Where it answers.
        url: Url,
        /// What it knows the shop by.
        api_key: SecretString,
    },
}

/// The payment gateway.
#[derive(Clone, Debug)]
pub struct PaymentConfig {
    /// Who takes the money.
    pub provider: PaymentProvider,
    /// How long an order waits for its payment.
    pub order_payment_timeout: Duration,
}

impl PaymentConfig {
    /// Reads what whoever charges needs.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let environment = reader.required(&ENVIRONMENT, Environment::parse);
        let is_http = reader.required(&PAYMENT_PROVIDER, is_http);
        let url = reader.optional(&PAYMENT_GATEWAY_URL, plain_url);
        let api_key = reader.optional(&PAYMENT_API_KEY, api_key);
        let failure_rate = reader.required(&PAYMENT_SANDBOX_FAILURE_RATE, parse::share);
        let order_payment_timeout =
            reader.required(&ORDER_PAYMENT_TIMEOUT, parse::positive_with_unit);
        if is_http == Some(true) {
            if let Some(None) = url {
                reader.missing(&PAYMENT_GATEWAY_URL);
            }
            if let Some(None) = api_key {
                reader.missing(&PAYMENT_API_KEY);
            }
        }
        if let Some(Some(url)) = &url
            && environment == Some(Environment::Production)
            && url.scheme() != "https"
            && !is_loopback(url)
        {
            let expected = "https in production, unless the gateway is on this machine";
            reader.refuse(&PAYMENT_GATEWAY_URL, expected);
        }
        reader.finish(|| {
            let provider = if is_http? {
                PaymentProvider::Http {
                    url: url??,
                    api_key: api_key??,
                }
            } else {
                PaymentProvider::Sandbox {
                    failure_rate: failure_rate?,
                }
            };
            Some(Self {
                provider,
                order_payment_timeout: order_payment_timeout?,
            })
        })
    }
}

/// The key that signs webhooks; never printed.
#[derive(Clone, Debug)]
pub struct WebhookSecret(pub SecretSlice<u8>);

impl WebhookSecret {
    /// Reads `PAYMENT_WEBHOOK_SECRET`; `None` when webhooks are refused.
    pub fn read(source: &Source) -> Result<Option<Self>, ConfigError> {
        let mut reader = Reader::new(source);
        let secret = reader.optional(&PAYMENT_WEBHOOK_SECRET, webhook_secret);
        let is_http = reader.required(&PAYMENT_PROVIDER, is_http);
        if is_http == Some(true)
            && let Some(None) = secret
        {
            reader.missing(&PAYMENT_WEBHOOK_SECRET);
        }
        reader.finish(|| secret)
    }
}

/// The sandbox as a gateway of its own.
#[derive(Clone, Debug)]
pub struct SandboxGatewayConfig {
    /// The port that it answers on.
    pub port: u16,
    /// What shops have to show.
    pub api_key: SecretString,
    /// The share of payments that it declines, from 0 to 1.
    pub failure_rate: f64,
    /// Where it reports outcomes to, and how it signs; `None` when it reports nothing.
    pub webhooks: Option<(Url, WebhookSecret)>,
}

impl SandboxGatewayConfig {
    /// Reads what the gateway needs, which shares some of its variables with the shop.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let port = reader.required(&PAYMENT_SANDBOX_PORT, parse::port);
        let api_key = reader.optional(&PAYMENT_API_KEY, api_key);
        if let Some(None) = api_key {
            reader.missing(&PAYMENT_API_KEY);
        }
        let failure_rate = reader.required(&PAYMENT_SANDBOX_FAILURE_RATE, parse::share);
        let url = reader.optional(&PAYMENT_SANDBOX_WEBHOOK_URL, plain_url);
        let secret = reader.optional(&PAYMENT_WEBHOOK_SECRET, webhook_secret);
        if let (Some(Some(_)), Some(None)) = (&url, &secret) {
            reader.missing(&PAYMENT_WEBHOOK_SECRET);
        }
        reader.finish(|| {
            Some(Self {
                port: port?,
                api_key: api_key??,
                failure_rate: failure_rate?,
                webhooks: url?.zip(secret?),
            })
        })
    }
}

fn is_http(provider: &str) -> Option<bool> {
    match provider {
        "sandbox" => Some(false),
        "http" => Some(true),
        _ => None,
    }
}

fn plain_url(value: &str) -> Option<Url> {
    let url = Url::parse(value).ok()?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    is_plain.then_some(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn api_key(value: &str) -> Option<SecretString> {
    let is_token = value.bytes().all(|byte| byte.is_ascii_graphic());
    is_token.then(|| SecretString::from(value))
}

fn webhook_secret(value: &str) -> Option<WebhookSecret> {
    let (key, shortest) = match value.strip_prefix(ENCODED_SECRET) {
        Some(encoded) => (STANDARD.decode(encoded).ok()?, ENCODED_SECRET_MIN_BYTES),
        None => (value.as_bytes().to_vec(), WEBHOOK_SECRET_MIN_BYTES),
    };
    (key.len() >= shortest).then(|| WebhookSecret(key.into()))
}
