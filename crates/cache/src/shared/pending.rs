//! Changes that the shared tier has not been told of yet.

use std::{
    collections::HashSet,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bharatmart_domain::ProductId;
use bharatmart_telemetry::metrics::CACHE_INVALIDATIONS_PENDING;
use metrics::gauge;
use tokio::sync::{Notify, watch};

use crate::Change;

/// More changed products than this outdate everything: an outage must not fill the memory, and after
/// so many changes little is left worth keeping.
const MOST_PRODUCTS: usize = 1000;

/// Collects changes for whoever announces them.
pub(crate) struct Pending {
    changes: Mutex<Changes>,
    more: Notify,
    /// The number of the last change that has been announced.
    announced: watch::Sender<u64>,
}

/// Changes put together.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// How many there have been so far, with those announced before.
    number: u64,
    /// There were too many to tell them one by one.
    pub(crate) everything: bool,
    pub(crate) catalogue: bool,
    /// Products whose pages have changed.
    pub(crate) products: HashSet<ProductId>,
    /// Lists show another stock than there is.
    pub(crate) listed_stock: bool,
}

impl Changes {
    fn add(&mut self, change: Change) {
        self.number += 1;
        let id = match change {
            Change::Product(id) => {
                self.catalogue = true;
                id
            }
            Change::Stock(id) => {
                self.listed_stock = true;
                id
            }
        };
        if !self.everything {
            self.products.insert(id);
            self.bound();
        }
    }

    fn bound(&mut self) {
        if self.products.len() > MOST_PRODUCTS {
            self.everything = true;
            self.products = HashSet::new();
        }
    }

    /// Puts back what could not be announced; what was added since is there already.
    fn put_back(&mut self, earlier: &mut Self) {
        self.everything |= earlier.everything;
        self.catalogue |= earlier.catalogue;
        self.listed_stock |= earlier.listed_stock;
        if self.everything {
            self.products = HashSet::new();
        } else {
            self.products.extend(earlier.products.drain());
            self.bound();
        }
    }

    fn len(&self) -> usize {
        self.products.len() + usize::from(self.everything)
    }
}

/// Changes that are being announced. Dropped before that is done, they are pending again.
pub(crate) struct Taken<'a> {
    pending: &'a Pending,
    pub(crate) changes: Changes,
    done: bool,
}

impl Taken<'_> {
    /// All processes have been told.
    pub(crate) fn done(mut self) {
        self.done = true;
        let number = self.changes.number;
        self.pending.announced.send_if_modified(|announced| {
            let newer = number > *announced;
            *announced = number.max(*announced);
            newer
        });
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.pending.lock().put_back(&mut self.changes);
        }
        self.pending.measure();
    }
}

impl Pending {
    pub(crate) fn new() -> Self {
        Self {
            changes: Mutex::default(),
            more: Notify::new(),
            announced: watch::Sender::new(0),
        }
    }

    /// Adds changes; their number is for [`Pending::announced`].
    pub(crate) fn add(&self, changes: &[Change]) -> u64 {
        let mut pending = self.lock();
        for change in changes {
            pending.add(*change);
        }
        let number = pending.number;
        drop(pending);
        self.measure();
        self.more.notify_one();
        number
    }

    /// Ends when changes were added since the last time.
    pub(crate) async fn more(&self) {
        self.more.notified().await;
    }

    /// Makes [`Pending::more`] end.
    pub(crate) fn wake(&self) {
        self.more.notify_one();
    }

    /// Takes all changes there are; `listed_stock` stays unless it is to be announced `with_stock`.
    pub(crate) fn take(&self, with_stock: bool) -> Taken<'_> {
        let mut pending = self.lock();
        let number = pending.number;
        let mut changes = mem::take(&mut *pending);
        pending.number = number;
        if !with_stock {
            pending.listed_stock = mem::take(&mut changes.listed_stock);
        }
        Taken {
            pending: self,
            changes,
            done: false,
        }
    }

    /// Whether lists show another stock than there is.
    pub(crate) fn owes_listed_stock(&self) -> bool {
        self.lock().listed_stock
    }

    /// Ends when the change of this number has been announced.
    pub(crate) async fn announced(&self, number: u64) {
        let mut announced = self.announced.subscribe();
        // The sender is in `self`.
        let _ = announced.wait_for(|announced| *announced >= number).await;
    }

    fn measure(&self) {
        let pending = self.lock().len();
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
        gauge!(CACHE_INVALIDATIONS_PENDING).set(pending as f64);
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        // Nothing panics under it.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use uuid::Uuid;

    use super::*;

    fn id() -> ProductId {
        ProductId(Uuid::new_v4())
    }

    #[test]
    fn what_could_not_be_announced_is_pending_again_with_what_came_since() {
        let (pending, first, second) = (Pending::new(), id(), id());
        pending.add(&[Change::Product(first)]);
        let taken = pending.take(true);
        let number = pending.add(&[Change::Stock(second)]);
        drop(taken);
        assert!(pending.announced(number).now_or_never().is_none());
        let taken = pending.take(true);
        assert_eq!(taken.changes.products, HashSet::from([first, second]));
        assert!(taken.changes.catalogue && taken.changes.listed_stock);
        taken.done();
        assert!(pending.announced(number).now_or_never().is_some());
        assert!(pending.take(true).changes.products.is_empty());
    }

    #[test]
    fn a_change_made_during_an_announcement_is_not_announced_by_it() {
        let pending = Pending::new();
        pending.add(&[Change::Product(id())]);
        let taken = pending.take(true);
        let number = pending.add(&[Change::Product(id())]);
        taken.done();
        assert!(pending.announced(number).now_or_never().is_none());
    }

    #[test]
    fn listed_stock_is_owed_until_it_is_announced() {
        let pending = Pending::new();
        pending.add(&[Change::Stock(id())]);
        pending.take(false).done();
        assert!(pending.owes_listed_stock());
        drop(pending.take(true));
        assert!(pending.owes_listed_stock());
        pending.take(true).done();
        assert!(!pending.owes_listed_stock());
    }

    #[test]
    fn too_many_changes_become_one_of_everything() {
        let pending = Pending::new();
        for _ in 0..=MOST_PRODUCTS {
            pending.add(&[Change::Stock(id())]);
        }
        let taken = pending.take(true);
        assert!(taken.changes.everything && taken.changes.products.is_empty());
        drop(taken);
        pending.add(&[Change::Stock(id())]);
        let taken = pending.take(true);
        assert!(taken.changes.everything && taken.changes.products.is_empty());
    }
}
