//! Waits between attempts.

use std::time::Duration;

/// Waits that double up to a limit.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    /// The share of a wait that chance may take away.
    jitter: f64,
    step: u32,
}

impl Backoff {
    /// Waits each of which is shortened by up to half at random, so that processes that failed
    /// together do not come back together.
    #[must_use]
    pub const fn jittered(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            jitter: 0.5,
            step: 0,
        }
    }

    /// Waits without chance.
    #[must_use]
    pub const fn exact(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            jitter: 0.0,
            step: 0,
        }
    }

    /// The next wait, never above the limit.
    #[must_use = "the wait after this one is longer"]
    pub fn advance(&mut self) -> Duration {
        let full = self
            .first
            .saturating_mul(2_u32.saturating_pow(self.step))
            .min(self.longest);
        self.step = self.step.saturating_add(1);
        full.mul_f64(1.0 - self.jitter * rand::random_range(0.0..=1.0))
    }

    /// Starts over, after a success.
    pub const fn reset(&mut self) {
        self.step = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exact_waits_double_up_to_the_limit() {
        let mut backoff = Backoff::exact(Duration::from_millis(100), Duration::from_millis(350));
        let waits: Vec<_> = (0..4).map(|_| backoff.advance().as_millis()).collect();
        assert_eq!(waits, [100, 200, 350, 350]);
    }

    proptest! {
        #[test]
        fn waits_grow_to_the_limit_and_never_beyond(first in 1_u64..5_000, longest in 1_u64..60_000, steps in 1_usize..200) {
            let (first, longest) = (Duration::from_millis(first), Duration::from_millis(longest));
            let mut backoff = Backoff::jittered(first, longest);
            let mut last = Duration::ZERO;
            for step in 0..steps {
                last = backoff.advance();
                prop_assert!(last <= longest);
                prop_assert!(last >= first.min(longest).mul_f64(0.499), "step {} waits {:?}", step, last);
            }
            if steps > 20 {
                prop_assert!(last >= longest.mul_f64(0.499));
            }
            backoff.reset();
            prop_assert!(backoff.advance() <= first.min(longest));
        }
    }
}
