//! What a scrape shows. The recorder belongs to the whole process, so each of these tests needs one of its own, which
//! nextest gives.

use bharatmart_config::{Environment, LogFormat, TelemetryConfig};
use bharatmart_telemetry::metrics::{
    ALL, HTTP_REQUEST_DURATION_SECONDS, Kind, ORDERS_CREATED_TOTAL, ORDERS_VALUE_TOTAL,
    PAYMENTS_VALUE_TOTAL,
};
use bharatmart_telemetry::{MetricsHandle, Telemetry, start};

fn started(enable_metrics: bool) -> (Telemetry, MetricsHandle) {
    let config = TelemetryConfig {
        log_level: "off".to_owned(),
        log_format: LogFormat::Json,
        log_file: None,
        enable_metrics,
        traces: None,
        service_name: "bharatmart-test".to_owned(),
        environment: Environment::Development,
    };
    let telemetry = start(&config).expect("nothing was started before");
    let metrics = telemetry.metrics();
    (telemetry, metrics)
}

fn has_line(scrape: &str, line: &str) -> bool {
    scrape.lines().any(|found| found == line)
}

#[tokio::test]
async fn every_metric_is_in_the_first_scrape_with_help_and_type() {
    let (_telemetry, metrics) = started(true);
    let scrape = metrics.render();
    for metric in ALL {
        let kind = match metric.kind {
            Kind::Counter | Kind::MoneyCounter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let help = format!("# HELP {} {}", metric.name, metric.help);
        let kind = format!("# TYPE {} {kind}", metric.name);
        for line in [help, kind] {
            assert_eq!(
                scrape.lines().filter(|found| *found == line).count(),
                1,
                "{line}\n{scrape}"
            );
        }
    }
}

#[tokio::test]
async fn zeros_are_in_the_first_scrape() {
    let (_telemetry, metrics) = started(true);
    let scrape = metrics.render();
    for line in [
        "service_restarts_total 1",
        "orders_success_total 0",
        "orders_failed_total 0",
        "orders_value_total 0",
        "chaos_events_total 0",
        "simulated_latency_ms 0",
        "external_call_latency_ms_count{dependency=\"payment_gateway\"} 0",
        "external_call_latency_ms_bucket{dependency=\"payment_gateway\",le=\"5000\"} 0",
        "retry_attempts_total{dependency=\"database\"} 0",
        "retry_attempts_total{dependency=\"queue\"} 0",
        "circuit_breaker_open_total{dependency=\"payment_gateway\"} 0",
        "circuit_breaker_open_total{dependency=\"queue\"} 0",
    ] {
        assert!(has_line(&scrape, line), "{line} is not in\n{scrape}");
    }
    assert!(scrape.contains("process_cpu_seconds_total"), "{scrape}");
    assert!(scrape.contains("process_resident_memory_bytes"), "{scrape}");
}

#[tokio::test]
async fn money_is_counted_in_paise_and_shown_in_rupees() {
    let (_telemetry, metrics) = started(true);
    metrics::counter!(ORDERS_VALUE_TOTAL).increment(499_950);
    metrics::counter!(ORDERS_VALUE_TOTAL).increment(50);
    metrics::counter!(PAYMENTS_VALUE_TOTAL, "status" => "completed").increment(123_405);
    metrics::counter!(ORDERS_CREATED_TOTAL, "status" => "pending").increment(100);
    let scrape = metrics.render();
    for line in [
        "orders_value_total 5000",
        "payments_value_total{status=\"completed\"} 1234.05",
        "orders_created_total{status=\"pending\"} 100",
    ] {
        assert!(has_line(&scrape, line), "{line} is not in\n{scrape}");
    }
}

#[tokio::test]
async fn requests_fall_into_their_buckets() {
    let (_telemetry, metrics) = started(true);
    let request = metrics::histogram!(
        HTTP_REQUEST_DURATION_SECONDS, "method" => "GET", "route" => "/api/orders/{id}", "status_code" => "200"
    );
    request.record(0.003);
    request.record(0.03);
    request.record(30.0);
    let scrape = metrics.render();
    let labels = "method=\"GET\",route=\"/api/orders/{id}\",status_code=\"200\"";
    for (bound, count) in [
        ("0.005", 1),
        ("0.025", 1),
        ("0.05", 2),
        ("5", 2),
        ("+Inf", 3),
    ] {
        let line =
            format!("http_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {count}");
        assert!(has_line(&scrape, &line), "{line} is not in\n{scrape}");
    }
}

#[tokio::test]
async fn nothing_is_rendered_when_metrics_are_not_wanted() {
    let (_telemetry, metrics) = started(false);
    metrics::counter!(ORDERS_VALUE_TOTAL).increment(1);
    assert_eq!(metrics.render(), "");
}
