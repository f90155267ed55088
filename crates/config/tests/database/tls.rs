//! TLS and the file of authorities.

use crate::{database, parameter, problem, warnings};

/// A certificate of an authority, made for these tests; its key is gone.
const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/authority.pem");

/// A URL's sslmode and whether it has the authorities, from the URL given, `DATABASE_SSL_MODE` and whether there is
/// `DATABASE_SSL_CA_FILE`. Empty is not set.
fn tls(url: &str, mode: &str, with_file: bool) -> (String, bool) {
    let file = if with_file { AUTHORITY } else { "" };
    let pairs = [
        ("DATABASE_URL", url),
        ("DATABASE_SSL_MODE", mode),
        ("DATABASE_SSL_CA_FILE", file),
    ];
    let one = &database(&pairs).expect("good settings").primary[0];
    let authorities = parameter(one, "sslrootcert");
    assert!(authorities.iter().all(|file| file == AUTHORITY));
    let mode = parameter(one, "sslmode").unwrap_or_default();
    (mode, authorities.is_some())
}

#[test]
fn tls_is_what_the_url_says_else_what_the_variable_says() {
    let silent = "postgres://h/db";
    for (url, mode, expected) in [
        (silent, "", ""),
        (silent, "disable", "disable"),
        (silent, "require", "require"),
        (silent, "verify-full", "verify-full"),
        ("postgres://h/db?sslmode=PREFER", "require", "prefer"),
        (
            "postgres://h/db?ssl-mode=allow&sslmode=require",
            "",
            "require",
        ),
        ("postgres://h/db?sslrootcert=system", "", "verify-full"),
    ] {
        assert_eq!(
            tls(url, mode, false),
            (expected.to_owned(), false),
            "{url} {mode}"
        );
    }
}

#[test]
fn whoever_gives_authorities_has_certificates_checked_unless_it_is_said_otherwise() {
    let silent = "postgres://h/db";
    for (url, mode, expected, checked) in [
        (silent, "", "verify-full", true),
        (silent, "verify-ca", "verify-ca", true),
        // As libpq has it.
        (silent, "require", "verify-ca", true),
        (silent, "prefer", "prefer", false),
        ("postgres://h/db?sslmode=disable", "", "disable", false),
        ("postgres://db.abc.supabase.co/db", "", "verify-full", true),
    ] {
        assert_eq!(
            tls(url, mode, true),
            (expected.to_owned(), checked),
            "{url} {mode}"
        );
    }
    let own = format!("postgres://h/db?sslrootcert={AUTHORITY}&sslmode=require");
    assert_eq!(tls(&own, "prefer", false), ("verify-ca".to_owned(), true));
}

#[test]
fn supabases_hosts_are_reached_with_tls_unless_it_is_said_otherwise() {
    for (url, mode, expected) in [
        ("postgres://db.abc.supabase.co/db", "", "require"),
        ("postgres://a.pooler.SUPABASE.com/db", "", "require"),
        ("postgres://db.abc.supabase.co/db", "disable", "disable"),
        (
            "postgres://db.abc.supabase.co/db?sslmode=prefer",
            "",
            "prefer",
        ),
        ("postgres://supabase.co.example/db", "", ""),
    ] {
        assert_eq!(
            tls(url, mode, false),
            (expected.to_owned(), false),
            "{url} {mode}"
        );
    }
}

#[test]
fn a_socket_has_no_tls() {
    let socket = "postgres:///db?host=/run/postgresql&sslmode=require";
    assert_eq!(tls(socket, "verify-full", false), (String::new(), false));
}

#[test]
fn tls_of_the_variables_is_everyones() {
    let config = database(&[
        ("DATABASE_URL", "postgres://h1,h2/db"),
        (
            "DATABASE_READ_URL",
            "postgres://r1/db,postgres://r2/db?sslmode=disable",
        ),
        ("DATABASE_DIRECT_URL", "postgres://d/db"),
        ("DATABASE_SSL_MODE", "verify-ca"),
    ])
    .unwrap();
    let all = [&config.primary[..], &config.replicas, &config.direct].concat();
    let modes: Vec<_> = all
        .iter()
        .map(|one| parameter(one, "sslmode").unwrap())
        .collect();
    assert_eq!(
        modes,
        [
            "verify-ca",
            "verify-ca",
            "verify-ca",
            "disable",
            "verify-ca"
        ]
    );
}

#[test]
fn the_file_of_authorities_is_looked_at_when_the_settings_are_read() {
    let url = ("DATABASE_URL", "postgres://u:hush@h/db?sslmode=verify-full");
    for (file, reason) in [
        ("/missing/ca.pem", "No such file"),
        ("/dev/null", "holds none"),
    ] {
        let error = problem(&[url, ("DATABASE_SSL_CA_FILE", file)]);
        assert!(
            error.starts_with(&format!(
                "DATABASE_SSL_CA_FILE={file:?} is not allowed: expected a file of certificates in PEM form ("
            )) && error.contains(reason),
            "{error}"
        );
    }
    let ca = ("DATABASE_SSL_CA_FILE", AUTHORITY);
    assert!(warnings(&[url, ca]).is_empty());
    let unused = [
        "DATABASE_SSL_CA_FILE is set but not used: certificates are checked with the sslmode verify-ca or verify-full",
    ];
    assert_eq!(
        warnings(&[("DATABASE_URL", "postgres://h/db?sslmode=prefer"), ca]),
        unused
    );
    assert_eq!(
        warnings(&[
            ("DATABASE_URL", "postgres://h/db"),
            ca,
            ("DATABASE_SSL_MODE", "prefer")
        ]),
        unused
    );
}
