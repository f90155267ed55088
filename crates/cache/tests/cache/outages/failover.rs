//! Another server takes over.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bharatmart_cache::{Change, Key, Source};
use bharatmart_domain::ProductId;
use bharatmart_test_support::servers::RedisCluster;
use redis::Client;

use super::PREFIX;
use crate::support::{
    Backend, Process, SOON, Servers, Shop, TOLD, client_of, list, page_name, product, raw, same,
};

/// How soon bodies are shared again.
const SHARED_AGAIN: Duration = Duration::from_secs(15);

async fn two(servers: &Servers) -> Result<(Process, Process)> {
    let config = servers.config(PREFIX)?;
    Ok((
        Process::start(&config).await?,
        Process::start(&config).await?,
    ))
}

/// The page of a product, before and after a change of it.
struct Edited {
    id: ProductId,
    shop: Shop,
    /// The old value in Redis.
    old: Vec<u8>,
}

impl Edited {
    async fn new(id: ProductId, here: &Process, there: &Process, holder: &Client) -> Result<Self> {
        let shop = Shop::new();
        let page = Key::product(id);
        here.see(&page, &shop).await?;
        let name = page_name(PREFIX, id);
        let old: Option<Vec<u8>> = raw(holder, &[b"GET", name.as_bytes()]).await?;
        let new = shop.change();
        here.announce(Change::Product(id)).await;
        there.wait_to_see(new, &page, &shop).await?;
        let old = old.context("the page is in Redis")?;
        Ok(Self { id, shop, old })
    }

    /// Puts the old value where it would be if the change had been lost with the server that was told.
    async fn bring_back(&self, successor: &Client) -> Result<()> {
        let name = page_name(PREFIX, self.id);
        raw(successor, &[b"SET", name.as_bytes(), &self.old]).await
    }

    async fn is_new_for(&self, process: &Process) -> Result<()> {
        let (version, _) = process.see(&Key::product(self.id), &self.shop).await?;
        same(version, self.shop.version(), "a page that had changed")
    }
}

/// Asks all the time, until what one process loads is found by the other; no request fails or waits.
async fn wait_until_shared(
    loader: &Process,
    finder: &Process,
    key: impl Fn() -> Key,
    edited: &Edited,
) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let (key, shop) = (key(), Shop::new());
        let asked = Instant::now();
        loader.see(&key, &shop).await?;
        let (_, source) = finder.see(&key, &shop).await?;
        edited.is_new_for(loader).await?;
        edited.is_new_for(finder).await?;
        let took = asked.elapsed();
        ensure!(took < Duration::from_secs(1), "four requests took {took:?}");
        if source == Source::Hit {
            return Ok(start.elapsed());
        }
        ensure!(start.elapsed() <= SHARED_AGAIN, "not shared again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_master_that_sentinels_name_is_followed_and_brings_back_no_old_body() -> Result<()> {
    let mut servers = Servers::start(Backend::Sentinel).await?;
    let (here, there) = two(&servers).await?;
    let Servers::Sentinel(set) = &mut servers else {
        anyhow::bail!("no sentinels");
    };
    let master = client_of(&format!("127.0.0.1:{}", set.master_port().await?))?;
    let edited = Edited::new(product(), &here, &there, &master).await?;
    set.kill_master().await?;
    let killed = Instant::now();
    here.wait_until_away().await?;
    there.wait_until_away().await?;
    wait_until_shared(&here, &there, || Key::product(product()), &edited).await?;
    let took = killed.elapsed();
    ensure!(took <= SHARED_AGAIN, "shared again after {took:?}");

    set.wait_for_failover().await?;
    let master = client_of(&format!("127.0.0.1:{}", set.master_port().await?))?;
    edited.bring_back(&master).await?;
    let third = Process::start(&servers.config(PREFIX)?).await?;
    for process in [&here, &there, &third] {
        edited.is_new_for(process).await?;
    }
    Ok(())
}

/// A product whose page is held by a node of which `wanted` is true.
async fn product_at(cluster: &RedisCluster, wanted: impl Fn(&str) -> bool) -> Result<ProductId> {
    loop {
        let id = product();
        if wanted(&cluster.master_of(&page_name(PREFIX, id)).await?) {
            return Ok(id);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_lost_a_master_is_used_again_and_brings_back_no_old_body() -> Result<()> {
    let mut servers = Servers::start(Backend::Cluster).await?;
    let (here, there) = two(&servers).await?;
    let Servers::Cluster(cluster) = &mut servers else {
        anyhow::bail!("no cluster");
    };
    let generations = cluster.master_of("outages:generations").await?;
    let elsewhere = product_at(cluster, |node| node != generations).await?;
    let holder = cluster.master_of(&page_name(PREFIX, elsewhere)).await?;
    let edited = Edited::new(elsewhere, &here, &there, &client_of(&holder)?).await?;
    let mut lost = Vec::new();
    for _ in 0..1000 {
        lost.push(product_at(cluster, |node| node == holder).await?);
    }
    cluster
        .kill_master_of(&page_name(PREFIX, elsewhere))
        .await?;
    let killed = Instant::now();
    let next = std::cell::RefCell::new(lost.into_iter().cycle());
    let in_the_lost_slots = || Key::product(next.borrow_mut().next().unwrap());
    wait_until_shared(&here, &there, in_the_lost_slots, &edited).await?;
    let took = killed.elapsed();
    ensure!(took <= SHARED_AGAIN, "shared again after {took:?}");

    let successor = cluster.master_of(&page_name(PREFIX, elsewhere)).await?;
    edited.bring_back(&client_of(&successor)?).await?;
    let third = Process::start(&servers.config(PREFIX)?).await?;
    for process in [&here, &there, &third] {
        edited.is_new_for(process).await?;
    }
    Ok(())
}

/// The page cannot be deleted, and everything else is told nevertheless.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_told_while_the_node_that_holds_its_page_is_dead() -> Result<()> {
    let mut servers = Servers::start(Backend::Cluster).await?;
    let (here, there) = two(&servers).await?;
    let Servers::Cluster(cluster) = &mut servers else {
        anyhow::bail!("no cluster");
    };
    let generations = cluster.master_of("outages:generations").await?;
    let id = product_at(cluster, |node| node != generations).await?;
    let (shop, keys) = (
        Shop::new(),
        [Key::product(id), list("a"), Key::categories()],
    );
    for key in &keys {
        here.wait_to_see(1, key, &shop).await?;
        there.wait_to_see(1, key, &shop).await?;
    }
    cluster.kill_master_of(&page_name(PREFIX, id)).await?;
    let new = shop.change();
    here.announce(Change::Product(id)).await;
    let announced = Instant::now();
    for key in &keys {
        same(here.see(key, &shop).await?.0, new, "here")?;
        there.wait_to_see(new, key, &shop).await?;
    }
    let took = announced.elapsed();
    ensure!(took <= 10 * TOLD, "the other process heard after {took:?}");
    cluster.wait_until_ok().await?;
    for process in [&here, &there] {
        process.wait_until_live().await?;
        for key in &keys {
            same(process.see(key, &shop).await?.0, new, "afterwards")?;
        }
    }
    Ok(())
}

/// Nobody can tell anybody of changes, so nobody trusts what it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_old_is_shown_for_long_while_the_node_of_the_generations_is_dead() -> Result<()> {
    let mut servers = Servers::start(Backend::Cluster).await?;
    let (here, there) = two(&servers).await?;
    let Servers::Cluster(cluster) = &mut servers else {
        anyhow::bail!("no cluster");
    };
    let generations = cluster.master_of("outages:generations").await?;
    let id = product_at(cluster, |node| node != generations).await?;
    let (shop, keys) = (
        Shop::new(),
        [Key::product(id), list("a"), Key::categories()],
    );
    for key in &keys {
        here.wait_to_see(1, key, &shop).await?;
        there.wait_to_see(1, key, &shop).await?;
    }
    cluster.kill_master_of("outages:generations").await?;
    let new = shop.change();
    here.announce(Change::Product(id)).await;
    let announced = Instant::now();
    for key in &keys {
        same(here.see(key, &shop).await?.0, new, "here")?;
        there.wait_to_see(new, key, &shop).await?;
    }
    let took = announced.elapsed();
    ensure!(took <= SOON / 2, "the other process knew after {took:?}");
    cluster.wait_until_ok().await?;
    for process in [&here, &there] {
        process.wait_until_live().await?;
        for key in &keys {
            process.wait_to_see(new, key, &shop).await?;
        }
    }
    Ok(())
}
