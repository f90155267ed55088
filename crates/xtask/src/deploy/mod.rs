//! `cargo xtask check-deploy`: what is under `deploy/`, before the real tools.

mod kubernetes;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::console::line;

#[derive(clap::Args)]
pub struct Arguments {
    /// What to check; everything when nothing is named
    names: Vec<Check>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Check {
    /// `deploy/kubernetes`
    Kubernetes,
}

impl Check {
    async fn run(self) -> Result<()> {
        match self {
            Self::Kubernetes => kubernetes::run().await,
        }
    }
}

pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let checks = if arguments.names.is_empty() {
        Check::value_variants()
    } else {
        &arguments.names
    };
    let mut failed = Vec::new();
    for check in checks {
        let value = check.to_possible_value();
        let name = value.as_ref().map_or("", |value| value.get_name());
        line(format!("== {name}"));
        if let Err(error) = check.run().await {
            line(format!("{error:#}"));
            failed.push(name.to_owned());
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(ExitCode::SUCCESS)
}
