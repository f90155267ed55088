//! Saying what has changed.

use std::sync::Arc;

use bharatmart_config::{CacheBackend, CacheConfig};
use bharatmart_domain::{Clock, ProductId};
use bharatmart_telemetry::metrics::CACHE_INVALIDATIONS_TOTAL;
use metrics::counter;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    Away,
    entry::Ages,
    shared::{Shared, keep},
    stamps::Stamps,
};

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A product was added, edited or taken off sale.
    Product(ProductId),
    /// A product's stock, and nothing else of it.
    Stock(ProductId),
}

impl Change {
    const fn subject(self) -> &'static str {
        match self {
            Self::Product(_) => "product",
            Self::Stock(_) => "stock",
        }
    }
}

/// Where changes are told, by whoever makes them; cheap to clone.
///
/// The connection to Redis is made and made again in the background, for as long as a clone exists.
#[derive(Clone)]
pub struct Invalidations {
    stamps: Arc<Stamps>,
    shared: Option<Arc<Shared>>,
    _keeping: Option<Arc<DropGuard>>,
}

impl Invalidations {
    /// Starts connecting, if the settings name a Redis, and returns at once; needs a tokio runtime.
    #[must_use]
    pub fn connect(config: &CacheConfig, clock: Arc<dyn Clock>) -> Self {
        let stamps = Arc::new(Stamps::new());
        let shared = match &config.backend {
            CacheBackend::None | CacheBackend::Memory => None,
            CacheBackend::Redis(redis) => Some(Arc::new(Shared::new(
                redis.clone(),
                Ages::new(config.ttl),
                Arc::clone(&stamps),
                clock,
            ))),
        };
        let keeping = shared.as_ref().map(|shared| {
            let stop = CancellationToken::new();
            let keeping = keep(Arc::clone(shared));
            tokio::spawn(stop.clone().run_until_cancelled_owned(keeping));
            Arc::new(stop.drop_guard())
        });
        Self {
            stamps,
            shared,
            _keeping: keeping,
        }
    }

    /// Announces changes that have been committed. When this returns, this process serves nothing from
    /// before, and the others have been told, unless Redis is away: then they are told when it is back.
    pub async fn announce(&self, changes: &[Change]) {
        let Some((shared, number)) = self.note(changes) else {
            return;
        };
        let told = async {
            tokio::select! {
                () = shared.pending().announced(number) => {}
                () = shared.away() => {}
            }
        };
        // A Redis that does not answer must not hold up what has been done already.
        let _ = timeout(shared.patience(), told).await;
    }

    /// To be held while changes are made: if it is dropped before it is told how that ended, because the
    /// client hung up or a handler failed half-way, they are announced, since they may have been committed.
    pub fn expect(&self, changes: impl IntoIterator<Item = Change>) -> Expected {
        Expected {
            invalidations: self.clone(),
            changes: changes.into_iter().collect(),
        }
    }

    /// Whether the shared tier can be used, if there is to be one.
    pub fn check(&self) -> Result<(), Away> {
        match &self.shared {
            Some(shared) if !shared.is_live() => Err(Away),
            _ => Ok(()),
        }
    }

    /// Outdates what this process holds, and leaves the rest to the keeper.
    fn note(&self, changes: &[Change]) -> Option<(&Arc<Shared>, u64)> {
        if changes.is_empty() {
            return None;
        }
        // Before the stamps are raised: who bears a new one knows that the shared tier is behind.
        let shared = self.shared.as_ref();
        let pending = shared.map(|shared| (shared, shared.pending().add(changes)));
        for change in changes {
            counter!(CACHE_INVALIDATIONS_TOTAL, "subject" => change.subject()).increment(1);
            match *change {
                Change::Product(id) => {
                    self.stamps.outdate_product(id);
                    self.stamps.outdate_catalogue();
                }
                Change::Stock(id) => {
                    self.stamps.outdate_product(id);
                    // The keeper sees to it for all processes.
                    if self.shared.is_none() {
                        Stamps::outdate_listed_stock_soon(&self.stamps);
                    }
                }
            }
        }
        pending
    }

    pub(crate) fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    pub(crate) const fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref()
    }
}

/// Changes that are being made; see [`Invalidations::expect`].
#[must_use]
pub struct Expected {
    invalidations: Invalidations,
    changes: Vec<Change>,
}

impl Expected {
    /// They have been committed; as [`Invalidations::announce`].
    pub async fn committed(mut self) {
        // Taken only when nothing can interrupt any more: dropped while it waits, it has noted them.
        let changes = std::mem::take(&mut self.changes);
        self.invalidations.announce(&changes).await;
    }

    /// Nothing has been changed.
    pub fn refused(mut self) {
        self.changes.clear();
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.invalidations.note(&self.changes);
    }
}
