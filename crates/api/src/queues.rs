//! The queues, for administrators.

use std::{fmt, str::FromStr};

use axum::{
    Json,
    extract::{FromRequestParts, RawPathParams, State},
};
use bharatmart_commerce::{Action, Origin, Shop, record};
use bharatmart_config::WorkerMode;
use bharatmart_database::{Database, Freshness, outbox};
use bharatmart_domain::{Page, PageRequest, Position};
use bharatmart_queue::{
    ChangeError, Counts, JobQueues, JobRecord, JobRef, JobState, QueueName, UnknownQueue,
};
use bharatmart_telemetry::{
    chain,
    metrics::{JOBS_PURGED_TOTAL, JOBS_REPLAYED_TOTAL},
};
use chrono::{DateTime, Utc};
use http::{StatusCode, request::Parts};
use metrics::counter;
use serde::Serialize;
use serde_json::json;
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr, Required,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::{Schema, Type},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    error::ApiError,
    extract::{AdminUser, FromParams, Params, ValidatedQuery},
    page::{List, OffsetParams},
    state::AppState,
};

pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::default()
        .routes(routes!(queue_stats))
        .routes(routes!(list_jobs))
        .routes(routes!(show_job, remove_job))
        .routes(routes!(retry_job))
}

/// How much there is in each queue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueueStats)]
struct Stats {
    timestamp: DateTime<Utc>,
    queues: QueueCounts,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueueCountsByName)]
struct QueueCounts {
    orders: Counts,
    emails: Counts,
    payments: Counts,
}

/// Count the jobs
#[utoipa::path(
    get,
    path = "/api/queues/stats",
    tag = "Queues",
    security(("bearer" = ["admin"])),
    responses((status = 200, description = "How many there are.", body = Stats))
)]
async fn queue_stats(
    _: AdminUser,
    State(mode): State<WorkerMode>,
    State(queues): State<JobQueues>,
    State(database): State<Database>,
    State(shop): State<Shop>,
) -> Result<Json<Stats>, ApiError> {
    let count = async |queue| -> Result<Counts, ApiError> {
        Ok(match mode {
            WorkerMode::BullQueue => queues.counts(queue).await?,
            WorkerMode::InProcess => Counts::of_outbox(&database, queue).await?,
        })
    };
    let (orders, emails, payments) = tokio::try_join!(
        count(QueueName::OrderProcessing),
        count(QueueName::EmailNotifications),
        count(QueueName::PaymentProcessing),
    )?;
    let queues = QueueCounts {
        orders,
        emails,
        payments,
    };
    Ok(Json(Stats {
        timestamp: shop.clock.now(),
        queues,
    }))
}

/// What a list of jobs is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listed {
    /// Jobs of the queue in this state.
    In(JobState),
    /// Rows of the outbox that the queue never took.
    Refused,
}

impl FromStr for Listed {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        if text == "refused" {
            return Ok(Self::Refused);
        }
        JobState::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .map(Self::In)
            .ok_or(UnknownState)
    }
}

impl PartialSchema for Listed {
    fn schema() -> RefOr<Schema> {
        let states = JobState::ALL.into_iter().map(JobState::as_str);
        ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(states.chain(["refused"])))
            .into()
    }
}

/// A state that no job is ever in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct UnknownState;

impl fmt::Display for UnknownState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = JobState::ALL.into_iter().map(JobState::as_str).collect();
        write!(f, "must be one of {}, refused", names.join(", "))
    }
}

struct ListParams {
    listed: Listed,
    page: PageRequest,
}

impl FromParams for ListParams {
    fn from_params(params: &mut Params) -> Self {
        Self {
            listed: params
                .optional("state", "The state of the jobs; `failed` if not given. `refused` are those that the queue never took.")
                .unwrap_or(Listed::In(JobState::Failed)),
            page: OffsetParams::from_params(params).0,
        }
    }
}

/// List jobs
#[utoipa::path(
    get,
    path = "/api/queues/{queue}/jobs",
    tag = "Queues",
    security(("bearer" = ["admin"])),
    params(InPath<QueueName>, ValidatedQuery<ListParams>),
    responses(
        (status = 200, description = "A page of jobs, the latest first.", body = List<JobRecord>),
        (status = 404, description = "There is no such queue."),
    )
)]
async fn list_jobs(
    _: AdminUser,
    InPath(queue): InPath<QueueName>,
    State(mode): State<WorkerMode>,
    State(queues): State<JobQueues>,
    State(database): State<Database>,
    ValidatedQuery(params): ValidatedQuery<ListParams>,
) -> Result<Json<List<JobRecord>>, ApiError> {
    let request = params.page;
    let page = match (params.listed, mode) {
        (Listed::Refused, _) | (Listed::In(JobState::Failed), WorkerMode::InProcess) => {
            list_refused(&database, queue, &request).await?
        }
        (Listed::In(state), WorkerMode::BullQueue) => {
            list_queued(&queues, queue, state, &request).await?
        }
        (Listed::In(_), WorkerMode::InProcess) => {
            return Err(ApiError::invalid(
                "state",
                "must be failed: with WORKER_MODE=in-process no other jobs are listed",
            ));
        }
    };
    List::respond(page, &request)
}

async fn list_queued(
    queues: &JobQueues,
    queue: QueueName,
    state: JobState,
    request: &PageRequest,
) -> Result<Page<JobRecord>, ApiError> {
    let number = |number: i64| u64::try_from(number).unwrap_or(0);
    let (limit, offset) = (number(request.limit), number(offset(request)));
    let page = queues.list(queue, state, offset, limit).await?;
    Ok(Page {
        rows: page.jobs,
        total: i64::try_from(page.total).unwrap_or(i64::MAX),
        next: None,
    })
}

async fn list_refused(
    database: &Database,
    queue: QueueName,
    request: &PageRequest,
) -> Result<Page<JobRecord>, ApiError> {
    let of_queue = outbox::Refused {
        queue: Some(queue.as_str()),
        ..outbox::Refused::default()
    };
    let mut connection = database.read(Freshness::Latest).await?;
    let total = outbox::count_refused(&mut connection, of_queue.queue).await?;
    let rows = outbox::refused(&mut connection, of_queue, request.limit, offset(request)).await?;
    Ok(Page {
        rows: rows.into_iter().map(JobRecord::from).collect(),
        total,
        next: None,
    })
}

const fn offset(request: &PageRequest) -> i64 {
    match request.position {
        Position::Offset(offset) => offset,
        Position::After(_) => 0,
    }
}

/// Read a job
#[utoipa::path(
    get,
    path = "/api/queues/{queue}/jobs/{id}",
    tag = "Queues",
    security(("bearer" = ["admin"])),
    params(InPath<QueueName>, InPath<JobRef>),
    responses(
        (status = 200, description = "The job.", body = JobRecord),
        (status = 404, description = "There is no such queue or job."),
    )
)]
async fn show_job(
    _: AdminUser,
    InPath(queue): InPath<QueueName>,
    InPath(job): InPath<JobRef>,
    State(mode): State<WorkerMode>,
    State(queues): State<JobQueues>,
    State(database): State<Database>,
) -> Result<Json<JobRecord>, ApiError> {
    let found = match job {
        JobRef::Queued(id) => holding_jobs(mode, &queues)?.find(queue, &id).await?,
        JobRef::Refused(row) => {
            let mut connection = database.read(Freshness::Latest).await?;
            let rows = outbox::refused(&mut connection, one(queue, row), 1, 0).await?;
            rows.into_iter().map(JobRecord::from).next()
        }
    };
    found.map(Json).ok_or(ApiError::NotFound("Job"))
}

/// What became of a job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RetriedJob)]
struct Retried {
    id: String,
    #[schema(value_type = String)]
    queue: QueueName,
    /// `pending` is in the outbox, on its way to the queue.
    state: &'static str,
}

/// Do a job again
#[utoipa::path(
    post,
    path = "/api/queues/{queue}/jobs/{id}/retry",
    tag = "Queues",
    security(("bearer" = ["admin"])),
    params(InPath<QueueName>, InPath<JobRef>),
    responses(
        (status = 200, description = "It waits to be done.", body = Retried),
        (status = 404, description = "There is no such queue or job."),
        (status = 409, description = "Its state does not admit that."),
    )
)]
async fn retry_job(
    admin: AdminUser,
    InPath(queue): InPath<QueueName>,
    InPath(job): InPath<JobRef>,
    State(mode): State<WorkerMode>,
    State(queues): State<JobQueues>,
    State(shop): State<Shop>,
) -> Result<Json<Retried>, ApiError> {
    let (id, state) = match job {
        JobRef::Queued(id) => {
            holding_jobs(mode, &queues)?.retry(queue, &id).await?;
            let action = action("job.retry", queue, &id);
            note(&shop.database, &admin.origin, action).await;
            (id, JobState::Waiting.as_str())
        }
        JobRef::Refused(row) => {
            let mut transaction = shop.database.begin().await?;
            let rows = outbox::refused(&mut transaction, one(queue, row), 1, 0).await?;
            let revived = outbox::revive(&mut transaction, &ids(&rows)).await?;
            let row = rows.into_iter().find(|row| revived.contains(&row.id));
            let row = row.ok_or(ApiError::NotFound("Job"))?;
            let action = action("job.retry", queue, &row.job_id);
            record(&mut transaction, &admin.origin, action).await?;
            transaction.commit().await?;
            shop.relay.notify();
            counter!(JOBS_REPLAYED_TOTAL, "queue" => queue.as_str()).increment(1);
            (row.job_id, "pending")
        }
    };
    Ok(Json(Retried { id, queue, state }))
}

/// Remove a job
#[utoipa::path(
    delete,
    path = "/api/queues/{queue}/jobs/{id}",
    tag = "Queues",
    security(("bearer" = ["admin"])),
    params(InPath<QueueName>, InPath<JobRef>),
    responses(
        (status = 204, description = "It is gone."),
        (status = 404, description = "There is no such queue or job."),
        (status = 409, description = "Its state does not admit that."),
    )
)]
async fn remove_job(
    admin: AdminUser,
    InPath(queue): InPath<QueueName>,
    InPath(job): InPath<JobRef>,
    State(mode): State<WorkerMode>,
    State(queues): State<JobQueues>,
    State(database): State<Database>,
) -> Result<StatusCode, ApiError> {
    match job {
        JobRef::Queued(id) => {
            holding_jobs(mode, &queues)?.remove(queue, &id).await?;
            note(&database, &admin.origin, action("job.remove", queue, &id)).await;
        }
        JobRef::Refused(row) => {
            let mut transaction = database.begin().await?;
            let rows = outbox::refused(&mut transaction, one(queue, row), 1, 0).await?;
            let purged = outbox::purge(&mut transaction, &ids(&rows)).await?;
            let row = rows.into_iter().find(|row| purged.contains(&row.id));
            let row = row.ok_or(ApiError::NotFound("Job"))?;
            let action = action("job.remove", queue, &row.job_id);
            record(&mut transaction, &admin.origin, action).await?;
            transaction.commit().await?;
            counter!(JOBS_PURGED_TOTAL, "queue" => queue.as_str()).increment(1);
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

fn action(name: &'static str, queue: QueueName, job_id: &str) -> Action {
    Action {
        name,
        resource_type: "job",
        resource_id: job_id.to_owned(),
        changes: json!({ "queue": queue.as_str() }),
    }
}

/// Writes down what was done in Redis, which knows no transaction together with the database: when this fails, it is
/// done all the same, and the log of the process has to do.
async fn note(database: &Database, origin: &Origin, action: Action) {
    let write = async {
        let mut connection = database.write().await?;
        record(&mut connection, origin, action.clone()).await
    };
    if let Err(error) = write.await {
        tracing::error!(
            error = chain(&error),
            actor.id = origin.actor_id.map(tracing::field::display),
            action = action.name,
            job.id = action.resource_id,
            "the audit log lacks this action"
        );
    }
}

/// The queues that hold jobs; an error where none does, because the API does them straight from the outbox.
fn holding_jobs(mode: WorkerMode, queues: &JobQueues) -> Result<&JobQueues, ApiError> {
    match mode {
        WorkerMode::BullQueue => Ok(queues),
        WorkerMode::InProcess => Err(ApiError::NotFound("Job")),
    }
}

/// The row of the outbox with this number, if it was for `queue`.
fn one(queue: QueueName, row: i64) -> outbox::Refused<'static> {
    outbox::Refused {
        queue: Some(queue.as_str()),
        id: Some(row),
        ..outbox::Refused::default()
    }
}

fn ids(rows: &[outbox::RefusedJob]) -> Vec<i64> {
    rows.iter().map(|row| row.id).collect()
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NotFound => Self::NotFound("Job"),
            error @ (ChangeError::State(_) | ChangeError::Scheduled) => Self::Conflict {
                code: "job_state",
                message: format!("This cannot be done: {error}"),
                field: None,
            },
            ChangeError::Queue(error) => error.into(),
        }
    }
}

/// `{queue}` or `{id}` of a route.
struct InPath<T>(T);

/// A part of a path that names something.
trait PathPart: Sized {
    const NAME: &'static str;
    const ABOUT: &'static str;

    fn read(text: &str) -> Result<Self, ApiError>;
}

impl PathPart for QueueName {
    const NAME: &'static str = "queue";
    const ABOUT: &'static str = "`orders`, `emails` or `payments`, or the queue's name in Redis.";

    fn read(text: &str) -> Result<Self, ApiError> {
        text.parse()
            .map_err(|_: UnknownQueue| ApiError::NotFound("Queue"))
    }
}

impl PathPart for JobRef {
    const NAME: &'static str = "id";
    const ABOUT: &'static str =
        "The job's id; of one that the queue never took `outbox:` and its number.";

    fn read(text: &str) -> Result<Self, ApiError> {
        Ok(Self::from(text))
    }
}

impl<T: PathPart, S: Send + Sync> FromRequestParts<S> for InPath<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let malformed = || ApiError::invalid("path", "must be UTF-8");
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| malformed())?;
        let part = params.iter().find(|(name, _)| *name == T::NAME);
        T::read(part.ok_or_else(malformed)?.1).map(Self)
    }
}

impl<T: PathPart> IntoParams for InPath<T> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new().schema_type(Type::String);
        let parameter = ParameterBuilder::new()
            .name(T::NAME)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some(T::ABOUT))
            .schema(Some(schema));
        vec![parameter.build()]
    }
}
