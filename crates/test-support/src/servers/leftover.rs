use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Ends the server that an earlier, killed run left behind, and deletes its pid file.
///
/// A pid file alone proves nothing, since its number may long be another process's: the process
/// must also run `program`.
pub(super) async fn stop(pid_file: &Path, program: &str, signal: Signal) -> Result<()> {
    let Ok(text) = fs::read_to_string(pid_file) else {
        return Ok(());
    };
    let pid = text
        .lines()
        .next()
        .and_then(|line| line.trim().parse().ok());
    if let Some(pid) = pid.filter(|pid| runs(*pid, program)) {
        // It may end by itself in this very moment.
        let _ = kill(Pid::from_raw(pid), signal);
        let start = Instant::now();
        while runs(pid, program) {
            if start.elapsed() > Duration::from_secs(20) {
                bail!("{program} (process {pid}) of an earlier run does not stop; please kill it");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    match fs::remove_file(pid_file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot delete {}", pid_file.display()))
        }
        _ => Ok(()),
    }
}

/// Whether `pid` is a process of `program` that has not ended.
fn runs(pid: i32, program: &str) -> bool {
    let description = if cfg!(target_os = "linux") {
        // `ps` need not be installed. "8913 (postgres) S 1 …"
        fs::read_to_string(format!("/proc/{pid}/stat")).ok()
    } else {
        std::process::Command::new("ps")
            .args(["-o", "comm=,stat=", "-p", &pid.to_string()])
            .output()
            .ok()
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // Z is a process that has ended and that its parent has not asked about yet.
    description.is_some_and(|text| {
        text.contains(program) && !text.split_whitespace().any(|word| word == "Z")
    })
}
