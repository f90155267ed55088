//! Reaching the queue's Redis.
//!
//! The constructors of the crate `bullmq` block for 40 s when Redis is away, and its connections come
//! back with waits of up to 5 s. So Redis is asked first, with waits of our own, and the crate
//! connects when it has answered.

use std::time::Duration;

use bharatmart_breaker::Backoff;
use bharatmart_config::QueueConfig;
use bharatmart_telemetry::metrics::{RETRY_ATTEMPTS_TOTAL, dependency};
use bullmq::{
    Queue, QueueKeys, QueueOptions, options::RedisConnectionOptions,
    redis_connection::RedisConnection,
};
use redis::{AsyncConnectionConfig, RedisResult, aio::MultiplexedConnection};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{sleep, timeout};

use crate::name::QueueName;

/// What metrics and logs call the queue's Redis.
pub(crate) const DEPENDENCY: &str = dependency::QUEUE;

/// How long one attempt to reach Redis may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the crate may take to connect to a Redis that has just answered.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Waits between attempts. The limit is what recovery from an outage may cost.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Where the queues are.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    url: SecretString,
    prefix: String,
}

impl Endpoint {
    pub(crate) fn new(config: &QueueConfig) -> Self {
        Self {
            url: effective_url(config),
            prefix: config.prefix.clone(),
        }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn options(&self) -> RedisConnectionOptions {
        RedisConnectionOptions::new().url(self.url.expose_secret())
    }

    /// Connects all queues over one connection, however long that takes.
    pub(crate) async fn open_queues(&self) -> Link {
        self.until_ready(|| Link::open(self.options(), self.prefix.clone()))
            .await
    }

    /// Calls `open` once Redis has answered, and again until it succeeds.
    pub(crate) async fn until_ready<T, Fut>(&self, open: impl Fn() -> Fut) -> T
    where
        Fut: Future<Output = Result<T, bullmq::Error>>,
    {
        let mut delay = Backoff::jittered(FIRST_WAIT, LONGEST_WAIT);
        let mut reported = false;
        loop {
            let reason = match self.dial().await {
                Err(error) => error.to_string(),
                Ok(_) => match timeout(OPEN_TIMEOUT, open()).await {
                    Ok(Ok(opened)) => return opened,
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => format!("no answer within {OPEN_TIMEOUT:?}"),
                },
            };
            if !reported {
                reported = true;
                tracing::warn!(
                    dependency = DEPENDENCY,
                    reason,
                    "the queue's Redis cannot be reached; trying until it can"
                );
            }
            metrics::counter!(RETRY_ATTEMPTS_TOTAL, "dependency" => DEPENDENCY).increment(1);
            sleep(delay.advance()).await;
        }
    }

    /// Wakes a worker that waits for jobs of `queue`.
    ///
    /// A worker that stops may have swallowed the wake-up of a job that it no longer takes.
    pub(crate) async fn wake_a_worker(&self, queue: QueueName) -> RedisResult<()> {
        let marker = QueueKeys::new(queue.as_str(), Some(&self.prefix)).marker();
        let mut connection = self.dial().await?;
        redis::cmd("ZADD")
            .arg(marker)
            .arg(0)
            .arg("0")
            .query_async(&mut connection)
            .await
    }

    /// Whether Redis answers on a new connection.
    pub(crate) async fn answers(&self) -> bool {
        self.dial().await.is_ok()
    }

    /// A connection that has been answered; bounded by [`DIAL_TIMEOUT`] a step.
    async fn dial(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(DIAL_TIMEOUT))
            .set_response_timeout(Some(DIAL_TIMEOUT));
        let client = redis::Client::open(self.url.expose_secret())?;
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        redis::cmd("PING")
            .query_async::<()>(&mut connection)
            .await?;
        Ok(connection)
    }
}

/// All queues over one connection.
#[derive(Clone)]
pub(crate) struct Link {
    queues: [Queue; QueueName::ALL.len()],
}

impl Link {
    async fn open(options: RedisConnectionOptions, prefix: String) -> Result<Self, bullmq::Error> {
        let connection = RedisConnection::new_managed_only(&options).await?;
        let queue = |name: QueueName| {
            let options = QueueOptions::new().prefix(&prefix);
            Queue::with_connection(name.as_str(), connection.clone(), options)
        };
        let [first, second, third] = QueueName::ALL;
        Ok(Self {
            queues: [
                queue(first).await?,
                queue(second).await?,
                queue(third).await?,
            ],
        })
    }

    pub(crate) const fn queue(&self, name: QueueName) -> &Queue {
        &self.queues[name.index()]
    }

    pub(crate) fn connection(&self) -> &RedisConnection {
        self.queues[0].connection()
    }
}

/// The configured URL, with the database number and password that were given beside it.
///
/// A URL that cannot be read is left as it is, for the client to say so.
fn effective_url(config: &QueueConfig) -> SecretString {
    if config.db.is_none() && config.password.is_none() {
        return config.url.clone();
    }
    let Some(mut url) = redis::parse_redis_url(config.url.expose_secret()) else {
        return config.url.clone();
    };
    if let Some(db) = config.db {
        url.set_path(&format!("/{db}"));
    }
    if let Some(password) = &config.password {
        // The setter encodes everything that needs it but the percent sign.
        let encoded = password.expose_secret().replace('%', "%25");
        if url.set_password(Some(&encoded)).is_err() {
            return config.url.clone();
        }
    }
    String::from(url).into()
}

#[cfg(test)]
mod tests {
    use redis::IntoConnectionInfo;

    use super::*;

    #[test]
    fn database_and_password_beside_the_url_win() {
        let config = QueueConfig {
            url: "rediss://ann:old@queue.example:6380/1".into(),
            db: Some(7),
            password: Some("p@ss:w/or%41d?#".into()),
            prefix: "bull".into(),
        };
        let info = effective_url(&config)
            .expose_secret()
            .into_connection_info()
            .unwrap();
        assert_eq!(info.redis_settings().username(), Some("ann"));
        assert_eq!(info.redis_settings().password(), Some("p@ss:w/or%41d?#"));
        assert_eq!(info.redis_settings().db(), 7);
        assert_eq!(info.addr().to_string(), "queue.example:6380");
    }

    #[test]
    fn the_url_alone_is_left_alone() {
        let url = "redis://queue.example";
        let config = QueueConfig {
            url: url.into(),
            db: None,
            password: None,
            prefix: "bull".into(),
        };
        assert_eq!(effective_url(&config).expose_secret(), url);
    }
}
