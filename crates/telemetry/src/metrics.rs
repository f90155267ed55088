//! The name and the help text of every metric, each once.
//!
//! Crates count with `metrics::counter!(bharatmart_telemetry::metrics::ORDERS_SUCCESS_TOTAL)` and the like. Everything in
//! [`ALL`] shows its help and type from the first scrape on, and what has no labels shows a zero as well.
//!
//! Amounts of money are counted in paise and shown in rupees, because the counters are whole numbers.

/// What kind of metric a name stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Only grows; counted in paise, shown in rupees.
    MoneyCounter,
    /// Goes up and down.
    Gauge,
    /// Counts observations in buckets with these upper bounds.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The name in the scrape.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// What it tells.
    pub help: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

/// Upper bounds for HTTP requests, in seconds.
const REQUEST_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// Upper bounds for calls to a dependency, in milliseconds.
const CALL_MILLISECONDS: &[f64] = &[
    1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0,
];
/// Upper bounds for commands to a Redis, in seconds.
const COMMAND_SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
];
/// Upper bounds for jobs, in seconds.
const JOB_SECONDS: &[f64] = &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The values of the label `dependency`.
pub mod dependency {
    /// The Redis of the cache.
    pub const CACHE: &str = "cache";
    /// PostgreSQL.
    pub const DATABASE: &str = "database";
    /// The Redis of the queues.
    pub const QUEUE: &str = "queue";
    /// The payment gateway.
    pub const PAYMENT_GATEWAY: &str = "payment_gateway";

    /// Of which dependencies a metric is counted, so that their zeros show before anything happened.
    pub(crate) fn counted_in(metric: &str) -> &'static [&'static str] {
        match metric {
            super::CIRCUIT_BREAKER_OPEN_TOTAL | super::CIRCUIT_BREAKER_STATE => {
                &[CACHE, PAYMENT_GATEWAY, QUEUE]
            }
            super::EXTERNAL_CALL_LATENCY_MS => &[PAYMENT_GATEWAY],
            super::RETRY_ATTEMPTS_TOTAL => &[CACHE, DATABASE, PAYMENT_GATEWAY, QUEUE],
            _ => &[],
        }
    }
}

macro_rules! declare {
    ($($name:ident = $text:literal, $kind:expr, [$($label:literal),*], $help:literal;)+) => {
        $(
            #[doc = concat!($help, ".")]
            pub const $name: &str = $text;
        )+

        /// Every metric of this product that is declared here.
        pub const ALL: &[Metric] =
            &[$(Metric { name: $name, kind: $kind, help: $help, labels: &[$($label),*] }),+];
    };
}

declare! {
    // HTTP.
    HTTP_REQUEST_DURATION_SECONDS = "http_request_duration_seconds",
        Kind::Histogram(REQUEST_SECONDS), ["method", "route", "status_code"],
        "Time from the head of a request to the head of its answer, in seconds";
    HTTP_REQUESTS_TOTAL = "http_requests_total", Kind::Counter, ["method", "route", "status_code"],
        "Requests answered";
    HTTP_REQUESTS_IN_FLIGHT = "http_requests_in_flight", Kind::Gauge, [],
        "Requests being worked on";
    EVENT_STREAMS_OPEN = "event_streams_open", Kind::Gauge, [],
        "Streams of order events that are open now";
    RATE_LIMITED_TOTAL = "rate_limited_total", Kind::Counter, ["policy"],
        "Requests beyond a limit, by limit";
    REQUESTS_SHED_TOTAL = "requests_shed_total", Kind::Counter, ["resource"],
        "Requests refused because more was asked for than could be done, by what was short";
    ERRORS_TOTAL = "errors_total", Kind::Counter, ["error_type", "endpoint"],
        "Requests that failed, by kind of error and route";

    // Orders and payments.
    ORDERS_CREATED_TOTAL = "orders_created_total", Kind::Counter, ["status"],
        "Orders created, by their first status";
    ORDERS_VALUE_TOTAL = "orders_value_total", Kind::MoneyCounter, [],
        "Value of the orders created, in rupees";
    ORDERS_SUCCESS_TOTAL = "orders_success_total", Kind::Counter, [],
        "Attempts to order that created an order";
    ORDERS_FAILED_TOTAL = "orders_failed_total", Kind::Counter, [],
        "Attempts to order that failed";
    PAYMENTS_PROCESSED_TOTAL = "payments_processed_total", Kind::Counter, ["status", "payment_method"],
        "Payments that reached a status, by payment method";
    PAYMENTS_VALUE_TOTAL = "payments_value_total", Kind::MoneyCounter, ["status"],
        "Value of the payments that reached a status, in rupees";
    PAYMENT_WEBHOOKS_TOTAL = "payment_webhooks_total", Kind::Counter, ["outcome"],
        "Webhooks of the payment gateway, by outcome (applied, duplicate, ignored, refused)";

    // The process and what it depends on.
    SERVICE_RESTARTS_TOTAL = "service_restarts_total", Kind::Counter, [],
        "1 for each process start: it never goes further within a process";
    CHAOS_EVENTS_TOTAL = "chaos_events_total", Kind::Counter, [],
        "Requests disturbed on purpose";
    SIMULATED_LATENCY_MS = "simulated_latency_ms", Kind::Gauge, [],
        "Delay that is added to requests on purpose, in milliseconds";
    EXTERNAL_CALL_LATENCY_MS = "external_call_latency_ms", Kind::Histogram(CALL_MILLISECONDS), ["dependency"],
        "Time of calls to a dependency, in milliseconds";
    RETRY_ATTEMPTS_TOTAL = "retry_attempts_total", Kind::Counter, ["dependency"],
        "Calls to a dependency that were repeated";
    CIRCUIT_BREAKER_OPEN_TOTAL = "circuit_breaker_open_total", Kind::Counter, ["dependency"],
        "Times that the circuit breaker of a dependency opened";
    CIRCUIT_BREAKER_STATE = "circuit_breaker_state", Kind::Gauge, ["dependency"],
        "State of the circuit breaker of a dependency: 0 closed, 0.5 half-open, 1 open";
    CIRCUIT_BREAKER_TRANSITIONS_TOTAL = "circuit_breaker_transitions_total", Kind::Counter,
        ["dependency", "transition", "reason"],
        "Changes of state of the circuit breaker of a dependency";
    LOG_LINES_DROPPED_TOTAL = "log_lines_dropped_total", Kind::Counter, [],
        "Lines of the log that were dropped because writing them was too slow";

    // The database.
    DATABASE_POOL_CONNECTIONS = "database_pool_connections", Kind::Gauge, ["server", "state"],
        "Connections to a database server, by state";
    DATABASE_POOL_WAITERS = "database_pool_waiters", Kind::Gauge, ["server"],
        "Those who wait for a connection to a database server";
    DATABASE_ACQUIRE_SECONDS = "database_acquire_seconds", Kind::Histogram(COMMAND_SECONDS), ["server"],
        "Time until a connection to a database server was lent, in seconds";
    DATABASE_READS_TOTAL = "database_reads_total", Kind::Counter, ["target", "reason"],
        "Reads, by where they went (primary, replica) and why";
    DATABASE_PRIMARY_UP = "database_primary_up", Kind::Gauge, ["server"],
        "1 while a server takes writes, 0 while none does; shown with replicas or several hosts";
    DATABASE_PRIMARY_CHANGES_TOTAL = "database_primary_changes_total", Kind::Counter, [],
        "Times that another host became the primary";
    DATABASE_REPLICA_IN_ROTATION = "database_replica_in_rotation", Kind::Gauge, ["replica"],
        "1 while a replica is read from, else 0";
    DATABASE_REPLICA_LAG_BYTES = "database_replica_lag_bytes", Kind::Gauge, ["replica"],
        "How much of the log a replica has not replayed, in bytes";
    DATABASE_REPLICA_LAG_SECONDS = "database_replica_lag_seconds", Kind::Gauge, ["replica"],
        "Age of the oldest change that a replica does not show, in seconds";
    DATABASE_REPLICA_ROTATION_CHANGES_TOTAL = "database_replica_rotation_changes_total", Kind::Counter,
        ["replica", "reason"],
        "Times that a replica came into rotation or went out of it, by reason";

    // The cache.
    CACHE_REQUESTS_TOTAL = "cache_requests_total", Kind::Counter, ["tier", "outcome"],
        "Look-ups in the cache, by tier (local, shared) and outcome (hit, stale, miss)";
    CACHE_LOADS_TOTAL = "cache_loads_total", Kind::Counter, ["outcome"],
        "Bodies made for the cache, by outcome (found, absent, failed)";
    CACHE_COALESCED_TOTAL = "cache_coalesced_total", Kind::Counter, [],
        "Requests that waited for the load of another one instead of loading themselves";
    CACHE_EVICTIONS_TOTAL = "cache_evictions_total", Kind::Counter, ["cause"],
        "Bodies dropped from the tier in the process, by cause (size, age)";
    CACHE_BYTES = "cache_bytes", Kind::Gauge, [],
        "Bytes in the cache tier in the process";
    CACHE_INVALIDATIONS_TOTAL = "cache_invalidations_total", Kind::Counter, ["subject"],
        "Changes announced to the cache, by subject";
    CACHE_INVALIDATIONS_PENDING = "cache_invalidations_pending", Kind::Gauge, [],
        "Changes that the shared tier has not been told of yet";
    CACHE_COMMAND_DURATION_SECONDS = "cache_command_duration_seconds",
        Kind::Histogram(COMMAND_SECONDS), ["command", "outcome"],
        "Time of commands to the cache's Redis, in seconds";

    // Queues, jobs and mails.
    JOBS_PROCESSED_TOTAL = "jobs_processed_total", Kind::Counter, ["queue", "job", "outcome"],
        "Attempts at jobs that ended, by outcome";
    JOB_DURATION_SECONDS = "job_duration_seconds", Kind::Histogram(JOB_SECONDS), ["queue", "job"],
        "Time of one attempt at a job, in seconds";
    JOBS_STALLED_TOTAL = "jobs_stalled_total", Kind::Counter, ["queue"],
        "Times that a job was taken over from a process that died or fell silent";
    JOBS_IN_FLIGHT = "jobs_in_flight", Kind::Gauge, ["queue"],
        "Jobs being worked on by this process";
    QUEUE_DEPTH = "queue_depth", Kind::Gauge, ["queue", "state"],
        "Jobs in a queue, by state";
    QUEUE_BACKLOG = "queue_backlog", Kind::Gauge, ["queue"],
        "Jobs that are due or being worked on: waiting, prioritized, paused, active, and delayed ones whose time has come";
    QUEUE_OLDEST_WAITING_SECONDS = "queue_oldest_waiting_seconds", Kind::Gauge, ["queue"],
        "Age of the oldest waiting job, in seconds";
    JOBS_REPLAYED_TOTAL = "jobs_replayed_total", Kind::Counter, ["queue"],
        "Jobs that had failed or were refused, and were put back by an administrator";
    JOBS_PURGED_TOTAL = "jobs_purged_total", Kind::Counter, ["queue"],
        "Jobs that were removed by an administrator";
    OUTBOX_PENDING = "outbox_pending", Kind::Gauge, [],
        "Rows of the outbox that are not yet in a queue";
    OUTBOX_OLDEST_SECONDS = "outbox_oldest_seconds", Kind::Gauge, [],
        "Age of the oldest row of the outbox that is not yet in a queue, in seconds";
    OUTBOX_DISPATCHED_TOTAL = "outbox_dispatched_total", Kind::Counter, [],
        "Rows of the outbox that were put into a queue";
    OUTBOX_FAILED_TOTAL = "outbox_failed_total", Kind::Counter, [],
        "Attempts to put rows of the outbox into a queue that failed";
    MAILS_TOTAL = "mails_total", Kind::Counter, ["kind", "outcome"],
        "Mails, by kind and outcome";
}
