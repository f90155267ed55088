//! What a collector of traces gets. None of the real ones comes from a registry that tests install from; the format is read by
//! OpenTelemetry's own types.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::KeyValue,
    common::v1::any_value::Value, trace::v1,
};
use prost::Message;
use tokio::{net::TcpListener, task::JoinHandle};

/// A span as it was sent.
#[derive(Clone, Debug)]
pub struct ReceivedSpan {
    /// `service.name` of its sender.
    pub service: String,
    /// What is done in it.
    pub name: String,
    /// 16 bytes.
    pub trace_id: Vec<u8>,
    /// 8 bytes.
    pub id: Vec<u8>,
    /// 8 bytes; empty when it begins its trace.
    pub parent_id: Vec<u8>,
    attributes: Vec<KeyValue>,
}

impl ReceivedSpan {
    /// The text of an attribute.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        text(&self.attributes, name)
    }
}

/// A server for OTLP over HTTP that keeps what it gets. It ends when it is dropped.
pub struct Collector {
    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub url: String,
    received: Arc<Mutex<Vec<ReceivedSpan>>>,
    server: JoinHandle<()>,
}

impl Collector {
    /// On a port that is free.
    ///
    /// # Errors
    ///
    /// The port cannot be had.
    pub async fn start() -> Result<Self> {
        let received = Arc::<Mutex<Vec<ReceivedSpan>>>::default();
        let routes = Router::new()
            .route("/v1/traces", post(take))
            .with_state(Arc::clone(&received));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let server = tokio::spawn(async move {
            // Only ends with its task.
            let _ = axum::serve(listener, routes).await;
        });
        Ok(Self {
            url,
            received,
            server,
        })
    }

    /// All that came so far.
    #[must_use]
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        let received = self.received.lock();
        received.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(
    State(received): State<Arc<Mutex<Vec<ReceivedSpan>>>>,
    body: Bytes,
) -> Result<(), StatusCode> {
    let request = ExportTraceServiceRequest::decode(body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
    for sender in request.resource_spans {
        let resource = sender.resource.unwrap_or_default();
        let service = text(&resource.attributes, "service.name").unwrap_or_default();
        let spans = sender.scope_spans.into_iter().flat_map(|scope| scope.spans);
        received.extend(spans.map(|span| span_of(service, span)));
    }
    Ok(())
}

fn span_of(service: &str, span: v1::Span) -> ReceivedSpan {
    ReceivedSpan {
        service: service.to_owned(),
        name: span.name,
        trace_id: span.trace_id,
        id: span.span_id,
        parent_id: span.parent_span_id,
        attributes: span.attributes,
    }
}

fn text<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a str> {
    let attribute = attributes.iter().find(|attribute| attribute.key == name)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}
