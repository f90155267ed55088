//! What our programs are started with in a pod, read by their own parser.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use bharatmart_config::{
    AdminConfig, ApiConfig, DatabaseConfig, Process, ProcessConfig, Source, WorkerProcessConfig,
};
use serde_json::Value;

use super::manifests::{Build, Object};
use crate::{
    deploy::{
        json::{items, text},
        sample::filled_in,
    },
    paths,
};

const SECRET: &str = "bharatmart-secrets";
/// What the example of the Secret is made of.
const SECRETS_EXAMPLE: &str = "deploy/kubernetes/secrets.env.example";

/// One of our programs in a pod.
pub struct Program {
    pub process: Process,
    /// The port of the API; workers have none.
    pub http_port: Option<u16>,
    pub metrics_port: u16,
    pub shutdown_timeout: Duration,
    /// Connections to the database, at most.
    pub pool: usize,
}

/// Which of our programs the containers of a workload run, if any.
pub fn process_of(workload: &Object) -> Option<Process> {
    match workload.component() {
        "backend" | "migrate" => Some(Process::Api),
        "worker" => Some(Process::Worker),
        _ => None,
    }
}

/// Reads what a container gives its program, and fails where the program would, or where a variable has a name that it does not
/// read.
pub fn read(build: &Build, workload: &Object, process: Process) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    for container in workload.containers() {
        let at = format!("{workload}, container {}", text(&container["name"]));
        let variables = variables(build, container, process).with_context(|| at.clone())?;
        let source = Source::from_map(variables);
        let command = items(&container["args"]).next().map_or("", text);
        if let Some(program) = started(&source, process, command).with_context(|| at.clone())? {
            programs.push(program);
        }
        let warnings = source.take_warnings();
        ensure!(warnings.is_empty(), "{at}: {}", warnings.join("; "));
    }
    Ok(programs)
}

/// The API names each secret that it lacks, where the manifest lets a key be missing because not every setting needs it.
pub fn asks_for_secrets(build: &Build) -> Result<()> {
    let backend = build.find("Deployment", "bharatmart-backend");
    let container = backend.and_then(|backend| backend.containers().last());
    let container = container.context("there is no bharatmart-backend")?;
    let mut all = variables(build, container, Process::Api)?;
    for (name, value) in [
        ("PAYMENT_PROVIDER", "http"),
        ("PAYMENT_GATEWAY_URL", "https://gateway.example"),
        ("PAYMENT_API_KEY", "0123456789abcdef0123456789abcdef"),
        ("PAYMENT_WEBHOOK_SECRET", "0123456789abcdef0123456789abcdef"),
    ] {
        all.insert(name.to_owned(), value.to_owned());
    }
    ApiConfig::read(&Source::from_map(all.clone()))?;
    for name in [
        "DATABASE_URL",
        "JWT_SECRET",
        "PAYMENT_API_KEY",
        "PAYMENT_WEBHOOK_SECRET",
    ] {
        let mut fewer = all.clone();
        fewer.remove(name);
        let told = ApiConfig::read(&Source::from_map(fewer)).err();
        ensure!(
            told.is_some_and(|error| error.to_string().contains(name)),
            "the API does not ask for {name}"
        );
    }
    Ok(())
}

fn started(source: &Source, process: Process, command: &str) -> Result<Option<Program>> {
    let program = match (process, command) {
        (Process::Api, "") => {
            let config = ApiConfig::read(source)?;
            Program {
                process,
                http_port: Some(config.http.port),
                metrics_port: config.process.metrics_port,
                shutdown_timeout: config.process.shutdown_timeout,
                pool: usize::try_from(config.database.pool_size)?,
            }
        }
        (Process::Worker, "") => {
            let config = WorkerProcessConfig::read(source)?;
            Program {
                process,
                http_port: None,
                metrics_port: config.process.metrics_port,
                shutdown_timeout: config.process.shutdown_timeout,
                pool: usize::try_from(config.database.pool_size)?,
            }
        }
        (Process::Api, "migrate") => {
            DatabaseConfig::read(source, process)?;
            return Ok(None);
        }
        (Process::Api, "seed" | "create-admin") => {
            DatabaseConfig::read(source, process)?;
            ProcessConfig::read(source)?;
            AdminConfig::read(source)?;
            return Ok(None);
        }
        _ => bail!("no program of ours has the subcommand {command:?}"),
    };
    Ok(Some(program))
}

/// Names and values of a container's environment.
fn variables(
    build: &Build,
    container: &Value,
    process: Process,
) -> Result<BTreeMap<String, String>> {
    let secrets = secrets(build)?;
    let mut variables = BTreeMap::new();
    for from in items(&container["envFrom"]) {
        let name = text(&from["configMapRef"]["name"]);
        let map = build
            .find("ConfigMap", name)
            .with_context(|| format!("there is no ConfigMap {name:?}"))?;
        let known = names(&[Process::Api, Process::Worker]);
        for (name, value) in map.0["data"].as_object().into_iter().flatten() {
            ensure!(
                known.contains(name.as_str()),
                "neither program reads {name}"
            );
            variables.insert(name.clone(), text(value).to_owned());
        }
    }
    let known = names(&[process]);
    for variable in items(&container["env"]) {
        let name = text(&variable["name"]);
        ensure!(known.contains(name), "the program does not read {name}");
        let secret = &variable["valueFrom"]["secretKeyRef"];
        if secret.is_null() {
            variables.insert(name.to_owned(), text(&variable["value"]).to_owned());
            continue;
        }
        ensure!(
            secret["name"] == SECRET && secret["key"] == name,
            "{name} is not from {SECRET} under its own name"
        );
        match secrets.get(name) {
            Some(Some(value)) => {
                variables.insert(name.to_owned(), value.clone());
            }
            _ if secret["optional"] == true => {}
            _ => bail!("the Secret has no {name}"),
        }
    }
    Ok(variables)
}

/// Every name that these programs read, other names for the same included.
fn names(processes: &[Process]) -> BTreeSet<&'static str> {
    let tables = processes.iter().flat_map(|process| process.tables());
    tables
        .flat_map(|table| table.variables)
        .flat_map(|variable| std::iter::once(&variable.name).chain(variable.aliases))
        .copied()
        .collect()
}

/// The build's own Secret, else the example of one; without a value, what is commented out there.
fn secrets(build: &Build) -> Result<BTreeMap<String, Option<String>>> {
    let Some(own) = build.find("Secret", SECRET) else {
        return example();
    };
    let entries = own.0["data"].as_object().into_iter().flatten();
    entries
        .map(|(name, value)| {
            // kustomize breaks long lines.
            let value: String = text(value).split_whitespace().collect();
            let value = String::from_utf8(STANDARD.decode(value)?)?;
            Ok((name.clone(), Some(value)))
        })
        .collect()
}

fn example() -> Result<BTreeMap<String, Option<String>>> {
    let lines = fs::read_to_string(paths::workspace().join(SECRETS_EXAMPLE))
        .with_context(|| format!("cannot read {SECRETS_EXAMPLE}"))?;
    let known = names(&[Process::Api, Process::Worker]);
    let mut secrets = BTreeMap::new();
    for line in lines.lines() {
        let (commented, line) = match line.strip_prefix("# ") {
            Some(line) => (true, line),
            None => (false, line),
        };
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        if known.contains(name) {
            secrets.insert(name.to_owned(), (!commented).then(|| filled_in(value)));
        } else if !commented {
            bail!("no program reads {name} of {SECRETS_EXAMPLE}");
        }
    }
    Ok(secrets)
}
