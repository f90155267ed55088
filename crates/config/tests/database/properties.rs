//! Whatever stands in a URL reaches the server as it was, or is refused.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use proptest::prelude::*;

use crate::{PROJECT, database, seen};

/// What cannot stand for itself in front of the path of a URL; the least that must be escaped.
const LEAST: &AsciiSet = &CONTROLS.add(b'#').add(b'/').add(b'?').add(b'@').add(b'%');

proptest! {
    #[test]
    fn any_password_of_a_supabase_project_reaches_the_server(password in any::<String>()) {
        // The ends of a value are trimmed, and an empty one counts as not set.
        let password = password.trim();
        prop_assume!(!password.is_empty());
        let config = database(&[("SUPABASE_URL", PROJECT), ("SUPABASE_DB_PASSWORD", password)]).unwrap();
        let seen = seen(&config.primary[0]);
        prop_assert_eq!(seen.password.as_deref(), Some(password));
        prop_assert_eq!(seen.user.as_deref(), Some("postgres"));
        prop_assert_eq!(seen.host.as_deref(), Some("db.abcdefghijklmnopqrst.supabase.co"));
        prop_assert_eq!(seen.database.as_deref(), Some("postgres"));
    }

    #[test]
    fn any_password_in_a_url_reaches_every_host(password in ".+", hosts in "(h|h1:1,h2|\\[::1\\]:1,%2Frun)?") {
        let escaped = utf8_percent_encode(&password, LEAST);
        let url = format!("postgres://u:{escaped}@{hosts}/db");
        let list = format!("postgres://u:{escaped}@r1/db,postgres://u:{escaped}@[::1]/db");
        let config = database(&[("DATABASE_URL", &url), ("DATABASE_READ_URL", &list)]).unwrap();
        prop_assert_eq!(config.replicas.len(), 2);
        for one in config.primary.iter().chain(&config.replicas) {
            let seen = seen(one);
            prop_assert_eq!(seen.user.as_deref(), Some("u"));
            prop_assert_eq!(seen.password.as_deref(), Some(password.as_str()));
            prop_assert_eq!(seen.database.as_deref(), Some("db"));
        }
    }

    #[test]
    fn no_text_makes_the_reader_fail_otherwise_than_with_an_error(text in "(postgres://)?[a-z0-9:@/?&=,%#.\\[\\]-]{0,40}") {
        if let Ok(config) = database(&[("DATABASE_URL", &text), ("DATABASE_READ_URL", &text)]) {
            prop_assert!(!config.primary.is_empty());
            for one in config.primary.iter().chain(&config.replicas) {
                prop_assert_eq!(seen(one).port, Some(one.port));
            }
        }
    }
}
