use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use crate::{
    child::{Child, Launch, Output},
    database::{TestDatabase, test_redis_url},
    environment::{BIN_DIR_VARIABLE, given_by_xtask},
    metrics,
    ports::free_port,
    scratch::ScratchDir,
    servers::{PoolMode, RedisCluster, SentinelSet, SmtpServer},
    wait::wait_until,
};

/// How long a program may take until it is ready, in an unoptimised build on a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How long a subcommand may take.
const RUN_LIMIT: Duration = Duration::from_mins(1);

/// How to start one of the built programs.
#[derive(Clone, Debug)]
pub struct AppBuilder {
    program: &'static str,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
}

impl AppBuilder {
    fn new(program: &'static str) -> Self {
        let environment = [
            ("HOST", "127.0.0.1".to_owned()),
            ("PORT", free_port().to_string()),
            ("METRICS_PORT", free_port().to_string()),
            ("REDIS_URL", test_redis_url()),
            (
                "JWT_SECRET",
                "a secret for tests, at least 32 bytes long".to_owned(),
            ),
            ("ENVIRONMENT", "development".to_owned()),
            ("LOG_FORMAT", "json".to_owned()),
            ("LOG_LEVEL", "info".to_owned()),
            ("SHUTDOWN_DRAIN_DELAY", "0".to_owned()),
            // All of a test's people are one address, on a machine that is busy with other tests.
            ("RATE_LIMIT_MAX_REQUESTS", "1000000000".to_owned()),
            ("RATE_LIMIT_AUTH_MAX_REQUESTS", "1000000".to_owned()),
            ("OVERLOAD_DELAY", "30s".to_owned()),
        ];
        Self {
            program,
            arguments: Vec::new(),
            environment: environment
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
        }
    }

    /// Sets an environment variable; the program gets no other than these and the defaults.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Starts the program with these arguments instead of none.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        self
    }

    /// Uses this database.
    #[must_use]
    pub fn database(self, database: &TestDatabase) -> Self {
        let app = self.env("DATABASE_URL", database.url());
        if database.url() == database.direct_url() {
            app
        } else {
            app.env("DATABASE_DIRECT_URL", database.direct_url())
        }
    }

    /// Uses the database at this URL, which may name several hosts.
    #[must_use]
    pub fn database_url(self, url: &str) -> Self {
        self.env("DATABASE_URL", url)
    }

    /// Reads from these replicas of the database.
    #[must_use]
    pub fn replicas(self, urls: &[String]) -> Self {
        self.env("DATABASE_READ_URL", urls.join(","))
    }

    /// Takes the database's URL for that of a pooler in this mode, without asking it.
    #[must_use]
    pub fn pooler(self, mode: PoolMode) -> Self {
        self.env("DATABASE_POOLER", mode.name())
    }

    /// Uses this Redis instead of the shared one.
    #[must_use]
    pub fn redis(self, url: &str) -> Self {
        self.env("REDIS_URL", url)
    }

    /// Uses queues of this prefix: one from [`crate::test_prefix`] on the shared Redis.
    #[must_use]
    pub fn queue_prefix(self, prefix: &str) -> Self {
        self.env("QUEUE_PREFIX", prefix)
    }

    /// Caches in the Redis at this URL, which may hold a password.
    #[must_use]
    pub fn cache_redis(self, url: &str) -> Self {
        self.env("CACHE_TYPE", "redis").env("CACHE_REDIS_URL", url)
    }

    /// Caches in this cluster.
    #[must_use]
    pub fn cache_cluster(self, cluster: &RedisCluster) -> Self {
        self.env("CACHE_TYPE", "redis-cluster")
            .env("CACHE_REDIS_CLUSTER_NODES", cluster.nodes().join(","))
    }

    /// Caches in the Redis that these sentinels call the master.
    #[must_use]
    pub fn cache_sentinel(self, set: &SentinelSet) -> Self {
        self.env("CACHE_TYPE", "redis-sentinel")
            .env("CACHE_REDIS_SENTINELS", set.sentinels().join(","))
            .env("CACHE_REDIS_MASTER_NAME", set.master_name())
    }

    /// Trusts the authority in this file when it caches: [`crate::servers::RedisServer::ca_file`].
    #[must_use]
    pub fn cache_ca_file(self, file: &Path) -> Self {
        self.env("CACHE_REDIS_CA_FILE", file.display().to_string())
    }

    /// Caches under keys of this prefix: one from [`crate::test_prefix`] on the shared Redis.
    #[must_use]
    pub fn cache_prefix(self, prefix: &str) -> Self {
        self.env("CACHE_PREFIX", prefix)
    }

    /// Writes mails into this folder.
    #[must_use]
    pub fn mail_dir(self, folder: &Path) -> Self {
        self.env("EMAIL_TRANSPORT", "file")
            .env("EMAIL_DIR", folder.display().to_string())
    }

    /// Sends mails to this server.
    #[must_use]
    pub fn smtp(self, server: &SmtpServer) -> Self {
        self.env("EMAIL_TRANSPORT", "smtp")
            .env("SMTP_HOST", "127.0.0.1")
            .env("SMTP_PORT", server.port().to_string())
            .env("SMTP_SECURE", "none")
    }

    /// Starts the program and waits until it is ready.
    ///
    /// # Errors
    /// With the end of its log, when it ends or is not ready in time.
    pub async fn start(self) -> Result<App> {
        let mut app = self.spawn()?;
        app.ready().await?;
        Ok(app)
    }

    /// Starts the program and does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(self) -> Result<App> {
        let folder = ScratchDir::create()?;
        let launch = self.launch(folder.path());
        Ok(App {
            child: launch.spawn()?,
            launch,
            environment: self.environment,
            _folder: folder,
        })
    }

    /// Runs one of the program's subcommands, such as `migrate`, to its end; all that it has
    /// written.
    ///
    /// # Errors
    /// With what it has written, when it fails or does not end.
    pub async fn run(self, arguments: &[&str]) -> Result<String> {
        let folder = ScratchDir::create()?;
        let mut child = self.launch(folder.path()).args(arguments).spawn()?;
        let ended = child.wait(RUN_LIMIT).await;
        let status = ended.with_context(|| child.log_tail(30))?;
        let command = format!("{} {}", self.program, arguments.join(" "));
        ensure!(
            status.success(),
            "`{command}` ended with {status}: {}",
            child.log_tail(30)
        );
        Ok(child.log())
    }

    fn launch(&self, folder: &Path) -> Launch {
        let program = PathBuf::from(given_by_xtask(BIN_DIR_VARIABLE)).join(self.program);
        let mut launch = Launch::new(
            self.program,
            program,
            Output::File(folder.join("output.log")),
        )
        .args(&self.arguments)
        .clear_environment()
        // Away from the checkout, where a developer's own `.env` file would be read.
        .directory(folder);
        for (name, value) in &self.environment {
            launch = launch.env(name, value);
        }
        launch
    }
}

/// One of the built programs, running; killed when this value is dropped.
#[derive(Debug)]
pub struct App {
    child: Child,
    launch: Launch,
    environment: BTreeMap<String, String>,
    _folder: ScratchDir,
}

impl App {
    /// The API.
    #[must_use]
    pub fn api() -> AppBuilder {
        AppBuilder::new("bharatmart-api")
    }

    /// A worker of this `WORKER_TYPE`.
    #[must_use]
    pub fn worker(kind: &str) -> AppBuilder {
        AppBuilder::new("bharatmart-worker").env("WORKER_TYPE", kind)
    }

    /// The sandbox as a payment gateway of its own on this port, for shops that show this key.
    #[must_use]
    pub fn gateway(port: u16, api_key: &str) -> AppBuilder {
        AppBuilder::new("bharatmart-api")
            .arguments(&["gateway"])
            // By this name its URL is found.
            .env("PORT", port.to_string())
            .env("PAYMENT_SANDBOX_PORT", port.to_string())
            .env("PAYMENT_API_KEY", api_key)
    }

    /// Where the API, or the gateway, answers: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.environment["PORT"])
    }

    /// Where metrics and probes are: `http://127.0.0.1:METRICS_PORT`.
    #[must_use]
    pub fn metrics_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.environment["METRICS_PORT"])
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `/api/health/ready` on the metrics port answers 200.
    ///
    /// # Errors
    /// With the end of its log, when it ends or is not ready in time.
    pub async fn ready(&mut self) -> Result<()> {
        let url = format!("{}/api/health/ready", self.metrics_url());
        let http = http_client()?;
        let name = self.child.name().to_owned();
        let child = &mut self.child;
        let waited = wait_until(&format!("{name} to be ready"), READY_LIMIT, async || {
            if let Some(status) = child.try_wait()? {
                bail!("{name} ended with {status}");
            }
            let answer = http.get(&url).send().await;
            Ok(answer.is_ok_and(|answer| answer.status().is_success()))
        })
        .await;
        waited.with_context(|| self.log_tail(30))
    }

    /// What its `/metrics` says now of `name` or `name{label="value"}`: the sum of all samples with
    /// that name and at least those labels, `None` if there is none.
    ///
    /// # Errors
    /// When it does not answer or `series` names none.
    pub async fn metric(&self, series: &str) -> Result<Option<f64>> {
        let url = format!("{}/metrics", self.metrics_url());
        let answer = http_client()?.get(&url).send().await?.error_for_status()?;
        metrics::sum_of(&answer.text().await?, series)
    }

    /// Asks it to stop.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn sigterm(&mut self) -> Result<()> {
        self.child.signal(Signal::SIGTERM)
    }

    /// Kills it, as a crash would, and waits for its end.
    pub fn kill9(&mut self) {
        self.child.kill();
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// With the end of its log, when it still runs after `limit`.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = self.child.wait(limit).await;
        ended.with_context(|| self.log_tail(30))
    }

    /// How it ended, when it has.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Starts it again, after its end, on the same ports and with the same environment, and waits
    /// until it is ready. The log goes on.
    ///
    /// # Errors
    /// As [`AppBuilder::start`].
    pub async fn start_again(&mut self) -> Result<()> {
        self.child.kill();
        self.child = self.launch.spawn()?;
        self.ready().await
    }

    /// All that it has written.
    #[must_use]
    pub fn log(&self) -> String {
        self.child.log()
    }

    /// The last `lines` lines that it has written.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        self.child.log_tail(lines)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.child.name(), self.log_tail(30));
        }
    }
}

fn http_client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .timeout(Duration::from_secs(2))
        .no_proxy()
        .build()
}
