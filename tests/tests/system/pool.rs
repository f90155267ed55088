//! More requests than connections.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bharatmart_test_support::{App, AppBuilder, servers::Replication, wait_until};
use futures_util::future::{join_all, try_join_all};
use sqlx::PgPool;
use tokio::{
    sync::watch,
    time::{interval, sleep, timeout},
};

use crate::{
    cache::page_of,
    load::spread,
    replicated::Replicated,
    shopper::Shopper,
    stack::{SOON, Stack, add_product, customer},
};

const POOL: u8 = 10;
/// How long a request waits for a connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(2);
const MARGIN: Duration = Duration::from_secs(1);

/// Counts until told to stop how many connections the API has; the most.
async fn most_backends(pool: PgPool, go_on: watch::Receiver<bool>) -> Result<i64> {
    let mut ticks = interval(Duration::from_millis(50));
    let mut most = 0;
    while *go_on.borrow() {
        ticks.tick().await;
        let count = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'bharatmart-api'",
        )
        .fetch_one(&pool)
        .await?;
        most = most.max(count);
    }
    Ok(most)
}

async fn in_use(api: &App) -> Result<Option<f64>> {
    api.metric("database_pool_connections{server=\"primary\",state=\"in_use\"}")
        .await
}

/// [`crowd`] in a shop without replicas.
async fn crowd_without_replicas(locked: Duration, statement_timeout: Duration) -> Result<usize> {
    let stack = Stack::new().await?;
    let api = stack.api().database_url(stack.database.direct_url());
    crowd(api, &stack.pool, None, locked, statement_timeout).await
}

/// Has 300 ask for what nobody gets for as long as the tables are `locked`, on all `servers` if there are several;
/// every second of them hangs up. How many of the others got it.
async fn crowd(
    api: AppBuilder,
    pool: &PgPool,
    servers: Option<&Replication>,
    locked: Duration,
    statement_timeout: Duration,
) -> Result<usize> {
    const CROWD: usize = 300;
    let product = add_product(pool, "Jalebi", 60, 100).await?;
    let millis = |duration: Duration| duration.as_millis().to_string();
    let api = api
        .env("CACHE_TYPE", "none")
        .env("DATABASE_POOL_SIZE", POOL.to_string())
        .env("DATABASE_CONNECTION_TIMEOUT", millis(CONNECTION_TIMEOUT))
        .env("DATABASE_STATEMENT_TIMEOUT", millis(statement_timeout))
        .start()
        .await?;
    let customer = customer(&api).await?;
    let access = customer.token().context("signed in")?;
    // What may be shared is made to its end whoever leaves; what is one's own is given up.
    let paths = [page_of(product), "/api/orders".to_owned()];
    let shoppers = try_join_all((0..CROWD).map(|_| Shopper::open(&api, access))).await?;
    let watching = watch::Sender::new(true);
    let backends = tokio::spawn(most_backends(pool.clone(), watching.subscribe()));

    let mut lock = pool.begin().await?;
    sqlx::query("LOCK TABLE products, orders IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await?;
    if let Some(servers) = servers {
        // Standbys get the lock with the next commit.
        sqlx::query("CREATE TABLE locked ()").execute(pool).await?;
        servers.wait_until_replayed().await?;
    }
    let begin = Instant::now();
    let asking = shoppers
        .into_iter()
        .enumerate()
        .map(|(number, mut shopper)| {
            let path = &paths[number / 2 % 2];
            async move {
                let asked = Instant::now();
                let hangs_up = number % 2 == 1;
                // Some have a connection then, others wait for one.
                let patience = if hangs_up { locked / 2 } else { SOON };
                let reply = timeout(patience, shopper.get(path, None)).await;
                if hangs_up {
                    return Ok(None);
                }
                let reply = reply.context("no answer")??;
                anyhow::Ok(Some((asked.elapsed(), reply)))
            }
        });
    let unlocking = async {
        sleep(locked).await;
        lock.rollback().await
    };
    let (answers, unlocked) = tokio::join!(join_all(asking), unlocking);
    unlocked?;
    println!("all were answered after {:?}", begin.elapsed());

    let answers: Vec<_> = answers.into_iter().collect::<Result<_>>()?;
    let mut got = 0;
    let mut times = Vec::new();
    for (took, reply) in answers.into_iter().flatten() {
        assert!([200, 503].contains(&reply.status), "{}", reply.status);
        assert!(reply.status == 200 || reply.header("retry-after").is_some());
        got += usize::from(reply.status == 200);
        times.push(took);
    }
    assert_eq!(times.len(), CROWD / 2);
    let [median, nearly_all, most] = spread(times);
    println!(
        "of {} who stayed {got} got it; median {median:?}, p99 {nearly_all:?}, at most {most:?}",
        CROWD / 2
    );
    assert!(most < CONNECTION_TIMEOUT + MARGIN, "{most:?}");

    wait_until("the pool to be at rest", SOON, async || {
        Ok(in_use(&api).await? == Some(0.0))
    })
    .await?;
    let again = (0..CROWD).map(|number| {
        let path = &paths[number % 2];
        let api = &api;
        async move {
            let mut shopper = Shopper::open(api, access).await?;
            shopper.get(path, None).await?.expect(200)
        }
    });
    try_join_all(again).await?;
    watching.send_replace(false);
    let backends = backends.await??;
    println!("at most {backends} connections");
    // Between the end of one and the server's notice of it there is another. Replicas need a monitor.
    assert!(backends <= i64::from(POOL) + 2, "{backends}");
    Ok(got)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gets_no_connection_in_time_is_told_to_come_again() -> Result<()> {
    let got = crowd_without_replicas(Duration::from_millis(2500), Duration::from_secs(10)).await?;
    // Those who had one.
    assert!(got <= usize::from(POOL), "{got}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_that_run_too_long_make_room_for_others() -> Result<()> {
    let got = crowd_without_replicas(Duration::from_secs(4), Duration::from_millis(700)).await?;
    assert_eq!(got, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gets_a_connection_in_time_is_answered() -> Result<()> {
    let got = crowd_without_replicas(Duration::from_secs(1), Duration::from_secs(10)).await?;
    assert_eq!(got, 150);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gets_no_connection_to_a_replica_either_is_told_so_in_the_same_time() -> Result<()> {
    let shop = Replicated::start(Duration::ZERO).await?;
    let got = crowd(
        shop.api(),
        &shop.pool,
        Some(&shop.servers),
        Duration::from_millis(2500),
        Duration::from_secs(10),
    )
    .await?;
    assert!(got <= 3 * usize::from(POOL), "{got}");
    Ok(())
}
