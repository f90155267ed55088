//! `cargo xtask check-deploy images`: hadolint reads the Dockerfiles; where containers can be had, their last stages are built, and
//! what comes of them is started, asked and stopped. `containers` does so with release builds, whose sizes it judges.

mod containers;
mod running;

use anyhow::{Result, ensure};
use bharatmart_test_support::install::{self, Requirement, find_program};
use nix::unistd::geteuid;
use tokio::process::Command;

use super::{compose, tool};
use crate::{
    cargo,
    console::{Steps, line, megabytes},
    paths, python, storefront,
};
use containers::Containers;

/// Compressed, over the base: what a new release has a node fetch.
const LARGEST: u64 = 25_000_000;
const IMAGES: [&str; 3] = ["api", "worker", "frontend"];
/// What makes and runs containers.
const TOOLS: [&str; 5] = ["buildah", "podman", "runc", "apt-get", "dpkg-deb"];

/// Checks the Dockerfiles with programs of either build.
pub async fn check(release: bool) -> Result<()> {
    let mut steps = Steps::new(if release { 5 } else { 4 });
    let mut step = steps.begin("hadolint");
    install::ensure(&[Requirement::Python], |text| step.note(text))?;
    let programs =
        python::environment("containers", compose::REQUIREMENTS, |text| step.note(text)).await?;
    let mut command = Command::new(programs.join("hadolint"));
    for image in IMAGES {
        command.arg(paths::workspace().join(format!("deploy/images/{image}.Dockerfile")));
    }
    tool::output(&mut command).await?;
    step.done("content");

    if let Some(missing) = missing() {
        let text = format!("SKIPPED: building and running the images: needs {missing}");
        ensure!(!release, "{text}");
        line(text);
        return Ok(());
    }
    let mut step = steps.begin("Programs and pages");
    let needed = [Requirement::Postgres, Requirement::Redis, Requirement::Node];
    install::ensure(&needed, |text| step.note(text))?;
    step.note("cargo build");
    cargo::build_programs(release).await?;
    storefront::make(storefront::Pages::Built, |text| step.note(text)).await?;
    step.done("built");

    let step = steps.begin("buildah");
    let containers = Containers::prepare(release).await?;
    for image in IMAGES {
        containers.build(image).await?;
        containers.inspect(image).await?;
    }
    step.done("built the images over local bases");

    let step = steps.begin("Containers");
    running::check(&containers).await?;
    step.done("started, healthy, drained and stopped");

    if release {
        let step = steps.begin("Sizes");
        let mut sizes = Vec::new();
        for image in IMAGES {
            let (own, all) = containers.size(image).await?;
            sizes.push(format!(
                "{image} {:.1} of {:.1} MB",
                megabytes(own),
                megabytes(all)
            ));
            ensure!(own <= LARGEST, "{image} adds {:.1} MB", megabytes(own));
        }
        step.done(&format!("compressed, over the base: {}", sizes.join(", ")));
    }
    Ok(())
}

/// What this machine lacks for containers.
fn missing() -> Option<String> {
    let lacking: Vec<_> = TOOLS
        .into_iter()
        .filter(|tool| find_program(tool).is_none())
        .collect();
    if !lacking.is_empty() {
        return Some(lacking.join(", "));
    }
    (!geteuid().is_root()).then(|| "root".to_owned())
}
