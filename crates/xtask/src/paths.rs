//! Where things are.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use nix::unistd::geteuid;

/// The checkout.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Cargo's target folder: the one that this very program was built into.
pub fn target() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    program
        .ancestors()
        .nth(2)
        .map(Path::to_owned)
        .with_context(|| format!("{} is not in a target folder", program.display()))
}

/// Where Cargo puts programs.
pub fn programs(release: bool) -> Result<PathBuf> {
    Ok(target()?.join(if release { "release" } else { "debug" }))
}

/// What `cargo xtask dev` keeps between runs, but for the servers' data.
pub fn dev() -> Result<PathBuf> {
    let path = target()?.join("dev");
    fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}

/// The servers' data. They do not run as root, and a checkout of root's is often where nobody
/// else may look, so root's is under `/var/tmp`, named after the checkout.
pub fn dev_servers() -> Result<PathBuf> {
    if !geteuid().is_root() {
        return Ok(dev()?.join("servers"));
    }
    let checkout = workspace().to_string_lossy().replace('/', "-");
    let path = PathBuf::from(format!("/var/tmp/bharatmart-dev{checkout}"));
    match fs::DirBuilder::new().mode(0o755).create(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("cannot make {}", path.display()));
        }
        _ => {}
    }
    // Anyone may write in /var/tmp: what was already there must not be someone else's trap.
    let found = fs::symlink_metadata(&path)
        .with_context(|| format!("cannot look at {}", path.display()))?;
    ensure!(
        found.is_dir() && found.uid() == 0,
        "{} is not root's own folder; please remove it",
        path.display()
    );
    Ok(path)
}
