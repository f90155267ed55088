//! Collects the metrics and renders them for Prometheus.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use tokio::task::JoinHandle;
use tracing_appender::non_blocking::ErrorCounter;

use crate::TelemetryError;
use crate::metrics::{ALL, Kind, LOG_LINES_DROPPED_TOTAL, SERVICE_RESTARTS_TOTAL, dependency};

/// Observations of histograms are kept one by one until they are sorted into their buckets this often.
const UPKEEP: Duration = Duration::from_secs(5);

/// Renders the metrics. Cheap to clone.
#[derive(Clone)]
pub struct MetricsHandle {
    inner: Option<Arc<Inner>>,
}

struct Inner {
    prometheus: PrometheusHandle,
    process: Collector,
    dropped_lines: Vec<ErrorCounter>,
}

/// Installs the recorder, describes every metric and shows zeros. Does nothing when metrics are not wanted.
pub(crate) fn start(
    enabled: bool,
    dropped_lines: Vec<ErrorCounter>,
) -> Result<MetricsHandle, TelemetryError> {
    if !enabled {
        return Ok(MetricsHandle { inner: None });
    }
    let builder =
        ALL.iter()
            .try_fold(PrometheusBuilder::new(), |builder, metric| {
                match metric.kind {
                    Kind::Histogram(bounds) => builder
                        .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), bounds),
                    Kind::Counter | Kind::MoneyCounter | Kind::Gauge => Ok(builder),
                }
            });
    let recorder = builder.map_err(already_started)?.build_recorder();
    let prometheus = recorder.handle();
    ::metrics::set_global_recorder(recorder).map_err(already_started)?;

    for metric in ALL {
        match metric.kind {
            Kind::Counter | Kind::MoneyCounter => {
                ::metrics::describe_counter!(metric.name, metric.help);
            }
            Kind::Gauge => ::metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram(_) => ::metrics::describe_histogram!(metric.name, metric.help),
        }
        show_zero(metric.name, metric.kind, metric.labels);
    }
    ::metrics::counter!(SERVICE_RESTARTS_TOTAL).absolute(1);
    let process = Collector::default();
    process.describe();
    Ok(MetricsHandle {
        inner: Some(Arc::new(Inner {
            prometheus,
            process,
            dropped_lines,
        })),
    })
}

/// Makes the series that are known before anything happened: those without labels, and those by dependency.
fn show_zero(name: &'static str, kind: Kind, labels: &[&str]) {
    let series: Vec<Vec<::metrics::Label>> = match labels {
        [] => vec![Vec::new()],
        ["dependency"] => dependency::counted_in(name)
            .iter()
            .map(|dependency| {
                vec![::metrics::Label::from_static_parts(
                    "dependency",
                    dependency,
                )]
            })
            .collect(),
        _ => Vec::new(),
    };
    for labels in series {
        match kind {
            Kind::Counter | Kind::MoneyCounter => ::metrics::counter!(name, labels).absolute(0),
            Kind::Gauge => ::metrics::gauge!(name, labels).set(0.0),
            // Asking for the series is enough to have its buckets shown.
            Kind::Histogram(_) => drop(::metrics::histogram!(name, labels)),
        }
    }
}

fn already_started(error: impl std::fmt::Display) -> TelemetryError {
    TelemetryError::AlreadyStarted(error.to_string())
}

impl MetricsHandle {
    /// The metrics now, process metrics included, in the text format of Prometheus. Empty when metrics are not wanted.
    #[must_use]
    pub fn render(&self) -> String {
        let Some(inner) = &self.inner else {
            return String::new();
        };
        inner.process.collect();
        let dropped: usize = inner
            .dropped_lines
            .iter()
            .map(ErrorCounter::dropped_lines)
            .sum();
        ::metrics::counter!(LOG_LINES_DROPPED_TOTAL)
            .absolute(u64::try_from(dropped).unwrap_or(u64::MAX));
        complete(&inner.prometheus.render())
    }

    fn upkeep(&self) {
        if let Some(inner) = &self.inner {
            inner.prometheus.run_upkeep();
        }
    }
}

/// Turns paise into rupees, and adds the help and type of metrics that have no series yet.
fn complete(rendered: &str) -> String {
    let mut text = String::with_capacity(rendered.len() + 4096);
    for line in rendered.lines() {
        match money(line) {
            Some((series, paise)) => {
                push_line(&mut text, format_args!("{series} {}", rupees(paise)));
            }
            None => push_line(&mut text, format_args!("{line}")),
        }
    }
    for metric in ALL {
        let kind = match metric.kind {
            Kind::Counter | Kind::MoneyCounter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let type_line = format!("# TYPE {} {kind}", metric.name);
        if !rendered.lines().any(|line| line == type_line) {
            push_line(
                &mut text,
                format_args!("# HELP {} {}\n{type_line}\n", metric.name, metric.help),
            );
        }
    }
    text
}

fn push_line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    if writeln!(text, "{line}").is_err() {
        text.push('\n');
    }
}

/// The series and the paise of a line that holds money.
fn money(line: &str) -> Option<(&str, u64)> {
    let name = line.split(['{', ' ']).next()?;
    ALL.iter()
        .find(|metric| metric.kind == Kind::MoneyCounter && metric.name == name)?;
    let (series, value) = line.rsplit_once(' ')?;
    Some((series, value.parse().ok()?))
}

fn rupees(paise: u64) -> String {
    match (paise / 100, paise % 100) {
        (rupees, 0) => rupees.to_string(),
        (rupees, rest) => format!("{rupees}.{rest:02}"),
    }
}

/// Keeps the memory of histograms bounded between scrapes. Ends when it is dropped.
pub(crate) struct Upkeep {
    task: JoinHandle<()>,
}

impl Upkeep {
    pub(crate) fn start(metrics: &MetricsHandle) -> Self {
        let metrics = metrics.clone();
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(UPKEEP);
            loop {
                ticks.tick().await;
                metrics.upkeep();
            }
        });
        Self { task }
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.task.abort();
    }
}
