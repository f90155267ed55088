//! The settings of the database: its servers, TLS, poolers, and a Supabase project in place of a URL.

mod properties;
mod supabase;
mod tls;
mod urls;

use std::time::Duration;

use bharatmart_config::{
    ApiConfig, ConfigError, DatabaseConfig, DatabaseUrl, PoolerMode, Process, Source,
};
use percent_encoding::percent_decode_str;
use secrecy::ExposeSecret;
use url::Url;

const PROJECT: &str = "https://abcdefghijklmnopqrst.supabase.co";

fn source(pairs: &[(&str, &str)]) -> Source {
    Source::from_map(pairs.iter().copied())
}

fn database(pairs: &[(&str, &str)]) -> Result<DatabaseConfig, ConfigError> {
    DatabaseConfig::read(&source(pairs), Process::Api)
}

fn primary(url: &str) -> Vec<DatabaseUrl> {
    match database(&[("DATABASE_URL", url)]) {
        Ok(config) => config.primary,
        Err(error) => panic!("{url}: {error}"),
    }
}

/// The only line of what is wrong.
fn problem(pairs: &[(&str, &str)]) -> String {
    let error = database(pairs)
        .err()
        .unwrap_or_else(|| panic!("{pairs:?} was accepted"))
        .to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

fn warnings(pairs: &[(&str, &str)]) -> Vec<String> {
    let source = source(pairs);
    DatabaseConfig::read(&source, Process::Api).expect("good settings");
    source.take_warnings()
}

/// What sqlx makes of a URL: what stands behind the question mark replaces what stands before it.
#[derive(Debug, Default, Eq, PartialEq)]
struct Seen {
    user: Option<String>,
    password: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    database: Option<String>,
    others: Vec<(String, String)>,
}

fn seen(one: &DatabaseUrl) -> Seen {
    let url = Url::parse(one.url.expose_secret()).expect("a URL");
    let decoded = |text: &str| {
        percent_decode_str(text)
            .decode_utf8()
            .expect("text")
            .into_owned()
    };
    let filled = |text: String| Some(text).filter(|text| !text.is_empty());
    let mut seen = Seen {
        user: filled(decoded(url.username())),
        password: url.password().map(decoded),
        host: url.host_str().map(decoded).and_then(filled),
        port: url.port(),
        database: filled(decoded(url.path().trim_start_matches('/'))),
        others: Vec::new(),
    };
    for (key, value) in url.query_pairs() {
        match &*key {
            "user" => seen.user = Some(value.into_owned()),
            "password" => seen.password = Some(value.into_owned()),
            "host" => seen.host = Some(value.into_owned()),
            "port" => seen.port = value.parse().ok(),
            "dbname" => seen.database = Some(value.into_owned()),
            _ => seen.others.push((key.into_owned(), value.into_owned())),
        }
    }
    seen
}

fn parameter(one: &DatabaseUrl, name: &str) -> Option<String> {
    let others = seen(one).others;
    let mut found = others.into_iter().filter(|(key, _)| key == name);
    let value = found.next().map(|(_, value)| value);
    assert!(found.next().is_none(), "{name} is there twice");
    value
}

#[test]
fn a_url_gives_away_a_pooler_by_its_host_its_port_or_prismas_parameter() {
    use PoolerMode::{Session, Transaction};
    for (url, expected) in [
        ("postgres://h/db", None),
        ("postgres://h:6543/db", Some(Transaction)),
        ("postgres://h:6432/db", None),
        ("postgres://h/db?pgbouncer=true", Some(Transaction)),
        ("postgres://h/db?pgbouncer=false", None),
        ("postgres://aws-0-eu.pooler.supabase.com/db", Some(Session)),
        (
            "postgres://aws-0-eu.pooler.supabase.com:6543/db",
            Some(Transaction),
        ),
        (
            "postgres://aws-0-eu.pooler.supabase.com:5432/db?pgbouncer=true",
            Some(Transaction),
        ),
        ("postgres://pooler.supabase.com.example/db", None),
        ("postgres://db.abc.supabase.co/db", None),
        ("postgres://db.abc.supabase.co:6543/db", Some(Transaction)),
    ] {
        assert_eq!(primary(url)[0].pooler, expected, "{url}");
    }
    let hosts = primary("postgres://h1:6543,h2/db");
    assert_eq!(
        (hosts[0].pooler, hosts[1].pooler),
        (Some(Transaction), None)
    );
    assert!(warnings(&[("DATABASE_URL", "postgres://h/db?pgbouncer=false")]).is_empty());
}

#[test]
fn the_pooler_is_found_out_unless_it_is_said() {
    let pooler = |pairs: &[(&str, &str)]| {
        let url = [("DATABASE_URL", "postgres://h:6543/db")];
        database(&[&url, pairs].concat()).unwrap().pooler
    };
    assert_eq!(pooler(&[]), None);
    assert_eq!(pooler(&[("DATABASE_POOLER", "auto")]), None);
    assert_eq!(
        pooler(&[("DATABASE_POOLER", "session")]),
        Some(PoolerMode::Session)
    );
    assert_eq!(
        pooler(&[("DATABASE_POOLER", "transaction")]),
        Some(PoolerMode::Transaction)
    );
}

#[test]
fn a_bad_value_is_named_with_what_is_allowed() {
    for (name, value, allowed) in [
        (
            "DATABASE_POOLER",
            "pgbouncer",
            "auto, session or transaction",
        ),
        (
            "DATABASE_SSL_MODE",
            "on",
            "disable, allow, prefer, require, verify-ca or verify-full",
        ),
        (
            "DATABASE_MAX_REPLICA_LAG",
            "0",
            "milliseconds above 0, or a duration such as 10s",
        ),
        (
            "DATABASE_MAX_REPLICA_LAG",
            "soon",
            "milliseconds above 0, or a duration such as 10s",
        ),
    ] {
        assert_eq!(
            problem(&[("DATABASE_URL", "postgres://u:hush@h/db"), (name, value)]),
            format!("{name}={value:?} is not allowed: expected {allowed}")
        );
    }
}

#[test]
fn a_replica_may_lag_for_ten_seconds_unless_it_is_said() {
    let lag = |pairs: &[(&str, &str)]| {
        let url = [("DATABASE_URL", "postgres://h/db")];
        database(&[&url, pairs].concat()).unwrap().max_replica_lag
    };
    assert_eq!(lag(&[]), Duration::from_secs(10));
    assert_eq!(
        lag(&[("DATABASE_MAX_REPLICA_LAG", "2500")]),
        Duration::from_millis(2500)
    );
    assert_eq!(
        lag(&[("DATABASE_MAX_REPLICA_LAG", "1m")]),
        Duration::from_mins(1)
    );
}

#[test]
fn debug_output_shows_no_secret_of_the_database() {
    let servers = [
        &[
            (
                "DATABASE_URL",
                "postgres://u:hush@h1,[::1]/db?password=hush",
            ),
            (
                "DATABASE_READ_URL",
                "postgres://u:hush@r/db,postgres://u:hush@/db",
            ),
            ("DATABASE_DIRECT_URL", "postgres://u:hush@d/db"),
        ][..],
        &[("SUPABASE_URL", PROJECT), ("SUPABASE_DB_PASSWORD", "hush")],
    ];
    for servers in servers {
        let redis = [("REDIS_URL", "redis://all")];
        let config = ApiConfig::read(&source(&[servers, &redis].concat())).unwrap();
        let printed = format!("{config:?}");
        assert!(!printed.contains("hush"), "{printed}");
    }
}
