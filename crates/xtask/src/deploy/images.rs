//! `cargo xtask check-deploy images`: hadolint reads the Dockerfiles; where containers can be had, the builder is given what it
//! would be given, the storefront's image is built with this machine's Node.js, of the others the last stage, and what comes of
//! them is started, asked and stopped. `containers` does so with release builds, whose sizes it judges, and compiles as the
//! Dockerfiles do.

mod containers;
mod running;
mod sources;

use std::path::Path;

use anyhow::{Result, ensure};
use bharatmart_test_support::install::{self, Requirement, find_program};
use nix::unistd::geteuid;
use tokio::process::Command;

use super::{compose, tool};
use crate::{
    cargo,
    console::{Steps, line, megabytes},
    paths, python,
};
use containers::Containers;

/// Compressed, over the base: what a new release has a node fetch.
const LARGEST: u64 = 25_000_000;
const IMAGES: [&str; 3] = ["api", "worker", "frontend"];
/// What makes and runs containers.
const TOOLS: [&str; 5] = ["buildah", "podman", "runc", "apt-get", "dpkg-deb"];

/// Checks the Dockerfiles with programs of either build; `built` is a folder with those of a release.
pub async fn check(release: bool, built: Option<&Path>) -> Result<()> {
    let mut steps = Steps::new(if release { 7 } else { 5 });
    let mut step = steps.begin("hadolint");
    install::ensure(&[Requirement::Python], |text| step.note(text))?;
    let programs =
        python::environment("containers", compose::REQUIREMENTS, |text| step.note(text)).await?;
    let mut command = Command::new(programs.join("hadolint"));
    for image in IMAGES {
        command.arg(containers::dockerfile(image));
    }
    tool::output(&mut command).await?;
    sources::shared_stages()?;
    step.done("content");

    if let Some(missing) = missing() {
        let text = format!("SKIPPED: building and running the images: needs {missing}");
        ensure!(!release, "{text}");
        line(text);
        return Ok(());
    }
    let mut step = steps.begin("Programs");
    let needed = [Requirement::Postgres, Requirement::Redis, Requirement::Node];
    install::ensure(&needed, |text| step.note(text))?;
    step.note("cargo build");
    cargo::build_programs(false).await?;
    let programs = match built {
        Some(built) if release => built.to_owned(),
        _ => {
            if release {
                cargo::build_programs(true).await?;
            }
            paths::programs(release)?
        }
    };
    step.done("built");

    let step = steps.begin("Build context");
    let containers = Containers::prepare().await?;
    let context = containers.context().await?;
    let files = sources::complete(&context).await?;
    step.done(&format!(
        "has the {files} files that the programs are built of"
    ));

    let mut step = steps.begin("buildah");
    containers.stage(&programs)?;
    for image in IMAGES {
        step.note(image);
        if image == "frontend" {
            containers.build(image, &context, &sources::node()?).await?;
        } else {
            containers.build_last_stage(image).await?;
        }
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

        let step = steps.begin("Compiling in the images");
        sources::compile(&containers, &context).await?;
        step.done("dependencies once for both, and not again for a change of the sources");
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
