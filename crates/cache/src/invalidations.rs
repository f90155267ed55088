//! Saying what has changed.

use std::{future::pending, panic::resume_unwind, sync::Arc, time::Duration};

use bharatmart_breaker::BreakerStatus;
use bharatmart_config::{CacheBackend, CacheConfig};
use bharatmart_domain::{Clock, ProductId};
use bharatmart_telemetry::metrics::CACHE_INVALIDATIONS_TOTAL;
use metrics::counter;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument;

use crate::{
    Away,
    entry::Ages,
    shared::{Shared, keep},
    stamps::Stamps,
};

/// How long a statement may still be under way when its connection is lost.
const UNCLEAR: Duration = Duration::from_secs(15);

/// What a write has done to what pages show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It was refused; nobody must be able to empty the cache with bad requests.
    Nothing,
    /// These changes are committed.
    Committed(Vec<Change>),
    /// Nobody knows: it failed half-way, and these changes may be committed, now or soon.
    Unclear(Vec<Change>),
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A product was added, nobody knows which: lists and categories show another catalogue.
    Catalogue,
    /// A product was added, edited, taken off sale or put back.
    Product(ProductId),
    /// A product's stock, and nothing else of it.
    Stock(ProductId),
}

impl Change {
    const fn subject(self) -> &'static str {
        match self {
            Self::Catalogue => "catalogue",
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
        if let Some((shared, number)) = self.note(changes) {
            told(shared, number).await;
        }
    }

    /// Announces what is left, at the end of the process: changes of stock that the lists still lag.
    pub async fn finish(&self) {
        if let Some(shared) = &self.shared {
            told(shared, shared.pending().hurry()).await;
        }
    }

    /// Runs `write` and announces its effect before it answers. Both in a task of its own, which ends
    /// whether or not the caller still waits: a statement goes on when whoever sent it is given up, and
    /// what it changes must be announced after it was committed, not before.
    pub async fn write<T, E>(
        &self,
        write: impl Future<Output = Result<T, E>> + Send + 'static,
        effect: impl FnOnce(&Result<T, E>) -> Effect + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let invalidations = self.clone();
        let task = async move {
            let result = write.await;
            match effect(&result) {
                Effect::Nothing => {}
                Effect::Committed(changes) => invalidations.announce(&changes).await,
                Effect::Unclear(changes) => {
                    invalidations.announce(&changes).await;
                    // The statement may still be under way on the server.
                    tokio::spawn(async move {
                        sleep(UNCLEAR).await;
                        invalidations.announce(&changes).await;
                    });
                }
            }
            result
        };
        match tokio::spawn(task.in_current_span()).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The runtime ends, and whoever waits here with it.
                Err(_) => pending().await,
            },
        }
    }

    /// Whether the shared tier can be used, if there is to be one.
    pub fn check(&self) -> Result<(), Away> {
        match &self.shared {
            Some(shared) if !shared.is_live() => Err(Away),
            _ => Ok(()),
        }
    }

    /// How the breaker before the shared tier does, if there is to be one.
    #[must_use]
    pub fn breaker(&self) -> Option<BreakerStatus> {
        self.shared.as_ref().map(|shared| shared.breaker())
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
                Change::Catalogue => self.stamps.outdate_catalogue(),
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

/// Waits until the change of this number has been announced, as long as there is somebody to tell.
async fn told(shared: &Shared, number: u64) {
    let told = async {
        tokio::select! {
            () = shared.pending().announced(number) => {}
            () = shared.away() => {}
        }
    };
    // A Redis that does not answer must not hold up what has been done already.
    let _ = timeout(shared.patience(), told).await;
}
