//! What becomes of a job.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bharatmart_queue::{Handlers, JobContext, PaymentDeadline, QueueWorker, WorkerOptions};
use bharatmart_test_support::{servers::RedisServer, wait_until};
use bullmq::BulkJob;
use serde_json::json;

use crate::support::{
    Act, Keys, QUEUE, Seen, Watch, config, dropped, foreign_queue, handlers, options, payload,
    quick, started,
};

struct Bench {
    redis: RedisServer,
    queue: bullmq::Queue,
    keys: Keys,
    watch: Watch,
    _worker: QueueWorker,
}

async fn bench(options: WorkerOptions) -> Result<Bench> {
    let redis = RedisServer::temporary().await?;
    let (handlers, watch) = handlers();
    let worker = QueueWorker::spawn(&config(&redis), options, handlers);
    Ok(Bench {
        queue: foreign_queue(&redis).await?,
        keys: Keys::of(&redis).await?,
        redis,
        watch,
        _worker: worker,
    })
}

impl Bench {
    async fn add(&self, act: Act, id: &str, attempts: u32) -> Result<()> {
        self.queue
            .add("payment-deadline", payload(act))
            .options(quick(attempts, id))
            .await?;
        Ok(())
    }
}

#[tokio::test]
async fn a_job_completes_with_its_return_value() -> Result<()> {
    let bench = bench(options()).await?;
    bench.add(Act::Succeed, "a", 1).await?;
    bench.keys.until("a", "completed").await?;
    assert_eq!(
        bench.keys.field("a", "returnvalue").await.as_deref(),
        Some("\"done\"")
    );
    Ok(())
}

#[tokio::test]
async fn each_failed_attempt_leaves_its_stack_trace() -> Result<()> {
    let bench = bench(options()).await?;
    bench.add(Act::Retry, "a", 2).await?;
    bench.keys.until("a", "failed").await?;
    let traces = bench.keys.field("a", "stacktrace").await;
    let traces: Vec<String> = serde_json::from_str(&traces.unwrap_or_default())?;
    assert_eq!(traces.len(), 2);
    for (number, trace) in (1..).zip(&traces) {
        let expected = format!(
            "Error: no gateway: timed out\n    at attempt {number} of 2 at payment-deadline a (order-processing)"
        );
        assert_eq!(*trace, expected);
    }
    Ok(())
}

#[tokio::test]
async fn a_postponed_job_comes_again_and_keeps_its_attempts() -> Result<()> {
    let mut bench = bench(options()).await?;
    bench.add(Act::PostponeOnce, "a", 1).await?;
    bench.keys.until("a", "completed").await?;
    let starts = [started("a", 1, 1), dropped("a")];
    assert_eq!(bench.watch.all(), [starts.clone(), starts].concat());
    assert_eq!(bench.keys.attempts_made("a").await, 1);
    Ok(())
}

#[tokio::test]
async fn a_panic_is_a_failed_attempt() -> Result<()> {
    let mut bench = bench(options()).await?;
    bench.add(Act::Panic, "a", 2).await?;
    bench.keys.until("a", "failed").await?;
    assert_eq!(bench.keys.failed_reason("a").await, "panic: kaboom");
    assert_eq!(bench.keys.attempts_made("a").await, 2);
    assert_eq!(bench.watch.next().await, started("a", 1, 2));
    Ok(())
}

#[tokio::test]
async fn a_retry_is_tried_again_and_fails_in_the_end_with_its_reason() -> Result<()> {
    let mut bench = bench(options()).await?;
    bench.add(Act::Retry, "a", 3).await?;
    bench.keys.until("a", "failed").await?;
    assert_eq!(bench.keys.failed_reason("a").await, "no gateway: timed out");
    let starts: Vec<_> = bench
        .watch
        .all()
        .into_iter()
        .filter(|seen| matches!(seen, Seen::Started { .. }))
        .collect();
    assert_eq!(
        starts,
        [started("a", 1, 3), started("a", 2, 3), started("a", 3, 3)]
    );
    Ok(())
}

#[tokio::test]
async fn a_failure_for_good_has_no_second_attempt() -> Result<()> {
    let mut bench = bench(options()).await?;
    bench.add(Act::Fail, "a", 5).await?;
    bench.keys.until("a", "failed").await?;
    assert_eq!(bench.keys.failed_reason("a").await, "declined");
    assert_eq!(bench.watch.all(), [started("a", 1, 5), dropped("a")]);
    Ok(())
}

#[tokio::test]
async fn a_bad_payload_fails_at_once_and_the_field_is_named() -> Result<()> {
    let mut bench = bench(options()).await?;
    bench
        .queue
        .add("payment-deadline", json!({"orderId": "not-a-uuid"}))
        .options(quick(5, "a"))
        .await?;
    bench.keys.until("a", "failed").await?;
    let reason = bench.keys.failed_reason("a").await;
    assert!(
        reason.starts_with("bad payload of payment-deadline: orderId: "),
        "{reason}"
    );
    assert_eq!(bench.keys.attempts_made("a").await, 1);
    assert_eq!(bench.watch.all(), []);
    Ok(())
}

#[tokio::test]
async fn an_unknown_job_fails_and_the_known_ones_are_named() -> Result<()> {
    let bench = bench(options()).await?;
    bench
        .queue
        .add("make-coffee", json!({}))
        .options(quick(5, "a"))
        .await?;
    bench.keys.until("a", "failed").await?;
    assert_eq!(
        bench.keys.failed_reason("a").await,
        "no job of order-processing is named \"make-coffee\"; there are payment-deadline, process-order"
    );
    assert_eq!(bench.keys.attempts_made("a").await, 1);
    Ok(())
}

#[tokio::test]
async fn a_job_without_a_name_is_the_main_job_of_its_queue() -> Result<()> {
    let bench = bench(options()).await?;
    let payload = json!({
        "orderId": "018f3a5e-0000-7000-8000-000000000001",
        "userId": "018f3a5e-0000-7000-8000-000000000002",
        "totalAmount": 10.5,
        "items": [],
        "legacy": true,
    });
    bench
        .queue
        .add("__default__", payload)
        .options(quick(1, "a"))
        .await?;
    bench.keys.until("a", "completed").await?;
    assert_eq!(
        bench.keys.field("a", "returnvalue").await.as_deref(),
        Some("\"processed\"")
    );
    Ok(())
}

#[tokio::test]
async fn a_job_that_takes_too_long_is_dropped_and_fails() -> Result<()> {
    let job_timeout = Duration::from_millis(300);
    let mut bench = bench(WorkerOptions {
        job_timeout,
        ..options()
    })
    .await?;
    bench.add(Act::Hang, "a", 2).await?;
    bench.keys.until("a", "failed").await?;
    assert_eq!(
        bench.keys.failed_reason("a").await,
        "no result within 300ms"
    );
    assert_eq!(
        bench.watch.all(),
        [
            started("a", 1, 2),
            dropped("a"),
            started("a", 2, 2),
            dropped("a")
        ]
    );
    Ok(())
}

#[tokio::test]
async fn a_job_may_outlive_its_lock() -> Result<()> {
    let mut bench = bench(options()).await?;
    let (rivals_handlers, mut rivals_watch) = handlers();
    let _rival = QueueWorker::spawn(&config(&bench.redis), options(), rivals_handlers);
    bench.add(Act::SleepTwoSeconds, "a", 1).await?;
    bench.keys.until("a", "completed").await?;
    let mut seen = bench.watch.all();
    seen.extend(rivals_watch.all());
    assert_eq!(seen, [started("a", 1, 1), dropped("a")]);
    assert_eq!(bench.keys.field("a", "stc").await, None, "it never stalled");
    Ok(())
}

#[tokio::test]
async fn a_lost_lock_ends_the_job_and_the_stalled_check_brings_it_back() -> Result<()> {
    let mut bench = bench(options()).await?;
    bench.add(Act::SleepTwoSeconds, "a", 1).await?;
    assert_eq!(bench.watch.next().await, started("a", 1, 1));
    bench.keys.set_lock("a", "of-another-worker").await;
    let stolen = Instant::now();
    assert_eq!(bench.watch.next().await, dropped("a"));
    assert!(
        stolen.elapsed() < Duration::from_millis(1800),
        "{:?}",
        stolen.elapsed()
    );
    // It belongs to somebody else now. Whatever is done to it all the same is done before the next job is.
    bench.add(Act::Succeed, "b", 1).await?;
    bench.keys.until("b", "completed").await?;
    assert_eq!(bench.keys.state("a").await, "active");
    assert_eq!(bench.keys.field("a", "failedReason").await, None);

    bench.keys.remove_lock("a").await;
    bench.keys.until("a", "completed").await?;
    let seen = bench.watch.all();
    assert!(
        seen.ends_with(&[started("a", 1, 1), dropped("a")]),
        "{seen:?}"
    );
    Ok(())
}

#[test]
fn the_job_of_a_killed_worker_is_taken_over() -> Result<()> {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
    };
    let (survivor, victim) = (runtime()?, runtime()?);
    survivor.block_on(async {
        let redis = RedisServer::temporary().await?;
        let (victims_handlers, mut victims_watch) = handlers();
        let victims_worker = {
            let _entered = victim.enter();
            QueueWorker::spawn(&config(&redis), options(), victims_handlers)
        };
        let queue = foreign_queue(&redis).await?;
        queue
            .add("payment-deadline", payload(Act::SleepTwoSeconds))
            .options(quick(1, "a"))
            .await?;
        assert_eq!(victims_watch.next().await, started("a", 1, 1));
        // Everything in it stops where it is, without a word to Redis.
        victim.shutdown_background();
        std::mem::forget(victims_worker);

        let (handlers, mut watch) = handlers();
        let _worker = QueueWorker::spawn(&config(&redis), options(), handlers);
        assert_eq!(watch.next().await, started("a", 1, 1));
        let keys = Keys::of(&redis).await?;
        keys.until("a", "completed").await?;
        assert_eq!(keys.field("a", "stc").await.as_deref(), Some("1"));
        Ok(())
    })
}

#[tokio::test]
async fn no_more_jobs_run_at_once_than_allowed() -> Result<()> {
    let mut bench = bench(WorkerOptions {
        concurrency: 3,
        ..options()
    })
    .await?;
    for n in 0..7 {
        bench.add(Act::SleepTwoSeconds, &format!("a{n}"), 1).await?;
    }
    for n in 0..7 {
        bench.keys.until(&format!("a{n}"), "completed").await?;
    }
    assert_eq!(bench.watch.most_at_once(), 3);
    assert_eq!(bench.watch.all().len(), 14);
    Ok(())
}

#[tokio::test]
async fn options_that_cannot_be_read_do_not_cost_the_attempts() -> Result<()> {
    let mut bench = bench(options()).await?;
    // Legal in Node, not for the crate: a float and a negative count.
    let unreadable =
        r#"{"attempts":3,"removeOnFail":{"count":-1},"backoff":{"type":"fixed","delay":100.5}}"#;
    let delay = Duration::from_millis(500);
    bench
        .queue
        .add("payment-deadline", payload(Act::Retry))
        .options(quick(3, "a"))
        .delay(delay)
        .await?;
    let _: u32 = bench
        .keys
        .ask("HSET", &["bull:order-processing:a", "opts", unreadable])
        .await;
    assert_eq!(bench.watch.next().await, started("a", 1, 3));
    assert_eq!(bench.watch.next().await, dropped("a"));
    bench.keys.until("a", "delayed").await?;
    assert_eq!(bench.watch.next().await, started("a", 2, 3));
    bench.keys.until("a", "delayed").await?;
    assert_eq!(bench.watch.next().await, dropped("a"));
    assert_eq!(bench.watch.next().await, started("a", 3, 3));
    bench.keys.until("a", "failed").await?;
    assert_eq!(bench.keys.failed_reason("a").await, "no gateway: timed out");
    Ok(())
}

/// The memory of this process that is not swapped out, in bytes.
fn resident_memory() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib.context("no VmRSS")?.trim().parse::<u64>()? * 1024)
}

#[tokio::test]
async fn what_a_worker_has_done_leaves_nothing_in_its_memory() -> Result<()> {
    const BATCH: usize = 1000;
    const BATCHES: usize = 20;
    /// A third of what the events of so many jobs take that nobody reads.
    const ALLOWANCE: u64 = 10 << 20;
    let redis = RedisServer::temporary().await?;
    let handlers = Handlers::new(QUEUE)
        .on(async |_: PaymentDeadline, _: JobContext| Ok(json!("x".repeat(500))));
    let _worker = QueueWorker::spawn(&config(&redis), options(), handlers);
    let (queue, keys) = (foreign_queue(&redis).await?, Keys::of(&redis).await?);
    let work_off = async |batches: usize| -> Result<()> {
        for _ in 0..batches {
            let jobs = (0..BATCH)
                .map(|_| BulkJob::new("payment-deadline", payload(Act::Succeed)))
                .collect();
            queue.add_bulk(jobs).await?;
            wait_until("the batch to be done", Duration::from_mins(1), async || {
                (keys.length("wait").await + keys.length("active").await == 0).then_some(())
            })
            .await?;
        }
        Ok(())
    };
    work_off(3).await?;
    let before = resident_memory()?;
    work_off(BATCHES).await?;
    let growth = resident_memory()?.saturating_sub(before);
    assert!(growth < ALLOWANCE, "{growth} bytes more");
    Ok(())
}
