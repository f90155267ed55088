//! `cargo xtask bench`: figures that mean something, because each stands beside another one that was
//! measured in the same run.

mod cache;
mod footprint;
mod load;
mod noise;
mod open;
mod orders;
mod overload;
mod processors;
pub mod program;
mod queue;
mod reads;
mod wrk;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::install::{self, Requirement};
use clap::Subcommand;
use tokio::process::Command;

use crate::{cargo, console::Steps, npm};

/// What to measure.
#[derive(Subcommand)]
pub enum Bench {
    /// Cached answers beside a bare axum handler that answers with the same bytes
    Cache(cache::Arguments),
    /// Start-up time, idle memory and binary sizes
    Footprint,
    /// Orders per second over HTTP beside pgbench running the same statement
    Orders(orders::Arguments),
    /// Five times as many requests as can be served, beside as many as can be
    Overload(overload::Arguments),
    /// Jobs that do nothing beside the bare crate and Node's bullmq, and 200,000 waiting jobs
    Queue(queue::Arguments),
    /// Uncached reads beside a bare axum and sqlx handler, deep inside a list, from replicas, through a pooler
    Reads(reads::Arguments),
}

/// Installs what is missing, builds the release binaries and measures.
pub async fn run(bench: Bench) -> Result<ExitCode> {
    let mut steps = Steps::new(2);
    let mut step = steps.begin("Requirements");
    let needed: &[Requirement] = match &bench {
        Bench::Cache(_) | Bench::Overload(_) => {
            &[Requirement::Postgres, Requirement::Redis, Requirement::Wrk]
        }
        Bench::Footprint | Bench::Orders(_) => &[Requirement::Postgres, Requirement::Redis],
        Bench::Queue(_) => &[Requirement::Redis, Requirement::Node],
        Bench::Reads(_) => &[
            Requirement::Postgres,
            Requirement::Redis,
            Requirement::PgBouncer,
            Requirement::Wrk,
        ],
    };
    install::ensure(needed, |text| step.note(text))?;
    if matches!(bench, Bench::Queue(_)) {
        npm::install(npm::INTEROP, |text| step.note(text)).await?;
    }
    step.done("all installed");

    let mut step = steps.begin("Programs");
    step.note("cargo build --release");
    let programs: &[&str] = match &bench {
        Bench::Queue(_) => &["-p", "bharatmart-queue", "--example", "queue_bench"],
        _ => &["-p", "bharatmart-api", "-p", "bharatmart-worker"],
    };
    cargo::run(&[&["build", "--release", "--locked"], programs].concat()).await?;
    step.done("built");
    match bench {
        Bench::Cache(arguments) => cache::run(arguments).await,
        Bench::Footprint => footprint::run().await,
        Bench::Orders(arguments) => orders::run(arguments).await,
        Bench::Overload(arguments) => overload::run(arguments).await,
        Bench::Queue(arguments) => queue::run(arguments).await,
        Bench::Reads(arguments) => reads::run(arguments).await,
    }
}

/// The middle one of `values`.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "fewer than 2^52 of anything here"
)]
fn to_f64(number: u64) -> f64 {
    number as f64
}

/// What psql prints of `statement`.
pub async fn psql(database_url: &str, statement: &str) -> Result<String> {
    let psql = install::find_program("psql").context("psql is not installed")?;
    let output = Command::new(psql)
        .args([
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "-v",
            "ON_ERROR_STOP=1",
        ])
        .args(["-c", statement, database_url])
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "psql: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
