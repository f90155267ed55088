//! What a collector gets. The spans belong to the whole process, so each of these tests needs one of its own, which nextest
//! gives.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, extract::State, routing::post};
use bharatmart_config::{Environment, LogFormat, TelemetryConfig, TracesConfig};
use bharatmart_telemetry::{start, trace, trace::TraceContext};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, any_value::Value},
    trace::v1::{ResourceSpans, Span},
};
use prost::Message;
use tokio::net::TcpListener;

type Received = Arc<Mutex<Vec<ResourceSpans>>>;

/// A collector, and what it gets.
async fn collector() -> (String, Received) {
    let received = Received::default();
    let take = async |State(received): State<Received>, body: Bytes| {
        let request = ExportTraceServiceRequest::decode(body).expect("it is what OTLP says");
        let mut received = received.lock().expect("nobody has panicked with it");
        received.extend(request.resource_spans);
    };
    let app = Router::new()
        .route("/v1/traces", post(take))
        .with_state(Arc::clone(&received));
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let address = listener.local_addr().expect("it has one");
    tokio::spawn(async move { axum::serve(listener, app).await });
    (format!("http://{address}"), received)
}

fn config(endpoint: String, share: f64) -> TelemetryConfig {
    TelemetryConfig {
        log_level: "info".to_owned(),
        log_format: LogFormat::Json,
        log_file: None,
        enable_metrics: false,
        traces: Some(TracesConfig {
            endpoint,
            share,
            follows_caller: true,
        }),
        service_name: "bharatmart-test".to_owned(),
        environment: Environment::Production,
    }
}

fn spans(received: &Received) -> Vec<Span> {
    let received = received.lock().expect("nobody has panicked with it");
    let scopes = received.iter().flat_map(|each| &each.scope_spans);
    scopes.flat_map(|scope| scope.spans.clone()).collect()
}

fn text(value: Option<&AnyValue>) -> Option<&str> {
    match value?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_and_what_it_leaves_behind_are_one_trace() {
    let (endpoint, received) = collector().await;
    let telemetry = start(&config(endpoint, 0.0)).unwrap();
    let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    let request = tracing::info_span!(target: "bharatmart_test", "request", route = "/api/orders");
    let position = trace::place(&request, TraceContext::parse(sent)).unwrap();
    request.in_scope(|| {
        tracing::info_span!(target: "bharatmart_test", "db.orders.place").in_scope(|| {});
    });
    drop(request);
    // As it stands in the job's payload.
    let job = tracing::info_span!(target: "bharatmart_test", "job");
    let parent = TraceContext::parse(&position.to_string());
    assert!(trace::place(&job, parent).is_some());
    drop(job);
    // Begins a trace, of which the share that is sent is none.
    let other = tracing::info_span!(target: "bharatmart_test", "request");
    assert!(trace::place(&other, None).is_some());
    drop(other);
    telemetry.shutdown();

    let mut spans = spans(&received);
    spans.sort_by_key(|span| span.name.clone());
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["db.orders.place", "job", "request"]);
    let [query, job, request] = &spans[..] else {
        unreachable!("there are three")
    };
    for span in &spans {
        assert_eq!(
            span.trace_id,
            0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes()
        );
    }
    assert_eq!(
        request.parent_span_id,
        0x00f0_67aa_0ba9_02b7_u64.to_be_bytes()
    );
    assert_eq!(query.parent_span_id, request.span_id);
    assert_eq!(job.parent_span_id, request.span_id);
    let route = request.attributes.iter().find(|one| one.key == "route");
    assert_eq!(
        route.and_then(|one| text(one.value.as_ref())),
        Some("/api/orders")
    );
    let received = received.lock().unwrap();
    let resource = received[0].resource.as_ref().unwrap();
    let service = resource
        .attributes
        .iter()
        .find(|one| one.key == "service.name");
    assert_eq!(
        service.and_then(|one| text(one.value.as_ref())),
        Some("bharatmart-test")
    );
}

#[tokio::test]
async fn without_a_collector_there_are_no_positions() {
    let telemetry = start(&TelemetryConfig {
        traces: None,
        ..config(String::new(), 1.0)
    })
    .unwrap();
    let sent = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_eq!(
        trace::place(
            &tracing::info_span!(target: "bharatmart_test", "request"),
            sent
        ),
        None
    );
    assert_eq!(
        trace::place(
            &tracing::info_span!(target: "bharatmart_test", "request"),
            None
        ),
        None
    );
    telemetry.shutdown();
}
