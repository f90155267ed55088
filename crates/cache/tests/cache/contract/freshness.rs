//! Bodies say up to which change they show everything; some who ask have seen more.

use anyhow::{Context, Result};
use bharatmart_cache::{Key, Load, Loaded, Source};

use super::World;
use crate::support::{Process, Seen, list, product, same};

/// The body of a load that cannot say what it shows.
const UNDATED: u64 = 0;

/// Asks as somebody who has seen all changes up to `at_least`; a load shows all up to `as_of`, and is
/// the body, too.
async fn ask(process: &Process, key: &Key, at_least: u64, as_of: Option<u64>) -> Result<Seen> {
    let text = as_of.unwrap_or(UNDATED).to_string();
    let load = Load {
        found: Loaded::Found(text.into_bytes()),
        as_of,
    };
    let found = process
        .request_at_least(key, at_least, move || async move { Ok(load) })
        .await?;
    let body = found.body.context("there is a body")?;
    Ok((std::str::from_utf8(&body.bytes)?.parse()?, found.source))
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
        for process in [&process, &other] {
            let seen = ask(process, &key, 6, Some(9)).await?;
            same(seen, (9, Source::Miss), "too old")?;
            let seen = ask(process, &key, 9, Some(10)).await?;
            same(seen, (9, Source::Hit), "kept in its place")?;
        }
    }
    Ok(())
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
