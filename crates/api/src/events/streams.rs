//! The open streams of this process.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bharatmart_config::HttpConfig;
use bharatmart_database::{
    Database,
    orders::{Cursor, HistoryEntry},
};
use bharatmart_domain::{OrderId, UserId};
use bharatmart_telemetry::metrics::EVENT_STREAMS_OPEN;
use metrics::gauge;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::poller::{self, BATCH};
use crate::error::ApiError;

/// The open event streams of this process, and what feeds them; cheap to clone.
#[derive(Clone)]
pub struct EventStreams(Arc<Inner>);

pub(super) struct Inner {
    pub(super) database: Database,
    /// Somebody does not want to wait for the next round.
    pub(super) wanted: Notify,
    draining: CancellationToken,
    check_interval: Duration,
    max_streams: usize,
    max_per_user: usize,
    registry: Mutex<Registry>,
}

#[derive(Default)]
struct Registry {
    /// Who is fed, by order.
    mouths: HashMap<OrderId, Vec<Mouth>>,
    next_number: u64,
    open: usize,
    open_by_user: HashMap<UserId, usize>,
    /// Orders that something has happened to, or that somebody has just begun to follow.
    impatient: HashSet<OrderId>,
    is_polled: bool,
}

/// The registry's end of a stream.
struct Mouth {
    number: u64,
    last: i64,
    entries: mpsc::Sender<HistoryEntry>,
}

impl EventStreams {
    /// Without streams yet. They end when `draining` is cancelled, and one whose sign-in has ended within
    /// `check_interval`.
    #[must_use]
    pub fn new(
        config: &HttpConfig,
        check_interval: Duration,
        database: Database,
        draining: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            database,
            wanted: Notify::new(),
            draining,
            check_interval,
            max_streams: config.max_event_streams,
            max_per_user: config.max_event_streams_per_user,
            registry: Mutex::default(),
        }))
    }

    pub(super) fn draining(&self) -> CancellationToken {
        self.0.draining.clone()
    }

    pub(super) fn check_interval(&self) -> Duration {
        self.0.check_interval
    }

    /// Begins to follow an order from `cursor` on.
    pub(super) fn open(&self, user: UserId, cursor: Cursor) -> Result<Follower, ApiError> {
        let mut registry = self.0.registry();
        let of_user = registry.open_by_user.get(&user).copied().unwrap_or(0);
        if of_user >= self.0.max_per_user {
            return Err(ApiError::TooMany(format!(
                "No more than {} event streams may be open at a time; close one first",
                self.0.max_per_user
            )));
        }
        if registry.open >= self.0.max_streams {
            return Err(ApiError::Unavailable {
                what: "a further event stream",
                retry_after: bharatmart_database::Error::RETRY_AFTER,
                source: format!("all {} are taken", self.0.max_streams).into(),
            });
        }
        registry.open += 1;
        registry.open_by_user.insert(user, of_user + 1);
        gauge!(EVENT_STREAMS_OPEN).increment(1.0);
        let number = registry.next_number;
        registry.next_number += 1;
        // What does not fit waits in the database, so a slow reader costs no more memory than this.
        let (sender, entries) = mpsc::channel(usize::from(BATCH));
        let mouth = Mouth {
            number,
            last: cursor.last,
            entries: sender,
        };
        registry.mouths.entry(cursor.order).or_default().push(mouth);
        registry.impatient.insert(cursor.order);
        if !registry.is_polled {
            registry.is_polled = true;
            tokio::spawn(poller::run(Arc::clone(&self.0)));
        }
        drop(registry);
        self.0.wanted.notify_one();
        Ok(Follower {
            entries,
            streams: Arc::clone(&self.0),
            user,
            order: cursor.order,
            number,
        })
    }

    /// Tells that this process has just changed an order: those who follow it here need not wait for the
    /// next round.
    pub(crate) fn look_at(&self, order: OrderId) {
        let mut registry = self.0.registry();
        if registry.mouths.contains_key(&order) {
            registry.impatient.insert(order);
            drop(registry);
            self.0.wanted.notify_one();
        }
    }
}

impl Inner {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        // Nothing panics while it holds the lock.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose turn it is: everybody's, or that of the impatient. `None` when nobody is left, and then the
    /// next one starts another poller. Who has no room for more is passed over.
    pub(super) fn cursors(&self, everybody: bool) -> Option<Vec<Cursor>> {
        let mut registry = self.registry();
        if registry.mouths.is_empty() {
            registry.is_polled = false;
            return None;
        }
        let impatient = std::mem::take(&mut registry.impatient);
        let of_order = |(order, mouths): (&OrderId, &Vec<Mouth>)| {
            let order = *order;
            let hungry = mouths.iter().filter(|mouth| mouth.entries.capacity() > 0);
            hungry
                .map(|mouth| Cursor {
                    order,
                    last: mouth.last,
                })
                .collect::<Vec<_>>()
        };
        let cursors: HashSet<_> = if everybody {
            registry.mouths.iter().flat_map(of_order).collect()
        } else {
            let mouths = impatient.iter();
            mouths
                .filter_map(|order| registry.mouths.get_key_value(order))
                .flat_map(of_order)
                .collect()
        };
        Some(cursors.into_iter().collect())
    }

    /// Hands out what came after the cursors.
    pub(super) fn feed(&self, newer: &HashMap<Cursor, Vec<HistoryEntry>>) {
        let mut registry = self.registry();
        let mut unfinished = Vec::new();
        for (after, entries) in newer {
            let Some(mouths) = registry.mouths.get_mut(&after.order) else {
                continue;
            };
            for mouth in mouths.iter_mut().filter(|mouth| mouth.last == after.last) {
                mouth.take(entries);
                if entries.len() == usize::from(BATCH) && mouth.entries.capacity() > 0 {
                    unfinished.push(after.order);
                }
            }
        }
        if !unfinished.is_empty() {
            registry.impatient.extend(unfinished);
            drop(registry);
            self.wanted.notify_one();
        }
    }

    /// Ends all streams; their clients come again, and with the first of them another poller.
    pub(super) fn give_up(&self) {
        let mut registry = self.registry();
        registry.mouths.clear();
        registry.is_polled = false;
    }

    fn close(&self, user: UserId, order: OrderId, number: u64) {
        let mut registry = self.registry();
        registry.open -= 1;
        gauge!(EVENT_STREAMS_OPEN).decrement(1.0);
        if let Some(open) = registry.open_by_user.get_mut(&user) {
            *open -= 1;
            if *open == 0 {
                registry.open_by_user.remove(&user);
            }
        }
        if let Some(mouths) = registry.mouths.get_mut(&order) {
            mouths.retain(|mouth| mouth.number != number);
            if mouths.is_empty() {
                registry.mouths.remove(&order);
            }
        }
    }
}

impl Mouth {
    /// Takes as much as there is room for.
    fn take(&mut self, entries: &[HistoryEntry]) {
        for entry in entries {
            if self.entries.try_send(entry.clone()).is_err() {
                return;
            }
            self.last = entry.id;
        }
    }
}

/// The reader's end of a stream. It is closed when this is dropped.
pub(super) struct Follower {
    entries: mpsc::Receiver<HistoryEntry>,
    streams: Arc<Inner>,
    user: UserId,
    order: OrderId,
    number: u64,
}

impl Follower {
    /// The next entry; `None` when no more come.
    pub(super) async fn next(&mut self) -> Option<HistoryEntry> {
        self.entries.recv().await
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.streams.close(self.user, self.order, self.number);
    }
}
