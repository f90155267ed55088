use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::paths;

/// A `cargo` command in the checkout that ends with this process. It compiles with what `.sqlx/`
/// says, even where the shell has a `DATABASE_URL`.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command
        .args(arguments)
        .current_dir(paths::workspace())
        .env("SQLX_OFFLINE", "true")
        .env_remove("DATABASE_URL")
        .kill_on_drop(true);
    command
}

/// Runs `cargo` with its output shown.
pub async fn run(arguments: &[&str]) -> Result<()> {
    let status = command(arguments)
        .status()
        .await
        .context("cannot start cargo")?;
    ensure!(status.success(), "`cargo {}` failed", arguments.join(" "));
    Ok(())
}
