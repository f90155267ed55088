//! A shop on servers of its own: a primary and two standbys that are read from.

use std::time::Duration;

use anyhow::{Context, Result};
use bharatmart_test_support::{
    App, AppBuilder, TEST_PASSWORD,
    servers::{Postgres, PostgresOptions, Replication},
    test_prefix, wait_until,
};
use sqlx::{PgPool, postgres::PgPoolOptions};
use uuid::Uuid;

use crate::stack::{SOON, add_product, customer};

/// The name of its database.
pub const DATABASE: &str = "bharatmart";

pub struct Replicated {
    pub servers: Replication,
    /// Of the first primary.
    pub pool: PgPool,
    prefix: String,
}

impl Replicated {
    /// The standbys keep each commit back for so long.
    pub async fn start(delay: Duration) -> Result<Self> {
        let options = PostgresOptions {
            settings: vec![("log_line_prefix".to_owned(), "%m [%p] [%e] ".to_owned())],
            ..PostgresOptions::default()
        };
        Self::start_with(options, delay).await
    }

    /// The same with options of the servers.
    pub async fn start_with(options: PostgresOptions, delay: Duration) -> Result<Self> {
        let servers = Replication::start_with(options, 2, delay).await?;
        let url = servers.primary.create_database(DATABASE).await?;
        App::api().database_url(&url).run(&["migrate"]).await?;
        servers.wait_until_replayed().await?;
        Ok(Self {
            pool: connect(&servers.primary).await?,
            servers,
            prefix: test_prefix(),
        })
    }

    /// An API that reads from the standbys and caches nothing.
    pub fn api(&self) -> AppBuilder {
        let replicas = self.servers.standbys.iter();
        let replicas: Vec<_> = replicas.map(|standby| standby.url(DATABASE)).collect();
        self.on(App::api())
            .replicas(&replicas)
            .env("CACHE_TYPE", "none")
    }

    pub fn worker(&self, kind: &str) -> AppBuilder {
        self.on(App::worker(kind))
    }

    fn on(&self, app: AppBuilder) -> AppBuilder {
        app.database_url(&self.servers.primary.url(DATABASE))
            .queue_prefix(&self.prefix)
    }

    /// Waits until the API reads from all standbys.
    pub async fn all_in_rotation(&self, api: &App) -> Result<()> {
        for standby in &self.servers.standbys {
            in_rotation(api, standby, true, SOON).await?;
        }
        Ok(())
    }

    /// Has the standbys show nothing of what is committed from now on for so long.
    pub async fn delay(&self, delay: Duration) -> Result<()> {
        let delay = format!("{}ms", delay.as_millis());
        self.servers.wait_until_replayed().await?;
        for standby in &self.servers.standbys {
            standby.set("recovery_min_apply_delay", &delay).await?;
        }
        Ok(())
    }

    /// Adds a product; its id.
    pub async fn product(&self, name: &str, stock: i32) -> Result<Uuid> {
        add_product(&self.pool, name, 100, stock).await
    }

    /// The access token of somebody who has just signed up and was made an admin.
    pub async fn admin(&self, api: &App) -> Result<String> {
        let mut admin = customer(api).await?;
        let email = admin.email().to_owned();
        let made = sqlx::query("UPDATE users SET role = 'admin' WHERE email = $1")
            .bind(&email)
            .execute(&self.pool)
            .await?;
        anyhow::ensure!(made.rows_affected() == 1, "there is no user {email}");
        admin.login(&email, TEST_PASSWORD).await?;
        Ok(admin.token().context("signed in")?.to_owned())
    }
}

/// Connections to the shop's database on this server.
pub async fn connect(server: &Postgres) -> Result<PgPool> {
    let pool = PgPoolOptions::new().max_connections(5);
    Ok(pool.connect(&server.url(DATABASE)).await?)
}

/// Waits until the API's metric says that it reads from the standby, or that it does not.
pub async fn in_rotation(
    api: &App,
    standby: &Postgres,
    expected: bool,
    limit: Duration,
) -> Result<()> {
    let port = standby.port();
    let series = format!("database_replica_in_rotation{{replica=\"127.0.0.1:{port}\"}}");
    let expected = if expected { 1.0 } else { 0.0 };
    wait_until(&format!("{series} to be {expected}"), limit, async || {
        Ok(api.metric(&series).await? == Some(expected))
    })
    .await
}

/// How many reads went where, without those that want the primary in any case.
#[derive(Clone, Copy, Debug)]
pub struct Reads {
    pub replica: f64,
    pub primary: f64,
}

impl Reads {
    pub async fn of(api: &App) -> Result<Self> {
        let count = async |labels: &str| {
            let series = format!("database_reads_total{{{labels}}}");
            anyhow::Ok(api.metric(&series).await?.unwrap_or(0.0))
        };
        let wanted = count("target=\"primary\",reason=\"latest\"").await?;
        Ok(Self {
            replica: count("target=\"replica\"").await?,
            primary: count("target=\"primary\"").await? - wanted,
        })
    }

    /// Those since `earlier`.
    pub async fn since(earlier: Self, api: &App) -> Result<Self> {
        let now = Self::of(api).await?;
        Ok(Self {
            replica: now.replica - earlier.replica,
            primary: now.primary - earlier.primary,
        })
    }

    /// How much of it went to replicas, in per cent.
    pub fn share(self) -> f64 {
        100.0 * self.replica / (self.replica + self.primary)
    }
}
