//! What an administrator sees of the queues and does in them.

use std::{sync::Arc, time::Duration};

use bharatmart_config::{QueueConfig, Source};
use bharatmart_domain::{Clock, SystemClock};
use bharatmart_queue::{
    Handlers, JobError, JobQueues, PaymentDeadline, PendingJob, QueueName, QueueWorker,
    WorkerOptions,
};
use bharatmart_test_support::{servers::RedisServer, test_prefix, test_redis_url, wait_until};
use http::StatusCode;
use serde_json::json;

use crate::{Api, Person};

const SOON: Duration = Duration::from_secs(10);
const JOBS: &str = "/api/queues/orders/jobs";

struct Bench {
    api: Api,
    admin: Person,
    queues: JobQueues,
    config: QueueConfig,
}

async fn bench() -> Bench {
    let (redis, prefix) = (test_redis_url(), test_prefix());
    let settings = [("REDIS_URL", redis.as_str()), ("QUEUE_PREFIX", &prefix)];
    let config = QueueConfig::read(&Source::from_map(settings)).expect("the settings are good");
    let api = Api::start_with(&settings).await;
    let admin = api.admin().await;
    let queues = JobQueues::connect(&config, Arc::new(SystemClock));
    queues.connected(SOON).await.expect("Redis is there");
    wait_until("the API's queue", SOON, async || {
        let answer = api.get(JOBS, Some(&admin)).await;
        answer.status.is_success().then_some(())
    })
    .await
    .expect("Redis is there");
    Bench {
        api,
        admin,
        queues,
        config,
    }
}

impl Bench {
    /// Adds jobs that fail, and waits until they have.
    async fn fail(&self, ids: &[&str]) {
        let now = SystemClock.now();
        let rows: Vec<_> = ids
            .iter()
            .map(|id| PendingJob {
                id: 1,
                queue: QueueName::OrderProcessing.to_string(),
                job_name: "payment-deadline".to_owned(),
                job_id: (*id).to_owned(),
                payload: json!({ "orderId": "01890000-0000-7000-8000-000000000000" }),
                run_at: now,
                created_at: now,
            })
            .collect();
        self.queues.add_batch(&rows).await.expect("Redis is there");
        let handlers = Handlers::new(QueueName::OrderProcessing)
            .on(async |_: PaymentDeadline, _| Err(JobError::fail("no such order")));
        let options = WorkerOptions {
            concurrency: 1,
            lock_duration: Duration::from_secs(30),
            stalled_interval: Duration::from_secs(30),
            job_timeout: Duration::from_secs(30),
        };
        let worker = QueueWorker::spawn(&self.config, options, handlers);
        wait_until("the jobs have failed", SOON, async || {
            let answer = self.api.get(JOBS, Some(&self.admin)).await;
            (answer.body["count"] == ids.len()).then_some(())
        })
        .await
        .expect("they fail");
        worker.shutdown(Duration::ZERO).await;
    }

    async fn call(&self, method: &str, path: &str) -> crate::Answer {
        self.api.call(method, path, Some(&self.admin), None).await
    }

    /// Writes a row that its queue refused; its number.
    async fn refuse(&self, job_id: &str) -> i64 {
        sqlx::query_scalar(
            "INSERT INTO outbox (queue, job_name, job_id, payload, dispatched_at, failed_at, failed_reason)
             VALUES ('order-processing', 'payment-deadline', $1, '{}', now(), now(), 'the job id is a number')
             RETURNING id",
        )
        .bind(job_id)
        .fetch_one(&self.api.test_database.pool().await)
        .await
        .expect("the row is good")
    }
}

#[tokio::test]
async fn a_failed_job_is_found_replayed_and_removed() {
    let bench = bench().await;
    bench.fail(&["deadline-a", "deadline-b"]).await;

    let list = bench.call("GET", &format!("{JOBS}?limit=1&offset=1")).await;
    assert_eq!(list.status, StatusCode::OK);
    assert_eq!(
        (
            &list.body["count"],
            &list.body["limit"],
            &list.body["offset"]
        ),
        (&json!(2), &json!(1), &json!(1))
    );
    let whole = bench
        .call("GET", "/api/queues/order-processing/jobs?state=failed")
        .await;
    let job = whole.body["data"]
        .as_array()
        .and_then(|jobs| jobs.iter().find(|job| job["id"] == "deadline-a"))
        .expect("it is in the list");
    assert_eq!(job["failed_reason"], "no such order");
    assert_eq!(job["state"], "failed");
    let path = format!("{JOBS}/deadline-a");
    assert_eq!(&bench.call("GET", &path).await.body, job);

    let retried = bench.call("POST", &format!("{path}/retry")).await;
    assert_eq!(retried.status, StatusCode::OK, "{}", retried.body);
    assert_eq!(
        retried.body,
        json!({ "id": "deadline-a", "queue": "order-processing", "state": "waiting" })
    );
    let job = bench.call("GET", &path).await;
    assert_eq!(job.body["state"], "waiting");
    assert_eq!(job.body["failed_reason"], json!(null));
    assert_eq!(job.body["attempts_made"], 0);
    let again = bench.call("POST", &format!("{path}/retry")).await;
    assert_eq!(
        (again.status, again.text("code")),
        (StatusCode::CONFLICT, "job_state")
    );
    assert!(again.text("error").contains("waiting"), "{}", again.body);

    let path = format!("{JOBS}/deadline-b");
    assert_eq!(
        bench.call("DELETE", &path).await.status,
        StatusCode::NO_CONTENT
    );
    for (method, path) in [
        ("GET", path.clone()),
        ("DELETE", path.clone()),
        ("POST", format!("{path}/retry")),
    ] {
        let answer = bench.call(method, &path).await;
        assert_eq!(
            (answer.status, answer.text("error")),
            (StatusCode::NOT_FOUND, "Job not found"),
            "{method} {path}"
        );
    }
    let stats = bench.call("GET", "/api/queues/stats").await;
    assert_eq!(stats.body["queues"]["orders"]["failed"], 0);
    assert_eq!(stats.body["queues"]["orders"]["backlog"], 1);
}

#[tokio::test]
async fn rows_that_a_queue_refused_are_found_replayed_and_removed() {
    let bench = bench().await;
    let (first, second) = (bench.refuse("42").await, bench.refuse("43").await);
    let list = bench.call("GET", &format!("{JOBS}?state=refused")).await;
    assert_eq!(list.body["count"], 2);
    let job = &list.body["data"][1];
    assert_eq!(job["id"], format!("outbox:{first}"));
    assert_eq!(job["kept_by"], "outbox");
    assert_eq!(job["failed_reason"], "the job id is a number");
    let other = bench
        .call("GET", "/api/queues/emails/jobs?state=refused")
        .await;
    assert_eq!(other.body["count"], 0);

    let elsewhere = format!("/api/queues/emails/jobs/outbox:{first}/retry");
    assert_eq!(
        bench.call("POST", &elsewhere).await.status,
        StatusCode::NOT_FOUND
    );
    let path = format!("{JOBS}/outbox:{first}");
    assert_eq!(&bench.call("GET", &path).await.body, job);
    let retried = bench.call("POST", &format!("{path}/retry")).await;
    assert_eq!(
        retried.body,
        json!({ "id": "42", "queue": "order-processing", "state": "pending" })
    );
    let pending: bool = sqlx::query_scalar(
        "SELECT failed_at IS NULL AND dispatched_at IS NULL AND failed_reason IS NULL FROM outbox WHERE id = $1",
    )
    .bind(first)
    .fetch_one(&bench.api.test_database.pool().await)
    .await
    .unwrap();
    assert!(pending);
    let path = format!("{JOBS}/outbox:{second}");
    assert_eq!(
        bench.call("DELETE", &path).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(bench.call("GET", &path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn without_redis_the_jobs_are_unavailable_for_a_moment_and_the_refused_ones_are_not() {
    let redis = RedisServer::temporary().await.expect("a server");
    let url = redis.url();
    let api = Api::start_with(&[("REDIS_URL", &url)]).await;
    let admin = api.admin().await;
    drop(redis);
    for (method, path) in [
        ("GET", JOBS.to_owned()),
        ("GET", format!("{JOBS}/x")),
        ("DELETE", format!("{JOBS}/x")),
        ("POST", format!("{JOBS}/x/retry")),
    ] {
        let answer = api.call(method, &path, Some(&admin), None).await;
        assert_eq!(
            answer.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{method} {path}"
        );
        assert_eq!(answer.headers["retry-after"], "5");
    }
    let refused = api
        .get(&format!("{JOBS}?state=refused"), Some(&admin))
        .await;
    assert_eq!(refused.status, StatusCode::OK);
}
