//! The Redis that holds the queues, in all its forms, and one that must not.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bharatmart_config::{JobLimit, QueueConfig, Source};
use bharatmart_domain::SystemClock;
use bharatmart_queue::{JobQueues, QueueWorker, UnfitServer, WorkerOptions, check_server};
use bharatmart_test_support::{
    servers::{RedisCluster, RedisOptions, RedisServer},
    wait_until,
};

use crate::support::{
    Keys, QUEUE, SOON, Seen, config, connected, deadline_row, handlers, options, persistent_redis,
};

fn read(variables: &[(&str, &str)]) -> Result<QueueConfig> {
    let variables: BTreeMap<_, _> = variables.iter().copied().collect();
    Ok(QueueConfig::read(&Source::from_map(variables))?)
}

/// Adds jobs and has a worker do them.
async fn works(config: &QueueConfig) -> Result<()> {
    const JOBS: u32 = 20;
    let queues = JobQueues::connect(config, Arc::new(SystemClock));
    wait_until("the queues connect", SOON, async || {
        queues.is_available().then_some(())
    })
    .await?;
    let rows: Vec<_> = (100..100 + JOBS).map(deadline_row).collect();
    queues.add_batch(&rows).await?;
    assert_eq!(queues.counts(QUEUE).await?.waiting, u64::from(JOBS));
    let (handlers, _watch) = handlers();
    let worker = QueueWorker::spawn(config, options(), handlers);
    wait_until("all to be done", SOON, async || {
        let counts = queues.counts(QUEUE).await.ok()?;
        (counts.completed == u64::from(JOBS)).then_some(())
    })
    .await?;
    worker.shutdown(Duration::from_secs(1)).await;
    check_server(config).await?;
    Ok(())
}

#[tokio::test]
async fn queues_work_through_tls_with_an_authority_password_and_database_of_their_own() -> Result<()>
{
    let redis = RedisServer::start(RedisOptions {
        tls: true,
        password: Some("hush".into()),
        ..RedisOptions::default()
    })
    .await?;
    let ca_file = redis.ca_file().context("it speaks TLS")?;
    let ca_file = ca_file.display().to_string();
    let url = redis.url().replace(":hush@", "");
    let variables = [
        ("QUEUE_REDIS_URL", &*url),
        ("QUEUE_REDIS_PASSWORD", "hush"),
        ("QUEUE_REDIS_DB", "3"),
        ("QUEUE_REDIS_CA_FILE", &ca_file),
    ];
    works(&read(&variables)?).await?;

    // Nobody else vouches for its certificate.
    let queues = JobQueues::connect(&read(&variables[..3])?, Arc::new(SystemClock));
    let connecting = wait_until("a connection", Duration::from_secs(2), async || {
        queues.is_available().then_some(())
    });
    assert!(connecting.await.is_err());
    Ok(())
}

#[tokio::test]
async fn queues_work_in_a_cluster_on_one_node_each() -> Result<()> {
    let cluster = RedisCluster::start().await?;
    works(&read(&[(
        "QUEUE_REDIS_CLUSTER_NODES",
        &cluster.nodes().join(","),
    )])?)
    .await
}

#[tokio::test]
async fn a_server_that_drops_keys_is_refused_unless_that_is_allowed() -> Result<()> {
    let redis = RedisServer::start(RedisOptions {
        maxmemory_policy: Some("allkeys-lru".into()),
        ..RedisOptions::default()
    })
    .await?;
    let url = redis.url();
    let strict = read(&[("REDIS_URL", &url)])?;
    assert_eq!(
        check_server(&strict).await,
        Err(UnfitServer::Evicts("allkeys-lru".into()))
    );
    let lenient = read(&[("REDIS_URL", &url), ("QUEUE_ALLOW_EVICTION", "true")])?;
    check_server(&lenient).await?;
    check_server(&config(&persistent_redis().await?)).await?;
    Ok(())
}

#[tokio::test]
async fn workers_together_begin_no_more_jobs_than_the_limit() -> Result<()> {
    const JOBS: u32 = 15;
    let limit = JobLimit {
        max: 5,
        duration: Duration::from_secs(1),
    };
    let redis = RedisServer::temporary().await?;
    let queues = connected(&redis).await?;
    let rows: Vec<_> = (100..100 + JOBS).map(deadline_row).collect();
    queues.add_batch(&rows).await?;
    let limited = WorkerOptions {
        limiter: Some(limit),
        ..options()
    };
    let start = Instant::now();
    let workers = [(); 2].map(|()| {
        let (handlers, watch) = handlers();
        let worker = QueueWorker::spawn(&config(&redis), limited, handlers);
        (worker, watch)
    });
    let keys = Keys::of(&redis).await?;
    wait_until("all to be done", SOON, async || {
        let completed: u64 = keys
            .ask("ZCARD", &["bull:order-processing:completed"])
            .await;
        (completed == u64::from(JOBS)).then_some(())
    })
    .await?;
    // The first window begins with the first job, so the last of three ends after two.
    assert!(start.elapsed() >= 2 * limit.duration);
    let mut begun = 0;
    for (worker, mut watch) in workers {
        let seen = watch.all();
        begun += seen
            .iter()
            .filter(|seen| matches!(seen, Seen::Started { .. }))
            .count();
        worker.shutdown(Duration::from_secs(1)).await;
    }
    assert_eq!(begun, JOBS as usize, "each once");
    Ok(())
}
