//! The files of `deploy/monitoring` with the addresses of this machine, and nothing else changed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    prometheus::Prometheus,
    shop::{Shop, local},
};

/// What Kubernetes' discovery would say of a pod, in the labels that it gives a target.
const META: &str = "__meta_kubernetes_pod_";
/// The exporters in a cluster, by what they ask and the label that tells one from the other, and their names in compose.
const EXPORTERS: [(&str, &str, &str); 3] = [
    ("redis", "cache", "redis-exporter-cache:9121"),
    ("redis", "queue", "redis-exporter-queue:9121"),
    ("postgres", "primary", "postgres-exporter-primary:9187"),
];
/// What a cluster calls the storefront and who asks it for its page.
const STOREFRONT: &str = "http://bharatmart-frontend.bharatmart.svc/";
const PROBER: &str = "bharatmart-blackbox-exporter.bharatmart.svc:9115";

fn read(folder: &Path, name: &str) -> Result<Value> {
    let text =
        fs::read_to_string(folder.join(name)).with_context(|| format!("cannot read {name}"))?;
    let mut configuration: Value =
        serde_norway::from_str(&text).with_context(|| name.to_owned())?;
    // A check has no time for four scrapes a minute.
    for interval in ["scrape_interval", "evaluation_interval"] {
        configuration["global"][interval] = json!("1s");
    }
    if configuration["rule_files"].is_array() {
        configuration["rule_files"] = json!([folder.join("rules/*.yml")]);
    }
    if configuration["alerting"].is_object() {
        configuration["alerting"] = json!({});
    }
    Ok(configuration)
}

fn jobs(configuration: &mut Value) -> Result<&mut Vec<Value>> {
    let jobs = configuration["scrape_configs"].as_array_mut();
    jobs.context("there are no scrape_configs")
}

fn take(job: &mut Value, key: &str) -> Option<Value> {
    job.as_object_mut()?.remove(key)
}

/// `prometheus.yml` for a shop on this machine, and a Prometheus on that port.
pub fn compose(shop: &Shop, own_port: u16, folder: &Path) -> Result<String> {
    let mut configuration = read(folder, "prometheus.yml")?;
    for job in jobs(&mut configuration)? {
        if let Some(names) = take(job, "dns_sd_configs") {
            let found = names[0]["names"].as_array().into_iter().flatten();
            let targets: Vec<_> = found
                .filter_map(Value::as_str)
                .map(|name| {
                    json!({
                        "targets": [format!("{name}:{}", names[0]["port"])],
                        "labels": { "__meta_dns_name": name },
                    })
                })
                .collect();
            job["static_configs"] = json!(targets);
        }
    }
    let mut text = configuration.to_string();
    let own = ("localhost:9090".to_owned(), local(own_port));
    for (name, address) in shop.addresses.iter().chain([(&own.0, &own.1)]) {
        let quoted = format!("\"{name}\"");
        ensure!(
            text.contains(&quoted),
            "prometheus.yml does not scrape {name}"
        );
        text = text.replace(&quoted, &format!("\"{address}\""));
    }
    Ok(text)
}

/// `prometheus-global.yml` above the Prometheus of a shop.
pub fn global(below: &Prometheus, folder: &Path) -> Result<String> {
    let mut configuration = read(folder, "prometheus-global.yml")?;
    for job in jobs(&mut configuration)? {
        job["static_configs"] = json!([{ "targets": [local(below.port)] }]);
    }
    Ok(configuration.to_string())
}

/// `prometheus-kubernetes.yml` on that port, as it would be if this machine's processes were pods of the manifests.
pub fn kubernetes(shop: &Shop, own_port: u16, above: &Prometheus, folder: &Path) -> Result<String> {
    let (api, workers, http) = shop.ports();
    let mut pods = vec![
        pod("backend", "bharatmart-backend", "metrics", &local(api)),
        pod("backend", "bharatmart-backend", "http", &local(http)),
    ];
    for (kind, port) in workers {
        let name = format!("bharatmart-worker-{kind}");
        pods.push(pod("worker", &name, "metrics", &local(port)));
    }
    for (kind, server, name) in EXPORTERS {
        let component = format!("{kind}-exporter");
        let mut exporter = pod(&component, &component, "metrics", shop.address(name)?);
        exporter["labels"][format!("{META}label_bharatmart_example_server")] = json!(server);
        pods.push(exporter);
    }
    let mut configuration = discovered(folder, &json!(pods))?;
    configuration["remote_write"][0]["url"] =
        json!(format!("http://{}/api/v1/write", local(above.port)));
    let own = local(own_port);
    let mut text = configuration.to_string();
    for (name, address) in [
        (STOREFRONT, shop.address("http://frontend:8080/")?),
        (PROBER, shop.address("blackbox-exporter:9115")?),
        ("localhost:9090", &own),
    ] {
        let quoted = format!("\"{name}\"");
        ensure!(
            text.contains(&quoted),
            "prometheus-kubernetes.yml does not scrape {name}"
        );
        text = text.replace(&quoted, &format!("\"{address}\""));
    }
    Ok(text)
}

/// Writes `prometheus-kubernetes.yml` without the discovery of pods, and says where.
pub fn without_discovery(folder: &Path, scratch: &Path) -> Result<PathBuf> {
    let file = scratch.join("prometheus-kubernetes.yml");
    let pods = json!([pod(
        "backend",
        "bharatmart-backend",
        "metrics",
        &local(9090)
    )]);
    fs::write(&file, discovered(folder, &pods)?.to_string())?;
    Ok(file)
}

fn discovered(folder: &Path, pods: &Value) -> Result<Value> {
    let mut configuration = read(folder, "prometheus-kubernetes.yml")?;
    let mut replaced = 0;
    for job in jobs(&mut configuration)? {
        let Some(discovery) = take(job, "kubernetes_sd_configs") else {
            continue;
        };
        let wanted = json!([{ "role": "pod", "namespaces": { "names": ["bharatmart"] } }]);
        ensure!(discovery == wanted, "pods are looked for by {discovery}");
        job["static_configs"] = pods.clone();
        replaced += 1;
    }
    ensure!(
        replaced == 4,
        "{replaced} jobs look for pods, not the guide's two and two of exporters"
    );
    Ok(configuration)
}

fn pod(component: &str, name: &str, port_name: &str, address: &str) -> Value {
    let label = |key: &str| format!("{META}{key}");
    json!({
        "targets": [address],
        "labels": {
            label("name"): format!("{name}-0"),
            label("label_app_kubernetes_io_component"): component,
            label("label_app_kubernetes_io_name"): name,
            label("annotation_prometheus_io_scrape"): "true",
            label("container_port_name"): port_name,
        },
    })
}
