//! What an operator does at a terminal with jobs that have failed for good.

use anyhow::Result;
use bharatmart_test_support::wait_until;
use serde_json::json;

use crate::stack::{SOON, Stack};

const QUEUE: &str = "email-notifications";

#[tokio::test]
async fn failed_jobs_and_refused_rows_are_listed_shown_replayed_and_purged() -> Result<()> {
    let stack = Stack::new().await?;
    let mails = tempfile::tempdir()?;
    let _worker = stack.worker("email").mail_dir(mails.path()).start().await?;
    let nobody = "01890000-0000-7000-8000-000000000000";
    let payload = json!({
        "to": "a@example.in", "subject": "s", "body": "b",
        "type": "order_shipped", "orderId": nobody,
    });
    for job_id in ["mail-of-no-order", "17"] {
        sqlx::query(
            "INSERT INTO outbox (queue, job_name, job_id, payload) VALUES ($1, 'send-email', $2, $3)",
        )
        .bind(QUEUE)
        .bind(job_id)
        .bind(&payload)
        .execute(&stack.pool)
        .await?;
    }
    let failed = async || {
        wait_until("it to fail", SOON, async || {
            Ok(stack.failures(QUEUE).await?.len() == 1)
        })
        .await
    };
    failed().await?;
    let dlq = async |arguments: &[&str]| {
        let arguments = [&["dlq"], arguments].concat();
        stack.worker("email").run(&arguments).await
    };

    let list = dlq(&["list"]).await?;
    for part in [
        "mail-of-no-order",
        "mail_deliveries_order_id_fkey",
        "the job id is a number",
        "2 of 2",
    ] {
        assert!(list.contains(part), "{part}: {list}");
    }
    let shown = dlq(&["show", "mail-of-no-order"]).await?;
    assert!(shown.contains("\"subject\": \"s\""), "{shown}");

    let replayed = dlq(&["replay", "mail-of-no-order"]).await?;
    assert!(replayed.contains("1 replayed"), "{replayed}");
    failed().await?;
    let purged = dlq(&["purge", "--all"]).await?;
    assert!(purged.contains("2 purged"), "{purged}");
    assert!(stack.failures(QUEUE).await?.is_empty());
    let rows = stack
        .count("SELECT count(*) FROM outbox WHERE failed_at IS NOT NULL")
        .await?;
    assert_eq!(rows, 0);
    let refused = dlq(&["purge", "mail-of-no-order"]).await;
    assert!(refused.is_err(), "{refused:?}");
    Ok(())
}
