//! Programs of other people's that are written in Python, in virtual environments of their own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::install::find_program;
use tokio::process::Command;

use crate::paths;

/// The folder with the programs of the environment `name`, in which exactly what the file `requirements` of the checkout says
/// is installed; `progress` is told before it is.
pub async fn environment(
    name: &str,
    requirements: &str,
    mut progress: impl FnMut(&str),
) -> Result<PathBuf> {
    let wanted = paths::workspace().join(requirements);
    let wanted_text =
        fs::read(&wanted).with_context(|| format!("cannot read {}", wanted.display()))?;
    let environment = paths::target()?.join(name);
    let installed = environment.join("installed-requirements.txt");
    let programs = environment.join("bin");
    if fs::read(&installed).is_ok_and(|text| text == wanted_text) {
        return Ok(programs);
    }
    progress(&format!("pip install -r {requirements}"));
    let python = find_program("python3").context("python3 is not installed")?;
    run(&python, &["-m", "venv", "--clear"], &environment).await?;
    let arguments = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        // The largest of the packages takes minutes and 10 GB of memory to compile, and is only read from.
        "--no-compile",
        "--requirement",
    ];
    run(&programs.join("python3"), &arguments, &wanted).await?;
    fs::write(&installed, wanted_text).context("cannot note what is installed")?;
    Ok(programs)
}

async fn run(python: &Path, arguments: &[&str], last: &Path) -> Result<()> {
    let output = Command::new(python)
        .args(arguments)
        .arg(last)
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("cannot start {}", python.display()))?;
    ensure!(
        output.status.success(),
        "`python3 {}` failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
