//! More is asked for than the connections can do.

use std::time::Duration;

use anyhow::{Result, ensure};
use bharatmart_database::{Error, Freshness};
use bharatmart_test_support::{servers::PostgresOptions, wait_until};
use futures_util::future::try_join_all;
use tokio::time::{sleep, timeout};

use crate::servers::{SOON, open, single, write};

#[tokio::test]
async fn who_would_wait_for_too_long_is_refused_at_once_and_the_background_waits() -> Result<()> {
    let (_server, url) = single(PostgresOptions::default()).await?;
    let background = open(&[
        ("DATABASE_URL", &url),
        ("DATABASE_POOL_SIZE", "1"),
        ("DATABASE_CONNECTION_TIMEOUT", "1m"),
    ]);
    let requests = background.clone().with_queue_of(Duration::from_millis(50));
    // Each needs the connection for a while.
    for _ in 0..10 {
        let held = requests.write().await?;
        sleep(Duration::from_millis(50)).await;
        drop(held);
    }
    let held = requests.write().await?;
    let waiting = tokio::spawn({
        let background = background.clone();
        async move { try_join_all((0..20).map(|number| write(&background, number))).await }
    });
    wait_until("a queue", SOON, async || {
        Ok(background.status().waiters == 20)
    })
    .await?;

    // Nothing is waited for.
    let soon = Duration::from_secs(30);
    let refused = timeout(soon, requests.write()).await?;
    ensure!(matches!(refused, Err(Error::Busy)), "{refused:?}");
    let refused = timeout(soon, requests.read(Freshness::Any)).await?;
    ensure!(matches!(refused, Err(Error::Busy)), "{refused:?}");
    let refused = timeout(soon, requests.read_as_of_now()).await?;
    ensure!(matches!(refused, Err(Error::Busy)), "{refused:?}");

    drop(held);
    waiting.await??;
    write(&requests, 100).await?;
    Ok(())
}
