//! `cargo xtask check-deploy`: what deploys the shop, checked with the tools that read it.

mod compose;
mod images;
mod json;
mod kubernetes;
mod monitoring;
mod oci;
mod readme;
mod sample;
mod small_vm;
mod systemd;
mod terraform;
mod tool;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::ValueEnum;

/// What can be checked.
#[derive(Clone, Copy, ValueEnum)]
enum Check {
    /// `docker-compose.yml`
    Compose,
    /// The Dockerfiles of `deploy/images`, and containers with release builds, whose sizes are judged; only when it is named
    Containers,
    /// The Dockerfiles of `deploy/images`, and containers where they can be had
    Images,
    /// The manifests of `deploy/kubernetes`
    Kubernetes,
    /// What Prometheus, Alertmanager and Grafana read, of `deploy/monitoring`
    Monitoring,
    /// The scripts of `deploy/oci`, run by OCI's own command line; only when it is named
    Oci,
    /// The profile for a machine with 1 GB, under load; only when it is named
    SmallVm,
    /// The units of `deploy/systemd`, `deploy/nginx`, and installing a release
    Systemd,
    /// The configurations of `deploy/oci/terraform`; only when it is named
    Terraform,
}

/// What is checked when nothing is named. The rest takes longer, or more than every machine has.
const USUAL: [Check; 5] = [
    Check::Kubernetes,
    Check::Systemd,
    Check::Monitoring,
    Check::Compose,
    Check::Images,
];

#[derive(clap::Args)]
pub struct Arguments {
    /// What to check; when nothing is named, all that takes a few minutes altogether
    names: Vec<Check>,
    /// How many minutes the load of `small-vm` lasts
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// A folder with the programs for `small-vm` and `containers`, in place of those of a release
    #[arg(long)]
    programs: Option<PathBuf>,
}

pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let names = match arguments.names.as_slice() {
        [] => USUAL.as_slice(),
        names => names,
    };
    for name in names {
        match name {
            Check::Compose => compose::check().await?,
            Check::Containers => images::check(true, arguments.programs.as_deref()).await?,
            Check::Images => images::check(false, None).await?,
            Check::Kubernetes => kubernetes::check().await?,
            Check::Monitoring => monitoring::check().await?,
            Check::Oci => oci::check().await?,
            Check::SmallVm => {
                let length = Duration::from_mins(arguments.minutes);
                small_vm::check(length, arguments.programs.as_deref()).await?;
            }
            Check::Systemd => systemd::check().await?,
            Check::Terraform => terraform::check().await?,
        }
    }
    Ok(ExitCode::SUCCESS)
}
