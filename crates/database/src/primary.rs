//! The primary: its position in the log, and which host it is.

use std::{
    collections::VecDeque,
    io,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
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
    position::Position,
    server::{Content, Facts, Host, Link, Server},
};

/// How often the primary is asked for its position when nobody else asks.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// A primary that does not answer for so long is taken for lost. One that refuses is, at once.
const SILENCE: Duration = Duration::from_secs(3);
/// How often the other hosts are asked whether one of them has taken over.
const SEARCH: Duration = Duration::from_secs(5);

/// A look at all hosts is not taken again for a token alone before this long.
const SEARCHED: Duration = Duration::from_secs(1);

/// The primary as the monitor sees it.
#[derive(Debug)]
pub(crate) struct Primary {
    pub(crate) server: Arc<Server>,
    log: Mutex<Log>,
    /// Grows with each change of the primary.
    term: AtomicU64,
    /// A [`State`].
    state: AtomicU8,
    questions: mpsc::UnboundedSender<Question>,
}

/// Whether the primary can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum State {
    /// As far as is known.
    Usable,
    /// It can only be read from.
    ReadOnly,
    /// No host is a primary that answers.
    Lost,
}

/// Asks for a position behind everything that was committed before.
#[derive(Debug)]
struct Question {
    /// Whether to look first which host is the primary.
    search: bool,
    answer: oneshot::Sender<Position>,
}

impl Primary {
    /// The primary on `server` and its monitor, which must be run.
    pub(crate) fn new(server: Arc<Server>, remember: Duration) -> (Arc<Self>, Monitor) {
        let (sender, questions) = mpsc::unbounded_channel();
        let primary = Arc::new(Self {
            server,
            log: Mutex::new(Log::new(remember)),
            term: AtomicU64::new(0),
            state: AtomicU8::new(State::Usable as u8),
            questions: sender,
        });
        let monitor = Monitor {
            primary: Arc::clone(&primary),
            questions,
            link: None,
            elected: None,
            searched: None,
        };
        (primary, monitor)
    }

    /// Fails while no host takes writes.
    pub(crate) fn check(&self) -> Result<()> {
        if self.state.load(Ordering::Acquire) == State::Usable as u8 {
            Ok(())
        } else {
            Err(Error::ReadOnly)
        }
    }

    /// Fails while no host is a primary that could be read from.
    pub(crate) fn check_reads(&self) -> Result<()> {
        if self.state.load(Ordering::Acquire) == State::Lost as u8 {
            Err(Error::ReadOnly)
        } else {
            Ok(())
        }
    }

    /// Up to where the log was last known to be written.
    pub(crate) fn known(&self) -> Position {
        self.log().known
    }

    /// Grows with each change of the primary.
    pub(crate) fn term(&self) -> u64 {
        self.term.load(Ordering::Acquire)
    }

    /// What it holds, if it was asked.
    pub(crate) fn content(&self) -> Option<Content> {
        self.log().content
    }

    /// When it last answered.
    pub(crate) fn heard(&self) -> Instant {
        self.log().heard
    }

    /// A position behind everything that was committed before the call; `None` when the primary does not
    /// tell. Those who ask at the same time share a question.
    pub(crate) async fn ask(&self) -> Option<Position> {
        self.question(false).await
    }

    /// [`Primary::ask`], of the host that is the primary by now.
    pub(crate) async fn ask_anew(&self) -> Option<Position> {
        self.question(true).await
    }

    async fn question(&self, search: bool) -> Option<Position> {
        self.check_reads().ok()?;
        let (answer, told) = oneshot::channel();
        self.questions.send(Question { search, answer }).ok()?;
        timeout(PATIENCE, told).await.ok()?.ok()
    }

    /// How long the log had gone beyond `position` when the primary was last heard of; zero when it had not.
    /// Since then nothing can be known to lag.
    pub(crate) fn lag_behind(&self, position: Position) -> Duration {
        self.log().lag_behind(position)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        // No code that panics runs under the lock.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the log is written up to `position`. On a later timeline, another server has taken over.
    pub(crate) fn learn(&self, position: Position) {
        let has_changed = self.log().learn(position);
        if has_changed {
            self.change();
        }
    }

    /// Begins anew at `position`, which may lie before what was seen: it is another log.
    fn restart(&self, position: Position) {
        let mut log = self.log();
        log.known = Position::ZERO;
        log.seen.clear();
        log.learn(position);
        drop(log);
        self.change();
    }

    fn change(&self) {
        self.term.fetch_add(1, Ordering::AcqRel);
        counter!(DATABASE_PRIMARY_CHANGES_TOTAL).increment(1);
        tracing::warn!(
            timeline = self.known().timeline(),
            "another server is the primary now"
        );
    }
}

/// What is known of the primary's log, and since when.
#[derive(Debug)]
struct Log {
    known: Position,
    content: Option<Content>,
    /// When the primary last answered.
    heard: Instant,
    /// When the log was first seen to reach which positions, all of one timeline.
    seen: VecDeque<(Instant, Position)>,
    remember: Duration,
}

/// Positions that are learnt within this time count as one.
const GRAIN: Duration = Duration::from_millis(10);

impl Log {
    fn new(remember: Duration) -> Self {
        Self {
            known: Position::ZERO,
            content: None,
            heard: Instant::now(),
            seen: VecDeque::new(),
            remember,
        }
    }

    /// Notes a position; whether it is on a later timeline than those before.
    fn learn(&mut self, position: Position) -> bool {
        self.heard = Instant::now();
        if position.timeline() < self.known.timeline() {
            return false;
        }
        let has_changed =
            self.known != Position::ZERO && position.timeline() > self.known.timeline();
        if has_changed {
            self.seen.clear();
        }
        self.known = self.known.max(position);
        self.note(position);
        has_changed
    }

    fn note(&mut self, position: Position) {
        let now = self.heard;
        if let Some((at, last)) = self.seen.back()
            && (*last >= position || now.duration_since(*at) < GRAIN)
        {
            return;
        }
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

    fn lag_behind(&self, position: Position) -> Duration {
        let index = self.seen.partition_point(|(_, seen)| *seen <= position);
        self.seen
            .get(index)
            .map_or(Duration::ZERO, |(at, _)| self.heard.duration_since(*at))
    }
}

/// Watches the primary, in a task of its own, over a connection of its own.
pub(crate) struct Monitor {
    primary: Arc<Primary>,
    questions: mpsc::UnboundedReceiver<Question>,
    link: Option<Link>,
    elected: Option<Elected>,
    /// When all hosts were last asked because of a token.
    searched: Option<Instant>,
}

/// The host that is the primary. The pool may have found the next one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Elected {
    host: usize,
    timeline: u32,
    content: Content,
}

/// A host's connection and what it holds.
type Candidate = (Link, Content);
/// What each host says, in their order.
type Answers = Vec<Result<Candidate>>;

impl Monitor {
    /// Watches for ever.
    pub(crate) async fn run(mut self) {
        let mut asking = Vec::new();
        let mut searches = pin!(searches(Arc::clone(&self.primary.server)));
        loop {
            let search = asking.iter().any(|question: &Question| question.search);
            match self.look(search).await {
                Ok(position) => {
                    for question in asking.drain(..) {
                        // Whoever does not wait any more needs no answer.
                        let _ = question.answer.send(position);
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
    async fn look(&mut self, search: bool) -> Result<Position> {
        let is_searched = self
            .searched
            .is_some_and(|searched| searched.elapsed() < SEARCHED);
        if search && !is_searched {
            self.searched = Some(Instant::now());
            let answers = ask_all(&self.primary.server).await;
            // The one at hand goes on if none has taken over.
            let _ = self.elect(answers);
        }
        if let Some(mut link) = self.link.take() {
            match timeout(PATIENCE, link.ask()).await {
                Ok(Ok(facts)) if facts.is_writable() && !self.is_past(facts) => {
                    self.link = Some(link);
                    return Ok(self.found(facts));
                }
                // One broken connection is no verdict: a new one tells.
                Ok(Ok(_) | Err(_)) => self.primary.server.distrust(),
                Err(_) => return Err(Error::silent()),
            }
        }
        let answers = ask_all(&self.primary.server).await;
        let facts = self.elect(answers)?;
        Ok(self.found(facts))
    }

    /// Whether somebody has written on a later timeline.
    fn is_past(&self, facts: Facts) -> bool {
        facts.timeline < self.primary.known().timeline()
    }

    /// Makes the host that takes writes, and on the latest timeline, the primary.
    fn elect(&mut self, answers: Answers) -> Result<Facts> {
        let server = &self.primary.server;
        let preferred = server.preferred();
        let known = self.primary.content();
        let is_known = |content: &Content| known.is_none_or(|known| known.is_that_of(content));
        let mut best: Option<(usize, Candidate)> = None;
        let mut verdict = Verdict::default();
        // Timelines of another cluster say nothing: it was restored or upgraded, and is all there is.
        let rank = |index: usize, (link, content): &Candidate| {
            (is_known(content), link.facts.timeline, index == preferred)
        };
        for (index, answer) in answers.into_iter().enumerate() {
            match answer {
                Ok(candidate) if candidate.0.is_writable() => {
                    let is_past = server.hosts().len() > 1
                        && is_known(&candidate.1)
                        && candidate.0.facts.timeline < server.timeline();
                    let is_better = best
                        .as_ref()
                        .is_none_or(|(at, best)| rank(*at, best) < rank(index, &candidate));
                    if !is_past && is_better {
                        best = Some((index, candidate));
                    }
                }
                Ok((link, _)) => verdict.hear_of(&link),
                Err(error) => verdict.hear(error),
            }
        }
        let Some((host, (link, content))) = best else {
            return Err(verdict.into_error());
        };
        let facts = link.facts;
        let elected = Elected {
            host,
            timeline: facts.timeline,
            content,
        };
        let before = self.elected.replace(elected);
        if before != Some(elected) {
            server.prefer(host, facts.timeline);
            self.primary.log().content = Some(content);
            tracing::debug!(server = %server.hosts()[host], timeline = facts.timeline, "the primary");
            if !is_known(&content) || self.is_past(facts) {
                self.primary.restart(facts.position);
            }
        } else if self.link.is_some() {
            return Ok(facts);
        }
        self.link = Some(link);
        Ok(facts)
    }

    fn found(&mut self, facts: Facts) -> Position {
        self.primary.learn(facts.position);
        self.turn(State::Usable);
        facts.position
    }

    /// Notes that no host takes writes. Refused or told means so at once; silence does after a while, since
    /// the server may only be slow; any other answer is that of a server which may serve the pool well.
    fn lose(&mut self, error: &Error) {
        let state = if matches!(error, Error::ReadOnly) {
            State::ReadOnly
        } else if error.is_silent() {
            if self.primary.heard().elapsed() < SILENCE {
                return;
            }
            State::Lost
        } else if error.is_loss() {
            State::Lost
        } else {
            return;
        };
        if self.turn(state) == State::Usable as u8 {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "no server takes writes: they are refused until one does"
            );
        }
        if state == State::Lost {
            // Whoever waits for its answer waits in vain.
            self.primary.server.cut();
        }
    }

    /// Notes the state; the one before.
    fn turn(&self, state: State) -> u8 {
        let before = self.primary.state.swap(state as u8, Ordering::AcqRel);
        let is_up = if state == State::Usable { 1.0 } else { 0.0 };
        gauge!(DATABASE_PRIMARY_UP, "server" => "primary").set(is_up);
        if state == State::Usable && before != State::Usable as u8 {
            tracing::info!("the primary takes writes again");
        }
        before
    }
}

/// What the hosts that are no primary say together.
#[derive(Default)]
struct Verdict {
    /// One did not answer in time.
    silence: Option<Error>,
    /// One refuses this program, but may serve its pool.
    refusal: Option<Error>,
    /// One cannot be reached, or is going.
    loss: Option<Error>,
    /// One is a primary that takes no writes.
    is_read_only: bool,
}

impl Verdict {
    fn hear_of(&mut self, link: &Link) {
        self.is_read_only |= !link.facts.in_recovery;
    }

    fn hear(&mut self, error: Error) {
        let place = if error.is_silent() {
            &mut self.silence
        } else if error.is_loss() {
            &mut self.loss
        } else {
            &mut self.refusal
        };
        *place = Some(error);
    }

    /// The most hopeful of what was heard: a primary is given up when no host leaves hope.
    fn into_error(self) -> Error {
        if self.is_read_only {
            return Error::ReadOnly;
        }
        self.refusal
            .or(self.silence)
            .or(self.loss)
            .unwrap_or(Error::Unavailable(sqlx::Error::Io(io::Error::other(
                "all hosts are standbys",
            ))))
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

async fn open(host: &Arc<Host>) -> Result<Candidate> {
    let opened = async {
        let mut link = Link::open(host, false).await?;
        let content = link.content().await?;
        Ok((link, content))
    };
    timeout(PATIENCE, opened)
        .await
        .map_err(|_| Error::silent())?
        .map_err(|error: sqlx::Error| error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn at(bytes: u64) -> Position {
        Position::new(1, bytes)
    }

    #[test]
    fn the_lag_is_the_time_since_the_log_first_went_beyond() {
        let mut log = Log::new(MINUTE);
        assert_eq!(log.lag_behind(at(0)), Duration::ZERO);
        log.learn(at(10));
        std::thread::sleep(GRAIN);
        log.learn(at(20));
        log.learn(at(20));
        assert_eq!(log.seen.len(), 2);
        std::thread::sleep(GRAIN);
        log.learn(at(20));
        assert_eq!(log.lag_behind(at(20)), Duration::ZERO);
        let (one, two) = (log.lag_behind(at(19)), log.lag_behind(at(9)));
        assert!(GRAIN <= one && one < two, "{one:?} {two:?}");
    }

    #[test]
    fn nothing_lags_more_while_the_primary_is_silent() {
        let mut log = Log::new(MINUTE);
        log.learn(at(10));
        let lag = log.lag_behind(at(5));
        std::thread::sleep(GRAIN);
        assert_eq!(log.lag_behind(at(5)), lag);
    }

    #[test]
    fn what_is_forgotten_is_never_the_newest() {
        let mut log = Log::new(Duration::ZERO);
        for bytes in 1..5 {
            log.learn(at(bytes));
            std::thread::sleep(GRAIN);
        }
        log.learn(at(4));
        assert!(log.seen.len() <= 2);
        assert!(log.lag_behind(Position::ZERO) > Duration::ZERO);
    }

    #[test]
    fn many_positions_in_a_moment_are_kept_as_one() {
        let mut log = Log::new(MINUTE);
        for bytes in 1..10_000 {
            log.learn(at(bytes));
        }
        assert!(log.seen.len() < 1_000, "{}", log.seen.len());
        assert_eq!(log.known, at(9_999));
    }

    #[test]
    fn a_later_timeline_is_another_primary_and_an_earlier_one_is_the_past() {
        let mut log = Log::new(MINUTE);
        assert!(!log.learn(at(100)), "the first one is no change");
        assert!(log.learn(Position::new(2, 90)));
        assert!(!log.learn(at(101)));
        assert_eq!(log.known, Position::new(2, 90));
    }
}
