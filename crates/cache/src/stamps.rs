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
