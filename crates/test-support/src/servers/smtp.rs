use std::fs;

use anyhow::Result;
use nix::sys::signal::Signal;
use serde_json::json;

use super::{STOP_LIMIT, greets, required, wait_until_answers};
use crate::{
    child::{Child, Launch, Output},
    install::{Requirement, python_with_aiosmtpd},
    mail::{ReceivedMail, read_maildir},
    ports::free_port,
    scratch::{ScratchDir, server_user},
};

/// aiosmtpd's mailbox, with [`Refusals`].
const MAILBOX: &str = include_str!("moody_mailbox.py");

/// Which mails an [`SmtpServer`] does not take, once it has their content.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refusals {
    /// The chance of each attempt, 0 to 1.
    pub share: f64,
    /// The most refusals of mails with one `Message-ID`, until the next start.
    pub times: u32,
    /// What it answers, such as `451 4.3.0 try again later`.
    pub reply: &'static str,
}

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

    /// Does not take some of the mails from now on; `None` ends that.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn refuse(&self, refusals: Option<Refusals>) -> Result<()> {
        let mood = self.folder.path().join("mood.json");
        match refusals {
            Some(Refusals {
                share,
                times,
                reply,
            }) => {
                let new = self.folder.path().join("mood.json.new");
                let text = json!({"share": share, "times": times, "reply": reply}).to_string();
                fs::write(&new, text)?;
                fs::rename(&new, &mood)?;
            }
            None if mood.exists() => fs::remove_file(&mood)?,
            None => {}
        }
        Ok(())
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
        fs::write(folder.join("moody_mailbox.py"), MAILBOX)?;
        let mut server = Launch::new("aiosmtpd", python, Output::File(folder.join("smtp.log")))
            .args(["-m", "aiosmtpd", "--nosetuid"])
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .args(["--class", "moody_mailbox.MoodyMailbox"])
            .arg(folder.join("maildir"))
            .arg(folder.join("mood.json"))
            .directory(folder)
            .user(server_user()?)
            .spawn()?;
        let port = self.port;
        wait_until_answers(&mut server, async || greets(port, b"", b"220 ")).await?;
        self.server = Some(server);
        Ok(())
    }
}
