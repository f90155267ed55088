//! Sends spans to a collector, with OTLP over HTTP (<https://opentelemetry.io/docs/specs/otlp/>).

use std::{error::Error, time::Duration};

use async_trait::async_trait;
use bharatmart_config::{TelemetryConfig, TracesConfig};
use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, TraceContextExt, TraceId, TraceState, TracerProvider},
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{
        Sampler, SamplingDecision, SamplingResult, SdkTracer, SdkTracerProvider, ShouldSample,
    },
};
use tokio::runtime::Handle;

/// How long the collector may take for a batch.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the end of the process may wait for it: what stops us has little time left to give.
const LAST_PATIENCE: Duration = Duration::from_secs(2);
/// Spans that may begin a trace. What looks for work every second is not worth one when it finds none.
const BEGIN: [&str; 2] = ["request", "job"];
/// Asked every few seconds by everything around us.
const PROBES: &str = "/api/health";

/// What makes and sends spans. Dropping it sends what is still buffered.
pub(crate) struct Spans(SdkTracerProvider);

impl Spans {
    /// To be called inside a tokio runtime, on which the collector is talked to.
    pub(crate) fn start(
        config: &TelemetryConfig,
        traces: &TracesConfig,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let client = Client {
            inner: reqwest::Client::builder().timeout(PATIENCE).build()?,
            runtime: Handle::current(),
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(format!("{}/v1/traces", traces.endpoint))
            .with_timeout(PATIENCE)
            .build()?;
        let resource = Resource::builder_empty()
            .with_service_name(config.service_name.clone())
            .with_attribute(KeyValue::new(
                "deployment.environment.name",
                config.environment.as_str(),
            ))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(sampler(traces))
            .with_resource(resource)
            .build();
        Ok(Self(provider))
    }

    pub(crate) fn tracer(&self) -> SdkTracer {
        self.0.tracer("bharatmart")
    }
}

impl Drop for Spans {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_PATIENCE) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

fn sampler(traces: &TracesConfig) -> Worthwhile {
    let own = Sampler::TraceIdRatioBased(traces.share);
    Worthwhile(if traces.follows_caller {
        Sampler::ParentBased(Box::new(own))
    } else {
        own
    })
}

/// Samples what may begin a trace, and what is part of one.
#[derive(Clone, Debug)]
struct Worthwhile(Sampler);

impl ShouldSample for Worthwhile {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let is_part = parent.is_some_and(|parent| parent.span().span_context().is_valid());
        let is_probe = attributes.iter().any(|attribute| {
            attribute.key.as_str() == "route" && attribute.value.as_str().starts_with(PROBES)
        });
        if !is_part && (is_probe || !BEGIN.contains(&name)) {
            return SamplingResult {
                decision: SamplingDecision::Drop,
                attributes: Vec::new(),
                trace_state: TraceState::NONE,
            };
        }
        self.0
            .should_sample(parent, trace_id, name, kind, attributes, links)
    }
}

/// Batches are sent from a thread that is not the runtime's.
#[derive(Debug)]
struct Client {
    inner: reqwest::Client,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        let client = self.inner.clone();
        let sent = self.runtime.spawn(async move {
            let answer = client.execute(request).await?;
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            *response.body_mut() = answer.bytes().await?;
            Ok::<_, reqwest::Error>(response)
        });
        Ok(sent.await??)
    }
}
