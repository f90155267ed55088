//! Which request, wherever it began, a piece of work is part of.
//!
//! The context is that of W3C Trace Context, level 1 (<https://www.w3.org/TR/trace-context/>). It comes with a request,
//! or begins there; a job takes it along in the outbox and in its payload, so that the lines of the log of API and
//! workers that belong together carry the same `trace_id`.

use std::{fmt, future::Future};

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header of a request, and the field of a job's payload.
pub const TRACE_PARENT: &str = "traceparent";

tokio::task_local! {
    static CURRENT: Option<TraceContext>;
}

/// A position in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    parent_id: u64,
    flags: u8,
}

impl TraceContext {
    /// Begins a trace.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            // Never zero, which the standard forbids.
            trace_id: rand::random::<u128>() | 1,
            parent_id: rand::random::<u64>() | 1,
            flags: 1,
        }
    }

    /// Reads a `traceparent`; `None` for what is none. Of versions to come, what this one knows is read.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace_id, parent_id, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_whole = version != "00" || parts.next().is_none();
        if version == "ff" || !is_whole {
            return None;
        }
        hex(version, 2)?;
        let context = Self {
            trace_id: hex(trace_id, 32)?,
            parent_id: u64::try_from(hex(parent_id, 16)?).ok()?,
            flags: u8::try_from(hex(flags, 2)?).ok()? & 1,
        };
        (context.trace_id != 0 && context.parent_id != 0).then_some(context)
    }

    /// The same trace, one step on.
    #[must_use]
    pub fn next(self) -> Self {
        Self {
            parent_id: rand::random::<u64>() | 1,
            ..self
        }
    }

    /// What the lines of the log that belong together have in common: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace_id, self.parent_id, self.flags
        )
    }
}

/// So many hexadecimal digits, in small letters as the standard wants them.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = text.len() == digits
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then(|| u128::from_str_radix(text, 16).ok())?
}

/// What the current task is part of.
#[must_use]
pub fn current() -> Option<TraceContext> {
    CURRENT.try_with(|context| *context).ok().flatten()
}

/// Makes `span` a part of what `parent` is a position in, and tells its own position. Without a parent it begins a trace where
/// spans are exported, and has no position else.
#[must_use]
pub fn place(span: &Span, parent: Option<TraceContext>) -> Option<TraceContext> {
    exported(span, parent).or_else(|| parent.map(TraceContext::next))
}

/// The position of a span that is to be exported.
fn exported(span: &Span, parent: Option<TraceContext>) -> Option<TraceContext> {
    if let Some(parent) = parent {
        let context = Context::new().with_remote_span_context(parent.into());
        span.set_parent(context).ok()?;
    }
    let context = span.context();
    let own = context.span().span_context().clone();
    own.is_valid().then(|| TraceContext {
        trace_id: u128::from_be_bytes(own.trace_id().to_bytes()),
        parent_id: u64::from_be_bytes(own.span_id().to_bytes()),
        flags: own.trace_flags().to_u8() & 1,
    })
}

impl From<TraceContext> for SpanContext {
    fn from(context: TraceContext) -> Self {
        Self::new(
            TraceId::from_bytes(context.trace_id.to_be_bytes()),
            SpanId::from_bytes(context.parent_id.to_be_bytes()),
            TraceFlags::new(context.flags),
            true,
            TraceState::NONE,
        )
    }
}

/// Does `work` as a part of `context`. Tasks that it spawns are not part of it.
pub fn scope<F: Future>(
    context: Option<TraceContext>,
    work: F,
) -> impl Future<Output = F::Output> + use<F> {
    CURRENT.scope(context, work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_standard_shows_is_read_and_written() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::parse(text).unwrap();
        assert_eq!(context.to_string(), text);
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let next = context.next();
        assert_eq!(next.trace_id(), context.trace_id());
        assert_ne!(next.to_string(), text);
        let begun = TraceContext::begin();
        assert_eq!(TraceContext::parse(&begun.to_string()), Some(begun));
    }

    #[test]
    fn nonsense_is_no_context() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
        let of_a_later_version = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert!(TraceContext::parse(of_a_later_version).is_some());
    }

    #[tokio::test]
    async fn work_knows_what_it_is_part_of() {
        assert_eq!(current(), None);
        let context = TraceContext::begin();
        let seen = scope(Some(context), async { current() }).await;
        assert_eq!(seen, Some(context));
        assert_eq!(current(), None);
    }
}
