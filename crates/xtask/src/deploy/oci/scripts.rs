//! Each script, and what it must have asked for.

mod data;
mod instances;
mod mistakes;
mod publish;
mod scaling;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::stage::{Outcome, Stage};

const SUBNET: &str = "ocid1.subnet.oc1.ap-mumbai-1.private";
const IMAGE: &str = "ocid1.image.oc1.ap-mumbai-1.linux";
const VAULT: &str = "ocid1.vault.oc1.ap-mumbai-1.shop.abc";
const KEY: &str = "ocid1.key.oc1.ap-mumbai-1.shop.abc";
const SETTINGS: &str = "ocid1.vaultsecret.oc1.ap-mumbai-1.settings";
/// The SHA-256 of the archive that is published.
const RELEASE: &str = "e9edfb8e46f891370bda2772760ae14bc1572a2ce9263368cd5282dac3241eb8";
const DOMAIN: &str = "Uocm:AP-MUMBAI-1-AD-1";
const POOL: &str = "ocid1.instancepool.oc1.ap-mumbai-1.other";

/// Calls every script: those that have nothing to do with each other at the same time, each with a cloud of its own, since most of
/// the time goes into starting the CLI.
pub async fn run_all(programs: &Path, scripts: &[PathBuf]) -> Result<Vec<Stage>> {
    let (published, started, scaled, kept, refused) = tokio::try_join!(
        publish::check(programs),
        instances::check(programs),
        scaling::check(programs),
        data::check(programs),
        mistakes::check(programs, scripts),
    )?;
    Ok(vec![published, started, scaled, kept, refused])
}

/// The body of the change that was sent to a path.
fn body<'a>(outcome: &'a Outcome, path: &str) -> Result<&'a Value> {
    let change = outcome
        .changes
        .iter()
        .find(|change| change.path.trim_end_matches('/') == path);
    let change = change.with_context(|| {
        let paths: Vec<_> = outcome.changes.iter().map(|change| &change.path).collect();
        format!("nothing was sent to {path}, only to {paths:?}")
    })?;
    Ok(&change.body)
}
