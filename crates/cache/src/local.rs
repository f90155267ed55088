//! The tier in the process.

use std::{sync::Arc, time::Duration};

use bharatmart_telemetry::metrics::{CACHE_BYTES, CACHE_EVICTIONS_TOTAL};
use metrics::{counter, gauge};
use moka::{Expiry, notification::RemovalCause, policy::EvictionPolicy, sync::Cache};

use crate::{entry::SharedEntry, stamps::Stamp};

/// What an entry costs beside its name and its body, in bytes: the entry, moka's bookkeeping, and
/// what the allocator adds. Measured with a million entries, and rounded up.
const ENTRY_OVERHEAD: usize = 512;

/// Entries by name, bounded in bytes.
pub(crate) struct Local {
    entries: Cache<String, SharedEntry>,
}

/// Entries go when they may no longer be served.
struct UntilUseless;

impl Expiry<String, SharedEntry> for UntilUseless {
    fn expire_after_create(
        &self,
        _: &String,
        entry: &SharedEntry,
        _: std::time::Instant,
    ) -> Option<Duration> {
        Some(entry.good_for())
    }

    fn expire_after_update(
        &self,
        _: &String,
        entry: &SharedEntry,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.good_for())
    }
}

impl Local {
    pub(crate) fn new(max_bytes: u64) -> Self {
        let entries = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|name: &String, entry: &SharedEntry| {
                u32::try_from(name.capacity() + entry.len() + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
            })
            // What is asked for once does not drive out what is asked for often.
            .eviction_policy(EvictionPolicy::tiny_lfu())
            .expire_after(UntilUseless)
            .eviction_listener(|_: Arc<String>, _, cause| {
                let cause = match cause {
                    RemovalCause::Size => "size",
                    RemovalCause::Expired => "age",
                    RemovalCause::Explicit | RemovalCause::Replaced => return,
                };
                counter!(CACHE_EVICTIONS_TOTAL, "cause" => cause).increment(1);
            })
            .build();
        Self { entries }
    }

    /// The entry under `name`, unless something has outdated it.
    pub(crate) fn get(&self, name: &str, stamp: Stamp) -> Option<SharedEntry> {
        self.entries
            .get(name)
            .filter(|entry| entry.stamp == stamp && !entry.good_for().is_zero())
    }

    pub(crate) fn insert(&self, name: String, entry: SharedEntry) {
        self.entries.insert(name, entry);
    }

    /// Publishes how many bytes it holds.
    pub(crate) fn measure(&self) {
        self.entries.run_pending_tasks();
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
        gauge!(CACHE_BYTES).set(self.entries.weighted_size() as f64);
    }
}
