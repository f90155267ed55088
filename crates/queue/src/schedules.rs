//! Jobs that come by the clock.
//!
//! In the queues they are BullMQ's job schedulers: Redis holds one next job of each, and whoever does that one adds
//! the one after it. So a time is met once, by one worker of however many, and Node's tools show them. What
//! such a chain does not survive is that a worker dies between the two, or that Redis forgets it; that is looked for.

use std::time::Duration;

use bullmq::{
    Error, JobOptions,
    job_scheduler::{JobSchedulerJson, RepeatOptions, next_cron_millis},
    types::{JobState, RemoveOnFinish},
};
use chrono::{DateTime, Utc};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::{
    connection::Link,
    jobs::{CleanUp, Job, ReconcileMails, ReconcileOrders, ReconcilePayments, ReportLowStock},
    name::QueueName,
    policy::millis,
    producer::{JobQueues, QueueError},
};

/// How often a worker looks whether the schedules of its queue go on.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// How long only one process looks, so that a missing schedule is set up once.
const TURN: Duration = Duration::from_secs(5);
/// How long a look waits before it takes a next job for gone: whoever does the last one adds it right after.
const BENEFIT_OF_DOUBT: Duration = Duration::from_secs(1);
/// How long what fails waits: until the turn in which it failed is over.
const TRY_AGAIN: Duration = Duration::from_secs(6);
/// How often to look whether Redis is connected.
const CONNECTED_POLL: Duration = Duration::from_secs(1);

/// When a job comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The queue it comes to.
    pub queue: QueueName,
    /// The job's name, and that of the schedule. The payload is empty.
    pub job: &'static str,
    /// How often.
    pub repeat: Repeat,
}

/// How often a job comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Each time so much later, in whole milliseconds, the first time at once.
    Every(Duration),
    /// At the times of a cron pattern.
    Cron {
        /// Five fields: minute, hour, day of month, month, day of week.
        pattern: &'static str,
        /// The IANA name of the time zone.
        zone: &'static str,
    },
}

/// Everything that comes by the clock.
pub const SCHEDULES: &[Schedule] = &[
    every::<ReconcileOrders>(Duration::from_secs(30)),
    every::<ReconcilePayments>(Duration::from_secs(30)),
    every::<ReconcileMails>(Duration::from_secs(30)),
    every::<CleanUp>(Duration::from_hours(1)),
    Schedule {
        queue: ReportLowStock::QUEUE,
        job: ReportLowStock::NAME,
        repeat: Repeat::Cron {
            // Until it was sent, which it is once a day: one time may fall into an outage.
            pattern: "0 9-20 * * *",
            zone: "Asia/Kolkata",
        },
    },
];

const fn every<J: Job>(interval: Duration) -> Schedule {
    Schedule {
        queue: J::QUEUE,
        job: J::NAME,
        repeat: Repeat::Every(interval),
    }
}

impl Repeat {
    /// How long after `now` it comes next; `None` when never.
    pub(crate) fn wait_from(self, now: DateTime<Utc>) -> Option<Duration> {
        match self {
            Self::Every(interval) => Some(interval),
            Self::Cron { pattern, zone } => {
                let now = u64::try_from(now.timestamp_millis()).ok()?;
                let next = next_cron_millis(pattern, now, Some(zone), None).ok()??;
                Some(Duration::from_millis(next.saturating_sub(now)))
            }
        }
    }

    fn options(self) -> RepeatOptions {
        match self {
            Self::Every(interval) => RepeatOptions {
                every: Some(millis(interval)),
                ..RepeatOptions::default()
            },
            Self::Cron { pattern, zone } => RepeatOptions {
                pattern: Some(pattern.to_owned()),
                tz: Some(zone.to_owned()),
                ..RepeatOptions::default()
            },
        }
    }
}

impl JobQueues {
    /// Sets `schedules` up in their queues, and again when they have stopped; never returns.
    ///
    /// Any number of processes may do so at the same time.
    pub async fn keep_schedules(&self, schedules: &[Schedule]) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for schedule in schedules {
                let mut told = false;
                while let Err(error) = self.keep(schedule).await {
                    if matches!(error, QueueError::NotConnected) {
                        sleep(CONNECTED_POLL).await;
                        continue;
                    }
                    if !told {
                        told = true;
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            queue = schedule.queue.as_str(),
                            job.name = schedule.job,
                            "whether this schedule goes on is not known"
                        );
                    }
                    sleep(TRY_AGAIN).await;
                }
            }
        }
    }

    async fn keep(&self, schedule: &Schedule) -> Result<(), QueueError> {
        let is_ours = self
            .ask(async |link| {
                let mut turn = redis::cmd("SET");
                turn.arg(format!("{}-{}", link.keys().schedules, schedule.job))
                    .arg(1)
                    .arg("NX")
                    .arg("PX")
                    .arg(millis(TURN));
                let ours: Option<String> = link.connection().cmd(&mut turn).await?;
                Ok(ours.is_some())
            })
            .await?;
        if !is_ours
            || self
                .ask(async |link| goes_on(&link, schedule).await)
                .await?
        {
            return Ok(());
        }
        sleep(BENEFIT_OF_DOUBT).await;
        if self
            .ask(async |link| goes_on(&link, schedule).await)
            .await?
        {
            return Ok(());
        }
        self.ask(async |link| set_up(&link, schedule).await).await?;
        tracing::info!(
            queue = schedule.queue.as_str(),
            job.name = schedule.job,
            "schedule set up"
        );
        Ok(())
    }
}

/// Whether the schedule is this one, and its next job there.
async fn goes_on(link: &Link, schedule: &Schedule) -> Result<bool, Error> {
    let queue = link.queue(schedule.queue);
    let Some(scheduler) = queue.get_job_scheduler(schedule.job).await? else {
        return Ok(false);
    };
    let wanted = schedule.repeat.options();
    let JobSchedulerJson {
        every,
        pattern,
        tz,
        next,
        ..
    } = scheduler;
    let Some(next) = next else {
        return Ok(false);
    };
    if (every, pattern, tz) != (wanted.every, wanted.pattern, wanted.tz) {
        return Ok(false);
    }
    let next = format!("repeat:{}:{next}", schedule.job);
    Ok(queue.get_job_state(&next).await? != JobState::Unknown)
}

/// A firing is tried once, since there will be another one, and leaves nothing behind. With a bound on the failed ones
/// it would apply that bound to all that have failed in its queue.
async fn set_up(link: &Link, schedule: &Schedule) -> Result<(), Error> {
    let options = JobOptions::new()
        .attempts(1)
        .remove_on_complete(RemoveOnFinish::Bool(true))
        .remove_on_fail(RemoveOnFinish::Bool(true));
    link.queue(schedule.queue)
        .upsert_job_scheduler(
            schedule.job,
            schedule.repeat.options(),
            Some(schedule.job),
            Some(json!({})),
            Some(options),
        )
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::all_job_names;

    #[test]
    fn each_names_a_job_of_its_queue_and_comes_again() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        for schedule in SCHEDULES {
            assert!(all_job_names(schedule.queue).contains(&schedule.job));
            let wait = schedule.repeat.wait_from(now).unwrap();
            assert!(wait <= Duration::from_hours(24), "{schedule:?}: {wait:?}");
        }
    }

    #[test]
    fn the_report_comes_at_nine_in_the_morning_of_india() {
        let report = SCHEDULES.iter().find(|it| it.job == ReportLowStock::NAME);
        let wait = |now: &str| report.unwrap().repeat.wait_from(now.parse().unwrap());
        assert_eq!(
            wait("2026-11-28T03:29:00Z"),
            Some(Duration::from_mins(1)),
            "9:00 there is 3:30 in UTC"
        );
        assert_eq!(wait("2026-11-28T03:30:00Z"), Some(Duration::from_hours(1)));
        assert_eq!(
            wait("2026-11-28T14:30:00Z"),
            Some(Duration::from_hours(13)),
            "the last time is 20:00 there"
        );
    }
}
