//! `config/samples/always-free.env` on what is left of a machine with 1 GB: PostgreSQL, Redis, the API and a worker in 900 MB,
//! under 50 requests a second.

mod cgroup;
mod load;

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{
    ScratchDir,
    install::{self, Requirement},
    servers::{Postgres, PostgresOptions, RedisOptions, RedisServer},
    wait_until,
};
use tokio::process::Command;

use self::{cgroup::Cgroup, load::Report};
use crate::{
    bench::{program::Program, psql},
    console::{Steps, line, megabytes},
    deploy::sample,
    dist, paths,
};

/// What a machine with 1 GB leaves to programs.
const MEMORY: u64 = 900_000_000;
const PROFILE: &str = "config/samples/always-free.env";
const SERVERS: &str = "deploy/systemd/always-free";
/// Of all requests, those that may be told to come again.
const TURNED_AWAY: f64 = 0.01;
/// How long the jobs of the last orders may take.
const REST: Duration = Duration::from_mins(1);

/// With the programs in the folder `built`, or those of a release.
pub async fn check(length: Duration, built: Option<&Path>) -> Result<()> {
    let mut steps = Steps::new(5);
    let mut step = steps.begin("Requirements");
    let cgroup = Cgroup::create(MEMORY).context("needs a cgroup with bounded memory")?;
    let needed = [
        Requirement::Postgres,
        Requirement::Redis,
        Requirement::Python,
    ];
    install::ensure(&needed, |text| step.note(text))?;
    step.done("there");

    let mut step = steps.begin("Programs of a release");
    let programs = match built {
        Some(built) => built.to_owned(),
        None => dist::build_programs(|text| step.note(text)).await?,
    };
    step.done("built");

    let step = steps.begin("The whole shop in 900 MB");
    let scratch = ScratchDir::create()?;
    cgroup.enter()?;
    let shop = Shop::start(&programs, scratch.path()).await;
    cgroup.leave()?;
    let shop = shop?;
    step.done(&format!(
        "{:.0} MB when idle",
        megabytes(cgroup.anonymous()?)
    ));

    let step = steps.begin(&format!("50 requests a second for {} s", length.as_secs()));
    let report = load::run(shop.api.port, length).await?;
    let drained = shop.jobs_are_done().await?;
    step.done(&format!(
        "{} answers; the last order's job was done {:.1} s later",
        report.answers(),
        drained.as_secs_f32()
    ));

    report.print();
    shop.print_memory()?;
    line(format!(
        "  together         {:.0} MB now, of which {:.0} MB can be taken away; at most {:.0} MB, with the cache of files",
        megabytes(cgroup.used()?),
        megabytes(cgroup.used()?.saturating_sub(cgroup.anonymous()?)),
        megabytes(cgroup.peak()?),
    ));
    let step = steps.begin("Verdict");
    shop.stop().await?;
    ensure!(
        cgroup.killed()? == 0,
        "the kernel ended {} processes for want of memory",
        cgroup.killed()?
    );
    judge(&report)?;
    step.done("nothing ended for want of memory, every answer as it should be");
    Ok(())
}

fn judge(report: &Report) -> Result<()> {
    ensure!(report.wrong.is_empty(), "wrong answers: {:?}", report.wrong);
    ensure!(
        report.turned_away() <= TURNED_AWAY,
        "{:.1} % of the requests were turned away",
        report.turned_away() * 100.0
    );
    Ok(())
}

/// All that is on the machine.
struct Shop {
    postgres: Postgres,
    redis: RedisServer,
    api: Program,
    worker: Program,
    database: String,
}

impl Shop {
    async fn start(programs: &Path, folder: &Path) -> Result<Self> {
        let servers = paths::workspace().join(SERVERS);
        let postgres = Postgres::start(PostgresOptions {
            durable: true,
            settings: postgres_settings(&servers.join("postgresql.conf"))?,
            ..PostgresOptions::default()
        })
        .await?;
        let redis = RedisServer::start(RedisOptions {
            append_only: true,
            arguments: redis_arguments(&servers.join("redis.conf"))?,
            ..RedisOptions::default()
        })
        .await?;
        let database = postgres.create_database("bharatmart").await?;
        let mut settings = sample::settings(&paths::workspace().join(PROFILE))?;
        let of_here = [
            ("HOST", "127.0.0.1".to_owned()),
            // Not installed here, and not asked for by the load.
            ("FRONTEND_DIST", String::new()),
            ("DATABASE_URL", database.clone()),
            ("REDIS_URL", redis.url()),
            ("EMAIL_TRANSPORT", "file".to_owned()),
            ("EMAIL_DIR", folder.display().to_string()),
            ("ADMIN_EMAIL", "admin@shop.example".to_owned()),
            ("ADMIN_PASSWORD", "Correct-Horse-43".to_owned()),
            ("SHUTDOWN_DRAIN_DELAY", "0".to_owned()),
        ];
        settings.extend(of_here.map(|(name, value)| (name.to_owned(), value)));
        let command = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(programs.join(program));
            command
                .args(arguments)
                .env_clear()
                .envs(settings.iter().cloned())
                .current_dir(folder)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .kill_on_drop(true);
            command
        };
        for subcommand in ["migrate", "seed"] {
            let status = command("bharatmart-api", &[subcommand]).status().await?;
            ensure!(status.success(), "`bharatmart-api {subcommand}` failed");
        }
        psql(&database, "UPDATE products SET stock_quantity = 1000000").await?;
        let api = Program::start(command("bharatmart-api", &["serve"])).await?;
        let worker = Program::start(command(
            "bharatmart-worker",
            &["--worker-type", "all", "run"],
        ));
        let worker = worker.await?;
        Ok(Self {
            postgres,
            redis,
            api,
            worker,
            database,
        })
    }

    /// Waits until every order was looked at by a worker, and tells how long that took.
    async fn jobs_are_done(&self) -> Result<Duration> {
        let start = Instant::now();
        let left =
            "SELECT count(*) FROM orders WHERE processed_at IS NULL AND status <> 'cancelled'";
        wait_until("the orders' jobs", REST, async || {
            Ok(psql(&self.database, left).await? == "0")
        })
        .await?;
        Ok(start.elapsed())
    }

    fn print_memory(&self) -> Result<()> {
        for (name, program) in [("API", &self.api), ("worker", &self.worker)] {
            line(format!(
                "  {name:<16} {:.0} MB now, {:.0} MB at most",
                program.resident_megabytes()?,
                program.highest_megabytes()?
            ));
        }
        Ok(())
    }

    async fn stop(mut self) -> Result<()> {
        self.worker.stop().await?;
        self.api.stop().await?;
        self.redis.stop().await?;
        self.postgres.stop().await
    }
}

/// `name = value`, a line each.
fn postgres_settings(file: &Path) -> Result<Vec<(String, String)>> {
    lines(file)?
        .iter()
        .map(|line| {
            let (name, value) = line.split_once('=').context("`name = value`")?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

/// `name value`, a line each, as `redis-server` takes them.
fn redis_arguments(file: &Path) -> Result<Vec<String>> {
    let mut arguments = Vec::new();
    for line in lines(file)? {
        let (name, value) = line.split_once(' ').context("`name value`")?;
        arguments.extend([format!("--{name}"), value.trim_matches('"').to_owned()]);
    }
    Ok(arguments)
}

fn lines(file: &Path) -> Result<Vec<String>> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let lines = text.lines().map(str::trim);
    let told = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(told.map(str::to_owned).collect())
}
