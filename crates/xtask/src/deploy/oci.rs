//! `deploy/oci`: the scripts are run by the real `oci` CLI against a recorder, and what they ask for is looked at.

mod recorder;
mod scripts;
mod stage;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{
    ScratchDir,
    install::{self, Requirement},
};
use tokio::process::Command;

use super::{readme::commands, tool::output};
use crate::{console::Steps, paths, python};

const FOLDER: &str = "deploy/oci";
const REQUIREMENTS: &str = "tests/deploy/oci/requirements.txt";

fn folder() -> PathBuf {
    paths::workspace().join(FOLDER)
}

/// The scripts that are meant to be called.
fn scripts() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder()).context("cannot list deploy/oci")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sh") {
            found.push(path);
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "there are no scripts in {FOLDER}");
    Ok(found)
}

fn name_of(script: &Path) -> String {
    let name = script.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The options that a script declares, but for those that every one has.
fn options(script: &Path) -> Result<Vec<String>> {
    let source = fs::read_to_string(script)?;
    let declared = source
        .split_once("\noption=(")
        .and_then(|(_, rest)| rest.split_once("\nread_options"))
        .with_context(|| format!("{} declares no options", name_of(script)))?
        .0;
    let names = declared.split('[').filter_map(|text| text.split_once("]="));
    Ok(names.map(|(name, _)| name.to_owned()).collect())
}

/// What the README has people run are scripts that there are, with options that they know, and no script is left out. Returns how
/// many commands there are.
fn readme(scripts: &[PathBuf]) -> Result<usize> {
    let markdown = fs::read_to_string(folder().join("README.md"))
        .context("cannot read the README of deploy/oci")?;
    for script in scripts {
        let name = name_of(script);
        ensure!(
            markdown.contains(&format!("| `{name}` |")),
            "the README does not list {name}"
        );
    }
    let commands = commands(&markdown);
    for command in &commands {
        let Some((_, call)) = command.split_once("deploy/oci/") else {
            continue;
        };
        let mut words = call.split([' ', ')', '/']);
        let name = words.next().unwrap_or_default();
        let Some(script) = scripts.iter().find(|script| name_of(script) == name) else {
            ensure!(
                folder().join(name).is_dir(),
                "there is no {name}: {command}"
            );
            continue;
        };
        let known = options(script)?;
        for option in words.filter_map(|word| word.strip_prefix("--")) {
            ensure!(
                known.iter().any(|name| name == option),
                "{name} has no option --{option}"
            );
        }
    }
    Ok(commands.len())
}

/// Reads the scripts, and runs them: OCI's command line takes half a second to start, hundreds of times.
pub async fn check() -> Result<()> {
    let mut steps = Steps::new(5);
    let mut step = steps.begin("Requirements");
    let needed = [Requirement::Python, Requirement::JqAndOpenssl];
    install::ensure(&needed, |text| step.note(text))?;
    let programs = python::environment("oci-cli", REQUIREMENTS, |text| step.note(text)).await?;
    step.done("there");

    let step = steps.begin("shellcheck");
    let scripts = scripts()?;
    let mut shellcheck = Command::new(programs.join("shellcheck"));
    shellcheck
        .arg("--check-sourced")
        .args(&scripts)
        .arg("cloud-init/first-boot.sh")
        .current_dir(folder());
    output(&mut shellcheck).await?;
    step.done(&format!("{} scripts", scripts.len()));

    let step = steps.begin("README");
    step.done(&format!("{} commands", readme(&scripts)?));

    let step = steps.begin("Scripts");
    let stages = scripts::run_all(&programs, &scripts).await?;
    let run: BTreeSet<_> = stages.iter().flat_map(|stage| &stage.run).collect();
    for script in &scripts {
        let name = name_of(script);
        ensure!(run.contains(&name), "{name} was not run");
    }
    let changes: Vec<_> = stages
        .iter()
        .flat_map(|stage| &stage.changes)
        .cloned()
        .collect();
    step.done(&format!("{} changes, none of them twice", changes.len()));

    let step = steps.begin("Bodies by the SDK's models");
    let scratch = ScratchDir::create()?;
    let requests = scratch.path().join("requests");
    fs::write(&requests, stage::lines(&changes)).context("cannot write the requests")?;
    let mut bodies = Command::new(programs.join("python3"));
    let judge = paths::workspace().join("tests/deploy/oci/bodies.py");
    bodies.arg(judge).arg(requests);
    step.done(output(&mut bodies).await?.trim());
    Ok(())
}
