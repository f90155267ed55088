//! The example files of the repository are complete and work.

use std::path::PathBuf;

use bharatmart_config::{
    ApiConfig, CacheConfig, DatabaseConfig, PLACEHOLDERS, Process, Source, Variable,
    WorkerProcessConfig,
};

fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config")).join(name)
}

/// As the file has it.
fn untouched(name: &str) -> Vec<(String, String)> {
    let lines = dotenvy::from_path_iter(file(name)).expect("the example exists");
    lines
        .collect::<Result<_, _>>()
        .expect("the example is well-formed")
}

/// With secrets in the place of the words that stand for them, and with pages that are there.
fn pairs(name: &str) -> Vec<(String, String)> {
    let mut pairs = untouched(name);
    for (variable, value) in &mut pairs {
        if variable == "FRONTEND_DIST" {
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../frontend").clone_into(value);
        }
        for placeholder in PLACEHOLDERS {
            *value = value.replace(placeholder, "filled-in");
        }
    }
    pairs
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

/// All files of settings in `config/`.
fn all_files() -> Vec<String> {
    let mut names = Vec::new();
    for folder in ["", "samples/"] {
        for entry in std::fs::read_dir(file(folder)).expect("the folder is there") {
            let name = entry.expect("the folder can be read").file_name();
            let name = name.to_string_lossy();
            if [".env", ".env.example"]
                .iter()
                .any(|ending| name.ends_with(ending))
            {
                names.push(format!("{folder}{name}"));
            }
        }
    }
    names.sort_unstable();
    names
}

/// What a file leaves to be filled in from elsewhere.
fn secrets_of(name: &str) -> Vec<(String, String)> {
    let secrets: &[(&str, &str)] = if name == "samples/kubernetes.env" {
        &[
            ("DATABASE_URL", "postgres://localhost/shop"),
            ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ]
    } else {
        &[]
    };
    let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    secrets.iter().map(owned).collect()
}

#[test]
fn every_file_starts_the_programs_that_it_is_for() {
    let files = all_files();
    assert!(files.len() > 10, "{files:?}");
    for name in files {
        let values = [pairs(&name), secrets_of(&name)].concat();
        let is_set =
            |name: &str, value: &str| values.contains(&(name.to_owned(), value.to_owned()));
        let source = || Source::from_map(values.clone());
        let (for_api, for_worker) = match name.as_str() {
            // For the build of the pages.
            "frontend.env.example" => (false, false),
            "workers.env.example" => (false, true),
            "backend.env.example" => (true, false),
            _ => (true, !is_set("WORKER_MODE", "in-process")),
        };
        if for_api {
            ApiConfig::read(&source()).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        if for_worker {
            WorkerProcessConfig::read(&source()).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

#[test]
fn production_takes_no_file_whose_secrets_were_not_filled_in() {
    let mut refused = 0;
    for name in all_files() {
        let values = [untouched(&name), secrets_of(&name)].concat();
        let named: Vec<_> = values
            .iter()
            .filter(|(_, value)| PLACEHOLDERS.iter().any(|words| value.contains(words)))
            .map(|(variable, _)| variable.clone())
            .collect();
        if named.is_empty() {
            continue;
        }
        let source = Source::from_map(values);
        // Each reads what it needs.
        let said = [
            ApiConfig::read(&source).err(),
            WorkerProcessConfig::read(&source).err(),
        ]
        .map(|error| error.map_or(String::new(), |error| error.to_string()))
        .join("\n");
        for variable in named {
            assert!(
                said.contains(&format!("{variable} has a value that is not allowed")),
                "{name}: nothing about {variable} in: {said}"
            );
        }
        refused += 1;
    }
    assert!(
        refused > 5,
        "only {refused} files have something to fill in"
    );
}

#[test]
fn every_name_in_the_files_is_one_that_a_program_reads() {
    let known: Vec<_> = [Process::Api, Process::Worker]
        .into_iter()
        .flat_map(variables)
        .flat_map(|variable| [&[variable.name][..], variable.aliases].concat())
        .collect();
    for name in all_files() {
        if name == "frontend.env.example" {
            continue;
        }
        let text = std::fs::read_to_string(file(&name)).unwrap();
        for variable in names_in(&text) {
            assert!(known.contains(&variable), "{variable} in {name}");
        }
    }
}

#[test]
fn every_file_says_where_it_caches_and_sets_nothing_else_for_it() {
    for (name, cache) in [
        ("backend.env.example", "redis"),
        ("workers.env.example", "redis"),
        ("samples/kubernetes.env", "redis"),
        ("samples/single-vm.env", "redis"),
        ("samples/small-vm.env", "memory"),
        ("samples/always-free.env", "redis"),
        ("samples/always-free-supabase.env", "memory"),
        ("samples/oci-instances.env", "redis"),
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
        ("samples/always-free.env", 1, 0),
        ("samples/always-free-supabase.env", 1, 0),
        ("samples/oci-instances.env", 1, 1),
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
