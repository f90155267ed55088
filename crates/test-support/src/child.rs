//! Child processes that do not outlive their owner.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::{Pid, User},
};

use crate::install::find_program;

/// Where the output of a child goes.
#[derive(Clone, Debug)]
pub enum Output {
    /// Both streams are appended to a file.
    File(PathBuf),
    /// The owner reads them: [`Child::take_output`].
    Piped,
    /// Both streams are the owner's.
    Inherited,
}

/// How to start a child process.
#[derive(Clone, Debug)]
pub struct Launch {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: BTreeMap<String, OsString>,
    clear_environment: bool,
    directory: Option<PathBuf>,
    user: Option<User>,
    death_signal: Signal,
    output: Output,
}

impl Launch {
    /// Starts `program`, called `name` in messages.
    #[must_use]
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>, output: Output) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            clear_environment: false,
            directory: None,
            user: None,
            death_signal: Signal::SIGKILL,
            output,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<T: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Keeps this process's environment from the child, but for what [`Launch::env`] sets.
    #[must_use]
    pub fn clear_environment(mut self) -> Self {
        self.clear_environment = true;
        self
    }

    /// The child's working directory.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// The user as whom the child runs; `None` is this process's own.
    #[must_use]
    pub fn user(mut self, user: Option<User>) -> Self {
        self.user = user;
        self
    }

    /// The signal that the child gets when this process dies; SIGKILL unless told.
    #[must_use]
    pub fn death_signal(mut self, signal: Signal) -> Self {
        self.death_signal = signal;
        self
    }

    /// Starts it, in a process group of its own: Ctrl-C in the terminal reaches only the owner,
    /// which then stops its children in the order that it wants.
    ///
    /// # Errors
    /// When the program cannot be started or its log cannot be written.
    pub fn spawn(&self) -> Result<Child> {
        let mut command = if let Some(setpriv) = setpriv() {
            let mut command = Command::new(setpriv);
            let signal = self.death_signal.as_str().trim_start_matches("SIG");
            command
                .args(["--pdeathsig", signal, "--"])
                .arg(&self.program);
            command
        } else {
            Command::new(&self.program)
        };
        command
            .args(&self.arguments)
            .process_group(0)
            .stdin(Stdio::null());
        if self.clear_environment {
            command.env_clear();
        }
        command.envs(&self.environment);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        if let Some(user) = &self.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        match &self.output {
            Output::File(path) => {
                let log = File::options()
                    .create(true)
                    .append(true)
                    .open(path)
                    .with_context(|| format!("cannot write {}", path.display()))?;
                command.stdout(log.try_clone()?).stderr(log);
            }
            Output::Piped => {
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
            }
            Output::Inherited => {}
        }
        let process = command
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let log = match &self.output {
            Output::File(path) => Some(path.clone()),
            Output::Piped | Output::Inherited => None,
        };
        Ok(Child {
            name: self.name.clone(),
            process,
            log,
        })
    }
}

/// A running child process. Dropping it kills its whole process group.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: std::process::Child,
    log: Option<PathBuf>,
}

impl Child {
    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }

    /// The two streams of a child with [`Output::Piped`], once.
    pub fn take_output(&mut self) -> Option<(ChildStdout, ChildStderr)> {
        Some((self.process.stdout.take()?, self.process.stderr.take()?))
    }

    /// Sends `signal` to the process itself, not to its group.
    ///
    /// # Errors
    /// When it is not this process's to signal. A child that has ended is no error.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.try_wait()?.is_some() {
            return Ok(());
        }
        kill(self.pid(), signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// How it ended, when it has.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        self.process
            .try_wait()
            .with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() >= limit {
                bail!(
                    "{} still runs after {:.1} s",
                    self.name,
                    limit.as_secs_f32()
                );
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends `signal`, waits up to `limit` for the end, then kills.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop(&mut self, signal: Signal, limit: Duration) -> Result<ExitStatus> {
        self.signal(signal)?;
        match self.wait(limit).await {
            Ok(status) => Ok(status),
            Err(error) => {
                self.kill();
                Err(error)
            }
        }
    }

    /// Kills its process group and waits for its end.
    pub fn kill(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            // It may end between the question and the signal; then there is nobody to kill.
            let _ = killpg(self.pid(), Signal::SIGKILL);
            let _ = self.process.wait();
        }
    }

    /// Sends `signal` and blocks up to `limit` for the end, then kills: for `Drop`.
    pub(crate) fn stop_blocking(&mut self, signal: Signal, limit: Duration) {
        let start = Instant::now();
        if self.signal(signal).is_ok() {
            while start.elapsed() < limit && matches!(self.process.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.kill();
    }

    /// All that it has written to its log file.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.as_deref().map(read_log).unwrap_or_default()
    }

    /// The last `lines` lines of its log file.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log(), lines)
    }
}

/// The text of a log file, or why there is none.
pub(crate) fn read_log(path: &Path) -> String {
    fs::read(path).map_or_else(
        |error| format!("{} cannot be read: {error}", path.display()),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

/// The last `lines` lines of `text`.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// util-linux's `setpriv`, when it can tie a child's life to its parent's. Elsewhere (macOS,
/// busybox) only a parent that is killed outright leaves its children behind.
fn setpriv() -> Option<&'static PathBuf> {
    static SETPRIV: OnceLock<Option<PathBuf>> = OnceLock::new();
    SETPRIV
        .get_or_init(|| {
            let setpriv = find_program("setpriv")?;
            let works = Command::new(&setpriv)
                .args(["--pdeathsig", "KILL", "--", "true"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success());
            works.then_some(setpriv)
        })
        .as_ref()
}
