//! The phases of a process, from the first signal to its exit code.

use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::task::{Outcome, panic_message};

/// The longest time that tasks get between [`Phase::Aborting`] and the end, to hand back what they hold.
const HAND_BACK_AT_MOST: Duration = Duration::from_secs(2);
/// The same after a second signal, whose sender wants the process gone.
const HAND_BACK_IN_A_HURRY: Duration = Duration::from_millis(250);
/// What the program gets for its last words after the end, before it is ended from outside the runtime.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where a process stands between its start and its end.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// Business as usual.
    Running,
    /// Still serving, but telling load balancers to go elsewhere.
    Draining,
    /// Nothing new; what runs is finished.
    Stopping,
    /// What still runs is dropped or handed back.
    Aborting,
    /// All tasks are gone, or time is up.
    Ended,
}

/// The life of one process. Made once, passed on by reference.
pub struct Lifecycle {
    tokens: Tokens,
    tasks: TaskTracker,
    failed: Arc<AtomicBool>,
    times: Times,
}

#[derive(Clone, Default)]
pub(crate) struct Tokens {
    pub(crate) draining: CancellationToken,
    pub(crate) stopping: CancellationToken,
    pub(crate) aborting: CancellationToken,
    pub(crate) ended: CancellationToken,
    /// A second signal came.
    hurry: CancellationToken,
}

#[derive(Clone, Copy)]
struct Times {
    shutdown_timeout: Duration,
    drain_delay: Duration,
}

impl Times {
    /// A tenth of the whole, so that a short timeout keeps most of itself for finishing work.
    fn hand_back(self) -> Duration {
        (self.shutdown_timeout / 10).min(HAND_BACK_AT_MOST)
    }
}

impl Lifecycle {
    /// Installs the handlers of SIGTERM and SIGINT at once, so that a signal during a slow start is not lost.
    ///
    /// `shutdown_timeout` is the time from the first signal to the end, at most. `drain_delay` is the part of it in
    /// which requests are still accepted; zero for a process that no load balancer sends anything to.
    ///
    /// # Errors
    ///
    /// The system refuses the signal handlers.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn new(shutdown_timeout: Duration, drain_delay: Duration) -> io::Result<Self> {
        let signals = Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        };
        Ok(Self::start(
            Some(signals),
            Times {
                shutdown_timeout,
                drain_delay,
            },
        ))
    }

    /// A lifecycle that only [`shut_down`](Self::shut_down) ends, for servers that run inside a test.
    #[must_use]
    pub fn without_signals(shutdown_timeout: Duration, drain_delay: Duration) -> Self {
        Self::start(
            None,
            Times {
                shutdown_timeout,
                drain_delay,
            },
        )
    }

    fn start(signals: Option<Signals>, times: Times) -> Self {
        let tokens = Tokens::default();
        tokio::spawn(supervise(signals, times, tokens.clone()));
        Self {
            tokens,
            tasks: TaskTracker::new(),
            failed: Arc::default(),
            times,
        }
    }

    /// Cancelled when the process should no longer be sent anything.
    #[must_use]
    pub fn draining(&self) -> CancellationToken {
        self.tokens.draining.clone()
    }

    /// Cancelled when nothing new may be begun.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.tokens.stopping.clone()
    }

    /// Cancelled when what still runs must be dropped or handed back, within a tenth of the shutdown timeout and at most
    /// two seconds.
    #[must_use]
    pub fn aborting(&self) -> CancellationToken {
        self.tokens.aborting.clone()
    }

    pub(crate) fn tokens(&self) -> Tokens {
        self.tokens.clone()
    }

    /// Where the process stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        let Tokens {
            draining,
            stopping,
            aborting,
            ended,
            ..
        } = &self.tokens;
        [
            (ended, Phase::Ended),
            (aborting, Phase::Aborting),
            (stopping, Phase::Stopping),
            (draining, Phase::Draining),
        ]
        .into_iter()
        .find(|(token, _)| token.is_cancelled())
        .map_or(Phase::Running, |(_, phase)| phase)
    }

    /// Begins the shutdown, as the first signal does.
    pub fn shut_down(&self) {
        self.tokens.draining.cancel();
    }

    /// Runs a task that the end of the process waits for. A task may end by itself at any time; one that panics or ends
    /// with an error begins the shutdown and makes the exit code 1.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        let failed = Arc::clone(&self.failed);
        let draining = self.draining();
        self.tasks.spawn(async move {
            let failure = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(outcome) => outcome.failure(),
                Err(panic) => Some(format!("panicked: {}", panic_message(panic.as_ref()))),
            };
            if let Some(failure) = failure {
                tracing::error!(
                    task = name,
                    error = failure,
                    "task {name} died, the process shuts down"
                );
                failed.store(true, Ordering::Release);
                draining.cancel();
            }
        });
    }

    /// Awaits a part of the start-up, and gives it up with `None` when the shutdown begins first.
    pub async fn during_start<T>(&self, part: impl Future<Output = T>) -> Option<T> {
        self.tokens.draining.run_until_cancelled(part).await
    }

    /// Waits for the shutdown and its end. The code is 0 when every task ended by itself in time, and 1 when a task
    /// died, when tasks were left at the shutdown timeout, or when a second signal cut the shutdown short.
    pub async fn run(self) -> ExitCode {
        self.tokens.draining.cancelled().await;
        self.tasks.close();
        let in_time = tokio::select! {
            biased;
            () = self.tasks.wait() => true,
            () = self.time_is_up() => {
                let tasks = self.tasks.len();
                if self.tokens.hurry.is_cancelled() {
                    tracing::warn!(tasks, "tasks are left behind, as the second signal asks");
                } else {
                    tracing::error!(tasks, "shutdown timeout is over, tasks are left behind");
                }
                false
            }
        };
        let hurried = self.tokens.hurry.is_cancelled();
        self.tokens.ended.cancel();
        let failed = self.failed.load(Ordering::Acquire);
        tracing::info!(failed, in_time, hurried, "shutdown is complete");
        if in_time && !failed && !hurried {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    async fn time_is_up(&self) {
        self.tokens.aborting.cancelled().await;
        tokio::select! {
            () = sleep(self.times.hand_back()) => {}
            () = async {
                self.tokens.hurry.cancelled().await;
                sleep(HAND_BACK_IN_A_HURRY).await;
            } => {}
        }
    }
}

impl Drop for Lifecycle {
    fn drop(&mut self) {
        // Whoever fails before `run` leaves no background task behind.
        self.tokens.draining.cancel();
        self.tokens.stopping.cancel();
        self.tokens.aborting.cancel();
        self.tokens.ended.cancel();
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

async fn next_signal(signals: &mut Option<Signals>) -> &'static str {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

/// Moves the tokens through the phases.
async fn supervise(mut signals: Option<Signals>, times: Times, tokens: Tokens) {
    tokio::select! {
        signal = next_signal(&mut signals) => tracing::info!(signal, "{signal} received, shutting down"),
        () = tokens.draining.cancelled() => {}
    }
    let begin = Instant::now();
    tokens.draining.cancel();
    let watch_from_outside = signals.is_some();
    let phases = async {
        sleep_until(begin + times.drain_delay).await;
        tokens.stopping.cancel();
        sleep_until(begin + times.shutdown_timeout.saturating_sub(times.hand_back())).await;
    };
    tokio::select! {
        () = phases => {
            tracing::warn!("shutdown timeout is near, running work is dropped or handed back");
        }
        signal = next_signal(&mut signals) => {
            tracing::warn!(signal, "second signal received, ending at once");
            tokens.hurry.cancel();
        }
        () = tokens.ended.cancelled() => return,
    }
    let left = if tokens.hurry.is_cancelled() {
        HAND_BACK_IN_A_HURRY
    } else {
        times.hand_back()
    };
    if watch_from_outside {
        end_from_outside(left + LAST_WORDS);
    }
    tokens.stopping.cancel();
    tokens.aborting.cancel();
}

/// Ends the process whatever its runtime is busy with: a task that blocks its thread, or a start-up that never reached
/// [`Lifecycle::run`].
fn end_from_outside(after: Duration) {
    let watchdog = std::thread::Builder::new().name("shutdown-watchdog".to_owned());
    let spawned = watchdog.spawn(move || {
        std::thread::sleep(after);
        eprintln!("the process did not end in time and is ended now");
        std::process::exit(1);
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "no thread for the shutdown watchdog");
    }
}
