//! `cargo xtask journeys`: the storefront in a browser, against the whole shop.

pub mod control;

use std::{
    fs,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{
    Child, Launch, Output, ScratchDir, free_port,
    install::{Requirement, chromium},
};

use self::control::Controls;
use crate::{
    console::{Steps, line},
    dev::{self, Ends, Secrets, Settings, Stack},
    npm,
    storefront::Pages,
};

/// How long all journeys together may take.
const LIMIT: Duration = Duration::from_hours(1);

#[derive(clap::Args)]
pub struct Arguments {
    /// Check formatting, lints, types, tests and sizes of the storefront first
    #[arg(long)]
    check: bool,
    /// Look at the pages' states on the phone only
    #[arg(long)]
    quick: bool,
    /// Build the programs with optimisations
    #[arg(long)]
    release: bool,
    /// For `playwright test`: files, `--project phone`, `--grep`, …
    #[arg(last = true)]
    playwright: Vec<String>,
}

pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let scratch = ScratchDir::create()?;
    let folder = scratch.path().join("programs");
    fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let secrets = Secrets::generate();
    let admin = [
        ("ADMIN_EMAIL", secrets.admin_email.clone()),
        ("ADMIN_PASSWORD", secrets.admin_password.clone()),
    ];
    let settings = Settings {
        release: arguments.release,
        api_port: free_port(),
        server_data: None,
        secrets,
        mail_dir: folder.join("mails"),
        folder,
        storefront: Some(if arguments.check {
            Pages::Checked
        } else {
            Pages::Built
        }),
        requirements: &[Requirement::Node, Requirement::Chromium],
        // All journeys' people are one address, on a machine that is busy with their browsers.
        environment: vec![
            ("RATE_LIMIT_MAX_REQUESTS", "1000000".to_owned()),
            ("RATE_LIMIT_AUTH_MAX_REQUESTS", "1000000".to_owned()),
            ("OVERLOAD_DELAY", "30s".to_owned()),
        ],
    };
    let controls = Controls::listen(scratch.path())?;
    let ends = Ends::ByItself { steps: 1 };
    let mut passed = false;
    dev::operate(settings, ends, async |stack, steps| {
        let journeys = journeys(stack, &arguments.playwright)?
            .env("STACK_CONTROL", controls.program())
            .env("QUICK", if arguments.quick { "1" } else { "0" })
            .env(admin[0].0, &admin[0].1)
            .env(admin[1].0, &admin[1].1);
        passed = walk(stack, journeys, &controls, steps).await?;
        Ok(())
    })
    .await?;
    // Playwright has said which, and that is the last that is read.
    ensure!(passed, "journeys failed; they are listed above");
    line("The journeys found no fault; everything is stopped.");
    Ok(ExitCode::SUCCESS)
}

/// Playwright, told where everything is.
fn journeys(stack: &Stack, arguments: &[String]) -> Result<Launch> {
    let folder = npm::folder(npm::FRONTEND);
    let playwright = folder.join("node_modules/.bin/playwright");
    let redis = stack.redis_url().context("Redis does not run")?;
    let chromium = chromium().context("Chromium is not installed")?;
    Ok(Launch::new("playwright", playwright, Output::Inherited)
        .arg("test")
        .args(arguments)
        .directory(folder)
        .env("SHOP_URL", stack.api_url())
        .env("API_URL", stack.api_url())
        .env("REDIS_URL", redis)
        .env("EMAIL_DIR", stack.mail_dir())
        .env("CHROMIUM", chromium))
}

/// Runs `journeys` to their end, does to the API what they want, and answers whether all passed.
async fn walk(
    stack: &mut Stack,
    journeys: Launch,
    controls: &Controls,
    steps: &mut Steps,
) -> Result<bool> {
    let mut step = steps.begin("Journeys");
    step.note("");
    let mut playwright: Child = journeys.spawn()?;
    let end = Instant::now() + LIMIT;
    let status = loop {
        let left = end.saturating_duration_since(Instant::now());
        tokio::select! {
            status = playwright.wait(left) => break status?,
            crash = stack.watch() => crash?,
            wish = controls.next() => wish?.grant(stack).await?,
        }
    };
    if status.success() {
        step.done("walked");
    }
    Ok(status.success())
}
