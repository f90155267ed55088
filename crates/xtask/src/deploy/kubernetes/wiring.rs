//! Whether the objects of a build fit each other and our programs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bharatmart_config::Process;
use serde_json::Value;

use super::{
    manifests::{Build, Object},
    settings::{self, Program},
};

use crate::deploy::json::{items, text};

/// What KEDA's redis trigger understands of what we may want to tell it. Its definition takes any name.
const REDIS_TRIGGER: [&str; 3] = ["address", "listName", "listLength"];

/// What else there is to ask of running programs.
#[derive(Default)]
pub struct Asked {
    /// Paths that the kubelet, Prometheus and the ingress will ask our programs for.
    pub paths: Vec<(Process, Port, String)>,
    /// Lists that KEDA will measure.
    pub lists: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Port {
    Http,
    Metrics,
}

/// Goes over a build; returns the connections to the database that it opens at most.
pub fn check(build: &Build, asked: &mut Asked) -> Result<usize> {
    let mut connections = 0;
    for workload in build.workloads() {
        let largest = replicas(build, workload)?;
        ensure!(
            workload.template().is_some_and(|template| {
                template["spec"]["automountServiceAccountToken"] == false
            }),
            "{workload} is given a token for the cluster"
        );
        if workload.component().ends_with("-exporter") {
            exporter(build, workload).with_context(|| workload.to_string())?;
        }
        let Some(process) = settings::process_of(workload) else {
            continue;
        };
        for program in settings::read(build, workload, process)? {
            container(workload, &program, asked).with_context(|| workload.to_string())?;
            connections += largest * program.pool;
        }
    }
    for object in &build.objects {
        references(build, object, asked).with_context(|| object.to_string())?;
    }
    hosts(build)?;
    Ok(connections)
}

/// How many pods a workload has at most. One that a scaler owns must not say how many, or each `apply` undoes the scaler's work.
fn replicas(build: &Build, workload: &Object) -> Result<usize> {
    let mut largest = None;
    for scaler in &build.objects {
        let maximum = match scaler.kind() {
            "HorizontalPodAutoscaler" => &scaler.spec()["maxReplicas"],
            "ScaledObject" => &scaler.spec()["maxReplicaCount"],
            _ => continue,
        };
        if workload.kind() == "Deployment"
            && scaler.spec()["scaleTargetRef"]["name"] == workload.name()
        {
            ensure!(
                largest.is_none(),
                "{workload} has two scalers; one is {scaler}"
            );
            largest = maximum.as_u64();
        }
    }
    let own = &workload.spec()["replicas"];
    ensure!(
        largest.is_none() || own.is_null(),
        "{workload} has replicas, and a scaler"
    );
    let count = largest.or(own.as_u64()).unwrap_or(1);
    Ok(usize::try_from(count)?)
}

/// Ports, probes and time to stop of one of our programs.
fn container(workload: &Object, program: &Program, asked: &mut Asked) -> Result<()> {
    let template = workload.template().context("no pods")?;
    let grace = template["spec"]["terminationGracePeriodSeconds"].as_u64();
    let grace = Duration::from_secs(grace.unwrap_or(30));
    ensure!(
        grace > program.shutdown_timeout,
        "killed after {grace:?}, but has {:?} to stop",
        program.shutdown_timeout
    );
    let container = workload.containers().last().context("no container")?;
    let declared: Vec<_> = items(&container["ports"])
        .map(|port| (text(&port["name"]), port["containerPort"].as_u64()))
        .collect();
    let mut served = vec![("metrics", Some(u64::from(program.metrics_port)))];
    if let Some(port) = program.http_port {
        served.insert(0, ("http", Some(u64::from(port))));
    }
    ensure!(declared == served, "ports {declared:?}, not {served:?}");
    for (probe, path) in [
        ("startupProbe", "/api/health/live"),
        ("livenessProbe", "/api/health/live"),
        ("readinessProbe", "/api/health/ready"),
    ] {
        let get = &container[probe]["httpGet"];
        ensure!(get["path"] == path, "{probe} does not ask {path}");
        ensure!(
            get["port"] == "metrics",
            "{probe} does not ask port metrics"
        );
        asked
            .paths
            .push((program.process, Port::Metrics, path.to_owned()));
    }
    let annotations = &template["metadata"]["annotations"];
    ensure!(
        text(&annotations["prometheus.io/port"]).parse() == Ok(program.metrics_port),
        "Prometheus is sent to another port"
    );
    let path = text(&annotations["prometheus.io/path"]).to_owned();
    asked.paths.push((program.process, Port::Metrics, path));
    Ok(())
}

/// Prometheus is sent to the port that an exporter has, and the exporter to a server that there is.
fn exporter(build: &Build, workload: &Object) -> Result<()> {
    let container = workload.containers().last().context("no container")?;
    let port = &container["ports"][0];
    let annotations = workload
        .template()
        .map(|template| &template["metadata"]["annotations"]);
    let annotated = annotations.map_or("", |all| text(&all["prometheus.io/port"]));
    ensure!(
        port["name"] == "metrics"
            && annotated
                .parse::<u16>()
                .is_ok_and(|number| port["containerPort"] == number),
        "Prometheus is sent to port {annotated:?}, not {port}"
    );
    for variable in items(&container["env"]).filter(|each| each["name"] == "REDIS_ADDR") {
        service(
            build,
            text(&variable["value"]).trim_start_matches("redis://"),
        )?;
    }
    Ok(())
}

/// What an object says about others is there.
fn references(build: &Build, object: &Object, asked: &mut Asked) -> Result<()> {
    let spec = object.spec();
    match object.kind() {
        "Service" => {
            let selector = serde_json::json!({ "matchLabels": spec["selector"] });
            let workload = build.chosen(&selector).next().context("chooses no pods")?;
            for port in items(&spec["ports"]) {
                let found = workload
                    .containers()
                    .flat_map(|container| items(&container["ports"]))
                    .any(|each| each["name"] == port["targetPort"]);
                ensure!(found, "{workload} has no port {}", port["targetPort"]);
            }
        }
        "PodDisruptionBudget" => {
            ensure!(
                build.chosen(&spec["selector"]).next().is_some(),
                "chooses no pods"
            );
        }
        "NetworkPolicy" => network_policy(build, spec)?,
        "HorizontalPodAutoscaler" => target(build, spec)?,
        "ScaledObject" => {
            target(build, spec)?;
            for trigger in items(&spec["triggers"]).filter(|each| each["type"] == "redis") {
                redis_trigger(build, trigger, asked)?;
            }
        }
        "Probe" => {
            service(build, text(&spec["prober"]["url"]))?;
            for target in items(&spec["targets"]["staticConfig"]["static"]) {
                let host = text(target).trim_start_matches("http://");
                service(build, &format!("{}:80", host.trim_end_matches('/')))?;
            }
        }
        "PodMonitor" => {
            for endpoint in items(&spec["podMetricsEndpoints"]) {
                let path = text(&endpoint["path"]);
                let workloads: Vec<_> = build.chosen(&spec["selector"]).collect();
                ensure!(!workloads.is_empty(), "chooses no pods");
                ensure!(endpoint["port"] == "metrics", "asks another port");
                for process in workloads.into_iter().filter_map(settings::process_of) {
                    asked.paths.push((process, Port::Metrics, path.to_owned()));
                }
            }
        }
        "Ingress" => ingress(build, spec, asked)?,
        _ => {}
    }
    Ok(())
}

fn network_policy(build: &Build, spec: &Value) -> Result<()> {
    // Pods that an operator or cert-manager makes have labels of their own.
    let is_foreign = |selector: &Value| {
        let labels = selector["matchLabels"].as_object();
        labels.is_some_and(|labels| {
            labels.iter().any(|(name, value)| {
                name.starts_with("acme.cert-manager.io/")
                    || value == "redis-failover"
                    || value == "redis-operator"
            })
        })
    };
    let peers = ["ingress", "egress"].into_iter().flat_map(|direction| {
        let list = if direction == "ingress" { "from" } else { "to" };
        items(&spec[direction]).flat_map(move |rule| items(&rule[list]))
    });
    let selectors = peers
        .map(|peer| &peer["podSelector"])
        .chain([&spec["podSelector"]]);
    for selector in selectors.filter(|selector| !selector.is_null()) {
        ensure!(
            is_foreign(selector) || build.chosen(selector).next().is_some(),
            "chooses no pods: {selector}"
        );
    }
    Ok(())
}

fn target(build: &Build, spec: &Value) -> Result<()> {
    let name = text(&spec["scaleTargetRef"]["name"]);
    build
        .find("Deployment", name)
        .with_context(|| format!("there is no Deployment {name:?}"))?;
    Ok(())
}

fn redis_trigger(build: &Build, trigger: &Value, asked: &mut Asked) -> Result<()> {
    let metadata = &trigger["metadata"];
    for name in metadata
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name)
    {
        ensure!(REDIS_TRIGGER.contains(&name.as_str()), "unknown {name:?}");
    }
    let address = text(&metadata["address"]);
    ensure!(
        address.contains(".bharatmart.svc:"),
        "{address} is looked up in KEDA's own namespace"
    );
    service(build, address)?;
    asked.lists.push(text(&metadata["listName"]).to_owned());
    let authentication = text(&trigger["authenticationRef"]["name"]);
    build
        .find("TriggerAuthentication", authentication)
        .with_context(|| format!("there is no TriggerAuthentication {authentication:?}"))?;
    Ok(())
}

fn ingress(build: &Build, spec: &Value, asked: &mut Asked) -> Result<()> {
    for rule in items(&spec["rules"]) {
        for path in items(&rule["http"]["paths"]) {
            let backend = &path["backend"]["service"];
            let name = text(&backend["name"]);
            let service = build
                .find("Service", name)
                .with_context(|| format!("there is no Service {name:?}"))?;
            ensure!(
                items(&service.spec()["ports"]).any(|port| port["name"] == backend["port"]["name"]),
                "{service} has no port {}",
                backend["port"]["name"]
            );
            if name == "bharatmart-backend" {
                let prefix = text(&path["path"]).trim_end_matches('/');
                let health = format!("{prefix}/health");
                asked.paths.push((Process::Api, Port::Http, health));
            }
        }
    }
    Ok(())
}

/// The servers that the settings name are there, under the ports that they name.
fn hosts(build: &Build) -> Result<()> {
    let map = build
        .find("ConfigMap", "bharatmart-config")
        .context("there is no ConfigMap bharatmart-config")?;
    for name in [
        "QUEUE_REDIS_URL",
        "CACHE_REDIS_URL",
        "CACHE_REDIS_CLUSTER_NODES",
    ] {
        for address in text(&map.0["data"][name]).split(',') {
            let address = address.trim_start_matches("redis://");
            if !address.is_empty() {
                service(build, address).with_context(|| name.to_owned())?;
            }
        }
    }
    Ok(())
}

/// `service:port`, `service.namespace.svc:port` or `pod.service:port`.
fn service(build: &Build, address: &str) -> Result<()> {
    let (host, port) = address.split_once(':').context("an address without port")?;
    let found = build.kinds("Service").any(|service| {
        let name = service.name();
        let is_named = host == name
            || host == format!("{name}.bharatmart.svc")
            || host
                .split_once('.')
                .is_some_and(|(pod, rest)| rest == name && pod.starts_with(&format!("{name}-")));
        is_named
            && items(&service.spec()["ports"])
                .any(|each| each["port"].as_u64() == port.parse().ok())
    });
    ensure!(found, "there is no Service at {address}");
    Ok(())
}
