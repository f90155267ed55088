//! Other people's software on our queues, and ours on theirs: Node's `bullmq` and Bull Board, as npm
//! installs them.
//!
//! `cargo xtask test` installs them into `tests/interop`, where the programs are that use them.

mod board;
mod consumers;
mod keys;
mod node;
mod producers;
#[path = "../system/stack.rs"]
#[expect(dead_code, reason = "the tests of the system need the rest of it")]
mod stack;

use anyhow::Result;
use bharatmart_test_support::{App, ShopClient, servers::RedisServer};
use serde_json::Value;
use uuid::Uuid;

use node::Node;
use stack::{Stack, customer, id, order};

const ORDERS: &str = "order-processing";
const EMAILS: &str = "email-notifications";
const PAYMENTS: &str = "payment-processing";

/// A shop of which the queues are within Node's reach, without workers yet.
struct Shop {
    stack: Stack,
    node: Node,
    api: App,
    customer: ShopClient,
    product: Uuid,
    // Of its own: Bull Board asks what the shop must not ask of a Redis that others use.
    _redis: RedisServer,
}

impl Shop {
    async fn open() -> Result<Self> {
        let redis = RedisServer::temporary().await?;
        let stack = Stack::on_redis(&redis.url()).await?;
        let api = stack.api().start().await?;
        let customer = customer(&api).await?;
        // The mail that asks the customer to prove the mailbox is none of what Node looks at.
        bharatmart_test_support::wait_until("its job", stack::SOON, async || {
            Ok(stack.llen(EMAILS, "wait").await? == 1)
        })
        .await?;
        stack.forget(EMAILS).await?;
        Ok(Self {
            node: Node::of(&stack),
            customer,
            product: stack.product("Banarasi Stole", 1999, 1000).await?,
            stack,
            api,
            _redis: redis,
        })
    }

    /// Places an order, of which the job goes to the queue.
    async fn order(&self, method: &str) -> Result<Value> {
        order(&self.customer, &[(self.product, 2)], method).await
    }

    /// An order that waits for its payment, whose own jobs are done.
    async fn unpaid_order(&self) -> Result<Uuid> {
        let order = id(&self.order("upi").await?)?;
        let mut worker = self.stack.worker("order").start().await?;
        self.until_processed(order).await?;
        worker.sigterm()?;
        worker.wait(stack::SOON).await?;
        Ok(order)
    }

    async fn until_processed(&self, order: Uuid) -> Result<()> {
        bharatmart_test_support::wait_until("the order to be confirmed", stack::SOON, async || {
            let sql = "SELECT processed_at IS NOT NULL FROM orders WHERE id = $1";
            Ok(sqlx::query_scalar(sql)
                .bind(order)
                .fetch_one(&self.stack.pool)
                .await?)
        })
        .await
    }

    async fn status(&self, order: Uuid) -> Result<String> {
        let sql = "SELECT status FROM orders WHERE id = $1";
        Ok(sqlx::query_scalar(sql)
            .bind(order)
            .fetch_one(&self.stack.pool)
            .await?)
    }
}
