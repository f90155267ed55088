//! What has failed for good, wherever it is kept.

use std::{sync::Arc, time::Duration};

use bharatmart_database::{Database, Freshness, outbox};
use bharatmart_domain::{Clock, SystemClock};
use bharatmart_queue::{ChangeError, JobQueues, JobRecord, JobRef, JobState, QueueName, reach};
use chrono::{DateTime, TimeDelta, Utc};

use super::{Chosen, Dlq, Done, Result};
use crate::error::StartError;

/// How long Redis may take to answer for the first time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The dead letters of some queues.
pub(super) struct Letters {
    jobs: JobQueues,
    has_queues: bool,
    pub(super) database: Option<Database>,
    of: Option<QueueName>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Replay,
    Purge,
}

/// An id that names nothing.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error("there is no such job")]
    Job,
    #[error("there is one in {0} and one in {1}: say which with --queue")]
    Ambiguous(QueueName, QueueName),
    #[error("rows of the outbox need DATABASE_URL, which is not set")]
    NoDatabase,
}

impl Letters {
    pub(super) async fn open(dlq: &Dlq) -> Result<Self> {
        let clock = Arc::new(SystemClock);
        let jobs = match &dlq.queue {
            Some(queue) => {
                let jobs = JobQueues::connect(queue, clock);
                if let Err(error) = jobs.connected(CONNECT_TIMEOUT).await {
                    reach(queue).await?;
                    return Err(error.into());
                }
                jobs
            }
            None if dlq.database.is_none() => return Err(Unknown::NoDatabase.into()),
            None => JobQueues::nowhere(clock),
        };
        let database = dlq
            .database
            .as_ref()
            .map(|config| Database::connect(config, "bharatmart-dlq"))
            .transpose()
            .map_err(StartError::DatabaseUrl)?;
        Ok(Self {
            jobs,
            has_queues: dlq.queue.is_some(),
            database,
            of: dlq.of,
        })
    }

    fn queues(&self) -> impl Iterator<Item = QueueName> + use<> {
        let (of, has_queues) = (self.of, self.has_queues);
        QueueName::ALL
            .into_iter()
            .filter(move |queue| has_queues && of.is_none_or(|of| of == *queue))
    }

    fn refused(&self) -> outbox::Refused<'static> {
        outbox::Refused {
            queue: self.of.map(QueueName::as_str),
            ..outbox::Refused::default()
        }
    }

    /// The newest ones, and how many there are.
    pub(super) async fn newest(&self, limit: u32) -> Result<(Vec<JobRecord>, u64)> {
        let (mut letters, mut total) = (Vec::new(), 0);
        for queue in self.queues() {
            let page = self.jobs.list(queue, JobState::Failed, 0, limit.into());
            let page = page.await?;
            total += page.total;
            letters.extend(page.jobs);
        }
        if let Some(database) = &self.database {
            let mut connection = database.read(Freshness::Latest).await?;
            let rows = outbox::refused(&mut connection, self.refused(), limit.into(), 0).await?;
            let count = outbox::count_refused(&mut connection, self.refused().queue).await?;
            total += u64::try_from(count).unwrap_or(0);
            letters.extend(rows.into_iter().map(JobRecord::from));
        }
        letters.sort_by_key(|letter| std::cmp::Reverse(letter.finished_at));
        letters.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok((letters, total))
    }

    pub(super) async fn find(&self, id: &JobRef) -> Result<JobRecord> {
        match id {
            JobRef::Queued(id) => {
                let (_, job) = self.the_one(id).await?;
                Ok(job)
            }
            JobRef::Refused(row) => {
                let database = self.database.as_ref().ok_or(Unknown::NoDatabase)?;
                let mut connection = database.read(Freshness::Latest).await?;
                let this = outbox::Refused {
                    id: Some(*row),
                    ..self.refused()
                };
                let rows = outbox::refused(&mut connection, this, 1, 0).await?;
                let row = rows.into_iter().next().ok_or(Unknown::Job)?;
                Ok(row.into())
            }
        }
    }

    /// The job with this id: of several queues, the one where it has failed.
    async fn the_one(&self, id: &str) -> Result<(QueueName, JobRecord)> {
        let mut found = Vec::new();
        for queue in self.queues() {
            if let Some(job) = self.jobs.find(queue, id).await? {
                found.push((queue, job));
            }
        }
        let has_failed = |(_, job): &(QueueName, JobRecord)| job.state == JobState::Failed.as_str();
        if found.iter().any(has_failed) {
            found.retain(has_failed);
        }
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (None, _) => Err(Unknown::Job.into()),
            (Some(one), None) => Ok(one),
            (Some((first, _)), Some((second, _))) => Err(Unknown::Ambiguous(first, second).into()),
        }
    }

    /// Does the same to each that is chosen.
    pub(super) async fn each(&self, chosen: Chosen, change: Change) -> Result<Done> {
        let mut done = Done::default();
        match chosen {
            Chosen::These(ids) => {
                for id in ids {
                    let queue = self.change(&id, change).await;
                    done.note(shown(&id), queue);
                }
            }
            Chosen::Oldest { older_than, limit } => {
                let before = older_than.map(|age| {
                    SystemClock.now() - TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX)
                });
                self.oldest(before, limit, change, &mut done).await?;
            }
        }
        Ok(done)
    }

    async fn oldest(
        &self,
        before: Option<DateTime<Utc>>,
        limit: u32,
        change: Change,
        done: &mut Done,
    ) -> Result<()> {
        let mut left = limit;
        for queue in self.queues() {
            let ids = self.jobs.failed_ids(queue, before, left).await?;
            left = left.saturating_sub(u32::try_from(ids.len()).unwrap_or(u32::MAX));
            for id in ids {
                let changed = self.change_queued(queue, &id, change).await;
                done.note(id, changed.map(|()| queue.to_string()).map_err(Into::into));
            }
        }
        let Some(database) = self.database.as_ref().filter(|_| left > 0) else {
            return Ok(());
        };
        let these = outbox::Refused {
            before,
            oldest_first: true,
            ..self.refused()
        };
        let mut transaction = database.begin().await?;
        let rows = outbox::refused(&mut transaction, these, left.into(), 0).await?;
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let changed = match change {
            Change::Replay => outbox::revive(&mut transaction, &ids).await?,
            Change::Purge => outbox::purge(&mut transaction, &ids).await?,
        };
        transaction.commit().await?;
        for row in rows.into_iter().filter(|row| changed.contains(&row.id)) {
            done.note(format!("outbox:{}", row.id), Ok(row.queue));
        }
        Ok(())
    }

    /// The queue that the job was of.
    async fn change(&self, id: &JobRef, change: Change) -> Result<String> {
        match id {
            JobRef::Queued(id) => {
                let (queue, _) = self.the_one(id).await?;
                self.change_queued(queue, id, change).await?;
                Ok(queue.to_string())
            }
            JobRef::Refused(row) => {
                let record = self.find(id).await?;
                let database = self.database.as_ref().ok_or(Unknown::NoDatabase)?;
                let mut connection = database.write().await?;
                let changed = match change {
                    Change::Replay => outbox::revive(&mut connection, &[*row]).await?,
                    Change::Purge => outbox::purge(&mut connection, &[*row]).await?,
                };
                if changed.is_empty() {
                    return Err(Unknown::Job.into());
                }
                Ok(record.queue)
            }
        }
    }

    async fn change_queued(
        &self,
        queue: QueueName,
        id: &str,
        change: Change,
    ) -> std::result::Result<(), ChangeError> {
        match change {
            Change::Replay => self.jobs.retry(queue, id).await,
            Change::Purge => self.jobs.purge(queue, id).await,
        }
    }
}

/// The id as `dlq list` shows it.
pub(super) fn shown(id: &JobRef) -> String {
    match id {
        JobRef::Queued(id) => id.clone(),
        JobRef::Refused(row) => format!("outbox:{row}"),
    }
}
