//! `cargo xtask sqlx`: keeps `.sqlx/` in step with the migrations and the queries.
//!
//! sqlx's macros ask a database about each query while they compile. They also write the answers
//! down when `SQLX_OFFLINE_DIR` names a folder, and later builds without a database read them from
//! `.sqlx/`. This needs neither sqlx's command-line tool nor a `.sqlx/` that is right.

use std::{
    collections::BTreeMap,
    fs::{self, File, FileTimes},
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{
    ScratchDir,
    install::{self, Requirement},
    servers::{Postgres, PostgresOptions},
};

use crate::{
    cargo,
    console::{Steps, line},
    paths,
};

const DATABASE: &str = "bharatmart_sqlx";

#[derive(clap::Args)]
pub struct Arguments {
    /// Change nothing; fail when a file is missing, out of date or not needed any more
    #[arg(long)]
    check: bool,
}

/// The answers: file names and contents.
type Answers = BTreeMap<String, Vec<u8>>;

pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut steps = Steps::new(4);
    let mut step = steps.begin("Requirements");
    install::ensure(&[Requirement::Postgres], |text| step.note(text))?;
    step.done("PostgreSQL is installed");

    let step = steps.begin("Database");
    let postgres = Postgres::start(PostgresOptions::default()).await?;
    let url = postgres.create_database(DATABASE).await?;
    let migrations = files(&paths::workspace().join("migrations"), "sql")?;
    for migration in &migrations {
        postgres.run_file(DATABASE, migration)?;
    }
    step.done(&format!("{} migrations applied", migrations.len()));

    let mut step = steps.begin("Queries");
    step.note("cargo check");
    let scratch = ScratchDir::create()?;
    touch_sources()?;
    let status = cargo::command(&["check", "--workspace", "--all-targets", "--locked"])
        .env("SQLX_OFFLINE", "false")
        .env("DATABASE_URL", url)
        .env("SQLX_OFFLINE_DIR", scratch.path())
        .status()
        .await
        .context("cannot start cargo")?;
    postgres.stop().await?;
    ensure!(status.success(), "`cargo check` failed");
    let current = read(scratch.path())?;
    step.done(&format!("{} queries", current.len()));

    let folder = paths::workspace().join(".sqlx");
    let committed = if folder.exists() {
        read(&folder)?
    } else {
        Answers::new()
    };
    let step = steps.begin(".sqlx");
    let differences = differences(&committed, &current);
    if differences.is_empty() {
        step.done("up to date");
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.check {
        replace(&folder, &committed, &current)?;
    }
    step.done(&format!("{} files differ", differences.len()));
    for difference in differences {
        line(format!("      {difference}"));
    }
    ensure!(
        !arguments.check,
        ".sqlx/ is out of date; run `cargo xtask sqlx` and commit what it changes"
    );
    Ok(ExitCode::SUCCESS)
}

/// Makes Cargo compile again every crate that may hold a query: the macros run only then.
fn touch_sources() -> Result<()> {
    let workspace = paths::workspace();
    let mut members = vec![workspace.join("tests")];
    members.extend(entries(&workspace.join("crates"))?);
    for member in members {
        for folder in ["src", "tests", "benches", "examples"] {
            touch_queries(&member.join(folder))?;
        }
    }
    Ok(())
}

fn touch_queries(folder: &Path) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for path in entries(folder)? {
        if path.is_dir() {
            touch_queries(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            if has_query_macro(&source) {
                let now = FileTimes::new().set_modified(SystemTime::now());
                File::options()
                    .append(true)
                    .open(&path)
                    .and_then(|file| file.set_times(now))
                    .with_context(|| format!("cannot touch {}", path.display()))?;
            }
        }
    }
    Ok(())
}

/// `query!`, `query_as!`, `query_scalar!` and the like, however they are imported.
fn has_query_macro(source: &str) -> bool {
    source.match_indices("query").any(|(at, _)| {
        source[at..]
            .trim_start_matches(|letter: char| letter.is_ascii_lowercase() || letter == '_')
            .starts_with('!')
    })
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect()
    };
    let mut paths = read().with_context(|| format!("cannot read {}", folder.display()))?;
    paths.sort();
    Ok(paths)
}

fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut paths = entries(folder)?;
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    Ok(paths)
}

fn read(folder: &Path) -> Result<Answers> {
    files(folder, "json")?
        .into_iter()
        .map(|path| {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let content =
                fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok((name, content))
        })
        .collect()
}

fn differences(committed: &Answers, current: &Answers) -> Vec<String> {
    let gone = committed.keys().filter(|name| !current.contains_key(*name));
    let new = current
        .iter()
        .filter(|(name, content)| committed.get(*name) != Some(*content));
    new.map(|(name, content)| match committed.get(name) {
        Some(_) => format!("{name} changed"),
        None => format!("{name} new ({})", beginning(content)),
    })
    .chain(gone.map(|name| format!("{name} gone")))
    .collect()
}

/// Enough of the query to find it again.
fn beginning(content: &[u8]) -> String {
    let query = serde_json::from_slice::<serde_json::Value>(content)
        .ok()
        .and_then(|answer| answer["query"].as_str().map(str::to_owned))
        .unwrap_or_default();
    let words: Vec<&str> = query.split_whitespace().take(6).collect();
    words.join(" ")
}

fn replace(folder: &Path, committed: &Answers, current: &Answers) -> Result<()> {
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        for name in committed.keys().filter(|name| !current.contains_key(*name)) {
            fs::remove_file(folder.join(name))?;
        }
        for (name, content) in current {
            fs::write(folder.join(name), content)?;
        }
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::{Answers, differences, has_query_macro};

    #[test]
    fn query_macros_are_found_and_queries_without_a_macro_are_not() {
        for source in [
            "query!(",
            "sqlx::query_as!(",
            "query_scalar_unchecked!(",
            "query_file!(",
        ] {
            assert!(has_query_macro(source), "{source}");
        }
        for source in ["sqlx::query(\"SELECT\")", "query_as::<_, T>("] {
            assert!(!has_query_macro(source), "{source}");
        }
    }

    #[test]
    fn differences_name_every_file_that_is_new_changed_or_gone() {
        let answers = |files: &[(&str, &str)]| -> Answers {
            files
                .iter()
                .map(|(name, content)| ((*name).to_owned(), content.as_bytes().to_vec()))
                .collect()
        };
        let committed = answers(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let current = answers(&[
            ("a", "1"),
            ("b", "2"),
            ("d", r#"{"query":"SELECT id\n FROM users"}"#),
        ]);
        assert_eq!(
            differences(&committed, &current),
            ["b changed", "d new (SELECT id FROM users)", "c gone"]
        );
    }
}
