//! What is done at set times: one firing a tick, however many workers there are.
//!
//! A schedule is a job scheduler of BullMQ: a row in Redis, and its next job, delayed. The worker that has run that job
//! adds the one after it, under an id made of schedule and time, so that adding twice is adding once. A worker
//! that dies between the two ends the chain, and a Redis that was lost has no schedules at all. So every worker looks
//! now and then whether the chains of its queues go on, and mends those that do not.

use std::time::Duration;

use bullmq::{
    JobOptions, Queue, job_scheduler::RepeatOptions, types::JobState, types::RemoveOnFinish,
};
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    jobs::{CleanUp, Job, ReconcileOrders, ReconcilePayments, ReportLowStock},
    name::QueueName,
    policy::millis,
    producer::{JobQueues, QueueError, bounded},
};

/// How often the chains are looked at.
const LOOK: Duration = Duration::from_mins(1);
/// The same while Redis does not answer.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How long setting up the schedules of one queue may take.
const SET_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// A job that is added by the clock.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    /// The schedule's id, which is its job's name too.
    job: &'static str,
    queue: QueueName,
    every: Duration,
    /// How long after midnight (UTC), or after the start of whatever `every` is, it fires; `None` lets the first time
    /// decide, which is at once.
    after: Option<Duration>,
}

impl Schedule {
    const fn of<J: Job>(every: Duration) -> Self {
        Self {
            job: J::NAME,
            queue: J::QUEUE,
            every,
            after: None,
        }
    }

    const fn after(self, after: Duration) -> Self {
        Self {
            after: Some(after),
            ..self
        }
    }
}

/// Every schedule. The deadlines of payments are no part of it: each is a delayed job of its order.
const SCHEDULES: [Schedule; 4] = [
    Schedule::of::<CleanUp>(Duration::from_hours(1)),
    Schedule::of::<ReconcileOrders>(Duration::from_secs(30)),
    Schedule::of::<ReconcilePayments>(Duration::from_secs(30)),
    // Nine o'clock in India.
    Schedule::of::<ReportLowStock>(Duration::from_hours(24)).after(Duration::from_mins(210)),
];

impl JobQueues {
    /// Makes sure that every schedule of `queue` exists and goes on; takes at most 2 s.
    pub async fn set_up_schedules(&self, queue: QueueName) -> Result<(), QueueError> {
        let link = self.link()?;
        let handle = link.queue(queue);
        bounded(SET_UP_TIMEOUT, async {
            for schedule in SCHEDULES.iter().filter(|of| of.queue == queue) {
                if !goes_on(handle, schedule).await? {
                    set_up(handle, schedule).await?;
                    tracing::info!(%queue, schedule = schedule.job, "schedule set up");
                }
            }
            Ok(())
        })
        .await
    }
}

/// Keeps the schedules of `queues` going until `stop`.
pub async fn keep_schedules(
    jobs: JobQueues,
    queues: &'static [QueueName],
    stop: CancellationToken,
) {
    let keep = async {
        loop {
            let mut wait = LOOK;
            for &queue in queues {
                if let Err(error) = jobs.set_up_schedules(queue).await {
                    tracing::debug!(
                        %queue,
                        error = &error as &dyn std::error::Error,
                        "the queue's schedules cannot be looked at"
                    );
                    wait = LOOK_AGAIN;
                }
            }
            sleep(wait.mul_f64(rand::random_range(0.8..=1.2))).await;
        }
    };
    stop.run_until_cancelled(keep).await;
}

/// Whether the schedule is as it should be and its next job is on its way. It is left alone then: setting it up again
/// would take its job out of the queue and put it in at the end.
async fn goes_on(handle: &Queue, schedule: &Schedule) -> Result<bool, bullmq::Error> {
    let Some(known) = handle.get_job_scheduler(schedule.job).await? else {
        return Ok(false);
    };
    let Some(next) = known.next else {
        return Ok(false);
    };
    let job = format!("repeat:{}:{next}", schedule.job);
    let state = handle.get_job_state(&job).await?;
    Ok(known.every == Some(millis(schedule.every))
        && !matches!(
            state,
            JobState::Completed | JobState::Failed | JobState::Unknown
        ))
}

async fn set_up(handle: &Queue, schedule: &Schedule) -> Result<(), bullmq::Error> {
    let repeat = RepeatOptions {
        every: Some(millis(schedule.every)),
        offset: schedule.after.map(millis),
        ..RepeatOptions::default()
    };
    // What is kept of other jobs is not to make room for these. One that fails comes again by the clock.
    let options = JobOptions::new()
        .attempts(1)
        .remove_on_complete(RemoveOnFinish::Bool(true))
        .remove_on_fail(RemoveOnFinish::Bool(true));
    let (name, nothing) = (Some(schedule.job), Some(json!({})));
    handle
        .upsert_job_scheduler(schedule.job, repeat, name, nothing, Some(options))
        .await?;
    Ok(())
}
