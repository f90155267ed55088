//! `cargo xtask openapi`: keeps the committed OpenAPI document in step with the handlers.

use std::{fs, process::ExitCode};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::install::{self, Requirement};
use tokio::process::Command;

use crate::{cargo, console::Steps, npm, paths};

pub const DOCUMENT: &str = "crates/api/openapi.json";

#[derive(clap::Args)]
pub struct Arguments {
    /// Change nothing; fail when the document is out of date
    #[arg(long)]
    check: bool,
}

pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut steps = Steps::new(3);
    let mut step = steps.begin("Requirements");
    install::ensure(&[Requirement::Node], |text| step.note(text))?;
    npm::install(npm::OPENAPI, |text| step.note(text)).await?;
    step.note("cargo build");
    cargo::run(&["build", "--bin", "bharatmart-api", "--locked"]).await?;
    step.done("built");

    let step = steps.begin("Document");
    let output = Command::new(paths::programs(false)?.join("bharatmart-api"))
        .arg("openapi")
        .output()
        .await
        .context("cannot start bharatmart-api")?;
    ensure!(
        output.status.success(),
        "`bharatmart-api openapi` failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let path = paths::workspace().join(DOCUMENT);
    let is_current = fs::read(&path).is_ok_and(|committed| committed == output.stdout);
    if !is_current {
        ensure!(
            !arguments.check,
            "{DOCUMENT} is out of date; run `cargo xtask openapi` and commit it"
        );
        fs::write(&path, output.stdout).with_context(|| format!("cannot write {DOCUMENT}"))?;
    }
    step.done(if is_current { "up to date" } else { "written" });

    let step = steps.begin("Linter");
    let linter = npm::folder(npm::OPENAPI).join("node_modules/.bin/redocly");
    let output = Command::new(linter)
        .args(["lint", "--extends=recommended", "--format=stylish"])
        .arg(&path)
        // It would look for a newer version of itself.
        .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
        .env("REDOCLY_TELEMETRY", "off")
        .output()
        .await
        .context("cannot start redocly")?;
    ensure!(
        output.status.success(),
        "redocly found fault with {DOCUMENT}:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    step.done("content");
    Ok(ExitCode::SUCCESS)
}
