//! Redis goes away and comes back.

use std::time::{Duration, Instant};

use anyhow::Result;
use bharatmart_test_support::{
    servers::{RedisServer, SmtpServer},
    wait_until,
};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use crate::stack::{SOON, Stack, by_order_and_type, customer, id, order};

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
            && by_order_and_type(&smtp.mails()?).len() >= ORDERS
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

#[tokio::test]
async fn all_open_orders_end_after_redis_was_replaced_by_an_empty_one() -> Result<()> {
    const ORDERS: usize = 60;
    let mut redis = RedisServer::temporary().await?;
    let smtp = SmtpServer::start().await?;
    let stack = Stack::on_redis(&redis.url()).await?;
    let api = stack.api().start().await?;
    let product = stack.product("Filter Coffee", 420, 1000).await?;
    let customer = customer(&api).await?;
    // Some are in the hands of a worker when Redis loses them, some of none yet, some wait for money or deadline.
    let mut placed = Vec::new();
    for number in 0..ORDERS {
        let method = ["cash_on_delivery", "upi", "credit_card"][number % 3];
        let order = order(&customer, &[(product, 1)], method).await?;
        let order = id(&order)?.to_string();
        if method == "upi" {
            let (status, answer) = customer.pay(&order, "upi", Some("success@upi")).await?;
            assert_eq!(status, 201, "{answer}");
        }
        placed.push(order);
    }
    wait_until("the jobs to be in Redis", SOON, async || {
        Ok(stack.llen("order-processing", "wait").await? == ORDERS)
    })
    .await?;

    let worker = |kind| {
        stack
            .worker(kind)
            .env("ORDER_PAYMENT_TIMEOUT", "20s")
            .smtp(&smtp)
    };
    let (orders, _payments, _emails) = (
        worker("order").start().await?,
        worker("payment").start().await?,
        worker("email").start().await?,
    );
    wait_until("the workers to be in the middle of it", SOON, async || {
        let done = "SELECT count(*) FROM orders WHERE processed_at IS NOT NULL";
        Ok(stack.count(done).await? > 0)
    })
    .await?;
    // It keeps nothing on disk.
    redis.kill9();
    redis.start_again().await?;
    let ended = "SELECT count(*) FROM orders WHERE status IN ('processing', 'cancelled')";
    wait_until("every order to come to its end", SOON, async || {
        Ok(stack.count(ended).await? == i64::try_from(ORDERS)?
            && by_order_and_type(&smtp.mails()?).len() >= ORDERS / 3 * 5
            && stack.is_idle("email-notifications").await?)
    })
    .await?;
    assert!(
        !orders.log().contains("confirming it now"),
        "nobody waited for the reconciliation"
    );
    let mails = by_order_and_type(&smtp.mails()?);
    for (number, order) in placed.iter().enumerate() {
        let kinds: &[&str] = match number % 3 {
            0 => &["order_confirmation"],
            1 => &["order_confirmation", "payment_success"],
            _ => &["order_confirmation", "order_cancelled"],
        };
        for kind in kinds {
            let key = (order.clone(), (*kind).to_owned());
            assert_eq!(mails.get(&key), Some(&1), "{kind} for order {order}");
        }
    }
    assert_eq!(mails.len(), ORDERS / 3 * 5, "and nothing else is mailed");
    Ok(())
}
