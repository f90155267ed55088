//! Where the log goes, and in which form.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal};
use std::iter;
use std::path::Path;

use bharatmart_config::{LogFormat, TelemetryConfig};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::time::ChronoUtc;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::TelemetryError;
use crate::json::JsonLayer;
use crate::spans::Spans;

/// Lines that may wait for their writer. The buffer is allocated whole, so it is kept to a few hundred kilobytes.
const BUFFERED_LINES: usize = 8_192;
/// Bytes that are written at once while more lines wait.
const BATCH: usize = 64 * 1024;

/// Keep the writers alive; dropping them writes out what is buffered.
#[derive(Default)]
pub(crate) struct Guards {
    workers: Vec<WorkerGuard>,
    dropped: Vec<ErrorCounter>,
}

impl Guards {
    /// Counters of the lines that the writers could not keep up with.
    pub(crate) fn dropped_lines(&self) -> Vec<ErrorCounter> {
        self.dropped.clone()
    }

    fn writer(&mut self, name: &str, target: impl io::Write + Send + 'static) -> NonBlocking {
        // Flushed whenever no line waits any more.
        let target = BufWriter::with_capacity(BATCH, target);
        let (writer, worker) = NonBlockingBuilder::default()
            .buffered_lines_limit(BUFFERED_LINES)
            .thread_name(name)
            .finish(target);
        self.dropped.push(writer.error_counter());
        self.workers.push(worker);
        writer
    }
}

pub(crate) fn start(
    config: &TelemetryConfig,
    spans: Option<&Spans>,
) -> Result<Guards, TelemetryError> {
    let filter =
        EnvFilter::try_new(&config.log_level).map_err(|source| TelemetryError::Filter {
            level: config.log_level.clone(),
            source,
        })?;
    let file = match &config.log_file {
        Some(path) => Some(open(path).map_err(|source| TelemetryError::LogFile {
            path: path.clone(),
            source,
        })?),
        None => None,
    };
    let mut guards = Guards::default();
    let stdout = guards.writer("log-stdout", io::stdout());
    let file = file.map(|file| guards.writer("log-file", file));
    let (for_machines, for_people) = match config.log_format {
        LogFormat::Json => (iter::once(stdout).chain(file).collect(), None),
        LogFormat::Pretty => (Vec::from_iter(file), Some(stdout)),
    };
    let json = (!for_machines.is_empty()).then(|| JsonLayer::new(config, for_machines));
    let pretty = for_people.map(|writer| {
        tracing_subscriber::fmt::layer()
            .with_timer(ChronoUtc::new("%H:%M:%S%.3f".to_owned()))
            .with_ansi(io::stdout().is_terminal())
            .with_writer(writer)
            .boxed()
    });
    // The exporter's own spans would make more of them.
    let ours = filter_fn(|metadata| metadata.target().starts_with("bharatmart"));
    let exported = spans.map(|spans| {
        tracing_opentelemetry::layer()
            .with_tracer(spans.tracer())
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(ours)
    });
    tracing_subscriber::registry()
        .with(exported)
        .with(pretty)
        .with(json)
        .with(filter)
        .try_init()
        .map_err(|error| TelemetryError::AlreadyStarted(error.to_string()))?;
    log_panics();
    Ok(guards)
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// A panic becomes a line of the log like everything else, instead of loose text on standard error.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let location = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(panic.location = location, "panicked: {message}");
    }));
}
