//! What a collector gets. The spans belong to the whole process, so each of these tests needs one of its own, which nextest
//! gives.

use bharatmart_config::{Environment, LogFormat, TelemetryConfig, TracesConfig};
use bharatmart_telemetry::{start, trace, trace::TraceContext};
use bharatmart_test_support::Collector;
use tracing::info_span;

const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn config(traces: Option<TracesConfig>) -> TelemetryConfig {
    TelemetryConfig {
        log_level: "info".to_owned(),
        log_format: LogFormat::Json,
        log_file: None,
        enable_metrics: false,
        traces,
        service_name: "bharatmart-test".to_owned(),
        environment: Environment::Production,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_and_what_it_leaves_behind_are_one_trace() {
    let collector = Collector::start().await.unwrap();
    // Nothing that begins here is sent, and all that a caller wants to see.
    let traces = TracesConfig {
        endpoint: collector.url.clone(),
        share: 0.0,
        follows_caller: true,
    };
    let telemetry = start(&config(Some(traces))).unwrap();
    let request = info_span!(target: "bharatmart_test", "request", route = "/api/orders");
    let position = trace::place(&request, TraceContext::parse(SENT)).unwrap();
    request.in_scope(|| info_span!(target: "bharatmart_test", "query").in_scope(|| {}));
    drop(request);
    // As it stands in the job's payload.
    let job = info_span!(target: "bharatmart_test", "job");
    let parent = TraceContext::parse(&position.to_string());
    assert!(trace::place(&job, parent).is_some());
    drop(job);
    let other = info_span!(target: "bharatmart_test", "request");
    let unsent = trace::place(&other, None).unwrap().to_string();
    assert!(
        unsent.ends_with("-00"),
        "its jobs are not sent either: {unsent}"
    );
    drop(other);
    telemetry.shutdown();

    let mut spans = collector.spans();
    spans.sort_by_key(|span| span.name.clone());
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["job", "query", "request"]);
    let [job, query, request] = &spans[..] else {
        unreachable!("there are three")
    };
    for span in &spans {
        let trace = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes();
        assert_eq!(span.trace_id, trace);
        assert_eq!(span.service, "bharatmart-test");
    }
    assert_eq!(request.parent_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert_eq!(query.parent_id, request.id);
    assert_eq!(job.parent_id, request.id);
    assert_eq!(request.text("route"), Some("/api/orders"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_done_for_somebody_begins_a_trace() {
    let collector = Collector::start().await.unwrap();
    let traces = TracesConfig {
        endpoint: collector.url.clone(),
        share: 1.0,
        follows_caller: true,
    };
    let telemetry = start(&config(Some(traces))).unwrap();
    drop(info_span!(target: "bharatmart_test", "db.outbox.claim"));
    drop(info_span!(target: "bharatmart_test", "request", route = "/api/health/ready"));
    drop(info_span!(target: "bharatmart_test", "request", route = "/api/products"));
    drop(info_span!(target: "bharatmart_test", "job"));
    telemetry.shutdown();
    let mut sent: Vec<_> = collector.spans();
    sent.sort_by_key(|span| span.name.clone());
    let sent: Vec<_> = sent
        .iter()
        .map(|span| (span.name.as_str(), span.text("route")))
        .collect();
    assert_eq!(sent, [("job", None), ("request", Some("/api/products"))]);
}

#[tokio::test]
async fn without_a_collector_a_trace_goes_on_and_none_begins() {
    let telemetry = start(&config(None)).unwrap();
    let span = info_span!(target: "bharatmart_test", "request");
    let sent = TraceContext::parse(SENT).unwrap();
    let placed = trace::place(&span, Some(sent)).unwrap();
    assert_eq!(placed.trace_id(), sent.trace_id());
    assert_ne!(placed, sent);
    assert_eq!(trace::place(&span, None), None);
    telemetry.shutdown();
}
