//! The packages of other people's that tests and benchmarks run.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::install::find_program;
use tokio::process::Command;

use crate::paths;

/// What other people's software does with the queues.
pub const INTEROP: &str = "tests/interop";
/// What other people's software says of the OpenAPI document.
pub const OPENAPI: &str = "tests/openapi";

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
    let output = Command::new(npm)
        .args(["ci", "--ignore-scripts", "--omit=optional"])
        .args(["--no-audit", "--no-fund", "--no-progress"])
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
