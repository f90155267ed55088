//! `deploy/systemd` and `deploy/nginx`: judged by systemd, nginx and logrotate themselves, and installed in a bare Debian from which
//! the API then runs.

mod debian;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{
    ScratchDir,
    install::{self, Requirement, find_program},
};
use tokio::process::Command;

use super::tool::all_output;
use crate::{cargo, console::Steps, dist, paths};

const UNITS: &str = "deploy/systemd";
/// Where the units look for the programs.
const PROGRAMS: &str = "/opt/bharatmart/bin";
/// The exposure that systemd may see in a unit, at most, in tenths.
const EXPOSURE: &str = "25";

pub async fn check() -> Result<()> {
    let mut steps = Steps::new(6);
    let mut step = steps.begin("Requirements");
    let needed = [
        Requirement::ServiceTools,
        Requirement::Postgres,
        Requirement::Redis,
    ];
    install::ensure(&needed, |text| step.note(text))?;
    step.done("there");

    let mut step = steps.begin("Release");
    step.note("cargo build");
    cargo::build_programs(false).await?;
    let scratch = ScratchDir::create()?;
    let release = scratch.path().join("release");
    dist::stage(&release, &paths::programs(false)?, &[]).await?;
    step.done("put together");

    let step = steps.begin("Units");
    let units = units(&scratch.path().join("units"), &release.join("bin"))?;
    verify(&units).await?;
    let mut exposures = Vec::new();
    for unit in &units {
        exposures.push(exposure(unit).await?);
    }
    step.done(&format!("exposed {}", exposures.join(", ")));

    let step = steps.begin("nginx");
    nginx(&scratch.path().join("nginx")).await?;
    step.done("takes the site");

    let step = steps.begin("logrotate");
    logrotate(scratch.path()).await?;
    step.done("takes the file");

    let mut step = steps.begin("Installation in a bare Debian");
    let outcome = debian::install(&release, |text| step.note(text)).await?;
    step.done(&outcome);
    Ok(())
}

/// Copies of the units that name the programs where they are now, templates as one of their instances.
fn units(folder: &Path, programs: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder)?;
    let mut units = Vec::new();
    for entry in fs::read_dir(paths::workspace().join(UNITS))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !name.ends_with(".service") {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        ensure!(
            text.contains(PROGRAMS),
            "{name} starts nothing from {PROGRAMS}"
        );
        let copy = folder.join(name.replace("@.", "@order."));
        fs::write(&copy, text.replace(PROGRAMS, &programs.to_string_lossy()))?;
        units.push(copy);
    }
    units.sort();
    ensure!(
        units.len() >= 3,
        "there are {} units in {UNITS}",
        units.len()
    );
    Ok(units)
}

async fn verify(units: &[PathBuf]) -> Result<()> {
    let mut command = Command::new("systemd-analyze");
    // Without it, systemd warns of a key that it does not know and is content.
    command
        .args(["verify", "--recursive-errors=yes"])
        .args(units);
    let said = all_output(&mut command).await?;
    ensure!(said.trim().is_empty(), "systemd-analyze verify: {said}");
    Ok(())
}

/// How exposed systemd finds a unit, after its name; an error if it is too much.
async fn exposure(unit: &Path) -> Result<String> {
    let mut command = Command::new("systemd-analyze");
    command
        .args([
            "security",
            "--offline=true",
            "--no-pager",
            "--threshold",
            EXPOSURE,
        ])
        .arg(unit);
    let table = all_output(&mut command).await?;
    table
        .lines()
        .find_map(|line| line.split_once("Overall exposure level for bharatmart-"))
        .map(|(_, rest)| rest.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .with_context(|| format!("systemd-analyze security does not tell:\n{table}"))
}

/// `nginx -t` of the site under the file for those without root, on a port that needs none either.
async fn nginx(folder: &Path) -> Result<()> {
    let of_ours = paths::workspace().join("deploy/nginx");
    fs::create_dir_all(folder.join("conf.d"))?;
    fs::copy(of_ours.join("nginx.conf"), folder.join("nginx.conf"))?;
    let site = fs::read_to_string(of_ours.join("bharatmart.conf"))?;
    let site = site
        .replace("listen 80 ", "listen 18080 ")
        .replace("]:80 ", "]:18080 ");
    fs::write(folder.join("conf.d/bharatmart.conf"), site)?;
    let mut command = Command::new(find_program("nginx").context("nginx is not installed")?);
    command
        .args(["-t", "-q", "-e", "stderr", "-c"])
        .arg(folder.join("nginx.conf"));
    let said = all_output(&mut command).await?;
    ensure!(said.trim().is_empty(), "nginx -t: {said}");
    Ok(())
}

async fn logrotate(folder: &Path) -> Result<()> {
    let rotation = fs::read_to_string(paths::workspace().join(UNITS).join("bharatmart.logrotate"))?;
    ensure!(
        rotation.contains("su bharatmart bharatmart"),
        "the logs are not rotated as their owner"
    );
    // That user is on machines where it is installed.
    let copy = folder.join("logrotate");
    fs::write(
        &copy,
        rotation.replace("su bharatmart bharatmart", "su root root"),
    )?;
    let mut command =
        Command::new(find_program("logrotate").context("logrotate is not installed")?);
    command
        .args(["--debug", "--state"])
        .arg(folder.join("logrotate-state"))
        .arg(copy);
    let said = all_output(&mut command).await?;
    ensure!(!said.contains("error:"), "logrotate: {said}");
    Ok(())
}
