//! How much a queue holds.

use bharatmart_database::{
    self as database, Database, Freshness,
    worklist::{self, WorkCounts},
};
use bharatmart_telemetry::metrics::{QUEUE_BACKLOG, QUEUE_DEPTH, QUEUE_OLDEST_WAITING_SECONDS};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    connection::Link,
    name::QueueName,
    producer::{JobQueues, QUESTION_TIMEOUT, QueueError, bounded},
};

/// How many jobs a queue holds, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = QueueCounts)]
pub struct Counts {
    /// Ready to be taken.
    pub waiting: u64,
    /// Being worked on.
    pub active: u64,
    /// Done, of those that are kept.
    pub completed: u64,
    /// Given up, of those that are kept.
    pub failed: u64,
    /// Waiting for their time.
    pub delayed: u64,
    /// Held back because the queue is paused.
    pub paused: u64,
    /// Ready, with a priority. Ours have none.
    pub prioritized: u64,
    /// What there is to do: all of `waiting`, `prioritized`, `paused` and `active`, and those of `delayed` whose
    /// time has come.
    pub backlog: u64,
    /// How long ago the first waiting job was due, in seconds; 0 when none waits.
    pub oldest_waiting_seconds: f64,
}

impl JobQueues {
    /// Counts the jobs of `queue`; takes at most 1 s.
    pub async fn counts(&self, queue: QueueName) -> Result<Counts, QueueError> {
        let now = self.now();
        bounded(
            QUESTION_TIMEOUT,
            counts(&self.link()?, queue, now.timestamp_millis()),
        )
        .await
    }

    /// Counts the jobs of `queue` into the gauges; takes at most 1 s.
    pub async fn publish_depth(&self, queue: QueueName) -> Result<(), QueueError> {
        let counts = self.counts(queue).await?;
        let states = [
            ("waiting", counts.waiting),
            ("active", counts.active),
            ("delayed", counts.delayed),
            ("failed", counts.failed),
            ("completed", counts.completed),
            ("paused", counts.paused),
            ("prioritized", counts.prioritized),
        ];
        counts.publish(queue, &states);
        Ok(())
    }
}

impl Counts {
    /// Counts the jobs of `queue` in the outbox, where that is the queue.
    pub async fn of_outbox(database: &Database, queue: QueueName) -> database::Result<Self> {
        let mut connection = database.read(Freshness::Latest).await?;
        let completed = worklist::completed(&mut connection, queue.as_str()).await?;
        let counts = worklist::counts(&mut connection, queue.as_str()).await?;
        Ok(Self {
            completed: completed.unsigned_abs(),
            ..Self::from(counts)
        })
    }

    /// Counts the jobs of `queue` in the outbox into the gauges, but for the many that are done.
    pub(crate) async fn publish_outbox(
        database: &Database,
        queue: QueueName,
    ) -> database::Result<()> {
        let mut connection = database.read(Freshness::Latest).await?;
        let counts = Self::from(worklist::counts(&mut connection, queue.as_str()).await?);
        let states = [
            ("waiting", counts.waiting),
            ("active", counts.active),
            ("delayed", counts.delayed),
            ("failed", counts.failed),
        ];
        counts.publish(queue, &states);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    fn publish(&self, queue: QueueName, states: &[(&'static str, u64)]) {
        let queue = queue.as_str();
        for &(state, count) in states {
            metrics::gauge!(QUEUE_DEPTH, "queue" => queue, "state" => state).set(count as f64);
        }
        metrics::gauge!(QUEUE_BACKLOG, "queue" => queue).set(self.backlog as f64);
        metrics::gauge!(QUEUE_OLDEST_WAITING_SECONDS, "queue" => queue)
            .set(self.oldest_waiting_seconds);
    }
}

impl From<WorkCounts> for Counts {
    fn from(counts: WorkCounts) -> Self {
        Self {
            waiting: counts.waiting.unsigned_abs(),
            active: counts.active.unsigned_abs(),
            failed: counts.failed.unsigned_abs(),
            delayed: counts.delayed.unsigned_abs(),
            backlog: (counts.waiting + counts.active).unsigned_abs(),
            oldest_waiting_seconds: counts.oldest_waiting_seconds,
            ..Self::default()
        }
    }
}

async fn counts(link: &Link, name: QueueName, now: i64) -> Result<Counts, bullmq::Error> {
    type Answer = (u64, u64, u64, u64, u64, u64, u64, u64, Vec<String>);
    let queue = link.queue(name);
    let keys = queue.keys();
    let mut lengths = redis::pipe();
    lengths
        .llen(keys.wait())
        .llen(keys.active())
        .zcard(keys.completed())
        .zcard(keys.failed())
        .zcard(keys.delayed())
        .llen(keys.paused())
        .zcard(keys.prioritized())
        // The score is the time in milliseconds, and a number of 12 bits within it.
        .zcount(
            keys.delayed(),
            "-inf",
            now.saturating_mul(0x1000).saturating_add(0xfff),
        )
        // Jobs are taken from this end.
        .lrange(keys.wait(), -1, -1);
    let (waiting, active, completed, failed, delayed, paused, prioritized, due, next): Answer =
        queue.connection().pipe(&lengths).await?;
    let mut oldest_waiting_seconds = 0.0;
    if let Some(id) = next.first() {
        let mut fields = redis::cmd("HMGET");
        fields.arg(keys.job_key(id)).arg("timestamp").arg("opts");
        let (added, options): (Option<i64>, Option<String>) =
            queue.connection().cmd(&mut fields).await?;
        if let Some(added) = added {
            let due = added.saturating_add(options.as_deref().map_or(0, delay_millis));
            #[expect(clippy::cast_precision_loss, reason = "an age in milliseconds fits")]
            let age = now.saturating_sub(due).max(0) as f64;
            oldest_waiting_seconds = age / 1000.0;
        }
    }
    Ok(Counts {
        waiting,
        active,
        completed,
        failed,
        delayed,
        paused,
        prioritized,
        backlog: waiting + prioritized + paused + active + due,
        oldest_waiting_seconds,
    })
}

/// The delay in a job's stored options; 0 when it has none.
fn delay_millis(options: &str) -> i64 {
    serde_json::from_str::<Value>(options)
        .ok()
        .and_then(|options| options.get("delay")?.as_i64())
        .unwrap_or(0)
}
