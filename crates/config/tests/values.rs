//! What each value may be, what the defaults are, and that no secret is ever printed.

use std::time::Duration;

use bharatmart_config::{
    AdminConfig, ApiConfig, AuthConfig, AuthProvider, CacheBackend, ConfigError, DatabaseConfig,
    Environment, JobsConfig, MailConfig, MailTransport, Process, ProxyHeader, QueueConfig,
    QueueServers, SmtpSecurity, Source, TelemetryConfig, WorkerConfig, WorkerProcessConfig,
    WorkerType,
};
use secrecy::ExposeSecret;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The least that both programs need in development.
const LEAST: [(&str, &str); 3] = [
    ("DATABASE_URL", "postgres://shop:hush@localhost/shop"),
    ("REDIS_URL", "redis://:hush@localhost:6379"),
    ("SMTP_HOST", "localhost"),
];

fn source(more: &[(&str, &str)]) -> Source {
    Source::from_map(LEAST.iter().chain(more).copied())
}

fn api(more: &[(&str, &str)]) -> Result<ApiConfig, ConfigError> {
    ApiConfig::read(&source(more))
}

fn worker(more: &[(&str, &str)]) -> Result<WorkerProcessConfig, ConfigError> {
    WorkerProcessConfig::read(&source(more))
}

#[test]
fn defaults_are_the_documented_ones() {
    let api = api(&[]).unwrap();
    assert_eq!(api.process.environment, Environment::Development);
    assert_eq!(api.process.metrics_port, 9090);
    assert_eq!(api.process.shutdown_timeout, Duration::from_secs(30));
    assert_eq!(api.process.shutdown_drain_delay, Duration::from_secs(5));
    assert_eq!(api.http.port, 3000);
    assert_eq!(api.http.host.to_string(), "0.0.0.0");
    assert_eq!(api.http.cors_origins, ["http://localhost:5173"]);
    assert_eq!(api.http.keep_alive_timeout, Duration::from_secs(65));
    assert_eq!(api.http.request_timeout, Duration::from_secs(15));
    assert_eq!(api.http.header_timeout, Duration::from_secs(10));
    assert_eq!(api.http.write_timeout, Duration::from_secs(20));
    assert!(!api.http.http2_cleartext);
    assert_eq!(api.limits.window, Duration::from_mins(15));
    assert_eq!(api.limits.max_requests, 3000);
    assert_eq!(api.limits.auth_max_requests, 20);
    assert!(api.limits.trusted_proxies.is_empty());
    assert_eq!(api.limits.trusted_proxy_header, ProxyHeader::XForwardedFor);
    assert_eq!(api.limits.overload_delay, Duration::from_millis(20));
    assert_eq!(api.database.pool_size, 20);
    assert_eq!(api.jobs.mode().as_str(), "bull-queue");
    assert!(matches!(&api.jobs, JobsConfig::BullQueue(queue) if queue.prefix == "bull"));
    assert!(matches!(api.cache.backend, CacheBackend::None));
    assert_eq!(api.cache.ttl, Duration::from_mins(5));
    let AuthProvider::Local(auth) = api.auth.provider else {
        panic!("{:?}", api.auth);
    };
    assert_eq!(auth.jwt_expiry, Duration::from_mins(15));
    assert_eq!(auth.jwt_refresh_expiry, Duration::from_hours(168));
    assert_eq!(api.payment.order_payment_timeout, Duration::from_mins(30));
    assert!(api.telemetry.enable_metrics);
    assert!(!api.chaos.enabled);

    let worker = worker(&[]).unwrap();
    assert_eq!(worker.worker.worker_type, WorkerType::All);
    assert_eq!(worker.worker.concurrency, 5);
    assert_eq!(worker.worker.job_timeout, Duration::from_secs(30));
    assert_eq!(worker.database.pool_size, 10);
    assert!(matches!(worker.cache.backend, CacheBackend::None));
    assert_eq!(worker.telemetry.service_name, "bharatmart-worker");
}

/// One bad value, alone among good ones, and a part of the line that it must cause.
const BAD: &[(Process, &str, &str, &str)] = &[
    (
        Process::Api,
        "ENVIRONMENT",
        "staging",
        "development or production",
    ),
    (Process::Api, "HOST", "localhost", "an IPv4 or IPv6 address"),
    (Process::Api, "METRICS_PORT", "70000", "0 to 65535"),
    (Process::Api, "PORT", "three thousand", "0 to 65535"),
    (Process::Api, "SHUTDOWN_TIMEOUT", "0", "above 0"),
    (
        Process::Api,
        "SHUTDOWN_DRAIN_DELAY",
        "30s",
        "less than SHUTDOWN_TIMEOUT, which is 30000 ms",
    ),
    (Process::Api, "FRONTEND_URL", "shop.example", "an origin"),
    (Process::Api, "CORS_ORIGIN", "*", "* is not possible"),
    (Process::Api, "MAX_CONNECTIONS_PER_INSTANCE", "0", "above 0"),
    (Process::Api, "MAX_EVENT_STREAMS", "0", "above 0"),
    (
        Process::Api,
        "MAX_EVENT_STREAMS_PER_USER",
        "none",
        "above 0",
    ),
    (Process::Api, "RATE_LIMIT_WINDOW_MS", "999", "from 1000 up"),
    (
        Process::Api,
        "RATE_LIMIT_MAX_REQUESTS",
        "-1",
        "0 for any number",
    ),
    (Process::Api, "TRUSTED_PROXIES", "10.0.0.0/33", "networks"),
    (
        Process::Api,
        "TRUSTED_PROXY_HEADER",
        "x-real-ip",
        "x-forwarded-for or forwarded",
    ),
    (Process::Api, "KEEP_ALIVE_TIMEOUT", "long", "65s"),
    (Process::Api, "REQUEST_TIMEOUT", "-5", "15s"),
    (Process::Api, "DATABASE_POOL_SIZE", "0", "above 0"),
    (
        Process::Api,
        "DATABASE_POOL_MIN",
        "21",
        "DATABASE_POOL_SIZE, which is 20",
    ),
    (Process::Api, "DATABASE_CONNECTION_TIMEOUT", "0", "above 0"),
    (Process::Api, "DATABASE_STATEMENT_TIMEOUT", "x", "10s"),
    (
        Process::Api,
        "DATABASE_STATEMENT_TIMEOUT",
        "2147483648",
        "from 1 to 2147483647",
    ),
    (
        Process::Api,
        "DATABASE_STATEMENT_TIMEOUT",
        "900us",
        "from 1 to 2147483647",
    ),
    (Process::Api, "QUEUE_REDIS_DB", "256", "0 to 255"),
    (
        Process::Api,
        "QUEUE_PREFIX",
        "bull:shop",
        "colons and braces",
    ),
    (
        Process::Api,
        "CACHE_TYPE",
        "oci-cache",
        "redis, redis-cluster",
    ),
    (Process::Worker, "CACHE_TYPE", "Redis", "memory or none"),
    (Process::Api, "CACHE_TTL", "0", "above 0"),
    (Process::Api, "CACHE_LOCAL_MAX_BYTES", "64MB", "above 0"),
    (Process::Api, "AUTH_PROVIDER", "auth0", "local or supabase"),
    (Process::Api, "JWT_EXPIRY", "900", "15m"),
    (Process::Api, "JWT_EXPIRY", "99999999999y", "15m"),
    (Process::Api, "JWT_REFRESH_EXPIRY", "11y", "7d"),
    (Process::Api, "SESSION_CHECK_INTERVAL", "31s", "30s"),
    (Process::Api, "SESSION_CHECK_INTERVAL", "0s", "30s"),
    (Process::Api, "REQUEST_TIMEOUT", "11y", "15s"),
    (
        Process::Api,
        "JWT_REFRESH_EXPIRY",
        "10m",
        "longer than JWT_EXPIRY, which is 15m",
    ),
    (
        Process::Api,
        "PAYMENT_PROVIDER",
        "barter",
        "sandbox or http",
    ),
    (
        Process::Api,
        "PAYMENT_SANDBOX_FAILURE_RATE",
        "1.5",
        "0 to 1",
    ),
    (Process::Api, "ORDER_PAYMENT_TIMEOUT", "soon", "30m"),
    (Process::Api, "LOG_LEVEL", "verbose", "trace"),
    (Process::Api, "LOG_FORMAT", "xml", "json or pretty"),
    (Process::Api, "ENABLE_METRICS", "perhaps", "true or false"),
    (Process::Api, "CHAOS_ENABLED", "2", "true or false"),
    (Process::Api, "CHAOS_LATENCY_MS", "some", "milliseconds"),
    (
        Process::Worker,
        "WORKER_TYPE",
        "cleaning",
        "email, order, payment or all",
    ),
    (Process::Api, "WORKER_MODE", "threads", "or in-process"),
    (
        Process::Worker,
        "WORKER_MODE",
        "in-process",
        "bull-queue for a worker",
    ),
    (Process::Worker, "WORKER_CONCURRENCY", "0", "above 0"),
    (Process::Worker, "MAX_CONCURRENT_JOBS", "none", "above 0"),
    (Process::Worker, "JOB_TIMEOUT", "0", "above 0"),
    (Process::Worker, "WORKER_LOCK_DURATION", "500", "from 1000"),
    (
        Process::Worker,
        "WORKER_STALLED_INTERVAL",
        "500",
        "from 1000",
    ),
    (Process::Worker, "EMAIL_TRANSPORT", "pigeon", "smtp or file"),
    (Process::Worker, "EMAIL_FROM", "BharatMart", "an address"),
    (Process::Worker, "SMTP_PORT", "0", "1 to 65535"),
    (Process::Worker, "SMTP_SECURE", "perhaps", "starttls"),
];

#[test]
fn a_bad_value_is_one_line_with_the_variable_the_value_and_what_is_allowed() {
    for (process, name, value, allowed) in BAD {
        let error = match process {
            Process::Api => api(&[(name, value)]).err(),
            Process::Worker => worker(&[(name, value)]).err(),
        };
        let error = error
            .unwrap_or_else(|| panic!("{name}={value} was accepted"))
            .to_string();
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(
            error.starts_with(&format!("{name}={value:?} is not allowed: expected ")),
            "{error}"
        );
        assert!(error.contains(allowed), "{error}");
    }
}

#[test]
fn a_bad_secret_is_named_and_not_shown() {
    for (name, value) in [
        ("DATABASE_URL", "mysql://shop:hush@localhost/shop"),
        (
            "DATABASE_URL",
            "postgres://shop:hush@localhost:notaport/shop",
        ),
        ("DATABASE_DIRECT_URL", "hush"),
        ("QUEUE_REDIS_URL", "redis://:hush@localhost:notaport"),
        ("QUEUE_REDIS_URL", "https://:hush@localhost"),
        ("REDIS_URL", "hush"),
        ("REDIS_URL", "redis://:hush#hush@localhost"),
        ("JWT_SECRET", "hush, which is too short"),
    ] {
        let error = api(&[(name, value)]).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!(
                "{name} has a value that is not allowed (not shown)"
            )),
            "{error}"
        );
        assert!(!error.contains("hush"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn every_bad_value_is_reported_once() {
    let error = api(&[("PORT", "x"), ("HOST", "y"), ("CACHE_TYPE", "z")])
        .unwrap_err()
        .to_string();
    // HOST is read by two concerns.
    assert_eq!(error.lines().count(), 3, "{error}");
}

#[test]
fn what_is_required_is_named() {
    let nothing: [(&str, &str); 0] = [];
    let error = ApiConfig::read(&Source::from_map(nothing))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("DATABASE_URL is not set: expected a URL such as postgres://"),
        "{error}"
    );
    assert!(
        error.contains("QUEUE_REDIS_URL is not set: expected a URL such as redis://"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn an_api_that_does_the_jobs_itself_needs_no_redis_but_a_way_for_mails_to_leave() {
    let least = [
        ("DATABASE_URL", "postgres://localhost/shop"),
        ("WORKER_MODE", "in-process"),
        ("WORKER_CONCURRENCY", "9"),
        ("MAX_CONCURRENT_JOBS", "2"),
    ];
    let with = |more: &[(&str, &str)]| {
        ApiConfig::read(&Source::from_map(least.iter().chain(more).copied()))
    };
    let error = with(&[]).unwrap_err().to_string();
    assert!(error.starts_with("SMTP_HOST is not set"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    let api = with(&[("EMAIL_TRANSPORT", "file"), ("EMAIL_DIR", "mails")]).unwrap();
    let JobsConfig::InProcess { work, mail } = api.jobs else {
        panic!("{:?}", api.jobs);
    };
    assert_eq!(work.concurrency, 2);
    assert_eq!(work.job_timeout, Duration::from_secs(30));
    assert_eq!(work.lock_duration, Duration::from_secs(30));
    assert!(matches!(mail.transport, MailTransport::File { .. }));
}

#[test]
fn production_has_no_default_for_anything_secret() {
    let production = [("ENVIRONMENT", "production")];
    let error = AuthConfig::read(&source(&production))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("JWT_SECRET is not set"), "{error}");
    let error = AdminConfig::read(&source(&production))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("ADMIN_EMAIL is not set") && error.contains("ADMIN_PASSWORD is not set"),
        "{error}"
    );
    assert!(AuthConfig::read(&source(&[production[0], ("JWT_SECRET", SECRET)])).is_ok());
}

#[test]
fn production_takes_no_secret_of_an_example() {
    let example = ("JWT_SECRET", "replace-this-with-the-output-of-openssl-rand");
    let production = [("ENVIRONMENT", "production"), example];
    let error = AuthConfig::read(&source(&production))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "JWT_SECRET has a value that is not allowed (not shown): expected a value of your own in place of the example's \
         \"replace-this\""
    );
    assert!(AuthConfig::read(&source(&[example])).is_ok());
}

#[test]
fn development_signs_with_a_random_key_and_says_so() {
    let first = source(&[]);
    let keys = [&first, &source(&[])].map(jwt_secret);
    assert_ne!(keys[0], keys[1]);
    assert_eq!(keys[0].len(), 64);
    let warnings = first.take_warnings();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("JWT_SECRET"), "{warnings:?}");
    assert!(first.take_warnings().is_empty());

    let given = source(&[("JWT_SECRET", SECRET)]);
    assert_eq!(jwt_secret(&given), SECRET);
    assert!(given.take_warnings().is_empty());
}

fn jwt_secret(source: &Source) -> String {
    match AuthConfig::read(source)
        .expect("the settings are good")
        .provider
    {
        AuthProvider::Local(auth) => auth.jwt_secret.expose_secret().to_owned(),
        AuthProvider::Supabase(auth) => panic!("{auth:?}"),
    }
}

#[test]
fn with_supabase_its_address_is_needed_and_no_secret_of_ours() {
    let supabase = [("ENVIRONMENT", "production"), ("AUTH_PROVIDER", "supabase")];
    let error = AuthConfig::read(&source(&supabase)).unwrap_err();
    assert!(
        error.to_string().starts_with("SUPABASE_URL is not set"),
        "{error}"
    );
    let with = |more: &[(&'static str, &'static str)]| {
        let source = source(&[&supabase, more].concat());
        let config = AuthConfig::read(&source).map_err(|error| error.to_string());
        (config, source.take_warnings())
    };
    for (name, value) in [
        ("SUPABASE_URL", "https://shop.supabase.co/auth/v1"),
        ("SUPABASE_URL", "shop.supabase.co"),
        ("SUPABASE_JWT_SECRET", "hush"),
    ] {
        let (config, _) = with(&[("SUPABASE_URL", "https://a.supabase.co"), (name, value)]);
        let error = config.unwrap_err();
        assert!(
            error.starts_with(name) && !error.contains("hush"),
            "{error}"
        );
    }
    let (config, warnings) = with(&[("SUPABASE_URL", "https://a.supabase.co/")]);
    let AuthProvider::Supabase(auth) = config.unwrap().provider else {
        panic!("it is Supabase");
    };
    assert_eq!(auth.issuer(), "https://a.supabase.co/auth/v1");
    assert!(
        auth.jwt_secret.is_none() && warnings.is_empty(),
        "{warnings:?}"
    );
    let (_, warnings) = with(&[("SUPABASE_URL", "http://kong:8000")]);
    assert!(warnings[0].contains("SUPABASE_URL"), "{warnings:?}");
}

#[test]
fn debug_output_shows_no_secret() {
    let hushed = [
        ("JWT_SECRET", "hush-0123456789abcdef0123456789abcdef"),
        ("QUEUE_REDIS_PASSWORD", "hush"),
        ("DATABASE_DIRECT_URL", "postgres://shop:hush@localhost/shop"),
        ("ADMIN_PASSWORD", "hush-hush"),
        ("SMTP_USER", "mailer"),
        ("SMTP_PASSWORD", "hush"),
    ];
    let printed = format!(
        "{:?} {:?} {:?}",
        api(&hushed).unwrap(),
        worker(&hushed).unwrap(),
        AdminConfig::read(&source(&hushed)).unwrap()
    );
    assert!(!printed.contains("hush"), "{printed}");
}

#[test]
fn aliases_and_fallbacks_are_understood() {
    let config = api(&[
        ("DATABASE_POOL_MAX", "7"),
        ("NODE_ENV", "production"),
        ("JWT_SECRET", SECRET),
    ])
    .unwrap();
    assert_eq!(config.database.pool_size, 7);
    assert_eq!(config.process.environment, Environment::Production);
    let config = api(&[("DATABASE_POOL_MAX", "7"), ("DATABASE_POOL_SIZE", "8")]).unwrap();
    assert_eq!(config.database.pool_size, 8);
    assert_eq!(
        worker(&[("FROM_EMAIL", "a@b.example")])
            .unwrap()
            .mail
            .unwrap()
            .from,
        "a@b.example"
    );

    let own = [
        ("QUEUE_REDIS_URL", "redis://queue"),
        ("REDIS_URL", "redis://all"),
    ];
    for (variables, expected) in [(&own[..], "redis://queue"), (&own[1..], "redis://all")] {
        let source = Source::from_map(variables.iter().copied());
        match QueueConfig::read(&source).unwrap().servers {
            QueueServers::Standalone { url, .. } => assert_eq!(url.expose_secret(), expected),
            cluster @ QueueServers::Cluster { .. } => panic!("{cluster:?}"),
        }
    }
}

#[test]
fn queues_are_on_one_server_or_in_a_cluster() {
    let read = |variables: &[(&str, &str)]| {
        QueueConfig::read(&Source::from_map(variables.iter().copied()))
    };
    let cluster = [
        ("QUEUE_REDIS_CLUSTER_NODES", "one:7000, redis://two"),
        ("REDIS_URL", "redis://all"),
    ];
    let QueueServers::Cluster { nodes } = read(&cluster).unwrap().servers else {
        panic!("a cluster was named");
    };
    let nodes: Vec<_> = nodes.iter().map(ExposeSecret::expose_secret).collect();
    assert_eq!(nodes, ["redis://one:7000", "redis://two:6379"]);
    for (more, named) in [
        (("QUEUE_REDIS_URL", "redis://queue"), "not both"),
        (("QUEUE_REDIS_DB", "3"), "no other database"),
        (("QUEUE_REDIS_CA_FILE", "/nowhere.pem"), "PEM form"),
    ] {
        let error = read(&[cluster[0], more]).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn jobs_are_limited_when_a_most_is_given() {
    let limiter = |more: &[(&str, &str)]| WorkerConfig::read(&source(more)).unwrap().limiter;
    assert_eq!(limiter(&[("QUEUE_LIMITER_DURATION", "5s")]), None);
    let limit = limiter(&[("QUEUE_LIMITER_MAX", "20")]).unwrap();
    assert_eq!((limit.max, limit.duration), (20, Duration::from_secs(1)));
}

#[test]
fn concurrency_is_bounded_by_max_concurrent_jobs() {
    let concurrency =
        |more: &[(&str, &str)]| WorkerConfig::read(&source(more)).unwrap().concurrency;
    assert_eq!(concurrency(&[("WORKER_CONCURRENCY", "50")]), 50);
    assert_eq!(
        concurrency(&[("WORKER_CONCURRENCY", "50"), ("MAX_CONCURRENT_JOBS", "20")]),
        20
    );
    assert_eq!(
        concurrency(&[("WORKER_CONCURRENCY", "3"), ("MAX_CONCURRENT_JOBS", "20")]),
        3
    );
}

#[test]
fn the_transport_decides_what_mail_needs() {
    let read = |pairs: &[(&str, &str)]| MailConfig::read(&Source::from_map(pairs.iter().copied()));
    let error = read(&[]).unwrap_err().to_string();
    assert!(error.starts_with("SMTP_HOST is not set"), "{error}");
    let error = read(&[("EMAIL_TRANSPORT", "file")])
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("EMAIL_DIR is not set"), "{error}");
    let file = read(&[("EMAIL_TRANSPORT", "file"), ("EMAIL_DIR", "/tmp/mail")]).unwrap();
    assert!(matches!(file.transport, MailTransport::File { .. }));

    let smtp = read(&[("SMTP_HOST", "smtp.example")]).unwrap();
    let MailTransport::Smtp {
        port,
        security,
        credentials,
        ..
    } = smtp.transport
    else {
        panic!("not SMTP: {smtp:?}");
    };
    assert_eq!((port, security), (587, SmtpSecurity::StartTls));
    assert!(credentials.is_none());
    let error = read(&[("SMTP_HOST", "smtp.example"), ("SMTP_USER", "mailer")])
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("SMTP_PASSWORD is not set"), "{error}");
}

#[test]
fn an_unencrypted_password_in_production_is_a_warning() {
    let source = source(&[
        ("ENVIRONMENT", "production"),
        ("EMAIL_FROM", "orders@shop.example"),
        ("SMTP_PORT", "25"),
        ("SMTP_USER", "mailer"),
        ("SMTP_PASSWORD", "hush"),
    ]);
    MailConfig::read(&source).unwrap();
    let warnings = source.take_warnings();
    assert!(
        warnings.len() == 1 && warnings[0].contains("SMTP_SECURE"),
        "{warnings:?}"
    );
}

#[test]
fn a_subcommand_reads_only_what_it_needs() {
    let source = Source::from_map([
        ("DATABASE_URL", "postgres://localhost/shop"),
        ("CACHE_TYPE", "wrong"),
    ]);
    assert!(DatabaseConfig::read(&source, Process::Api).is_ok());
    assert!(TelemetryConfig::read(&source, Process::Api).is_ok());
    assert_eq!(
        AdminConfig::read(&source).unwrap().email,
        "admin@bharatmart.example"
    );
}

#[test]
fn a_short_shutdown_shortens_the_default_drain_and_refuses_a_longer_one() {
    let process = api(&[("SHUTDOWN_TIMEOUT", "3000")]).unwrap().process;
    assert_eq!(process.shutdown_drain_delay, Duration::from_millis(1500));
    assert!(
        api(&[
            ("SHUTDOWN_TIMEOUT", "3000"),
            ("SHUTDOWN_DRAIN_DELAY", "3000")
        ])
        .is_err()
    );
}
