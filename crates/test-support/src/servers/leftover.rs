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

fn runs(pid: i32, program: &str) -> bool {
    std::process::Command::new("ps")
        .args(["-o", "comm=", "-p", &pid.to_string()])
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(program))
}
