//! Settings that cannot be used end the program with one line that names them.

use std::process::{Command, Output};

/// Good settings of a program that could start, if there were a database.
const GOOD: [(&str, &str); 6] = [
    ("HOST", "127.0.0.1"),
    ("PORT", "0"),
    ("METRICS_PORT", "0"),
    ("DATABASE_URL", "postgres://shop:hush@127.0.0.1:1/shop"),
    ("REDIS_URL", "redis://127.0.0.1:1"),
    ("LOG_LEVEL", "error"),
];

fn run(command: &str, bad: (&str, &str)) -> Output {
    let folder = tempfile::tempdir().expect("a folder without a .env file");
    Command::new(env!("CARGO_BIN_EXE_bharatmart-api"))
        .arg(command)
        .current_dir(folder.path())
        .env_clear()
        .envs(GOOD)
        .env(bad.0, bad.1)
        .output()
        .expect("the program starts")
}

#[test]
fn settings_that_cannot_be_used_are_one_line_and_exit_code_64() {
    let all: &[&str] = &["serve", "migrate", "seed", "create-admin"];
    let serve: &[&str] = &["serve"];
    for (commands, name, value) in [
        (
            all,
            "DATABASE_URL",
            "postgres://shop:hush@localhost:notaport/shop",
        ),
        (
            all,
            "DATABASE_URL",
            "postgres://shop:hush@localhost/shop?sslmode=perhaps",
        ),
        (serve, "LOG_LEVEL", "info,[="),
        (serve, "LOG_FILE", "/proc/no/such/folder/api.log"),
        (serve, "JWT_EXPIRY", "99999999999y"),
        (serve, "DATABASE_STATEMENT_TIMEOUT", "25d"),
    ] {
        for command in commands {
            let output = run(command, (name, value));
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8(said).expect("it is text");
            assert_eq!(output.status.code(), Some(64), "{command}: {said}");
            assert_eq!(said.lines().count(), 1, "{command}: {said}");
            assert!(said.contains(name), "{command}: {said}");
            assert!(!said.contains("hush"), "{command}: {said}");
        }
    }
}
