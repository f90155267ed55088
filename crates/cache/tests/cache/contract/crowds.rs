use std::time::Duration;

use anyhow::{Result, ensure};
use bharatmart_cache::{Key, Source};

use super::World;
use crate::support::{Shop, list, product, same};

const CROWD: usize = 500;

/// As slow as a query that many wait for.
fn shop() -> Shop {
    Shop::slow(Duration::from_millis(150))
}

pub async fn a_crowd_in_one_process_loads_once(world: &World<'_>) -> Result<()> {
    let process = world.process().await?;
    for key in [Key::product(product()), list("a"), Key::categories()] {
        let shop = shop();
        let seen = process.see_at_once(CROWD, &key, &shop).await?;
        ensure!(seen.iter().all(|(version, _)| *version == 1));
        same(shop.loads(), if world.keeps() { 1 } else { CROWD }, "loads")?;
    }
    Ok(())
}

pub async fn crowds_in_two_processes_load_at_most_twice(world: &World<'_>) -> Result<()> {
    let (first, second) = (world.process().await?, world.process().await?);
    for key in [Key::product(product()), list("a"), Key::categories()] {
        let shop = shop();
        tokio::try_join!(
            first.see_at_once(CROWD, &key, &shop),
            second.see_at_once(CROWD, &key, &shop),
        )?;
        let most = if world.keeps() { 2 } else { 2 * CROWD };
        ensure!(shop.loads() <= most, "{} loads", shop.loads());
        for process in [&first, &second] {
            let (_, source) = process.see(&key, &shop).await?;
            same(source == Source::Hit, world.keeps(), "a hit later")?;
        }
    }
    Ok(())
}
