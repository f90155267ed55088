//! `cargo xtask dist`: the archive that is installed on machines without containers, and what it is made of.

mod bill;
mod programs;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::install::{self, Requirement};
use tokio::process::Command;

use self::programs::Target;
use crate::{
    cargo::PROGRAMS,
    console::{Steps, line, megabytes},
    paths,
    storefront::{self, Pages},
};

/// Where a file or folder of the checkout goes in the release.
const PARTS: [(&str, &str); 8] = [
    ("deploy/systemd/install.sh", "install.sh"),
    ("deploy/systemd", "systemd"),
    ("deploy/nginx", "nginx"),
    ("deploy/README.md", "README.md"),
    ("config", "config"),
    ("migrations", "migrations"),
    ("frontend/dist", "frontend"),
    ("crates/api/openapi.json", "openapi.json"),
];
/// The sums of all other files of a release.
const SUMS: &str = "SHA256SUMS";

#[derive(clap::Args)]
pub struct Arguments {
    /// The machines that it is for
    #[arg(long, value_enum, default_value_t = Target::host())]
    target: Target,
    /// A folder with programs for them that are built already
    #[arg(long)]
    programs: Option<PathBuf>,
}

pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let target = arguments.target;
    let mut steps = Steps::new(5);
    let mut step = steps.begin("Requirements");
    let needed = [Requirement::Python, Requirement::Node];
    install::ensure(&needed, |text| step.note(text))?;
    step.done("there");

    let mut step = steps.begin("Programs");
    let programs = match arguments.programs {
        Some(built) => built,
        None => programs::build(target, |text| step.note(text)).await?,
    };
    programs::check(&programs)?;
    step.done(&format!("for {}", target.triple()));

    let mut step = steps.begin("Storefront");
    storefront::make(Pages::Built, |text| step.note(text)).await?;
    step.done("built");

    let mut step = steps.begin("Bills of materials");
    let bills = bill::make(|text| step.note(text)).await?;
    step.done(&format!("{} in CycloneDX", bills.len()));

    let step = steps.begin("Archive");
    let folder = paths::target()?.join("dist");
    let name = format!("bharatmart-{}-{}", env!("CARGO_PKG_VERSION"), target.name());
    let release = folder.join(&name);
    stage(&release, &programs, &bills).await?;
    let archive = pack(&folder, &name).await?;
    let size = fs::metadata(&archive)?.len();
    step.done(&format!("{:.1} MB", megabytes(size)));
    line(archive.display().to_string());
    Ok(ExitCode::SUCCESS)
}

/// Builds the programs of a release for this machine, and tells where they are.
pub async fn build_programs(progress: impl FnMut(&str)) -> Result<PathBuf> {
    programs::build(Target::host(), progress).await
}

/// Puts a release together in the folder `release`, which is made anew: the programs from the folder `programs`, `bills` as they
/// are, and the storefront if it is built.
pub async fn stage(release: &Path, programs: &Path, bills: &[PathBuf]) -> Result<()> {
    if release.exists() {
        fs::remove_dir_all(release).context("cannot remove the release of before")?;
    }
    for folder in ["bin", "sbom", "frontend"] {
        fs::create_dir_all(release.join(folder)).context("cannot make the release's folder")?;
    }
    for program in PROGRAMS {
        copy(&programs.join(program), &release.join("bin").join(program))?;
    }
    for (from, to) in PARTS {
        let from = paths::workspace().join(from);
        if from.exists() {
            copy(&from, &release.join(to))?;
        }
    }
    // It is at the top.
    fs::remove_file(release.join("systemd/install.sh"))?;
    for bill in bills {
        let name = bill.file_name().context("a bill has a name")?;
        copy(bill, &release.join("sbom").join(name))?;
    }
    let sums =
        "find . -type f ! -name SHA256SUMS -print0 | LC_ALL=C sort -z | xargs -0 sha256sum --";
    let output = Command::new("sh")
        .args(["-c", sums])
        .current_dir(release)
        .output()
        .await?;
    ensure!(output.status.success(), "sha256sum failed");
    fs::write(release.join(SUMS), output.stdout).context("cannot write the sums")
}

/// Copies a file, or a folder with all that is in it, in the place of what is there.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    // As everybody has it, whatever the checkout's umask was.
    let mode = fs::metadata(from)?.permissions().mode();
    let mode = if mode & 0o100 == 0 { 0o644 } else { 0o755 };
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Packs the folder `name` in `folder`: the same bytes for the same files, whenever and by whomever.
async fn pack(folder: &Path, name: &str) -> Result<PathBuf> {
    let archive = folder.join(format!("{name}.tar.gz"));
    let committed = Command::new("git")
        .args(["log", "-1", "--format=%ct"])
        .current_dir(paths::workspace())
        .output()
        .await
        .context("cannot start git")?;
    ensure!(
        committed.status.success(),
        "`git log` failed: the time of the last commit dates the release's files"
    );
    let time = String::from_utf8(committed.stdout)?;
    let script = r#"set -e
tar --create --sort=name --format=ustar --mtime="@$1" --owner=0 --group=0 --numeric-owner --mode=u+rw,go+rX,go-w --file "$2.tar" "$2"
gzip --no-name --best --force "$2.tar"
sha256sum "$2.tar.gz" >"$2.tar.gz.sha256""#;
    let status = Command::new("sh")
        .args(["-c", script, "sh", time.trim(), name])
        .current_dir(folder)
        .status()
        .await?;
    ensure!(status.success(), "the archive cannot be packed");
    Ok(archive)
}
