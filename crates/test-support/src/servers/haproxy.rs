use std::fs;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::{STOP_LIMIT, greets, required, wait_until_answers};
use crate::{
    child::{Child, Launch, Output},
    install::{Requirement, find_program},
    scratch::ScratchDir,
};

/// A private `HAProxy`: a load balancer that asks its servers how they are.
#[derive(Debug)]
pub struct HaProxy {
    // Dropped before the folder that it writes into.
    server: Child,
    _folder: ScratchDir,
}

impl HaProxy {
    /// Starts `HAProxy` with the text of its configuration file, which listens on `port` of 127.0.0.1.
    ///
    /// # Errors
    /// When `HAProxy` is not installed, refuses its configuration or does not start.
    pub async fn start(port: u16, config: &str) -> Result<Self> {
        let program = required(find_program("haproxy"), Requirement::HaProxy)?;
        let folder = ScratchDir::create()?;
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, config).context("cannot write haproxy.cfg")?;
        let log = Output::File(folder.path().join("haproxy.log"));
        let mut server = Launch::new("haproxy", program, log)
            .arg("-f")
            .arg(&file)
            .arg("-db")
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

impl Drop for HaProxy {
    fn drop(&mut self) {
        self.server.stop_blocking(Signal::SIGTERM, STOP_LIMIT);
    }
}
