//! Images and containers in a storage of their own, apart from those of this machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::ScratchDir;
use serde_json::Value;
use tokio::process::Command;

use crate::{cargo::PROGRAMS, deploy::tool, paths, storefront};

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub struct Containers {
    scratch: ScratchDir,
}

impl Containers {
    /// Makes the storage, the images that ours stand on, and folders with what the first stages would have made.
    pub async fn prepare(release: bool) -> Result<Self> {
        let scratch = ScratchDir::create()?;
        let folder = scratch.path();
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"{0}/graph\"\nrunroot = \"{0}/run\"\n",
            folder.display()
        );
        fs::write(folder.join("storage.conf"), storage)?;
        // Debian's crun does without some limits that podman sets by itself.
        let engine = "[containers]\ndefault_ulimits = [\"nofile=20000:20000\", \"nproc=4096:4096\"]\n\
            [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";
        fs::write(folder.join("containers.conf"), engine)?;
        let policy = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;
        fs::write(folder.join("policy.json"), policy)?;
        let containers = Self { scratch };
        let bases = containers.path().join("bases");
        fs::create_dir(&bases)?;
        let mut command =
            containers.command(paths::workspace().join("tests/deploy/base-images.sh"));
        tool::output(command.arg(&bases)).await?;
        containers.stage(release)?;
        Ok(containers)
    }

    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// A tool that uses this storage.
    fn command(&self, tool: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(tool);
        command
            .env("CONTAINERS_STORAGE_CONF", self.path().join("storage.conf"))
            .env("CONTAINERS_CONF", self.path().join("containers.conf"))
            .current_dir(self.path());
        command
    }

    /// What `COPY --from=build` finds.
    fn stage(&self, release: bool) -> Result<()> {
        let programs = self.path().join("build/programs");
        fs::create_dir_all(&programs)?;
        for name in PROGRAMS {
            let built = paths::programs(release)?.join(name);
            fs::copy(&built, programs.join(name))
                .with_context(|| format!("there is no {}", built.display()))?;
        }
        let pages = self.path().join("build/source/frontend/dist");
        copy_folder(&storefront::dist(), &pages)
    }

    /// Builds the last stage of a Dockerfile.
    pub async fn build(&self, image: &str) -> Result<()> {
        let workspace = paths::workspace();
        let mut command = self.command("buildah");
        command
            .args([
                "bud",
                "--quiet",
                "--isolation",
                "chroot",
                "--network",
                "host",
            ])
            .args([
                "--pull-never",
                "--format",
                "docker",
                "--build-arg",
                "TARGETARCH=amd64",
            ])
            .arg("--signature-policy")
            .arg(self.path().join("policy.json"))
            .arg(format!(
                "--build-context=build={}",
                self.path().join("build").display()
            ))
            .arg("--file")
            .arg(workspace.join(format!("deploy/images/{image}.Dockerfile")))
            .args(["--tag", &name(image)])
            .arg(&workspace);
        tool::output(&mut command).await?;
        Ok(())
    }

    /// Looks at what an image says of itself.
    pub async fn inspect(&self, image: &str) -> Result<()> {
        let about = self.podman(&["image", "inspect", &name(image)]).await?;
        let about: Value = serde_json::from_str(&about)?;
        let (config, health) = (&about[0]["Config"], &about[0]["Healthcheck"]);
        let user = if image == "frontend" {
            "10101:10101"
        } else {
            "65532:65532"
        };
        ensure!(config["User"] == user, "{image} runs as {}", config["User"]);
        ensure!(health["Test"].is_array(), "{image} has no health check");
        let labels = &config["Labels"];
        ensure!(
            labels["org.opencontainers.image.version"] == VERSION,
            "{image} says that it is {}",
            labels["org.opencontainers.image.version"]
        );
        for label in ["title", "description", "licenses", "revision"] {
            let label = format!("org.opencontainers.image.{label}");
            ensure!(labels[&label].is_string(), "{image} has no label {label}");
        }
        Ok(())
    }

    /// Starts a container that may write nothing but what `options` say.
    pub async fn run(
        &self,
        container: &str,
        image: &str,
        options: &[String],
        command: &[&str],
    ) -> Result<String> {
        let mut podman = self.command("podman");
        podman
            .args([
                "run",
                "--name",
                container,
                "--network",
                "host",
                "--read-only",
            ])
            .args(["--read-only-tmpfs=false", "--cap-drop", "all"])
            .args(["--security-opt", "no-new-privileges", "--pull", "never"])
            .args(options)
            .arg(name(image))
            .args(command);
        tool::output(&mut podman).await
    }

    pub async fn podman(&self, arguments: &[&str]) -> Result<String> {
        let text = tool::output(self.command("podman").args(arguments)).await?;
        Ok(text.trim().to_owned())
    }

    /// How a podman command ends that may fail.
    pub async fn status(&self, arguments: &[&str]) -> Result<ExitStatus> {
        let output = self.command("podman").args(arguments).output().await;
        Ok(output.context("cannot start podman")?.status)
    }

    /// The bytes of an image over its base, and of all of it, as a registry would hold them.
    pub async fn size(&self, image: &str) -> Result<(u64, u64)> {
        let folder = self.path().join(format!("pushed-{image}"));
        let mut push = self.command("buildah");
        push.args(["push", "--quiet", "--signature-policy"])
            .arg(self.path().join("policy.json"))
            .arg(name(image))
            .arg(format!("oci:{}", folder.display()));
        tool::output(&mut push).await?;
        let blob = |digest: &Value| -> Result<PathBuf> {
            let digest = digest.as_str().context("no digest")?.replace(':', "/");
            Ok(folder.join("blobs").join(digest))
        };
        let index: Value = serde_json::from_slice(&fs::read(folder.join("index.json"))?)?;
        let manifest = blob(&index["manifests"][0]["digest"])?;
        let manifest: Value = serde_json::from_slice(&fs::read(manifest)?)?;
        let layers = manifest["layers"].as_array().context("no layers")?;
        let sizes: Vec<_> = layers
            .iter()
            .filter_map(|layer| layer["size"].as_u64())
            .collect();
        // The base is one layer, and came first.
        let own = sizes.iter().skip(1).sum();
        Ok((own, sizes.iter().sum()))
    }
}

fn name(image: &str) -> String {
    format!("bharatmart-{image}:{VERSION}")
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("there is no {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
