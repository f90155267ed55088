use std::{fs, os::unix::fs::PermissionsExt};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::{STOP_LIMIT, greets, required, wait_until_answers};
use crate::{
    child::{Child, Launch, Output},
    install::{Requirement, find_program},
    scratch::ScratchDir,
};

/// A private nginx.
#[derive(Debug)]
pub struct Nginx {
    // Dropped before the folder that it writes into.
    server: Child,
    _folder: ScratchDir,
}

impl Nginx {
    /// Starts nginx with the text of its main configuration file, which listens on `port` of
    /// 127.0.0.1. Relative paths in it (`pid`, `error_log`, `client_body_temp_path`, …) lead into
    /// a folder of its own.
    ///
    /// # Errors
    /// When nginx is not installed, refuses its configuration or does not start.
    pub async fn start(port: u16, config: &str) -> Result<Self> {
        let program = required(find_program("nginx"), Requirement::Nginx)?;
        let folder = ScratchDir::create()?;
        // nginx's own workers give up root and still have to write their temporary files.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        fs::create_dir(folder.path().join("logs"))?;
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config).context("cannot write nginx.conf")?;
        let mut server = Launch::new(
            "nginx",
            program,
            Output::File(folder.path().join("nginx.log")),
        )
        .arg("-p")
        .arg(folder.path())
        .arg("-c")
        .arg(&file)
        .args(["-e", "stderr", "-g", "daemon off;"])
        .directory(folder.path())
        .death_signal(Signal::SIGTERM)
        .spawn()?;
        wait_until_answers(&mut server, async || greets(port, b"", b"")).await?;
        Ok(Self {
            server,
            _folder: folder,
        })
    }

    /// Stops the server at once.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop(mut self) -> Result<()> {
        self.server.stop(Signal::SIGTERM, STOP_LIMIT).await?;
        Ok(())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.server.stop_blocking(Signal::SIGTERM, STOP_LIMIT);
    }
}
