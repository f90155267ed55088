//! Workers come and go all day, as the auto-scaler wants it.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{
    App, AppBuilder, SCALE_INS_VARIABLE, ShopClient, test_parameter, wait_until,
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use uuid::Uuid;

use crate::stack::{SOON, Stack, customer, order};

const QUEUE: &str = "order-processing";
/// How many workers are told to stop, unless the environment says otherwise.
const SCALE_INS: u64 = 20;
/// What the workers are given to finish is this less what handing back takes.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);
/// Far longer than the test may wait for a job.
const LOCK: Duration = Duration::from_mins(1);
/// How long a job may wait after it was handed back.
const LONGEST_WAIT: i64 = 1000;
/// How many orders are held when a worker has to stop.
const HELD: usize = 6;
/// Between one shopper's orders.
const PACE: Duration = Duration::from_millis(60);

/// Places orders until told to stop; how many.
async fn shop(client: ShopClient, product: Uuid, mut stop: watch::Receiver<bool>) -> Result<i64> {
    let mut placed = 0;
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !*stop.borrow_and_update() {
        pace.tick().await;
        order(&client, &[(product, 1)], "cash_on_delivery").await?;
        placed += 1;
    }
    Ok(placed)
}

/// Has the jobs of some orders wait in the middle, until the transaction ends.
async fn hold<'a>(stack: &Stack) -> Result<sqlx::Transaction<'a, sqlx::Postgres>> {
    let mut transaction = stack.pool.begin().await?;
    wait_until("orders to be confirmed", SOON, async || {
        let sql = "SELECT id FROM orders WHERE processed_at IS NULL
                   ORDER BY created_at DESC LIMIT $1 FOR UPDATE SKIP LOCKED";
        // Those that are held already are found again.
        let held = sqlx::query(sql)
            .bind(i64::try_from(HELD)?)
            .fetch_all(&mut *transaction)
            .await?;
        Ok(held.len() == HELD)
    })
    .await?;
    Ok(transaction)
}

/// What the queue has recorded of its jobs.
struct Events {
    /// Of the last one that was read.
    last: String,
    /// When a job that was handed back began to wait, by its id; in milliseconds.
    waiting: HashMap<String, i64>,
    /// How long those waited that were begun again.
    waits: Vec<i64>,
    /// How often a job was taken for a dead worker's.
    stalled: usize,
}

impl Events {
    fn new() -> Self {
        Self {
            last: "-".to_owned(),
            waiting: HashMap::new(),
            waits: Vec::new(),
            stalled: 0,
        }
    }

    /// Reads what is new. The queue keeps the last ten thousand or so.
    async fn read(&mut self, stack: &Stack) -> Result<()> {
        let mut redis = stack.redis().await?;
        let events: Vec<(String, HashMap<String, String>)> = redis::cmd("XRANGE")
            .arg(format!("{}:{QUEUE}:events", stack.prefix))
            .arg(&self.last)
            .arg("+")
            .query_async(&mut redis)
            .await?;
        for (id, event) in events {
            let (time, _) = id.split_once('-').context("an id without a time")?;
            let time: i64 = time.parse()?;
            self.last = format!("({id}");
            let field = |name: &str| event.get(name).map_or("", String::as_str);
            let job = field("jobId").to_owned();
            match (field("event"), field("prev")) {
                ("waiting", "active") => {
                    self.waiting.insert(job, time);
                }
                ("active", _) => {
                    let since = self.waiting.remove(&job);
                    self.waits.extend(since.map(|since| time - since));
                }
                ("stalled", _) => self.stalled += 1,
                _ => {}
            }
        }
        Ok(())
    }
}

fn worker(stack: &Stack) -> AppBuilder {
    let millis = |time: Duration| time.as_millis().to_string();
    stack
        .worker("order")
        // Each job that is held holds a connection, and a pooler of the tests has fewer.
        .database_url(stack.database.direct_url())
        .env("WORKER_CONCURRENCY", "10")
        .env("SHUTDOWN_TIMEOUT", millis(SHUTDOWN_TIMEOUT))
        .env("WORKER_LOCK_DURATION", millis(LOCK))
        .env("WORKER_STALLED_INTERVAL", millis(LOCK))
}

/// Stops the worker in the middle of jobs while another one starts, which takes its place.
async fn scale_in(stack: &Stack, worker_before: &mut App) -> Result<()> {
    let holding = hold(stack).await?;
    wait_until("the orders' jobs to be begun", SOON, async || {
        Ok(stack.llen(QUEUE, "active").await? >= HELD)
    })
    .await?;
    worker_before.sigterm()?;
    let started = worker(stack).start();
    let (status, next) = tokio::join!(worker_before.wait(SOON), started);
    let status = status?;
    ensure!(status.success(), "{status}\n{}", worker_before.log_tail(30));
    *worker_before = next?;
    holding.rollback().await?;
    Ok(())
}

#[tokio::test]
async fn no_job_of_a_worker_that_is_scaled_in_fails_or_waits_for_a_stall() -> Result<()> {
    let number = test_parameter(SCALE_INS_VARIABLE).unwrap_or(SCALE_INS);
    let number = usize::try_from(number)?;
    let stack = Stack::new().await?;
    let api = stack.api().start().await?;
    let product = stack.product("Ikat Cushion", 799, 1_000_000).await?;
    let mut workers = [worker(&stack).start().await?, worker(&stack).start().await?];
    let (stop, stopped) = watch::channel(false);
    let mut shoppers = Vec::new();
    for _ in 0..2 {
        let client = customer(&api).await?;
        shoppers.push(tokio::spawn(shop(client, product, stopped.clone())));
    }

    let mut events = Events::new();
    for round in 0..number {
        let round = round % workers.len();
        scale_in(&stack, &mut workers[round]).await?;
        events.read(&stack).await?;
    }
    stop.send(true)?;
    let mut placed = 0;
    for shopper in shoppers {
        placed += shopper.await??;
    }
    let done = "SELECT count(*) FROM orders WHERE status = 'processing'";
    wait_until("every order to be confirmed", SOON, async || {
        Ok(stack.count(done).await? == placed)
    })
    .await?;
    wait_until("no job to be left", SOON, async || {
        stack.is_idle(QUEUE).await
    })
    .await?;
    events.read(&stack).await?;

    let failures = stack.failures(QUEUE).await?;
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(events.stalled, 0);
    assert!(events.waiting.is_empty(), "{:?}", events.waiting);
    let longest = events.waits.iter().max().context("none handed back")?;
    println!(
        "{number} scale-ins, {placed} orders, {} jobs handed back; the longest wait was {longest} ms",
        events.waits.len()
    );
    assert!(*longest < LONGEST_WAIT, "{:?}", events.waits);
    // Each worker that stops holds half of the jobs, more or less.
    assert!(events.waits.len() >= number / 2, "{:?}", events.waits);
    Ok(())
}
