//! The primary: its position in the log, and which host it is.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bharatmart_telemetry::metrics::{DATABASE_PRIMARY_CHANGES_TOTAL, DATABASE_PRIMARY_UP};
use futures_util::{
    Stream, StreamExt,
    future::{join_all, pending},
    stream,
};
use metrics::{counter, gauge};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use crate::{
    error::{Error, Result},
    position::{Position, SharedPosition},
    server::{Facts, Host, Link, Server},
};

/// How often the primary is asked for its position when nobody else asks.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// A primary that does not answer for so long is taken for lost. One that refuses is, at once.
const SILENCE: Duration = Duration::from_secs(3);
/// How often the other hosts are asked whether one of them has taken over.
const SEARCH: Duration = Duration::from_secs(5);

/// The primary as the monitor sees it.
#[derive(Debug)]
pub(crate) struct Primary {
    pub(crate) server: Arc<Server>,
    /// Up to where its log was last known to be written.
    position: SharedPosition,
    /// Grows with each change of the host.
    term: AtomicU64,
    /// Whether no host takes writes.
    is_lost: AtomicBool,
    history: Mutex<History>,
    questions: mpsc::UnboundedSender<oneshot::Sender<Position>>,
}

impl Primary {
    /// The primary on `server` and its monitor, which must be run.
    pub(crate) fn new(server: Arc<Server>, remember: Duration) -> (Arc<Self>, Monitor) {
        let (sender, questions) = mpsc::unbounded_channel();
        let primary = Arc::new(Self {
            server,
            position: SharedPosition::default(),
            term: AtomicU64::new(0),
            is_lost: AtomicBool::new(false),
            history: Mutex::new(History::new(remember)),
            questions: sender,
        });
        let monitor = Monitor {
            primary: Arc::clone(&primary),
            questions,
            link: None,
            elected: None,
            answered: Instant::now(),
        };
        (primary, monitor)
    }

    /// Fails while no host takes writes.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_lost.load(Ordering::Acquire) {
            return Err(Error::ReadOnly);
        }
        Ok(())
    }

    /// Up to where the log was last known to be written.
    pub(crate) fn known(&self) -> Position {
        self.position.get()
    }

    /// Grows with each change of the host.
    pub(crate) fn term(&self) -> u64 {
        self.term.load(Ordering::Acquire)
    }

    /// A position behind everything that was committed before the call; `None` when the primary does not
    /// tell. Those who ask at the same time share a question.
    pub(crate) async fn ask(&self) -> Option<Position> {
        self.check().ok()?;
        let (sender, answer) = oneshot::channel();
        self.questions.send(sender).ok()?;
        timeout(PATIENCE, answer).await.ok()?.ok()
    }

    /// How long ago the log first went beyond `position`; zero when it has not.
    pub(crate) fn lag_behind(&self, position: Position) -> Duration {
        self.history().first_beyond(position)
    }

    fn history(&self) -> std::sync::MutexGuard<'_, History> {
        // No code that panics runs under the lock.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a host the primary that was not.
    fn hand_over(&self, host: usize, facts: Facts) {
        // What was seen on the one before may lie beyond what this one has.
        self.position.set(facts.position);
        self.history().seen.clear();
        self.term.fetch_add(1, Ordering::AcqRel);
        counter!(DATABASE_PRIMARY_CHANGES_TOTAL).increment(1);
        tracing::warn!(
            server = %self.server.hosts()[host],
            timeline = facts.timeline,
            "another server is the primary now"
        );
    }

    /// Notes that the log is written up to `position`.
    pub(crate) fn learn(&self, position: Position) {
        self.position.advance(position);
        self.history().note(position);
    }
}

/// When the log was first seen to reach which positions.
#[derive(Debug)]
struct History {
    seen: VecDeque<(Instant, Position)>,
    remember: Duration,
}

impl History {
    const fn new(remember: Duration) -> Self {
        Self {
            seen: VecDeque::new(),
            remember,
        }
    }

    fn note(&mut self, position: Position) {
        if self.seen.back().is_some_and(|(_, last)| *last >= position) {
            return;
        }
        let now = Instant::now();
        self.seen.push_back((now, position));
        // The oldest one that is kept stands for all before it.
        while self
            .seen
            .get(1)
            .is_some_and(|(at, _)| now.duration_since(*at) > self.remember)
        {
            self.seen.pop_front();
        }
    }

    fn first_beyond(&self, position: Position) -> Duration {
        let index = self.seen.partition_point(|(_, seen)| *seen <= position);
        self.seen
            .get(index)
            .map_or(Duration::ZERO, |(at, _)| at.elapsed())
    }
}

/// Watches the primary, in a task of its own, over a connection of its own.
pub(crate) struct Monitor {
    primary: Arc<Primary>,
    questions: mpsc::UnboundedReceiver<oneshot::Sender<Position>>,
    link: Option<Link>,
    /// The host that is the primary, and its timeline. The pool may have found the next one before.
    elected: Option<(usize, i64)>,
    /// When the primary last answered.
    answered: Instant,
}

/// What each host says, in their order.
type Answers = Vec<Result<Link>>;

impl Monitor {
    /// Watches for ever.
    pub(crate) async fn run(mut self) {
        let mut asking = Vec::new();
        let mut searches = pin!(searches(Arc::clone(&self.primary.server)));
        loop {
            match self.look().await {
                Ok(position) => {
                    for question in asking.drain(..) {
                        // Whoever does not wait any more needs no answer.
                        let _ = oneshot::Sender::send(question, position);
                    }
                }
                Err(error) => {
                    asking.clear();
                    self.lose(&error);
                }
            }
            tokio::select! {
                _ = self.questions.recv_many(&mut asking, usize::MAX) => {}
                Some(answers) = searches.next() => {
                    // Whether one has taken over although the one before still answers. What else they say
                    // is of no interest while it does.
                    let _ = self.elect(answers);
                }
                () = sleep(INTERVAL) => {}
            }
        }
    }

    /// Asks the primary for its position.
    async fn look(&mut self) -> Result<Position> {
        if let Some(mut link) = self.link.take() {
            match timeout(PATIENCE, link.ask()).await {
                Ok(Ok(facts)) if facts.is_writable() => {
                    self.link = Some(link);
                    return Ok(self.found(facts));
                }
                // One broken connection is no verdict: a new one tells.
                Ok(Ok(_) | Err(_)) => self.primary.server.distrust(),
                Err(_) => return Err(Error::Unavailable(sqlx::Error::PoolTimedOut)),
            }
        }
        let answers = ask_all(&self.primary.server).await;
        let facts = self.elect(answers)?;
        Ok(self.found(facts))
    }

    /// Makes the host that takes writes, and on the latest timeline, the primary.
    fn elect(&mut self, answers: Answers) -> Result<Facts> {
        let server = &self.primary.server;
        let preferred = server.preferred();
        let rank = |&(index, ref link): &(usize, Link)| (link.facts.timeline, index == preferred);
        let mut best: Option<(usize, Link)> = None;
        let mut failure = None;
        for (index, answer) in answers.into_iter().enumerate() {
            match answer {
                Ok(link) if link.is_writable() && link.facts.timeline >= server.timeline() => {
                    let candidate = (index, link);
                    if best
                        .as_ref()
                        .is_none_or(|best| rank(best) < rank(&candidate))
                    {
                        best = Some(candidate);
                    }
                }
                Ok(_) => {}
                Err(error) => failure = Some(error),
            }
        }
        let Some((index, link)) = best else {
            return Err(failure.unwrap_or(Error::ReadOnly));
        };
        let facts = link.facts;
        let elected = Some((index, facts.timeline));
        if self.elected != elected {
            server.prefer(index, facts.timeline);
            if self.elected.is_some() {
                self.primary.hand_over(index, facts);
            }
            self.elected = elected;
        } else if self.link.is_some() {
            return Ok(facts);
        }
        self.link = Some(link);
        Ok(facts)
    }

    fn found(&mut self, facts: Facts) -> Position {
        self.answered = Instant::now();
        self.primary.learn(facts.position);
        if self.primary.is_lost.swap(false, Ordering::AcqRel) {
            tracing::info!("the primary takes writes again");
        }
        gauge!(DATABASE_PRIMARY_UP).set(1.0);
        facts.position
    }

    /// Notes that no host takes writes. Refused or told means so at once; silence does after a while, since
    /// the server may only be slow; any other answer is that of a server which may serve the pool well.
    fn lose(&mut self, error: &Error) {
        let is_silent = matches!(error, Error::Unavailable(sqlx::Error::PoolTimedOut));
        let is_lost = if is_silent {
            self.answered.elapsed() >= SILENCE
        } else {
            error.is_loss() || matches!(error, Error::ReadOnly)
        };
        if !is_lost {
            return;
        }
        if !self.primary.is_lost.swap(true, Ordering::AcqRel) {
            gauge!(DATABASE_PRIMARY_UP).set(0.0);
            tracing::error!(
                error = error as &dyn std::error::Error,
                "no server takes writes: they are refused until one does"
            );
        }
    }
}

/// What all hosts say, now and then, if there are several.
fn searches(server: Arc<Server>) -> impl Stream<Item = Answers> {
    stream::unfold(server, |server| async {
        if server.hosts().len() < 2 {
            return pending().await;
        }
        sleep(SEARCH).await;
        let answers = ask_all(&server).await;
        Some((answers, server))
    })
}

async fn ask_all(server: &Server) -> Answers {
    join_all(server.hosts().iter().map(open)).await
}

async fn open(host: &Arc<Host>) -> Result<Link> {
    timeout(PATIENCE, Link::open(host, false))
        .await
        .map_err(|_| Error::Unavailable(sqlx::Error::PoolTimedOut))?
        .map_err(Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_the_time_since_the_log_first_went_beyond() {
        let mut history = History::new(Duration::from_mins(1));
        let at = |bytes| Position::from_bytes(bytes);
        assert_eq!(history.first_beyond(at(0)), Duration::ZERO);
        history.note(at(10));
        std::thread::sleep(Duration::from_millis(2));
        history.note(at(20));
        history.note(at(20));
        assert_eq!(history.seen.len(), 2);
        assert_eq!(history.first_beyond(at(20)), Duration::ZERO);
        let one = history.first_beyond(at(19));
        let two = history.first_beyond(at(9));
        assert!(Duration::ZERO < one && one < two, "{one:?} {two:?}");
    }

    #[test]
    fn what_is_forgotten_is_never_the_newest() {
        let mut history = History::new(Duration::ZERO);
        for bytes in 1..10 {
            history.note(Position::from_bytes(bytes));
            std::thread::sleep(Duration::from_micros(10));
        }
        assert!(history.seen.len() <= 2);
        assert!(history.first_beyond(Position::ZERO) > Duration::ZERO);
    }
}
