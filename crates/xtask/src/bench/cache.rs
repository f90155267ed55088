//! Cached answers beside a bare axum handler that answers with the same bytes from memory.

use std::{fmt::Write, fs, process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::servers::RedisServer;
use tokio::process::Command;

use super::{
    median, noise,
    program::{Program, Servers, example},
    psql, to_f64,
    wrk::{CONNECTIONS, Load},
};
use crate::{cargo, console::line};

/// As many products as one page of the list shows by default are in every body.
const PAGE: u64 = 50;
/// Pages of a list that all processes share.
const PAGES: u64 = 20;
const PATH: &str = "/api/products";

#[derive(clap::Args)]
pub struct Arguments {
    /// Rounds; each measures all sides
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds that each side of a round takes
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Instead of speed, measure what a million distinct query strings do to memory and Redis
    #[arg(long)]
    noise: bool,
}

pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let servers = Servers::start(true).await?;
    let redis = RedisServer::temporary().await?;
    stock(&servers.database_url, PAGE * PAGES).await?;
    if arguments.noise {
        return noise::run(&servers, &redis).await;
    }
    let length = Duration::from_secs(arguments.seconds);
    let mut contest = Contest::prepare(&servers, &redis).await?;
    for round in 1..=arguments.rounds {
        line(format!("round {round}:"));
        contest.round(length).await?;
    }
    contest.finish().await
}

/// Products of the length that products have.
pub async fn stock(database_url: &str, products: u64) -> Result<()> {
    let insert = format!(
        "INSERT INTO products (name, description, price, category, stock_quantity, sku)
         SELECT 'Handloom cotton kurta number ' || n,
                'Woven in Varanasi of hand-spun cotton, dyed with indigo and washed twice. Size ' || n % 50,
                100 + n, 'Category ' || n % {}, 1000, 'SKU-' || n
         FROM generate_series(1, {products}) AS n",
        noise::CATEGORIES
    );
    for statement in [insert.as_str(), "ANALYZE products"] {
        psql(database_url, statement).await?;
    }
    Ok(())
}

/// Which part of the cache must answer.
#[derive(Clone, Copy, PartialEq)]
enum Expected {
    /// There is no cache in it.
    Bare,
    Local,
    Shared,
    Nothing,
}

/// One of those that are compared.
struct Side {
    name: &'static str,
    expected: Expected,
    program: Program,
    /// Whether it is asked for one page or for all of them in turn.
    walks: bool,
    /// At least this share of the bare handler's requests a second.
    floor: Option<f64>,
    rates: Vec<f64>,
    ratios: Vec<f64>,
    costs: Vec<f64>,
}

impl Side {
    fn new(name: &'static str, expected: Expected, walks: bool, program: Program) -> Self {
        Self {
            name,
            expected,
            program,
            walks,
            floor: None,
            rates: Vec::new(),
            ratios: Vec::new(),
            costs: Vec::new(),
        }
    }

    fn floor(mut self, floor: f64) -> Self {
        self.floor = Some(floor);
        self
    }

    /// Refuses figures of something else than what they are called.
    async fn check(&self, before: &Answered, requests: u64) -> Result<()> {
        if self.expected == Expected::Bare {
            return Ok(());
        }
        let after = Answered::by(&self.program).await?;
        let share = |part: fn(&Answered) -> f64| (part(&after) - part(before)) / to_f64(requests);
        let part: fn(&Answered) -> f64 = match self.expected {
            Expected::Bare | Expected::Nothing => |answered| answered.loads,
            Expected::Local => |answered| answered.local,
            Expected::Shared => |answered| answered.shared,
        };
        // wrk does not count what is under way at its end.
        ensure!(
            share(part) > 0.95,
            "{}: of its answers {:.3} came from the process, {:.3} from Redis and {:.3} from the database",
            self.name,
            share(|answered| answered.local),
            share(|answered| answered.shared),
            share(|answered| answered.loads),
        );
        ensure!(
            after.lost_lines == 0.0,
            "{}: {} lines of its log are lost",
            self.name,
            after.lost_lines
        );
        Ok(())
    }
}

/// Who has answered so far.
#[derive(Default)]
struct Answered {
    local: f64,
    shared: f64,
    loads: f64,
    lost_lines: f64,
}

impl Answered {
    async fn by(program: &Program) -> Result<Self> {
        let scrape = program.metrics().await?;
        let sum = |name: &str, labels: &[&str]| {
            scrape
                .lines()
                .filter(|line| {
                    line.strip_prefix(name)
                        .is_some_and(|rest| rest.starts_with(['{', ' ']))
                        && labels.iter().all(|label| line.contains(label))
                })
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum()
        };
        let hits = |tier| sum("cache_requests_total", &[tier, "outcome=\"hit\""]);
        Ok(Self {
            local: hits("tier=\"local\""),
            shared: hits("tier=\"shared\""),
            loads: sum("cache_loads_total", &[]),
            lost_lines: sum("log_lines_dropped_total", &[]),
        })
    }
}

struct Contest {
    sides: Vec<Side>,
    one: Load,
    many: Load,
}

impl Contest {
    async fn prepare(servers: &Servers, redis: &RedisServer) -> Result<Self> {
        cargo::run(&[
            "build",
            "--release",
            "--locked",
            "-p",
            "bharatmart-api",
            "--example",
            "bare_handler",
        ])
        .await?;
        let api = async |variables: &[(&str, &str)]| {
            let mut command = servers.command("bharatmart-api")?;
            command
                .env("CACHE_REDIS_URL", redis.url())
                .envs(variables.iter().copied())
                .stdout(std::process::Stdio::piped());
            Program::start(command).await
        };
        let (redis_tiers, quiet) = (("CACHE_TYPE", "redis"), ("LOG_LEVEL", "warn"));
        let tiny = ("CACHE_LOCAL_MAX_BYTES", "1");
        let warn = api(&[redis_tiers, quiet]).await?;
        let bytes = reqwest::get(format!("http://127.0.0.1:{}{PATH}", warn.port))
            .await?
            .error_for_status()?
            .bytes()
            .await?;
        let body = std::env::temp_dir().join(format!("bharatmart-{}.json", std::process::id()));
        fs::write(&body, &bytes)?;
        let mut bare = Command::new(example("bare_handler")?);
        bare.kill_on_drop(true);
        let bare = Program::start_bare(bare, PATH, &body).await?;
        let mut bare_walked = Command::new(example("bare_handler")?);
        bare_walked.kill_on_drop(true);
        let bare_walked = Program::start_bare(bare_walked, PATH, &body).await?;
        // Both have read it.
        fs::remove_file(&body)?;
        let sides = vec![
            Side::new("bare handler", Expected::Bare, false, bare),
            Side::new("tier 1, LOG_LEVEL=warn", Expected::Local, false, warn).floor(0.80),
            Side::new(
                "tier 1, defaults",
                Expected::Local,
                false,
                api(&[redis_tiers]).await?,
            )
            .floor(0.65),
            Side::new(
                "bare handler, many paths",
                Expected::Bare,
                true,
                bare_walked,
            ),
            Side::new(
                "tier 2, defaults",
                Expected::Shared,
                true,
                api(&[redis_tiers, tiny]).await?,
            )
            .floor(0.30),
            Side::new(
                "no cache, defaults",
                Expected::Nothing,
                true,
                api(&[("CACHE_TYPE", "none")]).await?,
            ),
        ];
        let paths = paths();
        line(format!(
            "bodies of {} bytes; {CONNECTIONS} connections; {} paths where there are many",
            bytes.len(),
            paths.len()
        ));
        let contest = Self {
            sides,
            one: Load::new("one", &[PATH.to_owned()])?,
            many: Load::new("many", &paths)?,
        };
        contest.warm_up(&paths).await?;
        Ok(contest)
    }

    /// Has every page asked for once, so that all of them are cached where there is a cache.
    async fn warm_up(&self, paths: &[String]) -> Result<()> {
        let client = reqwest::Client::builder().build()?;
        for side in &self.sides {
            let paths = if side.walks { paths } else { &paths[..1] };
            for path in paths {
                let url = format!("http://127.0.0.1:{}{path}", side.program.port);
                let answer = client.get(url).send().await?.error_for_status()?;
                answer.bytes().await?;
            }
        }
        Ok(())
    }

    async fn round(&mut self, length: Duration) -> Result<()> {
        let mut bare = f64::NAN;
        for side in &mut self.sides {
            let before = match side.expected {
                Expected::Bare => Answered::default(),
                _ => Answered::by(&side.program).await?,
            };
            let cpu = side.program.cpu_seconds()?;
            let load = if side.walks { &self.many } else { &self.one };
            let report = load.run(side.program.port, length).await?;
            let cost = (side.program.cpu_seconds()? - cpu) * 1e6 / to_f64(report.done);
            side.check(&before, report.done).await?;
            if side.expected == Expected::Bare {
                bare = report.rate();
            }
            side.rates.push(report.rate());
            side.costs.push(cost);
            side.ratios.push(report.rate() / bare);
            line(format!(
                "  {:26} {:8.0}/s  {cost:6.1} µs of CPU each  {:.2}",
                side.name,
                report.rate(),
                report.rate() / bare
            ));
        }
        Ok(())
    }

    async fn finish(self) -> Result<ExitCode> {
        line("medians, and the share of the bare handler above:");
        let mut met = true;
        for side in self.sides {
            let ratio = median(side.ratios);
            let mut text = format!(
                "  {:26} {:8.0}/s  {:6.1} µs of CPU each  {ratio:.2}",
                side.name,
                median(side.rates),
                median(side.costs)
            );
            if let Some(floor) = side.floor {
                met &= ratio >= floor;
                write!(text, "  (at least {floor:.2})").context("a line")?;
            }
            line(text);
            match side.expected {
                Expected::Bare => drop(side.program),
                _ => side.program.stop().await?,
            }
        }
        Ok(if met {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// Full pages of products that differ in what the database is asked for and hardly in length, so that
/// no two requests under way wait for the same one.
fn paths() -> Vec<String> {
    let mut paths = Vec::new();
    for limit in [PAGE, PAGE - 1, PAGE - 2] {
        for sort in [
            "name",
            "-name",
            "price",
            "-price",
            "created_at",
            "-created_at",
        ] {
            for in_stock in ["", "&in_stock=true"] {
                for page in 0..PAGES {
                    let offset = page * limit;
                    paths.push(format!(
                        "{PATH}?limit={limit}&offset={offset}&sort={sort}{in_stock}"
                    ));
                }
            }
        }
    }
    paths
}
