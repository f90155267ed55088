use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::unistd::{User, geteuid};
use tokio::process::Command;

use crate::paths;

/// What `cargo run` tells the program that it runs of that program's package. Build scripts that look at their own
/// package, as that of `ring` does, would run again, and with them all that stands on it, at each turn from one to the other.
const OF_OUR_PACKAGE: [&str; 3] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];

/// What a shop runs.
pub const PROGRAMS: [&str; 2] = ["bharatmart-api", "bharatmart-worker"];

/// Where Cargo keeps the sources of other people's crates.
pub fn home() -> Result<PathBuf> {
    let named = std::env::vars_os().find(|(name, _)| name == "CARGO_HOME");
    if let Some((_, folder)) = named {
        return Ok(folder.into());
    }
    let user = User::from_uid(geteuid())?.context("this user has no home")?;
    Ok(user.dir.join(".cargo"))
}

/// A `cargo` command in the checkout that ends with this process. It compiles with what `.sqlx/`
/// says, even where the shell has a `DATABASE_URL`.
pub fn command(arguments: &[&str]) -> Command {
    command_of(Path::new("cargo"), arguments)
}

/// The same with `program`, which calls `cargo`.
pub fn command_of(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if OF_OUR_PACKAGE.iter().any(|start| text.starts_with(start)) {
            command.env_remove(&name);
        }
    }
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

/// Builds the API and the worker. They are chosen by program, not by package: then features are those of the whole workspace,
/// and what this builds serves `cargo xtask test` and `cargo check` too.
pub async fn build_programs(release: bool) -> Result<()> {
    let mut arguments = vec!["build", "--locked"];
    for program in PROGRAMS {
        arguments.extend(["--bin", program]);
    }
    arguments.extend(release.then_some("--release"));
    run(&arguments).await
}
