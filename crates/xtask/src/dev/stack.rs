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
};

const DATABASE: &str = "bharatmart";
/// `WORKER_TYPE` of each worker, and the colour of its log lines.
const WORKERS: [(&str, u8); 3] = [("email", 35), ("order", 33), ("payment", 36)];
const API_COLOUR: u8 = 32;
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
}

/// The servers and programs of one running shop. Dropping it kills them.
pub struct Stack {
    settings: Settings,
    // In the order in which they end: the programs before the servers that they need.
    programs: Vec<Program>,
    redis: Option<RedisServer>,
    postgres: Option<Postgres>,
    seeded: String,
}

impl Stack {
    /// How many steps [`Stack::start`] shows.
    pub const STEPS: usize = 8;

    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            programs: Vec::new(),
            redis: None,
            postgres: None,
            seeded: String::new(),
        }
    }

    /// Brings everything up, in the order in which one thing needs the other.
    pub async fn start(&mut self, steps: &mut Steps) -> Result<()> {
        let mut step = steps.begin("Requirements");
        install::ensure(&[Requirement::Postgres, Requirement::Redis], |text| {
            step.note(text);
        })?;
        step.done("PostgreSQL and Redis are installed");

        let mut step = steps.begin("Programs");
        step.note("cargo build (the first time takes minutes)");
        // Chosen by program, not by package: then features are those of the whole workspace, and
        // what this builds serves `cargo xtask test` and `cargo check` too.
        let mut build = vec!["build", "--locked"];
        build.extend(["--bin", "bharatmart-api", "--bin", "bharatmart-worker"]);
        if self.settings.release {
            build.push("--release");
        }
        cargo::run(&build).await?;
        step.done("built");

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
        let environment = self.environment(database, redis.url())?;
        self.redis = Some(redis);

        let step = steps.begin("Migrations");
        self.run_api("migrate", &environment).await?;
        step.done("applied");

        let step = steps.begin("Products and people");
        self.seeded = self.run_api("seed", &environment).await?;
        step.done("seeded");

        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(2))
            .no_proxy()
            .build()?;
        let step = steps.begin("API");
        let mut api_environment = environment.clone();
        api_environment.push(("PORT", self.settings.api_port.to_string()));
        self.start_program("api", API_COLOUR, "bharatmart-api", &api_environment)?;
        self.all_ready(&http).await?;
        step.done(&format!("ready on {}", self.api_url()));

        let step = steps.begin("Workers for email, order and payment");
        for (kind, colour) in WORKERS {
            let mut environment = environment.clone();
            environment.push(("WORKER_TYPE", kind.to_owned()));
            self.start_program(
                &format!("{kind} worker"),
                colour,
                "bharatmart-worker",
                &environment,
            )?;
        }
        self.all_ready(&http).await?;
        step.done("ready");
        Ok(())
    }

    /// What every program is told.
    fn environment(&self, database: String, redis: String) -> Result<Vec<(&'static str, String)>> {
        let mails = &self.settings.mail_dir;
        fs::create_dir_all(mails).with_context(|| format!("cannot make {}", mails.display()))?;
        let secrets = &self.settings.secrets;
        Ok(vec![
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
        ])
    }

    fn program(&self, name: &str) -> Result<PathBuf> {
        Ok(paths::programs(self.settings.release)?.join(name))
    }

    fn start_program(
        &mut self,
        name: &str,
        colour: u8,
        program: &str,
        environment: &[(&str, String)],
    ) -> Result<()> {
        self.programs.push(Program::start(
            name,
            colour,
            &self.program(program)?,
            &self.settings.folder,
            environment,
            free_port(),
        )?);
        Ok(())
    }

    async fn all_ready(&mut self, http: &reqwest::Client) -> Result<()> {
        for program in &mut self.programs {
            program.ready(http).await?;
        }
        Ok(())
    }

    /// Runs a subcommand of the API to its end and returns what it printed.
    async fn run_api(&self, subcommand: &str, environment: &[(&str, String)]) -> Result<String> {
        let output = Command::new(self.program("bharatmart-api")?)
            .arg(subcommand)
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
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
