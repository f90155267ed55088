//! The queues, for administrators.

use axum::{Json, Router, extract::State, routing::get};
use bharatmart_commerce::Shop;
use bharatmart_config::WorkerMode;
use bharatmart_database::Database;
use bharatmart_queue::{Counts, JobQueues, QueueName};
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::{error::ApiError, extract::AdminUser, state::AppState};

pub(crate) fn router() -> Router<AppState> {
    Router::new().route("/api/queues/stats", get(queue_stats))
}

#[derive(Debug, Serialize)]
struct Stats {
    timestamp: DateTime<Utc>,
    queues: QueueCounts,
}

#[derive(Debug, Serialize)]
struct QueueCounts {
    orders: Counts,
    emails: Counts,
    payments: Counts,
}

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
