//! A replica: how far it has come, and whether it is read from.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bharatmart_config::PoolerMode;
use bharatmart_telemetry::metrics::{
    DATABASE_REPLICA_IN_ROTATION, DATABASE_REPLICA_LAG_BYTES, DATABASE_REPLICA_LAG_SECONDS,
    DATABASE_REPLICA_ROTATION_CHANGES_TOTAL,
};
use metrics::{Gauge, counter, gauge};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    error::{Error, Result},
    position::Position,
    primary::Primary,
    server::{Content, Facts, Link, Server},
};

/// How often a replica is asked when nobody waits for it.
const INTERVAL: Duration = Duration::from_millis(250);
/// How often while somebody waits for it to reach a position.
const CLOSE_INTERVAL: Duration = Duration::from_millis(1);
/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a replica is in rotation or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It is read from.
    In,
    /// It was not asked yet, or has not caught up since.
    New,
    /// It does not answer.
    Unreachable,
    /// It lags more than the settings allow.
    Lagging,
    /// It replays no log: it is a primary.
    Promoted,
    /// It has not followed the primary since another server took over, or is ahead of it.
    Diverged,
    /// It is a replica of something else.
    Foreign,
    /// Its role does not see the shop's rows.
    Unfit,
}

impl Rotation {
    /// The value of the label `reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "in_rotation",
            Self::New => "new",
            Self::Unreachable => "unreachable",
            Self::Lagging => "lagging",
            Self::Promoted => "promoted",
            Self::Diverged => "diverged",
            Self::Foreign => "foreign",
            Self::Unfit => "unfit",
        }
    }
}

/// A replica as its monitor sees it.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) server: Arc<Server>,
    rotation: watch::Sender<Rotation>,
    /// Whether a connection to it was lost and its monitor has not heard from it since.
    is_suspect: AtomicBool,
    replayed: watch::Sender<Replayed>,
    lag_micros: AtomicU64,
    lag_bytes: AtomicU64,
    /// Which server the monitor speaks with.
    identity: AtomicI64,
    /// Those who wait for a position.
    waiting: AtomicUsize,
    wake: Notify,
    gauges: Gauges,
}

/// Up to where a replica has replayed the log.
#[derive(Clone, Copy, Debug)]
struct Replayed {
    /// On the timeline of the primary.
    position: Position,
    /// When it was asked.
    asked: std::time::Instant,
}

impl Replayed {
    fn nothing() -> Self {
        Self {
            position: Position::ZERO,
            asked: std::time::Instant::now(),
        }
    }
}

struct Gauges {
    in_rotation: Gauge,
    lag_seconds: Gauge,
    lag_bytes: Gauge,
}

impl std::fmt::Debug for Gauges {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Gauges")
    }
}

/// How a replica does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Its host and port.
    pub name: String,
    /// Whether it is read from.
    pub rotation: Rotation,
    /// How much of the log it has not replayed yet, in bytes.
    pub lag_bytes: u64,
    /// How old the oldest thing is that it does not show yet.
    pub lag: Duration,
}

impl Replica {
    pub(crate) fn new(server: Arc<Server>) -> Arc<Self> {
        let name = server.hosts()[0].to_string();
        let gauges = Gauges {
            in_rotation: gauge!(DATABASE_REPLICA_IN_ROTATION, "replica" => name.clone()),
            lag_seconds: gauge!(DATABASE_REPLICA_LAG_SECONDS, "replica" => name.clone()),
            lag_bytes: gauge!(DATABASE_REPLICA_LAG_BYTES, "replica" => name),
        };
        gauges.in_rotation.set(0.0);
        Arc::new(Self {
            server,
            rotation: watch::Sender::new(Rotation::New),
            is_suspect: AtomicBool::new(false),
            replayed: watch::Sender::new(Replayed::nothing()),
            lag_micros: AtomicU64::new(0),
            lag_bytes: AtomicU64::new(0),
            identity: AtomicI64::new(0),
            waiting: AtomicUsize::new(0),
            wake: Notify::new(),
            gauges,
        })
    }

    fn name(&self) -> &str {
        &self.server.hosts()[0].name
    }

    pub(crate) fn is_in_rotation(&self) -> bool {
        *self.rotation.borrow() == Rotation::In && !self.is_suspect.load(Ordering::Acquire)
    }

    pub(crate) fn has_replayed(&self, position: Position) -> bool {
        self.replayed.borrow().position >= position
    }

    /// How old the oldest thing is that it does not show yet.
    pub(crate) fn lag(&self) -> Duration {
        Duration::from_micros(self.lag_micros.load(Ordering::Relaxed))
    }

    pub(crate) fn status(&self) -> ReplicaStatus {
        ReplicaStatus {
            name: self.name().to_owned(),
            rotation: *self.rotation.borrow(),
            lag_bytes: self.lag_bytes.load(Ordering::Relaxed),
            lag: self.lag(),
        }
    }

    /// Waits until it has replayed the log up to `position`; whether it has by `deadline`.
    pub(crate) async fn reach(&self, position: Position, deadline: Instant) -> bool {
        let mut replayed = self.replayed.subscribe();
        let _waiting = Waiting::on(self);
        let reached = replayed.wait_for(|replayed| replayed.position >= position);
        matches!(timeout_at(deadline, reached).await, Ok(Ok(_)))
    }

    /// Whether the server behind a connection has replayed the log up to `position`. Usually that is known. It is
    /// not when several servers share the address, nor when the server was last asked before the connection was
    /// made: after a crash a standby begins again further back.
    pub(crate) async fn has_reached(&self, link: &mut Link, position: Position) -> Result<bool> {
        let Replayed {
            position: replayed,
            asked,
        } = *self.replayed.borrow();
        let is_the_one = link.facts.server == self.identity.load(Ordering::Acquire)
            && link.mode == PoolerMode::Session
            && asked > link.opened;
        if is_the_one {
            return Ok(replayed >= position);
        }
        let facts = link.ask().await?;
        Ok(facts.in_recovery && facts.position.on(replayed.timeline()) >= position)
    }

    /// Has nobody sent to it until its monitor has heard from it. Those who are there stay: one lost connection
    /// is no verdict.
    pub(crate) fn suspect(&self) {
        self.is_suspect.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Publishes the lag of one that follows the primary; that of others nobody knows.
    fn show_lag(&self, rotation: Rotation) {
        let follows = matches!(rotation, Rotation::In | Rotation::New | Rotation::Lagging);
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
        let bytes = self.lag_bytes.load(Ordering::Relaxed) as f64;
        let (bytes, seconds) = if follows {
            (bytes, self.lag().as_secs_f64())
        } else {
            (f64::NAN, f64::NAN)
        };
        self.gauges.lag_bytes.set(bytes);
        self.gauges.lag_seconds.set(seconds);
    }

    /// Notes whether it is read from; says so when that changes.
    fn turn(&self, to: Rotation) {
        let from = self.rotation.send_replace(to);
        self.is_suspect.store(false, Ordering::Release);
        if from == to {
            return;
        }
        let is_in = to == Rotation::In;
        self.gauges.in_rotation.set(if is_in { 1.0 } else { 0.0 });
        counter!(
            DATABASE_REPLICA_ROTATION_CHANGES_TOTAL,
            "replica" => self.name().to_owned(),
            "reason" => to.as_str()
        )
        .increment(1);
        let lag_ms = u64::try_from(self.lag().as_millis()).unwrap_or(u64::MAX);
        if is_in {
            tracing::info!(replica = self.name(), lag_ms, "replica in rotation");
        } else if to != Rotation::Unreachable && to != Rotation::New {
            // The monitor has said why it is unreachable, and a new one has not been in.
            tracing::warn!(
                replica = self.name(),
                reason = to.as_str(),
                lag_ms,
                "replica out of rotation"
            );
        }
    }
}

/// Counts one who waits for a position, so that the monitor looks closely.
struct Waiting<'a>(&'a Replica);

impl<'a> Waiting<'a> {
    fn on(replica: &'a Replica) -> Self {
        replica.waiting.fetch_add(1, Ordering::AcqRel);
        replica.wake.notify_one();
        Self(replica)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Watches a replica, in a task of its own, over a connection of its own.
pub(crate) struct Monitor {
    replica: Arc<Replica>,
    primary: Arc<Primary>,
    max_lag: Duration,
    link: Option<Link>,
    /// What it holds, once it was asked.
    content: Option<Content>,
    /// What it must have replayed before it is read from, and in which term of the primary that was set.
    admission: Option<(u64, Position)>,
    /// When the primary was last asked because this one had more than was known.
    compared: Option<Instant>,
}

impl Monitor {
    pub(crate) const fn new(
        replica: Arc<Replica>,
        primary: Arc<Primary>,
        max_lag: Duration,
    ) -> Self {
        Self {
            replica,
            primary,
            max_lag,
            link: None,
            content: None,
            admission: None,
            compared: None,
        }
    }

    /// Watches for ever.
    pub(crate) async fn run(mut self) {
        loop {
            let asked = std::time::Instant::now();
            let rotation = match self.look().await {
                Ok(facts) => self.judge(facts, asked).await,
                Err(error) => {
                    self.link = None;
                    self.lose(&error);
                    Rotation::Unreachable
                }
            };
            self.replica.turn(rotation);
            self.replica.show_lag(rotation);
            let is_close =
                rotation == Rotation::In && self.replica.waiting.load(Ordering::Acquire) > 0;
            if is_close {
                sleep(CLOSE_INTERVAL).await;
                continue;
            }
            tokio::select! {
                () = self.replica.wake.notified() => {}
                () = sleep(INTERVAL) => {}
            }
        }
    }

    /// Asks the replica what it is and how far it has come.
    async fn look(&mut self) -> Result<Facts> {
        let host = &self.replica.server.hosts()[0];
        let asked = async {
            if let Some(link) = &mut self.link
                && let Ok(facts) = link.ask().await
            {
                return Ok::<_, sqlx::Error>(facts);
            }
            // One broken connection is no verdict: a new one tells. What the old one told holds no more.
            self.replica.server.distrust();
            self.replica.replayed.send_replace(Replayed::nothing());
            let mut link = Link::open(host, true).await?;
            self.content = Some(link.content().await?);
            self.replica
                .identity
                .store(link.facts.server, Ordering::Release);
            Ok(self.link.insert(link).facts)
        };
        timeout(PATIENCE, asked)
            .await
            .map_err(|_| Error::silent())?
            .map_err(Error::from)
    }

    /// Ends what waits for an answer, and says once why there is none.
    fn lose(&self, error: &Error) {
        self.replica.server.cut();
        if *self.replica.rotation.borrow() != Rotation::Unreachable {
            tracing::warn!(
                replica = self.replica.name(),
                error = error as &dyn std::error::Error,
                "replica out of rotation"
            );
        }
    }

    async fn judge(&mut self, facts: Facts, asked: std::time::Instant) -> Rotation {
        if !facts.in_recovery {
            return Rotation::Promoted;
        }
        let mut known = self.primary.known();
        let mut told = true;
        if known == Position::ZERO || facts.position.bytes() > known.bytes() {
            // The primary was not asked yet, or has written since, or this one follows another. While
            // somebody waits for the replica it is looked at too often to ask each time.
            let is_due = self
                .compared
                .is_none_or(|compared| compared.elapsed() > INTERVAL);
            if known == Position::ZERO || is_due {
                let answer = self.primary.ask().await;
                self.compared = Some(Instant::now());
                told = answer.is_some();
                known = answer.unwrap_or_else(|| facts.position.on(known.timeline()));
            } else {
                known = facts.position.on(known.timeline());
            }
        }
        if let Some(reason) = self.strangeness().await {
            return reason;
        }
        let replayed = facts.position.on(known.timeline());
        let bytes = known.since(replayed);
        let lag = self.primary.lag_behind(replayed);
        let micros = u64::try_from(lag.as_micros()).unwrap_or(u64::MAX);
        self.replica.lag_bytes.store(bytes, Ordering::Relaxed);
        self.replica.lag_micros.store(micros, Ordering::Relaxed);
        if replayed > known {
            return Rotation::Diverged;
        }
        // While no primary tells, the replicas are all there is.
        if told && let Some(reason) = self.hold_back(replayed, known) {
            return reason;
        }
        // Only now: whoever waits for a position must not be sent to one that follows another primary.
        self.replica.replayed.send_if_modified(|last| {
            let moved = last.position != replayed;
            *last = Replayed {
                position: replayed,
                asked,
            };
            moved
        });
        if lag > self.max_lag {
            return Rotation::Lagging;
        }
        Rotation::In
    }

    /// Why a replica would show something else than the primary does, if that is so.
    async fn strangeness(&mut self) -> Option<Rotation> {
        if self.content.is_none_or(|content| !content.shows_rows) {
            // Somebody may have mended that, or the first migrations may have come.
            self.content = self.link.as_mut()?.content().await.ok();
        }
        let content = self.content?;
        match self.primary.content() {
            Some(other) if !other.is_that_of(&content) => Some(Rotation::Foreign),
            Some(other) if other.shows_rows && !content.shows_rows => Some(Rotation::Unfit),
            Some(_) | None => None,
        }
    }

    /// Why a replica is not to be read from before it has caught up, if that is so. Its position alone does
    /// not tell that it follows the primary of today: one that was cut off stands still where it was, so
    /// it must be seen to move on with the primary.
    fn hold_back(&mut self, replayed: Position, known: Position) -> Option<Rotation> {
        let term = self.primary.term();
        let (since, needed) = *self.admission.get_or_insert((term, known));
        if since != term {
            // Beyond where both stood when the other server took over.
            self.admission = Some((term, known.max(replayed).plus(1)));
            return Some(Rotation::Diverged);
        }
        if replayed < needed {
            return Some(if term == 0 {
                Rotation::New
            } else {
                Rotation::Diverged
            });
        }
        None
    }
}
