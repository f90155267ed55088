//! Processors of their own for those who serve and for those who load them: else a load that grows takes away what it is
//! to find.

use std::{num::NonZeroUsize, ops::Range, path::Path, thread::available_parallelism};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// Which processors do what.
pub struct Processors {
    /// As `taskset` writes them; `None` where there are too few to divide.
    load: Option<String>,
}

impl Processors {
    /// Leaves the first half of the processors to this process and all that it starts from now on, but for what is
    /// started by [`Self::for_load`].
    pub async fn divide() -> Result<Self> {
        let all = available_parallelism().map_or(1, NonZeroUsize::get);
        // The API and its database on one processor would be another system.
        if all < 4 {
            return Ok(Self { load: None });
        }
        let servers = all / 2;
        let status = Command::new("taskset")
            .args(["--all-tasks", "--cpu-list", "--pid", &list(0..servers)])
            .arg(std::process::id().to_string())
            .stdout(std::process::Stdio::null())
            .status()
            .await
            .context("cannot start taskset")?;
        ensure!(status.success(), "taskset failed");
        Ok(Self {
            load: Some(list(servers..all)),
        })
    }

    /// A program that runs on the other half.
    pub fn for_load(&self, program: &Path) -> Command {
        match &self.load {
            None => Command::new(program),
            Some(load) => {
                let mut command = Command::new("taskset");
                command.args(["--cpu-list", load]).arg(program);
                command
            }
        }
    }
}

fn list(processors: Range<usize>) -> String {
    format!("{}-{}", processors.start, processors.end - 1)
}
