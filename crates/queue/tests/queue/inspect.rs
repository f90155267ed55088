//! Looking into a queue, and what an administrator does there.

use std::time::Duration;

use anyhow::Result;
use bharatmart_domain::{Clock, SystemClock};
use bharatmart_queue::{ChangeError, JobQueues, JobState, KeptBy, QueueName, QueueWorker};
use bharatmart_test_support::{servers::RedisServer, wait_until};
use serde_json::json;

use crate::support::{
    Act, Keys, QUEUE, SOON, Seen, Watch, config, connected, deadline_row, foreign_queue, handlers,
    options, payload, quick, started,
};

struct Bench {
    redis: RedisServer,
    queues: JobQueues,
    foreign: bullmq::Queue,
    keys: Keys,
}

async fn bench() -> Result<Bench> {
    let redis = RedisServer::temporary().await?;
    Ok(Bench {
        queues: connected(&redis).await?,
        foreign: foreign_queue(&redis).await?,
        keys: Keys::of(&redis).await?,
        redis,
    })
}

impl Bench {
    async fn add(&self, act: Act, id: &str, attempts: u32) -> Result<()> {
        self.foreign
            .add("payment-deadline", payload(act))
            .options(quick(attempts, id))
            .await?;
        Ok(())
    }

    fn worker(&self) -> (QueueWorker, Watch) {
        let (handlers, watch) = handlers();
        let worker = QueueWorker::spawn(&config(&self.redis), options(), handlers);
        (worker, watch)
    }
}

fn starts(watch: &mut Watch) -> Vec<Seen> {
    let mut seen = watch.all();
    seen.retain(|seen| matches!(seen, Seen::Started { .. }));
    seen
}

#[tokio::test]
async fn a_failed_job_is_listed_and_shown_with_all_that_is_known_of_it() -> Result<()> {
    let bench = bench().await?;
    let (_worker, _watch) = bench.worker();
    let before = SystemClock.now() - chrono::TimeDelta::seconds(1);
    bench.add(Act::Retry, "a", 2).await?;
    bench.add(Act::Succeed, "b", 2).await?;
    bench.keys.until("a", "failed").await?;
    bench.keys.until("b", "completed").await?;

    let page = bench.queues.list(QUEUE, JobState::Failed, 0, 10).await?;
    assert_eq!((page.total, page.jobs.len()), (1, 1));
    let job = &page.jobs[0];
    assert_eq!(
        (job.id.as_str(), job.name.as_str(), job.state, job.kept_by),
        ("a", "payment-deadline", "failed", KeptBy::Queue)
    );
    assert_eq!(job.payload, payload(Act::Retry));
    assert_eq!(job.options["attempts"], 2);
    assert_eq!(job.attempts_made, 2);
    assert_eq!(job.failed_reason.as_deref(), Some("no gateway: timed out"));
    for time in [job.created_at, job.started_at, job.finished_at] {
        assert!(time.is_some_and(|time| time > before), "{time:?}");
    }
    assert_eq!(bench.queues.find(QUEUE, "a").await?.as_ref(), Some(job));

    let done = bench.queues.find(QUEUE, "b").await?.unwrap();
    assert_eq!(
        (done.state, done.return_value),
        ("completed", json!("done"))
    );
    assert_eq!(bench.queues.find(QUEUE, "c").await?, None);
    assert_eq!(
        bench
            .queues
            .find(QueueName::EmailNotifications, "a")
            .await?,
        None,
        "another queue's"
    );
    Ok(())
}

#[tokio::test]
async fn pages_of_a_list_hold_each_job_once() -> Result<()> {
    let bench = bench().await?;
    let rows: Vec<_> = (1..=7).map(deadline_row).collect();
    bench.queues.add_batch(&rows).await?;
    let mut seen = Vec::new();
    for offset in [0, 3, 6, 7, u64::MAX] {
        let page = bench
            .queues
            .list(QUEUE, JobState::Waiting, offset, 3)
            .await?;
        assert_eq!(page.total, 7);
        seen.extend(page.jobs.into_iter().map(|job| job.id));
    }
    seen.sort();
    let mut all: Vec<_> = rows.into_iter().map(|row| row.job_id).collect();
    all.sort();
    assert_eq!(seen, all);
    for state in JobState::ALL {
        if state != JobState::Waiting {
            let page = bench.queues.list(QUEUE, state, 0, 10).await?;
            assert_eq!(page.total, 0, "{state}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_replayed_job_has_all_of_its_attempts_again() -> Result<()> {
    let bench = bench().await?;
    let (_worker, mut watch) = bench.worker();
    bench.add(Act::Retry, "a", 2).await?;
    bench.keys.until("a", "failed").await?;
    assert_eq!(starts(&mut watch), [started("a", 1, 2), started("a", 2, 2)]);
    bench.queues.retry(QUEUE, "a").await?;
    wait_until("it has failed again", SOON, async || {
        let job = bench.queues.find(QUEUE, "a").await.ok()??;
        (job.state == "failed" && job.attempts_made == 2).then_some(())
    })
    .await?;
    assert_eq!(starts(&mut watch), [started("a", 1, 2), started("a", 2, 2)]);
    Ok(())
}

#[tokio::test]
async fn only_what_has_failed_is_replayed_or_purged_and_nothing_is_removed_that_is_worked_on()
-> Result<()> {
    let bench = bench().await?;
    let queues = &bench.queues;
    bench.add(Act::Hang, "a", 1).await?;
    for refused in [
        queues.retry(QUEUE, "a").await,
        queues.purge(QUEUE, "a").await,
    ] {
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, ChangeError::State(JobState::Waiting)),
            "{refused:?}"
        );
    }
    let (worker, _watch) = bench.worker();
    bench.keys.until("a", "active").await?;
    for refused in [
        queues.retry(QUEUE, "a").await,
        queues.purge(QUEUE, "a").await,
        queues.remove(QUEUE, "a").await,
    ] {
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, ChangeError::State(JobState::Active)),
            "{refused:?}"
        );
    }
    worker.shutdown(Duration::ZERO).await;
    assert_eq!(bench.keys.state("a").await, "wait");
    queues.remove(QUEUE, "a").await?;
    assert_eq!(bench.keys.state("a").await, "nowhere");
    assert_eq!(bench.keys.field("a", "data").await, None);
    for missing in [
        queues.retry(QUEUE, "a").await,
        queues.purge(QUEUE, "a").await,
        queues.remove(QUEUE, "a").await,
    ] {
        assert!(matches!(missing, Err(ChangeError::NotFound)), "{missing:?}");
    }
    Ok(())
}

#[tokio::test]
async fn those_that_failed_long_ago_are_found_by_their_age() -> Result<()> {
    let bench = bench().await?;
    let now = SystemClock.now();
    let day = |days| now - chrono::TimeDelta::days(days);
    for (id, days) in [("new", 1), ("oldest", 9), ("old", 8)] {
        let score = day(days).timestamp_millis().to_string();
        let _: u32 = bench
            .keys
            .ask("ZADD", &["bull:order-processing:failed", &score, id])
            .await;
    }
    let queues = &bench.queues;
    assert_eq!(
        queues.failed_ids(QUEUE, Some(day(7)), 10).await?,
        ["oldest", "old"]
    );
    assert_eq!(queues.failed_ids(QUEUE, Some(day(7)), 1).await?, ["oldest"]);
    assert_eq!(
        queues.failed_ids(QUEUE, None, u32::MAX).await?,
        ["oldest", "old", "new"]
    );
    Ok(())
}

#[tokio::test]
async fn failed_jobs_are_kept_for_seven_days_and_no_more_than_5000_of_them() -> Result<()> {
    let bench = bench().await?;
    let now = SystemClock.now().timestamp_millis();
    let day = 24 * 3_600_000;
    // 5100 that failed within the last week, and 100 that did before it.
    let mut entries = vec!["bull:order-processing:failed".to_owned()];
    for n in 0..5200 {
        let age = if n < 100 { 8 * day } else { day + n };
        entries.extend([(now - age).to_string(), format!("old-{n}")]);
    }
    let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
    let added: u32 = bench.keys.ask("ZADD", &entries).await;
    assert_eq!(added, 5200);

    // Its payload is that of the test's handler that fails for good; its options are the policy's.
    let row = deadline_row(Act::Fail as u32);
    bench.queues.add_batch(std::slice::from_ref(&row)).await?;
    let (_worker, _watch) = bench.worker();
    bench.keys.until(&row.job_id, "failed").await?;
    let kept = bench.queues.failed_ids(QUEUE, None, u32::MAX).await?;
    assert_eq!(kept.len(), 5000);
    assert_eq!(kept.last(), Some(&row.job_id));
    // The highest numbers failed first.
    assert_eq!(kept[0], format!("old-{}", 100 + 4998));
    assert!(!kept.contains(&"old-0".to_owned()));
    Ok(())
}

#[tokio::test]
async fn the_backlog_is_what_waits_and_what_is_worked_on_and_what_is_delayed_and_due() -> Result<()>
{
    let bench = bench().await?;
    let rows: Vec<_> = (1..=3).map(deadline_row).collect();
    bench.queues.add_batch(&rows).await?;
    let mut later = deadline_row(4);
    later.run_at += chrono::TimeDelta::minutes(30);
    bench.queues.add_batch(&[later]).await?;
    let counts = bench.queues.counts(QUEUE).await?;
    assert_eq!((counts.waiting, counts.delayed, counts.backlog), (3, 1, 3));
    for (list, id) in [("active", "x"), ("paused", "y")] {
        let _: u32 = bench
            .keys
            .ask("LPUSH", &[&format!("bull:order-processing:{list}"), id])
            .await;
    }
    let due = (SystemClock.now().timestamp_millis() * 0x1000).to_string();
    for (set, score) in [("delayed", due.as_str()), ("prioritized", "1")] {
        let _: u32 = bench
            .keys
            .ask(
                "ZADD",
                &[&format!("bull:order-processing:{set}"), score, "z"],
            )
            .await;
    }
    let counts = bench.queues.counts(QUEUE).await?;
    assert_eq!((counts.delayed, counts.backlog), (2, 7));
    Ok(())
}
