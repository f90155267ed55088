//! A process whose runtime is blocked still ends.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bharatmart_lifecycle::Lifecycle;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What the process says once its signal handlers are installed.
const INSTALLED: &str = "signal handlers are installed";

#[test]
#[ignore = "is the process that the other test starts and ends"]
fn a_process_that_blocks() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    // Leaving this block drops the runtime, which waits for the blocked thread.
    runtime.block_on(async {
        let lifecycle = Lifecycle::new(Duration::from_millis(500), Duration::ZERO).unwrap();
        lifecycle.spawn("blocks", async {
            std::thread::sleep(Duration::from_mins(1));
        });
        println!("{INSTALLED}");
        lifecycle.run().await;
    });
}

#[test]
fn a_blocked_runtime_is_ended_from_outside() {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_process_that_blocks",
            "--ignored",
            "--nocapture",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line.contains(INSTALLED))));

    let begin = Instant::now();
    kill(Pid::from_raw(process.id().cast_signed()), Signal::SIGTERM).unwrap();
    let status = process.wait().unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
}
