use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::kill,
    unistd::{Pid, User, geteuid},
};
use uuid::Uuid;

const PREFIX: &str = "bharatmart-scratch-";

/// A folder that is deleted when this value is dropped.
///
/// Its name holds the id of the process that made it: what a killed process left behind is
/// deleted by the next one that makes a folder.
#[derive(Debug)]
pub struct ScratchDir {
    path: PathBuf,
}

impl ScratchDir {
    /// Makes an empty folder that the user of the servers owns, where that user can reach it.
    ///
    /// # Errors
    /// When the temporary folder cannot be written.
    pub fn create() -> Result<Self> {
        let root = root();
        delete_abandoned(&root);
        let name = format!("{PREFIX}{}-{}", std::process::id(), Uuid::new_v4().simple());
        let path = root.join(name);
        create_private(&path)?;
        Ok(Self { path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("{} could not be deleted: {error}", self.path.display());
        }
    }
}

/// The unprivileged user as whom servers run when this process is root: PostgreSQL refuses root.
pub(crate) fn server_user() -> Result<Option<User>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Some(user) = User::from_name(name)? {
            return Ok(Some(user));
        }
    }
    anyhow::bail!("running as root, and there is no user `postgres` or `nobody` to run PostgreSQL")
}

/// Makes `path`, readable by nobody but the user that servers run as.
pub(crate) fn create_private(path: &Path) -> Result<()> {
    let make = || -> std::io::Result<()> {
        fs::create_dir_all(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
    };
    make().with_context(|| format!("cannot make the folder {}", path.display()))?;
    give_to_servers(path)
}

/// Makes the user that servers run as the owner of `path`.
pub(crate) fn give_to_servers(path: &Path) -> Result<()> {
    if let Some(user) = server_user()? {
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
            .with_context(|| format!("cannot give {} to {}", path.display(), user.name))?;
    }
    Ok(())
}

/// `/tmp` may be one user's own, or small and in memory, when it is root's.
fn root() -> PathBuf {
    if geteuid().is_root() {
        PathBuf::from("/var/tmp")
    } else {
        std::env::temp_dir()
    }
}

fn delete_abandoned(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else {
        return;
    };
    for entry in entries.flatten() {
        let owner = entry
            .file_name()
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX))
            .and_then(|rest| rest.split('-').next())
            .and_then(|pid| pid.parse().ok());
        let Some(owner) = owner else { continue };
        if kill(Pid::from_raw(owner), None) == Err(nix::errno::Errno::ESRCH) {
            // Another process may be deleting the same folder, which is as good.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
