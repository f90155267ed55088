//! When more is asked for than the processor can do.
//!
//! What waits for a thread of the runtime waits in a queue that nobody sees, and each request waits there several
//! times. How long is measured by a task that sleeps and notes how late it wakes. While that is late, fewer and fewer
//! requests are let in at a time, and the others refused at once; while it is not, more and more: the bound shrinks by
//! a share and grows by steps, so that it settles where the queue is short (Chiu and Jain, "Analysis of the Increase
//! and Decrease Algorithms for Congestion Avoidance", 1989). A refusal costs so much less than an answer that those who
//! are let in are answered in time.
//!
//! Two other queues are bounded where they form: that for connections to the database
//! ([`bharatmart_database::Database::with_queue_of`]) and that of passwords to be hashed
//! ([`bharatmart_commerce::Accounts`]).

use std::{
    num::NonZeroUsize,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::available_parallelism,
    time::Duration,
};

use bharatmart_telemetry::metrics::REQUESTS_SHED_TOTAL;
use metrics::{Counter, counter};
use tokio::time::{Instant, sleep};

/// How long the task sleeps.
const NAP: Duration = Duration::from_millis(20);
const NAPS_IN_A_SECOND: u32 = 50;
/// Of so many delays in a row the median counts: who is late once has been interrupted.
const IN_A_ROW: usize = 3;
/// The part of `OVERLOAD_DELAY` from which on a delay is too long: each request waits several times.
const PART: u32 = 10;
/// By how much timers are late anyway.
const GRANULARITY: Duration = Duration::from_millis(1);
/// So many requests for each processor are always let in: with so few it is not they who make the processor short.
const LET_IN: usize = 8;

/// How short of time the processor is.
pub(crate) struct Processor {
    /// How many requests may be under way; any number if nothing was ever late.
    bound: AtomicUsize,
    /// Requests that are let in, and how many of them always are.
    under_way: AtomicUsize,
    /// The most that were since the last look.
    peak: AtomicUsize,
    let_in: usize,
    shed: Counter,
    /// Since the last look.
    refused: AtomicU64,
}

impl Processor {
    /// Measures from now on, for as long as the value lives. Needs a tokio runtime.
    pub(crate) fn watch(overload_delay: Duration) -> Arc<Self> {
        let processor = Arc::new(Self {
            bound: AtomicUsize::new(usize::MAX),
            under_way: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            let_in: LET_IN * available_parallelism().map_or(1, NonZeroUsize::get),
            shed: counter!(REQUESTS_SHED_TOTAL, "resource" => "processor"),
            refused: AtomicU64::new(0),
        });
        tokio::spawn(measure(Arc::downgrade(&processor), overload_delay / PART));
        processor
    }

    /// Whether the request that asks is one of those to refuse.
    pub(crate) fn is_short(&self) -> bool {
        let refused = self.under_way.load(Ordering::Relaxed) >= self.bound.load(Ordering::Relaxed);
        if refused {
            self.shed.increment(1);
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        refused
    }

    fn adapt(&self, is_late: bool) {
        let bound = self.bound.load(Ordering::Relaxed);
        let now = self.under_way.load(Ordering::Relaxed);
        let peak = self.peak.swap(now, Ordering::Relaxed).max(now);
        let bound = next_bound(bound, peak, is_late).max(self.let_in);
        self.bound.store(bound, Ordering::Relaxed);
    }
}

/// How many may be under way from now on, when so many were at most.
fn next_bound(bound: usize, peak: usize, is_late: bool) -> usize {
    if is_late {
        let effective = bound.min(peak);
        effective - effective / 4
    } else if peak < bound / 2 {
        // It holds nobody back.
        bound.saturating_mul(2)
    } else {
        bound.saturating_add(1)
    }
}

/// A request that is under way.
pub(crate) struct UnderWay(Arc<Processor>);

impl UnderWay {
    pub(crate) fn new(processor: &Arc<Processor>) -> Self {
        let under_way = processor.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        processor.peak.fetch_max(under_way, Ordering::Relaxed);
        Self(Arc::clone(processor))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn measure(processor: Weak<Processor>, too_long: Duration) {
    let mut report = Report::default();
    let mut last = [Duration::ZERO; IN_A_ROW];
    for turn in (0..IN_A_ROW).cycle() {
        let asked = Instant::now();
        sleep(NAP).await;
        last[turn] = asked.elapsed().saturating_sub(NAP + GRANULARITY);
        let mut sorted = last;
        sorted.sort_unstable();
        let standing = sorted[IN_A_ROW / 2];
        let Some(processor) = processor.upgrade() else {
            return;
        };
        processor.adapt(standing > too_long);
        report.add(processor.refused.swap(0, Ordering::Relaxed));
    }
}

/// Tells of refusals, one line for as many as there were in a second.
#[derive(Default)]
struct Report {
    refused: u64,
    naps: u32,
}

impl Report {
    fn add(&mut self, refused: u64) {
        self.refused += refused;
        self.naps += 1;
        if self.naps < NAPS_IN_A_SECOND {
            return;
        }
        if self.refused > 0 {
            tracing::warn!(
                refused = self.refused,
                "requests were refused: more was asked for than the processor can do"
            );
        }
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_shrinks_by_a_share_and_grows_by_steps() {
        assert_eq!(next_bound(usize::MAX, 400, false), usize::MAX);
        assert_eq!(next_bound(usize::MAX, 400, true), 300);
        assert_eq!(next_bound(300, 80, true), 60);
        assert_eq!(next_bound(60, 80, true), 45);
        assert_eq!(next_bound(45, 45, false), 46);
        assert_eq!(next_bound(46, 22, false), 92, "it holds nobody back");
    }

    #[tokio::test]
    async fn a_runtime_that_is_held_up_refuses_and_recovers() {
        let processor = Processor::watch(Duration::from_secs(1));
        sleep(NAP).await;
        let under_way: Vec<_> = (0..processor.let_in)
            .map(|_| UnderWay::new(&processor))
            .collect();
        let hold_up = async || {
            std::thread::sleep(Duration::from_millis(400));
            sleep(NAP).await;
        };
        hold_up().await;
        assert!(!processor.is_short(), "once is no queue");
        for _ in 0..2 * IN_A_ROW {
            hold_up().await;
        }
        assert!(processor.is_short());
        drop(under_way);
        assert!(!processor.is_short(), "few are always let in");
        let many: Vec<_> = (0..10 * processor.let_in)
            .map(|_| UnderWay::new(&processor))
            .collect();
        assert!(processor.is_short());
        let recovered = async {
            while processor.is_short() {
                sleep(NAP).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), recovered)
            .await
            .expect("it recovers");
        drop(many);
    }
}
