//! A breaker that callers share.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bharatmart_telemetry::metrics::{
    CIRCUIT_BREAKER_OPEN_TOTAL, CIRCUIT_BREAKER_STATE, CIRCUIT_BREAKER_TRANSITIONS_TOTAL,
};
use metrics::{counter, gauge};

use crate::{Breaker, BreakerState, Refused, Transition};

/// The reason of a transition that no failure caused.
const SUCCESS: &str = "success";
const COOLED_DOWN: &str = "cooled_down";

/// The breaker before one dependency; each transition is one line in the log and one metric.
#[derive(Debug)]
pub struct CircuitBreaker {
    /// The value of the label `dependency`.
    dependency: &'static str,
    breaker: Mutex<Breaker>,
}

/// A breaker as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerStatus {
    /// What it stands before.
    pub dependency: &'static str,
    /// Where it stands.
    pub state: BreakerState,
    /// From when on a call is let through; `None` when it is now.
    pub retry_at: Option<Instant>,
}

impl CircuitBreaker {
    /// Puts `breaker` before `dependency`, a value of that label in the metrics.
    #[must_use]
    pub fn new(dependency: &'static str, breaker: Breaker) -> Self {
        gauge!(CIRCUIT_BREAKER_STATE, "dependency" => dependency).set(0.0);
        Self {
            dependency,
            breaker: Mutex::new(breaker),
        }
    }

    /// How it does.
    #[must_use]
    pub fn status(&self) -> BreakerStatus {
        let breaker = self.lock();
        BreakerStatus {
            dependency: self.dependency,
            state: breaker.state(),
            retry_at: breaker.retry_at(),
        }
    }

    /// Whether calls pass.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed()
    }

    /// Whether [`CircuitBreaker::acquire`] would let a call through now.
    #[must_use]
    pub fn allows(&self) -> bool {
        self.lock().allows(Instant::now())
    }

    /// From when on a call is let through; `None` when it is now.
    #[must_use]
    pub fn retry_at(&self) -> Option<Instant> {
        self.lock().retry_at()
    }

    /// Lets a call through or refuses it. Who is let through reports success or failure.
    pub fn acquire(&self) -> Result<(), Refused> {
        let mut breaker = self.lock();
        let transition = breaker.acquire(Instant::now())?;
        self.report(&breaker, transition, COOLED_DOWN);
        Ok(())
    }

    /// A call succeeded.
    pub fn succeed(&self) {
        let mut breaker = self.lock();
        let transition = breaker.succeed();
        self.report(&breaker, transition, SUCCESS);
    }

    /// A call failed for `reason`, in a way that says that the dependency is away; whether that
    /// opened the breaker.
    pub fn fail(&self, reason: &'static str) -> bool {
        let mut breaker = self.lock();
        let transition = breaker.fail(Instant::now());
        self.report(&breaker, transition, reason);
        transition == Some(Transition::Opened)
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        // Its transitions cannot panic half-way, so a poisoned one is as good as new.
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under the lock, so that the gauge shows the state of the last transition.
    fn report(
        &self,
        _locked: &MutexGuard<'_, Breaker>,
        transition: Option<Transition>,
        reason: &'static str,
    ) {
        let Some(transition) = transition else {
            return;
        };
        let dependency = self.dependency;
        let (state, name) = match transition {
            Transition::Opened => (1.0, "opened"),
            Transition::HalfOpened => (0.5, "half_opened"),
            Transition::Reopened => (1.0, "reopened"),
            Transition::Closed => (0.0, "closed"),
        };
        gauge!(CIRCUIT_BREAKER_STATE, "dependency" => dependency).set(state);
        counter!(
            CIRCUIT_BREAKER_TRANSITIONS_TOTAL,
            "dependency" => dependency,
            "transition" => name,
            "reason" => reason
        )
        .increment(1);
        match transition {
            Transition::Opened => {
                counter!(CIRCUIT_BREAKER_OPEN_TOTAL, "dependency" => dependency).increment(1);
                tracing::warn!(
                    dependency,
                    reason,
                    "circuit breaker opened: calls kept failing"
                );
            }
            Transition::HalfOpened => {
                tracing::debug!(dependency, reason, "circuit breaker half-open: one probe");
            }
            Transition::Reopened => {
                tracing::debug!(
                    dependency,
                    reason,
                    "circuit breaker open again: the probe failed"
                );
            }
            Transition::Closed => {
                tracing::info!(
                    dependency,
                    reason,
                    "circuit breaker closed: calls succeed again"
                );
            }
        }
    }
}
