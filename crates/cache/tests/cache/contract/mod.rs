//! What every cache does, whatever it is made of. The differences are two: whether it keeps anything, and
//! whether processes share it.

mod bodies;
mod changes;
mod commands;
mod crowds;
mod freshness;
mod times;

use std::time::Duration;

use anyhow::{Result, bail};
use bharatmart_config::CacheConfig;
use futures_util::future::LocalBoxFuture;
use tokio::time::timeout;

use crate::support::{Backend, Process, Servers};

/// What one fact is shown with: processes that share nothing with those of other facts.
struct World<'a> {
    backend: Backend,
    servers: &'a Servers,
    fact: &'static str,
}

/// The beginning of all prefixes.
const PREFIX: &str = "contract-";
/// What waits longer waits for ever.
const FACT_LIMIT: Duration = Duration::from_secs(20);

impl World<'_> {
    fn config(&self) -> Result<CacheConfig> {
        self.servers.config(&format!("{PREFIX}{}", self.fact))
    }

    /// A process that can use the cache.
    async fn process(&self) -> Result<Process> {
        Process::start(&self.config()?).await
    }

    fn keeps(&self) -> bool {
        self.backend.keeps()
    }

    fn shares(&self) -> bool {
        self.backend.shares()
    }
}

type Fact = (
    &'static str,
    for<'a> fn(&'a World<'a>) -> LocalBoxFuture<'a, Result<()>>,
);

macro_rules! facts {
    ($($module:ident::$name:ident),* $(,)?) => {
        &[$((stringify!($name), |world| Box::pin($module::$name(world)))),*]
    };
}

const FACTS: &[Fact] = facts![
    bodies::a_body_is_loaded_once_and_then_found,
    bodies::what_is_absent_is_remembered_for_a_short_time_and_by_one_process,
    bodies::an_empty_body_is_kept_like_an_absence,
    bodies::what_strangers_choose_stays_in_the_process,
    bodies::a_failure_is_told_to_all_who_waited_and_not_kept,
    bodies::after_a_failure_another_process_loads_at_once,
    bodies::after_a_panic_the_next_load_works,
    crowds::a_crowd_in_one_process_loads_once,
    crowds::crowds_in_two_processes_load_at_most_twice,
    changes::a_changed_product_is_new_everywhere,
    changes::changed_stock_is_new_on_the_page_and_soon_in_lists,
    changes::frequent_changes_of_stock_outdate_lists_once_a_second,
    changes::what_was_loaded_before_a_change_is_shown_to_nobody_after_it,
    changes::a_write_is_announced_once_it_is_committed_whoever_still_waits,
    freshness::who_has_seen_more_than_a_kept_body_shows_gets_a_new_one,
    freshness::what_is_too_old_for_one_client_is_shown_to_others_until_there_is_a_newer_one,
    freshness::what_is_past_its_time_and_too_old_is_loaded_for_all,
    freshness::what_nobody_can_date_is_not_kept,
    times::a_body_past_its_time_is_shown_while_one_process_loads_it_anew,
    times::a_body_is_not_shown_long_after_its_time,
];

async fn holds(backend: Backend) -> Result<()> {
    let servers = Servers::start(backend).await?;
    let mut monitors = servers.monitors().await?;
    let mut failures = Vec::new();
    for &(fact, shown) in FACTS {
        let world = World {
            backend,
            servers: &servers,
            fact,
        };
        match timeout(FACT_LIMIT, shown(&world)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failures.push(format!("{fact}: {error:#}")),
            Err(_) => failures.push(format!("{fact}: not shown within {FACT_LIMIT:?}")),
        }
    }
    let mut lines = Vec::new();
    for monitor in &mut monitors {
        lines.extend(monitor.lines().await?);
    }
    if let Err(error) = commands::are_fit_for_a_shared_server(backend, &lines) {
        failures.push(format!("{error:#}"));
    }
    if !failures.is_empty() {
        bail!("with {backend:?}\n{}", failures.join("\n"));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_without_a_cache() -> Result<()> {
    holds(Backend::None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_in_memory() -> Result<()> {
    holds(Backend::Memory).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_in_redis() -> Result<()> {
    holds(Backend::Redis).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_in_a_redis_with_tls_password_and_database() -> Result<()> {
    holds(Backend::GuardedRedis).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_in_a_cluster() -> Result<()> {
    holds(Backend::Cluster).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_behind_sentinels() -> Result<()> {
    holds(Backend::Sentinel).await
}
