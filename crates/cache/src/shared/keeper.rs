//! Keeps the shared tier live: connects, listens, announces.

use std::{
    error::Error,
    panic::AssertUnwindSafe,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bharatmart_breaker::Backoff;
use bharatmart_telemetry::metrics::{RETRY_ATTEMPTS_TOTAL, dependency};
use futures_util::{FutureExt, StreamExt, future::join_all};
use metrics::counter;
use redis::aio::{ConnectionLike, PubSub, PubSubSink};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    CommandError, Live, Shared,
    generations::{Announcement, Generations, Known, Products},
    link::{Connection, Dialer, Link, LinkError},
    pending::Taken,
    scripts::Script,
};
use crate::{LISTED_STOCK_LAG, key::product_page};

/// Waits between attempts while the breaker lets them through.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long the tier must have been live to be tried at once when it is lost.
const STABLE: Duration = Duration::from_secs(10);
/// How often Redis is asked for a sign of life. A server that hangs closes no connection.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How soon it is asked again when it gave none.
const SECOND_LOOK: Duration = Duration::from_millis(20);
/// How long the channel of the messages may take to give one.
const CHANNEL_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the tier could not be made live.
#[derive(Debug, thiserror::Error)]
enum ArrivalError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("the channel {0} cannot be listened to")]
    Channel(String, #[source] redis::RedisError),
    #[error("Redis did not confirm the subscription in time")]
    Silent,
}

impl ArrivalError {
    /// The value of the label `reason`.
    const fn reason(&self) -> &'static str {
        match self {
            Self::Command(error) => error.reason(),
            Self::Link(LinkError::Timeout) | Self::Silent => "timeout",
            Self::Link(_) | Self::Channel(..) => "error",
        }
    }
}

/// Why the tier is no longer live.
#[derive(Debug, thiserror::Error)]
enum Departure {
    #[error("commands kept failing, or it cannot be written to")]
    Breaker,
    #[error("the connection of the messages ended")]
    MessagesEnded,
    #[error("the connection of the messages does not answer")]
    MessagesSilent,
    #[error("another server took over, or this one has lost what it knew")]
    Failover,
}

/// What a look at the generations shows.
#[derive(PartialEq, Eq)]
enum Look {
    /// They are what is known, or newer.
    Ahead,
    /// They are older, or gone: the node has lost writes.
    Back,
}

/// Since when a change of stock is owed to the lists.
struct Owed {
    due: Instant,
    /// Redis's time of the last change, in microseconds.
    since: u64,
}

/// What is said of the server only when the tier becomes live.
#[derive(Default)]
struct Arrival<'a> {
    lineage: &'a str,
    /// The last epoch that this process knew: what is from before the outage is not trusted after it,
    /// because other processes may still have to announce what they changed meanwhile.
    ends: Option<u64>,
    /// Whether to begin a new epoch, whichever there is.
    anew: bool,
}

/// The hash of the generations.
const GENERATIONS: &str = "generations";
/// Any change of stock counts, however long ago.
const SINCE_EVER: u64 = 1 << 53;

/// Keeps `shared` live for ever.
pub(crate) async fn keep(shared: Arc<Shared>) {
    while AssertUnwindSafe(keep_live(&shared))
        .catch_unwind()
        .await
        .is_err()
    {
        // Nobody listens now, so nothing may be trusted.
        shared.leave();
        tracing::error!(
            dependency = dependency::CACHE,
            "the keeper of the shared cache panicked; starting it again"
        );
        sleep(LONGEST_PAUSE).await;
    }
}

async fn keep_live(shared: &Shared) {
    let mut dialer = Dialer::new(shared.config.clone());
    let mut pause = Backoff::jittered(FIRST_PAUSE, LONGEST_PAUSE);
    let mut reported = false;
    let mut failed = false;
    loop {
        if let Some(at) = shared.breaker.retry_at() {
            sleep_until(at.into()).await;
        }
        if shared.breaker.acquire().is_err() {
            continue;
        }
        match shared.arrive(&mut dialer, failed).await {
            Ok((live, messages, lineage)) => {
                (reported, failed) = (false, false);
                tracing::info!(dependency = dependency::CACHE, "the shared cache is in use");
                let arrived = Instant::now();
                let departure = shared.stay(&live, messages, lineage).await;
                shared.leave();
                tracing::warn!(
                    dependency = dependency::CACHE,
                    reason = %departure,
                    "the shared cache is not in use; each process caches for itself, for a second at most"
                );
                // Each return outdates what all processes hold; one with a bad line must not do so all
                // the time.
                if arrived.elapsed() >= STABLE {
                    pause.reset();
                }
            }
            Err(error) => {
                failed = true;
                counter!(RETRY_ATTEMPTS_TOTAL, "dependency" => dependency::CACHE).increment(1);
                if !reported {
                    reported = true;
                    tracing::warn!(
                        dependency = dependency::CACHE,
                        error = &error as &dyn Error,
                        "the cache's Redis cannot be used; trying until it can"
                    );
                }
                shared.breaker.fail(error.reason());
            }
        }
        if shared.breaker.is_closed() {
            sleep(pause.advance()).await;
        }
    }
}

impl Shared {
    /// Connects, listens, learns the generations and announces what is pending. Only then the tier is
    /// live and the breaker closed. `failed`: there was an attempt before that failed.
    async fn arrive(
        &self,
        dialer: &mut Dialer,
        failed: bool,
    ) -> Result<(Arc<Live>, PubSub, String), ArrivalError> {
        let Link {
            connection,
            mut messages,
        } = dialer.dial().await?;
        let channel = self.channel(&connection);
        // Before the generations are read, so that no change falls between the two.
        match timeout(CHANNEL_TIMEOUT, messages.subscribe(&channel)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(ArrivalError::Channel(channel, error)),
            Err(_) => return Err(ArrivalError::Silent),
        }
        let live = Arc::new(Live {
            connection,
            known: Known::new(Generations::default()),
            heard: AtomicU64::new(0),
            announced: AtomicU64::new(0),
        });
        let lineage = self.lineage(&live).await?;
        let owed = self.pending.owes_listed_stock().then_some(SINCE_EVER);
        let taken = self.pending.take(owed.is_some());
        let last = self.last_epoch.load(Ordering::Acquire);
        let moved = self.arrive_at(&lineage);
        let arrival = Arrival {
            lineage: &lineage,
            ends: (last != 0).then_some(last),
            // Others may have been told by a server that nobody listens to any more; and a process
            // that begins in the middle of an outage does not know which epoch was before it.
            anew: moved || (last == 0 && failed),
        };
        self.announce(&live, &taken, owed, &arrival).await?;
        taken.done();
        // What was kept while nobody told us of changes.
        self.stamps.outdate_everything();
        self.live.send_replace(Some(Arc::clone(&live)));
        self.breaker.succeed();
        Ok((live, messages, lineage))
    }

    /// Notes which server is announced to; whether it was another one before.
    fn arrive_at(&self, lineage: &str) -> bool {
        let mut last = self
            .last_lineage
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = last.replace(lineage.to_owned());
        before.is_some_and(|before| before != lineage)
    }

    async fn stay(&self, live: &Arc<Live>, messages: PubSub, lineage: String) -> Departure {
        tokio::select! {
            departure = self.listen(live, messages, lineage) => departure,
            () = self.announce_changes(live) => Departure::Breaker,
            () = self.away() => Departure::Breaker,
        }
    }

    /// Applies what others announce, and makes sure that they could be heard.
    async fn listen(&self, live: &Arc<Live>, messages: PubSub, lineage: String) -> Departure {
        let (mut channel, mut messages) = messages.split();
        let heartbeat = async {
            let mut failures = 0;
            loop {
                match self.heartbeat(live, &mut channel, &lineage).await {
                    Ok(None) => {
                        failures = 0;
                        sleep(HEARTBEAT).await;
                    }
                    Ok(Some(departure)) => return departure,
                    // Counted here as well: other nodes of a cluster may answer in between.
                    Err(_) if failures >= self.config.breaker_threshold => {
                        return Departure::Breaker;
                    }
                    // Asked again soon: the breaker counts failures in a row, and while requests are
                    // answered in the process nobody else asks.
                    Err(_) => {
                        failures += 1;
                        sleep(SECOND_LOOK).await;
                    }
                }
            }
        };
        let hearing = async {
            while let Some(message) = messages.next().await {
                match message.get_payload::<String>().map(|text| text.parse()) {
                    Ok(Ok(announcement)) => self.hear(live, &announcement),
                    // A stranger on our channel.
                    Ok(Err(_)) | Err(_) => {
                        tracing::debug!(channel = message.get_channel_name(), "an unknown message");
                    }
                }
            }
            Departure::MessagesEnded
        };
        tokio::select! {
            departure = heartbeat => departure,
            departure = hearing => departure,
        }
    }

    /// Asks both connections for a sign of life; a failure of the first is the breaker's business.
    async fn heartbeat(
        &self,
        live: &Arc<Live>,
        channel: &mut PubSubSink,
        lineage: &str,
    ) -> Result<Option<Departure>, CommandError> {
        // For a single server another one would be another connection.
        if let Connection::Cluster(_) = &live.connection
            && self.lineage(live).await? != lineage
        {
            return Ok(Some(Departure::Failover));
        }
        // Where they cannot be read and written nobody can tell what changes.
        if self.look_at_generations(live).await? == Look::Back {
            return Ok(Some(Departure::Failover));
        }
        Ok(match timeout(CHANNEL_TIMEOUT, channel.ping::<()>()).await {
            Ok(Ok(())) => None,
            Ok(Err(_)) => Some(Departure::MessagesEnded),
            Err(_) => Some(Departure::MessagesSilent),
        })
    }

    fn hear(&self, live: &Live, announcement: &Announcement) {
        let epoch = live.known.get().epoch;
        self.learn(live, announcement.generations);
        let last = live.heard.load(Ordering::Acquire);
        if announcement.generations.epoch > epoch {
            // Everything is outdated, and the count may have begun anew.
            live.heard.store(announcement.number, Ordering::Release);
        } else if announcement.number > last {
            live.heard.store(announcement.number, Ordering::Release);
            if announcement.number > last + 1 {
                self.stamps.outdate_everything();
            }
        }
        // Our own pages were outdated when the change was made, and once more when Redis had done it.
        if announcement.sender != self.sender {
            for id in &announcement.products {
                self.stamps.outdate_product(*id);
            }
        }
    }

    /// Outdates what newer generations outdate.
    fn learn(&self, live: &Live, heard: Generations) {
        let (before, now) = live.known.learn(heard);
        self.last_epoch.store(now.epoch, Ordering::Release);
        if now.epoch != before.epoch {
            self.stamps.outdate_everything();
            return;
        }
        if now.catalogue != before.catalogue {
            self.stamps.outdate_catalogue();
        }
        if now.stock != before.stock {
            self.stamps.outdate_listed_stock();
        }
    }

    /// Announces changes as they come; those of stock to the lists after a while. Ends when they keep
    /// failing to be announced, perhaps because of one node of a cluster.
    async fn announce_changes(&self, live: &Arc<Live>) {
        let mut owed: Option<Owed> = None;
        let mut pause = Backoff::jittered(FIRST_PAUSE, LONGEST_PAUSE);
        let mut failures = 0;
        loop {
            let due = owed.as_ref().map(|owed| owed.due);
            tokio::select! {
                () = self.pending.more() => {}
                () = until(due) => {}
            }
            let is_due = self.pending.is_hurried() || due.is_some_and(|due| Instant::now() >= due);
            let taken = self.pending.take(is_due);
            let since = match &owed {
                Some(owed) if is_due && taken.changes.leave_pages() => Some(owed.since),
                // Changes have come that Redis has not seen the time of.
                _ if is_due && taken.changes.listed_stock => Some(SINCE_EVER),
                _ => None,
            };
            let Ok(time) = self
                .announce(live, &taken, since, &Arrival::default())
                .await
            else {
                drop(taken);
                if failures >= self.config.breaker_threshold {
                    return;
                }
                failures += 1;
                sleep(pause.advance()).await;
                // Nothing may come that wakes us for what is pending now.
                self.pending.wake();
                continue;
            };
            taken.done();
            pause.reset();
            failures = 0;
            if is_due {
                owed = None;
            }
            if self.pending.owes_listed_stock() {
                let due = owed.map_or_else(|| Instant::now() + LISTED_STOCK_LAG, |owed| owed.due);
                owed = Some(Owed { due, since: time });
            }
        }
    }

    /// Deletes the pages of changed products, raises the generations, tells everybody; answers Redis's
    /// time in microseconds. In this order: who hears of it finds nothing old.
    async fn announce(
        &self,
        live: &Arc<Live>,
        taken: &Taken<'_>,
        listed_stock_since: Option<u64>,
        arrival: &Arrival<'_>,
    ) -> Result<u64, CommandError> {
        let changes = &taken.changes;
        let products: Vec<_> = changes.products.iter().copied().collect();
        let deleted = join_all(products.iter().map(|id| {
            self.command(live, "delete", async |connection| {
                redis::cmd("DEL")
                    .arg(self.key(&product_page(*id)))
                    .query_async::<()>(connection)
                    .await
            })
        }))
        .await
        .into_iter()
        .collect::<Result<(), _>>();
        let everything = match (&live.connection, deleted) {
            (_, Ok(())) => changes.everything,
            // A page on a node that is down may be found there again: not in another epoch. The others
            // need not wait for that node.
            (Connection::Cluster(_), Err(_)) => true,
            (Connection::Single(_), Err(error)) => return Err(error),
        };
        let since = listed_stock_since.map_or_else(String::new, |since| since.to_string());
        let known = live.known.get();
        let flag = |on: bool| if on { "1" } else { "" };
        let (epoch, catalogue, stock, number, time): (_, _, _, u64, _) = self
            .command(live, "announce", async |connection| {
                let mut script = Script::Announce.get().key(self.key(GENERATIONS));
                script
                    .arg(self.channel(&live.connection))
                    .arg(self.sender.to_string())
                    .arg(Products(&products).to_string())
                    .arg(flag(everything || arrival.anew))
                    .arg(flag(changes.catalogue))
                    .arg(since)
                    .arg(arrival.lineage)
                    .arg(
                        arrival
                            .ends
                            .map_or_else(String::new, |epoch| epoch.to_string()),
                    );
                script.invoke_async(connection).await
            })
            .await?;
        let now = Generations {
            epoch,
            catalogue,
            stock,
        };
        self.learn(live, now);
        // They have been raised since, and must be seen to be.
        let raised = !changes.catalogue || epoch != known.epoch || catalogue > known.catalogue;
        if now.newest(known) != now || !raised {
            self.leave();
        }
        if live.known.get().epoch != known.epoch {
            // Everything is outdated, and the count may have begun anew.
            live.heard.store(number, Ordering::Release);
        }
        // Pages that were fetched from Redis before they were deleted there.
        for id in &products {
            self.stamps.outdate_product(*id);
        }
        Ok(time)
    }

    /// Makes up for announcements that were lost between two nodes.
    async fn look_at_generations(&self, live: &Arc<Live>) -> Result<Look, CommandError> {
        let known = live.known.get();
        let (fields,): ([Option<u64>; 4],) = self
            .command(live, "heartbeat", async |connection| {
                let key = self.key(GENERATIONS);
                redis::pipe()
                    // A write that changes nothing and needs no memory: a server may answer and refuse
                    // to be written to.
                    .cmd("HDEL")
                    .arg(&key)
                    .arg("")
                    .ignore()
                    .cmd("HMGET")
                    .arg(&key)
                    .arg(&["epoch", "catalogue", "stock", "announcements"])
                    .query_async(connection)
                    .await
            })
            .await?;
        let [epoch, catalogue, stock, announcements] = fields.map(Option::unwrap_or_default);
        let found = Generations {
            epoch,
            catalogue,
            stock,
        };
        if found.newest(known) != found {
            return Ok(Look::Back);
        }
        self.learn(live, found);
        // What had been announced at the last look must have been heard by now.
        let due = live.announced.swap(announcements, Ordering::AcqRel);
        if live.heard.load(Ordering::Acquire) < due {
            live.heard.store(due, Ordering::Release);
            self.stamps.outdate_everything();
        }
        Ok(Look::Ahead)
    }

    /// What changes when Redis may have lost writes: the run of one server, or the epoch of a
    /// cluster's configuration, which each of its failovers raises.
    async fn lineage(&self, live: &Arc<Live>) -> Result<String, CommandError> {
        let (command, argument, field) = match &live.connection {
            Connection::Single(_) => ("INFO", "server", "run_id:"),
            Connection::Cluster(_) => ("CLUSTER", "INFO", "cluster_current_epoch:"),
        };
        let info: String = self
            .command(live, "lineage", async |connection| {
                redis::cmd(command)
                    .arg(argument)
                    .query_async(connection)
                    .await
            })
            .await?;
        let value = info.lines().find_map(|line| line.strip_prefix(field));
        Ok(value.unwrap_or("unknown").trim().to_owned())
    }

    /// A server's channels are the same in all its databases; what is cached is not.
    fn channel(&self, connection: &Connection) -> String {
        self.key(&format!("changes:{}", connection.get_db()))
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
