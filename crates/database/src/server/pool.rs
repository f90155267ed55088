//! The pool of a server's connections.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bharatmart_telemetry::metrics::{
    DATABASE_ACQUIRE_SECONDS, DATABASE_POOL_CONNECTIONS, DATABASE_POOL_WAITERS,
};
use deadpool::managed::{self, Metrics, Object, PoolConfig, PoolError, QueueMode, RecycleError};
use futures_util::future::{BoxFuture, join_all};
use metrics::{Gauge, Histogram, gauge, histogram};
use sqlx::{Connection as _, PgConnection};
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{interval, sleep, timeout},
};

use super::{Host, Link, link::Health};
use crate::error::{Error, Result};

/// A connection that was not used for longer is tried before it is lent. A ping before each use would
/// double the round trips of a one-statement checkout.
const TRUSTED_IDLE: Duration = Duration::from_secs(5);
/// How long such a trial, or the attempt to connect to one of several hosts, may take.
const TRIAL: Duration = Duration::from_secs(1);
/// What a server that took no writes is believed for.
const TRUSTED_READ_ONLY: Duration = Duration::from_secs(1);
/// Connections are replaced after this long, give or take a sixth: a server, a pooler or a load balancer
/// behind the address gets its share of them again.
const LIFETIME: Duration = Duration::from_mins(30);
/// Connections beyond the minimum are closed when they were not used for so long.
const IDLE: Duration = Duration::from_mins(10);
/// How long to wait when the server takes no more connections, before it or the pool is asked again.
const FULL: Duration = Duration::from_millis(50);
const MAINTENANCE: Duration = Duration::from_secs(30);
/// How much longer than a statement may run it is waited for the end of one that nobody waits for.
const SETTLE_MARGIN: Duration = Duration::from_secs(1);

/// How many uses of connections the average of their times is of, about.
const USES_AVERAGED: u64 = 32;

/// Longer uses, such as those of exports, count as this long: one in a while says nothing of the others.
const LONGEST_USE: Duration = Duration::from_millis(100);

/// What a server is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Takes the writes.
    Primary,
    /// Is only read from.
    Replica,
}

/// How large a pool is and how long one waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    /// Connections that are kept open.
    pub(crate) kept: usize,
    /// How long to wait for a connection.
    pub(crate) patience: Duration,
    pub(crate) statement_timeout: Duration,
}

/// A server with its pool.
#[derive(Debug)]
pub(crate) struct Server {
    pool: managed::Pool<Manager>,
    limits: Limits,
    /// Those who have a connection or wait for one.
    load: AtomicUsize,
    /// For how long a connection is lent, on average, in nanoseconds.
    use_time: AtomicU64,
    /// What its monitor has given up.
    cuts: watch::Sender<Cuts>,
    gauges: Gauges,
}

/// How many times statements were given up.
#[derive(Clone, Copy, Debug, Default)]
struct Cuts {
    /// Since the server does not answer any more.
    lost: u64,
    /// Since another host is the one.
    moved: u64,
}

impl Cuts {
    const fn is_after(self, other: Self) -> bool {
        self.lost > other.lost || self.moved > other.moved
    }
}

struct Gauges {
    idle: Gauge,
    in_use: Gauge,
    waiters: Gauge,
    acquire_seconds: Histogram,
}

impl std::fmt::Debug for Gauges {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Gauges")
    }
}

impl Gauges {
    fn new(label: &str) -> Self {
        let label = label.to_owned();
        Self {
            idle: gauge!(DATABASE_POOL_CONNECTIONS, "server" => label.clone(), "state" => "idle"),
            in_use: gauge!(DATABASE_POOL_CONNECTIONS, "server" => label.clone(), "state" => "in_use"),
            waiters: gauge!(DATABASE_POOL_WAITERS, "server" => label.clone()),
            acquire_seconds: histogram!(DATABASE_ACQUIRE_SECONDS, "server" => label),
        }
    }
}

/// How full a pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    /// Connections that wait to be lent.
    pub idle: usize,
    /// Connections on loan.
    pub in_use: usize,
    /// Those who wait for a connection.
    pub waiters: usize,
}

impl Server {
    /// A server of `role` that is one of `hosts`. Connects at the first use.
    pub(crate) fn new(role: Role, hosts: Vec<Arc<Host>>, limits: Limits) -> Result<Arc<Self>> {
        let label = match role {
            Role::Primary => "primary".to_owned(),
            Role::Replica => hosts.first().map(ToString::to_string).unwrap_or_default(),
        };
        let mut config = PoolConfig::new(limits.connections);
        // What is not needed stays idle and is closed in the end.
        config.queue_mode = QueueMode::Lifo;
        let pool = managed::Pool::builder(Manager::new(role, hosts))
            .config(config)
            .build()
            .map_err(|error| Error::Settings(error.to_string()))?;
        Ok(Arc::new(Self {
            pool,
            limits,
            load: AtomicUsize::new(0),
            use_time: AtomicU64::new(0),
            cuts: watch::Sender::new(Cuts::default()),
            gauges: Gauges::new(&label),
        }))
    }

    pub(crate) fn hosts(&self) -> &[Arc<Host>] {
        &self.pool.manager().hosts
    }

    /// The host that connections are made to first.
    pub(crate) fn preferred(&self) -> usize {
        self.pool.manager().preferred.load(Ordering::Acquire)
    }

    /// Makes connections to this host from now on, whose timeline is the one that counts, and gives those to
    /// another one up.
    pub(crate) fn prefer(&self, host: usize, timeline: u32) {
        let manager = self.pool.manager();
        manager.timeline.store(timeline, Ordering::Release);
        if manager.preferred.swap(host, Ordering::AcqRel) != host {
            self.distrust();
            // Who waits for a connection gets one to the other host.
            self.cuts.send_modify(|cuts| cuts.moved += 1);
        }
    }

    /// Ends all statements that are under way and all who wait for a connection: the server does not answer.
    pub(crate) fn cut(&self) {
        self.distrust();
        self.cuts.send_modify(|cuts| cuts.lost += 1);
    }

    /// Waits for `work`, but no longer than until it `is_cut`.
    async fn until<T>(
        &self,
        is_cut: impl Fn(&Cuts) -> bool,
        work: impl Future<Output = sqlx::Result<T>>,
    ) -> sqlx::Result<T> {
        let mut cuts = self.cuts.subscribe();
        tokio::select! {
            biased;
            outcome = work => outcome,
            _ = cuts.wait_for(|cuts| is_cut(cuts)) => {
                Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::NotConnected, "the server was given up")))
            }
        }
    }

    /// Waits for `work` on a connection that was lent after `since`: until it is cut, and not much longer than a
    /// statement may run, since a server that is gone cannot end its statements.
    async fn bounded<T>(
        &self,
        since: Cuts,
        work: impl Future<Output = sqlx::Result<T>>,
    ) -> sqlx::Result<T> {
        let patience = self.limits.statement_timeout + SETTLE_MARGIN;
        timeout(patience, self.until(|cuts| cuts.is_after(since), work))
            .await
            .unwrap_or_else(|_| {
                let silent = "the server did not answer in time";
                Err(sqlx::Error::Io(io::Error::new(
                    io::ErrorKind::TimedOut,
                    silent,
                )))
            })
    }

    /// The latest timeline that was seen.
    pub(crate) fn timeline(&self) -> u32 {
        self.pool.manager().timeline.load(Ordering::Acquire)
    }

    /// Has every connection that was opened before tried before it is lent.
    pub(crate) fn distrust(&self) {
        self.pool.manager().epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// How many have a connection or wait for one.
    pub(crate) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// How long one more would wait for a connection, by Little's law: as long as those who wait before it need the
    /// connections, each as long as the last ones did.
    pub(crate) fn queue_delay(&self) -> Duration {
        let connections = self.limits.connections.max(1);
        let waiting = self.load().saturating_sub(connections);
        let use_time = Duration::from_nanos(self.use_time.load(Ordering::Relaxed));
        use_time.mul_f64(share(waiting, connections))
    }

    /// Lends a connection, within the patience of the settings.
    pub(crate) async fn lease(self: &Arc<Self>) -> Result<Lease> {
        let load = Load::on(self);
        let asked = Instant::now();
        let since = *self.cuts.borrow();
        // Large, and part of every request.
        let get = Box::pin(async { Ok(self.get().await) });
        let is_cut = |cuts: &Cuts| cuts.lost > since.lost;
        let object = timeout(self.limits.patience, self.until(is_cut, get))
            .await
            .map_err(|_| Error::Unavailable(sqlx::Error::PoolTimedOut))???;
        self.gauges
            .acquire_seconds
            .record(asked.elapsed().as_secs_f64());
        Ok(Lease {
            object: Some(object),
            broken: None,
            load: Some(load),
            server: Arc::clone(self),
            since: *self.cuts.borrow(),
            lent: Instant::now(),
        })
    }

    /// A connection was lent for so long.
    fn note_use(&self, time: Duration) {
        let time = u64::try_from(time.min(LONGEST_USE).as_nanos()).unwrap_or(u64::MAX);
        let average = self.use_time.load(Ordering::Relaxed);
        let new = average - average / USES_AVERAGED + time / USES_AVERAGED;
        self.use_time.store(new, Ordering::Relaxed);
    }

    async fn get(&self) -> Result<Object<Manager>> {
        loop {
            match self.pool.get().await {
                Ok(object) => return Ok(object),
                // Somebody gives a connection back, or another process does.
                Err(PoolError::Backend(error)) if error.is_full() => sleep(FULL).await,
                Err(PoolError::Backend(error)) => return Err(error),
                // Neither hooks nor timeouts of its own are set, and it is never closed.
                Err(_) => return Err(Error::Unavailable(sqlx::Error::PoolClosed)),
            }
        }
    }

    /// How full the pool is.
    pub(crate) fn status(&self) -> PoolStatus {
        let status = self.pool.status();
        PoolStatus {
            idle: status.available,
            in_use: status.size.saturating_sub(status.available),
            waiters: status.waiting,
        }
    }

    /// Publishes how full the pool is.
    pub(crate) fn measure(&self) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a pool holds far fewer than 2^52"
        )]
        let set = |gauge: &Gauge, value: usize| gauge.set(value as f64);
        let status = self.status();
        set(&self.gauges.idle, status.idle);
        set(&self.gauges.in_use, status.in_use);
        set(&self.gauges.waiters, status.waiters);
    }

    /// Closes what is idle for long and opens what is to be kept, for ever.
    pub(crate) async fn maintain(self: Arc<Self>) {
        let mut ticks = interval(MAINTENANCE);
        loop {
            ticks.tick().await;
            let mut spare = self.status().idle.saturating_sub(self.limits.kept);
            let closed = self.pool.retain(|_, metrics| {
                let close = spare > 0 && metrics.last_used() > IDLE;
                spare -= usize::from(close);
                !close
            });
            for link in closed.removed {
                // A server that is away is told nothing.
                let _ = timeout(TRIAL, link.connection.close()).await;
            }
            self.fill().await;
        }
    }

    /// Opens connections until as many are there as are to be kept.
    async fn fill(self: &Arc<Self>) {
        let kept = self.limits.kept;
        if self.pool.status().size >= kept {
            return;
        }
        // At the same time, or one would be lent again and again.
        let mut leases = Vec::with_capacity(kept);
        for _ in 0..kept {
            match self.lease().await {
                Ok(lease) => leases.push(lease),
                // Whoever needs one finds out, too, and says so.
                Err(_) => return,
            }
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "far fewer than 2^52 wait for a connection"
)]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

/// Counts one who has a connection or waits for one.
#[derive(Debug)]
struct Load(Arc<Server>);

impl Load {
    fn on(server: &Arc<Server>) -> Self {
        server.load.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(server))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection on loan. It goes back when it is dropped, at rest or not at all.
#[derive(Debug)]
pub(crate) struct Lease {
    object: Option<Object<Manager>>,
    /// Instead of that, a broken connection whose place in the pool was given up.
    broken: Option<Link>,
    load: Option<Load>,
    server: Arc<Server>,
    /// What there was of it when the connection was lent.
    since: Cuts,
    lent: Instant,
}

impl Lease {
    #[expect(
        clippy::expect_used,
        reason = "the connection is there until the lease is dropped"
    )]
    pub(crate) fn link(&mut self) -> &mut Link {
        let lent = self.object.as_deref_mut();
        lent.or(self.broken.as_mut())
            .expect("a lease has a connection")
    }

    /// Runs a piece of work on the connection, and notes what state that leaves it in. Work that the server
    /// does not end in time is given up, and the connection with it.
    pub(crate) async fn run<T>(
        &mut self,
        work: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, sqlx::Result<T>>,
    ) -> sqlx::Result<T> {
        let (server, since) = (Arc::clone(&self.server), self.since);
        let link = self.link();
        link.health = Health::Busy;
        let outcome = server.bounded(since, work(&mut link.connection)).await;
        link.note(&outcome);
        outcome
    }

    /// Gives a broken connection's place in the pool up, for those who want one that works.
    pub(crate) fn discard(&mut self) {
        if self.link().health == Health::Broken
            && let (Some(object), Some(load)) = (self.object.take(), self.load.take())
        {
            load.0.distrust();
            self.broken = Some(Object::take(object));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.server.note_use(self.lent.elapsed());
        self.discard();
        let (Some(mut object), Some(load)) = (self.object.take(), self.load.take()) else {
            return;
        };
        match object.health {
            Health::Idle | Health::Broken => {}
            Health::Busy => {
                let Ok(runtime) = Handle::try_current() else {
                    drop(Object::take(object));
                    return;
                };
                // Its place in the pool stays taken until the server is done with it: many who give up
                // must not make many connections.
                let since = self.since;
                runtime.spawn(async move {
                    if load.0.bounded(since, object.settle()).await.is_err() {
                        drop(Object::take(object));
                    }
                    drop(load);
                });
            }
        }
    }
}

/// Makes and tries connections.
#[derive(Debug)]
pub(crate) struct Manager {
    role: Role,
    hosts: Vec<Arc<Host>>,
    preferred: AtomicUsize,
    /// How many times connections turned out to be broken.
    epoch: AtomicU64,
    /// The latest timeline of a writable host. One with an older timeline was the primary once.
    timeline: AtomicU32,
}

impl Manager {
    fn new(role: Role, hosts: Vec<Arc<Host>>) -> Self {
        Self {
            role,
            hosts,
            preferred: AtomicUsize::new(0),
            epoch: AtomicU64::new(0),
            timeline: AtomicU32::new(0),
        }
    }

    async fn open(&self, host: &Arc<Host>) -> Result<Link> {
        let epoch = self.epoch.load(Ordering::Acquire);
        let mut link = Link::open(host, self.role == Role::Replica).await?;
        link.epoch = epoch;
        Ok(link)
    }

    async fn try_open(&self, index: usize) -> Result<Link> {
        timeout(TRIAL, self.open(&self.hosts[index]))
            .await
            .map_err(|_| Error::silent())?
    }

    /// Connects to the host that took writes last; if it does not any more, to the one of the latest timeline
    /// that does; if none does, to a primary that can at least be read from. A standby shows too little, and
    /// a primary that another has taken over from shows what is not so.
    async fn open_one(&self) -> Result<Link> {
        let mut all = Vec::with_capacity(self.hosts.len());
        let preferred = self.preferred.load(Ordering::Acquire);
        // As long as no timeline is known, the first host that takes writes may be one of the past.
        let is_known = self.timeline.load(Ordering::Acquire) > 0;
        if is_known {
            let opened = self.try_open(preferred).await;
            if let Ok(link) = &opened
                && link.is_writable()
                && self.is_current(link)
            {
                return opened;
            }
            all.push((preferred, opened));
        }
        let others = (0..self.hosts.len()).filter(|index| !is_known || *index != preferred);
        let others = others.map(async |index| (index, self.try_open(index).await));
        all.extend(join_all(others).await);

        let mut failure = None;
        let mut best: Option<(usize, Link)> = None;
        let rank = |link: &Link| (link.is_writable(), link.facts.timeline);
        for (index, opened) in all {
            match opened {
                Ok(link) if link.facts.in_recovery || !self.is_current(&link) => {}
                Ok(link) => {
                    if best.as_ref().is_none_or(|best| rank(&best.1) < rank(&link)) {
                        best = Some((index, link));
                    }
                }
                Err(error) => failure = Some(error),
            }
        }
        // A later one may have shown that an earlier one is not current.
        match best.filter(|(_, link)| self.is_current(link)) {
            Some((index, link)) => {
                if link.is_writable() {
                    self.preferred.store(index, Ordering::Release);
                }
                Ok(link)
            }
            None => Err(failure.unwrap_or(Error::ReadOnly)),
        }
    }

    /// Whether a server is not one that another has taken over from.
    fn is_current(&self, link: &Link) -> bool {
        let timeline = link.facts.timeline;
        self.timeline.fetch_max(timeline, Ordering::AcqRel) <= timeline
    }

    /// Why a connection is not to be lent again.
    fn objection(&self, link: &Link) -> Option<&'static str> {
        if link.health != Health::Idle {
            return Some("it is not at rest");
        }
        if link.opened.elapsed() > link.lifetime {
            return Some("it is old");
        }
        if self.role == Role::Primary {
            let preferred = self.preferred.load(Ordering::Acquire);
            if !Arc::ptr_eq(&link.host, &self.hosts[preferred]) {
                return Some("another host is the primary");
            }
            if !link.is_writable() && link.opened.elapsed() > TRUSTED_READ_ONLY {
                return Some("the server may take writes by now");
            }
        }
        None
    }
}

impl managed::Manager for Manager {
    type Type = Link;
    type Error = Error;

    async fn create(&self) -> Result<Link> {
        let mut link = match self.hosts.as_slice() {
            [host] => self.open(host).await?,
            _ => Box::pin(self.open_one()).await?,
        };
        link.lifetime = LIFETIME.mul_f64(rand::random_range(0.83..=1.17));
        Ok(link)
    }

    async fn recycle(&self, link: &mut Link, metrics: &Metrics) -> managed::RecycleResult<Error> {
        if let Some(objection) = self.objection(link) {
            return Err(RecycleError::message(objection));
        }
        let epoch = self.epoch.load(Ordering::Acquire);
        if link.epoch != epoch || metrics.last_used() > TRUSTED_IDLE {
            match timeout(TRIAL, link.connection.ping()).await {
                Ok(Ok(())) => link.epoch = epoch,
                Ok(Err(_)) | Err(_) => return Err(RecycleError::message("it is broken")),
            }
        }
        Ok(())
    }
}
