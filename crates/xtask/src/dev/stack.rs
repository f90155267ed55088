use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use bharatmart_test_support::{
    free_port,
    install::{self, Requirement},
    servers::{Postgres, PostgresOptions, RedisOptions, RedisServer},
};
use tokio::process::Command;

use super::{program::Program, secrets::Secrets};
use crate::{
    cargo,
    console::{Steps, coloured, line},
    paths,
    storefront::{self, Pages},
};

const DATABASE: &str = "bharatmart";
/// `WORKER_TYPE` of each worker, and the colour of its log lines.
const WORKERS: [(&str, u8); 3] = [("email", 35), ("order", 33), ("payment", 36)];
const API: &str = "api";
const API_COLOUR: u8 = 32;
const NO_STOREFRONT: &str = "not here: install Node.js 18.18 or newer with npm (Debian: apt install nodejs npm) and start again";
/// How often the children are looked at.
const WATCH_PAUSE: Duration = Duration::from_millis(200);

pub struct Settings {
    pub release: bool,
    pub api_port: u16,
    /// Where the servers keep their data; nowhere for long if `None`.
    pub server_data: Option<PathBuf>,
    pub secrets: Secrets,
    pub mail_dir: PathBuf,
    /// The programs' working directory.
    pub folder: PathBuf,
    /// The storefront, if the API is to serve it.
    pub storefront: Option<Pages>,
    /// Needed besides what the shop stands on.
    pub requirements: &'static [Requirement],
    /// What the programs are told besides what they always are.
    pub environment: Vec<(&'static str, String)>,
}

/// The servers and programs of one running shop. Dropping it kills them.
pub struct Stack {
    settings: Settings,
    // In the order in which they end: the programs before the servers that they need.
    programs: Vec<Program>,
    redis: Option<RedisServer>,
    postgres: Option<Postgres>,
    /// What every program is told.
    environment: Vec<(&'static str, String)>,
    seeded: String,
}

impl Stack {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            programs: Vec::new(),
            redis: None,
            postgres: None,
            environment: Vec::new(),
            seeded: String::new(),
        }
    }

    /// How many steps [`Stack::start`] shows.
    pub fn steps(&self) -> usize {
        8 + usize::from(self.settings.storefront.is_some())
    }

    /// Brings everything up, in the order in which one thing needs the other.
    pub async fn start(&mut self, steps: &mut Steps) -> Result<()> {
        let mut step = steps.begin("Requirements");
        let servers = [Requirement::Postgres, Requirement::Redis];
        let needed = [servers.as_slice(), self.settings.requirements].concat();
        install::ensure(&needed, |text| step.note(text))?;
        let names: Vec<_> = needed
            .iter()
            .map(|requirement| requirement.name())
            .collect();
        step.done(&format!("found {}", names.join("; ")));

        let mut step = steps.begin("Programs");
        step.note("cargo build (the first time takes minutes)");
        cargo::build_programs(self.settings.release).await?;
        step.done("built");

        if let Some(pages) = self.settings.storefront {
            let mut step = steps.begin("Storefront");
            storefront::make(pages, |text| step.note(text)).await?;
            step.done("built");
        }

        let step = steps.begin("PostgreSQL");
        let server_data = self.settings.server_data.clone();
        let postgres = Postgres::start(PostgresOptions {
            data_dir: server_data.as_ref().map(|data| data.join("postgres")),
            durable: server_data.is_some(),
            ..PostgresOptions::default()
        })
        .await?;
        let database = postgres.create_database(DATABASE).await?;
        step.done(&format!("ready on 127.0.0.1:{}", postgres.port()));
        self.postgres = Some(postgres);

        let step = steps.begin("Redis");
        let redis = RedisServer::start(RedisOptions {
            append_only: server_data.is_some(),
            data_dir: server_data.map(|data| data.join("redis")),
            ..RedisOptions::default()
        })
        .await?;
        step.done(&format!("ready on 127.0.0.1:{}", redis.port()));
        self.environment = self.common_environment(database, redis.url())?;
        self.redis = Some(redis);

        let step = steps.begin("Migrations");
        self.run_api("migrate").await?;
        step.done("applied");

        let step = steps.begin("Products and people");
        self.seeded = self.run_api("seed").await?;
        step.done("seeded");

        let step = steps.begin("API");
        self.start_api().await?;
        step.done(&format!("ready on {}", self.api_url()));

        let step = steps.begin("Workers for email, order and payment");
        for (kind, colour) in WORKERS {
            let name = format!("{kind} worker");
            let own = [("WORKER_TYPE", kind.to_owned())];
            self.start_program(&name, colour, "bharatmart-worker", &own)?;
        }
        self.all_ready().await?;
        step.done("ready");
        Ok(())
    }

    /// Starts the API, unless it runs, and waits until it is ready.
    pub async fn start_api(&mut self) -> Result<()> {
        if let Ok(api) = self.api() {
            api.resume()?;
            return self.all_ready().await;
        }
        let mut own = vec![("PORT", self.settings.api_port.to_string())];
        if self.settings.storefront.is_some() {
            let dist = storefront::dist().display().to_string();
            own.push(("FRONTEND_DIST", dist));
        }
        self.start_program(API, API_COLOUR, "bharatmart-api", &own)?;
        self.all_ready().await
    }

    /// Stops the API alone.
    pub async fn stop_api(&mut self) -> Result<()> {
        let api = self.api()?;
        api.terminate()?;
        let stopped = api.stopped().await;
        self.programs.retain(|program| program.name() != API);
        stopped
    }

    /// The API, while it runs.
    pub fn api(&mut self) -> Result<&mut Program> {
        let mut programs = self.programs.iter_mut();
        programs
            .find(|program| program.name() == API)
            .context("the API does not run")
    }

    fn common_environment(
        &self,
        database: String,
        redis: String,
    ) -> Result<Vec<(&'static str, String)>> {
        let mails = &self.settings.mail_dir;
        fs::create_dir_all(mails).with_context(|| format!("cannot make {}", mails.display()))?;
        let secrets = &self.settings.secrets;
        let mut environment = vec![
            ("ENVIRONMENT", "development".to_owned()),
            ("HOST", "127.0.0.1".to_owned()),
            ("DATABASE_URL", database),
            ("REDIS_URL", redis),
            // In the same Redis as the queues: on a developer's machine neither fills it.
            ("CACHE_TYPE", "redis".to_owned()),
            ("JWT_SECRET", secrets.jwt_secret.clone()),
            ("ADMIN_EMAIL", secrets.admin_email.clone()),
            ("ADMIN_PASSWORD", secrets.admin_password.clone()),
            ("EMAIL_TRANSPORT", "file".to_owned()),
            ("EMAIL_DIR", mails.display().to_string()),
            ("LOG_FORMAT", "pretty".to_owned()),
            // No load balancer has to notice first.
            ("SHUTDOWN_DRAIN_DELAY", "0".to_owned()),
        ];
        if self.settings.storefront.is_some() {
            // Links in mails lead there.
            environment.push(("FRONTEND_URL", self.api_url()));
        }
        environment.extend(self.settings.environment.iter().cloned());
        Ok(environment)
    }

    fn program(&self, name: &str) -> Result<PathBuf> {
        Ok(paths::programs(self.settings.release)?.join(name))
    }

    fn start_program(
        &mut self,
        name: &str,
        colour: u8,
        program: &str,
        own_environment: &[(&'static str, String)],
    ) -> Result<()> {
        let environment = [self.environment.as_slice(), own_environment].concat();
        self.programs.push(Program::start(
            name,
            colour,
            &self.program(program)?,
            &self.settings.folder,
            &environment,
            free_port(),
        )?);
        Ok(())
    }

    async fn all_ready(&mut self) -> Result<()> {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(2))
            .no_proxy()
            .build()?;
        for program in &mut self.programs {
            program.ready(&http).await?;
        }
        Ok(())
    }

    /// Runs a subcommand of the API to its end and returns what it printed.
    async fn run_api(&self, subcommand: &str) -> Result<String> {
        let environment = self.environment.iter();
        let output = Command::new(self.program("bharatmart-api")?)
            .arg(subcommand)
            .env_clear()
            .envs(environment.map(|(name, value)| (name, value)))
            .current_dir(&self.settings.folder)
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("cannot start bharatmart-api {subcommand}"))?;
        let printed = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            line("");
            line(printed.trim_end());
            line(String::from_utf8_lossy(&output.stderr).trim_end());
            bail!("`bharatmart-api {subcommand}` failed ({})", output.status);
        }
        Ok(printed.into_owned())
    }

    /// Returns, with an error, when a server or program ends that nobody stopped.
    pub async fn watch(&mut self) -> Result<()> {
        loop {
            for program in &mut self.programs {
                program.check()?;
            }
            if let Some(postgres) = &mut self.postgres
                && let Some(status) = postgres.ended()?
            {
                line(postgres.log_tail(20));
                return Err(anyhow!("PostgreSQL ended by itself ({status})"));
            }
            if let Some(redis) = &mut self.redis
                && let Some(status) = redis.ended()?
            {
                line(redis.log_tail(20));
                return Err(anyhow!("Redis ended by itself ({status})"));
            }
            tokio::time::sleep(WATCH_PAUSE).await;
        }
    }

    pub fn api_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.settings.api_port)
    }

    /// Where Redis listens, while it runs.
    pub fn redis_url(&self) -> Option<String> {
        self.redis.as_ref().map(RedisServer::url)
    }

    pub fn mail_dir(&self) -> &Path {
        &self.settings.mail_dir
    }

    /// Whether anything runs.
    pub fn is_up(&self) -> bool {
        self.postgres.is_some()
    }

    pub fn show_logs(&self) {
        for program in &self.programs {
            program.show_log();
        }
    }

    /// Shows the last lines of every program.
    pub fn show_log_tails(&self) {
        for program in &self.programs {
            program.show_tail(20);
        }
    }

    /// Tells where everything is and who may sign in.
    pub fn print_addresses(&self) {
        let row = |name: &str, value: &str| line(format!("  {name:<24}{value}"));
        line("");
        line(coloured("BharatMart is ready.", 1));
        if self.settings.storefront.is_some() {
            row("storefront", &self.api_url());
        } else {
            row("storefront", NO_STOREFRONT);
        }
        row("API", &format!("{}/api", self.api_url()));
        for program in &self.programs {
            row(
                &format!("{} metrics", program.name()),
                &format!("{}/metrics", program.metrics_url()),
            );
        }
        if let Some(postgres) = &self.postgres {
            row("PostgreSQL", &postgres.url(DATABASE));
        }
        if let Some(redis) = &self.redis {
            row("Redis", &redis.url());
        }
        row("mails", &self.mail_dir().display().to_string());
        line("");
        line(self.seeded.trim_end());
        line("");
        line("Ctrl-C stops everything. The logs:");
    }

    /// Stops the programs, then the servers; the first error is returned after all are stopped.
    pub async fn stop(&mut self) -> Result<()> {
        let mut outcome = Ok(());
        for program in &mut self.programs {
            outcome = outcome.and(program.terminate());
        }
        for program in &mut self.programs {
            let stopped = program.stopped().await;
            outcome = outcome.and(stopped);
        }
        self.programs.clear();
        if let Some(mut redis) = self.redis.take() {
            let stopped = redis.stop().await;
            outcome = outcome.and(stopped);
        }
        if let Some(postgres) = self.postgres.take() {
            let stopped = postgres.stop().await;
            outcome = outcome.and(stopped);
        }
        outcome
    }
}
