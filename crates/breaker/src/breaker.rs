//! The state machine.

use std::time::{Duration, Instant};

use crate::Backoff;

/// Closed lets calls through; open refuses them for a while; half-open lets one through to try.
#[derive(Debug)]
pub struct Breaker {
    threshold: u32,
    cooldown: Backoff,
    /// The wait of the last opening.
    wait: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// The probe may never report (its caller was dropped), so it holds the place only this long.
    HalfOpen {
        until: Instant,
    },
}

/// Where a breaker stands, as others are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Calls are refused.
    Open,
    /// One call is on its way to try.
    HalfOpen,
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Too many failures in a row.
    Opened,
    /// A probe is on its way.
    HalfOpened,
    /// The probe failed.
    Reopened,
    /// A call succeeded.
    Closed,
}

/// The breaker is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl Breaker {
    /// Opens after more than `threshold` failures in a row; tries again after each `cooldown`.
    #[must_use]
    pub const fn new(threshold: u32, cooldown: Backoff) -> Self {
        Self {
            threshold,
            cooldown,
            wait: Duration::ZERO,
            state: State::Closed { failures: 0 },
        }
    }

    /// Whether calls pass.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Whether [`Breaker::acquire`] would let a call through.
    #[must_use]
    pub fn allows(&self, now: Instant) -> bool {
        self.retry_at().is_none_or(|at| now >= at)
    }

    /// From when on [`Breaker::acquire`] lets a call through; `None` when it does now.
    #[must_use]
    pub const fn retry_at(&self) -> Option<Instant> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { until } | State::HalfOpen { until } => Some(until),
        }
    }

    /// Lets a call through or refuses it. Who is let through reports success or failure.
    pub fn acquire(&mut self, now: Instant) -> Result<Option<Transition>, Refused> {
        if self.is_closed() {
            return Ok(None);
        }
        if !self.allows(now) {
            return Err(Refused);
        }
        self.state = State::HalfOpen {
            until: now + self.wait,
        };
        Ok(Some(Transition::HalfOpened))
    }

    /// A call succeeded.
    pub fn succeed(&mut self) -> Option<Transition> {
        let was_closed = self.is_closed();
        self.cooldown.reset();
        self.state = State::Closed { failures: 0 };
        (!was_closed).then_some(Transition::Closed)
    }

    /// A call failed in a way that says that the dependency is away.
    pub fn fail(&mut self, now: Instant) -> Option<Transition> {
        match self.state {
            State::Closed { failures } if failures < self.threshold => {
                self.state = State::Closed {
                    failures: failures + 1,
                };
                None
            }
            State::Closed { .. } => {
                self.open(now);
                Some(Transition::Opened)
            }
            State::HalfOpen { .. } => {
                self.open(now);
                Some(Transition::Reopened)
            }
            // A call from before it opened; the cooldown runs from the opening.
            State::Open { .. } => None,
        }
    }

    fn open(&mut self, now: Instant) {
        self.wait = self.cooldown.advance();
        self.state = State::Open {
            until: now + self.wait,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(1);

    fn breaker() -> Breaker {
        Breaker::new(3, Backoff::exact(COOLDOWN, COOLDOWN * 4))
    }

    fn opened(now: Instant) -> Breaker {
        let mut breaker = breaker();
        for _ in 0..3 {
            assert_eq!(breaker.fail(now), None);
        }
        assert_eq!(breaker.fail(now), Some(Transition::Opened));
        breaker
    }

    #[test]
    fn more_failures_in_a_row_than_the_threshold_open() {
        let now = Instant::now();
        let mut breaker = breaker();
        for _ in 0..3 {
            breaker.fail(now);
        }
        assert_eq!(breaker.succeed(), None);
        for _ in 0..3 {
            breaker.fail(now);
        }
        assert!(breaker.is_closed(), "a success in between starts over");
        assert_eq!(breaker.fail(now), Some(Transition::Opened));
        assert_eq!(breaker.acquire(now), Err(Refused));
    }

    #[test]
    fn one_probe_at_a_time_after_the_cooldown() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + COOLDOWN;
        assert_eq!(breaker.retry_at(), Some(later));
        assert_eq!(breaker.acquire(later), Ok(Some(Transition::HalfOpened)));
        assert_eq!(breaker.acquire(later), Err(Refused));
        assert_eq!(breaker.succeed(), Some(Transition::Closed));
        assert_eq!(breaker.acquire(later), Ok(None));
    }

    #[test]
    fn each_failed_probe_doubles_the_cooldown_and_a_success_starts_over() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        for cooldown in [1, 2, 4, 4] {
            let cooldown = COOLDOWN * cooldown;
            assert_eq!(breaker.acquire(now + cooldown / 2), Err(Refused));
            now += cooldown;
            breaker.acquire(now).unwrap();
            assert_eq!(breaker.fail(now), Some(Transition::Reopened));
        }
        breaker.succeed();
        for _ in 0..4 {
            breaker.fail(now);
        }
        assert_eq!(breaker.retry_at(), Some(now + COOLDOWN));
    }

    #[test]
    fn a_probe_that_never_reports_gives_way_to_another() {
        let now = Instant::now();
        let mut breaker = opened(now);
        breaker.acquire(now + COOLDOWN).unwrap();
        assert!(breaker.acquire(now + COOLDOWN * 2).is_ok());
    }

    proptest! {
        /// Whatever happens in whatever order: while it is not closed, two calls that are let through
        /// are at least a cooldown apart.
        #[test]
        fn an_open_breaker_lets_at_most_one_call_through_each_cooldown(steps in prop::collection::vec((0_u8..3, 0_u64..1500), 1..200)) {
            let mut now = Instant::now();
            let mut breaker = breaker();
            let mut last_probe: Option<Instant> = None;
            for (step, millis) in steps {
                now += Duration::from_millis(millis);
                match step {
                    0 => {
                        let was_closed = breaker.is_closed();
                        let allowed = breaker.allows(now);
                        let acquired = breaker.acquire(now);
                        prop_assert_eq!(allowed, acquired.is_ok());
                        if !was_closed && acquired.is_ok() {
                            if let Some(last) = last_probe {
                                prop_assert!(now - last >= COOLDOWN);
                            }
                            last_probe = Some(now);
                        }
                    }
                    1 => {
                        breaker.fail(now);
                    }
                    _ => {
                        breaker.succeed();
                        last_probe = None;
                        prop_assert!(breaker.is_closed());
                    }
                }
            }
        }
    }
}
