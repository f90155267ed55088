use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long to leave processes alone before they are looked at again.
const PAUSE: Duration = Duration::from_millis(1);

/// A line of the operating system's list of processes.
struct Process {
    id: Pid,
    parent: Pid,
    /// `R`, `S`, `T` for stopped, `Z` for ended but not asked about yet, ….
    state: char,
}

/// Freezes `parent` and all that it has started itself; returns the latter.
///
/// PostgreSQL's own processes have to be found: each leads a process group of its own.
pub(super) fn freeze(parent: Pid) -> Result<Vec<Pid>> {
    signal(parent, Signal::SIGSTOP)?;
    loop {
        let processes = list()?;
        // Only when it has stopped will it start no more of them.
        let runs = |process: &Process| process.id == parent && !"TtZ".contains(process.state);
        if processes.iter().any(runs) {
            std::thread::sleep(PAUSE);
            continue;
        }
        let children: Vec<Pid> = processes
            .iter()
            .filter(|process| process.parent == parent && process.state != 'Z')
            .map(|process| process.id)
            .collect();
        signal_all(&children, Signal::SIGSTOP)?;
        return Ok(children);
    }
}

/// Blocks until none of these runs any more.
pub(super) fn wait_for_end(ids: &[Pid]) -> Result<()> {
    let runs = |process: &Process| ids.contains(&process.id) && process.state != 'Z';
    while list()?.iter().any(runs) {
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Sends `with` to each that still exists.
pub(super) fn signal_all(ids: &[Pid], with: Signal) -> Result<()> {
    ids.iter().try_for_each(|id| signal(*id, with))
}

/// Deletes the piece of shared memory that a killed PostgreSQL leaves behind: the next start on its
/// data would, and it would outlive the data.
pub(super) fn delete_shared_memory(pid_file: &Path) -> Result<()> {
    // Its seventh line is a key and an id. A server that was stopped has deleted the file.
    let Ok(text) = fs::read_to_string(pid_file) else {
        return Ok(());
    };
    let Some(id) = text
        .lines()
        .nth(6)
        .and_then(|line| line.split_whitespace().nth(1))
    else {
        return Ok(());
    };
    let output = Command::new("ipcrm")
        .args(["-m", id])
        .output()
        .context("cannot start ipcrm")?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

fn signal(id: Pid, with: Signal) -> Result<()> {
    match kill(id, with) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot signal process {id}")),
    }
}

fn list() -> Result<Vec<Process>> {
    if cfg!(target_os = "linux") {
        // `ps` need not be installed.
        let entries = fs::read_dir("/proc").context("cannot list the processes")?;
        Ok(entries
            .flatten()
            .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
            .filter_map(|line| process_of_stat(&line))
            .collect())
    } else {
        let output = Command::new("ps")
            .args(["-A", "-o", "pid=,ppid=,stat="])
            .output()
            .context("cannot start ps")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().filter_map(process_of_ps).collect())
    }
}

/// "8913 (postgres) S 1 …"; the name may hold anything.
fn process_of_stat(line: &str) -> Option<Process> {
    let (id, rest) = line.split_once(" (")?;
    let (_, rest) = rest.rsplit_once(") ")?;
    let mut words = rest.split_whitespace();
    let state = words.next()?;
    process(id, words.next()?, state)
}

/// "8913     1 Ss"
fn process_of_ps(line: &str) -> Option<Process> {
    let mut words = line.split_whitespace();
    process(words.next()?, words.next()?, words.next()?)
}

fn process(id: &str, parent: &str, state: &str) -> Option<Process> {
    Some(Process {
        id: Pid::from_raw(id.parse().ok()?),
        parent: Pid::from_raw(parent.parse().ok()?),
        state: state.chars().next()?,
    })
}
