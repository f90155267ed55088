//! A shop of one's own for a test.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{
    App, AppBuilder, ReceivedMail, ShopClient, TEST_PASSWORD, TestDatabase, test_prefix,
    test_redis_url,
};
use redis::{AsyncConnectionConfig, AsyncTypedCommands};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

/// How long anything may take that happens in the background.
pub const SOON: Duration = Duration::from_mins(1);

/// The database and the queue of one test; programs are started on it as the test needs them.
pub struct Stack {
    pub database: TestDatabase,
    pub pool: PgPool,
    /// The URL of the Redis.
    pub redis: String,
    /// The first part of the names of the queues' keys.
    pub prefix: String,
}

impl Stack {
    /// On the shared Redis, with key names of its own.
    pub async fn new() -> Result<Self> {
        Self::on_redis(&test_redis_url()).await
    }

    /// On another Redis.
    pub async fn on_redis(redis: &str) -> Result<Self> {
        let database = TestDatabase::create().await;
        let pool = database.pool().await;
        Ok(Self {
            database,
            pool,
            redis: redis.to_owned(),
            prefix: test_prefix(),
        })
    }

    pub fn api(&self) -> AppBuilder {
        self.on(App::api())
    }

    pub fn worker(&self, kind: &str) -> AppBuilder {
        self.on(App::worker(kind))
    }

    fn on(&self, app: AppBuilder) -> AppBuilder {
        app.database(&self.database)
            .redis(&self.redis)
            .queue_prefix(&self.prefix)
    }

    /// Somebody who has just signed up and was made an admin.
    pub async fn admin(&self, api: &App) -> Result<ShopClient> {
        let mut admin = customer(api).await?;
        self.database.make_admin(admin.email()).await?;
        let email = admin.email().to_owned();
        admin.login(&email, TEST_PASSWORD).await?;
        Ok(admin)
    }

    /// Adds a product; its id.
    pub async fn product(&self, name: &str, rupees: i32, stock: i32) -> Result<Uuid> {
        add_product(&self.pool, name, rupees, stock).await
    }

    pub async fn stock(&self, product: Uuid) -> Result<i32> {
        let sql = "SELECT stock_quantity FROM products WHERE id = $1";
        Ok(sqlx::query_scalar(sql)
            .bind(product)
            .fetch_one(&self.pool)
            .await?)
    }

    /// The first column of the first row.
    pub async fn count(&self, sql: &'static str) -> Result<i64> {
        Ok(sqlx::query_scalar(sql).fetch_one(&self.pool).await?)
    }

    /// The length of one of a queue's lists, as the auto-scaler reads it.
    pub async fn llen(&self, queue: &str, list: &str) -> Result<usize> {
        let key = format!("{}:{queue}:{list}", self.prefix);
        Ok(self.redis().await?.llen(key).await?)
    }

    /// Whether no job of the queue waits, runs or is to be tried again. Those that come by the clock always wait for
    /// their next time.
    pub async fn is_idle(&self, queue: &str) -> Result<bool> {
        let key = format!("{}:{queue}:delayed", self.prefix);
        let delayed: Vec<String> = self.redis().await?.zrange(key, 0, -1).await?;
        Ok(delayed.iter().all(|job| job.starts_with("repeat:"))
            && self.llen(queue, "wait").await? + self.llen(queue, "active").await? == 0)
    }

    /// Has a job done that comes by the clock, at some other time.
    pub async fn ask_for(&self, queue: &str, job: &str) -> Result<()> {
        let sql = "INSERT INTO outbox (queue, job_name, job_id, payload)
                   VALUES ($1, $2, 'asked-' || gen_random_uuid(), '{}')";
        sqlx::query(sql)
            .bind(queue)
            .bind(job)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The jobs of the queue that have failed for good, and why.
    pub async fn failures(&self, queue: &str) -> Result<Vec<String>> {
        let mut redis = self.redis().await?;
        let key = |name: &str| format!("{}:{queue}:{name}", self.prefix);
        let mut failures = Vec::new();
        for job in redis.zrange(key("failed"), 0, -1).await? {
            let reason = redis.hget(key(&job), "failedReason").await?;
            failures.push(format!("{job}: {}", reason.unwrap_or_default()));
        }
        Ok(failures)
    }

    /// Has Redis forget the jobs that wait in the queue.
    pub async fn forget(&self, queue: &str) -> Result<()> {
        self.redis()
            .await?
            .del(format!("{}:{queue}:wait", self.prefix))
            .await?;
        Ok(())
    }

    pub async fn redis(&self) -> Result<redis::aio::MultiplexedConnection> {
        let client = redis::Client::open(self.redis.as_str())?;
        // The client's own patience is half a second, which a busy machine may need.
        let patient = AsyncConnectionConfig::new().set_response_timeout(Some(SOON));
        Ok(client
            .get_multiplexed_async_connection_with_config(&patient)
            .await?)
    }
}

/// Adds a product; its id.
pub async fn add_product(pool: &PgPool, name: &str, rupees: i32, stock: i32) -> Result<Uuid> {
    let id = sqlx::query_scalar(
        "INSERT INTO products (name, price, category, stock_quantity)
         VALUES ($1, $2::integer, 'Test', $3) RETURNING id",
    )
    .bind(name)
    .bind(rupees)
    .bind(stock)
    .fetch_one(pool)
    .await?;
    Ok(id)
}

/// A customer who has just signed up.
pub async fn customer(api: &App) -> Result<ShopClient> {
    let mut client = ShopClient::new(api.base_url())?;
    client.sign_up().await?;
    Ok(client)
}

/// The id in an answer.
pub fn id(answer: &Value) -> Result<Uuid> {
    let text = answer["id"]
        .as_str()
        .with_context(|| format!("no id in {answer}"))?;
    Ok(text.parse()?)
}

/// Places an order that must succeed.
pub async fn order(client: &ShopClient, items: &[(Uuid, u32)], method: &str) -> Result<Value> {
    let items: Vec<_> = items
        .iter()
        .map(|(product, quantity)| serde_json::json!({"product_id": product, "quantity": quantity}))
        .collect();
    let body = serde_json::json!({
        "items": items,
        "shipping_address": "12 MG Road, Bengaluru 560001",
        "payment_method": method,
    });
    let (status, answer) = client.post("/api/orders", &body).await?;
    ensure!(status == 201, "{status}: {answer}");
    Ok(answer)
}

/// How many mails of each type each order got; those about accounts are not counted.
pub fn by_order_and_type(mails: &[ReceivedMail]) -> BTreeMap<(String, String), usize> {
    let mut counts = BTreeMap::new();
    for mail in mails {
        let header = |name: &str| mail.headers.get(name).cloned();
        if let Some(order) = header("x-bharatmart-order") {
            let kind = header("x-bharatmart-type").unwrap_or_default();
            *counts.entry((order, kind)).or_default() += 1;
        }
    }
    counts
}
