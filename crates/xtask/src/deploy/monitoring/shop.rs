//! A shop with a replica, and the exporters that compose runs beside it.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{
    Child, Launch, Output, ShopClient, free_port,
    install::find_program,
    servers::{RedisServer, Replication},
};
use serde_json::Value;
use tokio::process::Command;

use super::{PATIENCE, answers, folder};
use crate::{bench::program::Program, paths};

const WORKERS: [&str; 3] = ["order", "payment", "email"];

pub struct Shop {
    // In the order in which they end.
    _exporters: Vec<Child>,
    api: Program,
    workers: Vec<Program>,
    _servers: (Replication, RedisServer, RedisServer),
    /// Where what compose calls so answers here.
    pub addresses: BTreeMap<String, String>,
}

impl Shop {
    pub async fn start(scratch: &Path) -> Result<Self> {
        let databases = Replication::start(1).await?;
        let url = databases.create_database("bharatmart").await?;
        let standby = databases.standbys.first().context("no replica")?;
        let (replica, standby) = (standby.url("bharatmart"), standby.url("postgres"));
        let (cache, queue) = (
            RedisServer::temporary().await?,
            RedisServer::temporary().await?,
        );
        let pages = scratch.join("pages");
        fs::create_dir_all(&pages)?;
        fs::write(pages.join("index.html"), "<div id=\"root\"></div>")?;
        let command = |program: &str| -> Result<Command> {
            let mut command = Command::new(paths::programs(false)?.join(program));
            command
                .env_clear()
                .env("HOST", "127.0.0.1")
                .env("DATABASE_URL", &url)
                .env("CACHE_REDIS_URL", cache.url())
                .env("QUEUE_REDIS_URL", queue.url())
                .env("EMAIL_TRANSPORT", "file")
                .env("EMAIL_DIR", scratch.join("mails"))
                .env("SHUTDOWN_DRAIN_DELAY", "0")
                .stdout(std::process::Stdio::null())
                .kill_on_drop(true);
            Ok(command)
        };
        for subcommand in ["migrate", "seed"] {
            let status = command("bharatmart-api")?.arg(subcommand).status().await?;
            ensure!(status.success(), "`bharatmart-api {subcommand}` failed");
        }
        let mut api = command("bharatmart-api")?;
        api.env("DATABASE_READ_URL", replica)
            .env("FRONTEND_DIST", &pages);
        let api = Program::start(api).await?;
        let mut workers = Vec::new();
        for kind in WORKERS {
            let mut worker = command("bharatmart-worker")?;
            worker.env("WORKER_TYPE", kind);
            workers.push(Program::start(worker).await?);
        }

        let mut addresses = BTreeMap::from([
            ("api:9090".to_owned(), local(api.metrics_port)),
            (
                "http://frontend:8080/".to_owned(),
                format!("http://{}/", local(api.port)),
            ),
        ]);
        for (kind, worker) in WORKERS.iter().zip(&workers) {
            addresses.insert(format!("worker-{kind}:9090"), local(worker.metrics_port));
        }
        let mut exporters = Vec::new();
        let primary = databases.primary.url("postgres");
        for (name, variable, value) in [
            ("redis-exporter-cache:9121", "REDIS_ADDR", cache.url()),
            ("redis-exporter-queue:9121", "REDIS_ADDR", queue.url()),
            (
                "postgres-exporter-primary:9187",
                "DATA_SOURCE_NAME",
                primary,
            ),
            (
                "postgres-exporter-replica:9187",
                "DATA_SOURCE_NAME",
                standby,
            ),
            ("blackbox-exporter:9115", "", String::new()),
        ] {
            let port = free_port();
            exporters.push(exporter(name, (variable, &value), port, scratch)?);
            answers(&format!("http://{}/metrics", local(port))).await?;
            addresses.insert(name.to_owned(), local(port));
        }
        Ok(Self {
            _exporters: exporters,
            api,
            workers,
            _servers: (databases, cache, queue),
            addresses,
        })
    }

    /// Sells something, so that there is something to be seen.
    pub async fn sell(&self) -> Result<()> {
        let mut customer = ShopClient::new(format!("http://{}", local(self.api.port)))?;
        customer.sign_up().await?;
        let (_, products) = customer.get("/api/products?limit=1&in_stock=true").await?;
        let product = products["data"][0]["id"].as_str().context("no product")?;
        let (status, order) = customer.place_order(&[(product, 1)]).await?;
        ensure!(status == 201, "the order was answered {status} {order}");
        let id = |of: &Value| of["id"].as_str().map(str::to_owned).context("no id");
        let (status, payment) = customer.pay(&id(&order)?, "upi", None).await?;
        ensure!(status == 201, "the payment was answered {status} {payment}");
        let payment = id(&payment)?;
        customer
            .wait_for_payment_status(&payment, "completed", PATIENCE)
            .await?;
        Ok(())
    }

    /// Where what compose calls so answers.
    pub fn address(&self, name: &str) -> Result<&str> {
        let address = self.addresses.get(name);
        address
            .map(String::as_str)
            .with_context(|| format!("there is no {name}"))
    }

    /// The ports for metrics of the API, of the workers, and the port for shoppers.
    pub fn ports(&self) -> (u16, Vec<(&'static str, u16)>, u16) {
        let workers = WORKERS.iter().zip(&self.workers);
        let workers = workers.map(|(kind, worker)| (*kind, worker.metrics_port));
        (self.api.metrics_port, workers.collect(), self.api.port)
    }
}

pub fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn exporter(
    name: &str,
    (variable, value): (&str, &str),
    port: u16,
    scratch: &Path,
) -> Result<Child> {
    let kind = name.split("-exporter").next().unwrap_or(name);
    let program = format!("prometheus-{kind}-exporter");
    let program = find_program(&program).with_context(|| format!("{program} is not installed"))?;
    let log = Output::File(scratch.join(format!("{kind}-{port}.log")));
    // As the manifests say it to the exporter of PostgreSQL.
    let mut launch = Launch::new(name, program, log).env("PGSSLMODE", "disable");
    if !variable.is_empty() {
        launch = launch.env(variable, value);
    }
    // The older one has its flags with one dash.
    let dashes = if kind == "redis" { "-" } else { "--" };
    launch = launch.arg(format!("{dashes}web.listen-address={}", local(port)));
    if kind == "blackbox" {
        launch = launch.arg(format!(
            "--config.file={}",
            folder().join("blackbox.yml").display()
        ));
    }
    launch.spawn()
}
