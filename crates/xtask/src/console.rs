//! What the developer sees: numbered steps, and the logs of several programs at once.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, IsTerminal, Read, Write},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Instant,
};

/// How many lines of each program are kept for the case that it fails.
const KEPT_LINES: usize = 200;

/// Writes a line, or part of one. When nobody reads our output any more, nobody can be told.
fn write(text: &str) {
    let mut output = std::io::stdout().lock();
    let _ = output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush());
}

/// Writes a line.
pub fn line(text: impl AsRef<str>) {
    write(&format!("{}\n", text.as_ref()));
}

/// `text` in one of the terminal's 16 colours, when the output is a terminal.
pub fn coloured(text: &str, colour: u8) -> String {
    if std::io::stdout().is_terminal() {
        format!("\u{1b}[{colour}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

/// Bytes in megabytes, to show.
#[expect(
    clippy::cast_precision_loss,
    reason = "what we show is smaller than 2^52 bytes"
)]
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Numbers the steps of a procedure.
pub struct Steps {
    total: usize,
    begun: usize,
}

impl Steps {
    pub fn new(total: usize) -> Self {
        Self { total, begun: 0 }
    }

    /// Shows that the next step begins.
    pub fn begin(&mut self, name: &str) -> Step {
        self.begun += 1;
        let head = format!("[{}/{}] {name} …", self.begun, self.total);
        write(&head);
        Step {
            head,
            start: Instant::now(),
            fresh: true,
        }
    }
}

/// A step in progress; dropped without [`Step::done`] it has failed.
pub struct Step {
    head: String,
    start: Instant,
    /// Whether the cursor is still behind the head.
    fresh: bool,
}

impl Step {
    /// Shows what takes long now.
    pub fn note(&mut self, text: &str) {
        if self.fresh {
            line(format!(" {text}"));
        } else {
            line(format!("      {text}"));
        }
        self.fresh = false;
    }

    /// Shows that the step succeeded.
    pub fn done(mut self, outcome: &str) {
        let head = if self.fresh { "" } else { &self.head };
        let seconds = self.start.elapsed().as_secs_f32();
        line(format!("{head} {outcome} ({seconds:.1} s)"));
        self.fresh = false;
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if self.fresh {
            line("");
        }
    }
}

/// The log of one program. Until [`Log::show`] its lines are only kept.
pub struct Log {
    prefix: String,
    kept: Arc<Mutex<Kept>>,
    readers: Vec<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Kept {
    lines: VecDeque<String>,
    shown: bool,
}

impl Log {
    /// Reads `streams` to their ends.
    pub fn follow(prefix: String, streams: Vec<Box<dyn Read + Send>>) -> Self {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let readers = streams
            .into_iter()
            .map(|stream| {
                let (kept, prefix) = (Arc::clone(&kept), prefix.clone());
                thread::spawn(move || {
                    for bytes in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                        let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                        if kept.shown {
                            line(format!("{prefix} {text}"));
                        }
                        kept.lines.push_back(text);
                        if kept.lines.len() > KEPT_LINES {
                            kept.lines.pop_front();
                        }
                    }
                })
            })
            .collect();
        Self {
            prefix,
            kept,
            readers,
        }
    }

    /// Shows the lines so far, and from now on each as it comes.
    pub fn show(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.shown = true;
        for text in &kept.lines {
            line(format!("{} {text}", self.prefix));
        }
    }

    /// The last `count` lines so far.
    pub fn tail(&self, count: usize) -> Vec<String> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let first = kept.lines.len().saturating_sub(count);
        kept.lines.iter().skip(first).cloned().collect()
    }

    /// Waits for the rest of what an ended program wrote.
    pub fn finish(&mut self) {
        for reader in self.readers.drain(..) {
            // A reader that panicked has said so on standard error.
            let _ = reader.join();
        }
    }
}
