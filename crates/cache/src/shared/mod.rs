//! The tier in Redis.
//!
//! It is either live or away. A [`keeper`] connects, listens to what other processes announce, and
//! announces what this one changes; requests only use a tier that is live. More failures in a row than the
//! breaker allows make it away, and so does the loss of the messages: without them nobody knows what is
//! outdated.

mod generations;
mod keeper;
mod link;
mod pending;
mod scripts;
mod wire;

use std::{
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use bharatmart_breaker::{Backoff, Breaker, BreakerStatus, CircuitBreaker};
use bharatmart_config::RedisCacheConfig;
use bharatmart_domain::Clock;
use bharatmart_telemetry::metrics::{
    CACHE_COMMAND_DURATION_SECONDS, CACHE_REQUESTS_TOTAL, dependency,
};
use metrics::{Counter, Histogram, counter, histogram};
use redis::{FromRedisValue, RedisError};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

pub(crate) use keeper::keep;
pub(crate) use wire::Stored;

use crate::{
    counts::{Ceiling, Counted, Window},
    entry::{Ages, Body},
    key::{Key, Shows},
    stamps::Stamps,
};
use generations::Known;
use link::Connection;
use pending::Pending;
use scripts::Script;
use wire::{FRESH_UNTIL, Token, Value, millis};

/// The command of every look-up.
const GET: &str = "get";
/// How long one process may take to load a body while the others wait for it.
const LEASE: Duration = Duration::from_secs(3);
/// How long a request waits for another process before it loads by itself.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// How long a write may wait at most until it is announced, whatever one command may take.
const LONGEST_PATIENCE: Duration = Duration::from_secs(1);
/// How often it looks whether that process is done.
const POLL: Duration = Duration::from_millis(10);
/// How long a stale body counts as fresh at most, while one process loads it anew.
const LONGEST_CLAIM: Duration = Duration::from_secs(5);
/// The longest wait between two probes of an open breaker, in multiples of the first.
const LONGEST_RESET: u32 = 4;

/// The tier in Redis, as this process sees it.
pub(crate) struct Shared {
    config: RedisCacheConfig,
    clock: Arc<dyn Clock>,
    ages: Ages,
    stamps: Arc<Stamps>,
    breaker: CircuitBreaker,
    live: watch::Sender<Option<Arc<Live>>>,
    pending: Pending,
    /// The last epoch that was learnt; 0 when none was.
    last_epoch: AtomicU64,
    /// The lineage of the server that was last announced to.
    last_lineage: Mutex<Option<String>>,
    /// Names this process in announcements.
    sender: Uuid,
    meters: Meters,
}

/// Metrics of the busiest path, looked up once.
struct Meters {
    hits: Counter,
    stale: Counter,
    misses: Counter,
    gets: Histogram,
}

impl Meters {
    fn new() -> Self {
        let shared = |outcome: &'static str| counter!(CACHE_REQUESTS_TOTAL, "tier" => "shared", "outcome" => outcome);
        Self {
            hits: shared("hit"),
            stale: shared("stale"),
            misses: shared("miss"),
            gets: command_durations(GET, "ok"),
        }
    }
}

fn command_durations(command: &'static str, outcome: &'static str) -> Histogram {
    histogram!(CACHE_COMMAND_DURATION_SECONDS, "command" => command, "outcome" => outcome)
}

/// A connection over which commands may be sent, and what is known of the generations.
pub(crate) struct Live {
    connection: Connection,
    known: Known,
    /// The number of the last announcement that was heard.
    heard: AtomicU64,
    /// The number of the last announcement when it was last asked for.
    announced: AtomicU64,
}

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// None within the time.
    #[error("no answer from the cache's Redis in time")]
    Timeout,
    /// An error instead.
    #[error("the cache's Redis failed")]
    Redis(#[source] RedisError),
}

impl CommandError {
    /// The value of the label `reason`.
    const fn reason(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Redis(_) => "error",
        }
    }
}

/// What the shared tier says to somebody who wants a body.
pub(crate) enum Answer {
    /// Here it is.
    Fresh(Stored),
    /// Here is an old one; whoever has the lease loads it anew.
    Stale(Stored, Option<Lease>),
    /// It is yours to load, and to give to the others.
    Load(Lease),
    /// It is yours to load, for yourself.
    Alone,
}

/// The right to write what is under a key, as long as nobody else does or deletes it.
pub(crate) struct Lease {
    live: Arc<Live>,
    name: String,
    shows: Shows,
    token: Token,
    /// Whether there is a body under the key that others are shown meanwhile.
    refreshes: bool,
    /// As of before the load.
    edition: generations::Edition,
}

impl Shared {
    pub(crate) fn new(
        config: RedisCacheConfig,
        ages: Ages,
        stamps: Arc<Stamps>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let cooldown = Backoff::jittered(
            config.breaker_reset,
            config.breaker_reset.saturating_mul(LONGEST_RESET),
        );
        Self {
            breaker: CircuitBreaker::new(
                dependency::CACHE,
                Breaker::new(config.breaker_threshold, cooldown),
            ),
            config,
            clock,
            ages,
            stamps,
            live: watch::Sender::new(None),
            pending: Pending::new(),
            last_epoch: AtomicU64::new(0),
            last_lineage: Mutex::default(),
            sender: Uuid::new_v4(),
            meters: Meters::new(),
        }
    }

    pub(crate) const fn pending(&self) -> &Pending {
        &self.pending
    }

    /// How long somebody may be held up until a change of theirs has been announced.
    pub(crate) fn patience(&self) -> Duration {
        let twice = self.config.command_timeout.saturating_mul(2);
        twice.min(LONGEST_PATIENCE)
    }

    /// How long a body is fresh from now on.
    pub(crate) fn fresh_for(&self, stored: &Stored) -> Duration {
        // No longer than it could be by our own clock: that of whoever stored it may be ahead.
        let longest = self.ages.longest_fresh();
        stored.fresh_for(self.clock.now()).min(longest)
    }

    pub(crate) fn breaker(&self) -> BreakerStatus {
        self.breaker.status()
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live.borrow().is_some()
    }

    /// Ends when the tier is away.
    pub(crate) async fn away(&self) {
        let mut live = self.live.subscribe();
        // The sender is in `self`.
        let _ = live.wait_for(Option::is_none).await;
    }

    fn live(&self) -> Option<Arc<Live>> {
        self.live.borrow().clone()
    }

    /// The name in Redis.
    fn key(&self, name: &str) -> String {
        [&self.config.prefix, ":", name].concat()
    }

    /// Looks for a body that shows every change up to `at_least`, and arranges who loads one that is not
    /// there.
    pub(crate) async fn look_up(&self, key: &Key, at_least: u128) -> Answer {
        let Some(live) = self.live() else {
            return Answer::Alone;
        };
        let answer = self
            .find(&live, key, at_least)
            .await
            .unwrap_or(Answer::Alone);
        let counted = match &answer {
            Answer::Fresh(_) => &self.meters.hits,
            Answer::Stale(..) => &self.meters.stale,
            Answer::Load(_) | Answer::Alone => &self.meters.misses,
        };
        counted.increment(1);
        answer
    }

    async fn find(
        &self,
        live: &Arc<Live>,
        key: &Key,
        at_least: u128,
    ) -> Result<Answer, CommandError> {
        let name = self.key(&key.name);
        let give_up = Instant::now() + LONGEST_WAIT;
        loop {
            // What this process has changed itself is not hidden from it by a Redis that is slow to
            // hear of it.
            if self.pending.outdates(key.shows) {
                return Ok(Answer::Alone);
            }
            // Before the look: what changes after it makes the body one of an old edition.
            let edition = live.known.get().edition(key.shows);
            let mut get = redis::cmd("GET");
            get.arg(&name);
            let found: Option<Vec<u8>> = self
                .command(live, GET, async |connection| {
                    get.query_async(connection).await
                })
                .await?;
            let lease = |token, refreshes| Lease {
                live: Arc::clone(live),
                name: name.clone(),
                shows: key.shows,
                token,
                refreshes,
                edition,
            };
            let seen = match found.map(Value::decode) {
                None => Vec::new(),
                Some(Value::Unreadable(beginning)) => beginning,
                Some(Value::Leased) if Instant::now() >= give_up => return Ok(Answer::Alone),
                Some(Value::Leased) => {
                    sleep(POLL).await;
                    continue;
                }
                Some(Value::Body { token, stored }) if stored.edition == edition => {
                    let suffices = stored.as_of >= at_least;
                    if !stored.fresh_for(self.clock.now()).is_zero() {
                        // What is too old for this client stays for others until there is a newer one.
                        return Ok(if suffices {
                            Answer::Fresh(stored)
                        } else {
                            Answer::Load(lease(token, true))
                        });
                    }
                    let claimed = self.claim(live, &name, token).await?;
                    return Ok(match claimed.map(|token| lease(token, true)) {
                        claimed if suffices => Answer::Stale(stored, claimed),
                        Some(lease) => Answer::Load(lease),
                        None => Answer::Alone,
                    });
                }
                Some(Value::Body { token, .. }) => token.as_bytes().to_vec(),
            };
            let token = Token::new();
            if self
                .replace(live, &name, &seen, &token.lease(), LEASE)
                .await?
            {
                return Ok(Answer::Load(lease(token, false)));
            }
            if Instant::now() >= give_up {
                return Ok(Answer::Alone);
            }
        }
    }

    /// Gives the others what was loaded. Nothing comes of it when the lease is over, because it took
    /// too long or because a change has outdated what was loaded.
    pub(crate) async fn store(&self, lease: &Lease, body: &Body, as_of: u128) {
        let (fresh, stale) = (self.ages.fresh(), self.ages.stale());
        let stored = Stored {
            body: body.clone(),
            edition: lease.edition,
            fresh_until: self.clock.now() + fresh,
            as_of,
        };
        // A body whose generation has passed meanwhile is dead already.
        let current = lease.live.known.get().edition(lease.shows);
        if current != lease.edition {
            return self.delete(lease).await;
        }
        let value = stored.encode(Token::new());
        // A failure has been counted; the body is loaded again by whoever misses it.
        let _ = self
            .replace(
                &lease.live,
                &lease.name,
                lease.token.as_bytes(),
                &value,
                fresh + stale,
            )
            .await;
    }

    /// Lets somebody else load. A body that is there stays; a stale one counts as fresh until its claim is over.
    pub(crate) async fn give_up(&self, lease: &Lease) {
        if !lease.refreshes {
            self.delete(lease).await;
        }
    }

    /// Leaves nothing under the key.
    pub(crate) async fn delete(&self, lease: &Lease) {
        // A failure has been counted; the lease ends by itself.
        let _ = self
            .replace(
                &lease.live,
                &lease.name,
                lease.token.as_bytes(),
                &[],
                Duration::ZERO,
            )
            .await;
    }

    /// Adds to a count; `None` when the tier is away or does not answer in time.
    pub(crate) async fn count(
        &self,
        subject: &str,
        window: Window,
        number: i64,
        ceiling: Option<Ceiling>,
    ) -> Option<Counted> {
        let live = self.live()?;
        // The braces keep both on one node of a cluster.
        let key = |index: u64| self.key(&format!("count:{{{subject}}}:{index}"));
        let counted = self.command(&live, "count", async |connection| {
            let mut script = Script::Count.get().key(key(window.index));
            script
                .key(key(window.index.wrapping_sub(1)))
                .arg(number)
                .arg(window.length.saturating_mul(2))
                .arg(window.length)
                .arg(window.length - window.elapsed.min(window.length));
            if let Some(Ceiling(ceiling)) = ceiling {
                script.arg(ceiling);
            }
            script.invoke_async(connection).await
        });
        // A failure has been counted.
        let (current, previous, added): (u64, u64, bool) = counted.await.ok()?;
        Some(Counted {
            current,
            previous,
            added,
        })
    }

    async fn replace(
        &self,
        live: &Arc<Live>,
        key: &str,
        seen: &[u8],
        value: &[u8],
        time_to_live: Duration,
    ) -> Result<bool, CommandError> {
        self.command(live, "replace", async |connection| {
            let mut script = Script::Replace.get().key(key);
            script
                .arg(seen)
                .arg(value)
                .arg(u64::try_from(time_to_live.as_millis()).unwrap_or(u64::MAX));
            script.invoke_async(connection).await
        })
        .await
    }

    /// Calls a stale value fresh for a moment; the token under which it is to be replaced if this
    /// process is the one to do so.
    async fn claim(
        &self,
        live: &Arc<Live>,
        key: &str,
        seen: Token,
    ) -> Result<Option<Token>, CommandError> {
        let token = Token::new();
        // Not beyond the time for which a stale body may be served at all.
        let until = millis(self.clock.now() + LONGEST_CLAIM.min(self.ages.stale()));
        let claimed: bool = self
            .command(live, "claim", async |connection| {
                let mut script = Script::Claim.get().key(key);
                script
                    .arg(seen.as_bytes())
                    .arg(token.as_bytes())
                    .arg(FRESH_UNTIL)
                    .arg(&until);
                script.invoke_async(connection).await
            })
            .await?;
        Ok(claimed.then_some(token))
    }

    /// Sends a command within the time limit and tells the breaker how that went.
    async fn command<T: FromRedisValue>(
        &self,
        live: &Arc<Live>,
        name: &'static str,
        send: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, CommandError> {
        let mut connection = live.connection.clone();
        let started = Instant::now();
        let answer = match timeout(self.config.command_timeout, send(&mut connection)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(CommandError::Redis(error)),
            Err(_) => Err(CommandError::Timeout),
        };
        let outcome = match &answer {
            Ok(_) => "ok",
            Err(error) => error.reason(),
        };
        match (name, outcome) {
            (GET, "ok") => self.meters.gets.record(started.elapsed()),
            _ => command_durations(name, outcome).record(started.elapsed()),
        }
        if let Err(error) = &answer {
            tracing::debug!(
                error = error as &dyn std::error::Error,
                command = name,
                "a command to the cache failed"
            );
        }
        // An answer over a connection that is given up says nothing of the one that replaces it.
        if self.live().is_some_and(|now| Arc::ptr_eq(&now, live)) {
            self.judge(&answer);
        }
        answer
    }

    /// Tells the breaker how a command went, and leaves a tier that is of no use. Then no request waits
    /// for Redis any more.
    fn judge<T>(&self, answer: &Result<T, CommandError>) {
        let code = match answer {
            Err(CommandError::Redis(error)) => error.code(),
            Ok(_) | Err(CommandError::Timeout) => None,
        };
        match (answer, code) {
            // It answers, but there is no room for this value, or something else under this key.
            (Ok(_), _) | (_, Some("OOM" | "WRONGTYPE")) => self.breaker.succeed(),
            // It is no master any more, and will go on answering every other command.
            (_, Some("READONLY")) => self.leave(),
            (Err(error), _) => {
                if self.breaker.fail(error.reason()) {
                    self.leave();
                }
            }
        }
    }

    /// Makes the tier away.
    fn leave(&self) {
        self.live.send_replace(None);
        // What changes elsewhere is not heard of from now on, so nothing old is trusted.
        self.stamps.outdate_everything();
    }
}
