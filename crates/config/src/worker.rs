//! Who does the jobs, which of them, and how.
//!
//! - `WORKER_TYPE`
//! - `WORKER_MODE`
//! - `WORKER_CONCURRENCY`
//! - `MAX_CONCURRENT_JOBS`
//! - `JOB_TIMEOUT`
//! - `WORKER_LOCK_DURATION`
//! - `WORKER_STALLED_INTERVAL`
//! - `QUEUE_LIMITER_MAX`
//! - `QUEUE_LIMITER_DURATION`

use std::time::Duration;

use crate::error::ConfigError;
use crate::parse;
use crate::reader::Reader;
use crate::source::Source;
use crate::variable::{Table, Variable};

const WORKER_TYPE: Variable = Variable::new(
    "WORKER_TYPE",
    "Which jobs this worker takes",
    "email, order, payment or all",
)
.default("all");
const WORKER_MODE: Variable = Variable::new(
    "WORKER_MODE",
    "Who does the jobs: workers, which get them through Redis, or the API itself, with PostgreSQL alone",
    "bull-queue or in-process",
)
.default("bull-queue");
const WORKER_CONCURRENCY: Variable = Variable::new(
    "WORKER_CONCURRENCY",
    "Jobs at a time in each queue",
    "a whole number above 0",
)
.default("5");
const MAX_CONCURRENT_JOBS: Variable = Variable::new(
    "MAX_CONCURRENT_JOBS",
    "Upper bound of WORKER_CONCURRENCY",
    "a whole number above 0",
)
.unset("no bound");
const JOB_TIMEOUT: Variable = Variable::new(
    "JOB_TIMEOUT",
    "How long one attempt at a job may take",
    "milliseconds above 0, or a duration such as 30s",
)
.default("30000");
const WORKER_LOCK_DURATION: Variable = Variable::new(
    "WORKER_LOCK_DURATION",
    "How long a job stays reserved for a worker that gives no sign of life",
    "milliseconds from 1000, or a duration such as 30s",
)
.default("30000");
const WORKER_STALLED_INTERVAL: Variable = Variable::new(
    "WORKER_STALLED_INTERVAL",
    "How often to look for jobs whose worker died",
    "milliseconds from 1000, or a duration such as 30s",
)
.default("30000");
const QUEUE_LIMITER_MAX: Variable = Variable::new(
    "QUEUE_LIMITER_MAX",
    "The most jobs of each queue that all workers together begin within QUEUE_LIMITER_DURATION",
    "a whole number above 0",
)
.unset("no limit");
const QUEUE_LIMITER_DURATION: Variable = Variable::new(
    "QUEUE_LIMITER_DURATION",
    "The time in which no more jobs than QUEUE_LIMITER_MAX are begun",
    "milliseconds above 0, or a duration such as 1s",
)
.default("1000");

pub(crate) const API_TABLE: Table = Table {
    title: "Jobs (all but the first only with WORKER_MODE=in-process)",
    variables: &[
        WORKER_MODE,
        WORKER_CONCURRENCY,
        MAX_CONCURRENT_JOBS,
        JOB_TIMEOUT,
        WORKER_LOCK_DURATION,
    ],
};

pub(crate) const TABLE: Table = Table {
    title: "Worker",
    variables: &[
        WORKER_TYPE,
        WORKER_MODE,
        WORKER_CONCURRENCY,
        MAX_CONCURRENT_JOBS,
        JOB_TIMEOUT,
        WORKER_LOCK_DURATION,
        WORKER_STALLED_INTERVAL,
        QUEUE_LIMITER_MAX,
        QUEUE_LIMITER_DURATION,
    ],
};

/// Who does the jobs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WorkerMode {
    /// Workers, which get them through the queues in Redis.
    BullQueue,
    /// The API, straight from the outbox in PostgreSQL.
    InProcess,
}

impl WorkerMode {
    /// Reads `WORKER_MODE`.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let mode = reader.required(&WORKER_MODE, Self::parse);
        reader.finish(|| mode)
    }

    /// The value of `WORKER_MODE`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BullQueue => "bull-queue",
            Self::InProcess => "in-process",
        }
    }

    fn parse(value: &str) -> Option<Self> {
        [Self::BullQueue, Self::InProcess]
            .into_iter()
            .find(|mode| mode.as_str() == value)
    }
}

/// Which jobs a worker takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WorkerType {
    /// Mails only.
    Email,
    /// Orders only.
    Order,
    /// Payments only.
    Payment,
    /// All of them, in one process.
    All,
}

impl WorkerType {
    /// Whether a worker of this type needs to know how mails leave.
    #[must_use]
    pub const fn sends_mails(self) -> bool {
        matches!(self, Self::Email | Self::All)
    }

    /// The value of `WORKER_TYPE`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Order => "order",
            Self::Payment => "payment",
            Self::All => "all",
        }
    }

    fn parse(value: &str) -> Option<Self> {
        [Self::Email, Self::Order, Self::Payment, Self::All]
            .into_iter()
            .find(|kind| kind.as_str() == value)
    }
}

/// Which jobs a worker takes, and how.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Which jobs.
    pub worker_type: WorkerType,
    /// Jobs at a time in each queue, already bounded by `MAX_CONCURRENT_JOBS`.
    pub concurrency: usize,
    /// How long one attempt may take.
    pub job_timeout: Duration,
    /// How long a job stays reserved without renewal.
    pub lock_duration: Duration,
    /// How often to look for jobs whose worker died.
    pub stalled_interval: Duration,
    /// How many jobs of a queue all workers together may begin; `None` is any number.
    pub limiter: Option<JobLimit>,
}

/// No more than so many jobs within a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct JobLimit {
    /// The most jobs.
    pub max: u64,
    /// The time.
    pub duration: Duration,
}

impl WorkerConfig {
    /// Reads the variables that the module's doc lists.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let worker_type = reader.required(&WORKER_TYPE, WorkerType::parse);
        if reader.required(&WORKER_MODE, WorkerMode::parse) == Some(WorkerMode::InProcess) {
            let expected = "bull-queue for a worker: with in-process the API does the jobs, and no worker is to run";
            reader.refuse(&WORKER_MODE, expected);
        }
        let concurrency = concurrency(&mut reader);
        let job_timeout = reader.required(&JOB_TIMEOUT, parse::positive_milliseconds);
        let lock_duration = reader.required(&WORKER_LOCK_DURATION, at_least_a_second);
        let stalled_interval = reader.required(&WORKER_STALLED_INTERVAL, at_least_a_second);
        let max = reader.optional(&QUEUE_LIMITER_MAX, parse::positive::<u64>);
        let duration = reader.required(&QUEUE_LIMITER_DURATION, parse::positive_milliseconds);
        reader.finish(|| {
            let duration = duration?;
            Some(Self {
                worker_type: worker_type?,
                concurrency: concurrency?,
                job_timeout: job_timeout?,
                lock_duration: lock_duration?,
                stalled_interval: stalled_interval?,
                limiter: max?.map(|max| JobLimit { max, duration }),
            })
        })
    }
}

/// How the API does the jobs itself.
#[derive(Clone, Copy, Debug)]
pub struct InProcessConfig {
    /// Jobs at a time in each queue, already bounded by `MAX_CONCURRENT_JOBS`.
    pub concurrency: usize,
    /// How long one attempt may take.
    pub job_timeout: Duration,
    /// How long a job stays reserved without renewal.
    pub lock_duration: Duration,
}

impl InProcessConfig {
    /// Reads the variables that the module's doc lists, but for those of workers alone.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let concurrency = concurrency(&mut reader);
        let job_timeout = reader.required(&JOB_TIMEOUT, parse::positive_milliseconds);
        let lock_duration = reader.required(&WORKER_LOCK_DURATION, at_least_a_second);
        reader.finish(|| {
            Some(Self {
                concurrency: concurrency?,
                job_timeout: job_timeout?,
                lock_duration: lock_duration?,
            })
        })
    }
}

fn concurrency(reader: &mut Reader<'_>) -> Option<usize> {
    let wanted = reader.required(&WORKER_CONCURRENCY, parse::positive::<usize>);
    let bound = reader.optional(&MAX_CONCURRENT_JOBS, parse::positive::<usize>);
    Some(wanted?.min(bound?.unwrap_or(usize::MAX)))
}

// A shorter lock would be lost in an ordinary pause of the machine and the job done twice.
fn at_least_a_second(value: &str) -> Option<Duration> {
    parse::milliseconds(value).filter(|duration| *duration >= Duration::from_secs(1))
}
