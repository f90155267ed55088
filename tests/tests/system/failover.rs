//! The primary goes, and a standby takes over.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bharatmart_test_support::{App, servers::Replication, wait_until};
use tokio::{
    sync::watch,
    time::{interval, sleep},
};

use crate::{
    load::spread,
    replicated::{DATABASE, Replicated, pool},
    stack::SOON,
    traffic::{Kind, Traffic, Visit, report},
};

/// How long an order that cannot be taken may wait for that answer.
const PROMPT: Duration = Duration::from_secs(1);
/// The same for one that was under way when the primary went.
const UNDER_WAY: Duration = Duration::from_secs(2);
/// So long after the promotion orders are taken again.
const RESUMED: Duration = Duration::from_secs(5);

/// The database's URL, which names all servers.
fn url(servers: &Replication) -> String {
    let ports = [&servers.primary].into_iter().chain(&servers.standbys);
    let hosts: Vec<_> = ports
        .map(|server| format!("127.0.0.1:{}", server.port()))
        .collect();
    let hosts = hosts.join(",");
    format!("postgres://postgres@{hosts}/{DATABASE}?target_session_attrs=read-write")
}

/// The standby that has more of the log than the others: what is confirmed is on one of them at least.
async fn furthest(servers: &Replication) -> Result<usize> {
    let mut furthest = (0, 0);
    for (number, standby) in servers.standbys.iter().enumerate() {
        furthest = furthest.max((standby.wal_position().await?, number));
    }
    Ok(furthest.1)
}

/// Asks until told to stop whether the API is ready; how often it was not.
async fn readiness(probe: reqwest_url::Probe, go_on: watch::Receiver<bool>) -> Result<usize> {
    probe.run(go_on).await
}
