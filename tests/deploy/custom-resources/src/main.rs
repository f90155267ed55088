//! Reads Kubernetes objects as a JSON array from standard input and prints what is wrong with their `spec`, a line each: fields
//! that the definition of the kind does not have, and values of the wrong type. Kinds that it does not know are wrong, too.

use std::{collections::BTreeSet, io, process::ExitCode};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A file of the crate with definitions as a module.
macro_rules! definitions {
    ($module:ident, $file:literal) => {
        mod $module {
            include!(concat!(env!("DEFINITIONS"), $file));
        }
    };
}

definitions!(pod_monitors, "/monitoring_coreos_com/v1/podmonitors.rs");
definitions!(probes, "/monitoring_coreos_com/v1/probes.rs");
definitions!(
    redis_failovers,
    "/databases_spotahome_com/v1/redisfailovers.rs"
);
definitions!(scaled_objects, "/keda_sh/v1alpha1/scaledobjects.rs");
definitions!(
    trigger_authentications,
    "/keda_sh/v1alpha1/triggerauthentications.rs"
);

fn main() -> Result<ExitCode> {
    let objects: Vec<Value> =
        serde_json::from_reader(io::stdin().lock()).context("standard input is no JSON array")?;
    let findings: BTreeSet<String> = objects.iter().flat_map(check).collect();
    for finding in &findings {
        println!("{finding}");
    }
    Ok(if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn check(object: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("(nothing)").to_owned();
    let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let spec = &object["spec"];
    let problems = match (version.as_str(), kind.as_str()) {
        ("databases.spotahome.com/v1", "RedisFailover") => {
            problems::<redis_failovers::RedisFailoverSpec>(spec)
        }
        ("keda.sh/v1alpha1", "ScaledObject") => problems::<scaled_objects::ScaledObjectSpec>(spec),
        ("keda.sh/v1alpha1", "TriggerAuthentication") => {
            problems::<trigger_authentications::TriggerAuthenticationSpec>(spec)
        }
        ("monitoring.coreos.com/v1", "PodMonitor") => {
            problems::<pod_monitors::PodMonitorSpec>(spec)
        }
        ("monitoring.coreos.com/v1", "Probe") => problems::<probes::ProbeSpec>(spec),
        _ => vec![format!("there is no definition of {version} {kind}")],
    };
    let name = text(&object["metadata"]["name"]);
    problems
        .iter()
        .map(|problem| format!("{kind} {name}: {problem}"))
        .collect()
}

fn problems<T: DeserializeOwned>(spec: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    let mut note = |path: serde_ignored::Path| unknown.push(format!("unknown field {path}"));
    let parsed: Result<T, _> =
        serde_path_to_error::deserialize(serde_ignored::Deserializer::new(spec, &mut note));
    if let Err(error) = parsed {
        unknown.push(error.to_string());
    }
    unknown
}
