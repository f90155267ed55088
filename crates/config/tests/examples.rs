//! The example files of the repository are complete and work.

use std::path::PathBuf;

use bharatmart_config::{
    ApiConfig, CacheConfig, DatabaseConfig, Process, Source, Variable, WorkerProcessConfig,
};

fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config")).join(name)
}

fn pairs(name: &str) -> Vec<(String, String)> {
    let lines = dotenvy::from_path_iter(file(name)).expect("the example exists");
    lines
        .collect::<Result<_, _>>()
        .expect("the example is well-formed")
}

fn variables(process: Process) -> impl Iterator<Item = &'static Variable> {
    process.tables().iter().flat_map(|table| table.variables)
}

/// `NAME=` at the start of a line, perhaps commented out.
fn names_in(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# ").unwrap_or(line).split_once('='))
        .map(|(name, _)| name)
        .filter(|name| {
            name.bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        })
        .collect()
}

#[test]
fn the_examples_start_both_programs() {
    ApiConfig::read(&Source::from_map(pairs("backend.env.example"))).unwrap();
    WorkerProcessConfig::read(&Source::from_map(pairs("workers.env.example"))).unwrap();
}

#[test]
fn the_examples_name_exactly_the_variables_that_are_read() {
    for (name, process) in [
        ("backend.env.example", Process::Api),
        ("workers.env.example", Process::Worker),
    ] {
        let text = std::fs::read_to_string(file(name)).unwrap();
        let mut named = names_in(&text);
        let mut read: Vec<_> = variables(process).map(|variable| variable.name).collect();
        named.sort_unstable();
        read.sort_unstable();
        assert_eq!(named, read, "{name}");
    }
}

#[test]
fn a_commented_out_default_is_the_default() {
    for (name, process) in [
        ("backend.env.example", Process::Api),
        ("workers.env.example", Process::Worker),
    ] {
        let text = std::fs::read_to_string(file(name)).unwrap();
        for variable in variables(process) {
            let bharatmart_config::Default::Value(default) = variable.default else {
                continue;
            };
            let Some(shown) = text
                .lines()
                .find_map(|line| line.strip_prefix(&format!("# {}=", variable.name)))
            else {
                continue;
            };
            assert_eq!(shown, default, "{} in {name}", variable.name);
        }
    }
}

#[test]
fn the_samples_work() {
    for name in [
        "samples/single-vm.env",
        "samples/development.env",
        "samples/replicas.env",
        "samples/supabase.env",
    ] {
        ApiConfig::read(&Source::from_map(pairs(name))).unwrap();
        WorkerProcessConfig::read(&Source::from_map(pairs(name))).unwrap();
    }
    // No worker runs there.
    ApiConfig::read(&Source::from_map(pairs("samples/small-vm.env"))).unwrap();
    let secrets = [
        ("DATABASE_URL", "postgres://localhost/shop"),
        ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let with_secrets = || {
        Source::from_map(
            pairs("samples/kubernetes.env")
                .into_iter()
                .chain(secrets.clone()),
        )
    };
    ApiConfig::read(&with_secrets()).unwrap();
    WorkerProcessConfig::read(&with_secrets()).unwrap();
}

#[test]
fn every_file_says_where_it_caches_and_sets_nothing_else_for_it() {
    for (name, cache) in [
        ("backend.env.example", "redis"),
        ("workers.env.example", "redis"),
        ("samples/kubernetes.env", "redis"),
        ("samples/single-vm.env", "redis"),
        ("samples/small-vm.env", "memory"),
        ("samples/development.env", "redis"),
        ("samples/replicas.env", "redis"),
        ("samples/supabase.env", "redis"),
    ] {
        let source = Source::from_map(pairs(name));
        let config = CacheConfig::read(&source).unwrap();
        assert_eq!(config.backend.as_str(), cache, "{name}");
        let warnings = source.take_warnings();
        assert!(warnings.is_empty(), "{name}: {warnings:?}");
    }
}

#[test]
fn every_database_of_the_files_is_taken_as_it_is_written() {
    for (name, primaries, replicas) in [
        ("backend.env.example", 1, 0),
        ("workers.env.example", 1, 0),
        ("samples/single-vm.env", 1, 0),
        ("samples/small-vm.env", 1, 0),
        ("samples/development.env", 1, 0),
        ("samples/replicas.env", 2, 2),
        ("samples/supabase.env", 1, 0),
    ] {
        let source = Source::from_map(pairs(name));
        let config = DatabaseConfig::read(&source, Process::Api).unwrap();
        assert_eq!(config.primary.len(), primaries, "{name}");
        assert_eq!(config.replicas.len(), replicas, "{name}");
        let warnings = source.take_warnings();
        assert!(warnings.is_empty(), "{name}: {warnings:?}");
    }
}
