//! When more is asked for than the processor can do.
//!
//! What waits for a thread of the runtime waits in a queue that nobody sees, and each request waits there several
//! times. How long is measured by a task that sleeps and notes how late it wakes. From a twentieth of
//! `OVERLOAD_DELAY` on, a share of the requests is refused at once, which grows with the delay until at a quarter all
//! are, unless only few are under way, which then is others' doing: random early detection (Floyd and Jacobson, "Random Early Detection Gateways for Congestion Avoidance", 1993). A
//! refusal costs so much less than an answer that the others are answered in time.
//!
//! Two other queues are bounded where they form: that for connections to the database
//! ([`bharatmart_database::Database::with_queue_of`]) and that of passwords to be hashed
//! ([`bharatmart_commerce::Accounts`]).

use std::{
    num::NonZeroUsize,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    thread::available_parallelism,
    time::Duration,
};

use bharatmart_telemetry::metrics::REQUESTS_SHED_TOTAL;
use metrics::{Counter, counter};
use tokio::time::{Instant, sleep};

/// How long the task sleeps.
const NAP: Duration = Duration::from_millis(20);
/// Of so many delays in a row the shortest counts: what is late once has been interrupted, and a queue that is
/// there to stay delays every one (Nichols and Jacobson, "Controlling Queue Delay", 2012).
const IN_A_ROW: usize = 5;
/// The shares of the longest delay from which on some requests are refused, and all: each waits about four times.
const FROM: f64 = 0.05;
const TO: f64 = 0.25;
/// So many requests for each processor are always let in: with so few it is not they who make the processor short.
const LET_IN: usize = 8;

/// How short of time the processor is.
pub(crate) struct Processor {
    /// The share of the requests to refuse, of [`u32::MAX`].
    share: AtomicU32,
    /// Requests that are let in, and how many of them always are.
    under_way: AtomicUsize,
    let_in: usize,
    shed: Counter,
}

impl Processor {
    /// Measures from now on, for as long as the value lives, with all refused at a delay of `longest`. Needs a tokio
    /// runtime.
    pub(crate) fn watch(longest: Duration) -> Arc<Self> {
        let processor = Arc::new(Self {
            share: AtomicU32::new(0),
            under_way: AtomicUsize::new(0),
            let_in: LET_IN * available_parallelism().map_or(1, NonZeroUsize::get),
            shed: counter!(REQUESTS_SHED_TOTAL, "resource" => "processor"),
        });
        tokio::spawn(measure(Arc::downgrade(&processor), longest));
        processor
    }

    /// Whether the request that asks is one of those to refuse.
    pub(crate) fn is_short(&self) -> bool {
        let share = self.share.load(Ordering::Relaxed);
        // Nothing is drawn while there is time.
        let refused = share > 0
            && self.under_way.load(Ordering::Relaxed) >= self.let_in
            && rand::random::<u32>() < share;
        if refused {
            self.shed.increment(1);
        }
        refused
    }
}

/// A request that is under way.
pub(crate) struct UnderWay(Arc<Processor>);

impl UnderWay {
    pub(crate) fn new(processor: &Arc<Processor>) -> Self {
        processor.under_way.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(processor))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn measure(processor: Weak<Processor>, longest: Duration) {
    let mut last = [Duration::ZERO; IN_A_ROW];
    for turn in (0..IN_A_ROW).cycle() {
        let asked = Instant::now();
        sleep(NAP).await;
        last[turn] = asked.elapsed().saturating_sub(NAP);
        let standing = last.iter().min().copied().unwrap_or_default();
        let Some(processor) = processor.upgrade() else {
            return;
        };
        let share = share(standing.as_secs_f64(), longest.as_secs_f64());
        processor.share.store(share, Ordering::Relaxed);
    }
}

/// The share of the requests to refuse at such a delay, of [`u32::MAX`].
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and u32::MAX"
)]
fn share(delay: f64, longest: f64) -> u32 {
    let (from, to) = (longest * FROM, longest * TO);
    let share = ((delay - from) / (to - from)).clamp(0.0, 1.0);
    (share * f64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_grows_with_the_delay() {
        assert_eq!(share(0.0, 0.05), 0);
        assert_eq!(share(0.005, 0.1), 0);
        let half = share(0.015, 0.1);
        assert!(half.abs_diff(u32::MAX / 2) < 1000, "{half}");
        assert_eq!(share(0.025, 0.1), u32::MAX);
        assert_eq!(share(7.0, 0.05), u32::MAX);
    }

    #[tokio::test]
    async fn a_runtime_that_is_held_up_refuses_and_recovers() {
        let processor = Processor::watch(Duration::from_millis(100));
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
        let recovered = async {
            while processor.share.load(Ordering::Relaxed) > 0 {
                sleep(NAP).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), recovered)
            .await
            .expect("it recovers");
    }
}
