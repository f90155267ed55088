//! The database, the cache and the queues.

use std::path::Path;

use anyhow::{Result, ensure};
use axum::http::Method;
use serde_json::json;

use super::{SUBNET, body};
use crate::deploy::oci::stage::Stage;

const SECRET: &str = "ocid1.vaultsecret.oc1.ap-mumbai-1.password";

pub async fn check(programs: &Path) -> Result<Stage> {
    let mut stage = Stage::set(programs).await?;
    database(&mut stage).await?;
    caches(&mut stage).await?;
    Ok(stage)
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
