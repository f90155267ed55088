//! How much memory the tier in the process takes.

use anyhow::{Context, Result, ensure};
use bharatmart_cache::{Key, Loaded, Reach, Source};
use bharatmart_config::CacheBackend;

use crate::support::{Process, config};

const MAX_BYTES: u64 = 32 << 20;
/// What the process may take beside the configured bytes.
const MARGIN: u64 = 40 * 1_000_000;

/// The memory that this process has, in bytes.
fn resident() -> Result<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = pages
        .split_whitespace()
        .nth(1)
        .context("the second number")?
        .parse()?;
    Ok(pages * 4096)
}

/// Asks for so many keys that nobody has asked for before, with bodies of `size` bytes; how much
/// memory that took at most.
async fn fill(count: usize, size: usize) -> Result<u64> {
    let mut config = config(CacheBackend::Memory);
    config.local_max_bytes = MAX_BYTES;
    let process = Process::starting(&config);
    let before = resident()?;
    let mut most = before;
    for number in 0..count {
        let key = Key::products(&format!("search=words+of+strangers+{number}"), Reach::Local);
        let found = process
            .request(
                &key,
                move || async move { Ok(Loaded::Found(vec![b'x'; size])) },
            )
            .await?;
        ensure!(found.source == Source::Miss);
        if number % 1000 == 0 {
            most = most.max(resident()?);
        }
    }
    Ok(most.max(resident()?) - before)
}

async fn stays_bounded(count: usize, size: usize) -> Result<()> {
    let took = fill(count, size).await?;
    ensure!(took < MAX_BYTES + MARGIN, "{took} bytes");
    Ok(())
}

/// Many times as many as fit; a million would take a minute without optimisation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_bounded_with_any_number_of_small_bodies() -> Result<()> {
    stays_bounded(200_000, 30).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_bounded_with_any_number_of_large_bodies() -> Result<()> {
    stays_bounded(10_000, 20_000).await
}
