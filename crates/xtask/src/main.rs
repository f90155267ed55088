//! `cargo xtask`: everything that a developer of BharatMart runs. `cargo xtask help` lists it.

mod bench;
mod cargo;
mod console;
mod deploy;
mod dev;
mod dist;
mod fuzz;
mod interrupts;
mod journeys;
mod npm;
mod openapi;
mod paths;
mod plans;
mod python;
mod sqlx;
mod storefront;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Develop, test and measure BharatMart",
    version
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure, each figure beside another one of the same run
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Check what deploys the shop, each part with the tool that reads it
    CheckDeploy(deploy::Arguments),
    /// Run the whole shop on this machine, with servers of its own, until Ctrl-C
    Dev(dev::Arguments),
    /// Make the archive that is installed on machines without containers: programs, units, storefront, sums, bills of materials
    Dist(dist::Arguments),
    /// Send the API what its OpenAPI document allows and what it forbids, as each role, and look at every answer
    Fuzz(fuzz::Arguments),
    /// Walk through the storefront in a browser, against the whole shop, on a desktop and on a phone
    Journeys(journeys::Arguments),
    /// What a journey does to the API under it
    #[command(hide = true)]
    JourneysControl(journeys::control::Arguments),
    /// Refresh `crates/api/openapi.json`, the API as others read it, and have it judged by a linter
    Openapi(openapi::Arguments),
    /// Show how PostgreSQL answers each list of a large shop; fail where an index is missing
    Plans(plans::Arguments),
    /// Refresh `.sqlx/`, the database's answers about our SQL that builds without a database use
    Sqlx(sqlx::Arguments),
    /// Run all tests, with the servers that they need
    Test(test::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Bench(bench) => bench::run(bench).await,
        Command::CheckDeploy(arguments) => deploy::run(arguments).await,
        Command::Dev(arguments) => dev::run(arguments).await,
        Command::Dist(arguments) => dist::run(arguments).await,
        Command::Fuzz(arguments) => fuzz::run(arguments).await,
        Command::Journeys(arguments) => journeys::run(arguments).await,
        Command::JourneysControl(arguments) => journeys::control::run(arguments).await,
        Command::Openapi(arguments) => openapi::run(arguments).await,
        Command::Plans(arguments) => plans::run(arguments).await,
        Command::Sqlx(arguments) => sqlx::run(arguments).await,
        Command::Test(arguments) => test::run(arguments).await,
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
