//! What lands in the log. The log belongs to the whole process, so each of these tests needs one of its own, which
//! nextest gives.

use std::path::Path;

use bharatmart_config::{Environment, LogFormat, TelemetryConfig};
use bharatmart_telemetry::{TelemetryError, start};
use serde_json::Value;

fn config(file: &Path) -> TelemetryConfig {
    TelemetryConfig {
        log_level: "info,quiet=warn".to_owned(),
        log_format: LogFormat::Json,
        log_file: Some(file.to_owned()),
        enable_metrics: true,
        traces: None,
        service_name: "bharatmart-test".to_owned(),
        environment: Environment::Production,
    }
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("the log file exists");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect()
}

#[tokio::test]
async fn a_line_carries_its_own_fields_and_those_of_its_spans() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("logs/api.log");
    let telemetry = start(&config(&file)).unwrap();
    {
        let request = tracing::info_span!(
            "request",
            request_id = "r-1",
            user.id = tracing::field::Empty
        );
        request.record("user.id", 7);
        let _request = request.entered();
        let _order = tracing::info_span!("order", order.id = "o-1", target = "mine").entered();
        tracing::info!(duration_ms = 1.5, replayed = true, "order {} placed", "o-1");
    }
    tracing::debug!("below the level");
    tracing::info!(target: "quiet", "below the level of its target");
    let error = std::io::Error::other("the disk is full");
    tracing::error!(error = &error as &dyn std::error::Error, "could not save");
    telemetry.shutdown();

    let lines = lines(&file);
    assert_eq!(lines.len(), 2, "{lines:?}");
    let first = &lines[0];
    assert_eq!(first["level"], "INFO");
    assert_eq!(first["message"], "order o-1 placed");
    assert_eq!(first["service"], "bharatmart-test");
    assert_eq!(first["environment"], "production");
    assert_eq!(first["target"], "logs");
    assert_eq!(first["target_"], "mine");
    assert_eq!(first["request_id"], "r-1");
    assert_eq!(first["user.id"], 7);
    assert_eq!(first["order.id"], "o-1");
    assert_eq!(first["duration_ms"], 1.5);
    assert_eq!(first["replayed"], true);
    let timestamp = first["timestamp"].as_str().unwrap();
    assert_eq!(timestamp.len(), "2026-01-01T00:00:00.000Z".len());
    assert!(
        timestamp.ends_with('Z') && timestamp.as_bytes()[10] == b'T',
        "{timestamp}"
    );
    assert_eq!(lines[1]["error"], "the disk is full");
    assert_eq!(lines[1].get("request_id"), None);
}

#[tokio::test]
async fn of_fields_with_one_name_the_one_nearest_to_the_event_counts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("api.log");
    let telemetry = start(&config(&file)).unwrap();
    {
        let outer = tracing::info_span!("outer", who = "outer", place = "outer", part = "outer");
        let _outer = outer.entered();
        let inner = tracing::info_span!("inner", who = "inner", place = "inner", tries = 1);
        inner.record("tries", 2);
        let _inner = inner.entered();
        tracing::info!(who = "event", "nearest");
    }
    telemetry.shutdown();
    // serde_json takes the last of several; there must be one.
    let text = std::fs::read_to_string(&file).unwrap();
    for name in ["who", "place", "part", "tries"] {
        assert_eq!(text.matches(&format!("\"{name}\":")).count(), 1, "{text}");
    }
    let line = &lines(&file)[0];
    assert_eq!(
        (&line["who"], &line["place"], &line["part"], &line["tries"]),
        (&"event".into(), &"inner".into(), &"outer".into(), &2.into())
    );
}

#[tokio::test]
async fn a_line_is_json_whatever_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("api.log");
    let telemetry = start(&config(&file)).unwrap();
    let nasty = "\"quoted\"\nsecond line \u{7} \\ कुर्ता";
    tracing::info!(text = nasty, debug = ?nasty, number = f64::NAN, none = ?None::<u8>, "say {nasty}");
    tracing::info!(r#type = "a keyword", level = 7);
    telemetry.shutdown();
    let lines = lines(&file);
    assert_eq!(lines[0]["text"], nasty);
    assert_eq!(lines[0]["debug"], format!("{nasty:?}"));
    assert_eq!(lines[0]["number"], Value::Null);
    assert_eq!(lines[0]["none"], "None");
    assert_eq!(lines[0]["message"], format!("say {nasty}"));
    assert_eq!(lines[1]["type"], "a keyword");
    assert_eq!(
        (&lines[1]["level"], &lines[1]["level_"]),
        (&"INFO".into(), &7.into())
    );
    assert_eq!(lines[1]["message"], "", "a line without a text");
}

#[tokio::test]
async fn a_value_that_logs_while_it_is_logged_does_no_harm() {
    struct Talkative;
    impl std::fmt::Debug for Talkative {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            tracing::warn!("from inside");
            f.write_str("said")
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("api.log");
    let telemetry = start(&config(&file)).unwrap();
    tracing::info!(value = ?Talkative, "from outside");
    telemetry.shutdown();
    let lines = lines(&file);
    let texts: Vec<_> = lines.iter().map(|line| &line["message"]).collect();
    assert_eq!(texts, ["from inside", "from outside"]);
    assert_eq!(lines[1]["value"], "said");
}

#[tokio::test]
async fn a_panic_is_a_line_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("api.log");
    let telemetry = start(&config(&file)).unwrap();
    tokio::spawn(async { panic!("a job went wrong") })
        .await
        .unwrap_err();
    telemetry.shutdown();
    let lines = lines(&file);
    assert_eq!(lines[0]["message"], "panicked: a job went wrong");
    assert!(
        lines[0]["panic.location"]
            .as_str()
            .unwrap()
            .contains("logs.rs")
    );
}

#[tokio::test]
async fn the_file_is_appended_to_also_beside_the_pretty_form() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("api.log");
    std::fs::write(&file, "{\"message\":\"from before\"}\n").unwrap();
    let telemetry = start(&TelemetryConfig {
        log_format: LogFormat::Pretty,
        ..config(&file)
    })
    .unwrap();
    tracing::warn!("from now");
    telemetry.shutdown();
    let messages: Vec<_> = lines(&file)
        .into_iter()
        .map(|line| line["message"].clone())
        .collect();
    assert_eq!(messages, ["from before", "from now"]);
}

#[tokio::test]
async fn what_cannot_be_used_names_its_variable() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("api.log");
    let bad_filter = TelemetryConfig {
        log_level: "info,[=".to_owned(),
        ..config(&file)
    };
    let error = start(&bad_filter).err().unwrap();
    assert!(matches!(error, TelemetryError::Filter { .. }), "{error}");
    assert!(error.to_string().starts_with("LOG_LEVEL="), "{error}");
    assert_eq!(
        (error.exit_code(), error.to_string().lines().count()),
        (64, 1)
    );

    // A folder is not a file.
    let error = start(&config(folder.path())).err().unwrap();
    assert!(matches!(error, TelemetryError::LogFile { .. }), "{error}");
    assert!(error.to_string().starts_with("LOG_FILE="), "{error}");
    assert_eq!(
        (error.exit_code(), error.to_string().lines().count()),
        (64, 1)
    );
}

#[tokio::test]
async fn a_second_start_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("api.log");
    let _first = start(&config(&file)).unwrap();
    assert!(matches!(
        start(&config(&file)).err().unwrap(),
        TelemetryError::AlreadyStarted(_)
    ));
}
