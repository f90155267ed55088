//! `cargo xtask plans`: what PostgreSQL does for each list of the API in a large shop.
//!
//! The statements are the product's own: a running API is asked over HTTP, and the server's module
//! `auto_explain` writes down how it answered. Fails when a list reads a table that an index could
//! spare it, or sorts more than a page that an index could give in order.

mod cases;
mod plan;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{
    Child, Launch, Output, ScratchDir, ShopClient, TEST_PASSWORD, free_port,
    install::{self, Requirement},
    servers::{Postgres, PostgresOptions, RedisServer},
    wait_until,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::process::Command;

use self::{
    cases::{Case, cases},
    plan::{Plan, Tables},
};
use crate::{
    cargo,
    console::{Steps, line},
    paths,
};

const DATA: &str = include_str!("plans/data.sql");
const DATABASE: &str = "bharatmart_plans";
/// Often enough for PostgreSQL to consider a plan for all values alike.
const WARM_UP: usize = 6;
/// Pairs of requests, of the first page and of a page deep inside.
const PAIRS: usize = 15;
/// How deep that is.
const DEPTH: u64 = 900_000;
/// How much longer it may take.
const RATIO: f64 = 1.5;

#[derive(clap::Args)]
pub struct Arguments {
    /// Products; with far fewer, reading the table may be the best plan and no fault
    #[arg(long, default_value_t = 1_000_000)]
    products: u32,
    /// Orders
    #[arg(long, default_value_t = 5_000_000)]
    orders: u32,
    /// Payments, at most as many as orders
    #[arg(long, default_value_t = 1_000_000)]
    payments: u32,
    /// Users
    #[arg(long, default_value_t = 200_000)]
    users: u32,
}

pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut steps = Steps::new(4);
    let mut step = steps.begin("Requirements");
    install::ensure(&[Requirement::Postgres, Requirement::Redis], |text| {
        step.note(text);
    })?;
    step.done("all installed");

    let mut step = steps.begin("Program");
    step.note("cargo build");
    cargo::run(&["build", "--locked", "-p", "bharatmart-api"]).await?;
    step.done("built");

    let step = steps.begin("Data");
    let shop = Shop::open(&arguments).await?;
    step.done(&format!(
        "{} products, {} orders, {} payments, {} users",
        arguments.products, arguments.orders, arguments.payments, arguments.users
    ));

    let step = steps.begin("Lists");
    step.done("one request each, and one deep inside");
    let mut faults = Vec::new();
    for case in cases() {
        shop.look_at(&case, &mut faults).await?;
    }
    shop.compare_depths(&mut faults).await?;
    shop.close().await?;
    if faults.is_empty() {
        line("every list is served by an index, or is one of those that say why not");
        return Ok(ExitCode::SUCCESS);
    }
    line(format!("{} faults:", faults.len()));
    for fault in faults {
        line(format!("  {fault}"));
    }
    Ok(ExitCode::FAILURE)
}

/// A shop full of data that writes down how it answers.
struct Shop {
    // In the order in which they are to go.
    api: Child,
    admin: ShopClient,
    redis: RedisServer,
    postgres: Postgres,
    tables: Tables,
    _folder: ScratchDir,
}

impl Shop {
    async fn open(arguments: &Arguments) -> Result<Self> {
        let settings = [
            ("session_preload_libraries", "auto_explain"),
            ("auto_explain.log_analyze", "on"),
            ("auto_explain.log_buffers", "on"),
            ("auto_explain.log_format", "json"),
            ("max_wal_size", "8GB"),
        ];
        let postgres = Postgres::start(PostgresOptions {
            settings: settings
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            ..PostgresOptions::default()
        })
        .await?;
        let redis = RedisServer::temporary().await?;
        let url = postgres.create_database(DATABASE).await?;
        let folder = ScratchDir::create()?;
        let (port, metrics_port) = (free_port(), free_port());
        let launch = Launch::new(
            "bharatmart-api",
            paths::programs(false)?.join("bharatmart-api"),
            Output::File(folder.path().join("api.log")),
        )
        .clear_environment()
        .directory(folder.path())
        .env("HOST", "127.0.0.1")
        .env("PORT", port.to_string())
        .env("METRICS_PORT", metrics_port.to_string())
        .env("DATABASE_URL", &url)
        .env("DATABASE_STATEMENT_TIMEOUT", "60s")
        .env("REQUEST_TIMEOUT", "60s")
        .env("REDIS_URL", redis.url())
        .env("CACHE_TYPE", "none")
        .env("JWT_SECRET", "a secret for measurements, 32 bytes or more");
        let mut migrating = launch.clone().arg("migrate").spawn()?;
        let status = migrating.wait(Duration::from_mins(1)).await?;
        ensure!(status.success(), "{}", migrating.log_tail(5));
        fill(&url, arguments).await?;

        let api = launch.arg("serve").spawn()?;
        let mut admin = ShopClient::new(format!("http://127.0.0.1:{port}"))?;
        let ready = format!("http://127.0.0.1:{metrics_port}/api/health/ready");
        wait_until("the API", Duration::from_secs(30), async || {
            let answer = admin.http().get(&ready).send().await;
            Ok(answer.is_ok_and(|answer| answer.status().is_success()))
        })
        .await?;
        admin.sign_up().await?;
        let promote = format!(
            "UPDATE users SET role = 'admin' WHERE email = '{}'",
            admin.email()
        );
        psql(&url, &["-c", &promote]).await?;
        let email = admin.email().to_owned();
        admin.login(&email, TEST_PASSWORD).await?;
        Ok(Self {
            api,
            admin,
            redis,
            postgres,
            tables: Tables::from([
                ("products", arguments.products),
                ("orders", arguments.orders),
                ("payments", arguments.payments),
                ("users", arguments.users),
            ]),
            _folder: folder,
        })
    }

    async fn close(mut self) -> Result<()> {
        self.api
            .stop(Signal::SIGTERM, Duration::from_secs(30))
            .await?;
        self.redis.stop().await?;
        self.postgres.stop().await
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let (status, body) = self.admin.get(path).await?;
        ensure!(status == 200, "{path}: {status} {body}");
        Ok(body)
    }

    /// Asks for a page; the answer, and how the server came to it: first the count, then the rows.
    async fn explain(&self, path: &str, table: &str) -> Result<(Value, Vec<Plan>)> {
        let before = self.postgres.log().len();
        let body = self.get(path).await?;
        let rows = body["data"].as_array().map_or(0, Vec::len);
        let plans = wait_until("the plans", Duration::from_secs(10), async || {
            let log = self.postgres.log();
            let plans = plan::read(log.get(before..).unwrap_or_default(), table);
            // A page of nothing is not asked for.
            (plans.len() >= if rows == 0 { 1 } else { 2 }).then_some(plans)
        })
        .await?;
        Ok((body, plans))
    }

    /// The cursor behind so many rows.
    async fn cursor(&self, path: &str, depth: u64) -> Result<Option<String>> {
        let page = self
            .get(&format!(
                "{path}&limit=1&offset={}",
                depth.saturating_sub(1)
            ))
            .await?;
        Ok(page["next_cursor"].as_str().map(str::to_owned))
    }

    async fn look_at(&self, case: &Case, faults: &mut Vec<String>) -> Result<()> {
        let path = case.path();
        if case.varies {
            for _ in 1..WARM_UP {
                self.get(&path).await?;
            }
        }
        let (body, plans) = self.explain(&path, case.table).await?;
        let count = body["count"].as_u64().context("a list has a count")?;
        line(format!("\n{path}  ({count} match)"));
        self.judge(case, "first page", &plans, faults);
        let depth = count / 10 * 9;
        if depth > 100
            && let Some(cursor) = self.cursor(&path, depth).await?
        {
            let (_, plans) = self
                .explain(&format!("{path}&cursor={cursor}"), case.table)
                .await?;
            self.judge(case, &format!("behind row {depth}"), &plans, faults);
        }
        Ok(())
    }

    /// Shows how a page came about, and notes what is wrong about it.
    fn judge(&self, case: &Case, what: &str, plans: &[Plan], faults: &mut Vec<String>) {
        for plan in plans {
            line(format!(
                "  {what}, {}: {:.1} ms",
                if plan.is_count() { "count" } else { "rows" },
                plan.milliseconds
            ));
            for text in plan.lines() {
                line(format!("    {text}"));
            }
            for fault in plan.faults(&self.tables, case.varies) {
                if let Some(reason) = case.excuses(&fault) {
                    line(format!("    accepted: {fault}; {reason}"));
                } else {
                    line(format!("    FAULT: {fault}"));
                    faults.push(format!("{}, {what}: {fault}", case.path()));
                }
            }
        }
    }

    /// The first page of all products beside one far behind.
    async fn compare_depths(&self, faults: &mut Vec<String>) -> Result<()> {
        let first = "/api/products?sort=name";
        let all = self.get(first).await?["count"].as_u64().unwrap_or_default();
        let depth = if all > DEPTH { DEPTH } else { all / 10 * 9 };
        let cursor = self.cursor(first, depth).await?;
        let deep = format!("{first}&cursor={}", cursor.context("there is more")?);
        let (mut shallow_times, mut deep_times) = (Times::default(), Times::default());
        for _ in 0..PAIRS {
            shallow_times.take(self, first).await?;
            deep_times.take(self, &deep).await?;
        }
        line(format!("\nmedians of {PAIRS}, milliseconds"));
        for (what, shallow, deep) in [
            ("the request", shallow_times.whole, deep_times.whole),
            ("the count", shallow_times.count, deep_times.count),
            ("the rows", shallow_times.rows, deep_times.rows),
        ] {
            let (shallow, deep) = (median(shallow), median(deep));
            let ratio = deep / shallow;
            line(format!(
                "  {what:12} offset 0: {shallow:.2}   cursor behind row {depth}: {deep:.2}   ratio {ratio:.2} (at most {RATIO})"
            ));
            if ratio > RATIO {
                faults.push(format!(
                    "{what} takes {ratio:.2} times as long behind row {depth}"
                ));
            }
        }
        Ok(())
    }
}

/// What a page took, several times.
#[derive(Default)]
struct Times {
    whole: Vec<f64>,
    count: Vec<f64>,
    rows: Vec<f64>,
}

impl Times {
    async fn take(&mut self, shop: &Shop, path: &str) -> Result<()> {
        let start = Instant::now();
        shop.get(path).await?;
        self.whole.push(start.elapsed().as_secs_f64() * 1000.0);
        let (_, plans) = shop.explain(path, "products").await?;
        for plan in plans {
            if plan.is_count() {
                self.count.push(plan.milliseconds);
            } else {
                self.rows.push(plan.milliseconds);
            }
        }
        Ok(())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Makes the data, and only then has statements explained.
async fn fill(url: &str, arguments: &Arguments) -> Result<()> {
    let sizes = format!(
        "SET plans.products = {}; SET plans.orders = {}; SET plans.payments = {}; SET plans.users = {};",
        arguments.products, arguments.orders, arguments.payments, arguments.users
    );
    let folder = ScratchDir::create()?;
    let file = folder.path().join("data.sql");
    std::fs::write(&file, format!("{sizes}\n{DATA}"))?;
    psql(url, &["-f", &file.to_string_lossy()]).await?;
    let explain = format!("ALTER DATABASE {DATABASE} SET auto_explain.log_min_duration = 0");
    psql(url, &["-c", &explain]).await
}

async fn psql(url: &str, arguments: &[&str]) -> Result<()> {
    let psql = install::find_program("psql").context("psql is not installed")?;
    let output = Command::new(psql)
        .args(["--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1"])
        .args(arguments)
        .arg(url)
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "psql: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
