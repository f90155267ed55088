//! URLs: hosts, replicas, parameters, and what is refused.

use crate::{Seen, database, primary, problem, seen, warnings};

#[test]
fn every_host_of_a_url_makes_a_url_of_its_own() {
    for (url, hosts) in [
        ("postgres://u:p@h/db", &[("h", 5432)][..]),
        ("postgresql://u:p@h:5433/db", &[("h", 5433)]),
        (
            "postgres://u:p@h1:5432,h2:5433/db",
            &[("h1", 5432), ("h2", 5433)],
        ),
        (
            "postgres://u:p@h1,h2:5433/db?target_session_attrs=read-write",
            &[("h1", 5432), ("h2", 5433)],
        ),
        (
            "postgres://u:p@h1:5433,h2/db?target_session_attrs=primary",
            &[("h1", 5433), ("h2", 5432)],
        ),
        (
            "postgres://u:p@[::1],[2001:db8::1]:5433,10.0.0.1/db?target_session_attrs=any",
            &[("::1", 5432), ("2001:db8::1", 5433), ("10.0.0.1", 5432)],
        ),
        (
            "postgres:///db?host=h1,h2&port=5433&user=u&password=p",
            &[("h1", 5433), ("h2", 5433)],
        ),
        (
            "postgres://u:p@/db?host=h1,::1&port=,5433",
            &[("h1", 5432), ("::1", 5433)],
        ),
        (
            "postgres://u:p@h/db?hostaddr=10.0.0.1",
            &[("10.0.0.1", 5432)],
        ),
        (
            "postgres://u:p@/db?host=/run/postgresql",
            &[("/run/postgresql", 5432)],
        ),
        (
            "postgres://u:p@:5433/db?host=/run/postgresql",
            &[("/run/postgresql", 5433)],
        ),
        (
            "postgres://u:p@%2Frun%2Fpostgresql:5433,h/db",
            &[("/run/postgresql", 5433), ("h", 5432)],
        ),
    ] {
        let urls = primary(url);
        let found: Vec<_> = urls
            .iter()
            .map(|one| (one.host.as_str(), one.port))
            .collect();
        assert_eq!(found, hosts, "{url}");
        for one in &urls {
            let expected = Seen {
                user: Some("u".to_owned()),
                password: Some("p".to_owned()),
                host: Some(one.host.clone()),
                port: Some(one.port),
                database: Some("db".to_owned()),
                others: Vec::new(),
            };
            assert_eq!(seen(one), expected, "{url}");
        }
    }
}

#[test]
fn a_url_without_a_host_leaves_the_choice_to_sqlx() {
    for (url, user, password) in [
        ("postgres:///db", None, None),
        ("postgres://u@/db", Some("u"), None),
        ("postgres://u:p%2B%40@/db", Some("u"), Some("p+@")),
    ] {
        let urls = primary(url);
        assert_eq!((urls[0].host.as_str(), urls[0].port), ("localhost", 5432));
        let seen = seen(&urls[0]);
        assert_eq!((seen.host, seen.port), (None, Some(5432)), "{url}");
        assert_eq!(seen.user.as_deref(), user, "{url}");
        assert_eq!(seen.password.as_deref(), password, "{url}");
        assert_eq!(seen.database.as_deref(), Some("db"), "{url}");
    }
}

const ESCAPED: &str = "%23 %2F %3F %40 %25";

/// A variable, a bad value, and a part of the reason that it must cause.
const REFUSED: &[(&str, &str, &str)] = &[
    ("DATABASE_URL", "mysql://u:hush@h/db", "a URL such as"),
    ("DATABASE_URL", "postgres://", "a URL such as"),
    ("DATABASE_URL", "hush", "a URL such as"),
    ("DATABASE_URL", "postgres://u:hu\tsh@h/db", "a URL such as"),
    (
        "DATABASE_URL",
        "postgres://u:hush@h:port/db",
        "ports from 1",
    ),
    (
        "DATABASE_URL",
        "postgres://u:hush@h:70000/db",
        "ports from 1",
    ),
    ("DATABASE_URL", "postgres://u:hush@h:0/db", "ports from 1"),
    ("DATABASE_URL", "postgres://u:hush@h1,,h2/db", "by commas"),
    ("DATABASE_URL", "postgres://u:hush@h1,/db", "by commas"),
    ("DATABASE_URL", "postgres://u:hush@h 1/db", "names or"),
    ("DATABASE_URL", "postgres://u:hush@::1/db", "names or"),
    (
        "DATABASE_URL",
        "postgres://u:hush@h1,h2/db?port=1,2,3",
        "ports",
    ),
    (
        "DATABASE_URL",
        "postgres://u:hush@h/db?hostaddr=h",
        "names or",
    ),
    // Characters of a password that end it.
    ("DATABASE_URL", "postgres://u:1/hush@h/db", ESCAPED),
    ("DATABASE_URL", "postgres://u:1?hush@h/db", ESCAPED),
    ("DATABASE_URL", "postgres://u:1?hush=1&hush=@h/db", ESCAPED),
    ("DATABASE_URL", "postgres://u:1#hush@h/db", ESCAPED),
    ("DATABASE_URL", "postgres://u:hush@h/db#hush", ESCAPED),
    ("DATABASE_URL", "postgres://u:hush%ff@h/db", ESCAPED),
    (
        "DATABASE_URL",
        "postgres://u:hush@h1/db,postgres://u:hush@h2/db",
        "host1:5432,host2:5432",
    ),
    (
        "DATABASE_URL",
        "postgres://u:hush@h/db?sslmode=on",
        "verify-full",
    ),
    (
        "DATABASE_URL",
        "postgres://u:hush@h/db?sslmode=require&sslrootcert=system",
        "sslmode=verify-full beside",
    ),
    (
        "DATABASE_URL",
        "postgres://u:hush@h/db?sslrootcert=/missing",
        "as sslrootcert",
    ),
    (
        "DATABASE_URL",
        "postgres://u:hush@h/db?statement-cache-capacity=hush",
        "a whole number as",
    ),
    (
        "DATABASE_URL",
        "postgres://u:hush@h/db?target_session_attrs=standby",
        "target_session_attrs to be read-write, primary or any",
    ),
    (
        "DATABASE_READ_URL",
        "postgres://u:hush@h/db?target_session_attrs=primary",
        "target_session_attrs to be any, read-only",
    ),
    (
        "DATABASE_READ_URL",
        "postgres://u:hush@h1,h2/db",
        "one host",
    ),
    ("DATABASE_READ_URL", "postgres://u:hush@h/db,", "before and"),
    ("DATABASE_READ_URL", ",postgres://u:hush@h/db", "before and"),
    (
        "DATABASE_READ_URL",
        "postgres://u:hush@h/db,,postgres://h2/db",
        "before and",
    ),
    (
        "DATABASE_READ_URL",
        "postgres://u:hush@h/db, ,postgres://h2/db",
        "before and",
    ),
    (
        "DATABASE_READ_URL",
        "postgres://u:hush@h/db,h2",
        "before and",
    ),
    (
        "DATABASE_READ_URL",
        "postgres://u:hush@h/db,postgres://",
        "a URL",
    ),
    ("DATABASE_DIRECT_URL", "hush", "a URL such as"),
];

#[test]
fn a_url_that_cannot_be_understood_is_refused_with_a_reason_and_not_shown() {
    for (name, value, reason) in REFUSED {
        let good = ("DATABASE_URL", "postgres://u:hush@good/db");
        let error = problem(&[good, (name, value)]);
        assert!(
            error.starts_with(&format!(
                "{name} has a value that is not allowed (not shown): expected "
            )) && error.contains(reason),
            "{value}: {error}"
        );
        assert!(!error.contains("hush"), "{error}");
    }
}

#[test]
fn replicas_are_one_url_or_several() {
    let replicas = |name: &str, list: &str| -> Vec<_> {
        let config = database(&[("DATABASE_URL", "postgres://h/db"), (name, list)]).unwrap();
        let urls = config.replicas.iter();
        urls.map(|one| (one.host.clone(), one.port, seen(one).password))
            .collect()
    };
    let expected = |host: &str, port, password: Option<&str>| {
        (host.to_owned(), port, password.map(str::to_owned))
    };
    assert_eq!(
        replicas("DATABASE_READ_URL", "postgres://r1/db"),
        [expected("r1", 5432, None)]
    );
    assert_eq!(
        replicas(
            "DATABASE_READ_REPLICA_URL",
            "postgres://u:a,b@r1:1/db?options=-c%20search_path=a,b , postgresql://u:c@[::1]:2/db,postgres://r3?target_session_attrs=prefer-standby"
        ),
        [
            expected("r1", 1, Some("a,b")),
            expected("::1", 2, Some("c")),
            expected("r3", 5432, None)
        ]
    );
    assert!(
        database(&[("DATABASE_URL", "postgres://h/db")])
            .unwrap()
            .replicas
            .is_empty()
    );
}

#[test]
fn a_replica_that_is_the_primary_is_a_warning() {
    let warned = |primary: &str, replicas: &str| {
        let pairs = [("DATABASE_URL", primary), ("DATABASE_READ_URL", replicas)];
        let warnings = warnings(&pairs);
        assert!(
            warnings
                .iter()
                .all(|warning| warning.starts_with("DATABASE_READ_URL names a server")),
            "{warnings:?}"
        );
        warnings.len() == 1
    };
    assert!(warned("postgres://a:b@h/db", "postgres://c:d@H:5432/db"));
    // Of several hosts all but one are standbys, and may well be read from.
    assert!(!warned(
        "postgres://h1,h2:1/db",
        "postgres://r/db,postgres://h2:1/db"
    ));
    assert!(warned("postgres://h/db", "postgres://u@h?dbname=db"));
    assert!(warned("postgres://db@h", "postgres://u@h/db"));
    assert!(!warned("postgres://h/db", "postgres://h:5433/db"));
    assert!(!warned("postgres://h/db", "postgres://h/other"));
    assert!(!warned("postgres://h/db", "postgres://r/db"));
}

#[test]
fn migrations_have_urls_of_their_own_when_they_are_given() {
    let url = ("DATABASE_URL", "postgres://pooler:6543/db");
    assert!(database(&[url]).unwrap().direct.is_empty());
    let direct = ("DATABASE_DIRECT_URL", "postgres://h1,h2:5433/db");
    let config = database(&[url, direct]).unwrap();
    let hosts: Vec<_> = config
        .direct
        .iter()
        .map(|one| (one.host.as_str(), one.port))
        .collect();
    assert_eq!(hosts, [("h1", 5432), ("h2", 5433)]);
}

#[test]
fn a_parameter_stays_if_sqlx_knows_it_and_is_a_warning_without_its_value_if_not() {
    let url = "postgres://u:p@h/db?application_name=shop&connect_timeout=77&options=-c%20a%3Db&connect_timeout=78\
               &channel_binding=hush&options[geqo]=off&keepalives=hush&sslcert=c&ssl-key=k&connection_limit=hush\
               &statement-cache-capacity=0&schema=hush";
    let read = ("DATABASE_READ_URL", "postgres://r/db?gssencmode=hush");
    let pairs = [("DATABASE_URL", url), read];
    let config = database(&pairs).unwrap();
    let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    assert_eq!(
        seen(&config.primary[0]).others,
        [
            ("application_name", "shop"),
            ("options", "-c a=b"),
            ("options[geqo]", "off"),
            ("sslcert", "c"),
            ("ssl-key", "k"),
            ("statement-cache-capacity", "0"),
        ]
        .map(pair)
    );
    assert_eq!(seen(&config.replicas[0]).others, []);
    assert_eq!(
        warnings(&pairs),
        [
            "DATABASE_URL has a parameter that is not used: connect_timeout",
            "DATABASE_URL has a parameter that is not used: channel_binding",
            "DATABASE_URL has a parameter that is not used: keepalives",
            "DATABASE_URL has a parameter that is not used: connection_limit",
            "DATABASE_URL has a parameter that is not used: schema",
            "DATABASE_READ_URL has a parameter that is not used: gssencmode",
        ]
    );
}
