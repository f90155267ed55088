//! What the process knows about its dependencies, and the routes that tell it.

mod routes;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::routing::get;
use futures_util::FutureExt;
use http::header;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::http::serve_until_ended;
use crate::lifecycle::{Lifecycle, Tokens};
use crate::task::{Outcome, panic_message};

/// Between the first probes of a dependency; doubled as long as it fails.
const FIRST_REST: Duration = Duration::from_millis(50);

/// After the start a dependency may fail this long before it is worth a line in the log.
const START_GRACE: Duration = Duration::from_secs(1);

/// Gauge `{dependency}`: 1 while the last background probe of a dependency succeeded, else 0.
const DEPENDENCY_UP: &str = "dependency_up";

/// What a failing dependency means for the process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Importance {
    /// The process cannot serve without it: readiness fails.
    Critical,
    /// The process serves without it: readiness only tells.
    Informational,
}

/// The state of the process and of everything it depends on. Cheap to clone.
#[derive(Clone)]
pub struct Health {
    inner: Arc<Inner>,
}

struct Inner {
    version: &'static str,
    since: Instant,
    started: AtomicBool,
    tokens: Tokens,
    checks: RwLock<Vec<Check>>,
}

struct Check {
    name: &'static str,
    importance: Importance,
    state: CheckState,
}

#[derive(Clone, Copy)]
enum CheckState {
    /// The first probe is still under way.
    Pending,
    /// The last probe, and how long it took.
    Known { ok: bool, took: Duration },
}

impl Health {
    /// `version` is what `/api/health` shows.
    #[must_use]
    pub fn new(version: &'static str, lifecycle: &Lifecycle) -> Self {
        metrics::describe_gauge!(
            DEPENDENCY_UP,
            "Whether the last background probe of a dependency succeeded"
        );
        let inner = Inner {
            version,
            since: Instant::now(),
            started: AtomicBool::new(false),
            tokens: lifecycle.tokens(),
            checks: RwLock::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Probes a dependency now and then every `interval`, until the end of the process. A probe that takes longer than
    /// `timeout`, fails or panics is a failure; each change is logged once, with the reason.
    pub fn watch<P, F>(
        &self,
        name: &'static str,
        importance: Importance,
        interval: Duration,
        timeout: Duration,
        probe: P,
    ) where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output: Outcome> + Send,
    {
        self.write_checks(|checks| {
            checks.push(Check {
                name,
                importance,
                state: CheckState::Pending,
            });
        });
        let health = self.clone();
        let ended = self.inner.tokens.ended.clone();
        let forever = async move {
            let start = Instant::now();
            let (mut seen, mut complained) = (false, false);
            // A dependency that is on its way up is not to cost a whole interval of the start.
            let mut rest = FIRST_REST.min(interval);
            loop {
                let begin = Instant::now();
                let failure = failure_of(timeout, probe()).await;
                let ok = failure.is_none();
                health.record(
                    name,
                    CheckState::Known {
                        ok,
                        took: begin.elapsed(),
                    },
                );
                seen |= ok;
                match failure {
                    // Connections are still being made.
                    Some(_) if !seen && start.elapsed() < START_GRACE => {}
                    Some(error) if !complained => {
                        complained = true;
                        tracing::warn!(
                            dependency = name,
                            error,
                            "{name} does not answer its probe"
                        );
                    }
                    None if complained => {
                        complained = false;
                        tracing::info!(dependency = name, "{name} answers its probe again");
                    }
                    Some(_) | None => {}
                }
                tokio::time::sleep(rest).await;
                rest = if ok {
                    interval
                } else {
                    (rest * 2).min(interval)
                };
            }
        };
        tokio::spawn(ended.run_until_cancelled_owned(forever));
    }

    /// Says that the process serves. Until then readiness and `/api/health` are 503.
    pub fn mark_started(&self) {
        self.inner.started.store(true, Ordering::Release);
    }

    /// Whether the process should be sent work: started, not draining, and every critical dependency answers.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.serves() && self.read_checks(|checks| checks.iter().all(Check::allows_ready))
    }

    fn started(&self) -> bool {
        self.inner.started.load(Ordering::Acquire)
    }

    /// Cancelled when the process should no longer be sent anything.
    #[must_use]
    pub fn draining_token(&self) -> CancellationToken {
        self.inner.tokens.draining.clone()
    }

    fn draining(&self) -> bool {
        self.inner.tokens.draining.is_cancelled()
    }

    fn serves(&self) -> bool {
        self.started() && !self.draining()
    }

    fn record(&self, name: &'static str, state: CheckState) {
        let up = matches!(state, CheckState::Known { ok: true, .. });
        metrics::gauge!(DEPENDENCY_UP, "dependency" => name).set(if up { 1.0 } else { 0.0 });
        self.write_checks(|checks| {
            checks
                .iter_mut()
                .filter(|check| check.name == name)
                .for_each(|check| check.state = state);
        });
    }

    // A panic cannot happen while these locks are held, so a poisoned one holds good data.
    fn read_checks<T>(&self, read: impl FnOnce(&[Check]) -> T) -> T {
        read(
            &self
                .inner
                .checks
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    fn write_checks(&self, write: impl FnOnce(&mut Vec<Check>)) {
        write(
            &mut self
                .inner
                .checks
                .write()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

impl Check {
    fn allows_ready(&self) -> bool {
        self.importance == Importance::Informational
            || matches!(self.state, CheckState::Known { ok: true, .. })
    }
}

async fn failure_of<F: Future<Output: Outcome>>(timeout: Duration, probe: F) -> Option<String> {
    match tokio::time::timeout(timeout, AssertUnwindSafe(probe).catch_unwind()).await {
        Ok(Ok(outcome)) => outcome.failure(),
        Ok(Err(panic)) => Some(format!(
            "the probe panicked: {}",
            panic_message(panic.as_ref())
        )),
        Err(_) => Some(format!("no answer within {} ms", timeout.as_millis())),
    }
}

/// Serves `/metrics` (what `render` returns) and the three probe routes, from now to the very end of the process, on a
/// bounded number of connections.
pub fn serve_admin<R>(listener: TcpListener, health: &Health, render: R, lifecycle: &Lifecycle)
where
    R: Fn() -> String + Send + Sync + 'static,
{
    let render = Arc::new(render);
    let metrics = move || {
        let render = Arc::clone(&render);
        async move {
            (
                [(
                    header::CONTENT_TYPE,
                    "text/plain; version=0.0.4; charset=utf-8",
                )],
                render(),
            )
        }
    };
    let router = health.router().route("/metrics", get(metrics));
    serve_until_ended(listener, router, lifecycle);
}
