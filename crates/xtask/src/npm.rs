//! The folders with packages of other people's: what tests and benchmarks run, and the storefront.

use std::{fs, path::PathBuf, process::Stdio};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::install::find_program;
use tokio::process::Command;

use crate::paths;

/// What other people's software does with the queues.
pub const INTEROP: &str = "tests/interop";
/// What other people's software says of the OpenAPI document.
pub const OPENAPI: &str = "tests/openapi";
/// The storefront.
pub const FRONTEND: &str = "frontend";

/// A folder with a `package.json`.
pub fn folder(name: &str) -> PathBuf {
    paths::workspace().join(name)
}

/// Installs in the folder `name` exactly what its lock file says, unless that is there already; `progress` is told
/// before.
pub async fn install(name: &str, mut progress: impl FnMut(&str)) -> Result<()> {
    let folder = folder(name);
    let lock = folder.join("package-lock.json");
    let wanted = fs::read(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    // Among the packages, so that it goes when they go.
    let installed = folder.join("node_modules/.installed-lock.json");
    if fs::read(&installed).is_ok_and(|lock| lock == wanted) {
        return Ok(());
    }
    progress(&format!("npm ci in {name}"));
    let npm = find_program("npm").context("npm is not installed")?;
    let mut command = Command::new(npm);
    command
        .args(["ci", "--ignore-scripts"])
        .args(["--no-audit", "--no-fund", "--no-progress"]);
    // The storefront's build tools come as optional packages, one for each kind of machine.
    if name != FRONTEND {
        command.arg("--omit=optional");
    }
    let output = command
        .current_dir(&folder)
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot start npm")?;
    ensure!(
        output.status.success(),
        "`npm ci` in {} failed: {}",
        folder.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    fs::write(&installed, wanted)
        .with_context(|| format!("cannot write {}", installed.display()))?;
    Ok(())
}

/// Runs a script of the folder `name` and returns what it printed.
pub async fn run(name: &str, script: &str) -> Result<String> {
    let npm = find_program("npm").context("npm is not installed")?;
    let output = Command::new(npm)
        .args(["run", "--silent", script])
        .current_dir(folder(name))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot start npm")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "`npm run {script}` in {name} failed:\n{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(printed.into_owned())
}
