//! What the manifests promise, asked of running programs and servers.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use bharatmart_config::Process;
use bharatmart_test_support::{
    ScratchDir, ShopClient, TEST_PASSWORD, free_port,
    install::{find_program, postgres_programs},
    wait_until,
};
use serde_json::json;
use tokio::process::{Child, Command};

use super::{
    manifests::Build,
    wiring::{Asked, Port},
};
use crate::{
    bench::program::{Program, Servers},
    deploy::json::{items, text},
};

const ADMIN: &str = "admin@example.in";
/// How long something that is to happen may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Ends with its session, which holds every row of the shop until then.
const LOCK_ALL: &str = "DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> '_sqlx_migrations' LOOP
        EXECUTE format('LOCK TABLE %I', name);
    END LOOP;
    PERFORM pg_sleep(60);
END $$";

const END_LOCK: &str =
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";

/// Asks our programs for every path, and has real requests make real jobs. Returns how many paths and lists there were.
pub async fn ask(mut asked: Asked) -> Result<(usize, usize)> {
    asked.paths.sort_by_key(|(process, port, path)| {
        (
            *process == Process::Worker,
            *port == Port::Http,
            path.clone(),
        )
    });
    asked.paths.dedup();
    asked.lists.sort();
    asked.lists.dedup();
    let servers = Servers::start(false).await?;
    let api = Program::start(servers.command("bharatmart-api")?).await?;
    let url = format!("http://127.0.0.1:{}", api.port);
    enqueue(&servers, &url).await?;
    let (waiting, active): (Vec<_>, Vec<_>) =
        asked.lists.iter().partition(|list| list.ends_with(":wait"));
    for list in waiting {
        appears(&servers, list).await?;
    }
    // Jobs that cannot go on are seen at work.
    let mut lock = lock_all(&servers).await?;
    let folder = ScratchDir::create()?;
    let mut worker = servers.command("bharatmart-worker")?;
    worker
        .env("EMAIL_TRANSPORT", "file")
        .env("EMAIL_DIR", folder.path())
        .env("EMAIL_FROM", "orders@example.in");
    let worker = Program::start(worker).await?;
    for list in active {
        appears(&servers, list).await?;
    }
    // The server would not notice before the end of the sleep that its client is gone.
    let ended = psql(&servers, END_LOCK)?.output().await?.status;
    ensure!(ended.success(), "the session with the lock does not end");
    lock.wait().await?;
    for (process, port, path) in &asked.paths {
        let port = match (process, port) {
            (Process::Api, Port::Http) => api.port,
            (Process::Api, Port::Metrics) => api.metrics_port,
            (Process::Worker, _) => worker.metrics_port,
        };
        let url = format!("http://127.0.0.1:{port}{path}");
        wait_until(
            &format!("200 from {process:?} at {path}"),
            PATIENCE,
            async || {
                let answer = reqwest::get(&url).await;
                answer
                    .is_ok_and(|answer| answer.status() == 200)
                    .then_some(())
            },
        )
        .await?;
    }
    worker.stop().await?;
    api.stop().await?;
    Ok((asked.paths.len(), asked.lists.len()))
}

/// An order, a payment and a mail, with no worker there to do what they make necessary.
async fn enqueue(servers: &Servers, url: &str) -> Result<()> {
    let mut command = servers.command("bharatmart-api")?;
    command.args([
        "create-admin",
        "--email",
        ADMIN,
        "--password",
        TEST_PASSWORD,
    ]);
    ensure!(command.status().await?.success(), "`create-admin` failed");
    let mut admin = ShopClient::new(url)?;
    admin.login(ADMIN, TEST_PASSWORD).await?;
    let product = json!({ "name": "Kite", "price": 20, "category": "Toys", "stock_quantity": 10 });
    let (_, product) = admin.post("/api/products", &product).await?;
    let mut customer = ShopClient::new(url)?;
    customer.sign_up().await?;
    let (status, order) = customer.place_order(&[(text(&product["id"]), 1)]).await?;
    ensure!(status == 201, "the order was answered {status} {order}");
    let (status, payment) = customer.pay(text(&order["id"]), "upi", None).await?;
    ensure!(status == 201, "the payment was answered {status} {payment}");
    Ok(())
}

/// Waits until a list has something in it.
async fn appears(servers: &Servers, list: &str) -> Result<()> {
    let cli = find_program("redis-cli").context("redis-cli is not installed")?;
    let url = servers.redis.url();
    let waited = wait_until("an entry", PATIENCE, async || -> Result<bool> {
        let mut command = Command::new(&cli);
        command.args(["-u", &url, "LLEN", list]);
        let output = command.output().await?;
        let length = String::from_utf8(output.stdout)?;
        Ok(length.trim().parse::<u32>().is_ok_and(|length| length > 0))
    });
    waited
        .await
        .with_context(|| format!("nothing comes into {list}"))
}

/// Starts a session that holds every row of the shop until it is ended, and waits until it does.
async fn lock_all(servers: &Servers) -> Result<Child> {
    let session = psql(servers, LOCK_ALL)?
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start psql")?;
    let sleeps = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    wait_until("the lock", PATIENCE, async || -> Result<bool> {
        Ok(!psql(servers, sleeps)?.output().await?.stdout.is_empty())
    })
    .await?;
    Ok(session)
}

fn psql(servers: &Servers, statement: &str) -> Result<Command> {
    let folder = postgres_programs().context("PostgreSQL is not installed")?;
    let mut command = Command::new(folder.join("psql"));
    command
        .args(["--quiet", "--no-align", "--tuples-only", "--no-psqlrc"])
        .args([servers.database_url.as_str(), "--command", statement])
        .stdin(Stdio::null());
    Ok(command)
}

/// Starts Redis with each redis.conf of a build, and asks it what the probes ask.
pub async fn redis(build: &Build) -> Result<usize> {
    let server = find_program("redis-server").context("redis-server is not installed")?;
    let mut count = 0;
    for workload in build.workloads() {
        let Some(map) = build
            .find("ConfigMap", workload.name())
            .filter(|map| map.0["data"]["redis.conf"].is_string())
        else {
            continue;
        };
        let folder = ScratchDir::create()?;
        let file = folder.path().join("redis.conf");
        // The volume of the pods is not on this machine.
        let data = format!("dir {}", folder.path().display());
        let config = text(&map.0["data"]["redis.conf"]).replace("dir /data", &data);
        std::fs::write(&file, config)?;
        let port = free_port().to_string();
        let mut running = Command::new(&server)
            .arg(&file)
            .args([
                "--port",
                &port,
                "--bind",
                "127.0.0.1",
                "--requirepass",
                "secret",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let container = workload.containers().next().context("no container")?;
        for probe in ["startupProbe", "livenessProbe"] {
            let command = items(&container[probe]["exec"]["command"]).last();
            let command = text(command.context("no command")?);
            let command = command.replace("redis-cli", &format!("redis-cli -p {port}"));
            wait_until(&format!("{probe} of {workload}"), PATIENCE, async || {
                let mut shell = Command::new("sh");
                shell
                    .args(["-c", &command])
                    .env("REDISCLI_AUTH", "secret")
                    .stderr(Stdio::null());
                shell
                    .status()
                    .await
                    .is_ok_and(|status| status.success())
                    .then_some(())
            })
            .await?;
        }
        let policy = ask_redis(&port, &["CONFIG", "GET", "maxmemory-policy"]).await?;
        let wanted = if workload.component() == "redis-queue" {
            "noeviction"
        } else {
            "allkeys-lru"
        };
        ensure!(policy.contains(wanted), "{workload} has {policy}");
        running.kill().await?;
        count += 1;
    }
    Ok(count)
}

async fn ask_redis(port: &str, question: &[&str]) -> Result<String> {
    let cli = find_program("redis-cli").context("redis-cli is not installed")?;
    let mut command = Command::new(cli);
    command
        .args(["-p", port])
        .args(question)
        .env("REDISCLI_AUTH", "secret");
    Ok(String::from_utf8(command.output().await?.stdout)?)
}
