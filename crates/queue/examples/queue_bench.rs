//! What `cargo xtask bench queue` measures: a producer, and workers that do nothing with their jobs.
//!
//! ```text
//! queue_bench fill URL PREFIX FIRST COUNT
//! queue_bench ours|bare URL PREFIX CONCURRENCY MARK...
//! ```
//!
//! `fill` prints the seconds that it took. A worker prints `ready`, starts when it reads a line, and
//! prints, when it has done as many jobs as a mark says, the mark and the seconds since its first
//! job; it ends with its input.

use std::{
    collections::BTreeMap,
    error::Error,
    io::{self, BufRead},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bharatmart_config::{QueueConfig, Source, WorkerConfig};
use bharatmart_domain::{Clock, OrderId, SystemClock};
use bharatmart_queue::{
    Added, Handlers, Job, JobQueues, OutboxJob, PaymentDeadline, PendingJob, QueueName,
    QueueWorker, WorkerOptions,
};
use bullmq::{Worker, options::RedisConnectionOptions, worker::CancellationToken};
use serde_json::Value;

const QUEUE: QueueName = PaymentDeadline::QUEUE;
/// As many as the relay adds in one go.
const BATCH: usize = 500;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["fill", url, prefix, first, count] => {
            fill(url, prefix, first.parse()?, count.parse()?).await
        }
        [
            kind @ ("ours" | "bare"),
            url,
            prefix,
            concurrency,
            marks @ ..,
        ] => {
            let marks = marks.iter().map(|mark| mark.parse());
            let done = Done::new(marks.collect::<std::result::Result<_, _>>()?);
            println!("ready");
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line)?;
            match *kind {
                "ours" => ours(url, prefix, concurrency, done),
                _ => bare(url, prefix, concurrency, done).await,
            }
        }
        _ => Err(io::Error::other("see the beginning of the source").into()),
    }
}

/// Settings as the shop reads them.
fn settings(url: &str, prefix: &str, concurrency: &str) -> Source {
    Source::from_map(BTreeMap::from([
        ("QUEUE_REDIS_URL", url),
        ("QUEUE_PREFIX", prefix),
        ("WORKER_CONCURRENCY", concurrency),
        ("WORKER_TYPE", "order"),
    ]))
}

/// Adds jobs as the relay does.
async fn fill(url: &str, prefix: &str, first: u128, count: usize) -> Result<()> {
    let config = QueueConfig::read(&settings(url, prefix, "1"))?;
    let queues = JobQueues::connect(&config, Arc::new(SystemClock));
    while !queues.is_available() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let now = SystemClock.now();
    let jobs = (first..)
        .zip(1..)
        .take(count)
        .map(|(number, id)| {
            let order_id = OrderId(uuid::Uuid::from_u128(number));
            let job = PaymentDeadline { order_id }.to_outbox()?;
            Ok(PendingJob {
                id,
                queue: job.queue.to_owned(),
                job_name: job.job_name.to_owned(),
                job_id: job.job_id,
                payload: job.payload,
                run_at: now,
                created_at: now,
                trace_parent: None,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    for batch in jobs.chunks(BATCH) {
        let added = queues.add_batch(batch).await?;
        if added.iter().any(|added| *added != Added::Taken) {
            return Err(io::Error::other("not every job was taken").into());
        }
    }
    println!("{}", start.elapsed().as_secs_f64());
    Ok(())
}

/// Counts the jobs that are done.
struct Done {
    marks: Vec<usize>,
    count: AtomicUsize,
    start: OnceLock<Instant>,
}

impl Done {
    fn new(marks: Vec<usize>) -> Arc<Self> {
        Arc::new(Self {
            marks,
            count: AtomicUsize::new(0),
            start: OnceLock::new(),
        })
    }

    fn one_more(&self) {
        let start = self.start.get_or_init(Instant::now);
        let count = self.count.fetch_add(1, Ordering::AcqRel) + 1;
        if self.marks.contains(&count) {
            println!("{count} {}", start.elapsed().as_secs_f64());
        }
    }
}

/// Blocks until the input has ended.
fn wait_for_end() -> Result<()> {
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

fn ours(url: &str, prefix: &str, concurrency: &str, done: Arc<Done>) -> Result<()> {
    let settings = settings(url, prefix, concurrency);
    let handlers = Handlers::new(QUEUE).on(move |_: PaymentDeadline, _| {
        let done = Arc::clone(&done);
        async move {
            done.one_more();
            Ok(Value::Null)
        }
    });
    let config = QueueConfig::read(&settings)?;
    let options = WorkerOptions::from(&WorkerConfig::read(&settings)?);
    let _worker = QueueWorker::spawn(&config, options, handlers);
    wait_for_end()
}

async fn bare(url: &str, prefix: &str, concurrency: &str, done: Arc<Done>) -> Result<()> {
    let options = bullmq::WorkerOptions::new()
        .connection(RedisConnectionOptions::new().url(url))
        .prefix(prefix)
        .concurrency(concurrency.parse()?);
    let process = move |_: bullmq::Job, _: CancellationToken| {
        let done = Arc::clone(&done);
        async move {
            done.one_more();
            Ok::<_, bullmq::Error>(Value::Null)
        }
    };
    let worker = Worker::with_options(QUEUE.as_str(), process, options).await?;
    // Unread, its events would be kept.
    tokio::spawn(async move { while worker.next_event().await.is_some() {} });
    wait_for_end()
}
