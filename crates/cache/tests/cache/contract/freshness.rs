//! Bodies say up to which change they show everything; some who ask have seen more.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bharatmart_cache::{Found, Key, Load, Loaded, Source};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::World;
use crate::support::{OutOfOrder, Outcome, Process, list, product, same};

/// The body of a load that cannot say what it shows.
const UNDATED: u128 = 0;
/// For what is to be past its time soon.
const SHORT_TTL: Duration = Duration::from_secs(2);
/// Numbers need more than 64 bits from here on.
const NEXT_ERA: u128 = 1 << 64;

/// Up to which change an answer shows all, and where it is from.
type Dated = (u128, Source);

/// A load that shows all changes up to `as_of`, which is the body, too.
fn dated(as_of: Option<u128>) -> Load {
    let text = as_of.unwrap_or(UNDATED).to_string();
    Load {
        found: Loaded::Found(text.into_bytes()),
        as_of,
    }
}

fn read(found: &Found) -> Result<Dated> {
    let body = found.body.as_ref().context("there is a body")?;
    Ok((std::str::from_utf8(&body.bytes)?.parse()?, found.source))
}

/// Asks as somebody who has seen all changes up to `at_least`; a load shows all up to `as_of`.
async fn ask(process: &Process, key: &Key, at_least: u128, as_of: Option<u128>) -> Result<Dated> {
    let load = dated(as_of);
    let found = process
        .request_at_least(key, at_least, move || async move { Ok(load) })
        .await?;
    read(&found)
}

/// A request whose load has begun.
struct Loading {
    end: oneshot::Sender<Result<Load, OutOfOrder>>,
    outcome: JoinHandle<Outcome>,
}

impl Loading {
    /// Asks as somebody who has seen all changes up to `at_least`, and waits for the load to begin.
    async fn begin(process: &Process, key: &Key, at_least: u128) -> Result<Self> {
        let (process, key) = (process.clone(), key.clone());
        let (started, start) = oneshot::channel();
        let (end, loaded) = oneshot::channel();
        let outcome = tokio::spawn(async move {
            let load = move || async move {
                // Who waits for it is gone only when the test has failed.
                let _ = started.send(());
                loaded.await.unwrap_or(Err(OutOfOrder))
            };
            process.request_at_least(&key, at_least, load).await
        });
        start.await.context("the load begins")?;
        Ok(Self { end, outcome })
    }

    /// Ends the load.
    async fn end(self, loaded: Result<Load, OutOfOrder>) -> Result<Outcome> {
        self.end
            .send(loaded)
            .ok()
            .context("somebody waits for the load")?;
        Ok(self.outcome.await?)
    }
}

pub async fn who_has_seen_more_than_a_kept_body_shows_gets_a_new_one(
    world: &World<'_>,
) -> Result<()> {
    let (process, other) = (world.process().await?, world.process().await?);
    for key in [Key::product(product()), list("a"), Key::categories()] {
        same(
            ask(&process, &key, 0, Some(5)).await?,
            (5, Source::Miss),
            "loaded",
        )?;
        if !world.keeps() {
            continue;
        }
        for at_least in [0, 5] {
            let seen = ask(&process, &key, at_least, Some(9)).await?;
            same(seen, (5, Source::Hit), "good enough")?;
        }
        if world.shares() {
            same(
                ask(&other, &key, 5, Some(9)).await?,
                (5, Source::Hit),
                "shared",
            )?;
        }
        for (at_least, as_of) in [(6, 9), (10, NEXT_ERA), (NEXT_ERA + 1, NEXT_ERA + 2)] {
            let seen = ask(&process, &key, at_least, Some(as_of)).await?;
            same(seen, (as_of, Source::Miss), "too old")?;
            let seen = ask(&process, &key, as_of, Some(as_of + 1)).await?;
            same(seen, (as_of, Source::Hit), "kept in its place")?;
            // The one who loaded it has put it in the place of the old one for all.
            let seen = ask(&other, &key, at_least, Some(as_of)).await?;
            let source = if world.shares() {
                Source::Hit
            } else {
                Source::Miss
            };
            same(seen, (as_of, source), "in the other process")?;
        }
    }
    Ok(())
}

pub async fn what_is_too_old_for_one_client_is_shown_to_others_until_there_is_a_newer_one(
    world: &World<'_>,
) -> Result<()> {
    if !world.shares() {
        return Ok(());
    }
    let process = world.process().await?;
    for key in [Key::product(product()), list("a"), Key::categories()] {
        same(
            ask(&process, &key, 0, Some(5)).await?,
            (5, Source::Miss),
            "loaded",
        )?;
        let loading = Loading::begin(&process, &key, 6).await?;
        let seen = ask(&world.process().await?, &key, 0, Some(9)).await?;
        same(seen, (5, Source::Hit), "while a newer one is loaded")?;
        let failed = loading.end(Err(OutOfOrder)).await?;
        ensure!(failed.is_err(), "{failed:?}");
        let seen = ask(&world.process().await?, &key, 0, Some(9)).await?;
        same(seen, (5, Source::Hit), "after the load has failed")?;

        let loading = Loading::begin(&process, &key, 6).await?;
        let other = world.process().await?;
        same(
            ask(&other, &key, 8, Some(9)).await?,
            (9, Source::Miss),
            "somebody else was faster",
        )?;
        let loaded = loading.end(Ok(dated(Some(7)))).await?;
        same(read(&loaded?)?, (7, Source::Miss), "loaded anew")?;
        let seen = ask(&world.process().await?, &key, 8, Some(10)).await?;
        same(seen, (9, Source::Hit), "the faster one is kept")?;
    }
    Ok(())
}

pub async fn what_is_past_its_time_and_too_old_is_loaded_for_all(world: &World<'_>) -> Result<()> {
    if !world.shares() {
        return Ok(());
    }
    let mut config = world.config()?;
    config.ttl = SHORT_TTL;
    let (process, other) = (
        Process::start(&config).await?,
        Process::start(&config).await?,
    );
    let (key, start) = (Key::product(product()), Instant::now());
    same(
        ask(&process, &key, 0, Some(5)).await?,
        (5, Source::Miss),
        "loaded",
    )?;
    // It may be shown for a fifth of its time from now on.
    sleep_until(start + SHORT_TTL + Duration::from_millis(50)).await;
    same(
        ask(&process, &key, 6, Some(9)).await?,
        (9, Source::Miss),
        "too old",
    )?;
    same(
        ask(&other, &key, 6, Some(10)).await?,
        (9, Source::Hit),
        "in the other process",
    )
}

pub async fn what_nobody_can_date_is_not_kept(world: &World<'_>) -> Result<()> {
    let (process, other) = (world.process().await?, world.process().await?);
    for key in [Key::product(product()), list("a"), Key::categories()] {
        for process in [&process, &other, &process] {
            let seen = ask(process, &key, 0, None).await?;
            same(seen, (UNDATED, Source::Miss), "undated")?;
        }
        // Nobody is kept from loading and sharing it.
        same(
            ask(&process, &key, 0, Some(1)).await?,
            (1, Source::Miss),
            "dated",
        )?;
        if world.shares() {
            same(
                ask(&other, &key, 0, None).await?,
                (1, Source::Hit),
                "shared",
            )?;
        }
    }
    Ok(())
}
