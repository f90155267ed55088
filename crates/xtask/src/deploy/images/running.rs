//! The life of each container: it starts, gets healthy, is told to stop, drains and ends by itself.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{
    free_port, is_free,
    servers::{Postgres, PostgresOptions, RedisServer},
    wait_until,
};

use super::containers::Containers;

/// How long a container may take to get healthy, or to note that it is to stop.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where the frontend's image listens.
const FRONTEND: u16 = 8080;

pub async fn check(containers: &Containers) -> Result<()> {
    let postgres = Postgres::start(PostgresOptions::default()).await?;
    let redis = RedisServer::temporary().await?;
    let settings = [
        format!(
            "DATABASE_URL={}",
            postgres.create_database("bharatmart").await?
        ),
        format!("QUEUE_REDIS_URL={}", redis.url()),
        format!("CACHE_REDIS_URL={}", redis.url()),
        "HOST=127.0.0.1".to_owned(),
        "SHUTDOWN_DRAIN_DELAY=2s".to_owned(),
    ];
    let once = [&["--rm".to_owned()], &environment(&settings)[..]].concat();
    containers
        .run("migrate", "api", &once, &["migrate"])
        .await?;
    let outcome = live(containers, &settings).await;
    // Whatever failed, nothing is left running; what failed tells more than that it cannot be removed.
    let removed = containers
        .podman(&["rm", "--all", "--force", "--time", "0"])
        .await;
    outcome?;
    removed?;
    Ok(())
}

async fn live(containers: &Containers, settings: &[String]) -> Result<()> {
    let (port, metrics) = (free_port(), free_port());
    let own = [format!("PORT={port}"), format!("METRICS_PORT={metrics}")];
    start(containers, "api", &environment(&[settings, &own].concat())).await?;
    let health = format!("http://127.0.0.1:{port}/api/health");
    ensure!(
        status(&health).await == Some(200),
        "the API does not answer at {health}"
    );

    ensure!(
        is_free(FRONTEND),
        "port {FRONTEND} is taken, which the frontend's image listens on"
    );
    let own = [
        format!("API_UPSTREAM=127.0.0.1:{port}"),
        "API_URL=https://api.shop.example".to_owned(),
    ];
    let options = [
        &environment(&own)[..],
        &["--tmpfs=/tmp:mode=1777,size=64m".to_owned()],
    ]
    .concat();
    start(containers, "frontend", &options).await?;
    pages().await?;

    let own = [
        format!("METRICS_PORT={}", free_port()),
        "WORKER_TYPE=order".to_owned(),
    ];
    start(
        containers,
        "worker",
        &environment(&[settings, &own].concat()),
    )
    .await?;

    // For SHUTDOWN_DRAIN_DELAY the API still answers, and says that it is about to go.
    let stopping = containers.podman(&["stop", "--time", "40", "api"]);
    let drains = wait_until("503 from the API", PATIENCE, async || {
        (status(&health).await == Some(503)).then_some(())
    });
    tokio::try_join!(stopping, drains).context("the API does not drain")?;
    for image in ["frontend", "worker"] {
        containers.podman(&["stop", "--time", "40", image]).await?;
    }
    for image in super::IMAGES {
        let code = containers
            .podman(&["inspect", "--format", "{{.State.ExitCode}}", image])
            .await?;
        ensure!(code == "0", "{image} ended with exit code {code}");
    }
    refuses(containers).await
}

/// Starts an image in the background and waits until its own health check finds it well.
async fn start(containers: &Containers, image: &str, options: &[String]) -> Result<()> {
    let options = [&["--detach".to_owned()], options].concat();
    containers.run(image, image, &options, &[]).await?;
    let healthy = wait_until(
        &format!("{image} to be healthy"),
        PATIENCE,
        async || -> Result<bool> {
            let status = containers.status(&["healthcheck", "run", image]).await?;
            Ok(status.success())
        },
    )
    .await;
    if healthy.is_err() {
        let log = containers.podman(&["logs", "--tail", "20", image]).await?;
        return healthy.context(log);
    }
    Ok(())
}

/// What the frontend's container serves: pages, where the API is, and the API itself.
async fn pages() -> Result<()> {
    let url = format!("http://127.0.0.1:{FRONTEND}");
    let page = reqwest::get(&url).await?.error_for_status()?;
    let policy = page.headers()["content-security-policy"]
        .to_str()?
        .to_owned();
    ensure!(
        policy.contains("connect-src 'self' https://api.shop.example"),
        "the page's policy is {policy}"
    );
    ensure!(
        page.text().await?.contains("<div id=\"root\">"),
        "that is no page of the shop"
    );
    let config = reqwest::get(format!("{url}/config.json"))
        .await?
        .text()
        .await?;
    ensure!(
        config.trim() == r#"{"apiUrl":"https://api.shop.example"}"#,
        "config.json is {config}"
    );
    let api = status(&format!("{url}/api/health")).await;
    ensure!(
        api == Some(200),
        "the API behind the frontend answers {api:?}"
    );
    Ok(())
}

/// Bad settings end a container at once, with the exit code for that.
async fn refuses(containers: &Containers) -> Result<()> {
    let refused = containers
        .run(
            "refused",
            "frontend",
            &environment(&["API_UPSTREAM=api;".to_owned()]),
            &[],
        )
        .await;
    let said = format!(
        "{:#}",
        refused
            .err()
            .context("the frontend takes API_UPSTREAM=api;")?
    );
    ensure!(
        said.contains("API_UPSTREAM is 'api;'") && said.contains("exit status: 64"),
        "the frontend says: {said}"
    );
    Ok(())
}

fn environment(settings: &[String]) -> Vec<String> {
    settings
        .iter()
        .map(|setting| format!("--env={setting}"))
        .collect()
}

async fn status(url: &str) -> Option<u16> {
    let answer = reqwest::get(url).await.ok()?;
    Some(answer.status().as_u16())
}
