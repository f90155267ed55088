//! Finds the definitions of custom resources, of which a few files are compiled: their crate's features take in whole API groups,
//! and the Prometheus operator's takes minutes and 4 GB of memory.

use std::{env, error::Error, path::Path, process::Command};

fn main() -> Result<(), Box<dyn Error>> {
    let output = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version", "1", "--locked"])
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let package = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "kube-custom-resources-rs");
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let folder = manifest.and_then(|path| Path::new(path).parent());
    let folder = folder.ok_or("cargo does not know where the definitions are")?;
    println!(
        "cargo::rustc-env=DEFINITIONS={}",
        folder.join("src").display()
    );
    println!("cargo::rerun-if-changed=Cargo.lock");
    Ok(())
}
