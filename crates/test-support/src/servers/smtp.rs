use anyhow::Result;
use nix::sys::signal::Signal;

use super::{STOP_LIMIT, greets, required, wait_until_answers};
use crate::{
    child::{Child, Launch, Output},
    install::{Requirement, python_with_aiosmtpd},
    mail::{ReceivedMail, read_maildir},
    ports::free_port,
    scratch::{ScratchDir, server_user},
};

/// A private SMTP server (aiosmtpd) that keeps each mail as a file of a Maildir.
#[derive(Debug)]
pub struct SmtpServer {
    // `None` while it is stopped. Dropped before the folder that it writes into.
    server: Option<Child>,
    folder: ScratchDir,
    port: u16,
}

impl SmtpServer {
    /// Starts the server.
    ///
    /// # Errors
    /// When aiosmtpd is not installed or does not start.
    pub async fn start() -> Result<Self> {
        let mut smtp = Self {
            server: None,
            folder: ScratchDir::create()?,
            port: free_port(),
        };
        smtp.start_again().await?;
        Ok(smtp)
    }

    /// Its port on 127.0.0.1; no encryption, no credentials.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// All mails that it has accepted, oldest first.
    ///
    /// # Errors
    /// When a mail cannot be read or parsed.
    pub fn mails(&self) -> Result<Vec<ReceivedMail>> {
        let new = self.folder.path().join("maildir/new");
        if new.exists() {
            read_maildir(&new)
        } else {
            Ok(Vec::new())
        }
    }

    /// Stops the server: connections are refused from now on. The mails stay.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            server.stop(Signal::SIGINT, STOP_LIMIT).await?;
        }
        Ok(())
    }

    /// Starts a stopped server on the same port.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_again(&mut self) -> Result<()> {
        let python = required(python_with_aiosmtpd(), Requirement::Smtp)?;
        let folder = self.folder.path();
        let mut server = Launch::new("aiosmtpd", python, Output::File(folder.join("smtp.log")))
            .args(["-m", "aiosmtpd", "--nosetuid"])
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .args(["--class", "aiosmtpd.handlers.Mailbox"])
            .arg(folder.join("maildir"))
            .directory(folder)
            .user(server_user()?)
            .spawn()?;
        let port = self.port;
        wait_until_answers(&mut server, async || greets(port, b"", b"220 ")).await?;
        self.server = Some(server);
        Ok(())
    }
}
