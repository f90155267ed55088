//! The programs in `tests/interop`, running.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bharatmart_test_support::{
    Child, Launch, Output, ScratchDir, free_port, install::find_program, wait_until,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::stack::{SOON, Stack};

/// Node's `bullmq`, pointed at the queues of a shop.
pub struct Node {
    redis: String,
    prefix: String,
}

impl Node {
    pub fn of(stack: &Stack) -> Self {
        Self {
            redis: stack.redis.clone(),
            prefix: stack.prefix.clone(),
        }
    }

    /// The same software on queues that the shop does not know.
    pub fn with_prefix(&self, prefix: &str) -> Self {
        Self {
            redis: self.redis.clone(),
            prefix: prefix.to_owned(),
        }
    }

    /// Calls methods of a stock `Queue`, each a list of its name and arguments; what each returned.
    pub async fn calls(&self, queue: &str, calls: Value) -> Result<Vec<Value>> {
        let mut program = self.start("queue.js", queue, &calls)?;
        let status = program.child.wait(SOON).await?;
        ensure!(status.success(), "{calls}: {}", program.child.log());
        let lines = program.lines()?.into_iter();
        Ok(lines.map(|mut line| line["returned"].take()).collect())
    }

    /// What a stock `Queue` knows of a job.
    pub async fn job(&self, queue: &str, id: &str) -> Result<Value> {
        let mut answers = self.calls(queue, json!([["getJob", id]])).await?;
        answers.pop().context("no answer")
    }

    /// A stock `QueueEvents` that tells all events of the queue since its beginning.
    pub fn events(&self, queue: &str) -> Result<Program> {
        self.start("events.js", queue, &Value::Null)
    }

    /// A stock `Worker` that does what `plan` says; see `worker.js`.
    pub async fn worker(&self, queue: &str, plan: &Value) -> Result<Program> {
        let program = self.start("worker.js", queue, plan)?;
        program
            .said("a worker", |line| line["ready"] == true)
            .await?;
        Ok(program)
    }

    /// Bull Board for these queues, and where it answers.
    pub async fn board(&self, queues: &[&str]) -> Result<(Program, String)> {
        let port = free_port();
        let request = json!({"port": port, "queues": queues});
        let program = self.start("board.js", "", &request)?;
        program
            .said("a board", |line| line["ready"] == true)
            .await?;
        Ok((program, format!("http://127.0.0.1:{port}")))
    }

    fn start(&self, program: &str, queue: &str, request: &Value) -> Result<Program> {
        let node = find_program("node").context("Node.js is not installed")?;
        let folder = ScratchDir::create()?;
        let output = Output::File(folder.path().join("output.log"));
        let child = Launch::new(program, node, output)
            .arg(programs().join(program))
            .args([self.redis.as_str(), self.prefix.as_str(), queue])
            .arg(request.to_string())
            .clear_environment()
            .spawn()?;
        Ok(Program {
            child,
            _folder: folder,
        })
    }
}

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop")
}

/// A program that says things, one JSON value a line.
pub struct Program {
    child: Child,
    _folder: ScratchDir,
}

impl Program {
    /// What it has said so far.
    pub fn lines(&self) -> Result<Vec<Value>> {
        let log = self.child.log();
        // The last line may be on its way.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("it said: {log}")))
            .collect()
    }

    /// Waits for the first thing that it says of this kind.
    pub async fn said(&self, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut found = self.said_times(1, what, is).await?;
        found.pop().context("one was found")
    }

    /// Waits until it has said `count` things of this kind.
    pub async fn said_times(
        &self,
        count: usize,
        what: &str,
        is: impl Fn(&Value) -> bool,
    ) -> Result<Vec<Value>> {
        let waited = wait_until(&format!("{count} × {what}"), SOON, async || {
            let mut lines = match self.lines() {
                Ok(lines) => lines,
                Err(error) => return Some(Err(error)),
            };
            lines.retain(&is);
            (lines.len() >= count).then_some(Ok(lines))
        })
        .await;
        match waited {
            Ok(found) => found,
            Err(error) => bail!("{error}; it said: {}", self.child.log()),
        }
    }

    /// Waits for this event of this job.
    pub async fn event(&self, event: &str, job: &str) -> Result<Value> {
        self.said(&format!("{event} of {job}"), |line| {
            line["event"] == event && line["jobId"] == job
        })
        .await
    }

    /// The events of this name and job so far.
    pub fn events(&self, event: &str, job: &str) -> Result<Vec<Value>> {
        let mut lines = self.lines()?;
        lines.retain(|line| line["event"] == event && line["jobId"] == job);
        Ok(lines)
    }

    /// Asks it to stop.
    pub async fn stop(mut self) -> Result<()> {
        self.child.stop(Signal::SIGTERM, SOON).await?;
        Ok(())
    }
}
