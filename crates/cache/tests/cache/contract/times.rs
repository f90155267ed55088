use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bharatmart_cache::{Key, Source};
use bharatmart_test_support::wait_until;
use tokio::time::{Instant as TokioInstant, sleep_until};

use super::World;
use crate::support::{Process, SOON, Shop, list, product, same};

/// Bodies are shown for a fifth of it beyond it, while they are loaded anew.
const TTL: Duration = Duration::from_secs(4);

pub async fn a_body_past_its_time_is_shown_while_one_process_loads_it_anew(
    world: &World<'_>,
) -> Result<()> {
    if !world.keeps() {
        return Ok(());
    }
    let mut config = world.config()?;
    config.ttl = TTL;
    let (first, second) = (
        Process::start(&config).await?,
        Process::start(&config).await?,
    );
    let start = TokioInstant::now();
    let keys = [Key::product(product()), list("a")];
    let shops = [Shop::new(), Shop::new()];
    for (key, shop) in keys.iter().zip(&shops) {
        first.see(key, shop).await?;
        second.see(key, shop).await?;
    }
    // Fresh for at least nine tenths of its time.
    sleep_until(start + TTL.mul_f64(0.85)).await;
    let processes = if world.shares() { 1 } else { 2 };
    for (key, shop) in keys.iter().zip(&shops) {
        shop.change();
        for process in [&first, &second] {
            same(process.see(key, shop).await?, (1, Source::Hit), "fresh")?;
        }
        same(shop.loads(), processes, "loads while it is fresh")?;
    }
    // And for no longer than its time.
    sleep_until(start + TTL + Duration::from_millis(50)).await;
    for (key, shop) in keys.iter().zip(&shops) {
        shop.close();
        for process in [&first, &second] {
            let seen = process.see_at_once(20, key, shop).await?;
            ensure!(
                seen.iter().all(|seen| *seen == (1, Source::Hit)),
                "while it is loaded anew: {seen:?}"
            );
        }
        wait_until("the load", SOON, async || Ok(shop.loads() >= 2 * processes)).await?;
        shop.open();
    }
    for (key, shop) in keys.iter().zip(&shops) {
        for process in [&first, &second] {
            process.wait_to_see(2, key, shop).await?;
        }
        same(shop.loads(), 2 * processes, "loads in all")?;
    }
    Ok(())
}

pub async fn a_body_is_not_shown_long_after_its_time(world: &World<'_>) -> Result<()> {
    if !world.keeps() {
        return Ok(());
    }
    let ttl = TTL / 2;
    let mut config = world.config()?;
    config.ttl = ttl;
    let (first, second) = (
        Process::start(&config).await?,
        Process::start(&config).await?,
    );
    let (key, shop) = (Key::product(product()), Shop::new());
    let start = Instant::now();
    first.see(&key, &shop).await?;
    sleep_until((start + ttl + Duration::from_millis(50)).into()).await;
    // The first process loads it anew, and never comes to an end.
    shop.change();
    shop.close();
    same(
        first.see(&key, &shop).await?,
        (1, Source::Hit),
        "past its time",
    )?;
    wait_until("the load", SOON, async || Ok(shop.loads() == 2)).await?;
    shop.open_for_later();
    while second.see(&key, &shop).await?.0 == 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A fifth of its time, and as much again in a process that took it over at the end of that.
    let (took, most) = (start.elapsed(), ttl.mul_f64(1.5));
    ensure!(took <= most, "it was shown for {took:?}");
    Ok(())
}
