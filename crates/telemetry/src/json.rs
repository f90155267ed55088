//! One JSON object for each line of the log, with the fields of its spans beside its own.

use std::fmt;
use std::io::Write;

use bharatmart_config::TelemetryConfig;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{ChronoUtc, FormatTime};
use tracing_subscriber::fmt::writer::{BoxMakeWriter, MakeWriter};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, Scope};

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
    writer: BoxMakeWriter,
    clock: ChronoUtc,
    service: String,
    environment: &'static str,
}

/// One line, in the order in which people read it.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'static str,
    message: String,
    target: &'a str,
    service: &'a str,
    environment: &'static str,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

impl JsonLayer {
    pub(crate) fn new(config: &TelemetryConfig, writer: BoxMakeWriter) -> Self {
        Self {
            writer,
            clock: ChronoUtc::new("%Y-%m-%dT%H:%M:%S%.3fZ".to_owned()),
            service: config.service_name.clone(),
            environment: config.environment.as_str(),
        }
    }

    fn timestamp(&self) -> String {
        let mut text = String::with_capacity(24);
        // Writing to a string does not fail.
        match self.clock.format_time(&mut Writer::new(&mut text)) {
            Ok(()) => text,
            Err(fmt::Error) => String::new(),
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
        let mut fields = Fields::default();
        for span in context
            .event_scope(event)
            .into_iter()
            .flat_map(Scope::from_root)
        {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.values.extend(of_span.values.clone());
            }
        }
        event.record(&mut fields);
        let metadata = event.metadata();
        let line = Line {
            timestamp: self.timestamp(),
            level: metadata.level().as_str(),
            message: fields.message.unwrap_or_default(),
            target: metadata.target(),
            service: &self.service,
            environment: self.environment,
            fields: fields.values,
        };
        let written = serde_json::to_vec(&line)
            .map_err(std::io::Error::from)
            .and_then(|mut bytes| {
                bytes.push(b'\n');
                self.writer.make_writer_for(metadata).write_all(&bytes)
            });
        if let Err(error) = written {
            eprintln!("the log cannot be written: {error}");
        }
    }
}

/// The fields of a span or an event.
#[derive(Default)]
struct Fields {
    message: Option<String>,
    values: Map<String, Value>,
}

impl Fields {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        let name = field.name();
        let name = name.strip_prefix("r#").unwrap_or(name);
        let name = if OWN_NAMES.contains(&name) {
            format!("{name}_")
        } else {
            name.to_owned()
        };
        self.values.insert(name, value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = Some(format!("{value:?}"));
        } else {
            self.insert(field, format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = Some(value.to_owned());
        } else {
            self.insert(field, value);
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        // The causes say what happened, so they belong into the line.
        self.insert(field, chain(value));
    }
}
