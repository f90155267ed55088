//! The count of one client.

use std::time::Duration;

use bharatmart_cache::{Counted, Window};

/// What a client has asked for in this window and the one before: by this process, and by the others as far
/// as this one has been told.
///
/// The window slides: the earlier one counts with the share of it that is less than a window's length ago,
/// as if its requests had been spread evenly. So no client gets twice the limit at the turn of a window.
#[derive(Debug, Default)]
pub(super) struct Tally {
    index: u64,
    /// By all, in the window before.
    previous: u64,
    /// By the others.
    others: u64,
    /// By this process.
    own: u64,
    /// How many of these the others know of.
    told: u64,
    /// Whether the rest is about to be told.
    pub(super) is_listed: bool,
}

/// Whether a request is within the limit, and what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// How long to wait for the next one, if this one is refused.
    pub(super) refused_for: Option<Duration>,
    pub(super) remaining: u64,
    /// Until the window ends.
    pub(super) reset: Duration,
}

impl Tally {
    /// Counts a request, unless it is beyond `limit`. One that is refused does not count.
    pub(super) fn take(&mut self, window: Window, limit: u64) -> Verdict {
        self.turn(window);
        let used = self.used(window);
        let is_refused = used >= limit;
        if !is_refused {
            self.own += 1;
        }
        self.verdict(window, limit, is_refused)
    }

    /// What is to be said of a request on which the counts of all have been asked.
    pub(super) fn settle(&mut self, window: Window, limit: u64, counted: Counted) -> Verdict {
        self.turn(window);
        if counted.added {
            self.own += 1;
            self.told += 1;
        }
        self.learn(window, counted);
        self.verdict(window, limit, !counted.added)
    }

    /// Takes back a request that was counted in `window`, by all if `is_shared`.
    pub(super) fn take_back(&mut self, window: Window, is_shared: bool) {
        if self.index == window.index {
            self.own = self.own.saturating_sub(1);
            self.told = self.told.saturating_sub(u64::from(is_shared));
        } else if self.index == window.index + 1 {
            self.previous = self.previous.saturating_sub(1);
        }
    }

    fn verdict(&self, window: Window, limit: u64, is_refused: bool) -> Verdict {
        let wait = || Duration::from_millis(self.wait(window, limit));
        Verdict {
            refused_for: is_refused.then(wait),
            remaining: limit.saturating_sub(self.used(window)),
            reset: Duration::from_millis(window.length - window.elapsed),
        }
    }

    /// Requests of this process that the others do not know of yet.
    pub(super) const fn untold(&self) -> u64 {
        self.own - self.told
    }

    pub(super) const fn own(&self) -> u64 {
        self.own
    }

    pub(super) const fn index(&self) -> u64 {
        self.index
    }

    /// The others know of so many more, and there is so much in all.
    pub(super) fn tell(&mut self, window: Window, number: u64, counted: Counted) {
        if self.index == window.index {
            self.told = (self.told + number).min(self.own);
            self.learn(window, counted);
        }
    }

    fn learn(&mut self, window: Window, counted: Counted) {
        if self.index == window.index {
            self.others = counted.current.saturating_sub(self.told);
            self.previous = self.previous.max(counted.previous);
        }
    }

    /// Goes on to a new window. A clock that goes back changes nothing.
    fn turn(&mut self, window: Window) {
        if window.index <= self.index {
            return;
        }
        let is_next = window.index == self.index + 1;
        *self = Self {
            index: window.index,
            previous: if is_next { self.own + self.others } else { 0 },
            is_listed: self.is_listed,
            ..Self::default()
        };
    }

    fn used(&self, window: Window) -> u64 {
        let left = window.length - window.elapsed;
        self.own + self.others + self.previous * left / window.length
    }

    /// How many milliseconds pass until there is room for one more, if nothing else is asked for.
    fn wait(&self, window: Window, limit: u64) -> u64 {
        let Window {
            length, elapsed, ..
        } = window;
        let (left, current) = (length - elapsed, self.own + self.others);
        // The longest rest of a window at which `count` still leaves room for `room`.
        let rest = |count: u64, room: u64| (room * length).saturating_sub(1) / count.max(1);
        if current < limit {
            left.saturating_sub(rest(self.previous, limit - current))
        } else {
            left + length.saturating_sub(rest(current, limit))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LENGTH: u64 = 60_000;

    fn at(milliseconds: u64) -> Window {
        Window {
            index: milliseconds / LENGTH,
            length: LENGTH,
            elapsed: milliseconds % LENGTH,
        }
    }

    #[test]
    fn the_limit_is_reached_and_slides() {
        let mut tally = Tally::default();
        let begin = 10 * LENGTH;
        for remaining in (0..10).rev() {
            let verdict = tally.take(at(begin + 30_000), 10);
            assert_eq!((verdict.refused_for, verdict.remaining), (None, remaining));
            assert_eq!(verdict.reset, Duration::from_secs(30));
        }
        assert!(tally.take(at(begin + 30_000), 10).refused_for.is_some());
        assert!(tally.take(at(begin + LENGTH), 10).refused_for.is_some());
        // Half of the earlier window counts.
        let mut admitted = 0;
        while tally
            .take(at(begin + LENGTH + 30_000), 10)
            .refused_for
            .is_none()
        {
            admitted += 1;
        }
        assert_eq!(admitted, 5);
        assert_eq!(tally.take(at(begin + 3 * LENGTH), 10).remaining, 9);
    }

    #[test]
    fn what_others_have_counted_counts() {
        let mut tally = Tally::default();
        let now = at(10 * LENGTH);
        tally.take(now, 10);
        assert_eq!(tally.untold(), 1);
        let counted = Counted {
            current: 9,
            previous: 0,
            added: true,
        };
        tally.tell(now, 1, counted);
        assert_eq!(tally.untold(), 0);
        assert_eq!(tally.take(now, 10).remaining, 0);
        assert!(tally.take(now, 10).refused_for.is_some());
    }

    #[test]
    fn what_is_taken_back_leaves_room_in_its_own_window() {
        let mut tally = Tally::default();
        let now = at(10 * LENGTH);
        for _ in 0..2 {
            tally.take(now, 2);
        }
        assert!(tally.take(now, 2).refused_for.is_some());
        tally.take_back(now, false);
        assert_eq!(tally.take(now, 2).refused_for, None);
        let next = at(11 * LENGTH);
        assert!(tally.take(next, 2).refused_for.is_some());
        tally.take_back(now, false);
        assert_eq!(tally.take(next, 2).refused_for, None);
        tally.take_back(now, false);
        assert_eq!((tally.own(), tally.untold()), (1, 1));
    }

    #[test]
    fn a_clock_that_goes_back_forgets_nothing() {
        let mut tally = Tally::default();
        tally.take(at(10 * LENGTH), 1);
        assert!(tally.take(at(10 * LENGTH - 1), 1).refused_for.is_some());
    }

    proptest! {
        /// Who waits as long as they are told is let in, and who waits a moment less is not.
        #[test]
        fn the_wait_is_right(
            first in 0..LENGTH,
            count in 0_u64..50,
            second in 0..LENGTH,
            limit in 1_u64..20,
        ) {
            let mut tally = Tally::default();
            for _ in 0..count {
                tally.take(at(10 * LENGTH + first), limit);
            }
            let now = 11 * LENGTH + second;
            while tally.take(at(now), limit).refused_for.is_none() {}
            let wait = tally.take(at(now), limit).refused_for.unwrap();
            let wait = u64::try_from(wait.as_millis()).unwrap();
            prop_assert!(wait > 0);
            prop_assert!(tally.take(at(now + wait - 1), limit).refused_for.is_some());
            prop_assert!(tally.take(at(now + wait), limit).refused_for.is_none());
        }
    }
}
