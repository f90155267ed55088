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

use crate::{cargo::PROGRAMS, deploy::tool, paths};

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub struct Containers {
    scratch: ScratchDir,
}

impl Containers {
    /// Makes the storage, and the images that ours stand on.
    pub async fn prepare() -> Result<Self> {
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

    /// Takes the programs of the folder `built` for what the first stages would have made of them.
    pub fn stage(&self, built: &Path) -> Result<()> {
        let programs = self.path().join("build/programs");
        fs::create_dir_all(&programs)?;
        for name in PROGRAMS {
            let program = built.join(name);
            fs::copy(&program, programs.join(name))
                .with_context(|| format!("cannot copy {}", program.display()))?;
        }
        Ok(())
    }

    /// What `.dockerignore` lets through, as the builder itself reads it, in a folder.
    pub async fn context(&self) -> Result<PathBuf> {
        let folder = self.path().join("context");
        let file = self.path().join("context.Dockerfile");
        fs::write(&file, "FROM scratch\nCOPY . .\n")?;
        let mut command = self.buildah(&file);
        command
            .arg(format!("--output=type=local,dest={}", folder.display()))
            .arg(paths::workspace());
        tool::output(&mut command).await?;
        Ok(folder)
    }

    /// Builds an image of what is there already: only the last stage, after [`Self::stage`].
    pub async fn build_last_stage(&self, image: &str) -> Result<()> {
        let mut command = self.buildah(&dockerfile(image));
        command
            .arg(format!(
                "--build-context=build={}",
                self.path().join("build").display()
            ))
            .args(["--tag", &name(image)])
            .arg(paths::workspace());
        tool::output(&mut command).await?;
        Ok(())
    }

    /// Builds an image out of the folder `context`, with the first stages too, for which `options` bring the compilers of
    /// this machine; what they say.
    pub async fn build(&self, image: &str, context: &Path, options: &[String]) -> Result<String> {
        let mut command = self.buildah(&dockerfile(image));
        command
            .arg("--volume=/usr:/usr:ro")
            .arg("--volume=/etc/alternatives:/etc/alternatives:ro")
            .args(options)
            .args(["--tag", &name(image)])
            .arg(context);
        tool::all_output(&mut command).await
    }

    fn buildah(&self, file: &Path) -> Command {
        let mut command = self.command("buildah");
        command
            .args(["bud", "--isolation", "chroot", "--network", "host"])
            .args(["--pull-never", "--format", "docker"])
            .args(["--build-arg", "TARGETARCH=amd64"])
            .args(["--build-arg", "BUILDPLATFORM=linux/amd64"])
            .arg("--signature-policy")
            .arg(self.path().join("policy.json"))
            .arg("--file")
            .arg(file);
        command
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

pub fn dockerfile(image: &str) -> PathBuf {
    paths::workspace().join(format!("deploy/images/{image}.Dockerfile"))
}

fn name(image: &str) -> String {
    format!("bharatmart-{image}:{VERSION}")
}
