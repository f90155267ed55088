//! The load balancer, and the instances behind it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{DOMAIN, IMAGE, RELEASE, SETTINGS, SUBNET, body};
use crate::deploy::oci::stage::Stage;

const COMMON: [&str; 8] = [
    "--image-id",
    IMAGE,
    "--subnet-id",
    SUBNET,
    "--release",
    "bharatmart-1.0.0-x86_64.tar.gz",
    "--release-sha256",
    RELEASE,
];

pub async fn check(programs: &Path) -> Result<Stage> {
    let mut stage = Stage::set(programs).await?;
    let load_balancer = load_balancer(&mut stage).await?;
    let configurations = configurations(&mut stage).await?;
    let pools = pools(&mut stage, &configurations, &load_balancer).await?;
    renew(&mut stage, &pools[1]).await?;
    Ok(stage)
}

async fn load_balancer(stage: &mut Stage) -> Result<String> {
    let arguments = ["--subnet-ids", SUBNET, "--with-frontend", "yes"];
    let done = stage.perform("create-load-balancer.sh", &arguments).await?;
    let created = body(&done, "/20170115/loadBalancers")?;
    ensure!(
        created["displayName"] == "bharatmart-api-lb"
            && created["shapeName"] == "flexible"
            && created["shapeDetails"]
                == json!({ "minimumBandwidthInMbps": 10, "maximumBandwidthInMbps": 100 }),
        "{created}"
    );
    let part = |kind: &str, name: &str| -> Result<&Value> {
        let path = format!("/20170115/loadBalancers/{}/{kind}", done.last);
        let mut parts = done
            .changes
            .iter()
            .filter(|change| change.path == path)
            .map(|change| &change.body);
        parts
            .find(|part| part["name"] == name)
            .with_context(|| format!("no {name} in {path}"))
    };
    let api = part("backendSets", "api-backend-set")?;
    ensure!(
        api["policy"] == "ROUND_ROBIN"
            && api["healthChecker"]
                == json!({ "protocol": "HTTP", "urlPath": "/api/health", "port": 3000, "returnCode": 200, "retries": 3,
                    "timeoutInMillis": 3000, "intervalInMillis": 10_000 }),
        "{api}"
    );
    part("backendSets", "frontend-backend-set")?;
    let listener = part("listeners", "http")?;
    ensure!(
        listener["port"] == 80
            && listener["defaultBackendSetName"] == "frontend-backend-set"
            && listener["routingPolicyName"] == "api_by_path",
        "{listener}"
    );
    let rule = &part("routingPolicies", "api_by_path")?["rules"][0];
    ensure!(
        rule["condition"] == "any(http.request.url.path sw '/api/')"
            && rule["actions"][0]["backendSetName"] == "api-backend-set",
        "{rule}"
    );

    let certificate = "ocid1.certificate.oc1.ap-mumbai-1.shop";
    // What is served without HTTPS does not stay so unsaid.
    let later = [&arguments[..], &["--certificate-id", certificate]].concat();
    let says = "the listener http is there with the rule-set-names";
    stage
        .refuse("create-load-balancer.sh", &later, 1, says)
        .await?;
    let arguments = [
        "--name",
        "with-tls",
        "--subnet-ids",
        SUBNET,
        "--certificate-id",
        certificate,
    ];
    let with_tls = stage.perform("create-load-balancer.sh", &arguments).await?;
    let secure = with_tls
        .changes
        .iter()
        .find(|change| change.body["name"] == "https")
        .context("no HTTPS")?;
    ensure!(
        secure.body["port"] == 443
            && secure.body["sslConfiguration"]["certificateIds"][0] == certificate,
        "{}",
        secure.body
    );
    Ok(done.last)
}

/// Of the frontend, the API and the workers for orders.
async fn configurations(stage: &mut Stage) -> Result<[String; 3]> {
    let mut configurations = Vec::new();
    for role in [
        &["--role", "frontend"][..],
        &["--role", "api", "--settings-secret-id", SETTINGS],
        &[
            "--role",
            "worker",
            "--worker-type",
            "order",
            "--settings-secret-id",
            SETTINGS,
        ],
    ] {
        let arguments = [role, &COMMON].concat();
        let done = stage
            .perform("create-instance-configuration.sh", &arguments)
            .await?;
        let launch =
            &body(&done, "/20160918/instanceConfigurations")?["instanceDetails"]["launchDetails"];
        ensure!(
            launch["shape"] == "VM.Standard.E4.Flex"
                && launch["shapeConfig"] == json!({ "ocpus": 1, "memoryInGBs": 8 }),
            "{launch}"
        );
        let script = STANDARD.decode(
            launch["metadata"]["user_data"]
                .as_str()
                .context("no user_data")?,
        )?;
        let script = String::from_utf8(script)?;
        ensure!(
            script.starts_with("#!/bin/bash\n")
                && script.contains(&format!("role='{}'\n", role[1]))
                && script.contains(&format!("release_sha256='{RELEASE}'\n"))
                && !script.contains("${"),
            "{script}"
        );
        configurations.push(done.last);
    }
    configurations
        .try_into()
        .map_err(|made| anyhow::anyhow!("not three: {made:?}"))
}

/// A pool of each configuration; the first two are behind the load balancer.
async fn pools(
    stage: &mut Stage,
    configurations: &[String; 3],
    load_balancer: &str,
) -> Result<Vec<String>> {
    let mut pools = Vec::new();
    for (name, configuration, set) in [
        (
            "bharatmart-frontend",
            &configurations[0],
            Some(("frontend-backend-set", 80)),
        ),
        (
            "bharatmart-api",
            &configurations[1],
            Some(("api-backend-set", 3000)),
        ),
        ("bharatmart-worker-order", &configurations[2], None),
    ] {
        let mut arguments = vec!["--name", name, "--configuration-id", configuration];
        arguments.extend(["--availability-domains", DOMAIN, "--subnet-id", SUBNET]);
        if let Some((set, _)) = set {
            arguments.extend(["--load-balancer-id", load_balancer, "--backend-set", set]);
        }
        let done = stage.perform("create-instance-pool.sh", &arguments).await?;
        let pool = body(&done, "/20160918/instancePools")?;
        let attached = match set {
            Some((set, port)) => {
                json!([{ "loadBalancerId": load_balancer, "backendSetName": set, "port": port,
                "vnicSelection": "PrimaryVnic" }])
            }
            None => json!([]),
        };
        ensure!(
            pool["size"] == 2
                && pool["instanceConfigurationId"] == **configuration
                && pool["placementConfigurations"]
                    == json!([{ "availabilityDomain": DOMAIN, "primarySubnetId": SUBNET }])
                && pool["loadBalancers"] == attached,
            "{pool}"
        );
        pools.push(done.last);
    }
    Ok(pools)
}

/// A release is a new configuration of the pool that is there, which keeps its size.
async fn renew(stage: &mut Stage, pool: &str) -> Result<()> {
    let arguments = [
        &[
            "--role",
            "api",
            "--settings-secret-id",
            SETTINGS,
            "--ocpus",
            "2",
        ][..],
        &COMMON,
    ]
    .concat();
    let newer = stage
        .perform("create-instance-configuration.sh", &arguments)
        .await?
        .last;
    let mut arguments = vec![
        "--name",
        "bharatmart-api",
        "--configuration-id",
        &newer,
        "--subnet-id",
        SUBNET,
    ];
    arguments.extend(["--availability-domains", DOMAIN, "--size", "7"]);
    let moved = stage.perform("create-instance-pool.sh", &arguments).await?;
    ensure!(moved.last == pool, "the pool was made again");
    let update = body(&moved, &format!("/20160918/instancePools/{pool}"))?;
    ensure!(
        *update == json!({ "instanceConfigurationId": newer }),
        "{update}"
    );
    Ok(())
}
