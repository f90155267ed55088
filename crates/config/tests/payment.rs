//! Who takes the money, and who may report it.

use bharatmart_config::{
    ApiConfig, ConfigError, PaymentConfig, PaymentProvider, SandboxGatewayConfig, Source,
    WebhookSecret, WorkerProcessConfig,
};
use secrecy::ExposeSecret;

const SECRET: (&str, &str) = (
    "PAYMENT_WEBHOOK_SECRET",
    "hush-0123456789abcdef0123456789ab",
);
const KEY: (&str, &str) = ("PAYMENT_API_KEY", "hush-key");
const URL: (&str, &str) = ("PAYMENT_GATEWAY_URL", "https://gateway.example/pay");
const HTTP: (&str, &str) = ("PAYMENT_PROVIDER", "http");
const LEAST: [(&str, &str); 4] = [
    ("DATABASE_URL", "postgres://localhost/shop"),
    ("REDIS_URL", "redis://localhost"),
    ("SMTP_HOST", "localhost"),
    HTTP,
];

fn source(variables: &[(&str, &str)]) -> Source {
    Source::from_map(variables.iter().copied())
}

fn key_of(value: &str) -> Result<Option<Vec<u8>>, ConfigError> {
    let secret = WebhookSecret::read(&source(&[("PAYMENT_WEBHOOK_SECRET", value)]))?;
    Ok(secret.map(|WebhookSecret(key)| key.expose_secret().to_vec()))
}

#[test]
fn a_gateway_over_http_needs_its_address_its_key_and_the_key_of_its_webhooks() {
    let least = |more: &[(&str, &str)]| source(&[&LEAST, more].concat());
    let error = ApiConfig::read(&least(&[])).unwrap_err().to_string();
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 3, "{error}");
    for (line, name) in lines.iter().zip([URL.0, KEY.0, SECRET.0]) {
        assert!(
            line.starts_with(&format!("{name} is not set: expected ")),
            "{error}"
        );
    }
    // Workers receive no webhooks.
    WorkerProcessConfig::read(&least(&[URL, KEY])).unwrap();

    let config = ApiConfig::read(&least(&[URL, KEY, SECRET])).unwrap();
    let PaymentProvider::Http { url, api_key } = &config.payment.provider else {
        panic!("{:?}", config.payment.provider);
    };
    assert_eq!((url.as_str(), api_key.expose_secret()), (URL.1, KEY.1));
    assert!(config.webhook_secret.is_some());
    let printed = format!("{config:?}");
    assert!(!printed.contains("hush"), "{printed}");
}

#[test]
fn production_speaks_to_a_gateway_elsewhere_by_https_alone() {
    let read = |environment, url| {
        PaymentConfig::read(&source(&[
            ("ENVIRONMENT", environment),
            HTTP,
            KEY,
            ("PAYMENT_GATEWAY_URL", url),
        ]))
    };
    for (url, allowed) in [
        ("https://gateway.example", true),
        ("http://localhost:4000", true),
        ("http://127.0.0.1:4000", true),
        ("http://[::1]:4000", true),
        ("http://gateway.example", false),
        ("http://10.0.0.1:4000", false),
        ("http://localhost.example", false),
    ] {
        assert_eq!(read("production", url).is_ok(), allowed, "{url}");
        assert!(read("development", url).is_ok(), "{url}");
    }
    let error = read("production", "http://gateway.example").unwrap_err();
    let error = error.to_string();
    assert!(error.contains("https in production"), "{error}");
    for url in [
        "gateway.example",
        "ftp://gateway.example",
        "https://",
        "https://shop@gateway.example",
        "https://gateway.example?a=b",
        "https://gateway.example#a",
    ] {
        let error = read("development", url).unwrap_err().to_string();
        assert!(error.contains("a URL such as"), "{url}: {error}");
    }
}

#[test]
fn a_key_of_webhooks_is_text_or_base64_and_long_enough() {
    assert_eq!(WebhookSecret::read(&source(&[])).unwrap().map(drop), None);
    let text = "0123456789abcdef0123456789abcdef";
    assert_eq!(key_of(text).unwrap().unwrap(), text.as_bytes());
    // 24 bytes, as in the specification's example.
    let encoded = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    assert_eq!(encoded.unwrap().unwrap().len(), 24);
    for short in [
        &text[1..],
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLQ==",
        "whsec_not base64, although it is longer than 32 bytes",
    ] {
        let error = key_of(short).unwrap_err().to_string();
        assert!(error.contains("at least 32 bytes"), "{error}");
        assert!(!error.contains(short), "{error}");
    }
}

#[test]
fn the_sandbox_as_a_gateway_needs_a_key_and_one_more_for_what_it_reports() {
    let read = |variables: &[(&str, &str)]| SandboxGatewayConfig::read(&source(variables));
    let error = read(&[]).unwrap_err().to_string();
    assert!(error.starts_with("PAYMENT_API_KEY is not set"), "{error}");
    let silent = read(&[KEY]).unwrap();
    assert_eq!(silent.port, 4000);
    assert!(silent.webhooks.is_none());
    let url = (
        "PAYMENT_SANDBOX_WEBHOOK_URL",
        "http://localhost:3000/api/payments/webhook",
    );
    let error = read(&[KEY, url]).unwrap_err().to_string();
    assert!(
        error.starts_with("PAYMENT_WEBHOOK_SECRET is not set"),
        "{error}"
    );
    let reporting = read(&[KEY, url, SECRET]).unwrap();
    assert_eq!(reporting.webhooks.unwrap().0.as_str(), url.1);
    assert!(read(&[KEY, SECRET]).unwrap().webhooks.is_none());
}
