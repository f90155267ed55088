//! Each script once, in the order of a deployment, and what it must have asked for.

use std::fs;

use anyhow::{Context, Result, ensure};
use axum::http::Method;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::stage::{Outcome, Stage, TENANCY};

const SUBNET: &str = "ocid1.subnet.oc1.ap-mumbai-1.private";
const IMAGE: &str = "ocid1.image.oc1.ap-mumbai-1.linux";
const INSTANCE: &str = "ocid1.instance.oc1.ap-mumbai-1.single";
const VAULT: &str = "ocid1.vault.oc1.ap-mumbai-1.shop.abc";
const KEY: &str = "ocid1.key.oc1.ap-mumbai-1.shop.abc";
const SECRET: &str = "ocid1.vaultsecret.oc1.ap-mumbai-1.password";
const DOMAIN: &str = "Uocm:AP-MUMBAI-1-AD-1";
const POOL: &str = "ocid1.instancepool.oc1.ap-mumbai-1.other";

/// Mistakes that people make, and what is said of each.
pub async fn refuse_bad_input(stage: &Stage) -> Result<()> {
    for (script, arguments, code, says) in [
        (
            "set-bandwidth.sh",
            &["--load-balancer-id", POOL][..],
            64,
            "OCID of the type loadbalancer",
        ),
        (
            "set-bandwidth.sh",
            &["--bandwidth", "10"],
            64,
            "there is no option --bandwidth",
        ),
        (
            "set-bandwidth.sh",
            &["--minimum-mbps"],
            64,
            "--minimum-mbps needs a value",
        ),
        (
            "set-pool-size.sh",
            &["--pool-id", POOL, "--size", "-1"],
            64,
            "a whole number from 0 to 500",
        ),
        (
            "set-pool-size.sh",
            &["--pool-id", POOL],
            64,
            "--size is required",
        ),
        (
            "create-threshold-autoscaling.sh",
            &["--profile", "all", "--pool-id", POOL],
            64,
            "frontend, api, large-cpu",
        ),
        (
            "create-threshold-autoscaling.sh",
            &[
                "--profile",
                "api",
                "--pool-id",
                POOL,
                "--cooldown-seconds",
                "60",
            ],
            64,
            "a whole number from 300",
        ),
        (
            "create-threshold-autoscaling.sh",
            &["--profile", "api", "--pool-id", POOL, "--below", "80"],
            64,
            "a whole number from 1 to 69",
        ),
        (
            "create-schedule-autoscaling.sh",
            &["--pool-id", POOL, "--up-at", "8"],
            64,
            "a time of day such as 08:00",
        ),
        (
            "create-schedule-autoscaling.sh",
            &["--pool-id", POOL, "--time-zone", "Europe/Berlin"],
            64,
            "which has summer time",
        ),
        (
            "create-schedule-autoscaling.sh",
            &["--pool-id", POOL, "--days", "1-5"],
            64,
            "a range such as MON-FRI",
        ),
        (
            "publish-frontend.sh",
            &["--dist", "nowhere", "--region", "ap-mumbai-1"],
            64,
            "there is no index.html",
        ),
        (
            "create-instance-configuration.sh",
            &[
                "--role",
                "worker",
                "--image-id",
                IMAGE,
                "--subnet-id",
                SUBNET,
                "--release",
                "a.tar.gz",
                "--release-sha256",
                "0",
            ],
            64,
            "--worker-type is required",
        ),
        (
            "create-cache.sh",
            &["--for", "cache", "--subnet-id", SUBNET, "--shards", "2"],
            64,
            "0, or 3 or more",
        ),
    ] {
        stage.refuse(script, arguments, code, says).await?;
    }
    let sample = stage.scratch.path().join("sample.env");
    fs::write(
        &sample,
        "JWT_SECRET='replace-this-with-the-output-of-openssl-rand'\n",
    )?;
    let sample = sample.display().to_string();
    let arguments = ["--vault-id", VAULT, "--key-id", KEY, "--file", &sample];
    stage
        .refuse("store-settings.sh", &arguments, 1, "values of the sample")
        .await
}

pub async fn run_all(stage: &mut Stage, mut progress: impl FnMut(&str)) -> Result<()> {
    progress("storefront and release");
    publish_frontend(stage).await?;
    let (release, settings) = publish_release(stage).await?;
    progress("load balancer, instances");
    let load_balancer = load_balancer(stage).await?;
    let pools = pools(stage, &release, &settings, &load_balancer).await?;
    progress("scaling");
    thresholds(stage, &pools).await?;
    schedules(stage, &pools).await?;
    sizes(stage, &load_balancer, &pools).await?;
    progress("database and cache");
    database(stage).await?;
    caches(stage).await
}

async fn publish_frontend(stage: &mut Stage) -> Result<()> {
    let dist = stage.scratch.path().join("dist");
    fs::create_dir_all(dist.join("assets"))?;
    let files = [
        ("index.html", "no-cache", "text/html; charset=utf-8"),
        ("config.json", "no-cache", "application/json"),
        ("favicon.svg", "public, max-age=86400", "image/svg+xml"),
        (
            "assets/index-DqCon0pY.js",
            "public, max-age=31536000, immutable",
            "text/javascript; charset=utf-8",
        ),
        (
            "assets/index-BgdQTHJD.css",
            "public, max-age=31536000, immutable",
            "text/css; charset=utf-8",
        ),
    ];
    for (name, ..) in files {
        fs::write(dist.join(name), format!("content of {name}"))?;
    }
    fs::write(dist.join("assets/index-DqCon0pY.js.gz"), "for nginx")?;
    let arguments = ["--dist", "dist", "--region", "ap-mumbai-1"];
    let done = stage.perform("publish-frontend.sh", &arguments).await?;
    let bucket = body(&done, "/n/shop/b")?;
    ensure!(
        bucket["name"] == "bharatmart-frontend"
            && bucket["publicAccessType"] == "ObjectReadWithoutList",
        "{bucket}"
    );
    let puts: Vec<_> = done
        .changes
        .iter()
        .filter(|change| change.method == Method::PUT)
        .collect();
    ensure!(
        puts.len() == files.len(),
        "{} files were sent instead of {}",
        puts.len(),
        files.len()
    );
    for (name, cache, kind) in files {
        let path = format!("/n/shop/b/bharatmart-frontend/o/{name}");
        let put = puts
            .iter()
            .find(|put| put.path.replace("%2F", "/") == path)
            .context(path)?;
        ensure!(
            put.header("cache-control") == cache && put.header("content-type") == kind,
            "{name} has Cache-Control {:?} and type {:?}",
            put.header("cache-control"),
            put.header("content-type")
        );
    }
    ensure!(
        puts.last()
            .is_some_and(|put| put.path.ends_with("/index.html")),
        "index.html does not come last"
    );
    ensure!(
        done.last
            == "https://objectstorage.ap-mumbai-1.oraclecloud.com/n/shop/b/bharatmart-frontend/o",
        "{}",
        done.last
    );

    // A release changes what it has to, and nothing else.
    fs::write(dist.join("index.html"), "a new page")?;
    fs::write(dist.join("assets/index-Cn3w.js"), "a new script")?;
    let done = stage.perform("publish-frontend.sh", &arguments).await?;
    let sent: Vec<_> = done
        .changes
        .iter()
        .map(|change| change.path.replace("%2F", "/"))
        .collect();
    ensure!(
        sent.len() == 2
            && sent[0].ends_with("/assets/index-Cn3w.js")
            && sent[1].ends_with("/index.html"),
        "{sent:?}"
    );
    Ok(())
}

/// The archive's sum, and the OCID of the settings.
async fn publish_release(stage: &mut Stage) -> Result<(String, String)> {
    let archive = stage.scratch.path().join("bharatmart-1.0.0-x86_64.tar.gz");
    fs::write(&archive, "a release")?;
    let archive = archive.display().to_string();
    let release = stage
        .perform("publish-release.sh", &["--archive", &archive])
        .await?;
    let bucket = body(&release, "/n/shop/b")?;
    ensure!(bucket["publicAccessType"] == "NoPublicAccess", "{bucket}");
    fs::write(&archive, "another release of the same name")?;
    stage
        .refuse(
            "publish-release.sh",
            &["--archive", &archive],
            1,
            "needs a new name",
        )
        .await?;

    let settings = stage.scratch.path().join("settings.env");
    fs::write(&settings, "ENVIRONMENT=production\n")?;
    let file = settings.display().to_string();
    let arguments = ["--vault-id", VAULT, "--key-id", KEY, "--file", &file];
    let stored = stage.perform("store-settings.sh", &arguments).await?;
    let content = &body(&stored, "/20180608/secrets")?["secretContent"]["content"];
    ensure!(
        *content == STANDARD.encode("ENVIRONMENT=production\n"),
        "{content}"
    );
    fs::write(&settings, "ENVIRONMENT=production\nLOG_LEVEL=debug\n")?;
    let again = stage.perform("store-settings.sh", &arguments).await?;
    ensure!(
        again.last == stored.last && again.changes.len() == 1,
        "changed settings are not a new version"
    );

    let arguments = ["--tenancy-id", TENANCY, "--secret-id", &stored.last];
    let allowed = stage.perform("allow-instances.sh", &arguments).await?;
    let statements = body(&allowed, "/20160918/policies")?["statements"].to_string();
    ensure!(
        statements.contains("target.bucket.name = 'bharatmart-releases'")
            && statements.contains(&format!("target.secret.id = '{}'", stored.last))
            && !statements.contains("manage"),
        "{statements}"
    );
    Ok((release.last, stored.last))
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

struct Pools {
    frontend: String,
    api: String,
    worker: String,
}

async fn pools(
    stage: &mut Stage,
    release: &str,
    settings: &str,
    load_balancer: &str,
) -> Result<Pools> {
    let common = [
        "--image-id",
        IMAGE,
        "--subnet-id",
        SUBNET,
        "--release",
        "bharatmart-1.0.0-x86_64.tar.gz",
    ];
    let mut configurations = Vec::new();
    for role in [
        &["--role", "frontend"][..],
        &["--role", "api", "--settings-secret-id", settings],
        &[
            "--role",
            "worker",
            "--worker-type",
            "order",
            "--settings-secret-id",
            settings,
        ],
    ] {
        let arguments = [role, &common, &["--release-sha256", release]].concat();
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
                && script.contains(&format!("release_sha256='{release}'\n"))
                && !script.contains("${"),
            "{script}"
        );
        configurations.push(done.last);
    }

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

    // A release is a new configuration of the pool that is there, which keeps its size.
    let arguments = [
        &[
            "--role",
            "api",
            "--settings-secret-id",
            settings,
            "--ocpus",
            "2",
        ][..],
        &common,
        &["--release-sha256", release],
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
    ensure!(moved.last == pools[1], "the pool was made again");
    let update = body(&moved, &format!("/20160918/instancePools/{}", pools[1]))?;
    ensure!(
        *update == json!({ "instanceConfigurationId": newer }),
        "{update}"
    );
    let [frontend, api, worker] = pools
        .try_into()
        .map_err(|_| anyhow::anyhow!("three pools"))?;
    Ok(Pools {
        frontend,
        api,
        worker,
    })
}

async fn thresholds(stage: &mut Stage, pools: &Pools) -> Result<()> {
    for (profile, pool, out, capacity) in [
        (
            "frontend",
            &pools.frontend,
            ("CPU_UTILIZATION", 1, 70, 30),
            (2, 2, 10),
        ),
        (
            "api",
            &pools.api,
            ("CPU_UTILIZATION", 2, 70, 30),
            (2, 2, 10),
        ),
        (
            "large-cpu",
            &"ocid1.instancepool.oc1..cpu".to_owned(),
            ("CPU_UTILIZATION", 3, 80, 30),
            (3, 2, 20),
        ),
        (
            "large-memory",
            &"ocid1.instancepool.oc1..memory".to_owned(),
            ("MEMORY_UTILIZATION", 2, 85, 50),
            (3, 2, 20),
        ),
    ] {
        let arguments = ["--profile", profile, "--pool-id", pool];
        let done = stage
            .perform("create-threshold-autoscaling.sh", &arguments)
            .await?;
        let created = body(&done, "/20181001/autoScalingConfigurations")?;
        let (metric, add, above, below) = out;
        let rule = |name: &str, by: i32, operator: &str, value: i32| {
            json!({ "displayName": name, "action": { "type": "CHANGE_COUNT_BY", "value": by }, "metric": {
                "metricSource": "COMPUTE_AGENT", "metricType": metric, "threshold": { "operator": operator, "value": value } } })
        };
        let policy = json!({
            "displayName": format!("{profile}-autoscale"),
            "policyType": "threshold",
            "capacity": { "initial": capacity.0, "min": capacity.1, "max": capacity.2 },
            "rules": [rule("scale-out", add, "GT", above), rule("scale-in", -1, "LT", below)],
        });
        ensure!(
            created["policies"] == json!([policy])
                && created["coolDownInSeconds"] == 300
                && created["resource"] == json!({ "type": "instancePool", "id": pool }),
            "{created}"
        );
    }
    let other = [
        "--profile",
        "api",
        "--pool-id",
        &pools.api,
        "--maximum",
        "20",
    ];
    stage
        .refuse(
            "create-threshold-autoscaling.sh",
            &other,
            1,
            "takes only one",
        )
        .await?;
    let replacing = [&other[..], &["--replace", "yes"]].concat();
    let done = stage
        .perform("create-threshold-autoscaling.sh", &replacing)
        .await?;
    ensure!(
        done.changes
            .iter()
            .map(|change| &change.method)
            .eq([&Method::DELETE, &Method::POST]),
        "the old configuration was not replaced"
    );
    Ok(())
}

async fn schedules(stage: &mut Stage, pools: &Pools) -> Result<()> {
    let api = ["--pool-id", &pools.api];
    stage
        .refuse("create-schedule-autoscaling.sh", &api, 1, "takes only one")
        .await?;
    for (pool, extra, up, down) in [
        (
            pools.worker.as_str(),
            &[][..],
            "0 30 2 ? * * *",
            "0 30 16 ? * * *",
        ),
        (
            POOL,
            &["--days", "MON-FRI", "--up-at", "03:00"][..],
            "0 30 21 ? * SUN,MON,TUE,WED,THU *",
            "0 30 16 ? * MON-FRI *",
        ),
    ] {
        let arguments = [&["--pool-id", pool][..], extra].concat();
        let done = stage
            .perform("create-schedule-autoscaling.sh", &arguments)
            .await?;
        let created = body(&done, "/20181001/autoScalingConfigurations")?;
        let policy = |name: &str, size: u32, cron: &str| {
            json!({ "displayName": name, "policyType": "scheduled", "capacity": { "initial": size },
                "executionSchedule": { "type": "cron", "timezone": "UTC", "expression": cron } })
        };
        let wanted = [
            policy("business-hours-scale-up", 8, up),
            policy("business-hours-scale-down", 2, down),
        ];
        ensure!(created["policies"] == json!(wanted), "{created}");
    }

    let file = stage.scratch.path().join("worker-scaling");
    let name = file.display().to_string();
    stage
        .perform(
            "schedule-worker-scaling.sh",
            &["--pool-id", &pools.worker, "--file", &name],
        )
        .await?;
    let text = fs::read_to_string(&file)?;
    let at = |start: &str, size: &str| {
        text.lines().any(|line| {
            line.starts_with(&format!("{start} * * * root /"))
                && line.ends_with(&format!(
                    "/set-pool-size.sh --pool-id {} --size {size}",
                    pools.worker
                ))
        })
    };
    ensure!(at("30 2", "10") && at("30 14", "3"), "{text}");
    Ok(())
}

async fn sizes(stage: &mut Stage, load_balancer: &str, pools: &Pools) -> Result<()> {
    let done = stage
        .perform(
            "set-pool-size.sh",
            &["--pool-id", &pools.worker, "--size", "10"],
        )
        .await?;
    let size = body(&done, &format!("/20160918/instancePools/{}", pools.worker))?;
    ensure!(*size == json!({ "size": 10 }), "{size}");

    let done = stage
        .perform("set-bandwidth.sh", &["--load-balancer-id", load_balancer])
        .await?;
    let shape = body(
        &done,
        &format!("/20170115/loadBalancers/{load_balancer}/updateShape"),
    )?;
    ensure!(
        shape["shapeDetails"]
            == json!({ "minimumBandwidthInMbps": 10, "maximumBandwidthInMbps": 8000 }),
        "{shape}"
    );

    stage.recorder.place(
        "instances",
        json!({ "id": INSTANCE, "shape": "VM.Standard.E2.1.Micro", "lifecycleState": "RUNNING" }),
    );
    let done = stage
        .perform("resize-instance.sh", &["--instance-id", INSTANCE])
        .await?;
    let shape = body(&done, &format!("/20160918/instances/{INSTANCE}"))?;
    ensure!(
        shape["shape"] == "VM.Standard.E4.Flex"
            && shape["shapeConfig"] == json!({ "ocpus": 2, "memoryInGBs": 16 }),
        "{shape}"
    );

    let arguments = ["--availability-domain", DOMAIN];
    let done = stage
        .perform("create-capacity-reservation.sh", &arguments)
        .await?;
    let reserved =
        &body(&done, "/20160918/computeCapacityReservations")?["instanceReservationConfigs"];
    ensure!(
        *reserved
            == json!([{ "instanceShape": "VM.Standard.E4.Flex", "reservedCount": 5,
                "instanceShapeConfig": { "ocpus": 1, "memoryInGBs": 8 } }]),
        "{reserved}"
    );
    let more = [&arguments[..], &["--count", "8"]].concat();
    let grown = stage
        .perform("create-capacity-reservation.sh", &more)
        .await?;
    ensure!(
        grown.last == done.last && grown.changes.len() == 1,
        "the reservation was made again"
    );
    Ok(())
}

async fn database(stage: &mut Stage) -> Result<()> {
    let arguments = ["--subnet-id", SUBNET, "--password-secret-id", SECRET];
    let done = stage.perform("create-database.sh", &arguments).await?;
    let system = body(&done, "/20220915/dbSystems")?;
    ensure!(
        system["instanceCount"] == 2
            && system["instanceOcpuCount"] == 2
            && system["networkDetails"]["isReaderEndpointEnabled"] == true
            && system["credentials"]["passwordDetails"]["secretId"] == SECRET,
        "{system}"
    );
    ensure!(
        done.printed.contains(
            "DATABASE_URL='postgres://bharatmart:change-me@primary.example:5432/postgres'\n"
        ) && done.printed.contains(
            "DATABASE_READ_URL='postgres://bharatmart:change-me@reader.example:5432/postgres'\n"
        ),
        "{}",
        done.printed
    );
    let more = [&arguments[..], &["--ocpus", "4", "--memory-gb", "64"]].concat();
    let grown = stage.perform("create-database.sh", &more).await?;
    ensure!(
        grown.changes.len() == 1 && grown.changes[0].method == Method::PUT,
        "the database was made again"
    );
    ensure!(
        grown.changes[0].body["instanceOcpuCount"] == 4,
        "{}",
        grown.changes[0].body
    );
    Ok(())
}

async fn caches(stage: &mut Stage) -> Result<()> {
    let done = stage
        .perform(
            "create-cache.sh",
            &["--for", "cache", "--subnet-id", SUBNET],
        )
        .await?;
    let set = &body(&done, "/20220315/ociCacheConfigSets")?["configurationDetails"]["items"];
    ensure!(
        *set == json!([{ "configKey": "maxmemory-policy", "configValue": "allkeys-lru" }]),
        "{set}"
    );
    ensure!(
        done.last == "CACHE_REDIS_URL=rediss://bharatmart-redis-cache-primary.example:6379",
        "{}",
        done.printed
    );
    let arguments = ["--for", "cache", "--subnet-id", SUBNET, "--memory-gb", "32"];
    let grown = stage.perform("create-cache.sh", &arguments).await?;
    ensure!(
        grown.changes.len() == 1 && grown.changes[0].body["nodeMemoryInGBs"] == 32.0,
        "{}",
        grown.changes[0].body
    );

    let done = stage
        .perform(
            "create-cache.sh",
            &["--for", "queue", "--subnet-id", SUBNET],
        )
        .await?;
    let queue = body(&done, "/20220315/redisClusters")?;
    ensure!(
        queue["ociCacheConfigSetId"].is_null()
            && queue["nodeCount"] == 2
            && done.last.starts_with("QUEUE_REDIS_URL=rediss://"),
        "{queue}"
    );

    // The guide's six nodes: three masters, three replicas.
    let arguments = [
        "--for",
        "cache",
        "--name",
        "sharded",
        "--subnet-id",
        SUBNET,
        "--shards",
        "3",
    ];
    let done = stage.perform("create-cache.sh", &arguments).await?;
    let cluster = body(&done, "/20220315/redisClusters")?;
    ensure!(
        cluster["clusterMode"] == "SHARDED"
            && cluster["shardCount"] == 3
            && cluster["nodeCount"] == 2,
        "{cluster}"
    );
    ensure!(
        done.printed
            .contains("CACHE_REDIS_CLUSTER_NODES=rediss://sharded-discovery.example:6379\n"),
        "{}",
        done.printed
    );
    Ok(())
}

/// The body of the change that was sent to a path.
fn body<'a>(outcome: &'a Outcome, path: &str) -> Result<&'a Value> {
    let change = outcome
        .changes
        .iter()
        .find(|change| change.path.trim_end_matches('/') == path);
    let change = change.with_context(|| {
        let paths: Vec<_> = outcome.changes.iter().map(|change| &change.path).collect();
        format!("nothing was sent to {path}, only to {paths:?}")
    })?;
    Ok(&change.body)
}
