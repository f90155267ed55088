//! The help of the scripts, and what they must refuse.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::{IMAGE, KEY, POOL, SUBNET, VAULT};
use crate::deploy::oci::stage::Stage;

/// Scripts, what they are called with, and what is said of it.
const MISTAKES: [(&str, &[&str], &str); 15] = [
    (
        "set-bandwidth.sh",
        &["--load-balancer-id", POOL],
        "OCID of the type loadbalancer",
    ),
    (
        "set-bandwidth.sh",
        &["--bandwidth", "10"],
        "there is no option --bandwidth",
    ),
    (
        "set-bandwidth.sh",
        &["--minimum-mbps"],
        "--minimum-mbps needs a value",
    ),
    (
        "set-pool-size.sh",
        &["--pool-id", POOL, "--size", "-1"],
        "a whole number from 0 to 500",
    ),
    (
        "set-pool-size.sh",
        &["--pool-id", POOL],
        "--size is required",
    ),
    (
        "create-threshold-autoscaling.sh",
        &["--profile", "all", "--pool-id", POOL],
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
        "a whole number from 300",
    ),
    (
        "create-threshold-autoscaling.sh",
        &["--profile", "api", "--pool-id", POOL, "--below", "80"],
        "a whole number from 1 to 69",
    ),
    (
        "create-schedule-autoscaling.sh",
        &["--pool-id", POOL, "--up-at", "8"],
        "a time of day such as 08:00",
    ),
    (
        "create-schedule-autoscaling.sh",
        &["--pool-id", POOL, "--time-zone", "Europe/Berlin"],
        "which has summer time",
    ),
    (
        "create-schedule-autoscaling.sh",
        &["--pool-id", POOL, "--days", "1-5"],
        "a range such as MON-FRI",
    ),
    (
        "publish-frontend.sh",
        &["--dist", "nowhere", "--region", "ap-mumbai-1"],
        "there is no index.html",
    ),
    (
        "publish-frontend.sh",
        &["--api-url", "api.shop.example", "--region", "ap-mumbai-1"],
        "expected: an origin such as https://api.shop.example",
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
        "--worker-type is required",
    ),
    (
        "create-cache.sh",
        &["--for", "cache", "--subnet-id", SUBNET, "--shards", "2"],
        "0, or 3 or more",
    ),
];

/// What each script says about itself, and about mistakes that people make.
pub async fn check(programs: &Path, scripts: &[PathBuf]) -> Result<Stage> {
    let stage = Stage::set(programs).await?;
    for script in scripts {
        stage.has_help(script).await?;
    }
    refuse(&stage).await?;
    Ok(stage)
}

async fn refuse(stage: &Stage) -> Result<()> {
    for (script, arguments, says) in MISTAKES {
        stage.refuse(script, arguments, 64, says).await?;
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
