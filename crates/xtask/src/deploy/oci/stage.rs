//! Where a script runs: with the real CLI, a key of its own, and the recorder in place of the cloud.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::ScratchDir;
use serde_json::json;
use tokio::process::Command;

use super::{
    folder, name_of, options,
    recorder::{Recorded, Recorder},
};
use crate::deploy::tool::output;

pub const COMPARTMENT: &str = "ocid1.compartment.oc1..shop";
pub const TENANCY: &str = "ocid1.tenancy.oc1..shop";

/// Where the calls of the CLI are noted.
const CALLS: &str = "calls";

pub struct Stage {
    pub recorder: Recorder,
    pub scratch: ScratchDir,
    /// The names of the scripts that have been run.
    pub run: BTreeSet<String>,
    /// What has been changed.
    pub changes: Vec<Recorded>,
    search_path: String,
}

/// What a script did.
pub struct Outcome {
    /// The last line that it printed: an OCID, mostly.
    pub last: String,
    pub printed: String,
    /// What the CLI was called with, behind the region that the script had chosen, a call in each line.
    pub calls: String,
    pub changes: Vec<Recorded>,
}

impl Stage {
    /// With the CLI from `programs`.
    pub async fn set(programs: &Path) -> Result<Self> {
        let scratch = ScratchDir::create()?;
        let key = scratch.path().join("key.pem");
        output(
            Command::new("openssl")
                .args(["genrsa", "-out"])
                .arg(&key)
                .arg("2048"),
        )
        .await?;
        let config = format!(
            "[DEFAULT]\nuser=ocid1.user.oc1..shop\ntenancy={TENANCY}\nregion=ap-mumbai-1\nfingerprint={}\nkey_file={}\n",
            ["00"; 16].join(":"),
            key.display()
        );
        let settings = scratch.path().join("config");
        fs::write(&settings, config).context("cannot write the settings")?;
        // The CLI warns of others who may read them.
        for file in [&settings, &key] {
            fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
        }
        let search_path = format!(
            "{}:{}:/usr/local/bin:/usr/bin:/bin",
            note_calls(scratch.path(), programs)?.display(),
            programs.display()
        );
        Ok(Self {
            recorder: Recorder::start().await?,
            scratch,
            run: BTreeSet::new(),
            changes: Vec::new(),
            search_path,
        })
    }

    /// A script as a person would call it who has set up the CLI.
    async fn call(&self, script: &str, arguments: &[&str]) -> Result<Output> {
        let file = |name: &str| self.scratch.path().join(name);
        Command::new(folder().join(script))
            .args(arguments)
            .env_clear()
            .env("PATH", &self.search_path)
            .env("HOME", self.scratch.path())
            .env("LANG", "C.UTF-8")
            .env("OCI_CLI_CONFIG_FILE", file("config"))
            .env("OCI_CLI_ENDPOINT", &self.recorder.url)
            .env("SUPPRESS_LABEL_WARNING", "True")
            .env("OCI_COMPARTMENT_ID", COMPARTMENT)
            .current_dir(self.scratch.path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("cannot start {script}"))
    }

    async fn succeed(&self, script: &str, arguments: &[&str]) -> Result<String> {
        let output = self.call(script, arguments).await?;
        ensure!(
            output.status.success(),
            "{script} {} failed:\n{}{}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a script: at its first time with `--dry-run`, which may change nothing; for real; and again, which may change nothing
    /// and has to print the same.
    pub async fn perform(&mut self, script: &str, arguments: &[&str]) -> Result<Outcome> {
        if self.run.insert(script.to_owned()) {
            let dry = [arguments, &["--dry-run"]].concat();
            self.succeed(script, &dry).await?;
            ensure!(
                self.take_changes().is_empty(),
                "{script} --dry-run changed something"
            );
        }
        let noted = self.scratch.path().join(CALLS);
        fs::write(&noted, "")?;
        let printed = self.succeed(script, arguments).await?;
        let calls = fs::read_to_string(&noted)?;
        let changes = self.take_changes();
        let again = self.succeed(script, arguments).await?;
        let twice = self.take_changes();
        ensure!(
            twice.is_empty() && again == printed,
            "the second run of {script} sent {:?} and printed\n{again}after\n{printed}",
            twice.iter().map(|change| &change.path).collect::<Vec<_>>()
        );
        self.changes.extend(changes.iter().cloned());
        let last = printed.lines().last().unwrap_or_default().to_owned();
        Ok(Outcome {
            last,
            printed,
            calls,
            changes,
        })
    }

    fn take_changes(&self) -> Vec<Recorded> {
        let mut requests = self.recorder.take();
        requests.retain(Recorded::is_change);
        requests
    }

    /// Calls a script with what it must refuse, naming what is wrong, before it asks the cloud for anything.
    pub async fn refuse(
        &self,
        script: &str,
        arguments: &[&str],
        code: i32,
        says: &str,
    ) -> Result<()> {
        let output = self.call(script, arguments).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(code)
                && said.contains(says)
                && self.take_changes().is_empty(),
            "{script} {} should be refused with {code} and `{says}`; it ended with {} and said {said}",
            arguments.join(" "),
            output.status
        );
        Ok(())
    }

    /// Whether `--help` explains the script, and every option that it knows.
    pub async fn has_help(&self, script: &Path) -> Result<()> {
        let name = name_of(script);
        let help = self.succeed(&name, &["--help"]).await?;
        for option in options(script)? {
            ensure!(
                help.contains(&format!("--{option} ")),
                "{name} --help does not explain --{option}"
            );
        }
        ensure!(
            help.contains("--dry-run"),
            "{name} --help does not explain --dry-run"
        );
        Ok(())
    }
}

/// Puts a program before the CLI that notes how it is called: the recorder gets everything, whatever the region.
fn note_calls(scratch: &Path, programs: &Path) -> Result<PathBuf> {
    let folder = scratch.join("bin");
    fs::create_dir(&folder)?;
    let program = folder.join("oci");
    let script = format!(
        "#!/bin/sh\nprintf '%s %s\\n' \"$OCI_CLI_REGION\" \"$*\" >>'{}'\nexec '{}' \"$@\"\n",
        scratch.join(CALLS).display(),
        programs.join("oci").display()
    );
    fs::write(&program, script)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

/// The changes in the form that `bodies.py` reads.
pub fn lines(changes: &[Recorded]) -> String {
    let line = |change: &Recorded| {
        let line =
            json!({ "method": change.method.as_str(), "path": change.path, "body": change.body });
        format!("{line}\n")
    };
    changes.iter().map(line).collect()
}
