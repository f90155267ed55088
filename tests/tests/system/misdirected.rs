//! A `DATABASE_READ_URL` that leads to the wrong place.

use std::time::Duration;

use anyhow::{Context, Result};
use bharatmart_test_support::{
    App,
    servers::{Postgres, PostgresOptions},
    wait_until,
};

use crate::{
    cache::page_of,
    load::Wire,
    replicated::{DATABASE, Reads, Replicated},
    stack::SOON,
};

const PASSWORD: &str = "Kesar42";
const WRONG_PASSWORD: &str = "Elaichi7";

/// Waits until the log says why the replica is not read from.
async fn complaint(api: &App, replica: &Postgres, why: &str) -> Result<()> {
    let port = format!("127.0.0.1:{}", replica.port());
    let parts = ["out of rotation", &port, why];
    wait_until(why, SOON, async || {
        let log = api.log();
        Ok(log
            .lines()
            .any(|line| parts.iter().all(|part| line.contains(part))))
    })
    .await
}

#[tokio::test]
async fn replicas_of_another_shop_and_those_that_refuse_us_are_named_and_not_read_from()
-> Result<()> {
    const READS: usize = 50;
    let options = PostgresOptions {
        password: Some(PASSWORD.to_owned()),
        ..PostgresOptions::default()
    };
    let shop = Replicated::start_with(options, Duration::ZERO).await?;
    let other = Replicated::start(Duration::ZERO).await?;
    let product = shop.product("Kolam", 10).await?;
    let [refusing, foreign] = [&shop.servers.standbys[0], &other.servers.standbys[0]];
    let urls =
        [refusing, foreign].map(|server| server.url(DATABASE).replace(PASSWORD, WRONG_PASSWORD));
    let api = shop.api().replicas(&urls).start().await?;
    complaint(&api, foreign, "foreign").await?;
    complaint(&api, refusing, "password authentication failed").await?;

    let before = Reads::of(&api).await?;
    let mut visitor = Wire::open(&api).await?;
    for _ in 0..READS {
        visitor.get(&page_of(product)).await?.expect(200)?;
    }
    let reads = Reads::since(before, &api).await?;
    assert!(reads.replica < 1.0, "{reads:?}");
    for standby in [refusing, foreign] {
        let series = format!(
            "database_replica_in_rotation{{replica=\"127.0.0.1:{}\"}}",
            standby.port()
        );
        let rotation = api.metric(&series).await?.context("no metric")?;
        assert!(rotation < 1.0, "{}", standby.name());
    }
    for password in [PASSWORD, WRONG_PASSWORD] {
        assert!(!api.log().contains(password));
    }
    Ok(())
}
