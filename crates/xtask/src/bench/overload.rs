//! Five times as many requests as can be served, beside as many as can be.

use std::{process::ExitCode, time::Duration};

use anyhow::{Result, ensure};

use super::{
    cache, median,
    open::{self, Sample},
    processors::Processors,
    program::{Program, Servers},
    to_f64,
    wrk::Load,
};
use crate::{cargo, console::line};

/// How many times the capacity.
const TIMES: f64 = 5.0;
/// The default of `OVERLOAD_DELAY`, in milliseconds.
const DELAY: &str = "20";
const PRODUCTS: u64 = 1000;
/// The p99 of what is served under the overload, to that at capacity.
const P99_CEILING: f64 = 2.0;
/// When the last request is refused after the overload.
const RECOVERY: Duration = Duration::from_secs(2);
/// The load after it, to the capacity.
const AFTERWARDS: f64 = 0.5;
/// Connections that may break, of a thousand requests: the system turns some new ones away when too many come at once.
const BROKEN_CEILING: f64 = 1.0;
/// How much more memory the API may need under the overload than at capacity, in MB (10⁶ bytes).
const MEMORY_CEILING: f64 = 100.0;

#[derive(clap::Args)]
pub struct Arguments {
    /// Rounds; each measures at capacity, beyond it and after it
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds that each part of a round takes
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Refuse nothing, to see what that is like
    #[arg(long)]
    unprotected: bool,
}

pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let example = ["-p", "bharatmart-api", "--example", "open_load"];
    cargo::run(&[&["build", "--release", "--locked"][..], &example].concat()).await?;
    let processors = Processors::divide().await?;
    let servers = Servers::start(true).await?;
    cache::stock(&servers.database_url, PRODUCTS).await?;
    // What finds the capacity is refused nothing.
    let unprotected = api(&servers, "1d").await?;
    let protected = if arguments.unprotected {
        None
    } else {
        Some(api(&servers, DELAY).await?)
    };
    let api = protected.as_ref().unwrap_or(&unprotected);
    let paths: Vec<String> = (0..PRODUCTS / 50)
        .flat_map(|page| ["name", "-price"].map(|sort| (page * 50, sort)))
        .map(|(offset, sort)| format!("/api/products?limit=50&offset={offset}&sort={sort}"))
        .collect();
    let length = Duration::from_secs(arguments.seconds);
    let closed = Load::new("overload", &paths)?;
    let mut rounds = Vec::new();
    for number in 1..=arguments.rounds {
        let round =
            Round::measure(&processors, api, (&unprotected, &closed), length, &paths).await?;
        line(format!("round {number}: {round}"));
        rounds.push(round);
    }
    if let Some(protected) = protected {
        protected.stop().await?;
    }
    unprotected.stop().await?;
    let of = |part: fn(&Round) -> f64| median(rounds.iter().map(part).collect());
    let (ratio, grown) = (of(Round::ratio), of(|round| round.grown));
    let recovery = of(|round| round.recovery.as_secs_f64());
    line(format!(
        "p99 of what is served at {TIMES} × capacity to that at capacity: {ratio:.2} (at most {P99_CEILING})"
    ));
    line(format!(
        "memory grown by {grown:.1} MB (at most {MEMORY_CEILING}); last refusal after the overload {recovery:.2} s (at most {})",
        RECOVERY.as_secs()
    ));
    let met = ratio <= P99_CEILING && grown <= MEMORY_CEILING && recovery <= RECOVERY.as_secs_f64();
    Ok(if met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn api(servers: &Servers, delay: &str) -> Result<Program> {
    let mut command = servers.command("bharatmart-api")?;
    command
        .env("CACHE_TYPE", "none")
        .env("OVERLOAD_DELAY", delay)
        .stdout(std::process::Stdio::piped());
    Program::start(command).await
}

struct Round {
    capacity: f64,
    at_capacity: Served,
    beyond: Served,
    /// In MB.
    grown: f64,
    /// From the end of the overload to the last refusal.
    recovery: Duration,
}

impl Round {
    async fn measure(
        processors: &Processors,
        api: &Program,
        (unprotected, closed): (&Program, &Load),
        length: Duration,
        paths: &[String],
    ) -> Result<Self> {
        let capacity = closed
            .run_beside(processors, unprotected.port, length)
            .await?
            .rate();
        let samples = open::load(processors, api.port, capacity, length, paths).await?;
        let at_capacity = Served::of(&samples, length)?;
        let before = api.highest_megabytes()?;
        let samples = open::load(processors, api.port, capacity * TIMES, length, paths).await?;
        let beyond = Served::of(&samples, length)?;
        let grown = api.highest_megabytes()? - before;
        let samples =
            open::load(processors, api.port, capacity * AFTERWARDS, length, paths).await?;
        Served::of(&samples, length)?;
        let refused = samples.iter().filter(|sample| is_refused(sample));
        let recovery = refused.map(|sample| sample.sent).max().unwrap_or_default();
        Ok(Self {
            capacity,
            at_capacity,
            beyond,
            grown,
            recovery,
        })
    }

    fn ratio(&self) -> f64 {
        self.beyond.p99 / self.at_capacity.p99
    }
}

impl std::fmt::Display for Round {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "capacity {:.0}/s; at capacity {}; at {TIMES} × {}; p99 ratio {:.2}; {:.1} MB more; last refusal {:.2} s after",
            self.capacity,
            self.at_capacity,
            self.beyond,
            self.ratio(),
            self.grown,
            self.recovery.as_secs_f64()
        )
    }
}

/// What was served, in milliseconds.
struct Served {
    offered: f64,
    rate: f64,
    refused: f64,
    p50: f64,
    p99: f64,
}

fn is_refused(sample: &Sample) -> bool {
    sample.status == 503
}

impl Served {
    fn of(samples: &[Sample], length: Duration) -> Result<Self> {
        let mut times: Vec<f64> = Vec::new();
        let mut broken = 0_u64;
        for sample in samples {
            match sample.status {
                200 => times.push(sample.took.as_secs_f64() * 1000.0),
                503 => {}
                0 => broken += 1,
                other => anyhow::bail!("an answer is {other}"),
            }
        }
        let broken = to_f64(broken) / to_f64(samples.len() as u64) * 1000.0;
        ensure!(
            broken <= BROKEN_CEILING,
            "{broken:.2} of 1000 connections broke"
        );
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| times.get(times.len() * percent / 100).copied();
        let (all, served) = (samples.len() as u64, times.len() as u64);
        Ok(Self {
            offered: to_f64(all) / length.as_secs_f64(),
            rate: to_f64(served) / length.as_secs_f64(),
            refused: to_f64(all - served) / to_f64(all),
            p50: at(50).unwrap_or(f64::NAN),
            p99: at(99).unwrap_or(f64::NAN),
        })
    }
}

impl std::fmt::Display for Served {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{:.0}/s offered, {:.0}/s served (p50 {:.1} ms, p99 {:.1} ms), {:.0} % refused",
            self.offered,
            self.rate,
            self.p50,
            self.p99,
            self.refused * 100.0
        )
    }
}
