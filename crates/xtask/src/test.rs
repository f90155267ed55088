//! `cargo xtask test`: all tests, with what they need.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{
    BIN_DIR_VARIABLE, POOLER_VARIABLE, POSTGRES_VARIABLE, REDIS_VARIABLE, TEMPLATE_DATABASE,
    install::{self, Requirement},
    servers::{
        PgBouncer, PgBouncerOptions, PoolMode, Postgres, PostgresOptions, RedisServer,
        WHOLE_DATABASE_COMMANDS,
    },
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::Command;

use crate::{
    cargo,
    console::{self, Steps},
    interrupts::Interrupts,
    npm, paths,
};

/// In a PostgreSQL's log with [`LOG_LINE_PREFIX`], what shows that a client relied on a connection
/// that a pooler had given to another client: a statement or portal of its own is not there, or
/// another client's is.
const POOLING_MISTAKES: [&str; 5] = [
    "[26000]",
    "[34000]",
    "[42P05]",
    "prepared statement",
    "portal",
];

/// Time, process, SQLSTATE.
const LOG_LINE_PREFIX: &str = "%m [%p] [%e] ";

/// How many of the log's lines are shown.
const SHOWN_MISTAKES: usize = 20;

#[derive(clap::Args)]
pub struct Arguments {
    /// Put a PgBouncer in transaction mode between the shop and its databases
    #[arg(long)]
    pooler: bool,
    /// For `cargo nextest run`: filters, `--no-capture`, …
    #[arg(last = true)]
    nextest: Vec<String>,
}

pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut interrupts = Interrupts::new()?;
    let mut steps = Steps::new(4);

    let mut step = steps.begin("Requirements");
    let all = [
        Requirement::Postgres,
        Requirement::Redis,
        Requirement::Smtp,
        Requirement::HaProxy,
        Requirement::PgBouncer,
        Requirement::Node,
    ];
    install::ensure(&all, |text| step.note(text))?;
    npm::install(npm::INTEROP, |text| step.note(text)).await?;
    if install::find_program("cargo-nextest").is_none() {
        step.note("cargo install cargo-nextest (takes minutes)");
        cargo::run(&["install", "--locked", "cargo-nextest"]).await?;
    }
    step.done("all installed");

    let mut step = steps.begin("Programs and tests");
    step.note("cargo build");
    tokio::select! {
        built = cargo::run(&["build", "--workspace", "--all-targets", "--locked"]) => built?,
        () = interrupts.next() => anyhow::bail!("interrupted"),
    }
    step.done("built");

    let step = steps.begin("PostgreSQL and Redis");
    let postgres = Postgres::start(PostgresOptions {
        max_connections: 300,
        counts_statements: true,
        settings: vec![("log_line_prefix".to_owned(), LOG_LINE_PREFIX.to_owned())],
        ..PostgresOptions::default()
    })
    .await?;
    let mut redis = RedisServer::temporary().await?;
    let mut pooler = if arguments.pooler {
        Some(pooler_of(&postgres).await?)
    } else {
        None
    };
    let ports = format!("ready on ports {} and {}", postgres.port(), redis.port());
    step.done(&match &pooler {
        Some(pooler) => format!("{ports}, PgBouncer on {}", pooler.port()),
        None => ports,
    });

    let step = steps.begin("Template database");
    let template = postgres.create_database(TEMPLATE_DATABASE).await?;
    migrate(&template).await?;
    step.done("migrated");

    let mut nextest = cargo::command(&["nextest", "run", "--workspace", "--locked"]);
    nextest
        .args(&arguments.nextest)
        .env(POSTGRES_VARIABLE, postgres.url("postgres"))
        .env(REDIS_VARIABLE, redis.url())
        .env(BIN_DIR_VARIABLE, paths::programs(false)?);
    if let Some(pooler) = &pooler {
        nextest
            .args(["--profile", "pooler"])
            .env(POOLER_VARIABLE, pooler.url("postgres"));
    } else {
        nextest.env_remove(POOLER_VARIABLE);
    }
    let mut running = nextest.spawn().context("cannot start cargo nextest")?;
    let status = loop {
        tokio::select! {
            status = running.wait() => break status?,
            // Ctrl-C reaches nextest from the terminal; SIGTERM only if it is passed on.
            () = interrupts.next() => if let Some(id) = running.id() {
                kill(Pid::from_raw(id.cast_signed()), Signal::SIGTERM)?;
            },
        }
    };

    let mut faults = Vec::new();
    let forbidden = forbidden_commands(&redis).await;
    if let Some(pooler) = &mut pooler {
        pooler.stop().await?;
        faults.extend(pooling_mistakes("PostgreSQL", &postgres.log()));
        faults.extend(pooling_mistakes("PgBouncer", &pooler.log()));
    }
    redis.stop().await?;
    postgres.stop().await?;
    let forbidden = forbidden?;
    if !forbidden.is_empty() {
        faults.push(format!(
            "commands that walk over or empty a whole database were sent to the shared Redis: {}",
            forbidden.join(", ")
        ));
    }
    for fault in &faults {
        console::line(format!("error: {fault}"));
    }
    if status.success() && !faults.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    // 100 is nextest's "tests failed"; a signal has no code.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// A `PgBouncer` of which few connections are shared by many: what relies on having one of its own
/// fails soon. They are enough for the most transactions that a test holds open at a time, four of
/// jobs and two of its own, and something besides.
async fn pooler_of(postgres: &Postgres) -> Result<PgBouncer> {
    PgBouncer::start(
        postgres,
        PgBouncerOptions {
            pool_mode: PoolMode::Transaction,
            default_pool_size: 8,
            // Each test has its own database, and leaves it soon.
            settings: vec![("server_idle_timeout".to_owned(), "5".to_owned())],
            ..PgBouncerOptions::default()
        },
    )
    .await
}

/// The lines of a server's log that show [`POOLING_MISTAKES`], as one fault.
fn pooling_mistakes(server: &str, log: &str) -> Option<String> {
    let lines: Vec<&str> = log
        .lines()
        // Not the statement that failed, of which the text is the test's.
        .filter(|line| !line.starts_with('\t') && !line.contains("STATEMENT:"))
        .filter(|line| POOLING_MISTAKES.iter().any(|sign| line.contains(sign)))
        .collect();
    let shown = lines[..lines.len().min(SHOWN_MISTAKES)].join("\n  ");
    (!lines.is_empty()).then(|| {
        format!(
            "the connections that PgBouncer shares were taken for one's own; {} lines in the log of {server}, such as\n  {shown}",
            lines.len()
        )
    })
}

/// What the tests, or the programs that they ran, sent to the Redis that they share and that the
/// shop is not to send: in production it would stall everyone else.
async fn forbidden_commands(redis: &RedisServer) -> Result<Vec<String>> {
    let counts = redis.command_counts().await?;
    Ok(WHOLE_DATABASE_COMMANDS
        .iter()
        .filter_map(|name| Some((name, counts.get(*name).filter(|calls| **calls > 0)?)))
        .map(|(name, calls)| format!("{name} × {calls}"))
        .collect())
}

async fn migrate(database: &str) -> Result<()> {
    let output = Command::new(paths::programs(false)?.join("bharatmart-api"))
        .arg("migrate")
        .env_clear()
        .env("DATABASE_URL", database)
        .current_dir(paths::dev()?)
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot start bharatmart-api")?;
    ensure!(
        output.status.success(),
        "`bharatmart-api migrate` failed: {}{}",
        String::from_utf8_lossy(&output.stdout).trim(),
        String::from_utf8_lossy(&output.stderr).trim(),
    );
    Ok(())
}
