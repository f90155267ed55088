//! What lost jobs have left undone is found in the database and done.

use std::num::NonZero;

use anyhow::{Context, Result};
use bharatmart_test_support::{read_mail_dir, wait_until};
use redis::AsyncTypedCommands;
use uuid::Uuid;

use crate::stack::{SOON, Stack, customer, id, order};

/// Places an order and has Redis forget its job, as after a failover to an empty server.
async fn order_without_a_job(stack: &Stack, method: &str) -> Result<Uuid> {
    let api = stack.api().start().await?;
    let product = stack.product("Bandhani Dupatta", 1100, 10).await?;
    let customer = customer(&api).await?;
    let order = id(&order(&customer, &[(product, 2)], method).await?)?;
    wait_until("the job to wait", SOON, async || {
        Ok(stack.llen("order-processing", "wait").await? == 1)
    })
    .await?;
    stack.forget("order-processing").await?;
    Ok(order)
}

/// Has everything about the order have happened this long ago.
async fn age(stack: &Stack, order: Uuid, minutes: i32) -> Result<()> {
    for table in ["orders", "payments"] {
        let key = if table == "orders" { "id" } else { "order_id" };
        let sql = format!(
            "UPDATE {table} SET created_at = created_at - make_interval(mins => $2) WHERE {key} = $1"
        );
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(order)
            .bind(minutes)
            .execute(&stack.pool)
            .await?;
    }
    Ok(())
}

async fn status(stack: &Stack, order: Uuid) -> Result<String> {
    let sql = "SELECT status FROM orders WHERE id = $1";
    Ok(sqlx::query_scalar(sql)
        .bind(order)
        .fetch_one(&stack.pool)
        .await?)
}

#[tokio::test]
async fn an_order_whose_job_was_lost_is_confirmed_all_the_same() -> Result<()> {
    let stack = Stack::new().await?;
    let order = order_without_a_job(&stack, "cash_on_delivery").await?;
    age(&stack, order, 3).await?;
    let _worker = stack.worker("order").start().await?;
    wait_until("the order to be confirmed", SOON, async || {
        Ok(status(&stack, order).await? == "processing")
    })
    .await?;
    let mails = "SELECT count(*) FROM outbox WHERE job_name = 'send-email'";
    assert_eq!(stack.count(mails).await?, 1);
    Ok(())
}

#[tokio::test]
async fn an_unpaid_order_whose_deadline_was_lost_is_cancelled_all_the_same() -> Result<()> {
    let stack = Stack::new().await?;
    let order = order_without_a_job(&stack, "upi").await?;
    age(&stack, order, 45).await?;
    let _worker = stack.worker("order").start().await?;
    wait_until("the order to be cancelled", SOON, async || {
        Ok(status(&stack, order).await? == "cancelled")
    })
    .await?;
    assert_eq!(
        stack
            .count("SELECT stock_quantity::bigint FROM products")
            .await?,
        10
    );
    Ok(())
}

#[tokio::test]
async fn a_payment_and_a_refund_whose_jobs_were_lost_are_settled_all_the_same() -> Result<()> {
    let stack = Stack::new().await?;
    let paid = order_without_a_job(&stack, "upi").await?;
    let pending = Uuid::now_v7();
    sqlx::query(
        "INSERT INTO payments (id, order_id, amount, payment_method)
         SELECT $1, id, total_amount, 'upi' FROM orders WHERE id = $2",
    )
    .bind(pending)
    .bind(paid)
    .execute(&stack.pool)
    .await?;
    age(&stack, paid, 3).await?;
    let _worker = stack.worker("payment").start().await?;
    wait_until("the payment to be taken", SOON, async || {
        Ok(status(&stack, paid).await? == "processing")
    })
    .await?;

    // As a cancellation leaves it whose refund job is lost.
    for sql in [
        "UPDATE orders SET status = 'cancelled'",
        "UPDATE payments SET refund_requested_at = now() - interval '3 minutes'",
    ] {
        sqlx::query(sql).execute(&stack.pool).await?;
    }
    stack
        .ask_for("payment-processing", "reconcile-payments")
        .await?;
    let books = "SELECT count(*) FROM sandbox_gateway.charges WHERE status = 'refunded'";
    let left = "SELECT stock_quantity::bigint FROM products";
    wait_until("money and goods to go back", SOON, async || {
        Ok(stack.count(books).await? == 1 && stack.count(left).await? == 10)
    })
    .await
}

#[tokio::test]
async fn a_mail_that_nobody_sends_is_sent_all_the_same_also_when_its_job_is_kept_as_failed()
-> Result<()> {
    const EMAILS: &str = "email-notifications";
    let stack = Stack::new().await?;
    let folder = tempfile::tempdir()?;
    let order = order_without_a_job(&stack, "cash_on_delivery").await?;
    let _orders = stack.worker("order").start().await?;
    stack
        .ask_for("order-processing", "reconcile-orders")
        .await?;
    age(&stack, order, 3).await?;
    wait_until("the mail to wait", SOON, async || {
        Ok(stack.llen(EMAILS, "wait").await? == 1)
    })
    .await?;
    // As a last attempt leaves it that could not say how it ended.
    let mut redis = stack.redis().await?;
    let key = |name: &str| format!("{}:{EMAILS}:{name}", stack.prefix);
    let job: Vec<String> = redis.rpop(key("wait"), NonZero::new(1)).await?;
    redis
        .zadd(key("failed"), job.first().context("no job")?, 1)
        .await?;
    sqlx::query("UPDATE mail_deliveries SET created_at = now() - interval '11 minutes', updated_at = now() - interval '3 minutes'")
        .execute(&stack.pool)
        .await?;

    let _emails = stack
        .worker("email")
        .mail_dir(folder.path())
        .start()
        .await?;
    wait_until("the mail to be sent", SOON, async || {
        let sent = "SELECT count(*) FROM mail_deliveries WHERE status = 'sent'";
        Ok(stack.count(sent).await? == 1)
    })
    .await?;
    assert_eq!(read_mail_dir(folder.path())?.len(), 1);
    Ok(())
}
