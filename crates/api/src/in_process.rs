//! The jobs, where this process does them itself: `WORKER_MODE=in-process`.

use bharatmart_commerce::Shop;
use bharatmart_jobs::{Mailer, handlers, reconcile};
use bharatmart_lifecycle::Lifecycle;
use bharatmart_queue::{OutboxWorker, QueueName};
use tokio::sync::watch;

/// Does the jobs, and looks after what they have left undone, once the schema is this build's. Jobs have
/// until shortly before the end to finish; the rest is handed back then.
pub(crate) fn spawn(
    worker: OutboxWorker,
    mailer: Mailer,
    shop: &Shop,
    schema_is_current: &watch::Receiver<bool>,
    lifecycle: &Lifecycle,
) {
    let handlers = vec![
        handlers::orders(shop),
        handlers::emails(&shop.database, mailer),
        handlers::payments(shop),
    ];
    let (stopping, aborting) = (lifecycle.stopping(), lifecycle.aborting());
    let mut schema = schema_is_current.clone();
    lifecycle.spawn("jobs", async move {
        let current = schema.wait_for(|current| *current);
        match stopping.run_until_cancelled(current).await {
            Some(Ok(_)) => {}
            // Nothing was begun. Whoever looks at the schema says why it gave up.
            Some(Err(_)) | None => return,
        }
        worker.run(handlers, stopping, aborting).await;
    });
    for queue in QueueName::ALL {
        let reconciling = Box::pin(reconcile::run(
            shop.clone(),
            queue,
            schema_is_current.clone(),
        ));
        let stopping = lifecycle.stopping();
        lifecycle.spawn("reconciliation", async move {
            stopping.run_until_cancelled(reconciling).await;
        });
    }
}
