use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bharatmart_cache::{FetchError, Key, Loaded, Reach, Source};
use bharatmart_test_support::wait_until;

use super::World;
use crate::support::{Count, OutOfOrder, Outcome, Process, SOON, Shop, list, product, same};

/// How long slow loads take: long enough for others to come and wait.
const SLOW: Duration = Duration::from_millis(150);

pub async fn a_body_is_loaded_once_and_then_found(world: &World<'_>) -> Result<()> {
    let (first, second) = (world.process().await?, world.process().await?);
    for key in [
        Key::product(product()),
        list("a"),
        list("b"),
        Key::categories(),
    ] {
        let shop = Shop::new();
        same(first.see(&key, &shop).await?, (1, Source::Miss), "first")?;
        let again = if world.keeps() {
            Source::Hit
        } else {
            Source::Miss
        };
        same(first.see(&key, &shop).await?, (1, again), "again")?;
        let elsewhere = if world.shares() {
            Source::Hit
        } else {
            Source::Miss
        };
        same(second.see(&key, &shop).await?, (1, elsewhere), "elsewhere")?;
        let loads = 1 + usize::from(!world.keeps()) + usize::from(!world.shares());
        same(shop.loads(), loads, "loads")?;
    }
    Ok(())
}

/// Asks for something that is not there, or is empty.
async fn ask_for_nothing(
    process: &Process,
    key: &Key,
    loads: &Arc<Count>,
    nothing: fn() -> Loaded,
) -> Result<Source> {
    let counted = Arc::clone(loads);
    let found = process
        .request(key, move || async move {
            counted.add();
            Ok(nothing())
        })
        .await?;
    let bytes = found.body.map(|body| body.bytes.to_vec());
    let wanted = match nothing() {
        Loaded::Absent => None,
        Loaded::Found(bytes) | Loaded::Empty(bytes) => Some(bytes),
    };
    ensure!(bytes == wanted, "found {bytes:?}");
    Ok(found.source)
}

async fn is_kept_shortly(world: &World<'_>, key: Key, nothing: fn() -> Loaded) -> Result<()> {
    let mut config = world.config()?;
    config.ttl = Duration::from_secs(1);
    let (process, other) = (
        Process::start(&config).await?,
        Process::start(&config).await?,
    );
    let loads = Arc::new(Count::default());
    for wanted in [Source::Miss, Source::Hit] {
        let source = ask_for_nothing(&process, &key, &loads, nothing).await?;
        same(
            source == Source::Hit,
            wanted == Source::Hit && world.keeps(),
            "a hit",
        )?;
    }
    let source = ask_for_nothing(&other, &key, &loads, nothing).await?;
    same(source, Source::Miss, "in the other process")?;
    let so_far = loads.get();
    wait_until("it to be forgotten", SOON, async || {
        ask_for_nothing(&process, &key, &loads, nothing).await?;
        Ok(loads.get() > so_far)
    })
    .await
}

pub async fn what_is_absent_is_remembered_for_a_short_time_and_by_one_process(
    world: &World<'_>,
) -> Result<()> {
    is_kept_shortly(world, Key::product(product()), || Loaded::Absent).await
}

pub async fn an_empty_body_is_kept_like_an_absence(world: &World<'_>) -> Result<()> {
    is_kept_shortly(world, list("empty"), || Loaded::Empty(b"[]".to_vec())).await
}

pub async fn what_strangers_choose_stays_in_the_process(world: &World<'_>) -> Result<()> {
    let (first, second) = (world.process().await?, world.process().await?);
    let (key, shop) = (
        Key::products("words of a stranger", Reach::Local),
        Shop::new(),
    );
    for process in [&first, &second] {
        same(process.see(&key, &shop).await?, (1, Source::Miss), "first")?;
        let (_, source) = process.see(&key, &shop).await?;
        same(source == Source::Hit, world.keeps(), "a hit")?;
    }
    Ok(())
}

async fn fail_slowly(process: Process, key: Key, loads: Arc<Count>) -> Outcome {
    process
        .request(&key, move || async move {
            loads.add();
            tokio::time::sleep(SLOW).await;
            Err(OutOfOrder)
        })
        .await
}

fn failure(outcome: Outcome) -> Result<Arc<OutOfOrder>> {
    match outcome {
        Err(FetchError::Load(error)) => Ok(error),
        other => anyhow::bail!("{other:?} is no failed load"),
    }
}

pub async fn a_failure_is_told_to_all_who_waited_and_not_kept(world: &World<'_>) -> Result<()> {
    let process = world.process().await?;
    let (key, loads) = (Key::product(product()), Arc::new(Count::default()));
    let requests: Vec<_> = (0..100)
        .map(|_| {
            tokio::spawn(fail_slowly(
                process.clone(),
                key.clone(),
                Arc::clone(&loads),
            ))
        })
        .collect();
    let mut errors = Vec::new();
    for request in requests {
        errors.push(failure(request.await?)?);
    }
    let (first, others) = errors.split_first().context("there are errors")?;
    let shared = others.iter().all(|error| Arc::ptr_eq(first, error));
    same(shared, world.keeps(), "the same error")?;
    same(loads.get(), if world.keeps() { 1 } else { 100 }, "loads")?;
    same(
        process.see(&key, &Shop::new()).await?,
        (1, Source::Miss),
        "afterwards",
    )
}

pub async fn after_a_failure_another_process_loads_at_once(world: &World<'_>) -> Result<()> {
    let (first, second) = (world.process().await?, world.process().await?);
    for key in [Key::product(product()), list("a")] {
        let (loads, shop) = (Arc::new(Count::default()), Shop::new());
        let failing = tokio::spawn(fail_slowly(first.clone(), key.clone(), Arc::clone(&loads)));
        wait_until("the first load", SOON, async || Ok(loads.get() == 1)).await?;
        let start = Instant::now();
        same(
            second.see(&key, &shop).await?,
            (1, Source::Miss),
            "the second",
        )?;
        let took = start.elapsed();
        ensure!(took < SLOW + Duration::from_millis(150), "it took {took:?}");
        failure(failing.await?)?;
        // It had the right to share what it loaded.
        let (_, source) = first.see(&key, &shop).await?;
        same(source == Source::Hit, world.shares(), "a hit in the first")?;
    }
    Ok(())
}

pub async fn after_a_panic_the_next_load_works(world: &World<'_>) -> Result<()> {
    let (first, second) = (world.process().await?, world.process().await?);
    let (key, shop) = (Key::product(product()), Shop::new());
    let outcome = first.request(&key, || async { panic!("on purpose") }).await;
    ensure!(matches!(outcome, Err(FetchError::Panicked)), "{outcome:?}");
    let start = Instant::now();
    same(
        first.see(&key, &shop).await?,
        (1, Source::Miss),
        "afterwards",
    )?;
    let (_, source) = second.see(&key, &shop).await?;
    same(source == Source::Hit, world.shares(), "a hit in the second")?;
    let took = start.elapsed();
    ensure!(took < Duration::from_millis(200), "it took {took:?}");
    Ok(())
}
