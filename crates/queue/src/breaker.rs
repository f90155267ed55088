//! The circuit breaker before the queue's Redis: a state machine to which the time is passed in.

use std::time::{Duration, Instant};

/// Closed lets calls through; open refuses them for a while; half-open lets one through to try.
#[derive(Debug)]
pub(crate) struct Breaker {
    threshold: u32,
    cooldown: Duration,
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

/// A change of state, for the log and the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    /// Enough failures in a row.
    Opened,
    /// A probe is on its way.
    HalfOpened,
    /// The probe failed.
    Reopened,
    /// A call succeeded.
    Closed,
}

impl Breaker {
    /// Opens after `threshold` failures in a row; tries again after `cooldown`.
    pub(crate) const fn new(threshold: u32, cooldown: Duration) -> Self {
        Self {
            threshold,
            cooldown,
            state: State::Closed { failures: 0 },
        }
    }

    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Whether [`Breaker::acquire`] would let a call through.
    pub(crate) fn allows(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until } | State::HalfOpen { until } => now >= until,
        }
    }

    /// Lets a call through or refuses it. Who is let through reports success or failure.
    pub(crate) fn acquire(&mut self, now: Instant) -> Result<Option<Transition>, Refused> {
        if self.is_closed() {
            return Ok(None);
        }
        if !self.allows(now) {
            return Err(Refused);
        }
        self.state = State::HalfOpen {
            until: now + self.cooldown,
        };
        Ok(Some(Transition::HalfOpened))
    }

    /// A call succeeded.
    pub(crate) fn succeed(&mut self) -> Option<Transition> {
        let was_closed = self.is_closed();
        self.state = State::Closed { failures: 0 };
        (!was_closed).then_some(Transition::Closed)
    }

    /// A call failed in a way that says that Redis is away.
    pub(crate) fn fail(&mut self, now: Instant) -> Option<Transition> {
        let open = State::Open {
            until: now + self.cooldown,
        };
        match self.state {
            State::Closed { failures } if failures + 1 < self.threshold => {
                self.state = State::Closed {
                    failures: failures + 1,
                };
                None
            }
            State::Closed { .. } => {
                self.state = open;
                Some(Transition::Opened)
            }
            State::HalfOpen { .. } => {
                self.state = open;
                Some(Transition::Reopened)
            }
            // A call from before it opened; the cooldown runs from the opening.
            State::Open { .. } => None,
        }
    }
}

/// The breaker is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(1);

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(3, COOLDOWN);
        assert_eq!([breaker.fail(now), breaker.fail(now)], [None, None]);
        assert_eq!(breaker.fail(now), Some(Transition::Opened));
        breaker
    }

    #[test]
    fn the_third_failure_in_a_row_opens() {
        let now = Instant::now();
        let mut breaker = Breaker::new(3, COOLDOWN);
        breaker.fail(now);
        breaker.fail(now);
        assert_eq!(breaker.succeed(), None);
        breaker.fail(now);
        breaker.fail(now);
        assert!(breaker.is_closed());
        assert_eq!(breaker.fail(now), Some(Transition::Opened));
        assert_eq!(breaker.acquire(now), Err(Refused));
    }

    #[test]
    fn one_probe_at_a_time_after_the_cooldown() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + COOLDOWN;
        assert_eq!(breaker.acquire(later), Ok(Some(Transition::HalfOpened)));
        assert_eq!(breaker.acquire(later), Err(Refused));
        assert_eq!(breaker.succeed(), Some(Transition::Closed));
        assert_eq!(breaker.acquire(later), Ok(None));
    }

    #[test]
    fn a_failed_probe_opens_for_another_cooldown() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + COOLDOWN;
        breaker.acquire(later).unwrap();
        assert_eq!(breaker.fail(later), Some(Transition::Reopened));
        assert_eq!(breaker.acquire(later + COOLDOWN / 2), Err(Refused));
        assert!(breaker.acquire(later + COOLDOWN).is_ok());
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
            let mut breaker = Breaker::new(3, COOLDOWN);
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
