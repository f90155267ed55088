//! What handlers share.

use std::time::Duration;

use axum::extract::FromRef;
use bharatmart_commerce::{Accounts, Shop};
use bharatmart_database::Database;
use bharatmart_queue::JobQueues;

use crate::{system::SystemInfo, tokens::Tokens};

/// The parts of the API; cheap to clone. A handler asks for the part that it needs.
#[derive(Clone, FromRef)]
pub struct AppState {
    /// What the shop does.
    pub shop: Shop,
    /// Signing up, in and out.
    pub accounts: Accounts,
    /// Access tokens.
    pub tokens: Tokens,
    /// For reads that need no business rule.
    pub database: Database,
    /// For the queues' statistics.
    pub queues: JobQueues,
    /// What `/api/system/info` tells.
    pub info: SystemInfo,
    /// How long a request may take.
    pub request_timeout: RequestTimeout,
}

/// How long a request may take.
#[derive(Clone, Copy, Debug)]
pub struct RequestTimeout(pub Duration);
