//! Everything through poolers that give each transaction another connection.

use std::time::Duration;

use anyhow::{Context, Result};
use bharatmart_test_support::{
    read_mail_dir,
    servers::{PgBouncer, PgBouncerOptions},
    wait_until,
};
use serde_json::{Value, json};

use crate::{
    cache::page_of,
    replicated::{DATABASE, Reads, Replicated},
    shopper::{Shopper, Token},
    stack::{SOON, by_order_and_type, customer, id},
};

/// What a server says to a client that takes a shared connection for its own.
const MISTAKES: [&str; 5] = [
    "[26000]",
    "[34000]",
    "[42P05]",
    "prepared statement",
    "portal",
];

#[tokio::test]
async fn an_order_is_placed_paid_and_mailed_through_poolers_of_primary_and_replicas() -> Result<()>
{
    const ORDERS: usize = 30;
    let shop = Replicated::start(Duration::ZERO).await?;
    let mut poolers = Vec::new();
    for server in [&shop.servers.primary]
        .into_iter()
        .chain(&shop.servers.standbys)
    {
        poolers.push(PgBouncer::start(server, PgBouncerOptions::default()).await?);
    }
    let urls: Vec<_> = poolers.iter().map(|pooler| pooler.url(DATABASE)).collect();
    let direct = shop.servers.primary.url(DATABASE);
    let mails = tempfile::tempdir()?;
    let api = shop.api().database_url(&urls[0]).replicas(&urls[1..]);
    let api = api.env("DATABASE_DIRECT_URL", &direct).start().await?;
    let worker = shop.worker("all").database_url(&urls[0]);
    let _worker = worker.mail_dir(mails.path()).start().await?;
    let product = shop.product("Chikankari Kurta", 1000).await?;
    shop.servers.wait_until_replayed().await?;
    wait_until("reads from both replicas", SOON, async || {
        let rotation = api.metric("database_replica_in_rotation").await?;
        Ok(rotation == Some(2.0))
    })
    .await?;

    let customer = customer(&api).await?;
    let mut shopper = Shopper::open(&api, customer.token().context("signed in")?).await?;
    let before = Reads::of(&api).await?;
    for left in (0..ORDERS).rev() {
        let placed = shopper.order(product).await?;
        let order = id(&placed.expect(201)?)?;
        let token = if left % 2 == 0 {
            Token::header(&placed)?
        } else {
            Token::cookie(&placed)?
        };
        let path = format!("/api/orders/{order}");
        shopper.get(&path, Some(&token)).await?.expect(200)?;
        let shown = shopper
            .get(&page_of(product), Some(&token))
            .await?
            .expect(200)?;
        assert_eq!(shown["stock_quantity"], json!(1000 - (ORDERS - left)));
    }
    let reads = Reads::since(before, &api).await?;
    println!("{:.1} % of reads from replicas: {reads:?}", reads.share());
    assert!(reads.share() >= 80.0, "{reads:?}");

    let body = json!({
        "items": [{"product_id": product, "quantity": 2}],
        "shipping_address": "12 MG Road, Bengaluru 560001",
        "payment_method": "upi",
    });
    let placed = shopper
        .send("POST", "/api/orders", None, Some(&body))
        .await?;
    let order = id(&placed.expect(201)?)?;
    let body = json!({
        "order_id": order,
        "payment_method": "upi",
        "payment_token": "success@upi",
    });
    let token = Token::header(&placed)?;
    let paid = shopper
        .send("POST", "/api/payments", Some(&token), Some(&body))
        .await?;
    paid.expect(201)?;
    let token = Token::header(&paid)?;
    let path = format!("/api/orders/{order}");
    let shown: Value = shopper.get(&path, Some(&token)).await?.expect(200)?;
    assert!(!shown["payment"].is_null(), "{shown}");
    customer
        .wait_for_order_status(&order.to_string(), "processing", SOON)
        .await?;
    wait_until("all mails", SOON, async || {
        let counts = by_order_and_type(&read_mail_dir(mails.path())?);
        // A confirmation for each order, and a receipt.
        Ok(counts.values().sum::<usize>() == ORDERS + 2)
    })
    .await?;

    for server in [&shop.servers.primary]
        .into_iter()
        .chain(&shop.servers.standbys)
    {
        let log = server.log();
        let mistaken = |line: &&str| MISTAKES.iter().any(|sign| line.contains(sign));
        assert_eq!(log.lines().find(mistaken), None, "{}", server.name());
    }
    for (pooler, url) in poolers.iter().zip(&urls) {
        assert!(pooler.clients(DATABASE).await? > 0, "{url}");
    }
    Ok(())
}
