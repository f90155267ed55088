//! Writes the lines of the log on a thread of its own, many at a time.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tracing_subscriber::fmt::writer::MakeWriter;

/// Bytes of lines that may wait for their writer. What comes beyond is dropped and counted.
const LONGEST_BACKLOG: usize = 4 * 1024 * 1024;
/// A buffer that had to grow beyond this is given back.
const KEPT_BUFFER: usize = 256 * 1024;
/// How long the thread waits for more lines after the first one: waking it for each line costs more than the line.
const GATHER: Duration = Duration::from_millis(5);
/// It waits no longer when this many bytes are there.
const ENOUGH: usize = 128 * 1024;
/// How long the end of the process waits for a reader of the log that does not read.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Takes lines. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LineWriter {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// The thread waits here for the first line, for enough of them, and for the end.
    lines: Condvar,
    /// The end of the process waits here for the thread.
    ended: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    stopping: bool,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LineWriter {
    /// Starts the thread called `name` that writes to `target` until the [`LineThread`] is dropped.
    pub(crate) fn start(
        name: &str,
        target: impl Write + Send + 'static,
    ) -> io::Result<(Self, LineThread)> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            lines: Condvar::new(),
            ended: Condvar::new(),
            dropped: AtomicU64::new(0),
        });
        let thread = thread::Builder::new().name(name.to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                write_lines(&shared, target);
                shared.lock().ended = true;
                shared.ended.notify_all();
            }
        })?;
        let writer = Self {
            shared: Arc::clone(&shared),
        };
        Ok((
            writer,
            LineThread {
                shared,
                thread: Some(thread),
            },
        ))
    }

    /// Hands over whole lines. They are dropped when the writer is too far behind: the log never makes a request wait.
    pub(crate) fn write(&self, lines: &[u8]) {
        let mut state = self.shared.lock();
        let before = state.lines.len();
        if before + lines.len() > LONGEST_BACKLOG {
            drop(state);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.lines.extend_from_slice(lines);
        let after = state.lines.len();
        drop(state);
        if before == 0 || (before < ENOUGH && after >= ENOUGH) {
            self.shared.lines.notify_one();
        }
    }

    /// How often lines were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

/// The form for people writes each line at once.
impl Write for &LineWriter {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        LineWriter::write(self, lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// The thread behind a [`LineWriter`]. Dropping it writes out what is there.
pub(crate) struct LineThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for LineThread {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stopping = true;
        self.shared.lines.notify_one();
        let (state, _) = self
            .shared
            .ended
            .wait_timeout_while(state, STOP_LIMIT, |state| !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        if state.ended
            && let Some(thread) = self.thread.take()
        {
            drop(state);
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

fn write_lines(shared: &Shared, mut target: impl Write) {
    let mut buffer = Vec::new();
    loop {
        let state = shared.lock();
        let state = shared
            .lines
            .wait_while(state, |state| state.lines.is_empty() && !state.stopping)
            .unwrap_or_else(PoisonError::into_inner);
        let (mut state, _) = shared
            .lines
            .wait_timeout_while(state, GATHER, |state| {
                state.lines.len() < ENOUGH && !state.stopping
            })
            .unwrap_or_else(PoisonError::into_inner);
        if state.lines.is_empty() {
            // Nothing is left, so it was woken for the end.
            return;
        }
        std::mem::swap(&mut state.lines, &mut buffer);
        drop(state);
        if let Err(error) = target.write_all(&buffer).and_then(|()| target.flush()) {
            eprintln!("the log cannot be written: {error}");
        }
        buffer.clear();
        buffer.shrink_to(KEPT_BUFFER);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    /// Passes on what is written, once it is allowed to.
    struct Gate {
        open: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Open for good once the other end is gone.
            let _ = self.open.recv();
            self.written.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (LineWriter, LineThread, Sender<()>, Receiver<Vec<u8>>) {
        let (open, opened) = channel();
        let (written, received) = channel();
        let gate = Gate {
            open: opened,
            written,
        };
        let (writer, thread) = LineWriter::start("test", gate).unwrap();
        (writer, thread, open, received)
    }

    #[test]
    fn every_line_is_written_before_the_thread_is_gone() {
        let (writer, thread, open, written) = gated();
        let writers = (0..4).map(|number| {
            let writer = writer.clone();
            thread::spawn(move || {
                for line in 0..1000 {
                    writer.write(format!("{number} {line}\n").as_bytes());
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.join().unwrap();
        }
        drop(open);
        drop(thread);
        let text = String::from_utf8(written.try_iter().flatten().collect()).unwrap();
        for number in 0..4 {
            let prefix = format!("{number} ");
            let lines = text.lines().filter_map(|line| line.strip_prefix(&prefix));
            assert!(lines.eq((0..1000).map(|line| line.to_string())), "{text}");
        }
        assert_eq!((text.lines().count(), writer.dropped()), (4000, 0));
    }

    #[test]
    fn what_the_writer_cannot_keep_up_with_is_dropped_and_counted() {
        let (writer, thread, open, written) = gated();
        writer.write(b"first\n");
        let line = [b'x'; 1024];
        let mut handed_over = 6;
        while writer.dropped() == 0 {
            writer.write(&line);
            handed_over += line.len();
        }
        assert!(handed_over <= 2 * LONGEST_BACKLOG + line.len());
        drop(open);
        drop(thread);
        let kept: usize = written.try_iter().map(|bytes| bytes.len()).sum();
        assert_eq!(kept, handed_over - line.len());
    }

    #[test]
    fn lines_are_written_without_an_end_of_the_process() {
        let (writer, _thread, open, written) = gated();
        drop(open);
        writer.write(b"one\n");
        assert_eq!(written.recv_timeout(LIMIT).unwrap(), b"one\n");
        writer.write(b"two\n");
        assert_eq!(written.recv_timeout(LIMIT).unwrap(), b"two\n");
    }
}
