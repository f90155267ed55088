//! `deploy/oci/terraform`: formatted, valid, and with the numbers that its tests want, by the real Terraform. The provider for OCI
//! comes from a registry that not every machine reaches; `provider.py` stands in for it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Context, Result};
use bharatmart_test_support::{
    ScratchDir,
    install::{self, Requirement, find_program},
};
use tokio::process::Command;

use super::tool::output;
use crate::{console::Steps, paths, python};

const FOLDER: &str = "deploy/oci/terraform";
const REQUIREMENTS: &str = "tests/deploy/oci/terraform/requirements.txt";
const PROVIDER: &str = "tests/deploy/oci/terraform/provider.py";
/// The configurations that are applied.
const ROOTS: [&str; 2] = ["always-free", "scaled"];

pub async fn check() -> Result<()> {
    // It is checked when it is named only, and what is asked for by name does not pass unseen.
    let terraform =
        find_program("terraform").context("needs the program `terraform`, 1.7 or later")?;
    let mut steps = Steps::new(2 + ROOTS.len());
    let mut step = steps.begin("Requirements");
    install::ensure(&[Requirement::Python], |text| step.note(text))?;
    let programs = python::environment("terraform", REQUIREMENTS, |text| step.note(text)).await?;
    let python = programs.join("python3");
    let scratch = ScratchDir::create()?;
    step.note("schemas of what is used");
    let folder = paths::workspace().join(FOLDER);
    let schema = scratch.path().join("schema");
    let mut provider = Command::new(&python);
    provider
        .arg(paths::workspace().join(PROVIDER))
        .arg(&folder)
        .env("SCHEMA", &schema);
    output(&mut provider).await?;
    let settings = stand_in(scratch.path(), &python)?;
    step.done("there");

    let step = steps.begin("terraform fmt");
    let mut format = Command::new(&terraform);
    format.args(["fmt", "-check", "-diff", "-recursive"]);
    output(format.arg(&folder)).await?;
    step.done("content");

    for root in ROOTS {
        let step = steps.begin(root);
        for arguments in [
            &["get"][..],
            &["validate", "-no-color"],
            &["test", "-no-color"],
        ] {
            let mut command = Command::new(&terraform);
            command
                .args(arguments)
                .current_dir(folder.join(root))
                .env("CHECKPOINT_DISABLE", "1")
                .env("SCHEMA", &schema)
                .env("TF_CLI_CONFIG_FILE", &settings)
                .env("TF_DATA_DIR", scratch.path().join(root))
                // The stand-in has no certificate.
                .env("TF_DISABLE_PLUGIN_TLS", "1");
            output(&mut command).await?;
        }
        step.done("valid, and as its tests want it");
    }
    Ok(())
}

/// Makes a program of the stand-in, and the settings with which Terraform takes it.
fn stand_in(scratch: &Path, python: &Path) -> Result<std::path::PathBuf> {
    let folder = scratch.join("provider");
    fs::create_dir(&folder)?;
    let program = folder.join("terraform-provider-oci");
    let provider = paths::workspace().join(PROVIDER);
    let script = format!(
        "#!/bin/sh\nexec '{}' '{}'\n",
        python.display(),
        provider.display()
    );
    fs::write(&program, script).context("cannot write the provider")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let settings = scratch.join("terraformrc");
    let overrides = format!(
        "provider_installation {{\n  dev_overrides {{ \"oracle/oci\" = \"{}\" }}\n  direct {{}}\n}}\n",
        folder.display()
    );
    fs::write(&settings, overrides).context("cannot write Terraform's settings")?;
    Ok(settings)
}
