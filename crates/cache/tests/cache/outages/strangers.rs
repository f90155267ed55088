//! Others who use the same server.

use std::time::Instant;

use anyhow::{Result, ensure};
use bharatmart_cache::{Change, Key, Source};
use bharatmart_config::CacheBackend;
use bharatmart_test_support::servers::RedisServer;

use super::PREFIX;
use crate::support::{
    Process, Shop, TOLD, in_redis, list, page_name, product, raw, same, standalone,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_strangers_write_under_a_key_is_replaced() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let client = redis.client()?;
    let config = in_redis(standalone(&redis.url()), PREFIX);
    let (first, second) = (
        Process::start(&config).await?,
        Process::start(&config).await?,
    );
    let long = [b'x'; 1000];
    let values: [&[u8]; 6] = [
        b"",
        b"1",
        b"0123456789abcdef",
        b"{\"id\": 1}",
        &[0; 42],
        &long,
    ];
    for value in values {
        let (id, shop) = (product(), Shop::new());
        let name = page_name(PREFIX, id);
        raw::<()>(&client, &[b"SET", name.as_bytes(), value]).await?;
        let page = Key::product(id);
        same(first.see(&page, &shop).await?, (1, Source::Miss), "first")?;
        same(second.see(&page, &shop).await?, (1, Source::Hit), "second")?;
    }
    ensure!(first.is_live() && second.is_live());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_strangers_say_on_the_channel_is_ignored() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let client = redis.client()?;
    let config = in_redis(standalone(&redis.url()), PREFIX);
    let (here, there) = (
        Process::start(&config).await?,
        Process::start(&config).await?,
    );
    let (id, shop) = (product(), Shop::new());
    let page = Key::product(id);
    here.see(&page, &shop).await?;
    there.see(&page, &shop).await?;
    let uuid = uuid::Uuid::new_v4();
    let half = format!("{uuid} 9 5");
    for text in [b"", b"hello".as_slice(), &[0xff, 0xfe], half.as_bytes()] {
        let heard: u32 = raw(&client, &[b"PUBLISH", b"outages:changes:0", text]).await?;
        same(heard, 2, "listeners")?;
    }
    same(there.see(&page, &shop).await?, (1, Source::Hit), "after it")?;
    let new = shop.change();
    here.announce(Change::Product(id)).await;
    there.wait_to_see(new, &page, &shop).await?;
    ensure!(here.is_live() && there.is_live());
    Ok(())
}

/// Its channels are the same in all databases of a server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_shops_in_two_databases_do_not_hear_each_other() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let config = in_redis(standalone(&redis.url()), PREFIX);
    let (here, there) = (
        Process::start(&config).await?,
        Process::start(&config).await?,
    );
    let mut other = config.clone();
    if let CacheBackend::Redis(settings) = &mut other.backend {
        settings.db = Some(1);
    }
    let stranger = Process::start(&other).await?;
    let (id, shop) = (product(), Shop::new());
    let keys = [Key::product(id), list("a"), Key::categories()];
    for _ in 0..3 {
        stranger.announce(Change::Product(product())).await;
        for key in &keys {
            here.wait_to_see(shop.version(), key, &shop).await?;
            there.wait_to_see(shop.version(), key, &shop).await?;
        }
        let new = shop.change();
        here.announce(Change::Product(id)).await;
        let announced = Instant::now();
        for key in &keys {
            same(here.see(key, &shop).await?.0, new, "here")?;
            there.wait_to_see(new, key, &shop).await?;
        }
        let took = announced.elapsed();
        ensure!(took <= TOLD, "the other process heard after {took:?}");
    }
    Ok(())
}
