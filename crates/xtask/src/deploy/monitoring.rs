//! `cargo xtask check-deploy monitoring`: promtool and amtool read `deploy/monitoring`, and Prometheus scrapes a running shop
//! with it.

mod configuration;
mod expressions;
mod prometheus;
mod shop;

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{
    ScratchDir, free_port,
    install::{self, Requirement, find_program},
    wait_until,
};
use tokio::process::Command;

use super::tool;
use crate::{cargo, console::Steps, paths};
use prometheus::Prometheus;
use shop::Shop;

/// How long Prometheus may take to have seen something.
const PATIENCE: Duration = Duration::from_secs(30);
const ALERT_TESTS: &str = "tests/deploy/alerts-test.yml";

/// What the guide reads of each of its two jobs.
const GUIDE: [&str; 2] = ["up{job=\"backend-api\"} == 1", "up{job=\"workers\"} == 1"];

fn folder() -> PathBuf {
    paths::workspace().join("deploy/monitoring")
}

pub async fn check() -> Result<()> {
    let mut steps = Steps::new(5);
    let mut step = steps.begin("Requirements");
    let needed = [
        Requirement::Postgres,
        Requirement::Redis,
        Requirement::Monitoring,
    ];
    install::ensure(&needed, |text| step.note(text))?;
    step.note("cargo build");
    cargo::build_programs(false).await?;
    step.done("there");

    let step = steps.begin("promtool and amtool");
    let scratch = ScratchDir::create()?;
    judge(&scratch).await?;
    step.done("content");

    let step = steps.begin("A shop with its exporters, and Prometheus");
    let shop = Shop::start(scratch.path()).await?;
    let port = free_port();
    let local = configuration::compose(&shop, port, &folder())?;
    let prometheus = Prometheus::start("compose", port, &local, scratch.path()).await?;
    let targets = prometheus.all_up(PATIENCE).await?;
    shop.sell().await?;
    for query in GUIDE {
        prometheus.answers(query, PATIENCE).await?;
    }
    step.done(&format!("{targets} targets are up"));

    let step = steps.begin("Dashboards and alerts");
    let panels = expressions::of_dashboards(&folder().join("grafana/dashboards"))?;
    let rules = expressions::of_rules(&folder().join("rules"))?;
    for name in expressions::recorded(&folder().join("rules"))? {
        prometheus.answers(&name, PATIENCE).await?;
    }
    let known = prometheus.names().await?;
    for expression in panels.iter().chain(&rules) {
        let plain = prometheus.format(expression).await?;
        let unknown: BTreeSet<_> = expressions::metrics(&plain)
            .into_iter()
            .filter(|name| !known.contains(name))
            .collect();
        ensure!(
            unknown.is_empty(),
            "nobody exposes {unknown:?} of `{expression}`"
        );
    }
    show(&prometheus, &panels).await?;
    let firing = prometheus.firing().await?;
    ensure!(firing.is_empty(), "a healthy shop sets off {firing:?}");
    step.done(&format!(
        "{} queries of panels have data, {} rules name what is there",
        panels.len(),
        rules.len()
    ));

    let step = steps.begin("A cluster's Prometheus, and one above");
    let global = configuration::global(&prometheus, &folder())?;
    let global = Prometheus::start("global", free_port(), &global, scratch.path()).await?;
    let port = free_port();
    let cluster = configuration::kubernetes(&shop, port, &global, &folder())?;
    let cluster = Prometheus::start("kubernetes", port, &cluster, scratch.path()).await?;
    cluster.all_up(PATIENCE).await?;
    let pods = cluster.count("up{pod!=\"\"}").await?;
    ensure!(
        pods == 7,
        "{pods} ports of pods are scraped, not those of one API, three workers and three exporters"
    );
    show(&cluster, &panels).await?;
    global
        .answers("up{cluster=\"oke\", pod!=\"\"}", PATIENCE)
        .await?;
    global
        .answers("queue:backlog:max{cluster=\"compose\"}", PATIENCE)
        .await?;
    step.done("sees what both send");
    Ok(())
}

/// Waits until every panel has something to show.
async fn show(prometheus: &Prometheus, panels: &[String]) -> Result<()> {
    for panel in panels.iter().filter(|panel| !panel.contains("ALERTS")) {
        prometheus.answers(panel, PATIENCE).await?;
    }
    Ok(())
}

/// Has the tools of Prometheus and Alertmanager read the files as they are.
async fn judge(scratch: &ScratchDir) -> Result<()> {
    let promtool = find_program("promtool").context("promtool is not installed")?;
    let amtool = find_program("amtool").context("amtool is not installed")?;
    for name in ["prometheus.yml", "prometheus-global.yml"] {
        let mut command = Command::new(&promtool);
        command.args(["check", "config", "--lint=all", "--lint-fatal"]);
        tool::output(command.arg(folder().join(name))).await?;
    }
    // Distributions leave the discovery of pods out; it is put back as files, as which it is also run below.
    let pods = configuration::without_discovery(&folder(), scratch.path())?;
    let mut command = Command::new(&promtool);
    tool::output(command.args(["check", "config"]).arg(pods)).await?;
    for name in ["recording.yml", "alerts.yml"] {
        let mut command = Command::new(&promtool);
        command.args(["check", "rules", "--lint=all", "--lint-fatal"]);
        tool::output(command.arg(folder().join("rules").join(name))).await?;
    }
    let mut command = Command::new(&promtool);
    command.args(["test", "rules"]);
    tool::output(command.arg(paths::workspace().join(ALERT_TESTS))).await?;

    let alertmanager = folder().join("alertmanager.yml");
    tool::output(Command::new(&amtool).arg("check-config").arg(&alertmanager)).await?;
    for (severity, receiver) in [("critical", "operators-at-once"), ("warning", "operators")] {
        let mut command = Command::new(&amtool);
        command.args(["config", "routes", "test", "--config.file"]);
        command.arg(&alertmanager);
        command.arg(format!("--verify.receivers={receiver}"));
        tool::output(command.arg(format!("severity={severity}"))).await?;
    }
    Ok(())
}

/// Waits until `url` answers 200.
async fn answers(url: &str) -> Result<()> {
    wait_until(&format!("200 from {url}"), PATIENCE, async || {
        let answer = reqwest::get(url).await;
        answer
            .is_ok_and(|answer| answer.status().is_success())
            .then_some(())
    })
    .await
}
