//! What strangers can do to the cache with query strings.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{install, servers::RedisServer};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use tokio::{process::Command, time::Instant};

use super::{
    load,
    program::{Program, Servers},
};
use crate::console::line;

const REQUESTS: u64 = 1_000_000;
const CONNECTIONS: u64 = 64;
const LOCAL_MAX_BYTES: u64 = 33_554_432;
/// What the process may need beside its cache, in MB (10⁶ bytes).
const BESIDE: f64 = 40.0;
pub const CATEGORIES: u64 = 10;
const SORTS: [&str; 6] = [
    "name",
    "-name",
    "price",
    "-price",
    "created_at",
    "-created_at",
];
/// Pages that are asked for, of each list.
const PAGES: u64 = 4;
/// Those of them that have products on them, of the list of a category: empty pages are not shared.
const PAGES_OF_CATEGORY: u64 = 2;
/// Lists by sort, of what is in stock and of everything: what the queries that may be shared are
/// spellings of.
const SHARED_LISTS: u64 = (CATEGORIES * PAGES_OF_CATEGORY + PAGES) * 6 * 2;
/// Keys that are no bodies: the generations.
const BOOKKEEPING: u64 = 4;
/// How many of the keys are shown.
const SAMPLE: usize = 8;
/// How often the state so far is shown.
const SHOWN_EVERY: Duration = Duration::from_secs(15);

pub async fn run(servers: &Servers, redis: &RedisServer) -> Result<ExitCode> {
    let mut command = servers.command("bharatmart-api")?;
    command
        .env("CACHE_TYPE", "redis")
        .env("CACHE_REDIS_URL", redis.url())
        .env("CACHE_LOCAL_MAX_BYTES", LOCAL_MAX_BYTES.to_string())
        .stdout(std::process::Stdio::piped());
    let api = Program::start(command).await?;
    let sent = Instant::now();
    let watch = async {
        let mut ticks = tokio::time::interval(SHOWN_EVERY);
        loop {
            ticks.tick().await;
            line(format!(
                "after {:3.0} s: {:.1} MB resident, {} keys in Redis",
                sent.elapsed().as_secs_f64(),
                api.resident_megabytes()?,
                ask(redis, "DBSIZE").await?
            ));
        }
    };
    tokio::select! {
        sent = load::get(api.port, CONNECTIONS, REQUESTS, query) => sent?,
        failed = watch => return failed,
    }

    let highest = api.highest_megabytes()?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let ceiling = LOCAL_MAX_BYTES as f64 / 1e6 + BESIDE;
    let keys: u64 = ask(redis, "DBSIZE").await?.parse()?;
    line(format!(
        "{REQUESTS} distinct query strings in {:.0} s",
        sent.elapsed().as_secs_f64()
    ));
    line(format!(
        "highest resident memory {highest:.1} MB (below {ceiling:.1} MB)"
    ));
    line(format!(
        "{keys} keys in Redis (at most {SHARED_LISTS} lists and {BOOKKEEPING} others), such as"
    ));
    for _ in 0..SAMPLE {
        line(format!("  {}", ask(redis, "RANDOMKEY").await?));
    }
    api.stop().await?;
    Ok(if highest < ceiling && keys <= SHARED_LISTS + BOOKKEEPING {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn ask(redis: &RedisServer, command: &str) -> Result<String> {
    let client = install::find_program("redis-cli").context("redis-cli is not installed")?;
    let output = Command::new(client)
        .args(["-u", &redis.url(), command])
        .output()
        .await?;
    ensure!(output.status.success(), "redis-cli {command} failed");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The query with this number: no two are the same text. Nine of ten are spellings of what may be
/// shared; the others are what nobody else asks for.
fn query(number: u64) -> String {
    let mut random = StdRng::seed_from_u64(number);
    let mut pairs = Vec::new();
    let category = random.random_range(0..=CATEGORIES);
    if category < CATEGORIES {
        let name = format!("category {category}");
        pairs.push(format!(
            "category={}",
            capitals(&name, &mut random).replace(' ', "+")
        ));
    }
    let sort = SORTS[random.random_range(0..SORTS.len())];
    // The default may be spelt out or left out.
    if sort != "name" || random.random() {
        pairs.push(format!("sort={sort}"));
    }
    match random.random_range(0..3) {
        0 => pairs.push("in_stock=true".to_owned()),
        1 => pairs.push("in_stock=false".to_owned()),
        _ => {}
    }
    let page = random.random_range(0..PAGES);
    if page > 0 || random.random() {
        pairs.push(format!("offset={}", page * 50));
    }
    if random.random() {
        pairs.push("limit=50".to_owned());
    }
    if random.random() {
        pairs.push("search=".to_owned());
    }
    match number % 40 {
        0 => pairs.push(format!("min_price={}.{:02}", number / 1000, number % 100)),
        1 => pairs.push(format!("max_price={number}")),
        2 => pairs.push(format!("search=kurta+number+{}", number % 1000)),
        3 => {
            pairs.retain(|pair| !pair.starts_with("offset="));
            pairs.push(format!("offset={}", number | 1));
        }
        _ => {}
    }
    pairs.push(format!("utm_{}={number}", random.random_range(0..1000)));
    pairs.shuffle(&mut random);
    format!("/api/products?{}", pairs.join("&"))
}

/// `text` with some of its letters as capitals.
fn capitals(text: &str, random: &mut StdRng) -> String {
    text.chars()
        .map(|letter| {
            if random.random() {
                letter.to_ascii_uppercase()
            } else {
                letter
            }
        })
        .collect()
}
