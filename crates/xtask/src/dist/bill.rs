//! Bills of materials (SBOM, in CycloneDX): what each program, and the storefront, is made of.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::install::find_program;
use serde_json::Value;
use tokio::process::Command;

use crate::{
    cargo::{self, PROGRAMS},
    npm::{self, FRONTEND},
    paths,
};

const CARGO_SBOM: &str = "cargo-sbom@0.10.0";
const NPM_SBOM: &str = "@cyclonedx/cyclonedx-npm@2.1.0";

/// Writes them into `target/sbom`.
pub async fn make(mut progress: impl FnMut(&str)) -> Result<Vec<PathBuf>> {
    let tools = paths::target()?.join("cargo-sbom");
    let folder = paths::target()?.join("sbom");
    fs::create_dir_all(&folder).context("cannot make the folder for them")?;
    if !tools.join("bin/cargo-sbom").is_file() {
        progress(&format!("cargo install {CARGO_SBOM}"));
        let root = tools.to_string_lossy();
        cargo::run(&[
            "install", "--quiet", "--locked", "--root", &root, CARGO_SBOM,
        ])
        .await?;
    }
    let mut bills = Vec::new();
    for program in PROGRAMS {
        let mut command = Command::new(tools.join("bin/cargo-sbom"));
        command
            .args(["sbom", "--cargo-package", program])
            .args(["--output-format", "cyclone_dx_json_1_6"])
            .current_dir(paths::workspace());
        bills.push(write(command, &folder, program).await?);
    }
    let mut command = Command::new(find_program("npx").context("npx is not installed")?);
    command
        .args(["--yes", NPM_SBOM, "--package-lock-only"])
        .args(["--omit", "dev", "--output-format", "JSON"])
        .current_dir(npm::folder(FRONTEND));
    bills.push(write(command, &folder, "bharatmart-frontend").await?);
    Ok(bills)
}

/// Writes what `command` prints of `program` into `folder`, without what is another one each time.
async fn write(mut command: Command, folder: &Path, program: &str) -> Result<PathBuf> {
    let output = command
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot start what makes the bill of materials")?;
    ensure!(
        output.status.success(),
        "there is no bill of materials of {program}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let mut bill: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("the bill of materials of {program} is not JSON"))?;
    let count = bill["components"].as_array().map_or(0, Vec::len);
    ensure!(count > 1, "the bill of materials of {program} is empty");
    if let Some(bill) = bill.as_object_mut() {
        bill.remove("serialNumber");
    }
    if let Some(about) = bill["metadata"].as_object_mut() {
        about.remove("timestamp");
    }
    sort(&mut bill);
    let path = folder.join(format!("{program}.cdx.json"));
    fs::write(&path, serde_json::to_string_pretty(&bill)? + "\n")?;
    Ok(path)
}

/// Brings what is in no order into one.
fn sort(value: &mut Value) {
    match value {
        Value::Array(list) => {
            list.iter_mut().for_each(sort);
            list.sort_by_cached_key(Value::to_string);
        }
        Value::Object(fields) => fields.values_mut().for_each(sort),
        _ => {}
    }
}
