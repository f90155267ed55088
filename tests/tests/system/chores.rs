//! What comes by the clock.

use anyhow::Result;
use bharatmart_test_support::{servers::SmtpServer, wait_until};

use crate::stack::{SOON, Stack, customer};

#[tokio::test]
async fn every_admin_is_told_once_a_day_what_runs_out() -> Result<()> {
    let stack = Stack::new().await?;
    let api = stack.api().start().await?;
    let admin = stack.admin(&api).await?;
    let former = stack.admin(&api).await?;
    sqlx::query("UPDATE users SET is_active = false WHERE email = $1")
        .bind(former.email())
        .execute(&stack.pool)
        .await?;
    let _customer = customer(&api).await?;
    stack.product("Copper Bottle", 899, 3).await?;
    stack.product("Brass Lamp", 1499, 4).await?;
    let gone = stack.product("Silk Stole", 2499, 0).await?;
    sqlx::query("UPDATE products SET is_active = false WHERE id = $1")
        .bind(gone)
        .execute(&stack.pool)
        .await?;

    let smtp = SmtpServer::start().await?;
    let _order = stack
        .worker("order")
        .env("LOW_STOCK_THRESHOLD", "3")
        .start()
        .await?;
    let _email = stack.worker("email").smtp(&smtp).start().await?;
    let done = "SELECT count(*) FROM outbox
                WHERE job_name = 'report-low-stock' AND dispatched_at IS NOT NULL";
    for times in 1..=2 {
        stack
            .ask_for("order-processing", "report-low-stock")
            .await?;
        wait_until("the report to be written and sent", SOON, async || {
            let sent = "SELECT count(*) FROM report_mails WHERE sent_at IS NOT NULL";
            Ok(stack.count(done).await? == times
                && stack.is_idle("order-processing").await?
                && stack.count(sent).await? == 1)
        })
        .await?;
    }
    let asked = "SELECT count(*) FROM outbox WHERE job_name = 'send-report'";
    assert_eq!(stack.count(asked).await?, 1, "the second time told nobody");
    let mut mails = smtp.mails()?;
    mails.retain(|mail| mail.headers["x-bharatmart-type"] != "verify_email");
    let [mail] = mails.as_slice() else {
        panic!("{} mails", mails.len());
    };
    assert_eq!(mail.to, [admin.email()]);
    assert_eq!(mail.headers["x-bharatmart-type"], "low_stock");
    assert!(mail.text.contains("3 left: Copper Bottle"), "{}", mail.text);
    for other in ["Brass Lamp", "Silk Stole"] {
        assert!(!mail.text.contains(other), "{}", mail.text);
    }
    Ok(())
}

#[tokio::test]
async fn what_is_over_is_deleted_and_what_is_recent_is_kept() -> Result<()> {
    let stack = Stack::new().await?;
    let api = stack.api().start().await?;
    let _over = customer(&api).await?;
    for sql in [
        "UPDATE refresh_tokens SET expires_at = now() - interval '1 second'",
        "UPDATE refresh_families SET created_at = now() - interval '2 hours'",
    ] {
        sqlx::query(sql).execute(&stack.pool).await?;
    }
    let _signed_in = customer(&api).await?;
    sqlx::query(
        "INSERT INTO outbox (queue, job_name, job_id, payload, dispatched_at, failed_at)
         SELECT 'none', 'none', 'refused-' || days, '{}', ago, ago
         FROM (VALUES (31), (29)) AS refused (days), LATERAL (SELECT now() - make_interval(days => days)) AS it (ago)",
    )
    .execute(&stack.pool)
    .await?;

    let _worker = stack.worker("order").start().await?;
    let refused = "SELECT count(*) FROM outbox WHERE job_id LIKE 'refused-%'";
    let families = "SELECT count(*) FROM refresh_families";
    wait_until("the clean-up", SOON, async || {
        Ok(stack.count(refused).await? < 2 && stack.count(families).await? < 2)
    })
    .await?;
    let kept = "SELECT count(*) FROM outbox WHERE job_id = 'refused-29'";
    assert_eq!(stack.count(kept).await?, 1);
    assert_eq!(stack.count(families).await?, 1);
    let tokens = "SELECT count(*) FROM refresh_tokens WHERE expires_at > now()";
    assert_eq!(stack.count(tokens).await?, 1);
    Ok(())
}
