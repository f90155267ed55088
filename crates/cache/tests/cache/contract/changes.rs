use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use bharatmart_cache::{Change, Effect, Key, LISTED_STOCK_LAG, Source};
use bharatmart_test_support::wait_until;
use tokio::sync::oneshot;

use super::World;
use crate::support::{Process, SOON, Shop, TOLD, list, product, same};

/// What a busy machine may add to a time.
const LATE: Duration = Duration::from_millis(300);

/// Shows `keys` in both processes as they are now.
async fn warm(processes: [&Process; 2], keys: &[&Key], shop: &Shop) -> Result<()> {
    for process in processes {
        for key in keys {
            process.wait_to_see(shop.version(), key, shop).await?;
        }
    }
    Ok(())
}

pub async fn a_changed_product_is_new_everywhere(world: &World<'_>) -> Result<()> {
    let here = world.process().await?;
    // In memory nobody tells another process.
    let there = if world.shares() {
        world.process().await?
    } else {
        here.clone()
    };
    let shop = Shop::new();
    for round in 0..5 {
        let (id, other) = (product(), Key::product(product()));
        let changed = [
            &Key::product(id),
            &list(&format!("round {round}")),
            &Key::categories(),
        ];
        warm([&here, &there], &changed, &shop).await?;
        warm([&here, &there], &[&other], &shop).await?;
        let old = shop.version();
        let new = shop.change();
        here.announce(Change::Product(id)).await;
        let announced = Instant::now();
        let see_here = async {
            for key in changed {
                same(here.see(key, &shop).await?.0, new, "here")?;
            }
            Ok(())
        };
        // At the same time: what is looked at here must not count for what is heard there.
        let hear_there = async {
            if world.shares() {
                for key in changed {
                    there.wait_to_see(new, key, &shop).await?;
                }
                let took = announced.elapsed();
                ensure!(took <= TOLD, "the other process heard after {took:?}");
            }
            Ok(())
        };
        tokio::try_join!(see_here, hear_there)?;
        if world.keeps() {
            let kept = (old, Source::Hit);
            same(here.see(&other, &shop).await?, kept, "another page here")?;
            same(there.see(&other, &shop).await?, kept, "another page there")?;
        }
    }
    Ok(())
}

pub async fn changed_stock_is_new_on_the_page_and_soon_in_lists(world: &World<'_>) -> Result<()> {
    let (here, there) = (world.process().await?, world.process().await?);
    let (id, shop) = (product(), Shop::new());
    let (page, list, categories) = (Key::product(id), list("a"), Key::categories());
    warm([&here, &there], &[&page, &list, &categories], &shop).await?;
    let old = shop.version();
    let new = shop.change();
    let changing = Instant::now();
    here.announce(Change::Stock(id)).await;
    let announced = Instant::now();
    let see_here = async { same(here.see(&page, &shop).await?.0, new, "the page here") };
    let hear_there = async {
        if world.shares() {
            there.wait_to_see(new, &page, &shop).await?;
            let took = announced.elapsed();
            ensure!(took <= TOLD, "the other process heard after {took:?}");
        }
        Ok(())
    };
    tokio::try_join!(see_here, hear_there)?;
    if world.keeps() && changing.elapsed() < LISTED_STOCK_LAG / 2 {
        let kept = (old, Source::Hit);
        same(here.see(&list, &shop).await?, kept, "the list here")?;
        same(there.see(&list, &shop).await?, kept, "the list there")?;
    }
    here.wait_to_see(new, &list, &shop).await?;
    let took = announced.elapsed();
    ensure!(took <= LISTED_STOCK_LAG + LATE, "lists took {took:?}");
    if world.shares() {
        there.wait_to_see(new, &list, &shop).await?;
        let took = announced.elapsed();
        ensure!(took <= LISTED_STOCK_LAG + LATE, "lists took {took:?} there");
    }
    if world.keeps() {
        let kept = (old, Source::Hit);
        same(here.see(&categories, &shop).await?, kept, "categories here")?;
        same(
            there.see(&categories, &shop).await?,
            kept,
            "categories there",
        )?;
    }
    Ok(())
}

/// In both processes, as when orders come in everywhere.
pub async fn frequent_changes_of_stock_outdate_lists_once_a_second(
    world: &World<'_>,
) -> Result<()> {
    if !world.keeps() {
        return Ok(());
    }
    let (here, there) = (world.process().await?, world.process().await?);
    let (shop, list) = (Shop::new(), list("a"));
    let start = Instant::now();
    let mut newest = 0;
    while start.elapsed() < 3 * LISTED_STOCK_LAG {
        newest = shop.change();
        here.announce(Change::Stock(product())).await;
        there.announce(Change::Stock(product())).await;
        for process in [&here, &there] {
            process.see(&list, &shop).await?;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let loads = shop.loads();
    // Each process counts its own second; without a shared tier each loads for itself as well.
    ensure!((3..=2 * 4).contains(&loads), "{loads} loads in 3 seconds");
    for process in [&here, &there] {
        let took = process.wait_to_see(newest, &list, &shop).await?;
        ensure!(
            took <= LISTED_STOCK_LAG + LATE,
            "the newest one took {took:?}"
        );
    }
    Ok(())
}

/// A load of `loader` reads and is slow to answer; meanwhile `teller` announces a change.
async fn slow_load(
    world: &World<'_>,
    loader: &Process,
    teller: &Process,
    key: &Key,
    change: Change,
) -> Result<()> {
    let shop = Shop::new();
    shop.close();
    let mut before = [
        Box::pin(loader.see(key, &shop)),
        Box::pin(loader.see(key, &shop)),
    ];
    for request in &mut before {
        // From its first step on it has asked.
        ensure!(futures_util::poll!(request).is_pending());
    }
    let readers = if world.keeps() { 1 } else { 2 };
    wait_until("the loads to read", SOON, async || {
        Ok(shop.loads() == readers)
    })
    .await?;
    let new = shop.change();
    teller.announce(change).await;
    // What was read before does not answer yet, and is not waited for.
    shop.open_for_later();
    same(teller.see(key, &shop).await?.0, new, "the teller")?;
    if world.shares() {
        // Until it has heard of the change, it waits for the load from before.
        tokio::time::sleep(TOLD).await;
        same(loader.see(key, &shop).await?.0, new, "the loader")?;
    }
    shop.open();
    for request in before {
        same(request.await?.0, new - 1, "who asked before")?;
    }
    for _ in 0..3 {
        for process in [teller, loader] {
            same(process.see(key, &shop).await?.0, new, "afterwards")?;
        }
    }
    Ok(())
}

pub async fn what_was_loaded_before_a_change_is_shown_to_nobody_after_it(
    world: &World<'_>,
) -> Result<()> {
    let (here, there) = (world.process().await?, world.process().await?);
    let mut tellers = vec![&here];
    if world.shares() {
        tellers.push(&there);
    }
    for teller in tellers {
        let id = product();
        for key in [Key::product(id), list(&id.to_string()), Key::categories()] {
            slow_load(world, &here, teller, &key, Change::Product(id)).await?;
        }
        let id = product();
        slow_load(world, &here, teller, &Key::product(id), Change::Stock(id)).await?;
    }
    Ok(())
}

pub async fn a_write_is_announced_once_it_is_committed_whoever_still_waits(
    world: &World<'_>,
) -> Result<()> {
    let (here, there) = (world.process().await?, world.process().await?);
    let (id, shop) = (product(), Shop::new());
    let page = Key::product(id);
    let changes = || vec![Change::Stock(id)];
    warm([&here, &there], &[&page], &shop).await?;

    shop.change();
    let refused = async { Err::<(), _>("out of stock") };
    let answer = here.invalidations.write(refused, |_| Effect::Nothing).await;
    assert_eq!(answer, Err("out of stock"));
    if world.keeps() {
        same(here.see(&page, &shop).await?, (1, Source::Hit), "refused")?;
    }

    let lost = async { Err::<(), _>("connection lost") };
    let unclear = changes();
    let answer = here.invalidations.write(lost, |_| Effect::Unclear(unclear));
    assert_eq!(answer.await, Err("connection lost"));
    same(here.see(&page, &shop).await?.0, 2, "unclear")?;
    if world.shares() {
        there.wait_to_see(2, &page, &shop).await?;
    }

    // The client hangs up while the statement waits for a lock.
    let (unlock, locked) = oneshot::channel();
    let (slow, committed) = (shop.clone(), changes());
    let statement = async move { locked.await.map(|()| slow.change()) };
    let mut write = Box::pin(
        here.invalidations
            .write(statement, |_| Effect::Committed(committed)),
    );
    let first_step = futures_util::poll!(&mut write);
    drop((first_step, write));
    same(here.see(&page, &shop).await?.0, 2, "not committed yet")?;
    unlock
        .send(())
        .map_err(|()| anyhow!("the statement was given up with its client"))?;
    here.wait_to_see(3, &page, &shop).await?;
    if world.shares() {
        there.wait_to_see(3, &page, &shop).await?;
    }
    Ok(())
}
