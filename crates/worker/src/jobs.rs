//! The workers of the queues, from their start to their end.

use std::{
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bharatmart_config::{QueueConfig, WorkerConfig, WorkerType};
use bharatmart_queue::{Handlers, QueueName, QueueWorker, WorkerOptions, WorkerState};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::WorkerEnded;

/// What handing jobs back may take after the last moment for finishing them.
const HAND_BACK: Duration = Duration::from_secs(3);

/// The queues of a `WORKER_TYPE`.
pub(crate) fn served_queues(worker_type: WorkerType) -> &'static [QueueName] {
    match worker_type {
        WorkerType::Email => &[QueueName::EmailNotifications],
        WorkerType::Order => &[QueueName::OrderProcessing],
        WorkerType::Payment => &[QueueName::PaymentProcessing],
        WorkerType::All => &QueueName::ALL,
    }
}

/// How long jobs may go on after SIGTERM: all but what handing the rest back takes.
pub(crate) fn grace(shutdown_timeout: Duration) -> Duration {
    shutdown_timeout
        .saturating_sub(HAND_BACK)
        .max(shutdown_timeout / 2)
}

/// Tells whether a queue is served, before its worker exists and after.
#[derive(Clone, Debug, Default)]
pub(crate) struct Served(Arc<OnceLock<WorkerState>>);

impl Served {
    pub(crate) fn is_running(&self) -> bool {
        self.0.get().is_some_and(WorkerState::is_running)
    }
}

/// Why a worker is not ready.
#[derive(Debug, thiserror::Error)]
#[error("not every queue is served yet")]
pub(crate) struct NotServed;

/// Whether every queue is served.
pub(crate) fn all_served(queues: &[Served]) -> Result<(), NotServed> {
    if queues.iter().all(Served::is_running) {
        Ok(())
    } else {
        Err(NotServed)
    }
}

/// Serves one queue, once the schema is current and the queue's Redis fit, until `stopping`.
pub(crate) struct Service {
    pub(crate) queue: QueueConfig,
    pub(crate) worker: WorkerConfig,
    pub(crate) handlers: Handlers,
    pub(crate) schema_is_current: watch::Receiver<bool>,
    pub(crate) server_is_fit: watch::Receiver<bool>,
    pub(crate) stopping: CancellationToken,
    pub(crate) aborting: CancellationToken,
    pub(crate) grace: Duration,
    pub(crate) served: Served,
}

/// How a worker is to end.
struct End {
    /// Take no more jobs.
    stopping: CancellationToken,
    /// Hand back what still runs.
    aborting: CancellationToken,
    /// How long jobs may go on in between.
    grace: Duration,
}

impl Service {
    pub(crate) async fn run(mut self) -> Result<(), WorkerEnded> {
        for good in [&mut self.schema_is_current, &mut self.server_is_fit] {
            let good = good.wait_for(|good| *good);
            match self.stopping.run_until_cancelled(good).await {
                Some(Ok(_)) => {}
                // Nothing was begun. Whoever looks at schema and server says why it gave up.
                Some(Err(_)) | None => return Ok(()),
            }
        }
        let options = WorkerOptions::from(&self.worker);
        let worker = QueueWorker::spawn(&self.queue, options, self.handlers);
        let end = End {
            stopping: self.stopping,
            aborting: self.aborting,
            grace: self.grace,
        };
        attend(worker, &self.served, &end).await
    }
}

/// Lets `worker` work until it is told to stop; one that ends before is an error.
async fn attend(worker: QueueWorker, served: &Served, end: &End) -> Result<(), WorkerEnded> {
    let queue = worker.queue();
    served.0.get_or_init(|| worker.state());
    let stopped = end.stopping.run_until_cancelled(worker.ended()).await;
    let asked = stopped.is_none();
    let hand_back = worker.hand_back();
    // Says what became of its jobs, or why it ended.
    let mut shutdown = pin!(worker.shutdown(end.grace));
    let hurried = end.aborting.run_until_cancelled(shutdown.as_mut()).await;
    if hurried.is_none() {
        hand_back.cancel();
        shutdown.await;
    }
    if asked {
        Ok(())
    } else {
        Err(WorkerEnded(queue))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, process::ExitCode};

    use bharatmart_config::Source;
    use bharatmart_lifecycle::Lifecycle;
    use bharatmart_queue::{Job, PaymentDeadline};
    use bharatmart_test_support::{test_prefix, test_redis_url, wait_until};
    use serde_json::json;

    use super::*;

    #[test]
    fn jobs_get_all_of_the_shutdown_but_what_handing_back_takes() {
        assert_eq!(grace(Duration::from_secs(25)), Duration::from_secs(22));
        assert_eq!(grace(Duration::from_secs(4)), Duration::from_secs(2));
    }

    fn queue_config() -> QueueConfig {
        let source = Source::from_map(BTreeMap::from([
            ("REDIS_URL", test_redis_url()),
            ("QUEUE_PREFIX", test_prefix()),
        ]));
        QueueConfig::read(&source).unwrap()
    }

    fn handlers() -> Handlers {
        Handlers::new(PaymentDeadline::QUEUE).on(async |_: PaymentDeadline, _| Ok(json!("done")))
    }

    #[tokio::test]
    async fn no_worker_is_started_before_the_schema_is_current() {
        let (_schema, schema_is_current) = watch::channel(false);
        let (_server, server_is_fit) = watch::channel(true);
        let (served, stopping) = (Served::default(), CancellationToken::new());
        let source = Source::from_map(BTreeMap::from([("WORKER_TYPE", "order")]));
        let service = Service {
            queue: queue_config(),
            worker: WorkerConfig::read(&source).unwrap(),
            handlers: handlers(),
            schema_is_current,
            server_is_fit,
            stopping: stopping.clone(),
            aborting: CancellationToken::new(),
            grace: Duration::ZERO,
            served: served.clone(),
        };
        let running = tokio::spawn(service.run());
        tokio::task::yield_now().await;
        stopping.cancel();
        running.await.unwrap().unwrap();
        assert!(served.0.get().is_none());
    }

    fn spawn_worker() -> QueueWorker {
        let config = queue_config();
        let options = WorkerOptions {
            concurrency: 1,
            lock_duration: Duration::from_secs(30),
            stalled_interval: Duration::from_secs(30),
            job_timeout: Duration::from_secs(30),
            limiter: None,
        };
        QueueWorker::spawn(&config, options, handlers())
    }

    #[test]
    fn a_worker_that_ends_by_itself_ends_the_process_with_a_failure() {
        let runtime = || {
            tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .unwrap()
        };
        let (ours, victim) = (runtime(), runtime());
        let worker = {
            let _entered = victim.enter();
            spawn_worker()
        };
        ours.block_on(async {
            let limit = Duration::from_secs(20);
            let lifecycle = Lifecycle::without_signals(limit, Duration::ZERO);
            let end = End {
                stopping: lifecycle.stopping(),
                aborting: lifecycle.aborting(),
                grace: Duration::ZERO,
            };
            let served = Served::default();
            assert!(all_served(std::slice::from_ref(&served)).is_err());
            let watched = served.clone();
            lifecycle.spawn("jobs", async move { attend(worker, &watched, &end).await });
            wait_until("the worker takes jobs", limit, async || {
                all_served(std::slice::from_ref(&served)).ok()
            })
            .await
            .unwrap();
            // The task dies as it does of a panic: it is dropped where it stands.
            victim.shutdown_background();
            let code = tokio::time::timeout(limit, lifecycle.run()).await.unwrap();
            assert_eq!(code, ExitCode::FAILURE);
            assert!(all_served(&[served]).is_err());
        });
    }
}
