//! A Supabase project in place of a URL.

use crate::{PROJECT, database, parameter, problem, seen, warnings};

#[test]
fn a_supabase_project_and_its_password_stand_for_the_url() {
    let password = ("SUPABASE_DB_PASSWORD", "p@s/s#w?o%r:d");
    for address in [PROJECT, "https://abcdefghijklmnopqrst.supabase.co/"] {
        let config = database(&[("SUPABASE_URL", address), password]).unwrap();
        assert_eq!(config.primary.len(), 1);
        let one = &config.primary[0];
        assert_eq!(
            (one.host.as_str(), one.port),
            ("db.abcdefghijklmnopqrst.supabase.co", 5432)
        );
        assert_eq!(one.pooler, None);
        assert_eq!(parameter(one, "sslmode").as_deref(), Some("require"));
        let seen = seen(one);
        assert_eq!(seen.user.as_deref(), Some("postgres"));
        assert_eq!(seen.password.as_deref(), Some(password.1));
        assert_eq!(seen.database.as_deref(), Some("postgres"));
    }
    let config = database(&[
        ("SUPABASE_URL", PROJECT),
        password,
        ("DATABASE_SSL_MODE", "disable"),
    ])
    .unwrap();
    assert_eq!(
        parameter(&config.primary[0], "sslmode").as_deref(),
        Some("disable")
    );
}

#[test]
fn an_address_that_does_not_name_the_project_is_refused() {
    for address in [
        "https://api.shop.example",
        "http://127.0.0.1:54321",
        "http://abc.supabase.co",
        "https://abc.supabase.co:8000",
        "https://abc.supabase.co/rest/v1",
        "https://db.abc.supabase.co",
        "https://.supabase.co",
        "https://supabase.com/dashboard/project/abc",
        "abc.supabase.co",
        "abc",
    ] {
        let pairs = [("SUPABASE_URL", address), ("SUPABASE_DB_PASSWORD", "hush")];
        let error = problem(&pairs);
        assert_eq!(
            error,
            format!(
                "SUPABASE_URL={address:?} is not allowed: expected https://<project>.supabase.co; with another address, \
                 set DATABASE_URL"
            )
        );
        // It may be there for other reasons.
        let url = ("DATABASE_URL", "postgres://h/db");
        assert!(database(&[pairs[0], url]).is_ok());
    }
}

#[test]
fn the_url_beats_the_project_and_says_so() {
    let pairs = [
        ("DATABASE_URL", "postgres://h/db"),
        ("SUPABASE_URL", PROJECT),
        ("SUPABASE_DB_PASSWORD", "hush"),
    ];
    assert_eq!(database(&pairs).unwrap().primary[0].host, "h");
    assert_eq!(
        warnings(&pairs),
        ["SUPABASE_DB_PASSWORD is set but not used: DATABASE_URL is set"]
    );
    assert!(warnings(&pairs[..2]).is_empty());
}

#[test]
fn what_is_missing_names_both_ways_to_give_it() {
    for pairs in [
        &[][..],
        &[("SUPABASE_URL", PROJECT)],
        &[("SUPABASE_DB_PASSWORD", "hush")],
        &[("DATABASE_READ_URL", "postgres://r/db")],
    ] {
        assert_eq!(
            problem(pairs),
            "DATABASE_URL is not set: expected a URL such as postgres://user:password@host:5432/bharatmart, or \
             SUPABASE_URL and SUPABASE_DB_PASSWORD in its place"
        );
    }
}
