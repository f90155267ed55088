//! Who may talk to whom under the network policies of a build, as Kubernetes reads them: whoever is chosen by a policy for a
//! direction may do in it what any of those policies allows, and nothing else.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::manifests::{Build, Object, chooses};
use crate::deploy::json::items;

/// From one component, or from a namespace of others, to a component's port.
type Flow = (&'static str, &'static str, u16);

/// What the shop does.
const NEEDED: [Flow; 12] = [
    ("frontend", "backend", 3000),
    ("backend", "redis-cache", 6379),
    ("backend", "redis-queue", 6379),
    ("worker", "redis-cache", 6379),
    ("worker", "redis-queue", 6379),
    ("backend", "postgres", 5432),
    ("worker", "postgres", 5432),
    ("migrate", "postgres", 5432),
    ("redis-exporter", "redis-cache", 6379),
    ("redis-exporter", "redis-queue", 6379),
    ("postgres-exporter", "postgres", 5432),
    ("blackbox-exporter", "frontend", 8080),
];
/// What only somebody who broke in would do.
const FORBIDDEN: [Flow; 10] = [
    ("frontend", "redis-cache", 6379),
    ("frontend", "redis-queue", 6379),
    ("frontend", "postgres", 5432),
    ("frontend", "redis-exporter", 9121),
    ("redis-cache", "redis-queue", 6379),
    ("worker", "backend", 3000),
    ("redis-exporter", "postgres", 5432),
    ("postgres-exporter", "redis-queue", 6379),
    ("blackbox-exporter", "backend", 3000),
    ("blackbox-exporter", "redis-cache", 6379),
];
/// What comes from other namespaces.
const NEEDED_FROM: [Flow; 10] = [
    ("nginx-ingress", "backend", 3000),
    ("ingress-nginx", "frontend", 8080),
    ("keda", "redis-queue", 6379),
    ("monitoring", "backend", 9090),
    ("monitoring", "worker", 9090),
    ("monitoring", "redis-exporter", 9121),
    ("monitoring", "postgres-exporter", 9187),
    ("monitoring", "blackbox-exporter", 9115),
    // A name that nothing of ours knows, under the label that lets it in.
    (LABELLED, "backend", 9090),
    (LABELLED, "redis-exporter", 9121),
];
const FORBIDDEN_FROM: [Flow; 7] = [
    ("default", "backend", 3000),
    ("default", "redis-exporter", 9121),
    ("nginx-ingress", "backend", 9090),
    ("nginx-ingress", "redis-queue", 6379),
    ("keda", "redis-cache", 6379),
    ("monitoring", "backend", 3000),
    ("monitoring", "redis-cache", 6379),
];
/// A namespace with the label of a Prometheus that runs elsewhere.
const LABELLED: &str = "bharatmart.example/role=monitoring";

/// Goes over the flows between those that a build has.
pub fn check(build: &Build) -> Result<()> {
    let mut seen = 0;
    for (flows, allowed) in [(NEEDED.as_slice(), true), (FORBIDDEN.as_slice(), false)] {
        for &(from, to, port) in flows {
            for client in of(build, from) {
                for server in of(build, to) {
                    let may = permits(build, Direction::Egress, client, |rule| {
                        names_peer(&rule["to"], server) && names_port(&rule["ports"], server, port)
                    }) && permits(build, Direction::Ingress, server, |rule| {
                        names_peer(&rule["from"], client)
                            && names_port(&rule["ports"], server, port)
                    });
                    judge(&client.to_string(), server, port, may, allowed)?;
                    seen += 1;
                }
            }
        }
    }
    ensure!(
        seen > 0,
        "nobody of this build talks to anybody of it: its components have other names"
    );
    for (flows, allowed) in [
        (NEEDED_FROM.as_slice(), true),
        (FORBIDDEN_FROM.as_slice(), false),
    ] {
        for &(namespace, to, port) in flows {
            for server in of(build, to) {
                let may = permits(build, Direction::Ingress, server, |rule| {
                    names_namespace(&rule["from"], namespace)
                        && names_port(&rule["ports"], server, port)
                });
                let client = format!("the namespace {namespace}");
                judge(&client, server, port, may, allowed)?;
            }
        }
    }
    collector(build)
}

/// Where a build has traces sent, its pods may send them.
fn collector(build: &Build) -> Result<()> {
    let settings = build.find("ConfigMap", "bharatmart-config");
    let Some(url) = settings.and_then(|map| map.0["data"]["OTEL_EXPORTER_OTLP_ENDPOINT"].as_str())
    else {
        return Ok(());
    };
    let address = url
        .strip_prefix("http://")
        .and_then(|url| url.split_once(':'));
    let (host, port) = address.with_context(|| format!("{url} names no port"))?;
    let (_, namespace) = host
        .split_once('.')
        .with_context(|| format!("{host} names no namespace"))?;
    let port: u16 = port.parse()?;
    for component in ["backend", "worker"] {
        for client in of(build, component) {
            let may = permits(build, Direction::Egress, client, |rule| {
                names_namespace(&rule["to"], namespace)
                    && items(&rule["ports"]).any(|each| each["port"] == port)
            });
            ensure!(may, "{client} may not reach {url}");
        }
    }
    Ok(())
}

fn judge(client: &str, server: &Object, port: u16, may: bool, allowed: bool) -> Result<()> {
    ensure!(
        may == allowed,
        "{client} {} {server} on port {port}",
        if may { "may reach" } else { "may not reach" }
    );
    Ok(())
}

fn of<'a>(build: &'a Build, component: &'a str) -> impl Iterator<Item = &'a Object> {
    build
        .workloads()
        .filter(move |object| object.component() == component)
}

#[derive(Clone, Copy)]
enum Direction {
    Egress,
    Ingress,
}

/// Whether no policy chooses this pod for this direction, or one that does has such a rule.
fn permits(
    build: &Build,
    direction: Direction,
    pod: &Object,
    is_such: impl Fn(&Value) -> bool,
) -> bool {
    let (kind, rules) = match direction {
        Direction::Egress => ("Egress", "egress"),
        Direction::Ingress => ("Ingress", "ingress"),
    };
    let mut chosen = build
        .kinds("NetworkPolicy")
        .map(Object::spec)
        .filter(|spec| {
            items(&spec["policyTypes"]).any(|each| each == kind)
                && chooses(&spec["podSelector"], labels(pod))
        })
        .peekable();
    chosen.peek().is_none() || chosen.any(|spec| items(&spec[rules]).any(&is_such))
}

/// Whether a rule without peers, or one of its peers, is this pod. Those of other namespaces are nobody of this build.
fn names_peer(peers: &Value, pod: &Object) -> bool {
    peers.is_null()
        || items(peers).any(|peer| {
            peer["namespaceSelector"].is_null()
                && !peer["podSelector"].is_null()
                && chooses(&peer["podSelector"], labels(pod))
        })
}

/// Whether a rule without peers, or one of its peers, is every pod of this namespace, known by its name or by one label.
fn names_namespace(peers: &Value, namespace: &str) -> bool {
    let (label, value) = namespace
        .split_once('=')
        .unwrap_or(("kubernetes.io/metadata.name", namespace));
    let labels = json!({ label: value });
    peers.is_null()
        || items(peers).any(|peer| {
            peer["podSelector"].is_null()
                && !peer["namespaceSelector"].is_null()
                && chooses(&peer["namespaceSelector"], &labels)
        })
}

/// Whether a rule without ports, or one of its ports, by its number or the server's name for it, is this one.
fn names_port(ports: &Value, server: &Object, port: u16) -> bool {
    ports.is_null()
        || items(ports).any(|each| {
            let named = &each["port"];
            *named == port
                || server
                    .containers()
                    .flat_map(|container| items(&container["ports"]))
                    .any(|own| {
                        named.is_string() && own["name"] == *named && own["containerPort"] == port
                    })
        })
}

fn labels(pod: &Object) -> &Value {
    pod.template()
        .map_or(&Value::Null, |template| &template["metadata"]["labels"])
}
