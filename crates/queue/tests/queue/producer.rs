//! Adding and counting.

use std::time::Duration;

use anyhow::Result;
use bharatmart_domain::{Clock, MailKind, SystemClock};
use bharatmart_queue::{Added, Counts, QueueName, SendEmail};
use bharatmart_test_support::servers::RedisServer;
use serde_json::{Value, json};

use crate::support::{Keys, QUEUE, connected, deadline_row, order, row};

#[tokio::test]
async fn adding_twice_is_adding_once_and_all_of_it_waits_without_priority() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let (queues, keys) = (connected(&redis).await?, Keys::of(&redis).await?);
    let rows: Vec<_> = (1..=50).map(deadline_row).collect();
    for _ in 0..2 {
        assert_eq!(queues.add_batch(&rows).await?, vec![Added::Taken; 50]);
    }
    assert_eq!(keys.length("wait").await, 50);
    let counts = queues.counts(QUEUE).await?;
    assert_eq!(
        (counts.waiting, counts.prioritized, counts.delayed),
        (50, 0, 0)
    );
    Ok(())
}

#[tokio::test]
async fn a_job_in_redis_is_as_the_contract_says() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let (queues, keys) = (connected(&redis).await?, Keys::of(&redis).await?);
    let mail = SendEmail {
        to: "asha@example.com".into(),
        subject: "Your order".into(),
        body: "नमस्ते".into(),
        kind: MailKind::OrderConfirmation,
        order_id: order(7),
    };
    queues.add_batch(&[row(1, &mail)]).await?;
    let id = "email-00000000-0000-0000-0000-000000000007-order_confirmation";
    let key = format!("bull:email-notifications:{id}");
    let waiting: Vec<String> = keys
        .ask("LRANGE", &["bull:email-notifications:wait", "0", "-1"])
        .await;
    assert_eq!(waiting, [id]);
    let name: String = keys.ask("HGET", &[&key, "name"]).await;
    assert_eq!(name, "send-email");
    let data: String = keys.ask("HGET", &[&key, "data"]).await;
    assert_eq!(
        serde_json::from_str::<Value>(&data)?,
        json!({
            "to": "asha@example.com",
            "subject": "Your order",
            "body": "नमस्ते",
            "type": "order_confirmation",
            "orderId": "00000000-0000-0000-0000-000000000007",
        })
    );
    let opts: String = keys.ask("HGET", &[&key, "opts"]).await;
    let opts: Value = serde_json::from_str(&opts)?;
    assert_eq!(opts["attempts"], 5);
    assert_eq!(
        opts["backoff"],
        json!({"type": "exponential", "delay": 1000})
    );
    assert_eq!(opts["removeOnComplete"], 1000);
    assert_eq!(opts["removeOnFail"], json!({"age": 604_800, "count": 5000}));
    assert_eq!(opts.get("priority"), None);
    Ok(())
}

#[tokio::test]
async fn a_later_job_is_delayed_and_one_that_was_due_when_written_is_not() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let (queues, keys) = (connected(&redis).await?, Keys::of(&redis).await?);
    let mut later = deadline_row(1);
    later.run_at += chrono::TimeDelta::minutes(30);
    // The database's clock is ahead of ours.
    let mut due = deadline_row(2);
    due.run_at += chrono::TimeDelta::minutes(1);
    due.created_at = due.run_at;
    queues.add_batch(&[later.clone(), due.clone()]).await?;
    assert_eq!(keys.state(&later.job_id).await, "delayed");
    assert_eq!(keys.state(&due.job_id).await, "wait");
    let delay: u64 = keys.field(&later.job_id, "delay").await.unwrap().parse()?;
    assert!((1_799_000..=1_800_000).contains(&delay), "{delay}");
    Ok(())
}

#[tokio::test]
async fn a_row_that_can_never_be_added_does_not_hold_up_the_others() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let (queues, keys) = (connected(&redis).await?, Keys::of(&redis).await?);
    let mut rows: Vec<_> = (1..=5).map(deadline_row).collect();
    rows[1].job_id = "42".into();
    rows[2].job_id = "a:b".into();
    rows[3].queue = "coffee".into();
    let added = queues.add_batch(&rows).await?;
    assert!(matches!(
        added.as_slice(),
        [
            Added::Taken,
            Added::Refused(_),
            Added::Refused(_),
            Added::Refused(_),
            Added::Taken
        ]
    ));
    assert_eq!(keys.length("wait").await, 2);
    Ok(())
}

#[tokio::test]
async fn an_error_for_one_job_does_not_hold_up_the_others() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let (queues, keys) = (connected(&redis).await?, Keys::of(&redis).await?);
    let rows: Vec<_> = (1..=3).map(deadline_row).collect();
    // Something else sits where the job's hash belongs, and the script stumbles over it.
    let key = format!("bull:order-processing:{}", rows[1].job_id);
    let _: u32 = keys.ask("SADD", &["other", "x"]).await;
    let _: () = keys.ask("RENAME", &["other", &key]).await;
    let added = queues.add_batch(&rows).await?;
    assert!(
        matches!(
            added.as_slice(),
            [Added::Taken, Added::Failed(_), Added::Taken]
        ),
        "{added:?}"
    );
    assert_eq!(keys.length("wait").await, 2);
    assert!(queues.is_available());
    Ok(())
}

#[tokio::test]
async fn counts_say_how_long_the_first_waiting_job_has_been_due() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let (queues, keys) = (connected(&redis).await?, Keys::of(&redis).await?);
    assert_eq!(
        queues.counts(QueueName::PaymentProcessing).await?,
        Counts::default()
    );
    let rows = [deadline_row(1), deadline_row(2)];
    queues.add_batch(&rows).await?;
    let added = SystemClock.now() - chrono::TimeDelta::minutes(31);
    let key = format!("bull:order-processing:{}", rows[0].job_id);
    let _: u32 = keys
        .ask(
            "HSET",
            &[&key, "timestamp", &added.timestamp_millis().to_string()],
        )
        .await;
    let age = queues.counts(QUEUE).await?.oldest_waiting_seconds;
    assert!((1860.0..1870.0).contains(&age), "{age}");
    // A deadline that was set half an hour ago has been due for a minute only.
    let _: u32 = keys
        .ask("HSET", &[&key, "opts", r#"{"delay":1800000}"#])
        .await;
    let age = queues.counts(QUEUE).await?.oldest_waiting_seconds;
    assert!((60.0..70.0).contains(&age), "{age}");
    Ok(())
}

#[tokio::test]
async fn a_thousand_jobs_take_one_call() -> Result<()> {
    let redis = RedisServer::temporary().await?;
    let (queues, keys) = (connected(&redis).await?, Keys::of(&redis).await?);
    let rows: Vec<_> = (1..=1000).map(deadline_row).collect();
    let start = std::time::Instant::now();
    assert_eq!(queues.add_batch(&rows).await?.len(), 1000);
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(keys.length("wait").await, 1000);
    Ok(())
}
