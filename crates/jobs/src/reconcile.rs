//! Looks now and then for what jobs have left undone.

use std::time::Duration;

use bharatmart_commerce::{Shop, reconcile_orders, reconcile_payments};
use bharatmart_queue::QueueName;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

/// How often it looks; the first time right after the start.
const INTERVAL: Duration = Duration::from_secs(30);

/// Looks after the jobs of `queue`, once the schema is this build's. What it is in the middle of when
/// it is dropped is found again.
pub async fn run(shop: Shop, queue: QueueName, mut schema_is_current: watch::Receiver<bool>) {
    if schema_is_current
        .wait_for(|current| *current)
        .await
        .is_err()
    {
        return;
    }
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let tried = match queue {
            QueueName::OrderProcessing => reconcile_orders(&shop).await,
            QueueName::PaymentProcessing => reconcile_payments(&shop).await,
            QueueName::EmailNotifications => return,
        };
        match tried {
            Ok(0) => {}
            Ok(tried) => tracing::info!(%queue, tried, "reconciled"),
            Err(error) => tracing::warn!(
                %queue,
                error = &error as &dyn std::error::Error,
                "reconciliation is put off"
            ),
        }
    }
}
