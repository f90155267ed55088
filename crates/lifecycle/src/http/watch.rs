//! Watching connections for those that take their time, without a timer for each.
//!
//! A connection notes what it does in a few atomics. One task looks at all of them now and then, and ends what has
//! been at one thing for too long. It also sets the clock that the notes are made by, so that they cost next to
//! nothing; they are wrong by the time between two looks at most.

use std::{
    collections::HashMap,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::body::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::AbortHandle,
    time::{MissedTickBehavior, interval},
};

/// Between two looks there is this share of the shortest time that is watched for.
const LOOKS: u32 = 8;
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// A connection that has been idle for less, that has owed the body of a request for less, or in the middle of a head
/// for less, is not ended to make room.
const MAY_IDLE: Duration = Duration::from_secs(2);
const MAY_READ: Duration = Duration::from_secs(1);

/// In [`Watch::state`], beside all else: it is being ended, and no further request is taken.
const ENDING: u32 = 1 << 31;
/// The head of a request has begun and is not complete.
const HEAD: u32 = 1 << 30;

/// For how long a connection may be at one thing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Nothing, between two requests.
    pub(super) idle: Duration,
    /// The head of a request.
    pub(super) head: Duration,
    /// Taking no byte of an answer.
    pub(super) write: Duration,
}

/// What one connection is doing.
#[derive(Debug)]
pub(super) struct Watch {
    /// How many requests it has with the handlers, and the two bits above.
    state: AtomicU32,
    /// When it last did something else than before.
    since: AtomicU64,
    /// Since when its peer takes nothing of what is written; 0 when it does.
    stalled: AtomicU64,
    /// For how many bodies of requests handlers wait, and since when for the last of them.
    awaited: AtomicU32,
    awaited_since: AtomicU64,
    /// What is handed out of each answer in HTTP/2. Those whose answers are done go at the next look.
    answers: Mutex<Vec<Weak<Pieces>>>,
    /// In HTTP/2 what is read need not be the head of a request.
    is_http2: AtomicBool,
    clock: Arc<Clock>,
}

/// Milliseconds since the start, and one more, as of the last look.
#[derive(Debug)]
struct Clock {
    started: Instant,
    now: AtomicU64,
}

impl Clock {
    fn set(&self) -> u64 {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now = elapsed.saturating_add(1);
        self.now.store(now, Ordering::Relaxed);
        now
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }
}

/// A request that is with the handlers.
#[derive(Debug)]
pub(super) struct Working(Arc<Watch>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.touch();
        self.0.state.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A handler that waits for the body of a request.
#[derive(Debug)]
pub(super) struct Awaited(Arc<Watch>);

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.awaited.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How much of an answer is handed out and not written.
#[derive(Debug)]
pub(super) struct Pieces {
    unwritten: AtomicU32,
    /// When a piece was last handed out or written.
    since: AtomicU64,
    clock: Arc<Clock>,
}

impl Pieces {
    /// `piece`, accounted for until it is dropped.
    pub(super) fn hand_out(self: &Arc<Self>, piece: Bytes) -> Bytes {
        self.since.store(self.clock.now(), Ordering::Relaxed);
        self.unwritten.fetch_add(1, Ordering::AcqRel);
        Bytes::from_owner(Piece {
            bytes: piece,
            of: Arc::clone(self),
        })
    }

    /// Since when its client takes nothing of it, if it should.
    fn stalled_since(&self) -> Option<u64> {
        (self.unwritten.load(Ordering::Acquire) != 0).then(|| self.since.load(Ordering::Relaxed))
    }
}

/// Part of an answer.
struct Piece {
    bytes: Bytes,
    of: Arc<Pieces>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let now = self.of.clock.now();
        self.of.since.store(now, Ordering::Relaxed);
        self.of.unwritten.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Watch {
    /// A request begins; `None` when the connection is being ended.
    pub(super) fn begin(self: &Arc<Self>, is_http2: bool) -> Option<Working> {
        if is_http2 {
            self.is_http2.store(true, Ordering::Relaxed);
        }
        let one_more = |state: u32| (state & ENDING == 0).then_some((state & !HEAD) + 1);
        self.state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more)
            .ok()?;
        Some(Working(Arc::clone(self)))
    }

    /// A handler waits for the body of a request from now on.
    pub(super) fn await_body(self: &Arc<Self>) -> Awaited {
        self.awaited_since
            .store(self.clock.now(), Ordering::Relaxed);
        self.awaited.fetch_add(1, Ordering::AcqRel);
        Awaited(Arc::clone(self))
    }

    /// Accounts for a further answer.
    pub(super) fn pieces(&self) -> Arc<Pieces> {
        let pieces = Arc::new(Pieces {
            unwritten: AtomicU32::new(0),
            since: AtomicU64::new(0),
            clock: Arc::clone(&self.clock),
        });
        self.answers().push(Arc::downgrade(&pieces));
        pieces
    }

    fn answers(&self) -> MutexGuard<'_, Vec<Weak<Pieces>>> {
        // It is right after every step.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self) {
        self.since.store(self.clock.now(), Ordering::Relaxed);
    }

    fn has_read(&self) {
        if !self.is_http2.load(Ordering::Relaxed)
            && self
                .state
                .compare_exchange(0, HEAD, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        {
            self.touch();
        }
    }

    fn has_written<T>(&self, written: &Poll<io::Result<T>>) {
        match (written.is_ready(), self.stalled.load(Ordering::Relaxed)) {
            (true, 0) => {}
            (true, _) => {
                self.touch();
                self.stalled.store(0, Ordering::Relaxed);
            }
            (false, 0) => self.stalled.store(self.clock.now(), Ordering::Relaxed),
            (false, _) => {}
        }
    }

    /// Whether it has been at one thing for longer than `patience` allows, and takes no further request.
    fn is_over(&self, now: u64, patience: Patience) -> bool {
        let beyond =
            |since: u64, limit: Duration| Duration::from_millis(now.saturating_sub(since)) > limit;
        let stalled = self.stalled.load(Ordering::Relaxed);
        if stalled != 0 {
            return beyond(stalled, patience.write);
        }
        if self
            .answers_stalled_since()
            .is_some_and(|since| beyond(since, patience.write))
        {
            return true;
        }
        let since = self.since.load(Ordering::Relaxed);
        match self.state.load(Ordering::Acquire) {
            0 => beyond(since, patience.idle) && self.end(0),
            HEAD => beyond(since, patience.head) && self.end(HEAD),
            _ => false,
        }
    }

    /// Since when nothing is taken of the answer for which that is longest.
    fn answers_stalled_since(&self) -> Option<u64> {
        let mut longest = None::<u64>;
        self.answers().retain(|pieces| {
            let Some(pieces) = pieces.upgrade() else {
                return false;
            };
            if let Some(since) = pieces.stalled_since() {
                longest = Some(longest.map_or(since, |longest| longest.min(since)));
            }
            true
        });
        longest
    }

    /// Since when it is of no use to anybody, and its state: idle, in the middle of a head, or with nothing but requests
    /// whose bodies do not come; `None` when it has not been for long enough to be ended for another.
    fn useless_since(&self, now: u64) -> Option<(u64, u32)> {
        let state = self.state.load(Ordering::Acquire);
        let (since, may) = match state {
            0 => (&self.since, MAY_IDLE),
            HEAD => (&self.since, MAY_READ),
            requests if requests == self.awaited.load(Ordering::Acquire) => {
                (&self.awaited_since, MAY_IDLE)
            }
            _ => return None,
        };
        let since = since.load(Ordering::Relaxed);
        (Duration::from_millis(now.saturating_sub(since)) > may).then_some((since, state))
    }

    /// Ends it, unless its state is another one by now.
    fn end(&self, state: u32) -> bool {
        self.state
            .compare_exchange(state, state | ENDING, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }
}

struct Entry {
    watch: Arc<Watch>,
    /// Comes with the task.
    task: Option<AbortHandle>,
}

/// All connections of a server.
pub(super) struct Watches {
    patience: Patience,
    clock: Arc<Clock>,
    next: AtomicU64,
    entries: Mutex<HashMap<u64, Entry>>,
}

/// A connection's place among the others, for as long as it lives.
pub(super) struct Place {
    number: u64,
    watches: Arc<Watches>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.watches.lock().remove(&self.number);
    }
}

impl Watches {
    pub(super) fn new(patience: Patience) -> Arc<Self> {
        let clock = Clock {
            started: Instant::now(),
            now: AtomicU64::new(1),
        };
        Arc::new(Self {
            patience,
            clock: Arc::new(clock),
            next: AtomicU64::new(0),
            entries: Mutex::default(),
        })
    }

    /// Watches a new connection.
    pub(super) fn enter(self: &Arc<Self>) -> (Arc<Watch>, Place) {
        let watch = Arc::new(Watch {
            // The first head is awaited from now on.
            state: AtomicU32::new(HEAD),
            since: AtomicU64::new(self.clock.now()),
            stalled: AtomicU64::new(0),
            awaited: AtomicU32::new(0),
            awaited_since: AtomicU64::new(0),
            answers: Mutex::default(),
            is_http2: AtomicBool::new(false),
            clock: Arc::clone(&self.clock),
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let entry = Entry {
            watch: Arc::clone(&watch),
            task: None,
        };
        self.lock().insert(number, entry);
        let watches = Arc::clone(self);
        (watch, Place { number, watches })
    }

    /// `task` is what serves the connection with this number.
    pub(super) fn served_by(&self, number: u64, task: AbortHandle) {
        // It may have ended by now.
        if let Some(entry) = self.lock().get_mut(&number) {
            entry.task = Some(task);
        }
    }

    /// Looks after the connections, for ever.
    pub(super) async fn look(self: Arc<Self>) {
        let Patience { idle, head, write } = self.patience;
        let pause = idle.min(head).min(write) / LOOKS;
        let mut ticks = interval(pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = self.clock.set();
            for entry in self.lock().values() {
                if let Some(task) = &entry.task
                    && entry.watch.is_over(now, self.patience)
                {
                    task.abort();
                }
            }
        }
    }

    /// Ends the connection that has been of no use for longest.
    pub(super) fn make_room(&self) {
        let now = self.clock.set();
        let entries = self.lock();
        let useless = entries.values().filter_map(|entry| {
            let (since, state) = entry.watch.useless_since(now)?;
            Some((since, state, entry))
        });
        if let Some((_, state, entry)) = useless.min_by_key(|(since, ..)| *since)
            && let Some(task) = &entry.task
            && entry.watch.end(state)
        {
            task.abort();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        // It is right after every step.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    pub(super) const fn number(&self) -> u64 {
        self.number
    }
}

/// A connection that notes what is read and written.
pub(super) struct Watched {
    stream: TcpStream,
    watch: Arc<Watch>,
}

impl Watched {
    pub(super) const fn new(stream: TcpStream, watch: Arc<Watch>) -> Self {
        Self { stream, watch }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.watch.has_read();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch.has_written(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch.has_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
