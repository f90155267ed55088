//! How pools, the load balancer and single machines grow.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use axum::http::Method;
use serde_json::json;

use super::{DOMAIN, POOL, body};
use crate::deploy::oci::stage::Stage;

const FRONTEND_POOL: &str = "ocid1.instancepool.oc1.ap-mumbai-1.frontend";
const API_POOL: &str = "ocid1.instancepool.oc1.ap-mumbai-1.api";
const WORKER_POOL: &str = "ocid1.instancepool.oc1.ap-mumbai-1.worker";
const LOAD_BALANCER: &str = "ocid1.loadbalancer.oc1.ap-mumbai-1.shop";
const INSTANCE: &str = "ocid1.instance.oc1.ap-mumbai-1.single";

pub async fn check(programs: &Path) -> Result<Stage> {
    let mut stage = Stage::set(programs).await?;
    let there = [
        ("instancePools", json!({ "id": WORKER_POOL, "size": 2 })),
        (
            "instances",
            json!({ "id": INSTANCE, "shape": "VM.Standard.E2.1.Micro" }),
        ),
        ("loadBalancers", json!({ "id": LOAD_BALANCER })),
    ];
    for (collection, mut resource) in there {
        resource["lifecycleState"] = json!("RUNNING");
        stage.recorder.place(collection, resource);
    }
    thresholds(&mut stage).await?;
    schedules(&mut stage).await?;
    sizes(&mut stage).await?;
    Ok(stage)
}

async fn thresholds(stage: &mut Stage) -> Result<()> {
    for (profile, pool, out, capacity) in [
        (
            "frontend",
            FRONTEND_POOL,
            ("CPU_UTILIZATION", 1, 70, 30),
            (2, 2, 10),
        ),
        ("api", API_POOL, ("CPU_UTILIZATION", 2, 70, 30), (2, 2, 10)),
        (
            "large-cpu",
            "ocid1.instancepool.oc1..cpu",
            ("CPU_UTILIZATION", 3, 80, 30),
            (3, 2, 20),
        ),
        (
            "large-memory",
            "ocid1.instancepool.oc1..memory",
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
    let other = ["--profile", "api", "--pool-id", API_POOL, "--maximum", "20"];
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

async fn schedules(stage: &mut Stage) -> Result<()> {
    let api = ["--pool-id", API_POOL];
    stage
        .refuse("create-schedule-autoscaling.sh", &api, 1, "takes only one")
        .await?;
    for (pool, extra, up, down) in [
        (WORKER_POOL, &[][..], "0 30 2 ? * * *", "0 30 16 ? * * *"),
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
            &["--pool-id", WORKER_POOL, "--file", &name],
        )
        .await?;
    let text = fs::read_to_string(&file)?;
    let at = |start: &str, size: &str| {
        text.lines().any(|line| {
            line.starts_with(&format!("{start} * * * root /"))
                && line.ends_with(&format!(
                    "/set-pool-size.sh --pool-id {WORKER_POOL} --size {size}"
                ))
        })
    };
    ensure!(at("30 2", "10") && at("30 14", "3"), "{text}");
    Ok(())
}

async fn sizes(stage: &mut Stage) -> Result<()> {
    let done = stage
        .perform(
            "set-pool-size.sh",
            &["--pool-id", WORKER_POOL, "--size", "10"],
        )
        .await?;
    let size = body(&done, &format!("/20160918/instancePools/{WORKER_POOL}"))?;
    ensure!(*size == json!({ "size": 10 }), "{size}");

    let done = stage
        .perform("set-bandwidth.sh", &["--load-balancer-id", LOAD_BALANCER])
        .await?;
    let shape = body(
        &done,
        &format!("/20170115/loadBalancers/{LOAD_BALANCER}/updateShape"),
    )?;
    ensure!(
        shape["shapeDetails"]
            == json!({ "minimumBandwidthInMbps": 10, "maximumBandwidthInMbps": 8000 }),
        "{shape}"
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
