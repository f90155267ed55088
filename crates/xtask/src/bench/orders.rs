//! Orders over HTTP beside pgbench running the very statement of a checkout.

use std::{fs, process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{ShopClient, install, wait_until};
use serde_json::json;
use tokio::process::Command;

use super::{
    load, median,
    program::{Program, Servers},
    psql, to_f64,
};
use crate::console::line;

const STATEMENT: &str = include_str!("../../../database/src/sql/place_order.sql");
/// pgbench's customer.
const USER: &str = "00000000-0000-4000-8000-000000000001";
const PRODUCTS: u64 = 1000;
const CONNECTIONS: u64 = 64;
const PGBENCH_CLIENTS: u32 = 16;
const FLOOR: f64 = 0.45;

#[derive(clap::Args)]
pub struct Arguments {
    /// Rounds; each measures both sides
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds that each side of a round takes
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let servers = Servers::start(true).await?;
    stock(&servers).await?;
    let pgbench_database = twin(&servers).await?;
    let api = Program::start(servers.command("bharatmart-api")?).await?;
    let mut shop = ShopClient::new(format!("http://127.0.0.1:{}", api.port))?;
    shop.sign_up().await?;
    let token = shop.token().context("no token")?.to_owned();
    let script = std::env::temp_dir().join(format!("bharatmart-{}.sql", std::process::id()));
    fs::write(&script, pgbench_script())?;

    let length = Duration::from_secs(arguments.seconds);
    let (mut ratios, mut orders, mut statements) = (Vec::new(), Vec::new(), Vec::new());
    let mut placed = 0;
    for round in 1..=arguments.rounds {
        let pgbench = pgbench(&pgbench_database, &script, arguments.seconds).await?;
        let before = api.cpu_seconds()?;
        let report = load::post(api.port, "/api/orders", &token, CONNECTIONS, length, body).await?;
        let cpu = api.cpu_seconds()? - before;
        placed += report.done;
        ratios.push(report.rate() / pgbench);
        orders.push(report.rate());
        statements.push(pgbench);
        line(format!(
            "round {round}: pgbench {pgbench:.0}/s; orders {:.0}/s (p50 {:.1} ms, p99 {:.1} ms, {:.0} µs of API CPU each); ratio {:.2}",
            report.rate(),
            report.quantile(0.5),
            report.quantile(0.99),
            cpu * 1e6 / to_f64(report.done),
            report.rate() / pgbench,
        ));
        relayed(&servers, placed).await?;
    }
    api.stop().await?;
    fs::remove_file(&script)?;
    let ratio = median(ratios);
    line(format!(
        "orders of 3 items over HTTP, {CONNECTIONS} connections: {:.0}/s; pgbench, the same statement, {PGBENCH_CLIENTS} clients: {:.0}/s",
        median(orders),
        median(statements),
    ));
    line(format!(
        "ratio {ratio:.2} (at least {FLOOR}); every order is in the queue"
    ));
    Ok(if ratio >= FLOOR {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The id of the product with this number.
fn product(number: u64) -> String {
    format!("00000000-0000-4000-9000-{number:012x}")
}

async fn stock(servers: &Servers) -> Result<()> {
    let sql = format!(
        "INSERT INTO products (id, name, price, category, stock_quantity)
         SELECT ('00000000-0000-4000-9000-' || lpad(to_hex(n), 12, '0'))::uuid,
                'Product ' || n, 100 + n, 'Benchmark', 1000000000
         FROM generate_series(1, {PRODUCTS}) AS n;
         ANALYZE products"
    );
    for statement in sql.split(';') {
        psql(&servers.database_url, statement).await?;
    }
    Ok(())
}

/// A copy of the database on the same server, so that no relay carries what pgbench orders while
/// it is measured.
async fn twin(servers: &Servers) -> Result<String> {
    psql(
        &servers.postgres.url("postgres"),
        "CREATE DATABASE twin TEMPLATE bharatmart",
    )
    .await?;
    let url = servers.postgres.url("twin");
    let user =
        format!("INSERT INTO users (id, email, full_name) VALUES ('{USER}', 'p@example.in', 'P')");
    psql(&url, &user).await?;
    Ok(url)
}

/// An order of three products, spread so that every product is ordered about as often.
fn body(number: u64) -> String {
    let third = PRODUCTS / 3;
    let items: Vec<_> = (0..3)
        .map(|line| {
            let within = (number.wrapping_mul(2_654_435_761).wrapping_add(line * 7919)) % third;
            json!({ "product_id": product(line * third + within + 1), "quantity": line + 1 })
        })
        .collect();
    json!({ "items": items, "shipping_address": "12 MG Road, Bengaluru 560001" }).to_string()
}

/// The checkout's statement with pgbench's variables in place of its parameters.
fn pgbench_script() -> String {
    let third = PRODUCTS / 3;
    let hex = |prefix: &str, variable: &str| {
        format!("('{prefix}' || lpad(to_hex(:{variable}::bigint), 12, '0'))")
    };
    let mut variables = vec!["\\set order random(1, 100000000000000)".to_owned()];
    let mut products = Vec::new();
    for line in 0..3 {
        let (from, to) = (line * third + 1, (line + 1) * third);
        variables.push(format!("\\set product{line} random({from}, {to})"));
        products.push(hex("00000000-0000-4000-9000-", &format!("product{line}")));
    }
    let statement: Vec<_> = STATEMENT
        .lines()
        .filter(|line| !line.starts_with("--"))
        .collect();
    let statement = statement
        .join("\n")
        .replace("$1", &hex("10000000-0000-4000-8000-", "order"))
        .replace("$2", &format!("'{USER}'"))
        .replace("$3", "'12 MG Road, Bengaluru 560001'")
        .replace("$4", "NULL")
        .replace("$5", &format!("ARRAY[{}]", products.join(", ")))
        .replace("$6", "ARRAY[1, 2, 3]");
    format!("{}\n{};\n", variables.join("\n"), statement.trim_end())
}

/// Transactions per second of pgbench with prepared statements.
async fn pgbench(database_url: &str, script: &std::path::Path, seconds: u64) -> Result<f64> {
    let pgbench = install::find_program("pgbench").context("pgbench is not installed")?;
    let output = Command::new(pgbench)
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
        .arg(format!("--client={PGBENCH_CLIENTS}"))
        .arg(format!("--time={seconds}"))
        .arg(format!("--file={}", script.display()))
        .arg(database_url)
        .output()
        .await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "pgbench: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let rate = text
        .lines()
        .find_map(|line| line.strip_prefix("tps = "))
        .and_then(|rest| rest.split_whitespace().next())
        .with_context(|| format!("pgbench gave no tps: {text}"))?;
    Ok(rate.parse()?)
}

/// Waits until the relay has carried everything; every order that was answered 201 must be a job.
async fn relayed(servers: &Servers, placed: u64) -> Result<()> {
    wait_until(
        "the relay to carry every order",
        Duration::from_mins(2),
        async || {
            let pending = "SELECT count(*) FROM outbox WHERE dispatched_at IS NULL";
            Ok(psql(&servers.database_url, pending).await? == "0")
        },
    )
    .await?;
    let total: u64 = psql(&servers.database_url, "SELECT count(*) FROM orders")
        .await?
        .parse()?;
    ensure!(
        total == placed,
        "{placed} orders were answered 201, but there are {total}"
    );
    let redis = install::find_program("redis-cli").context("redis-cli is not installed")?;
    let output = Command::new(redis)
        .args([
            "-u",
            &servers.redis.url(),
            "LLEN",
            "bull:order-processing:wait",
        ])
        .output()
        .await?;
    let waiting: u64 = String::from_utf8(output.stdout)?.trim().parse()?;
    ensure!(
        waiting == total,
        "{total} orders, but {waiting} waiting jobs"
    );
    Ok(())
}
