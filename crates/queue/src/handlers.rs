//! Which function runs which job.

use std::{collections::BTreeMap, error::Error, fmt, pin::Pin, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{jobs::Job, name::QueueName};

/// The name that Node's `bullmq` gives a job whose producer named none.
const UNNAMED: &str = "__default__";

/// Any error.
pub type BoxError = Box<dyn Error + Send + Sync>;
/// What a handler answers: the job's return value, or what happens next.
pub type JobResult = Result<serde_json::Value, JobError>;

type JobFuture = Pin<Box<dyn Future<Output = JobResult> + Send>>;
type Handler = Arc<dyn Fn(JobContext) -> JobFuture + Send + Sync>;

/// One attempt at a job.
#[derive(Clone, Debug)]
pub struct JobContext {
    /// The job's name, as its producer gave it.
    pub name: String,
    /// The job's id.
    pub id: String,
    /// The payload as it came.
    pub payload: serde_json::Value,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// The most attempts there will be.
    pub attempts: u32,
    /// When the attempt is given up for want of time.
    pub deadline: Instant,
    /// Fires when the attempt is given up: out of time, lock lost, or the worker must stop. The handler's
    /// future is dropped right after; what it started elsewhere should watch this.
    pub cancelled: CancellationToken,
}

/// Why an attempt failed, and what happens next.
#[derive(Debug)]
pub enum JobError {
    /// Try again later, as often as the queue's policy says.
    Retry(BoxError),
    /// Trying again would not help.
    Fail(BoxError),
    /// Its turn has not come: run it again after this time. That counts as no attempt.
    Postpone(Duration),
}

impl JobError {
    /// Try again later.
    pub fn retry(source: impl Into<BoxError>) -> Self {
        Self::Retry(source.into())
    }

    /// Trying again would not help.
    pub fn fail(source: impl Into<BoxError>) -> Self {
        Self::Fail(source.into())
    }
}

impl fmt::Display for JobError {
    /// The error and what caused it, joined by colons: a failed job keeps no more than a text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Retry(error) | Self::Fail(error)) = self else {
            return f.write_str("its turn has not come");
        };
        write!(f, "{error}")?;
        let mut source = error.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

/// The handlers of one queue.
#[derive(Clone)]
pub struct Handlers {
    queue: QueueName,
    by_name: BTreeMap<&'static str, Handler>,
}

impl Handlers {
    /// None yet.
    #[must_use]
    pub const fn new(queue: QueueName) -> Self {
        Self {
            queue,
            by_name: BTreeMap::new(),
        }
    }

    /// Runs jobs of type `J` with `handler`. A payload that is no `J` fails the job for good.
    ///
    /// # Panics
    ///
    /// When `J` belongs to another queue or has a handler already: a mistake in the program that is seen at
    /// its first start.
    #[must_use]
    pub fn on<J, F, Fut>(mut self, handler: F) -> Self
    where
        J: Job,
        F: Fn(J, JobContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = JobResult> + Send + 'static,
    {
        assert!(
            J::QUEUE == self.queue,
            "{} is not a job of {}",
            J::NAME,
            self.queue
        );
        let run = move |context: JobContext| -> JobFuture {
            match serde_path_to_error::deserialize::<_, J>(&context.payload) {
                Ok(job) => Box::pin(handler(job, context)),
                Err(error) => Box::pin(async move {
                    Err(JobError::fail(format!(
                        "bad payload of {}: {error}",
                        J::NAME
                    )))
                }),
            }
        };
        let earlier = self.by_name.insert(J::NAME, Arc::new(run));
        assert!(earlier.is_none(), "{} has two handlers", J::NAME);
        self
    }

    /// The names of the jobs that have a handler, in alphabetical order.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.by_name.keys().copied().collect()
    }

    pub(crate) const fn queue(&self) -> QueueName {
        self.queue
    }

    /// The registered name that `name` stands for, for labels whose values are bounded.
    pub(crate) fn known_name(&self, name: &str) -> Option<&'static str> {
        let name = if name == UNNAMED {
            self.queue.main_job()
        } else {
            name
        };
        self.by_name.get_key_value(name).map(|(name, _)| *name)
    }

    /// Runs one attempt.
    pub(crate) async fn run(&self, context: JobContext) -> JobResult {
        match self
            .known_name(&context.name)
            .and_then(|name| self.by_name.get(name))
        {
            Some(handler) => handler(context).await,
            None => Err(JobError::fail(format!(
                "no job of {} is named {:?}; there are {}",
                self.queue,
                context.name,
                self.names().join(", ")
            ))),
        }
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers")
            .field("queue", &self.queue)
            .field("jobs", &self.names())
            .finish_non_exhaustive()
    }
}
