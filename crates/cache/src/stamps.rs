//! What has been outdated in this process.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bharatmart_domain::ProductId;
use tokio::time::sleep;

use crate::{LISTED_STOCK_LAG, key::Shows};

/// Products share counters, so that these take constant memory: a change of one now and then outdates
/// the page of another, which costs a load.
const PRODUCT_COUNTERS: usize = 4096;

/// Counters that only grow. An entry remembers the sum of those it depends on, as of before it was
/// loaded; it is good for as long as the sum is the same.
#[derive(Debug)]
pub(crate) struct Stamps {
    everything: AtomicU64,
    catalogue: AtomicU64,
    stock: AtomicU64,
    products: Box<[AtomicU64]>,
    /// Whether the listed stock is going to be outdated.
    stock_soon: AtomicBool,
    hasher: RandomState,
}

/// The sum of the counters that an entry depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stamp(u64);

impl Stamps {
    pub(crate) fn new() -> Self {
        Self {
            everything: AtomicU64::new(0),
            catalogue: AtomicU64::new(0),
            stock: AtomicU64::new(0),
            products: (0..PRODUCT_COUNTERS).map(|_| AtomicU64::new(0)).collect(),
            stock_soon: AtomicBool::new(false),
            hasher: RandomState::new(),
        }
    }

    /// The stamp of what is loaded from now on.
    pub(crate) fn of(&self, shows: Shows) -> Stamp {
        let everything = self.everything.load(Ordering::Acquire);
        let rest = match shows {
            Shows::Product(id) => self.product(id).load(Ordering::Acquire),
            Shows::Products => {
                self.catalogue.load(Ordering::Acquire) + self.stock.load(Ordering::Acquire)
            }
            Shows::Catalogue => self.catalogue.load(Ordering::Acquire),
        };
        Stamp(everything + rest)
    }

    pub(crate) fn outdate_everything(&self) {
        self.everything.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn outdate_catalogue(&self) {
        self.catalogue.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn outdate_listed_stock(&self) {
        self.stock.fetch_add(1, Ordering::AcqRel);
    }

    /// [`Stamps::outdate_listed_stock`] once [`LISTED_STOCK_LAG`] has passed; once for all who ask until
    /// then, so that lists stay worth caching while orders come in.
    pub(crate) fn outdate_listed_stock_soon(stamps: &Arc<Self>) {
        if !stamps.stock_soon.swap(true, Ordering::AcqRel) {
            let stamps = Arc::clone(stamps);
            tokio::spawn(async move {
                sleep(LISTED_STOCK_LAG).await;
                // Who changes stock from here on needs another time.
                stamps.stock_soon.store(false, Ordering::Release);
                stamps.outdate_listed_stock();
            });
        }
    }

    pub(crate) fn outdate_product(&self, id: ProductId) {
        self.product(id).fetch_add(1, Ordering::AcqRel);
    }

    fn product(&self, id: ProductId) -> &AtomicU64 {
        // Hashed, because ids may be chosen; the remainder of a 64-bit number fits.
        let hash = self.hasher.hash_one(id.0);
        let index = usize::try_from(hash % PRODUCT_COUNTERS as u64).unwrap_or_default();
        &self.products[index]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> ProductId {
        ProductId::generate()
    }

    /// Which of page, another page, lists and categories are outdated.
    fn outdated(by: impl FnOnce(&Stamps, ProductId)) -> [bool; 4] {
        let stamps = Stamps::new();
        let page = id();
        // Products may share a counter.
        let other = std::iter::repeat_with(id)
            .find(|other| !std::ptr::eq(stamps.product(*other), stamps.product(page)))
            .unwrap();
        let shown = [
            Shows::Product(page),
            Shows::Product(other),
            Shows::Products,
            Shows::Catalogue,
        ];
        let before = shown.map(|shows| stamps.of(shows));
        by(&stamps, page);
        let after = shown.map(|shows| stamps.of(shows));
        std::array::from_fn(|index| before[index] != after[index])
    }

    #[test]
    fn each_change_outdates_what_shows_it_and_nothing_else() {
        let nothing = outdated(|_, _| {});
        assert_eq!(nothing, [false; 4]);
        let page = outdated(Stamps::outdate_product);
        assert_eq!(page, [true, false, false, false]);
        let catalogue = outdated(|stamps, _| stamps.outdate_catalogue());
        assert_eq!(catalogue, [false, false, true, true]);
        let stock = outdated(|stamps, _| stamps.outdate_listed_stock());
        assert_eq!(stock, [false, false, true, false]);
        let everything = outdated(|stamps, _| stamps.outdate_everything());
        assert_eq!(everything, [true; 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn listed_stock_is_outdated_once_for_all_changes_of_a_second() {
        let stamps = Arc::new(Stamps::new());
        let stock = || stamps.stock.load(Ordering::Acquire);
        for _ in 0..10 {
            Stamps::outdate_listed_stock_soon(&stamps);
            sleep(LISTED_STOCK_LAG / 20).await;
        }
        assert_eq!(stock(), 0);
        sleep(LISTED_STOCK_LAG).await;
        assert_eq!(stock(), 1);
        Stamps::outdate_listed_stock_soon(&stamps);
        sleep(LISTED_STOCK_LAG * 2).await;
        assert_eq!(stock(), 2);
    }

    proptest! {
        /// Whatever is outdated in whatever order: no stamp comes twice.
        #[test]
        fn an_old_stamp_never_comes_back(steps in prop::collection::vec(0_u8..4, 1..100)) {
            let (stamps, page) = (Stamps::new(), id());
            let mut seen = vec![stamps.of(Shows::Products)];
            for step in steps {
                match step {
                    0 => stamps.outdate_everything(),
                    1 => stamps.outdate_catalogue(),
                    2 => stamps.outdate_listed_stock(),
                    _ => stamps.outdate_product(page),
                }
                let stamp = stamps.of(Shows::Products);
                if step == 3 {
                    prop_assert_eq!(seen.last(), Some(&stamp));
                } else {
                    prop_assert!(!seen.contains(&stamp));
                    seen.push(stamp);
                }
            }
        }
    }
}
