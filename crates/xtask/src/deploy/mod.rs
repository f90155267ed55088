//! `cargo xtask check-deploy`: what deploys the shop, checked with the tools that read it.

mod kubernetes;
mod oci;

use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;

/// What can be checked.
#[derive(Clone, Copy, ValueEnum)]
enum Check {
    /// The scripts of `deploy/oci`
    Oci,
    /// The manifests of `deploy/kubernetes`
    Kubernetes,
}

#[derive(clap::Args)]
pub struct Arguments {
    /// What to check; everything when nothing is named
    names: Vec<Check>,
}

pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let names = if arguments.names.is_empty() {
        Check::value_variants()
    } else {
        &arguments.names
    };
    for name in names {
        match name {
            Check::Oci => oci::check().await?,
            Check::Kubernetes => kubernetes::check().await?,
        }
    }
    Ok(ExitCode::SUCCESS)
}
