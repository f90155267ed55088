//! `cargo xtask check-deploy kubernetes`: builds every kustomization with kubectl, holds the objects against the schemas of
//! Kubernetes and of the operators, looks for what is unsafe, reads the settings with our own parser, and asks running programs
//! for what the manifests say about them.

mod commands;
mod flows;
mod guide;
mod live;
mod manifests;
mod settings;
mod tools;
mod wiring;

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{
    ScratchDir,
    install::{self, Requirement},
};

use crate::{cargo, console::Steps, paths};
use manifests::Build;
use tools::Tools;
use wiring::Asked;

const FOLDER: &str = "deploy/kubernetes";

pub async fn check() -> Result<()> {
    let mut steps = Steps::new(6);
    let mut step = steps.begin("Requirements");
    let needed = [
        Requirement::Postgres,
        Requirement::Redis,
        Requirement::Python,
    ];
    install::ensure(&needed, |text| step.note(text))?;
    let tools = Tools::prepare(|text| step.note(text)).await?;
    step.note("cargo build");
    cargo::build_programs(false).await?;
    step.done("there");

    let step = steps.begin("kubectl kustomize");
    let scratch = ScratchDir::create()?;
    let folder = paths::workspace().join(FOLDER);
    let base = tools.build(&folder.join("base")).await?;
    let mut builds = Vec::new();
    for overlay in guide::overlays(&folder.join("overlays"))? {
        builds.push(tools.build(&overlay).await?);
    }
    let watched = guide::variant(
        scratch.path(),
        "local-with-exporters",
        "overlays/local",
        &["exporters", "prometheus-access"],
    )?;
    builds.push(tools.build(&watched).await?);
    let components = [
        "keda",
        "keda-active-work",
        "business-hours",
        "exporters",
        "pod-monitors",
        "tracing",
    ];
    let variant = guide::variant(scratch.path(), "components", "base", &components)?;
    builds.push(tools.build(&variant).await?);
    let shown = commands::overlay(scratch.path())?;
    let formulas = builds.last().map(guide::formulas).transpose()?;
    ensure!(formulas == Some(3), "not every worker has a formula");
    builds.push(tools.build(&shown).await?);
    let further = guide::single_files(&base)?;
    builds.push(Build {
        name: "single-files".to_owned(),
        objects: [base.objects.clone(), further.clone()].concat(),
    });
    step.done(&format!("{} builds", builds.len()));

    let step = steps.begin("Schemas of three versions, and of the operators");
    let mut own = 0;
    let mut custom = 0;
    for build in &builds {
        let (more_own, more_custom) = tools.validate(build, scratch.path()).await?;
        own += more_own;
        custom += more_custom;
    }
    step.done(&format!("{own} objects and {custom} custom resources"));

    let step = steps.begin("checkov");
    tools.scan(&builds, scratch.path()).await?;
    step.done("content");

    let step = steps.begin("Settings, names and numbers");
    let mut asked = Asked::default();
    let mut connections = 0;
    for build in &builds {
        let found = wiring::check(build, &mut asked).with_context(|| build.name.clone())?;
        flows::check(build).with_context(|| build.name.clone())?;
        connections = connections.max(found);
    }
    guide::numbers(&base, &further)?;
    guide::release(&base)?;
    guide::storefront(&builds)?;
    settings::asks_for_secrets(&base)?;
    let commands = commands::check(&builds, &tools, connections).await?;
    step.done(&format!(
        "at most {connections} connections to the database; {commands} commands in the README"
    ));

    let step = steps.begin("Running programs and servers");
    let (paths, lists) = live::ask(asked).await?;
    let mut servers = 0;
    for build in &builds {
        servers += live::redis(build).await?;
    }
    step.done(&format!(
        "{paths} paths, {lists} lists, {servers} times a redis.conf"
    ));
    Ok(())
}
