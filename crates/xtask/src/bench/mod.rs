//! `cargo xtask bench`: figures that mean something, because each stands beside another one that was
//! measured in the same run.

mod footprint;
mod load;
mod orders;
mod program;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::cargo;

/// What to measure.
#[derive(Subcommand)]
pub enum Bench {
    /// Start-up time, idle memory and binary sizes
    Footprint,
    /// Orders per second over HTTP beside pgbench running the same statement
    Orders(orders::Arguments),
}

/// Builds the release binaries and measures.
pub async fn run(bench: Bench) -> Result<ExitCode> {
    cargo::run(&[
        "build",
        "--release",
        "--locked",
        "-p",
        "bharatmart-api",
        "-p",
        "bharatmart-worker",
    ])
    .await?;
    match bench {
        Bench::Footprint => footprint::run().await,
        Bench::Orders(arguments) => orders::run(arguments).await,
    }
}

/// The middle one of `values`.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
