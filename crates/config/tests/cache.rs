//! The settings of the cache: its type, its servers, and what goes together.

use std::path::Path;
use std::time::Duration;

use bharatmart_config::{
    ApiConfig, CacheBackend, CacheConfig, ConfigError, RedisCacheConfig, RedisTopology, Source,
    WorkerProcessConfig,
};
use secrecy::{ExposeSecret, SecretString};

/// A certificate of an authority, made for this test; its key is gone.
const AUTHORITY: &str = include_str!("authority.pem");

fn source(pairs: &[(&str, &str)]) -> Source {
    Source::from_map(pairs.iter().copied())
}

fn cache(pairs: &[(&str, &str)]) -> Result<CacheConfig, ConfigError> {
    CacheConfig::read(&source(pairs))
}

fn backend(pairs: &[(&str, &str)]) -> CacheBackend {
    cache(pairs).expect("good settings").backend
}

fn redis(pairs: &[(&str, &str)]) -> RedisCacheConfig {
    match backend(pairs) {
        CacheBackend::Redis(redis) => redis,
        other => panic!("not Redis: {other:?}"),
    }
}

/// The addresses that a topology begins with.
fn addresses(pairs: &[(&str, &str)]) -> Vec<String> {
    let show = |url: &SecretString| url.expose_secret().to_owned();
    match &redis(pairs).topology {
        RedisTopology::Standalone { url } => vec![show(url)],
        RedisTopology::Cluster { nodes } => nodes.iter().map(show).collect(),
        RedisTopology::Sentinel { sentinels, .. } => sentinels.iter().map(show).collect(),
    }
}

/// The only line of what is wrong.
fn problem(pairs: &[(&str, &str)]) -> String {
    let error = cache(pairs)
        .err()
        .unwrap_or_else(|| panic!("{pairs:?} was accepted"))
        .to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

fn warnings(pairs: &[(&str, &str)]) -> Vec<String> {
    let source = source(pairs);
    CacheConfig::read(&source).expect("good settings");
    source.take_warnings()
}

const URL: (&str, &str) = ("CACHE_REDIS_URL", "redis://cache:6379");
const OCI: (&str, &str) = ("OCI_CACHE_ENDPOINT", "oci:6379");
const SHARED: (&str, &str) = ("REDIS_URL", "redis://all:6379");
const NODES: (&str, &str) = ("CACHE_REDIS_CLUSTER_NODES", "node-1:7001,node-2");
const SENTINELS: (&str, &str) = ("CACHE_REDIS_SENTINELS", "sentinel-1,sentinel-2:1");

const REDIS: (&str, &str) = ("CACHE_TYPE", "redis");
const CLUSTER: (&str, &str) = ("CACHE_TYPE", "redis-cluster");
const SENTINEL: (&str, &str) = ("CACHE_TYPE", "redis-sentinel");
const MEMORY: (&str, &str) = ("CACHE_TYPE", "memory");
const NONE: (&str, &str) = ("CACHE_TYPE", "none");

#[test]
fn the_type_follows_from_the_servers_unless_it_is_given() {
    for (pairs, expected) in [
        (&[][..], "none"),
        (&[SHARED], "none"),
        (&[URL], "redis"),
        (&[OCI], "redis"),
        (&[URL, NODES], "redis-cluster"),
        (&[URL, NODES, SENTINELS], "redis-sentinel"),
        (&[REDIS, URL, NODES, SENTINELS], "redis"),
        (&[CLUSTER, URL, NODES, SENTINELS], "redis-cluster"),
        (&[SENTINEL, URL, NODES, SENTINELS], "redis-sentinel"),
        (&[MEMORY, URL, NODES, SENTINELS], "memory"),
        (&[NONE, URL, NODES, SENTINELS], "none"),
        (&[("CACHE_TYPE", ""), URL], "redis"),
    ] {
        assert_eq!(backend(pairs).as_str(), expected, "{pairs:?}");
    }
}

#[test]
fn three_variables_are_enough_for_a_cache_in_redis() {
    let config = cache(&[URL, ("CACHE_REDIS_DB", "0"), ("CACHE_TTL", "3600")]).unwrap();
    assert_eq!(config.ttl, Duration::from_hours(1));
    assert_eq!(config.local_max_bytes, 32 * 1024 * 1024);
    let CacheBackend::Redis(redis) = config.backend else {
        panic!("not Redis: {config:?}");
    };
    assert!(matches!(redis.topology, RedisTopology::Standalone { .. }));
    assert!(redis.username.is_none() && redis.password.is_none() && redis.ca_file.is_none());
    assert_eq!(redis.db, Some(0));
    assert_eq!(redis.prefix, "bharatmart:cache");
    assert_eq!(redis.command_timeout, Duration::from_millis(100));
    assert_eq!(redis.breaker_threshold, 3);
    assert_eq!(redis.breaker_reset, Duration::from_millis(500));
}

#[test]
fn the_api_and_the_workers_read_the_same_cache() {
    let pairs = [
        SHARED,
        URL,
        ("DATABASE_URL", "postgres://localhost/shop"),
        ("SMTP_HOST", "localhost"),
    ];
    let api = ApiConfig::read(&source(&pairs)).unwrap().cache;
    let worker = WorkerProcessConfig::read(&source(&pairs)).unwrap().cache;
    assert_eq!(api.backend.as_str(), "redis");
    assert_eq!(format!("{api:?}"), format!("{worker:?}"));
}

#[test]
fn one_servers_address_has_two_fallbacks() {
    assert_eq!(addresses(&[REDIS, SHARED]), ["redis://all:6379"]);
    assert_eq!(addresses(&[REDIS, SHARED, OCI]), ["redis://oci:6379"]);
    assert_eq!(
        addresses(&[REDIS, SHARED, OCI, URL]),
        ["redis://cache:6379"]
    );
    assert_eq!(
        addresses(&[("CACHE_REDIS_URL", "rediss://shop:pw@cache/2")]),
        ["rediss://shop:pw@cache:6379/2"]
    );
    let error = problem(&[REDIS]);
    assert!(error.starts_with("CACHE_REDIS_URL is not set"), "{error}");
    // Bad only for those who use it.
    let bad = ("REDIS_URL", "all:6379");
    assert_eq!(addresses(&[bad, URL]), ["redis://cache:6379"]);
    let error = problem(&[REDIS, bad]);
    assert!(error.starts_with("REDIS_URL has a value"), "{error}");
}

#[test]
fn a_cluster_has_nodes_or_one_seed() {
    assert_eq!(
        addresses(&[NODES]),
        ["redis://node-1:7001", "redis://node-2:6379"]
    );
    assert_eq!(
        addresses(&[(
            "CACHE_REDIS_CLUSTER_NODES",
            " rediss://a:b@[::1]:1 , rediss://a:b@node/0 "
        )]),
        ["rediss://a:b@[::1]:1", "rediss://a:b@node:6379/0"]
    );
    assert_eq!(addresses(&[CLUSTER, URL]), ["redis://cache:6379"]);
    assert_eq!(addresses(&[CLUSTER, OCI]), ["redis://oci:6379"]);
    let error = problem(&[CLUSTER, SHARED]);
    assert!(
        error.starts_with("CACHE_REDIS_CLUSTER_NODES is not set: expected host:port"),
        "{error}"
    );
}

#[test]
fn a_cluster_has_only_database_0() {
    assert_eq!(redis(&[NODES, ("CACHE_REDIS_DB", "0")]).db, Some(0));
    let error = problem(&[NODES, ("CACHE_REDIS_DB", "1")]);
    assert!(
        error.starts_with("CACHE_REDIS_DB=\"1\" is not allowed: expected 0: a cluster"),
        "{error}"
    );
    let error = problem(&[CLUSTER, ("CACHE_REDIS_URL", "redis://cache:6379/1")]);
    assert!(
        error.starts_with("CACHE_REDIS_URL has a value") && error.contains("only database 0"),
        "{error}"
    );
}

#[test]
fn sentinels_have_their_own_port_and_name_the_master() {
    let RedisTopology::Sentinel {
        sentinels,
        master_name,
    } = redis(&[SENTINELS]).topology
    else {
        panic!("not sentinels");
    };
    let sentinels: Vec<_> = sentinels.iter().map(ExposeSecret::expose_secret).collect();
    assert_eq!(
        sentinels,
        ["redis://sentinel-1:26379", "redis://sentinel-2:1"]
    );
    assert_eq!(master_name, "mymaster");
    let RedisTopology::Sentinel { master_name, .. } =
        redis(&[SENTINELS, ("CACHE_REDIS_MASTER_NAME", "shop")]).topology
    else {
        panic!("not sentinels");
    };
    assert_eq!(master_name, "shop");
    let error = problem(&[SENTINEL, URL]);
    assert!(
        error.starts_with("CACHE_REDIS_SENTINELS is not set"),
        "{error}"
    );
}

#[test]
fn what_contradicts_itself_in_a_list_is_refused_and_not_shown() {
    for (name, value) in [
        ("CACHE_REDIS_CLUSTER_NODES", "node-1,hush:port"),
        ("CACHE_REDIS_CLUSTER_NODES", "node-1,"),
        ("CACHE_REDIS_CLUSTER_NODES", "redis://:hush@node-1,node-2"),
        (
            "CACHE_REDIS_CLUSTER_NODES",
            "redis://a:hush@n,redis://b:hush@n",
        ),
        ("CACHE_REDIS_CLUSTER_NODES", "redis://:hush@node-1/1"),
        (
            "CACHE_REDIS_CLUSTER_NODES",
            "rediss://hush-1,redis://hush-2",
        ),
        ("CACHE_REDIS_SENTINELS", "rediss://hush-1,hush-2"),
        ("CACHE_REDIS_SENTINELS", ":hush@sentinel:26379"),
        ("CACHE_REDIS_SENTINELS", "redis://:hush@sentinel/1"),
        (
            "CACHE_REDIS_SENTINELS",
            "redis://:hush1@sentinel-1,redis://:hush2@sentinel-2",
        ),
        ("CACHE_REDIS_URL", "redis://:hush@cache/shop"),
        ("CACHE_REDIS_URL", "https://:hush@cache"),
        ("CACHE_REDIS_URL", "user:hush@cache:6379"),
    ] {
        let error = problem(&[(name, value)]);
        assert!(
            error.starts_with(&format!(
                "{name} has a value that is not allowed (not shown): expected "
            )),
            "{error}"
        );
        assert!(!error.contains("hush"), "{error}");
    }
}

#[test]
fn a_bad_value_names_the_variable_and_what_is_allowed() {
    for (servers, name, value, allowed) in [
        (URL, "CACHE_REDIS_DB", "256", "from 0 to 255"),
        (URL, "CACHE_PREFIX", "bharat mart", "without spaces"),
        (URL, "CACHE_PREFIX", "shop\u{7f}", "without spaces"),
        (URL, "CACHE_PREFIX", "{shop}", "to one node"),
        (URL, "CACHE_COMMAND_TIMEOUT", "0", "100ms"),
        (URL, "CACHE_BREAKER_THRESHOLD", "0", "above 0"),
        (URL, "CACHE_BREAKER_RESET", "0", "500ms"),
        (SENTINELS, "CACHE_REDIS_MASTER_NAME", "my master", "spaces"),
    ] {
        let error = problem(&[servers, (name, value)]);
        assert!(
            error.starts_with(&format!("{name}={value:?} is not allowed: expected "))
                && error.contains(allowed),
            "{error}"
        );
    }
}

#[test]
fn a_user_needs_a_password_somewhere() {
    let user = ("CACHE_REDIS_USERNAME", "shop");
    let with_password = ("CACHE_REDIS_URL", "redis://:hush@cache");
    let both = redis(&[URL, user, ("CACHE_REDIS_PASSWORD", "hush")]);
    assert_eq!(both.username.as_deref(), Some("shop"));
    assert_eq!(
        both.password.as_ref().map(ExposeSecret::expose_secret),
        Some("hush")
    );
    redis(&[with_password, user]);
    let error = problem(&[URL, user]);
    assert!(
        error.starts_with("CACHE_REDIS_PASSWORD is not set"),
        "{error}"
    );
    // A sentinel's password is not the master's.
    let guarded = ("CACHE_REDIS_SENTINELS", "redis://:hush@sentinel");
    let error = problem(&[guarded, user]);
    assert!(
        error.starts_with("CACHE_REDIS_PASSWORD is not set"),
        "{error}"
    );
}

#[test]
fn the_file_of_authorities_is_looked_at_when_the_settings_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let tls = ("CACHE_REDIS_URL", "rediss://cache:6380");
    let good = file("good.pem", AUTHORITY);
    let both = file("both.pem", &format!("{AUTHORITY}{AUTHORITY}"));
    for path in [&good, &both] {
        let pairs = [tls, ("CACHE_REDIS_CA_FILE", path.as_str())];
        assert_eq!(redis(&pairs).ca_file.as_deref(), Some(Path::new(path)));
        assert!(warnings(&pairs).is_empty());
    }
    let broken = AUTHORITY.replace("\nMII", "\n!!!");
    let other = "-----BEGIN CERTIFICATE-----\nc2hvcA==\n-----END CERTIFICATE-----\n";
    for (path, reason) in [
        (
            folder.path().join("missing").to_str().unwrap(),
            "No such file",
        ),
        (folder.path().to_str().unwrap(), "directory"),
        (&file("empty.pem", ""), "holds none"),
        (&file("words.pem", "no certificate\n"), "holds none"),
        (&file("broken.pem", &broken), "PEM form ("),
        (&file("other.pem", other), "PEM form ("),
    ] {
        let error = problem(&[tls, ("CACHE_REDIS_CA_FILE", path)]);
        assert!(
            error.starts_with(&format!(
                "CACHE_REDIS_CA_FILE={path:?} is not allowed: expected a file of certificates in PEM form ("
            )) && error.contains(reason),
            "{error}"
        );
    }
    assert_eq!(
        warnings(&[URL, ("CACHE_REDIS_CA_FILE", &good)]),
        [
            "CACHE_REDIS_CA_FILE is set but not used: the cache's Redis is reached without TLS (rediss://)"
        ]
    );
    // Whoever has no Redis needs no file for it.
    assert_eq!(
        warnings(&[MEMORY, ("CACHE_REDIS_CA_FILE", "missing")]),
        ["CACHE_REDIS_CA_FILE is set but not used: the cache's type is memory"]
    );
}

#[test]
fn what_belongs_to_another_type_is_a_warning() {
    let names = |pairs: &[(&str, &str)]| -> Vec<String> {
        let unused = |warning: &String| warning.contains("is set but not used");
        let warnings = warnings(pairs);
        assert!(warnings.iter().all(unused), "{warnings:?}");
        warnings
            .iter()
            .filter_map(|warning| Some(warning.split_once(' ')?.0.to_owned()))
            .collect()
    };
    let master = ("CACHE_REDIS_MASTER_NAME", "shop");
    let everywhere = [
        ("CACHE_REDIS_DB", "0"),
        ("CACHE_REDIS_USERNAME", "shop"),
        ("CACHE_REDIS_PASSWORD", "hush"),
        ("CACHE_PREFIX", "shop"),
        ("CACHE_COMMAND_TIMEOUT", "50"),
        ("CACHE_BREAKER_THRESHOLD", "5"),
        ("CACHE_BREAKER_RESET", "1s"),
        ("CACHE_TTL", "60"),
        ("CACHE_LOCAL_MAX_BYTES", "1000000"),
    ];
    let with = |servers: &[(&'static str, &'static str)]| [servers, &everywhere[..]].concat();
    let nothing: [&str; 0] = [];
    assert_eq!(names(&with(&[URL])), nothing);
    assert_eq!(names(&with(&[NODES])), nothing);
    assert_eq!(names(&with(&[SENTINELS, master])), nothing);
    assert_eq!(names(&with(&[CLUSTER, URL])), nothing);
    assert_eq!(names(&[SHARED]), nothing);
    assert_eq!(
        names(&with(&[URL, NODES, SENTINELS, master])),
        ["CACHE_REDIS_URL", "CACHE_REDIS_CLUSTER_NODES"]
    );
    assert_eq!(
        names(&[URL, NODES, master]),
        ["CACHE_REDIS_URL", "CACHE_REDIS_MASTER_NAME"]
    );
    assert_eq!(
        names(&[REDIS, URL, NODES, SENTINELS]),
        ["CACHE_REDIS_CLUSTER_NODES", "CACHE_REDIS_SENTINELS"]
    );
    // The bounds of the process's own memory are no part of Redis.
    assert_eq!(names(&with(&[MEMORY, URL])).len(), 8);
    assert_eq!(names(&with(&[NONE, URL])).len(), 8);
    assert_eq!(
        warnings(&[MEMORY, URL]),
        ["CACHE_REDIS_URL is set but not used: the cache's type is memory"]
    );
}

#[test]
fn debug_output_shows_no_secret_of_the_cache() {
    for servers in [
        ("CACHE_REDIS_URL", "redis://:hush@cache"),
        ("CACHE_REDIS_CLUSTER_NODES", "redis://:hush@node"),
        ("CACHE_REDIS_SENTINELS", "redis://:hush@sentinel"),
    ] {
        let config = cache(&[servers, ("CACHE_REDIS_PASSWORD", "hush-hush")]).unwrap();
        let printed = format!("{config:?}");
        assert!(!printed.contains("hush"), "{printed}");
    }
}
