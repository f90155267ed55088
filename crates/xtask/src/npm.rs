//! The packages of other people's that the tests and benchmarks of the queues run.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::install::find_program;
use tokio::process::Command;

use crate::paths;

/// The folder of the Node programs.
pub fn programs() -> PathBuf {
    paths::workspace().join("tests/interop")
}

/// Installs exactly what the lock file says, unless that is there already; `progress` is told before.
pub async fn install(mut progress: impl FnMut(&str)) -> Result<()> {
    let folder = programs();
    let lock = folder.join("package-lock.json");
    let wanted = fs::read(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    // Among the packages, so that it goes when they go.
    let installed = folder.join("node_modules/.installed-lock.json");
    if fs::read(&installed).is_ok_and(|lock| lock == wanted) {
        return Ok(());
    }
    progress("npm ci in tests/interop");
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
