//! The jobs, where this process does them itself: `WORKER_MODE=in-process`.

use bharatmart_commerce::Shop;
use bharatmart_jobs::{Mailer, handlers};
use bharatmart_lifecycle::Lifecycle;
use bharatmart_queue::OutboxWorker;
use tokio::sync::watch;

/// Does the jobs, those that come by the clock as well, once the schema is this build's. They have until shortly
/// before the end to finish; the rest is handed back then.
pub(crate) fn spawn(
    worker: OutboxWorker,
    mailer: Mailer,
    shop: &Shop,
    schema_is_current: &watch::Receiver<bool>,
    lifecycle: &Lifecycle,
) {
    let handlers = vec![
        handlers::orders(shop),
        handlers::emails(shop, mailer),
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
}
