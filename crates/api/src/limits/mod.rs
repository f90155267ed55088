//! How much one client may ask for.
//!
//! A client is the user of a good access token, else the address ([`Proxies`]); of IPv6 the network of 64 bits,
//! of which a single customer has at least one. Requests are counted in a window that slides ([`Tally`]).
//!
//! **Requests in general** are counted in the process, so that none waits for Redis. From a hundredth of the limit
//! on, a client's count is told to the other processes through the cache's Redis, at most 100 ms later, and theirs
//! is learnt in the same round trip. So one process never admits more than the limit, and `n` of them at most the
//! limit, `n - 1` hundredths of it, and what arrives at the others within the 100 ms and the round trip. What is
//! below a hundredth stays in the process: a million addresses of one request each cost Redis nothing.
//!
//! **Signing in and up, and refreshing,** is counted by Redis itself, exactly, before it is tried: these cost a
//! password's hash or guard one. A sign-in that succeeds is taken back: behind one address there may be many people.
//!
//! Without Redis, or when it does not answer within the time of a command, each process counts for itself and goes
//! on from what it knew: `n` processes then admit up to `n` times the limit. A process remembers
//! [`REMEMBERED`] clients of each kind of limit, those who ask most before the others.

mod address;
mod headers;
mod layer;
mod tally;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::extract::{ConnectInfo, Request};
use bharatmart_cache::{Ceiling, Counts, Invalidations, Window};
use bharatmart_config::LimitsConfig;
use bharatmart_domain::Clock;
use bharatmart_telemetry::metrics::RATE_LIMITED_TOTAL;
use futures_util::{StreamExt, stream};
use http::Method;
use metrics::{Counter, counter};
use moka::sync::Cache;
use tokio::time::sleep;
use uuid::Uuid;

pub(crate) use headers::EXPOSED;
pub(crate) use layer::Limit;

use crate::{overload::Processor, provider::Provider, router::HEALTH, tokens::bearer};
use address::Proxies;
use headers::Quota;
use tally::{Tally, Verdict};

/// How often the others are told.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// How many clients' counts are told at a time.
const TOLD_AT_A_TIME: usize = 32;
/// From this part of the limit on a client's count is told.
const TOLD_FROM: u64 = 100;
/// Clients whose counts a process remembers, for each policy.
const REMEMBERED: u64 = 50_000;

/// The gateway signs what it sends, and sends it again until it is taken.
pub(crate) const WEBHOOK: &str = "/api/payments/webhook";
/// Of these only failures count in the end.
const LOGIN: &str = "login";
/// Routes with limits of their own, and how many times `RATE_LIMIT_AUTH_MAX_REQUESTS` they allow. With the default of 20
/// in a quarter of an hour one address tries 80 passwords an hour (OWASP ASVS 4.0.3, 2.2.1, allows 100), of however
/// many accounts; those of one account, from wherever, `bharatmart_commerce` counts.
const STRICT: [(&str, &str, u64); 7] = [
    ("/api/auth/login", LOGIN, 1),
    ("/api/auth/signup", "signup", 1),
    ("/api/auth/forgot-password", "forgot-password", 1),
    ("/api/auth/reset-password", "reset-password", 1),
    ("/api/auth/verify-email", "verify-email", 1),
    ("/api/auth/verify-email/request", "verify-email-request", 1),
    ("/api/auth/refresh", "refresh", 10),
];

/// The address of the client behind a proxy, where there are any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

/// Whom a request counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Subject {
    /// By the id with whoever signs people in.
    User(Uuid),
    V4(Ipv4Addr),
    /// The first 64 bits.
    V6(u64),
}

impl From<IpAddr> for Subject {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(u64::try_from(address.to_bits() >> 64).unwrap_or(0)),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(formatter, "user:{id}"),
            Self::V4(address) => write!(formatter, "address:{address}"),
            Self::V6(network) => {
                let network = Ipv6Addr::from_bits(u128::from(*network) << 64);
                write!(formatter, "address:{network}/64")
            }
        }
    }
}

/// One limit.
struct Policy {
    name: &'static str,
    limit: u64,
    /// Whether a request that succeeds is taken back.
    only_failures: bool,
    /// What answers say of it.
    words: headers::Words,
    refused: Counter,
    tallies: Cache<Subject, SharedTally>,
}

type SharedTally = Arc<Mutex<Tally>>;

impl Policy {
    /// `None` when `limit` is 0: any number.
    fn new(name: &'static str, limit: u64, window: Duration) -> Option<Arc<Self>> {
        let policy = || Self {
            name,
            limit,
            only_failures: name == LOGIN,
            words: headers::Words::new(name, limit, window),
            refused: counter!(RATE_LIMITED_TOTAL, "policy" => name),
            tallies: Cache::builder()
                .max_capacity(REMEMBERED)
                // Then it does not count any more.
                .time_to_idle(window.saturating_mul(2))
                .build(),
        };
        (limit > 0).then(|| Arc::new(policy()))
    }

    /// Under which the processes share the count of `subject`.
    fn shared_name(&self, subject: Subject) -> String {
        format!("{}:{subject}", self.name)
    }

    fn tally(&self, subject: Subject) -> SharedTally {
        self.tallies.get_with(subject, SharedTally::default)
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    // Its numbers are right after every step.
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a request was counted.
struct Taken {
    window: Window,
    /// Whether the others know of it.
    is_shared: bool,
}

/// The limits of this process.
pub struct Limits {
    proxies: Proxies,
    /// Whether it is yet to be said, once, that there may be a proxy that is not believed.
    to_warn: AtomicBool,
    provider: Provider,
    clock: Arc<dyn Clock>,
    counts: Option<Counts>,
    window: Duration,
    requests: Option<Arc<Policy>>,
    /// Nobody is served in time when it is short of time.
    processor: Arc<Processor>,
    strict: Vec<(&'static str, Option<Arc<Policy>>)>,
    /// Clients whose counts are to be told.
    untold: Mutex<Vec<(Subject, SharedTally)>>,
}

impl Limits {
    /// As `config` says, with counts that the processes share through the cache's Redis if there is one. Needs a
    /// tokio runtime.
    #[must_use]
    pub fn new(
        config: &LimitsConfig,
        provider: Provider,
        invalidations: &Invalidations,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let window = config.window;
        let strict = STRICT.map(|(path, name, times)| {
            let limit = u64::from(config.auth_max_requests) * times;
            (path, Policy::new(name, limit, window))
        });
        let limits = Arc::new(Self {
            proxies: Proxies::new(config.trusted_proxies.clone(), config.trusted_proxy_header),
            to_warn: AtomicBool::new(config.warn_of_proxies),
            provider,
            clock,
            counts: Counts::over(invalidations),
            window,
            requests: Policy::new("requests", u64::from(config.max_requests), window),
            strict: strict.into(),
            processor: Processor::watch(config.overload_delay),
            untold: Mutex::default(),
        });
        if limits.counts.is_some() {
            tokio::spawn(keep_telling(Arc::downgrade(&limits)));
        }
        limits
    }

    /// Whether a request is refused because there is too much to do. Probes are not: a process that is busy is
    /// not to be restarted or left alone with what it has.
    fn sheds(&self, request: &Request) -> bool {
        self.processor.is_short() && !request.uri().path().starts_with(HEALTH)
    }

    /// The limit that a request falls under, and whether it is counted exactly.
    fn policy(&self, request: &Request) -> Option<(&Arc<Policy>, bool)> {
        let path = request.uri().path();
        // What is read beside the API is pages, of which each visit takes dozens of files.
        let is_of_a_page = request.method().is_safe() && !path.starts_with("/api/");
        if path.starts_with(HEALTH) || path == WEBHOOK || is_of_a_page {
            return None;
        }
        if request.method() == Method::POST
            && let Some((_, policy)) = self.strict.iter().find(|(strict, _)| *strict == path)
        {
            return policy.as_ref().map(|policy| (policy, true));
        }
        self.requests.as_ref().map(|policy| (policy, false))
    }

    /// Tells all who ask who the client is of a proxy that is believed.
    fn note_client(&self, request: &mut Request) {
        if self.to_warn.load(Ordering::Relaxed)
            && self.proxies.ignore(peer(request), request.headers())
            && self.to_warn.swap(false, Ordering::Relaxed)
        {
            tracing::warn!(
                "a client that is none of TRUSTED_PROXIES sends X-Forwarded-For or Forwarded; if it is a proxy, all \
                 who come through it are limited as one"
            );
        }
        if !self.proxies.are_none() {
            let client = ClientAddress(self.client(request));
            request.extensions_mut().insert(client);
        }
    }

    fn client(&self, request: &Request) -> IpAddr {
        self.proxies.client(peer(request), request.headers())
    }

    fn address(&self, request: &Request) -> Subject {
        let noted = request.extensions().get::<ClientAddress>();
        noted
            .map_or_else(|| self.client(request), |client| client.0)
            .into()
    }

    /// The user of a good token, whose claims the handler finds with the request; else the address.
    fn subject(&self, request: &mut Request) -> Subject {
        let token = bearer(request.headers()).and_then(Result::ok);
        match token.and_then(|token| self.provider.verify(token)) {
            Some(verified) => {
                let user = verified.user();
                request.extensions_mut().insert(verified);
                Subject::User(user)
            }
            None => self.address(request),
        }
    }

    fn now(&self) -> Window {
        let now = u64::try_from(self.clock.now().timestamp_millis()).unwrap_or_default();
        let length = u64::try_from(self.window.as_millis()).unwrap_or(u64::MAX);
        Window {
            index: now / length,
            length,
            elapsed: now % length,
        }
    }

    /// Counts a request in the process; the others are told later.
    fn count(&self, policy: &Arc<Policy>, subject: Subject) -> Quota {
        let shared = policy.tally(subject);
        let mut tally = lock(&shared);
        let verdict = tally.take(self.now(), policy.limit);
        let told_from = (policy.limit / TOLD_FROM).max(1);
        let to_tell = self.counts.is_some()
            && !tally.is_listed
            && tally.untold() > 0
            && tally.own() >= told_from;
        tally.is_listed |= to_tell;
        drop(tally);
        if to_tell {
            self.untold().push((subject, shared));
        }
        Quota::new(policy, verdict)
    }

    /// Counts a request for all processes at once; in this one alone if that is not possible.
    async fn count_exactly(&self, policy: &Arc<Policy>, subject: Subject) -> (Quota, Taken) {
        let (window, limit) = (self.now(), policy.limit);
        let counted = match &self.counts {
            Some(counts) => {
                let name = policy.shared_name(subject);
                counts.add(&name, window, 1, Some(Ceiling(limit))).await
            }
            None => None,
        };
        let is_shared = counted.is_some();
        let tally = policy.tally(subject);
        let mut tally = lock(&tally);
        let verdict: Verdict = match counted {
            Some(counted) => tally.settle(window, limit, counted),
            None => tally.take(window, limit),
        };
        (Quota::new(policy, verdict), Taken { window, is_shared })
    }

    /// Takes back what [`Limits::count_exactly`] has counted.
    async fn take_back(&self, policy: &Policy, subject: Subject, taken: Taken) {
        if taken.is_shared
            && let Some(counts) = &self.counts
        {
            let name = policy.shared_name(subject);
            counts.take_back(&name, taken.window).await;
        }
        lock(&policy.tally(subject)).take_back(taken.window, taken.is_shared);
    }

    fn untold(&self) -> MutexGuard<'_, Vec<(Subject, SharedTally)>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what the others do not know, and learns what they have counted.
    async fn tell(&self) {
        let (Some(counts), Some(policy)) = (&self.counts, &self.requests) else {
            return;
        };
        let untold = std::mem::take(&mut *self.untold());
        let telling = stream::iter(untold).for_each_concurrent(TOLD_AT_A_TIME, async |client| {
            let (subject, shared) = client;
            let (index, number) = {
                let mut tally = lock(&shared);
                tally.is_listed = false;
                (tally.index(), tally.untold())
            };
            // At the turn of a window the rest of the earlier one belongs to that.
            let window = Window {
                index,
                ..self.now()
            };
            let name = policy.shared_name(subject);
            // Without an answer it is told with the client's next request.
            if let Some(counted) = counts.add(&name, window, number, None).await {
                lock(&shared).tell(window, number, counted);
            }
        });
        telling.await;
    }
}

/// Whoever has connected.
fn peer(request: &Request) -> IpAddr {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip())
}

async fn keep_telling(limits: Weak<Limits>) {
    loop {
        sleep(TELL_EVERY).await;
        let Some(limits) = limits.upgrade() else {
            return;
        };
        limits.tell().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_addresses_fit_into_bounded_memory_and_the_busiest_client_stays() {
        let policy = Policy::new("test", 10, Duration::from_mins(15)).unwrap();
        let busy = Subject::V4(Ipv4Addr::LOCALHOST);
        let window = Window {
            index: 1,
            length: 900_000,
            elapsed: 0,
        };
        for number in 0..1_000_000_u32 {
            let subject = Subject::V6(u64::from(number));
            lock(&policy.tally(subject)).take(window, 10);
            if number.is_multiple_of(1000) {
                lock(&policy.tally(busy)).take(window, 10);
            }
        }
        policy.tallies.run_pending_tasks();
        assert!(policy.tallies.entry_count() <= REMEMBERED);
        let verdict = lock(&policy.tally(busy)).take(window, 10);
        assert!(verdict.refused_for.is_some(), "{verdict:?}");
    }

    #[test]
    fn a_network_of_64_bits_is_one_client() {
        let of = |text: &str| Subject::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(
            of("2001:db8:1:2::1").to_string(),
            "address:2001:db8:1:2::/64"
        );
    }
}
