//! What journeys do to the API under them, through a program that `STACK_CONTROL` names: it asks the process that runs
//! the shop, over a socket, and returns when it is done.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, anyhow, ensure};
use clap::ValueEnum;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

use crate::dev::{Program, Stack};

/// What is done to the API.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Command {
    /// It ends, as for an update.
    #[value(name = "api-stop")]
    Stop,
    /// It starts again, where it was.
    #[value(name = "api-start")]
    Start,
    /// It answers nobody, and keeps all connections.
    #[value(name = "api-pause")]
    Pause,
    /// It goes on.
    #[value(name = "api-resume")]
    Resume,
}

#[derive(clap::Args)]
pub struct Arguments {
    socket: PathBuf,
    command: Command,
}

/// Asks for it.
pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let name = arguments
        .command
        .to_possible_value()
        .context("it has no name")?;
    let mut shop = UnixStream::connect(&arguments.socket)
        .await
        .context("the shop does not run any more")?;
    shop.write_all(name.get_name().as_bytes()).await?;
    shop.shutdown().await?;
    let mut problem = String::new();
    shop.read_to_string(&mut problem).await?;
    ensure!(problem.is_empty(), problem);
    Ok(ExitCode::SUCCESS)
}

/// Where journeys ask.
pub struct Controls {
    listener: UnixListener,
    program: PathBuf,
}

impl Controls {
    /// Listens in `folder`.
    pub fn listen(folder: &Path) -> Result<Self> {
        let socket = folder.join("control.socket");
        let listener = UnixListener::bind(&socket).context("cannot listen for the journeys")?;
        let program = folder.join("control");
        write_program(&program, &socket).context("cannot write the journeys' program")?;
        Ok(Self { listener, program })
    }

    /// Takes the name of a [`Command`].
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// What is asked for next.
    pub async fn next(&self) -> Result<Wish> {
        let (mut asker, _) = self.listener.accept().await?;
        let mut name = String::new();
        asker.read_to_string(&mut name).await?;
        let command =
            Command::from_str(&name, false).map_err(|_| anyhow!("there is no command {name:?}"))?;
        Ok(Wish { command, asker })
    }
}

fn write_program(program: &Path, socket: &Path) -> io::Result<()> {
    let xtask = std::env::current_exe()?;
    let text = format!(
        "#!/bin/sh\nexec '{}' journeys-control '{}' \"$@\"\n",
        xtask.display(),
        socket.display()
    );
    fs::write(program, text)?;
    fs::set_permissions(program, Permissions::from_mode(0o700))
}

/// A command, and who waits for it.
pub struct Wish {
    command: Command,
    asker: UnixStream,
}

impl Wish {
    /// Does it, and says so or why not.
    pub async fn grant(mut self, stack: &mut Stack) -> Result<()> {
        let done = match self.command {
            Command::Stop => stack.stop_api().await,
            Command::Start => stack.start_api().await,
            Command::Pause => stack.api().and_then(Program::pause),
            Command::Resume => stack.api().and_then(Program::resume),
        };
        if let Err(problem) = done {
            let text = format!("{problem:#}");
            self.asker.write_all(text.as_bytes()).await?;
        }
        self.asker.shutdown().await.context("nobody waits for it")
    }
}
