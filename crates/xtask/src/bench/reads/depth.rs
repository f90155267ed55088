//! A page deep inside a large list beside its first page.

use std::{fs, time::Instant};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{ScratchDir, install};
use serde_json::Value;
use tokio::process::Command;

use super::{QUIET, api};
use crate::{
    bench::{median, program::Servers},
    console::line,
};

const DATA: &str = include_str!("../../plans/data.sql");
/// Nobody orders anything here.
const SIZES: &str = "SET plans.products = 1000000; SET plans.orders = 0; SET plans.payments = 0; SET plans.users = 0;";
/// How many products come before the page that is deep inside.
const DEPTH: u64 = 900_000;
const SORTS: [&str; 3] = ["name", "price", "created_at"];
/// Requests for each of the two pages in a round.
const REQUESTS: usize = 5;
/// How much longer one of the two may take.
const CEILING: f64 = 1.5;

/// Whether the depth does not matter.
pub async fn run(rounds: usize) -> Result<bool> {
    let servers = Servers::start(true).await?;
    servers.postgres.set("max_wal_size", "8GB").await?;
    line("making 1,000,000 products");
    fill(&servers.database_url).await?;
    let api = api(&servers, &[QUIET]).await?;
    let client = Client::of(api.port)?;
    let mut lists = Vec::new();
    for sort in SORTS {
        lists.push(List::prepare(&client, sort).await?);
    }
    for _ in 0..rounds {
        for list in &mut lists {
            for _ in 0..REQUESTS {
                list.first.ask(&client).await?;
                list.deep.ask(&client).await?;
            }
            list.skipping.ask(&client).await?;
        }
    }
    api.stop().await?;
    line("medians of one request after the other, of 50 products each:");
    let mut met = true;
    for list in lists {
        met &= list.finish();
    }
    Ok(met)
}

async fn fill(database_url: &str) -> Result<()> {
    let folder = ScratchDir::create()?;
    let file = folder.path().join("data.sql");
    fs::write(&file, format!("{SIZES}\n{DATA}"))?;
    let psql = install::find_program("psql").context("psql is not installed")?;
    let output = Command::new(psql)
        .args(["--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1", "-f"])
        .arg(&file)
        .arg(database_url)
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "psql: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    fn of(port: u16) -> Result<Self> {
        Ok(Self {
            http: reqwest::Client::builder().no_proxy().build()?,
            base: format!("http://127.0.0.1:{port}/api/products?limit=50&sort="),
        })
    }

    async fn get(&self, query: &str) -> Result<Value> {
        let url = format!("{}{query}", self.base);
        let answer = self.http.get(url).send().await?.error_for_status()?;
        Ok(answer.json().await?)
    }
}

/// A list in one order.
struct List {
    sort: &'static str,
    first: Page,
    deep: Page,
    /// The same page by its offset, which grows with the depth: what a cursor that no index serves would take.
    skipping: Page,
}

impl List {
    async fn prepare(client: &Client, sort: &'static str) -> Result<Self> {
        // The last page before it tells how to go on.
        let before = client.get(&format!("{sort}&offset={}", DEPTH - 50)).await?;
        let cursor = before["next_cursor"]
            .as_str()
            .with_context(|| format!("there are fewer than {DEPTH} products"))?;
        Ok(Self {
            sort,
            first: Page::new(sort.to_owned()),
            deep: Page::new(format!("{sort}&cursor={cursor}")),
            skipping: Page::new(format!("{sort}&offset={DEPTH}")),
        })
    }

    fn finish(self) -> bool {
        let [first, deep, skipping] =
            [self.first, self.deep, self.skipping].map(|page| median(page.times));
        let ratio = deep / first;
        line(format!(
            "  by {:10}  offset 0: {first:6.1} ms  cursor behind {DEPTH}: {deep:6.1} ms  {ratio:.2} (within {CEILING} x)  offset {DEPTH}: {skipping:6.1} ms",
            self.sort
        ));
        (1.0 / CEILING..=CEILING).contains(&ratio)
    }
}

struct Page {
    query: String,
    /// Milliseconds.
    times: Vec<f64>,
}

impl Page {
    const fn new(query: String) -> Self {
        Self {
            query,
            times: Vec::new(),
        }
    }

    async fn ask(&mut self, client: &Client) -> Result<()> {
        let start = Instant::now();
        let page = client.get(&self.query).await?;
        self.times.push(start.elapsed().as_secs_f64() * 1000.0);
        let rows = page["data"].as_array().map_or(0, Vec::len);
        ensure!(rows == 50, "{} has {rows} products", self.query);
        Ok(())
    }
}
