//! Changes that the shared tier has not been told of yet.

use std::{
    collections::HashSet,
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bharatmart_domain::ProductId;
use bharatmart_telemetry::metrics::CACHE_INVALIDATIONS_PENDING;
use metrics::gauge;
use tokio::sync::{Notify, watch};

use crate::{Change, key::Shows};

/// More changed products than this outdate everything: an outage must not fill the memory, and after
/// so many changes little is left worth keeping.
const MOST_PRODUCTS: usize = 1000;

/// Collects changes for whoever announces them.
pub(crate) struct Pending {
    changes: Mutex<Unannounced>,
    more: Notify,
    /// Whether nothing may wait any more.
    hurried: AtomicBool,
    /// The number of the last change that has been announced.
    announced: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Unannounced {
    /// How many changes there have been so far, with those announced before.
    number: u64,
    pending: Changes,
    /// What is being announced.
    taken: Changes,
}

/// Changes put together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
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
        let id = match change {
            Change::Catalogue => {
                self.catalogue = true;
                return;
            }
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

    /// Takes back what could not be announced; what was added since is here already.
    fn put_back(&mut self, earlier: Self) {
        self.everything |= earlier.everything;
        self.catalogue |= earlier.catalogue;
        self.listed_stock |= earlier.listed_stock;
        if self.everything {
            self.products = HashSet::new();
        } else {
            self.products.extend(earlier.products);
            self.bound();
        }
    }

    /// Whether what shows this is outdated. Lists may lag behind the stock.
    fn outdate(&self, shows: Shows) -> bool {
        self.everything
            || match shows {
                Shows::Product(id) => self.products.contains(&id),
                Shows::Products | Shows::Catalogue => self.catalogue,
            }
    }

    /// Whether they outdate no page.
    pub(crate) fn leave_pages(&self) -> bool {
        !self.everything && self.products.is_empty()
    }

    fn len(&self) -> usize {
        self.products.len() + usize::from(self.everything)
    }
}

/// Changes that are being announced. Dropped before that is done, they are pending again.
pub(crate) struct Taken<'a> {
    pending: &'a Pending,
    pub(crate) changes: Changes,
    /// That of the last of them.
    number: u64,
    done: bool,
}

impl Taken<'_> {
    /// All processes have been told.
    pub(crate) fn done(mut self) {
        self.done = true;
        let number = self.number;
        self.pending.announced.send_if_modified(|announced| {
            let newer = number > *announced;
            *announced = number.max(*announced);
            newer
        });
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut unannounced = self.pending.lock();
        let taken = mem::take(&mut unannounced.taken);
        if !self.done {
            unannounced.pending.put_back(taken);
        }
        drop(unannounced);
        self.pending.measure();
    }
}

impl Pending {
    pub(crate) fn new() -> Self {
        Self {
            changes: Mutex::default(),
            more: Notify::new(),
            hurried: AtomicBool::new(false),
            announced: watch::Sender::new(0),
        }
    }

    /// Adds changes; their number is for [`Pending::announced`].
    pub(crate) fn add(&self, changes: &[Change]) -> u64 {
        let mut unannounced = self.lock();
        for change in changes {
            unannounced.number += 1;
            unannounced.pending.add(*change);
        }
        let number = unannounced.number;
        drop(unannounced);
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

    /// Has everything announced at once from now on, also what is owed to the lists; the number is for
    /// [`Pending::announced`].
    pub(crate) fn hurry(&self) -> u64 {
        self.hurried.store(true, Ordering::Release);
        let mut unannounced = self.lock();
        unannounced.number += 1;
        let number = unannounced.number;
        drop(unannounced);
        self.wake();
        number
    }

    pub(crate) fn is_hurried(&self) -> bool {
        self.hurried.load(Ordering::Acquire)
    }

    /// Takes all changes there are, once those taken before are done or dropped; `listed_stock` stays
    /// unless it is to be announced `with_stock`.
    pub(crate) fn take(&self, with_stock: bool) -> Taken<'_> {
        let mut unannounced = self.lock();
        let mut changes = mem::take(&mut unannounced.pending);
        if !with_stock {
            unannounced.pending.listed_stock = mem::take(&mut changes.listed_stock);
        }
        unannounced.taken = changes.clone();
        Taken {
            pending: self,
            changes,
            number: unannounced.number,
            done: false,
        }
    }

    /// Whether what the shared tier has under such a key may be from before a change that it has not
    /// been told of.
    pub(crate) fn outdates(&self, shows: Shows) -> bool {
        let unannounced = self.lock();
        unannounced.pending.outdate(shows) || unannounced.taken.outdate(shows)
    }

    /// Whether lists show another stock than there is.
    pub(crate) fn owes_listed_stock(&self) -> bool {
        self.lock().pending.listed_stock
    }

    /// Ends when the change of this number has been announced.
    pub(crate) async fn announced(&self, number: u64) {
        let mut announced = self.announced.subscribe();
        // The sender is in `self`.
        let _ = announced.wait_for(|announced| *announced >= number).await;
    }

    fn measure(&self) {
        let pending = self.lock().pending.len();
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
        gauge!(CACHE_INVALIDATIONS_PENDING).set(pending as f64);
    }

    fn lock(&self) -> MutexGuard<'_, Unannounced> {
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
    fn what_is_pending_or_being_announced_is_known_to_outdate_pages() {
        let (pending, changed, other) = (Pending::new(), id(), id());
        pending.add(&[Change::Stock(changed)]);
        let outdated = |pending: &Pending| {
            [
                Shows::Product(changed),
                Shows::Product(other),
                Shows::Products,
                Shows::Catalogue,
            ]
            .map(|shows| pending.outdates(shows))
        };
        assert_eq!(outdated(&pending), [true, false, false, false]);
        let taken = pending.take(true);
        assert_eq!(outdated(&pending), [true, false, false, false]);
        pending.add(&[Change::Product(other)]);
        assert_eq!(outdated(&pending), [true, true, true, true]);
        taken.done();
        assert_eq!(outdated(&pending), [false, true, true, true]);
        pending.take(true).done();
        assert_eq!(outdated(&pending), [false; 4]);
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
