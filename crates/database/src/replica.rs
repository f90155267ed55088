//! A replica: how far it has come, and whether it is read from.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

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
    server::{Facts, Link, Server},
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
    /// Up to where it has replayed the log.
    replayed: watch::Sender<Position>,
    lag_micros: AtomicU64,
    lag_bytes: AtomicU64,
    /// Which server the monitor speaks with.
    identity: AtomicI64,
    /// Those who wait for a position.
    waiting: AtomicUsize,
    wake: Notify,
    gauges: Gauges,
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
            replayed: watch::Sender::new(Position::ZERO),
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
        *self.replayed.borrow() >= position
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
        let reached = replayed.wait_for(|replayed| *replayed >= position);
        matches!(timeout_at(deadline, reached).await, Ok(Ok(_)))
    }

    /// Whether the server behind a connection has replayed the log up to `position`. Usually that is known;
    /// it is not when several servers share the address.
    pub(crate) async fn has_reached(&self, link: &mut Link, position: Position) -> Result<bool> {
        let is_the_one = link.facts.server == self.identity.load(Ordering::Acquire)
            && link.mode == bharatmart_config::PoolerMode::Session;
        if is_the_one {
            return Ok(self.has_replayed(position));
        }
        let facts = link.ask().await?;
        Ok(facts.in_recovery && facts.position >= position)
    }

    /// Ends when the replica does not answer any more.
    pub(crate) async fn lost(&self) {
        let mut rotation = self.rotation.subscribe();
        // The sender lives as long as the replica.
        let _ = rotation
            .wait_for(|rotation| *rotation == Rotation::Unreachable)
            .await;
    }

    /// Has nobody sent to it until its monitor has heard from it. Those who are there stay: one lost connection
    /// is no verdict.
    pub(crate) fn suspect(&self) {
        self.is_suspect.store(true, Ordering::Release);
        self.wake.notify_one();
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
        let lag_ms = self.lag().as_millis();
        if is_in {
            tracing::info!(replica = self.name(), lag_ms, "replica in rotation");
        } else if from == Rotation::In || from == Rotation::New {
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
    /// What it must have replayed before it is read from, and in which term of the primary that was set.
    admission: Option<(u64, Position)>,
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
            admission: None,
        }
    }

    /// Watches for ever.
    pub(crate) async fn run(mut self) {
        loop {
            let rotation = if let Ok(facts) = self.look().await {
                self.judge(facts).await
            } else {
                self.link = None;
                self.replica.server.distrust();
                Rotation::Unreachable
            };
            self.replica.turn(rotation);
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
            // One broken connection is no verdict: a new one tells.
            self.replica.server.distrust();
            let link = self.link.insert(Link::open(host, true).await?);
            self.replica
                .identity
                .store(link.facts.server, Ordering::Release);
            Ok(link.facts)
        };
        timeout(PATIENCE, asked)
            .await
            .map_err(|_| Error::Unavailable(sqlx::Error::PoolTimedOut))?
            .map_err(Error::from)
    }

    async fn judge(&mut self, facts: Facts) -> Rotation {
        if !facts.in_recovery {
            return Rotation::Promoted;
        }
        let replayed = facts.position;
        let mut known = self.primary.known();
        let mut told = true;
        if known == Position::ZERO || replayed > known {
            // The primary was not asked yet, or has written since, or this one follows another.
            let answer = self.primary.ask().await;
            told = answer.is_some();
            known = answer.unwrap_or(replayed);
        }
        let bytes = known.since(replayed);
        let lag = self.primary.lag_behind(replayed);
        let micros = u64::try_from(lag.as_micros()).unwrap_or(u64::MAX);
        self.replica.lag_bytes.store(bytes, Ordering::Relaxed);
        self.replica.lag_micros.store(micros, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
        self.replica.gauges.lag_bytes.set(bytes as f64);
        self.replica.gauges.lag_seconds.set(lag.as_secs_f64());
        if replayed > known {
            return Rotation::Diverged;
        }
        // While no primary tells, the replicas are all there is.
        if told && let Some(reason) = self.hold_back(replayed, known) {
            return reason;
        }
        // Only now: whoever waits for a position must not be sent to one that follows another primary.
        self.replica.replayed.send_if_modified(|last| {
            let moved = *last != replayed;
            *last = replayed;
            moved
        });
        if lag > self.max_lag {
            return Rotation::Lagging;
        }
        Rotation::In
    }

    /// Why a replica is not to be read from before it has caught up, if that is so. Its position alone does
    /// not tell that it follows the primary of today: one that was cut off stands still where it was, so
    /// it must be seen to move on with the primary.
    fn hold_back(&mut self, replayed: Position, known: Position) -> Option<Rotation> {
        let term = self.primary.term();
        let (since, needed) = *self.admission.get_or_insert((term, known));
        if since != term {
            // Beyond where both stood when the other server took over.
            let beyond = known.max(replayed).bytes() + 1;
            self.admission = Some((term, Position::from_bytes(beyond)));
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
