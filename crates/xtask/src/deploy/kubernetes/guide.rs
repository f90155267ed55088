//! The guide's files, names and numbers.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::manifests::{Build, Object, by_id, parse};
use crate::{
    deploy::json::{items, text},
    paths,
};

/// The guide's steps, and what goes between them, one `kubectl apply -f` each.
pub const STEPS: [&str; 10] = [
    "namespace.yaml",
    "configmap.yaml",
    "network-policies.yaml",
    "redis-cache.yaml",
    "redis-queue.yaml",
    "migrate-job.yaml",
    "backend-deployment.yaml",
    "workers-deployment.yaml",
    "frontend-deployment.yaml",
    "ingress.yaml",
];
/// Applied by themselves, with KEDA and once.
pub const FURTHER: [&str; 2] = ["workers-scaledobjects.yaml", "admin-job.yaml"];
/// The files one after the other are the base; returns those of them that are not.
pub fn single_files(base: &Build) -> Result<Vec<Object>> {
    let folder = paths::workspace().join("deploy/kubernetes");
    let read = |names: &[&str]| -> Result<Vec<Object>> {
        let mut objects = Vec::new();
        for name in names {
            let yaml = fs::read_to_string(folder.join(name))
                .with_context(|| format!("cannot read {name}"))?;
            objects.extend(parse(&yaml).with_context(|| (*name).to_owned())?);
        }
        Ok(objects)
    };
    let single = read(&STEPS)?;
    let (single, built) = (by_id(&single)?, by_id(&base.objects)?);
    let names: BTreeSet<_> = single.keys().chain(built.keys()).collect();
    for name in names {
        ensure!(
            single.get(name) == built.get(name),
            "{name} is not the same from its file and from kustomize"
        );
    }
    read(&FURTHER)
}

/// The guide's numbers.
pub fn numbers(base: &Build, further: &[Object]) -> Result<()> {
    let hpa = base
        .find("HorizontalPodAutoscaler", "bharatmart-backend-hpa")
        .context("there is no HPA of the backend")?;
    let spec = hpa.spec();
    ensure!(
        spec["minReplicas"] == 2 && spec["maxReplicas"] == 10,
        "{hpa}: not 2 to 10"
    );
    let target = |name: &str, value: u32| {
        json!({ "type": "Resource", "resource": { "name": name,
            "target": { "type": "Utilization", "averageUtilization": value } } })
    };
    ensure!(
        spec["metrics"] == json!([target("cpu", 70), target("memory", 80)]),
        "{hpa}: not CPU at 70 % and memory at 80 %"
    );
    let behavior = json!({
        "scaleUp": { "stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
            { "type": "Percent", "value": 100, "periodSeconds": 30 },
            { "type": "Pods", "value": 2, "periodSeconds": 30 } ] },
        "scaleDown": { "stabilizationWindowSeconds": 300, "policies": [
            { "type": "Percent", "value": 50, "periodSeconds": 60 } ] } });
    ensure!(spec["behavior"] == behavior, "{hpa}: another behavior");
    let scaler = further
        .iter()
        .find(|object| object.name() == "order-worker-scaler")
        .context("there is no order-worker-scaler")?;
    let spec = scaler.spec();
    let metadata = &spec["triggers"][0]["metadata"];
    ensure!(
        spec["minReplicaCount"] == 2
            && spec["maxReplicaCount"] == 50
            && metadata["listName"] == "bull:order-processing:wait"
            && metadata["listLength"] == "10",
        "{scaler} is not the guide's"
    );
    for scaler in further
        .iter()
        .filter(|object| object.kind() == "ScaledObject")
    {
        let behavior = &scaler.spec()["advanced"]["horizontalPodAutoscalerConfig"]["behavior"];
        ensure!(
            behavior["scaleUp"].is_object() && behavior["scaleDown"].is_object(),
            "{scaler} has no behavior of its own"
        );
    }
    Ok(())
}

/// `config/samples/kubernetes.env` says the same as the `ConfigMap`, and our images have the version of this release.
pub fn release(base: &Build) -> Result<()> {
    let file = paths::workspace().join("config/samples/kubernetes.env");
    let sample = dotenvy::from_path_iter(&file)?.collect::<Result<Vec<_>, _>>()?;
    let sample: serde_json::Map<String, Value> = sample
        .into_iter()
        .map(|(name, value)| (name, value.into()))
        .collect();
    let map = base.find("ConfigMap", "bharatmart-config");
    let data = map.and_then(|map| map.0["data"].as_object());
    ensure!(
        data == Some(&sample),
        "config/samples/kubernetes.env and the ConfigMap differ"
    );
    for container in base.workloads().flat_map(Object::containers) {
        let image = text(&container["image"]);
        let (name, tag) = image.split_once(':').context("an image without a tag")?;
        ensure!(
            !name.starts_with("bharatmart-") || tag == env!("CARGO_PKG_VERSION"),
            "{image} is not of version {}",
            env!("CARGO_PKG_VERSION")
        );
    }
    Ok(())
}

/// What asks for the storefront's page does it as in compose, and nginx begins with a number of processes that fits its pod.
pub fn storefront(builds: &[Build]) -> Result<()> {
    let read = |name: &str| {
        let file = paths::workspace().join("deploy").join(name);
        fs::read_to_string(file).with_context(|| format!("cannot read {name}"))
    };
    let prober = builds
        .iter()
        .find_map(|build| build.find("ConfigMap", "bharatmart-blackbox-exporter"));
    let prober = prober.context("nobody asks for the storefront's page")?;
    ensure!(
        prober.0["data"]["blackbox.yml"] == read("monitoring/blackbox.yml")?,
        "{prober} and deploy/monitoring/blackbox.yml differ"
    );
    let nginx = read("nginx/nginx.conf")?;
    let processes = nginx
        .lines()
        .find_map(|line| line.strip_prefix("worker_processes "))
        .and_then(|number| number.trim_end_matches(';').parse::<u32>().ok());
    ensure!(
        processes.is_some_and(|number| (1..=4).contains(&number)),
        "nginx.conf does not say with how many processes, at most 4 of which fit into a pod"
    );
    Ok(())
}

/// Names of the folders with overlays, each of which is built.
pub fn overlays(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut overlays = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    overlays.sort();
    for wanted in ["local", "oke", "sentinel"] {
        ensure!(
            overlays.iter().any(|path| path.ends_with(wanted)),
            "there is no overlay {wanted}"
        );
    }
    Ok(overlays)
}

/// Components on top of a folder of ours, which none of the overlays has so.
pub fn variant(
    scratch: &Path,
    name: &str,
    below: &str,
    components: &[&str],
) -> Result<std::path::PathBuf> {
    let folder = scratch.join(name);
    fs::create_dir(&folder)?;
    // kustomize takes relative paths only.
    let up = "../".repeat(folder.components().count() - 1);
    let ours = paths::workspace().join("deploy/kubernetes");
    let ours = format!("{up}{}", ours.display().to_string().trim_start_matches('/'));
    let components: Vec<_> = components
        .iter()
        .map(|name| format!("{ours}/components/{name}"))
        .collect();
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [format!("{ours}/{below}")],
        "components": components,
    });
    fs::write(folder.join("kustomization.yaml"), kustomization.to_string())?;
    Ok(folder)
}

/// Whether a formula of KEDA's names triggers that are there.
pub fn formulas(build: &Build) -> Result<usize> {
    let mut count = 0;
    for scaler in build.kinds("ScaledObject") {
        let formula = text(&scaler.spec()["advanced"]["scalingModifiers"]["formula"]);
        let named: BTreeSet<_> = formula
            .split(" + ")
            .filter(|name| !name.is_empty())
            .collect();
        let there: BTreeSet<_> = items(&scaler.spec()["triggers"])
            .map(|trigger| text(&trigger["name"]))
            .filter(|name| !name.is_empty())
            .collect();
        ensure!(named == there, "{scaler}: {formula:?} of {there:?}");
        count += usize::from(!named.is_empty());
    }
    Ok(count)
}
