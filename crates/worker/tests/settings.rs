//! Settings whose fault shows only when they are used.

use std::process::{Command, Output};

use bharatmart_test_support::free_port;

fn start(settings: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bharatmart-worker"))
        .env_clear()
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .env("ENVIRONMENT", "development")
        .env("METRICS_PORT", free_port().to_string())
        .env("REDIS_URL", "redis://127.0.0.1:1")
        .env("EMAIL_TRANSPORT", "file")
        .env("EMAIL_DIR", env!("CARGO_TARGET_TMPDIR"))
        .envs(settings.iter().copied())
        .output()
        .expect("the worker can be started")
}

#[test]
fn a_database_url_that_is_none_is_one_line_that_names_it_and_exit_code_64() {
    let output = start(&[(
        "DATABASE_URL",
        "postgres://shop:s3cret@127.0.0.1:1/shop?sslmode=perhaps",
    )]);
    let line = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains("DATABASE_URL"), "{line}");
    assert!(!line.contains("s3cret"), "{line}");
}

#[test]
fn a_sender_that_is_none_is_one_line_that_names_it_and_exit_code_64() {
    let output = start(&[
        ("DATABASE_URL", "postgres://127.0.0.1:1/shop"),
        ("EMAIL_FROM", "\"BharatMart <orders@shop.example>"),
    ]);
    let line = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains("EMAIL_FROM"), "{line}");
}

#[test]
fn a_worker_in_the_mode_without_workers_is_one_line_that_says_so_and_exit_code_64() {
    let output = start(&[
        ("DATABASE_URL", "postgres://127.0.0.1:1/shop"),
        ("WORKER_MODE", "in-process"),
    ]);
    let line = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains("the API does the jobs"), "{line}");
}
