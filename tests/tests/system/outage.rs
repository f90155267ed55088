//! Redis goes away and comes back.

use std::time::{Duration, Instant};

use anyhow::Result;
use bharatmart_test_support::{
    servers::{RedisServer, SmtpServer},
    wait_until,
};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use crate::stack::{SOON, Stack, by_order_and_type, customer, id};

#[tokio::test]
async fn orders_placed_while_redis_is_away_are_answered_at_once_and_processed_later() -> Result<()>
{
    const ORDERS: usize = 200;
    const AWAY: Duration = Duration::from_secs(20);
    let mut redis = RedisServer::temporary().await?;
    let smtp = SmtpServer::start().await?;
    let stack = Stack::on_redis(&redis.url()).await?;
    let api = stack.api().start().await?;
    let _orders = stack.worker("order").start().await?;
    let _emails = stack.worker("email").smtp(&smtp).start().await?;
    let product = stack.product("Filter Coffee", 420, 1000).await?;
    let customer = customer(&api).await?;
    let body = json!({
        "items": [{"product_id": product, "quantity": 1}],
        "shipping_address": "12 MG Road, Bengaluru 560001",
        "payment_method": "cash_on_delivery",
    });

    redis.stop().await?;
    let mut ticks = interval(AWAY / u32::try_from(ORDERS)?);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut placed = Vec::new();
    let mut slowest = Duration::ZERO;
    for _ in 0..ORDERS {
        ticks.tick().await;
        let start = Instant::now();
        let (status, answer) = customer.post("/api/orders", &body).await?;
        slowest = slowest.max(start.elapsed());
        assert_eq!(status, 201, "{answer}");
        placed.push(id(&answer)?.to_string());
    }
    assert!(
        slowest < Duration::from_millis(500),
        "the slowest order took {slowest:?}"
    );
    println!("the slowest of {ORDERS} orders took {slowest:?}");
    redis.start_again().await?;

    wait_until("every order to be processed and mailed", SOON, async || {
        let processing = "SELECT count(*) FROM orders WHERE status = 'processing'";
        Ok(stack.count(processing).await? == i64::try_from(ORDERS)?
            && smtp.mails()?.len() >= ORDERS
            && stack.is_idle("email-notifications").await?)
    })
    .await?;
    let mails = by_order_and_type(&smtp.mails()?);
    for order in &placed {
        let key = (order.clone(), "order_confirmation".to_owned());
        assert_eq!(mails.get(&key), Some(&1), "order {order} is mailed once");
    }
    assert_eq!(mails.len(), ORDERS, "and nothing else is mailed");
    assert_eq!(
        stack
            .count("SELECT count(*) FROM order_history WHERE to_status = 'processing'")
            .await?,
        i64::try_from(ORDERS)?,
        "each order is processed once"
    );
    Ok(())
}
