//! `cargo xtask dev`: the whole shop on one machine, started by one command.

mod program;
mod secrets;
mod smoke;
mod stack;

pub use self::{
    program::Program,
    secrets::Secrets,
    stack::{Settings, Stack},
};

use std::{
    fs::{self, File, TryLockError},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bharatmart_test_support::{ScratchDir, free_port, install::Requirement, is_free};

use crate::{
    console::{Steps, line},
    interrupts::Interrupts,
    paths,
    storefront::Pages,
};

/// Where the API listens when nothing else does.
const USUAL_PORT: u16 = 3000;

#[derive(clap::Args)]
pub struct Arguments {
    /// Forget the data of earlier runs and start over
    #[arg(long)]
    fresh: bool,
    /// Start an empty shop of its own, buy something as a new customer, show the mail, and stop
    #[arg(long, conflicts_with = "fresh")]
    smoke: bool,
    /// Build with optimisations
    #[arg(long)]
    release: bool,
    /// The API's port [default: 3000, or a free one when that is taken]
    #[arg(long)]
    port: Option<u16>,
}

pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    if let Some(port) = arguments.port {
        ensure!(
            is_free(port),
            "port {port} is in use; free it or choose another with --port"
        );
    }
    if arguments.smoke {
        let scratch = ScratchDir::create()?;
        let folder = scratch.path().join("programs");
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let settings = Settings {
            release: arguments.release,
            api_port: arguments.port.unwrap_or_else(free_port),
            server_data: None,
            secrets: Secrets::generate(),
            mail_dir: folder.join("mails"),
            folder,
            storefront: None,
            requirements: &[],
            environment: Vec::new(),
        };
        let ends = Ends::ByItself {
            steps: smoke::STEPS,
        };
        operate(settings, ends, async |stack, steps| {
            let (api, mails) = (stack.api_url(), stack.mail_dir().to_owned());
            tokio::select! {
                outcome = smoke::run(api, mails, steps) => outcome,
                crash = stack.watch() => crash,
            }
        })
        .await?;
        line("The smoke test passed; everything is stopped.");
    } else {
        let folder = paths::dev()?;
        let _lock = lock(&folder)?;
        let servers = paths::dev_servers()?;
        if arguments.fresh {
            forget(&folder, &servers)?;
        }
        let port = arguments.port.unwrap_or_else(|| {
            if is_free(USUAL_PORT) {
                USUAL_PORT
            } else {
                let port = free_port();
                line(format!("Port {USUAL_PORT} is in use; the API gets {port}."));
                port
            }
        });
        let settings = Settings {
            release: arguments.release,
            api_port: port,
            server_data: Some(servers),
            secrets: Secrets::load(&folder)?,
            mail_dir: folder.join("mails"),
            folder,
            storefront: Requirement::Node.is_met().then_some(Pages::Built),
            requirements: &[],
            environment: Vec::new(),
        };
        operate(settings, Ends::AtCtrlC, async |stack, _| {
            stack.print_addresses();
            stack.show_logs();
            stack.watch().await
        })
        .await?;
        line("Everything is stopped.");
    }
    Ok(ExitCode::SUCCESS)
}

/// When the work with a running shop is over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    AtCtrlC,
    /// After so many steps that are shown. Then an interrupt is a failure, and a failure shows the last lines of the logs.
    ByItself {
        steps: usize,
    },
}

/// Starts the shop, has it used, and stops it, whatever happens in between.
pub async fn operate(
    settings: Settings,
    ends: Ends,
    work: impl AsyncFnOnce(&mut Stack, &mut Steps) -> Result<()>,
) -> Result<()> {
    let mut interrupts = Interrupts::new()?;
    let mut stack = Stack::new(settings);
    let mut steps = Steps::new(match ends {
        Ends::AtCtrlC => stack.steps(),
        Ends::ByItself { steps } => stack.steps() + steps,
    });
    let started_and_used = async {
        stack.start(&mut steps).await?;
        work(&mut stack, &mut steps).await
    };
    let outcome = tokio::select! {
        outcome = started_and_used => outcome,
        () = interrupts.next() => {
            line("");
            if ends == Ends::AtCtrlC { Ok(()) } else { Err(anyhow!("interrupted")) }
        }
    };
    if outcome.is_err() && ends != Ends::AtCtrlC {
        stack.show_log_tails();
    }
    if stack.is_up() {
        line("Stopping; Ctrl-C again kills …");
    }
    let stopped = tokio::select! {
        stopped = stack.stop() => stopped,
        () = interrupts.next() => Err(anyhow!("killed")),
    };
    // What is still in it is killed here, before the caller says that nothing runs.
    drop(stack);
    outcome.and(stopped)
}

/// Two runs at a time would share one database folder.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("`cargo xtask dev` already runs in this checkout; stop it first")
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// Deletes what earlier runs left, but not the folder that holds this run's lock.
fn forget(folder: &Path, servers: &Path) -> Result<()> {
    let delete = |path: &Path, deleted: std::io::Result<()>| match deleted {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot delete {}", path.display()))
        }
        _ => Ok(()),
    };
    for path in [servers.to_owned(), folder.join("mails")] {
        delete(&path, fs::remove_dir_all(&path))?;
    }
    let secrets = Secrets::file(folder);
    delete(&secrets, fs::remove_file(&secrets))?;
    // Made again with the right owner.
    paths::dev_servers().map(|_| ())
}
