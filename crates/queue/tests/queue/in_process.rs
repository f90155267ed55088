//! Jobs that are done straight from the outbox, without Redis.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Result;
use bharatmart_config::{DatabaseConfig, InProcessConfig, Process, Source};
use bharatmart_database::{Database, outbox, worklist};
use bharatmart_domain::SystemClock;
use bharatmart_queue::{
    Counts, Handlers, JobContext, NewJob, OutboxWorker, ReconcileOrders, RelayHandle, Shutdown,
};
use bharatmart_test_support::{TestDatabase, wait_until};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{Act, QUEUE, SOON, Seen, Watch, dropped, handlers, payload, started};

/// A shop's database with nothing in it but an outbox.
struct Bench {
    test: TestDatabase,
    pool: PgPool,
}

/// A row of the outbox.
#[derive(Debug, PartialEq, sqlx::FromRow)]
struct Row {
    is_done: bool,
    is_leased: bool,
    attempts: i32,
    stalls: i32,
    failed_reason: Option<String>,
    /// Seconds until it is due.
    due_in: f64,
}

/// A worker at work.
struct Running {
    handle: RelayHandle,
    watch: Watch,
    stop: CancellationToken,
    give_back: CancellationToken,
    task: JoinHandle<Shutdown>,
}

const CONFIG: InProcessConfig = InProcessConfig {
    concurrency: 10,
    job_timeout: Duration::from_secs(10),
    lock_duration: Duration::from_millis(900),
};

impl Bench {
    async fn new() -> Self {
        let test = TestDatabase::create().await;
        let pool = test.pool().await;
        Self { test, pool }
    }

    fn database(&self) -> Result<Database> {
        let source = Source::from_map(BTreeMap::from([("DATABASE_URL", self.test.url())]));
        let config = DatabaseConfig::read(&source, Process::Api)?;
        Ok(Database::connect(&config, "in-process-test")?)
    }

    async fn insert(&self, jobs: &[NewJob]) -> Result<()> {
        let database = self.database()?;
        outbox::insert(&mut database.write().await?, jobs).await?;
        Ok(())
    }

    async fn add(&self, id: &str, act: Act) -> Result<()> {
        self.insert(&[job(id, act)]).await
    }

    fn start(&self, config: InProcessConfig) -> Result<Running> {
        let (handlers, watch) = handlers();
        let clock = Arc::new(SystemClock);
        let (worker, handle) = OutboxWorker::new(self.database()?, config, clock);
        let (stop, give_back) = (CancellationToken::new(), CancellationToken::new());
        let work = worker.run(vec![handlers], stop.clone(), give_back.clone());
        Ok(Running {
            handle,
            watch,
            stop,
            give_back,
            task: tokio::spawn(work),
        })
    }

    async fn row(&self, id: &str) -> Result<Row> {
        let row = sqlx::query_as(
            "SELECT
                dispatched_at IS NOT NULL AS is_done,
                lease IS NOT NULL AS is_leased,
                attempts,
                stalls,
                failed_reason,
                extract(epoch FROM run_at - now())::float8 AS due_in
             FROM outbox WHERE job_id = $1",
        );
        Ok(row.bind(id).fetch_one(&self.pool).await?)
    }

    async fn until(&self, id: &str, is_so: impl Fn(&Row) -> bool) -> Result<Row> {
        wait_until(&format!("{id} to be so"), SOON * 4, async || {
            self.row(id).await.ok().filter(&is_so)
        })
        .await
    }

    /// Lets a job that was put off be due.
    async fn hurry(&self, id: &str, worker: &Running) -> Result<()> {
        self.execute("UPDATE outbox SET run_at = now() WHERE job_id = $1", id)
            .await?;
        worker.handle.notify();
        Ok(())
    }

    async fn execute(&self, sql: &'static str, id: &str) -> Result<()> {
        let done = sqlx::query(sql).bind(id).execute(&self.pool).await?;
        assert_eq!(done.rows_affected(), 1);
        Ok(())
    }
}

fn job(id: &str, act: Act) -> NewJob {
    NewJob {
        queue: QUEUE.as_str(),
        job_name: "payment-deadline",
        job_id: id.to_owned(),
        payload: payload(act),
        run_at: None,
        trace_parent: None,
    }
}

#[tokio::test]
async fn a_job_is_done_right_after_its_commit_and_once() -> Result<()> {
    let bench = Bench::new().await;
    let mut worker = bench.start(CONFIG)?;
    bench.add("a", Act::Succeed).await?;
    worker.handle.notify();
    let row = bench.until("a", |row| row.is_done).await?;
    assert_eq!(
        (row.attempts, row.failed_reason, row.is_leased),
        (0, None, false)
    );
    assert_eq!(worker.watch.all(), [started("a", 1, 3), dropped("a")]);
    let counts = Counts::of_outbox(&bench.database()?, QUEUE).await?;
    assert_eq!((counts.completed, counts.waiting, counts.active), (1, 0, 0));
    Ok(())
}

#[tokio::test]
async fn a_retry_waits_as_the_queue_says_and_fails_in_the_end_with_its_reason() -> Result<()> {
    let bench = Bench::new().await;
    bench.add("a", Act::Retry).await?;
    let mut worker = bench.start(CONFIG)?;
    for (attempts, wait) in [(1, 2.0), (2, 4.0)] {
        let row = bench
            .until("a", |row| row.attempts == attempts && !row.is_leased)
            .await?;
        assert!(
            !row.is_done && row.due_in > wait / 2.0 && row.due_in <= wait,
            "{row:?}"
        );
        let counts = Counts::of_outbox(&bench.database()?, QUEUE).await?;
        assert_eq!((counts.delayed, counts.failed), (1, 0));
        bench.hurry("a", &worker).await?;
    }
    let row = bench.until("a", |row| row.is_done).await?;
    assert_eq!(row.attempts, 3);
    assert_eq!(row.failed_reason.as_deref(), Some("no gateway: timed out"));
    let starts = [1, 2, 3].map(|attempt| started("a", attempt, 3));
    let seen = worker.watch.all();
    assert!(starts.iter().all(|start| seen.contains(start)), "{seen:?}");
    assert_eq!(seen.len(), 6, "{seen:?}");
    let counts = Counts::of_outbox(&bench.database()?, QUEUE).await?;
    assert_eq!((counts.failed, counts.completed, counts.delayed), (1, 0, 0));
    Ok(())
}

#[tokio::test]
async fn a_postponed_job_comes_again_and_keeps_its_attempts() -> Result<()> {
    let bench = Bench::new().await;
    bench.add("a", Act::PostponeOnce).await?;
    let mut worker = bench.start(CONFIG)?;
    let row = bench.until("a", |row| row.is_done).await?;
    assert_eq!((row.attempts, row.failed_reason), (0, None));
    let starts = [started("a", 1, 3), dropped("a")];
    assert_eq!(worker.watch.all(), [starts.clone(), starts].concat());
    Ok(())
}

#[tokio::test]
async fn a_panic_is_a_failed_attempt() -> Result<()> {
    let bench = Bench::new().await;
    bench.add("a", Act::Panic).await?;
    let worker = bench.start(CONFIG)?;
    for attempts in [1, 2] {
        bench.until("a", |row| row.attempts == attempts).await?;
        bench.hurry("a", &worker).await?;
    }
    let row = bench.until("a", |row| row.is_done).await?;
    assert_eq!(row.failed_reason.as_deref(), Some("panic: kaboom"));
    Ok(())
}

#[tokio::test]
async fn a_job_over_its_time_is_cancelled_and_tried_again_later() -> Result<()> {
    let bench = Bench::new().await;
    bench.add("a", Act::Hang).await?;
    let job_timeout = Duration::from_millis(200);
    let mut worker = bench.start(InProcessConfig {
        job_timeout,
        ..CONFIG
    })?;
    let row = bench.until("a", |row| row.attempts == 1).await?;
    assert!(
        !row.is_done && !row.is_leased && row.due_in > 0.0,
        "{row:?}"
    );
    assert_eq!(worker.watch.all(), [started("a", 1, 3), dropped("a")]);
    Ok(())
}

#[tokio::test]
async fn what_trying_again_does_not_help_fails_at_once_and_says_why() -> Result<()> {
    let bench = Bench::new().await;
    let odd = |id: &str, queue, job_name, payload: Value| NewJob {
        queue,
        job_name,
        payload,
        ..job(id, Act::Succeed)
    };
    bench
        .insert(&[
            job("hopeless", Act::Fail),
            odd(
                "old",
                "order-processing",
                "payment-deadline",
                json!({"order": 7}),
            ),
            odd("unknown", "order-processing", "paint-the-shop", json!({})),
            odd("stray", "coffee", "brew", json!({})),
        ])
        .await?;
    let _worker = bench.start(CONFIG)?;
    for (id, reason) in [
        ("hopeless", "declined"),
        ("old", "bad payload of payment-deadline: "),
        (
            "unknown",
            "no job of order-processing is named \"paint-the-shop\"",
        ),
        ("stray", "there is no such queue"),
    ] {
        let row = bench.until(id, |row| row.is_done).await?;
        let told = row.failed_reason.unwrap_or_default();
        assert!(told.starts_with(reason), "{id}: {told}");
    }
    Ok(())
}

#[tokio::test]
async fn no_more_jobs_run_at_a_time_than_there_are_places() -> Result<()> {
    let bench = Bench::new().await;
    let ids: Vec<_> = (0..7).map(|n| format!("job-{n}")).collect();
    let jobs: Vec<_> = ids.iter().map(|id| job(id, Act::Hang)).collect();
    bench.insert(&jobs).await?;
    let config = InProcessConfig {
        concurrency: 3,
        job_timeout: Duration::from_millis(200),
        ..CONFIG
    };
    let worker = bench.start(config)?;
    for id in &ids {
        bench.until(id, |row| row.attempts == 1).await?;
    }
    assert_eq!(worker.watch.most_at_once(), 3);
    Ok(())
}

#[tokio::test]
async fn two_processes_share_the_work_and_do_each_job_once() -> Result<()> {
    let bench = Bench::new().await;
    let mut workers = [bench.start(CONFIG)?, bench.start(CONFIG)?];
    let jobs: Vec<_> = (0..300)
        .map(|n| job(&format!("job-{n}"), Act::Succeed))
        .collect();
    bench.insert(&jobs).await?;
    for worker in &workers {
        worker.handle.notify();
    }
    wait_until("every job to be done", SOON * 4, async || {
        let sql = "SELECT count(*) FROM outbox WHERE dispatched_at IS NULL";
        let open: i64 = sqlx::query_scalar(sql).fetch_one(&bench.pool).await?;
        Ok(open == 0)
    })
    .await?;
    let starts = workers.each_mut().map(|worker| {
        let seen = worker.watch.all().into_iter();
        seen.filter(|seen| matches!(seen, Seen::Started { .. }))
            .count()
    });
    assert_eq!(starts[0] + starts[1], 300, "{starts:?}");
    assert!(starts[0] > 0 && starts[1] > 0, "{starts:?}");
    Ok(())
}

#[tokio::test]
async fn a_job_that_takes_longer_than_its_lease_stays_with_whoever_does_it() -> Result<()> {
    let bench = Bench::new().await;
    bench.add("a", Act::SleepTwoSeconds).await?;
    let mut workers = [bench.start(CONFIG)?, bench.start(CONFIG)?];
    let row = bench.until("a", |row| row.is_done).await?;
    assert_eq!((row.attempts, row.stalls), (0, 0));
    let starts: usize = workers.iter_mut().map(|w| w.watch.all().len()).sum();
    assert_eq!(starts, 2, "one start and one end");
    Ok(())
}

#[tokio::test]
async fn the_job_of_a_process_that_died_is_taken_over_with_its_attempts_as_they_were() -> Result<()>
{
    let bench = Bench::new().await;
    bench.add("a", Act::Succeed).await?;
    let database = bench.database()?;
    let (room, lease) = ([(QUEUE.as_str(), 1)], Uuid::new_v4());
    let taken = worklist::lease(&mut database.write().await?, lease, &room, SOON / 4).await?;
    assert_eq!(taken.len(), 1);
    let mut worker = bench.start(CONFIG)?;
    let row = bench.until("a", |row| row.is_done).await?;
    assert_eq!((row.attempts, row.stalls), (0, 1));
    assert_eq!(worker.watch.next().await, started("a", 1, 3));
    Ok(())
}

#[tokio::test]
async fn a_job_that_kills_whoever_does_it_is_given_up() -> Result<()> {
    let bench = Bench::new().await;
    bench.add("a", Act::Succeed).await?;
    let sql = "UPDATE outbox SET lease = gen_random_uuid(), leased_until = now(), stalls = 25
               WHERE job_id = $1";
    bench.execute(sql, "a").await?;
    let mut worker = bench.start(CONFIG)?;
    let row = bench.until("a", |row| row.is_done).await?;
    let reason = row.failed_reason.unwrap_or_default();
    assert!(reason.contains("died"), "{reason}");
    assert_eq!((row.attempts, row.stalls), (0, 26));
    assert_eq!(worker.watch.all(), []);
    Ok(())
}

#[tokio::test]
async fn a_job_whose_lease_another_has_is_given_up_and_left_alone() -> Result<()> {
    let bench = Bench::new().await;
    bench.add("a", Act::Hang).await?;
    let mut worker = bench.start(CONFIG)?;
    assert_eq!(worker.watch.next().await, started("a", 1, 3));
    let sql =
        "UPDATE outbox SET lease = gen_random_uuid(), leased_until = now() + interval '1 hour'
               WHERE job_id = $1";
    bench.execute(sql, "a").await?;
    assert_eq!(worker.watch.next().await, dropped("a"));
    worker.stop.cancel();
    assert_eq!(worker.task.await?.finished, 0);
    let row = bench.row("a").await?;
    assert!(
        row.is_leased && !row.is_done && row.attempts == 0,
        "{row:?}"
    );
    Ok(())
}

#[tokio::test]
async fn at_the_end_nothing_is_begun_what_can_finish_does_and_the_rest_goes_back() -> Result<()> {
    let bench = Bench::new().await;
    bench.add("short", Act::SleepTwoSeconds).await?;
    bench.add("endless", Act::Hang).await?;
    let mut worker = bench.start(CONFIG)?;
    for _ in 0..2 {
        assert!(matches!(worker.watch.next().await, Seen::Started { .. }));
    }
    worker.stop.cancel();
    bench.add("late", Act::Succeed).await?;
    worker.handle.notify();
    bench.until("short", |row| row.is_done).await?;
    worker.give_back.cancel();
    let shutdown = worker.task.await?;
    let expected = Shutdown {
        finished: 1,
        released: 1,
        abandoned: 0,
    };
    assert_eq!(shutdown, expected);
    for id in ["endless", "late"] {
        let row = bench.row(id).await?;
        assert!(!row.is_done && !row.is_leased, "{id}: {row:?}");
        assert_eq!((row.attempts, row.stalls), (0, 0), "{id}");
    }
    let mut next = bench.start(CONFIG)?;
    let begun = [next.watch.next().await, next.watch.next().await];
    assert!(begun.contains(&started("endless", 1, 3)), "{begun:?}");
    Ok(())
}

#[tokio::test]
async fn a_relay_leaves_what_is_leased_alone_until_the_lease_ends() -> Result<()> {
    let bench = Bench::new().await;
    bench.add("a", Act::Succeed).await?;
    let database = bench.database()?;
    let (room, lease) = ([(QUEUE.as_str(), 1)], Uuid::new_v4());
    let mut connection = database.write().await?;
    let taken = worklist::lease(&mut connection, lease, &room, SOON).await?;
    let mut relay = database.begin().await?;
    assert!(outbox::claim(&mut relay, 10).await?.is_empty());
    relay.rollback().await?;
    assert!(worklist::release(&mut connection, taken[0].id, lease).await?);
    let mut relay = database.begin().await?;
    assert_eq!(outbox::claim(&mut relay, 10).await?.len(), 1);
    // And what a relay holds is not leased.
    let taken = worklist::lease(&mut connection, lease, &room, SOON).await?;
    assert!(taken.is_empty());
    Ok(())
}

#[tokio::test]
async fn what_comes_by_the_clock_comes_without_redis_as_well() -> Result<()> {
    let bench = Bench::new().await;
    let (sender, mut firings) = mpsc::unbounded_channel();
    let handlers = Handlers::new(QUEUE).on(move |_: ReconcileOrders, context: JobContext| {
        sender.send(context.attempts).ok();
        async { Ok(json!("done")) }
    });
    let (worker, _handle) = OutboxWorker::new(bench.database()?, CONFIG, Arc::new(SystemClock));
    let (stop, give_back) = (CancellationToken::new(), CancellationToken::new());
    let work = tokio::spawn(worker.run(vec![handlers], stop.clone(), give_back));
    assert_eq!(timeout(SOON, firings.recv()).await?, Some(1));
    stop.cancel();
    timeout(SOON, work).await??;
    Ok(())
}
