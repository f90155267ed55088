//! `cargo xtask check-deploy compose`: Docker Compose itself reads `docker-compose.yml`, and what it understood is held against
//! our programs; the database and its replica are started as it says.

mod replication;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bharatmart_config::{
    AdminConfig, ApiConfig, DatabaseConfig, ProcessConfig, Source, WorkerProcessConfig,
    parse_duration,
};
use bharatmart_test_support::{
    ScratchDir,
    install::{self, Requirement},
};
use serde_json::Value;
use tokio::process::Command;

use super::{
    json::{items, text},
    tool,
};
use crate::{cargo, console::Steps, paths, python};

pub const REQUIREMENTS: &str = "tests/deploy/containers-requirements.txt";
/// What a service of the guide is called here.
const SERVICES: [&str; 15] = [
    "alertmanager",
    "api",
    "frontend",
    "grafana",
    "mail",
    "migrate",
    "pgbouncer",
    "postgres-primary",
    "postgres-replica",
    "prometheus",
    "redis-cache",
    "redis-queue",
    "worker-email",
    "worker-order",
    "worker-payment",
];

type Services = serde_json::Map<String, Value>;

pub async fn check() -> Result<()> {
    let mut steps = Steps::new(4);
    let mut step = steps.begin("Requirements");
    let needed = [Requirement::Python, Requirement::Postgres];
    install::ensure(&needed, |text| step.note(text))?;
    let programs = python::environment("containers", REQUIREMENTS, |text| step.note(text)).await?;
    step.note("cargo build");
    cargo::build_programs(false).await?;
    step.done("there");

    let step = steps.begin("docker compose config");
    let compose = compose(&programs)?;
    let services = services(&compose, &[]).await?;
    refuses_without_settings(&compose).await?;
    shellcheck(&programs).await?;
    tracing(&compose).await?;
    step.done(&format!("{} services", services.len()));

    let step = steps.begin("Commands, settings and health checks");
    for name in SERVICES {
        ensure!(services.contains_key(name), "there is no service {name}");
    }
    let mut ours = 0;
    for (name, service) in &services {
        sound(name, service, &services).with_context(|| name.clone())?;
        let image = text(&service["image"]);
        if let Some(program) = cargo::PROGRAMS
            .into_iter()
            .find(|program| image.starts_with(&format!("{program}:")))
        {
            let help = help(program).await?;
            started(program, &help, service, &services).with_context(|| name.clone())?;
            ours += 1;
        }
    }
    frontend(&services["frontend"])?;
    ensure!(ours == 6, "{ours} services run our programs");
    step.done(&format!("{ours} services run our programs as they want it"));

    let step = steps.begin("PostgreSQL and its replica");
    step.done(&replication::check(&services).await?);
    Ok(())
}

/// The program; what the package puts on the path hides its exit code.
fn compose(programs: &Path) -> Result<PathBuf> {
    let library = programs.parent().context("no environment")?.join("lib");
    for entry in fs::read_dir(library)? {
        let program = entry?.path().join("site-packages/compose/docker-compose");
        if program.is_file() {
            return Ok(program);
        }
    }
    anyhow::bail!("the package has no docker-compose")
}

fn config(compose: &Path, settings: &Path) -> Command {
    let mut command = Command::new(compose);
    command
        .arg("--project-directory")
        .arg(paths::workspace())
        .arg("--file")
        .arg(paths::workspace().join("docker-compose.yml"))
        .arg("--env-file")
        .arg(settings)
        .args(["config", "--format", "json"])
        .env_clear();
    command
}

async fn services(compose: &Path, environment: &[(&str, &str)]) -> Result<Services> {
    let settings = paths::workspace().join(".env.example");
    let mut command = config(compose, &settings);
    command.envs(environment.iter().copied());
    let project = tool::output(&mut command).await?;
    let mut project: Value = serde_json::from_str(&project)?;
    match project["services"].take() {
        Value::Object(services) => Ok(services),
        _ => anyhow::bail!("there are no services"),
    }
}

/// The profile `tracing` has a collector, which gets the traces of all programs when it is named as in the example of `.env`.
async fn tracing(compose: &Path) -> Result<()> {
    let example = fs::read_to_string(paths::workspace().join(".env.example"))?;
    let endpoint = example
        .lines()
        .find_map(|line| line.strip_prefix("# OTEL_EXPORTER_OTLP_ENDPOINT="))
        .context(".env.example names no collector")?;
    let environment = [
        ("COMPOSE_PROFILES", "tracing"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
    ];
    let services = services(compose, &environment).await?;
    ensure!(
        endpoint == "http://jaeger:4318" && services.contains_key("jaeger"),
        "{endpoint} is no service's port for OTLP over HTTP"
    );
    for name in ["api", "worker-email", "worker-order", "worker-payment"] {
        let given = &services[name]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"];
        ensure!(given == endpoint, "{name} sends its traces to {given}");
    }
    Ok(())
}

/// Whoever has no `.env` is told of it.
async fn refuses_without_settings(compose: &Path) -> Result<()> {
    let scratch = ScratchDir::create()?;
    let empty = scratch.path().join("none.env");
    fs::write(&empty, "")?;
    let output = config(compose, &empty).output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        !output.status.success() && said.contains("copy .env.example to .env"),
        "without settings, compose says: {said}"
    );
    Ok(())
}

async fn shellcheck(programs: &Path) -> Result<()> {
    let mut command = Command::new(programs.join("shellcheck"));
    for folder in [
        "deploy/compose",
        "deploy/images",
        "deploy/systemd",
        "tests/deploy",
        replication::STAND_INS,
    ] {
        for entry in fs::read_dir(paths::workspace().join(folder))? {
            let path = entry?.path();
            if path.is_file() && path.extension().is_none_or(|extension| extension == "sh") {
                command.arg(path);
            }
        }
    }
    tool::output(&mut command).await?;
    Ok(())
}

/// What holds for every service.
fn sound(name: &str, service: &Value, services: &Services) -> Result<()> {
    let (_, tag) = text(&service["image"])
        .rsplit_once(':')
        .context("an image without a tag")?;
    ensure!(
        tag.starts_with(|first: char| first.is_ascii_digit() || first == 'v') && tag.contains('.'),
        "the tag {tag:?} is no version"
    );
    for mount in items(&service["volumes"]).filter(|mount| mount["type"] == "bind") {
        let source = text(&mount["source"]);
        ensure!(Path::new(source).exists(), "there is no {source}");
        ensure!(mount["read_only"] == true, "{source} may be written");
    }
    for (other, how) in service["depends_on"].as_object().into_iter().flatten() {
        let condition = text(&how["condition"]);
        let healthy = condition == "service_healthy"
            && items(&services[other]["healthcheck"]["test"])
                .next()
                .is_some();
        let once =
            condition == "service_completed_successfully" && services[other]["restart"] == "no";
        ensure!(healthy || once, "it waits for {other} by {condition}");
    }
    if name.starts_with("worker-") {
        // Either would keep `--scale` from starting a second one.
        ensure!(
            service["ports"].is_null() && service["container_name"].is_null(),
            "it cannot be scaled"
        );
    }
    Ok(())
}

async fn help(program: &str) -> Result<String> {
    let program = paths::programs(false)?.join(program);
    tool::output(Command::new(program).arg("--help")).await
}

/// What holds for a service that runs one of our programs.
fn started(program: &str, help: &str, service: &Value, services: &Services) -> Result<()> {
    let commands: BTreeSet<_> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            line.strip_prefix("  ")
                .filter(|word| !word.starts_with(' '))
        })
        .collect();
    let command = items(&service["command"]).next().map_or("", text);
    ensure!(
        command.is_empty() || commands.contains(command),
        "{program} has no subcommand {command:?}"
    );
    let names = help
        .split("[env: ")
        .skip(1)
        .filter_map(|rest| rest.split(']').next());
    let known: BTreeSet<_> = names.flat_map(|names| names.split(", ")).collect();
    let mut variables = BTreeMap::new();
    for (name, value) in service["environment"].as_object().into_iter().flatten() {
        ensure!(
            known.contains(name.as_str()),
            "{program} does not read {name}"
        );
        reached(name, text(value), service, services)?;
        variables.insert(name.clone(), text(value).to_owned());
    }
    let source = Source::from_map(variables);
    let process = read(program, command, &source)?;
    let warnings = source.take_warnings();
    ensure!(warnings.is_empty(), "{}", warnings.join("; "));
    ensure!(service["read_only"] == true, "its root may be written");
    ensure!(service["cap_drop"][0] == "ALL", "it has capabilities");

    let Some(process) = process else {
        ensure!(
            service["healthcheck"]["disable"] == true,
            "a job has no health"
        );
        return Ok(());
    };
    let test: Vec<_> = items(&service["healthcheck"]["test"]).map(text).collect();
    let path = format!("/usr/local/bin/{program}");
    ensure!(
        test == ["CMD", &path, "healthcheck"] && commands.contains("healthcheck"),
        "its health check is {test:?}"
    );
    let grace = parse_duration(text(&service["stop_grace_period"]));
    let grace = grace.context("stop_grace_period is no duration")?;
    ensure!(
        grace > process.shutdown_timeout + Duration::from_secs(5),
        "it is killed after {grace:?}, while it may take {:?} to stop",
        process.shutdown_timeout
    );
    Ok(())
}

/// Reads the settings as the program would.
fn read(program: &str, command: &str, source: &Source) -> Result<Option<ProcessConfig>> {
    Ok(match (program, command) {
        ("bharatmart-api", "") => Some(ApiConfig::read(source)?.process),
        ("bharatmart-worker", "") => Some(WorkerProcessConfig::read(source)?.process),
        (_, "migrate") => {
            DatabaseConfig::read(source, bharatmart_config::Process::Api)?;
            None
        }
        (_, "seed") => {
            DatabaseConfig::read(source, bharatmart_config::Process::Api)?;
            AdminConfig::read(source)?;
            None
        }
        (program, command) => anyhow::bail!("what does {program} {command} read?"),
    })
}

/// A server that a setting names is there, and healthy before the program starts.
fn reached(name: &str, value: &str, service: &Value, services: &Services) -> Result<()> {
    let host = match value.split_once("://") {
        Some((_, rest)) => rest
            .rsplit('@')
            .next()
            .unwrap_or(rest)
            .split([':', '/'])
            .next(),
        None if name.ends_with("_HOST") => Some(value),
        None => None,
    };
    let Some(host) = host.filter(|host| *host != "localhost") else {
        return Ok(());
    };
    ensure!(
        services.contains_key(host),
        "{name} names {host}, which is no service"
    );
    // Only `migrate` uses the direct way.
    ensure!(
        name == "DATABASE_DIRECT_URL"
            || service["depends_on"][host].is_object()
            || service["restart"] == "no",
        "it does not wait for {host} of {name}"
    );
    Ok(())
}

/// The frontend's image reads what its entrypoint says.
fn frontend(service: &Value) -> Result<()> {
    let script =
        fs::read_to_string(paths::workspace().join("deploy/images/frontend-entrypoint.sh"))?;
    for name in service["environment"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name)
    {
        ensure!(
            script.contains(&format!("${{{name}:-")),
            "the frontend's entrypoint does not read {name}"
        );
    }
    ensure!(
        service["read_only"] == true,
        "the frontend's root may be written"
    );
    ensure!(
        text(&service["tmpfs"][0]).starts_with("/tmp"),
        "the frontend has no /tmp to write to"
    );
    Ok(())
}
