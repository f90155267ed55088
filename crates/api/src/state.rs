//! What handlers share.

use std::{ops::Deref, sync::Arc, time::Duration};

use axum::extract::FromRef;
use bharatmart_cache::{Cache, Invalidations};
use bharatmart_commerce::{Accounts, Gateway, Shop};
use bharatmart_config::{ApiConfig, AuthConfig, AuthProvider, WorkerMode};
use bharatmart_database::Database;
use bharatmart_domain::Clock;
use bharatmart_lifecycle::Health;
use bharatmart_queue::{JobQueues, RelayHandle};

use crate::{
    cached::Pages, events::EventStreams, limits::Limits, provider::Provider,
    storefront::Storefront, system::SystemInfo, webhooks::Webhooks,
};

/// The parts of the API. A handler asks for the part that it needs. Cheap to clone, which axum does
/// several times for every request.
#[derive(Clone)]
pub struct AppState(Arc<Parts>);

/// What an [`AppState`] shares.
pub struct Parts {
    /// What the shop does.
    pub shop: Shop,
    /// Signing up, in and out.
    pub accounts: Accounts,
    /// Who signs people in.
    pub provider: Provider,
    /// For reads that need no business rule.
    pub database: Database,
    /// How much one client may ask for.
    pub limits: Arc<Limits>,
    /// Pages that are the same for everybody.
    pub pages: Pages,
    /// Told what pages no longer show.
    pub invalidations: Invalidations,
    /// Who follows an order.
    pub events: EventStreams,
    /// For the queues' statistics.
    pub queues: JobQueues,
    /// Who does the jobs: whether there are queues besides the outbox.
    pub worker_mode: WorkerMode,
    /// What `/api/system/info` tells.
    pub info: SystemInfo,
    /// How long a request may take.
    pub request_timeout: RequestTimeout,
    /// Who may report what became of payments.
    pub webhooks: Webhooks,
    /// Pages beside the API.
    pub storefront: Storefront,
}

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

macro_rules! hand_out {
    ($($part:ident: $kind:ty),+ $(,)?) => {
        $(
            impl FromRef<AppState> for $kind {
                fn from_ref(state: &AppState) -> Self {
                    state.$part.clone()
                }
            }
        )+
    };
}

hand_out! {
    shop: Shop,
    accounts: Accounts,
    provider: Provider,
    database: Database,
    pages: Pages,
    invalidations: Invalidations,
    events: EventStreams,
    queues: JobQueues,
    worker_mode: WorkerMode,
    info: SystemInfo,
    request_timeout: RequestTimeout,
    webhooks: Webhooks,
    storefront: Storefront,
}

/// How long a request may take.
#[derive(Clone, Copy, Debug)]
pub struct RequestTimeout(pub Duration);

impl AppState {
    /// Puts the parts together as `config` says.
    #[must_use]
    pub fn new(
        config: &ApiConfig,
        database: Database,
        queues: JobQueues,
        relay: RelayHandle,
        health: &Health,
        clock: Arc<dyn Clock>,
    ) -> Self {
        // What requests wait for is bounded; what works in the background waits as long as it must.
        let unbounded = database;
        let database = unbounded
            .clone()
            .with_queue_of(config.limits.overload_delay);
        let invalidations = Invalidations::connect(&config.cache, clock.clone());
        // What it asks for now and then is not part of a request.
        let provider = Provider::new(&config.auth, &unbounded, clock.clone());
        let limits = Limits::new(
            &config.limits,
            provider.clone(),
            &invalidations,
            clock.clone(),
        );
        let info = SystemInfo::new(config, health.clone(), clock.now());
        Self(Arc::new(Parts {
            shop: Shop {
                database: database.clone(),
                relay: relay.clone(),
                // Jobs charge and refund over it as well.
                gateway: Gateway::new(&config.payment, unbounded.clone()),
                clock: clock.clone(),
                order_payment_timeout: config.payment.order_payment_timeout,
                low_stock_threshold: config.report.low_stock_threshold,
                invalidations: invalidations.clone(),
            },
            accounts: Accounts::new(
                database.clone(),
                clock,
                relay,
                refresh_lifetime(&config.auth),
            ),
            info,
            events: EventStreams::new(
                &config.http,
                config.auth.session_check_interval,
                unbounded,
                health.draining_token(),
            ),
            provider,
            limits,
            pages: Pages::new(
                Cache::new(&config.cache, invalidations.clone()),
                database.clone(),
            ),
            database,
            invalidations,
            queues,
            worker_mode: config.jobs.mode(),
            request_timeout: RequestTimeout(config.http.request_timeout),
            storefront: Storefront::new(config.http.frontend_dist.as_deref()),
            webhooks: Webhooks(config.webhook_secret.clone()),
        }))
    }
}

/// How long refresh tokens of ours are good; with another provider there are none.
const fn refresh_lifetime(config: &AuthConfig) -> Duration {
    match &config.provider {
        AuthProvider::Local(local) => local.jwt_refresh_expiry,
        AuthProvider::Supabase(_) => Duration::ZERO,
    }
}
