//! Settings as types, gathered from flags, environment and `.env` file. No other crate looks at these.
//!
//! Each file holds one concern: a table of the variables it reads ([`Variable`]), a struct that holds them parsed, and
//! `read`, which makes the struct from a [`Source`]. A source is what remains after laying four layers over each other:
//! compiled default < `.env` file in the working directory < process environment < command-line flag. An empty value
//! counts as unset in whichever layer it stands.
//!
//! [`parse`] builds the flags and the `--help` text from the same tables, so that help, parser and error messages cannot
//! disagree. What is wrong is reported as one line for each bad variable, naming it, its value (never of a secret) and
//! what is allowed; the binaries then exit with [`ConfigError::EXIT_CODE`].

mod auth;
mod cache;
mod certificates;
mod chaos;
mod cli;
mod database;
mod error;
mod http;
mod limits;
mod mail;
mod parse;
mod payment;
mod process;
mod queue;
mod reader;
mod report;
mod source;
mod telemetry;
mod variable;
mod worker;

pub use auth::{AdminConfig, AuthConfig, AuthProvider, LocalAuth, SupabaseAuth};
pub use cache::{CacheBackend, CacheConfig, RedisCacheConfig, RedisTopology};
pub use chaos::ChaosConfig;
pub use cli::{Inputs, Parsed, parse, parse_inputs, with_flags};
pub use database::{DatabaseConfig, DatabaseUrl, PoolerMode};
pub use error::{ConfigError, Problem};
pub use http::HttpConfig;
pub use limits::{LimitsConfig, ProxyHeader};
pub use mail::{MailConfig, MailTransport, SmtpSecurity};
pub use parse::positive_with_unit as parse_duration;
pub use payment::{PaymentConfig, PaymentProvider, SandboxGatewayConfig, WebhookSecret};
pub use process::{Environment, ProcessConfig};
pub use queue::{QueueConfig, QueueServers};
pub use reader::PLACEHOLDERS;
pub use report::ReportConfig;
pub use source::Source;
pub use telemetry::{LogFormat, TelemetryConfig, TracesConfig};
pub use variable::{Default, Table, Variable};
pub use worker::{InProcessConfig, JobLimit, WorkerConfig, WorkerMode, WorkerType};

use reader::Reader;

/// Which of the two programs is being configured. Some defaults differ between them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Process {
    /// `bharatmart-api`
    Api,
    /// `bharatmart-worker`
    Worker,
}

impl Process {
    /// The variables that this program reads, grouped by concern, in the order of `--help`.
    #[must_use]
    pub fn tables(self) -> &'static [Table] {
        match self {
            Self::Api => API_TABLES,
            Self::Worker => WORKER_TABLES,
        }
    }
}

static API_TABLES: &[Table] = &[
    process::TABLE,
    http::TABLE,
    limits::TABLE,
    database::API_TABLE,
    worker::API_TABLE,
    queue::TABLE,
    cache::TABLE,
    auth::TABLE,
    mail::TABLE,
    payment::API_TABLE,
    report::TABLE,
    telemetry::TABLE,
    chaos::TABLE,
];

static WORKER_TABLES: &[Table] = &[
    process::TABLE,
    worker::TABLE,
    database::WORKER_TABLE,
    queue::TABLE,
    cache::TABLE,
    mail::WORKER_TABLE,
    payment::WORKER_TABLE,
    report::TABLE,
    telemetry::TABLE,
];

/// Everything `bharatmart-api serve` needs.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Ports, addresses and shutdown of the process.
    pub process: ProcessConfig,
    /// The HTTP server.
    pub http: HttpConfig,
    /// How much one client may ask for, and how long anybody may queue.
    pub limits: LimitsConfig,
    /// PostgreSQL.
    pub database: DatabaseConfig,
    /// Who does the jobs that requests make necessary.
    pub jobs: JobsConfig,
    /// The cache in front of the database.
    pub cache: CacheConfig,
    /// Who signs people in.
    pub auth: AuthConfig,
    /// The payment gateway.
    pub payment: PaymentConfig,
    /// The key of the gateway's webhooks; `None` when they are refused.
    pub webhook_secret: Option<WebhookSecret>,
    /// Reports to those who run the shop.
    pub report: ReportConfig,
    /// Logs and metrics.
    pub telemetry: TelemetryConfig,
    /// Deliberate disturbance.
    pub chaos: ChaosConfig,
}

/// Who does the jobs that requests make necessary, and what the API needs for that.
#[derive(Clone, Debug)]
pub enum JobsConfig {
    /// Workers, which get them through this Redis.
    BullQueue(QueueConfig),
    /// The API itself. There is no Redis for queues.
    InProcess {
        /// How many at a time, and for how long.
        work: InProcessConfig,
        /// How mails leave.
        mail: MailConfig,
    },
}

impl JobsConfig {
    /// Reads `WORKER_MODE`, and what that mode needs.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        match WorkerMode::read(source)? {
            WorkerMode::BullQueue => QueueConfig::read(source).map(Self::BullQueue),
            WorkerMode::InProcess => {
                let mut reader = Reader::new(source);
                let work = reader.section(InProcessConfig::read(source));
                let mail = reader.section(MailConfig::read(source));
                reader.finish(|| {
                    Some(Self::InProcess {
                        work: work?,
                        mail: mail?,
                    })
                })
            }
        }
    }

    /// The value of `WORKER_MODE`.
    #[must_use]
    pub const fn mode(&self) -> WorkerMode {
        match self {
            Self::BullQueue(_) => WorkerMode::BullQueue,
            Self::InProcess { .. } => WorkerMode::InProcess,
        }
    }
}

impl ApiConfig {
    /// Reads every concern of the API and reports all that is wrong at once.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let process = reader.section(ProcessConfig::read(source));
        let http = reader.section(HttpConfig::read(source));
        let limits = reader.section(LimitsConfig::read(source));
        let database = reader.section(DatabaseConfig::read(source, Process::Api));
        let jobs = reader.section(JobsConfig::read(source));
        let cache = reader.section(CacheConfig::read(source));
        let auth = reader.section(AuthConfig::read(source));
        let payment = reader.section(PaymentConfig::read(source));
        let webhook_secret = reader.section(WebhookSecret::read(source));
        let report = reader.section(ReportConfig::read(source));
        let telemetry = reader.section(TelemetryConfig::read(source, Process::Api));
        let chaos = reader.section(ChaosConfig::read(source));
        reader.finish(|| {
            Some(Self {
                process: process?,
                http: http?,
                limits: limits?,
                database: database?,
                jobs: jobs?,
                cache: cache?,
                auth: auth?,
                payment: payment?,
                webhook_secret: webhook_secret?,
                report: report?,
                telemetry: telemetry?,
                chaos: chaos?,
            })
        })
    }
}

/// Everything `bharatmart-worker run` needs.
#[derive(Clone, Debug)]
pub struct WorkerProcessConfig {
    /// Ports, addresses and shutdown of the process.
    pub process: ProcessConfig,
    /// Which jobs, how many at a time.
    pub worker: WorkerConfig,
    /// PostgreSQL.
    pub database: DatabaseConfig,
    /// The Redis that holds the queues.
    pub queue: QueueConfig,
    /// The cache in front of the API's database, in which a worker only marks what has changed.
    pub cache: CacheConfig,
    /// How mails leave; `None` for a worker that sends none.
    pub mail: Option<MailConfig>,
    /// The payment gateway.
    pub payment: PaymentConfig,
    /// Reports to those who run the shop.
    pub report: ReportConfig,
    /// Logs and metrics.
    pub telemetry: TelemetryConfig,
}

impl WorkerProcessConfig {
    /// Reads every concern of a worker and reports all that is wrong at once.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let process = reader.section(ProcessConfig::read(source));
        let worker = reader.section(WorkerConfig::read(source));
        let database = reader.section(DatabaseConfig::read(source, Process::Worker));
        let queue = reader.section(QueueConfig::read(source));
        let cache = reader.section(CacheConfig::read(source));
        let mails = worker
            .as_ref()
            .is_none_or(|worker| worker.worker_type.sends_mails());
        let mail = if mails {
            reader.section(MailConfig::read(source)).map(Some)
        } else {
            Some(None)
        };
        let payment = reader.section(PaymentConfig::read(source));
        let report = reader.section(ReportConfig::read(source));
        let telemetry = reader.section(TelemetryConfig::read(source, Process::Worker));
        reader.finish(|| {
            Some(Self {
                process: process?,
                worker: worker?,
                database: database?,
                queue: queue?,
                cache: cache?,
                mail: mail?,
                payment: payment?,
                report: report?,
                telemetry: telemetry?,
            })
        })
    }
}

/// Everything `bharatmart-api gateway` needs.
#[derive(Clone, Debug)]
pub struct GatewayProcessConfig {
    /// Ports, addresses and shutdown of the process.
    pub process: ProcessConfig,
    /// The gateway.
    pub gateway: SandboxGatewayConfig,
    /// PostgreSQL, where its books are.
    pub database: DatabaseConfig,
    /// Logs and metrics.
    pub telemetry: TelemetryConfig,
}

impl GatewayProcessConfig {
    /// Reads every concern of the gateway and reports all that is wrong at once.
    pub fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let process = reader.section(ProcessConfig::read(source));
        let gateway = reader.section(SandboxGatewayConfig::read(source));
        let database = reader.section(DatabaseConfig::read(source, Process::Api));
        let telemetry = reader.section(TelemetryConfig::read(source, Process::Api));
        reader.finish(|| {
            Some(Self {
                process: process?,
                gateway: gateway?,
                database: database?,
                telemetry: telemetry?,
            })
        })
    }
}
