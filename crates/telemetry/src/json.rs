//! One JSON object for each line of the log, with the fields of its spans behind its own.
//!
//! A line is put together from text: the values of a span become JSON once, when they are recorded, and each line copies
//! them.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use bharatmart_config::TelemetryConfig;
use chrono::DateTime;
use serde::{Serialize, Serializer};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::errors::chain;

/// The names that every line has; a field that is called the same gets an underscore behind it.
const OWN_NAMES: [&str; 6] = [
    "timestamp",
    "level",
    "message",
    "target",
    "service",
    "environment",
];

/// Writes every event as one line of JSON.
pub(crate) struct JsonLayer {
    writers: Vec<NonBlocking>,
    /// The end of what every line has, in JSON.
    process: String,
}

impl JsonLayer {
    pub(crate) fn new(config: &TelemetryConfig, writers: Vec<NonBlocking>) -> Self {
        let mut process = Vec::new();
        process.extend_from_slice(b",\"service\":");
        push(&mut process, config.service_name.as_str());
        process.extend_from_slice(b",\"environment\":");
        push(&mut process, config.environment.as_str());
        Self {
            writers,
            process: String::from_utf8_lossy(&process).into_owned(),
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        // Taken and put back, so that a value whose `Debug` logs something itself does no harm.
        let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
        let Scratch {
            fields,
            written,
            line,
        } = &mut scratch;
        event.record(fields);
        let metadata = event.metadata();
        line.extend_from_slice(b"{\"timestamp\":\"");
        push_timestamp(line, SystemTime::now());
        line.extend_from_slice(b"\",\"level\":\"");
        line.extend_from_slice(metadata.level().as_str().as_bytes());
        line.extend_from_slice(b"\",\"message\":");
        line.extend_from_slice(fields.message().unwrap_or(b"\"\""));
        line.extend_from_slice(b",\"target\":");
        push(line, metadata.target());
        line.extend_from_slice(self.process.as_bytes());
        fields.write(line, written);
        // From the innermost span outwards: what is nearer to the event counts.
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                of_span.write(line, written);
            }
        }
        line.extend_from_slice(b"}\n");
        for writer in &self.writers {
            // A handle of this line's own, because writing changes one.
            if let Err(error) = writer.clone().write_all(line) {
                eprintln!("the log cannot be written: {error}");
            }
        }
        fields.clear();
        written.clear();
        line.clear();
        // Failing means that the thread is about to end.
        let _ = SCRATCH.try_with(|kept| kept.set(scratch));
    }
}

/// What a thread uses again for its next line.
#[derive(Default)]
struct Scratch {
    fields: Fields,
    /// The names of the fields that are in the line.
    written: Vec<&'static str>,
    line: Vec<u8>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
    /// A second since 1970 and its text.
    static SECOND: RefCell<(u64, String)> = RefCell::default();
}

/// Pushes the time in the form `2026-01-01T00:00:00.000Z`.
fn push_timestamp(line: &mut Vec<u8>, now: SystemTime) {
    // A clock before 1970 is not set at all.
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let known = SECOND.try_with(|second| {
        let mut second = second.borrow_mut();
        if second.0 != seconds || second.1.is_empty() {
            *second = (seconds, date_and_time(seconds));
        }
        line.extend_from_slice(second.1.as_bytes());
    });
    if known.is_err() {
        line.extend_from_slice(date_and_time(seconds).as_bytes());
    }
    let milliseconds = since.subsec_millis();
    line.push(b'.');
    for unit in [100, 10, 1] {
        line.push(b'0' + u8::try_from(milliseconds / unit % 10).unwrap_or_default());
    }
    line.push(b'Z');
}

fn date_and_time(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        .unwrap_or_default()
        .format("%Y-%m-%dT%H:%M:%S")
        .to_string()
}

/// Pushes `value` as JSON.
fn push(json: &mut Vec<u8>, value: impl Serialize) {
    let before = json.len();
    // Neither strings nor numbers fail.
    if serde_json::to_writer(&mut *json, &value).is_err() {
        json.truncate(before);
        json.extend_from_slice(b"null");
    }
}

/// Pushes what `value` shows as a JSON string.
fn push_debug(json: &mut Vec<u8>, value: &dyn fmt::Debug) {
    let before = json.len();
    let mut serializer = serde_json::Serializer::new(&mut *json);
    if serializer.collect_str(&format_args!("{value:?}")).is_err() {
        json.truncate(before);
        json.extend_from_slice(b"null");
    }
}

/// The fields of a span or an event.
#[derive(Default)]
struct Fields {
    /// Names, and where in `json` their values end.
    ends: Vec<(&'static str, usize)>,
    /// The values one after the other.
    json: Vec<u8>,
}

impl Fields {
    fn add(&mut self, field: &Field, push: impl FnOnce(&mut Vec<u8>)) {
        push(&mut self.json);
        let name = field.name();
        let name = name.strip_prefix("r#").unwrap_or(name);
        self.ends.push((name, self.json.len()));
    }

    fn clear(&mut self) {
        self.ends.clear();
        self.json.clear();
    }

    fn values(&self) -> impl Iterator<Item = (usize, &'static str, &[u8])> {
        let mut start = 0;
        self.ends
            .iter()
            .enumerate()
            .map(move |(index, (name, end))| {
                let value = &self.json[start..*end];
                start = *end;
                (index, *name, value)
            })
    }

    /// The event's text, in JSON.
    fn message(&self) -> Option<&[u8]> {
        self.values()
            .find(|(_, name, _)| *name == MESSAGE)
            .map(|(_, _, value)| value)
    }

    /// Writes what is not `written` yet, each with a comma before it.
    fn write(&self, line: &mut Vec<u8>, written: &mut Vec<&'static str>) {
        for (index, name, value) in self.values() {
            // Of what is recorded twice, the last counts.
            let again = self.ends[index + 1..]
                .iter()
                .any(|(later, _)| *later == name);
            if name == MESSAGE || again || written.contains(&name) {
                continue;
            }
            written.push(name);
            line.push(b',');
            if OWN_NAMES.contains(&name) {
                push(line, format_args!("{name}_"));
            } else {
                push(line, name);
            }
            line.push(b':');
            line.extend_from_slice(value);
        }
    }
}

/// The name of the field with an event's text.
const MESSAGE: &str = "message";

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, |json| push_debug(json, value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, |json| push(json, value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, |json| push(json, value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, |json| push(json, value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, |json| push(json, value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, |json| push(json, value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        // The causes say what happened, so they belong into the line.
        self.add(field, |json| push(json, chain(value)));
    }
}
