//! Who may talk to whom under the network policies of a build, as Kubernetes reads them: whoever is chosen by a policy for a
//! direction may do in it what any of those policies allows, and nothing else.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::manifests::{Build, Object, chooses};
use crate::deploy::json::items;

/// From one component to another one's port.
type Flow = (&'static str, &'static str, u16);

/// What the shop does.
const NEEDED: [Flow; 8] = [
    ("frontend", "backend", 3000),
    ("backend", "redis-cache", 6379),
    ("backend", "redis-queue", 6379),
    ("worker", "redis-cache", 6379),
    ("worker", "redis-queue", 6379),
    ("backend", "postgres", 5432),
    ("worker", "postgres", 5432),
    ("migrate", "postgres", 5432),
];
/// What only somebody who broke in would do.
const FORBIDDEN: [Flow; 5] = [
    ("frontend", "redis-cache", 6379),
    ("frontend", "redis-queue", 6379),
    ("frontend", "postgres", 5432),
    ("redis-cache", "redis-queue", 6379),
    ("worker", "backend", 3000),
];

/// Goes over the flows between those that a build has.
pub fn check(build: &Build) -> Result<()> {
    let mut seen = 0;
    for (flows, allowed) in [(NEEDED.as_slice(), true), (FORBIDDEN.as_slice(), false)] {
        for &(from, to, port) in flows {
            for client in of(build, from) {
                for server in of(build, to) {
                    let may = may(build, client, server, port);
                    ensure!(
                        may == allowed,
                        "{client} {} {server} on port {port}",
                        if may { "may reach" } else { "may not reach" }
                    );
                    seen += 1;
                }
            }
        }
    }
    ensure!(
        seen > 0,
        "nobody of this build talks to anybody of it: its components have other names"
    );
    Ok(())
}

fn of<'a>(build: &'a Build, component: &'a str) -> impl Iterator<Item = &'a Object> {
    build
        .workloads()
        .filter(move |object| object.component() == component)
}

fn may(build: &Build, client: &Object, server: &Object, port: u16) -> bool {
    let ways = [
        ("Egress", "egress", "to", client, server),
        ("Ingress", "ingress", "from", server, client),
    ];
    ways.into_iter().all(|(kind, rules, peers, pod, other)| {
        let mut chosen = build
            .kinds("NetworkPolicy")
            .map(Object::spec)
            .filter(|spec| {
                items(&spec["policyTypes"]).any(|each| each == kind)
                    && chooses(&spec["podSelector"], labels(pod))
            })
            .peekable();
        chosen.peek().is_none()
            || chosen.any(|spec| {
                items(&spec[rules]).any(|rule| {
                    names_peer(&rule[peers], other) && names_port(&rule["ports"], server, port)
                })
            })
    })
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
