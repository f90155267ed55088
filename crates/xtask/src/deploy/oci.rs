//! `deploy/oci`: the scripts are run by the real `oci` CLI against a recorder, and what they ask for is looked at.

mod recorder;
mod scripts;
mod stage;

use std::{fs, path::PathBuf, process::Stdio};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::install::{self, Requirement};
use tokio::process::Command;

use self::stage::Stage;
use crate::{console::Steps, paths, python};

const FOLDER: &str = "deploy/oci";

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

pub async fn check() -> Result<()> {
    let mut steps = Steps::new(4);
    let mut step = steps.begin("Requirements");
    let needed = [Requirement::Python, Requirement::JqAndOpenssl];
    install::ensure(&needed, |text| step.note(text))?;
    let requirements = "tests/deploy/oci/requirements.txt";
    let programs = python::environment("oci-cli", requirements, |text| step.note(text)).await?;
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

    let mut step = steps.begin("Scripts");
    let mut stage = Stage::set(&programs).await?;
    for script in &scripts {
        stage.has_help(script).await?;
    }
    scripts::refuse_bad_input(&stage).await?;
    scripts::run_all(&mut stage, |text| step.note(text)).await?;
    ensure!(
        stage.has_run_all(&scripts),
        "not every script was run: {:?} were",
        stage.run
    );
    step.done(&format!(
        "{} changes, none of them twice",
        stage.changes.len()
    ));

    let step = steps.begin("Bodies by the SDK's models");
    let requests = stage.write_requests()?;
    let mut bodies = Command::new(programs.join("python3"));
    let judge = paths::workspace().join("tests/deploy/oci/bodies.py");
    bodies.arg(judge).arg(requests);
    step.done(output(&mut bodies).await?.trim());
    Ok(())
}

/// What the command printed; an error with all that it said if it failed.
async fn output(command: &mut Command) -> Result<String> {
    let name = format!("{:?}", command.as_std().get_program());
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot start {name}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{name} failed:\n{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}
