//! Waits between attempts of our own.

use std::time::Duration;

/// Waits that double up to a limit, each shortened by up to half at random so that processes that failed
/// together do not come back together.
#[derive(Debug)]
pub(crate) struct JitteredDelay {
    first: Duration,
    longest: Duration,
    step: u32,
}

impl JitteredDelay {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            step: 0,
        }
    }

    /// The next wait: between half and all of the doubled one, never above the limit.
    pub(crate) fn next(&mut self) -> Duration {
        let full = self
            .first
            .saturating_mul(2_u32.saturating_pow(self.step))
            .min(self.longest);
        self.step = self.step.saturating_add(1);
        full.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Starts over after a success.
    pub(crate) const fn reset(&mut self) {
        self.step = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_grow_to_the_limit_and_never_beyond(first in 1_u64..5_000, longest in 1_u64..60_000, steps in 1_usize..200) {
            let (first, longest) = (Duration::from_millis(first), Duration::from_millis(longest));
            let mut delay = JitteredDelay::new(first, longest);
            let mut last = Duration::ZERO;
            for step in 0..steps {
                last = delay.next();
                prop_assert!(last <= longest);
                prop_assert!(last >= first.min(longest).mul_f64(0.499), "step {} waits {:?}", step, last);
            }
            if steps > 20 {
                prop_assert!(last >= longest.mul_f64(0.499));
            }
            delay.reset();
            prop_assert!(delay.next() <= first.min(longest));
        }
    }
}
