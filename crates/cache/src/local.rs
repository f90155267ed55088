//! The tier in the process.

use std::{sync::Arc, time::Duration};

use bharatmart_telemetry::metrics::{CACHE_BYTES, CACHE_EVICTIONS_TOTAL};
use metrics::{counter, gauge};
use moka::{Expiry, notification::RemovalCause, policy::EvictionPolicy, sync::Cache};

use crate::{entry::SharedEntry, stamps::Stamp};

/// What an entry costs beside its name and its body, in bytes: the entry, moka's bookkeeping, and
/// what the allocator adds. A million entries of 98 bytes made the process grow by 745 bytes each, a
/// hundred thousand by somewhat more.
const ENTRY_OVERHEAD: usize = 704;

/// One in so many bytes is counted for the holes that bodies of all lengths leave in memory when they come
/// and go. `cargo xtask bench cache --noise` shows what is left of the bound.
const HOLES: usize = 8;

/// Entries by name, bounded in bytes.
pub(crate) struct Local {
    entries: Cache<String, SharedEntry>,
    max_bytes: u64,
}

/// What an entry counts for, in bytes.
fn weight(name: &String, entry: &SharedEntry) -> u32 {
    let bytes = name.capacity() + entry.len();
    u32::try_from(bytes + bytes / HOLES + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
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
            .weigher(weight)
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
        Self { entries, max_bytes }
    }

    /// The entry under `name`, unless something has outdated it.
    pub(crate) fn get(&self, name: &str, stamp: Stamp) -> Option<SharedEntry> {
        self.entries
            .get(name)
            .filter(|entry| entry.stamp == stamp && !entry.good_for().is_zero())
    }

    pub(crate) fn insert(&self, name: String, entry: SharedEntry) {
        // What does not fit would only be driven out again.
        if u64::from(weight(&name, &entry)) <= self.max_bytes {
            self.entries.insert(name, entry);
        }
    }

    /// Publishes how many bytes it holds.
    pub(crate) fn measure(&self) {
        self.entries.run_pending_tasks();
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
        gauge!(CACHE_BYTES).set(self.entries.weighted_size() as f64);
    }
}

#[cfg(test)]
mod tests {
    use bharatmart_domain::ProductId;

    use super::*;
    use crate::{
        entry::{Body, Entry},
        key::Shows,
        stamps::Stamps,
    };

    const MINUTE: Duration = Duration::from_mins(1);

    fn entry(body: &[u8], stamp: Stamp, fresh: Duration, stale: Duration) -> SharedEntry {
        Arc::new(Entry::new(Some(Body::new(body)), stamp, 0, fresh, stale))
    }

    #[test]
    fn an_entry_is_found_until_its_stamp_is_old() {
        let (local, stamps) = (Local::new(1 << 20), Stamps::new());
        let stamp = stamps.of(Shows::Catalogue);
        local.insert("a".to_owned(), entry(b"{}", stamp, MINUTE, MINUTE));
        assert!(local.get("a", stamp).is_some());
        assert!(local.get("b", stamp).is_none());
        stamps.outdate_catalogue();
        assert!(local.get("a", stamps.of(Shows::Catalogue)).is_none());
    }

    #[test]
    fn an_entry_whose_time_is_up_is_not_found() {
        let local = Local::new(1 << 20);
        let stamp = Stamps::new().of(Shows::Product(ProductId::generate()));
        let none = Duration::ZERO;
        local.insert("a".to_owned(), entry(b"{}", stamp, none, none));
        assert!(local.get("a", stamp).is_none());
        local.insert("a".to_owned(), entry(b"{}", stamp, none, MINUTE));
        assert!(!local.get("a", stamp).unwrap().is_fresh());
    }

    #[test]
    fn it_holds_no_more_bytes_than_it_may() {
        let (max, size) = (1 << 20, 10_000);
        let local = Local::new(max);
        let stamp = Stamps::new().of(Shows::Products);
        for number in 0..1000 {
            let entry = entry(&vec![b'x'; size], stamp, MINUTE, MINUTE);
            local.insert(number.to_string(), entry);
        }
        local.entries.run_pending_tasks();
        let bytes = local.entries.weighted_size();
        assert!(bytes <= max && bytes > max / 2, "{bytes}");
        assert!(local.entries.entry_count() * size as u64 <= max);
    }
}
