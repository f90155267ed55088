//! Reaching the queue's Redis.
//!
//! The constructors of the crate `bullmq` block for 40 s when Redis is away, and its connections come
//! back with waits of up to 5 s. So Redis is asked first, with waits of our own, and the crate
//! connects when it has answered.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bharatmart_breaker::Backoff;
use bharatmart_config::{QueueConfig, QueueServers};
use bharatmart_telemetry::metrics::{RETRY_ATTEMPTS_TOTAL, dependency};
use bullmq::{
    Error, Queue, QueueKeys, QueueOptions,
    options::{RedisConnectionOptions, TlsCerts},
    redis_connection::RedisConnection,
};
use futures_util::{FutureExt, future::select_ok};
use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo, RedisResult, TlsCertificates,
    aio::MultiplexedConnection,
};
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
    /// One server, or some of a cluster's nodes.
    urls: Vec<SecretString>,
    is_cluster: bool,
    ca_file: Option<PathBuf>,
    prefix: String,
}

impl Endpoint {
    pub(crate) fn new(config: &QueueConfig) -> Self {
        let password = config.password.as_ref();
        let urls = match &config.servers {
            QueueServers::Standalone { url, db } => vec![with_credentials(url, password, *db)],
            QueueServers::Cluster { nodes } => nodes
                .iter()
                .map(|node| with_credentials(node, password, None))
                .collect(),
        };
        let is_cluster = matches!(config.servers, QueueServers::Cluster { .. });
        Self {
            urls,
            is_cluster,
            ca_file: config.ca_file.clone(),
            // The scripts of a queue use several keys, which a cluster keeps together by what is in braces.
            prefix: if is_cluster {
                format!("{{{}}}", config.prefix)
            } else {
                config.prefix.clone()
            },
        }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The settings as the crate wants them; an error when the file of authorities cannot be read.
    pub(crate) fn options(&self) -> Result<RedisConnectionOptions, Error> {
        let mut urls = self.urls.iter().map(ExposeSecret::expose_secret);
        let options = RedisConnectionOptions::new();
        let options = if self.is_cluster {
            options.cluster_nodes(urls)
        } else {
            options.url(urls.next().unwrap_or_default())
        };
        let certificates = self.certificates().map_err(|error| {
            Error::InvalidConfig(format!("QUEUE_REDIS_CA_FILE cannot be read: {error}"))
        })?;
        Ok(match certificates {
            // They make the crate speak TLS, so they are kept from a server that does not.
            Some(root) if self.is_encrypted() => options.tls_certs(TlsCerts {
                root_cert: Some(root),
                ..TlsCerts::default()
            }),
            _ => options,
        })
    }

    fn is_encrypted(&self) -> bool {
        self.urls
            .first()
            .is_some_and(|url| url.expose_secret().starts_with("rediss://"))
    }

    fn certificates(&self) -> std::io::Result<Option<Vec<u8>>> {
        self.ca_file.as_ref().map(std::fs::read).transpose()
    }

    /// Connects all queues over one connection, however long that takes.
    pub(crate) async fn open_queues(&self) -> Link {
        self.until_ready(|| async { Link::open(self.options()?, self.prefix.clone()).await })
            .await
    }

    /// A connection for single commands.
    pub(crate) async fn open_connection(&self) -> Result<RedisConnection, Error> {
        RedisConnection::new_managed_only(&self.options()?).await
    }

    /// Calls `open` once Redis has answered, and again until it succeeds.
    pub(crate) async fn until_ready<T, Fut>(&self, open: impl Fn() -> Fut) -> T
    where
        Fut: Future<Output = Result<T, Error>>,
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
                    "the queue's Redis cannot be used yet; trying until it can"
                );
            }
            metrics::counter!(RETRY_ATTEMPTS_TOTAL, "dependency" => DEPENDENCY).increment(1);
            sleep(delay.advance()).await;
        }
    }

    /// Wakes a worker that waits for jobs of `queue`.
    ///
    /// A worker that stops may have swallowed the wake-up of a job that it no longer takes.
    pub(crate) async fn wake_a_worker(&self, queue: QueueName) -> Result<(), Error> {
        let marker = QueueKeys::new(queue.as_str(), Some(&self.prefix)).marker();
        // The crate waits for a Redis that is away for longer than anybody has time here.
        self.dial().await?;
        let connection = self.open_connection().await?;
        let mut wake = redis::cmd("ZADD");
        connection.cmd(wake.arg(marker).arg(0).arg("0")).await
    }

    /// Whether Redis answers on a new connection.
    pub(crate) async fn answers(&self) -> bool {
        self.dial().await.is_ok()
    }

    /// A connection that has been answered, in a cluster by any of the nodes that are named; bounded by
    /// [`DIAL_TIMEOUT`] a step.
    pub(crate) async fn dial(&self) -> RedisResult<MultiplexedConnection> {
        let certificates = self.certificates()?;
        let dialling = self
            .urls
            .iter()
            .map(|url| dial(url, certificates.clone()).boxed());
        let (connection, _) = select_ok(dialling).await?;
        Ok(connection)
    }
}

async fn dial(
    url: &SecretString,
    certificates: Option<Vec<u8>>,
) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(DIAL_TIMEOUT))
        .set_response_timeout(Some(DIAL_TIMEOUT));
    let info = url.expose_secret().into_connection_info()?;
    let client = match certificates {
        Some(root) if url.expose_secret().starts_with("rediss://") => Client::build_with_tls(
            info,
            TlsCertificates {
                client_tls: None,
                root_cert: Some(root),
            },
        )?,
        _ => Client::open(info)?,
    };
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    redis::cmd("PING")
        .query_async::<()>(&mut connection)
        .await?;
    Ok(connection)
}

/// All queues over one connection.
#[derive(Clone)]
pub(crate) struct Link {
    queues: [Queue; QueueName::ALL.len()],
    keys: Arc<Keys>,
}

/// Keys that belong to no queue. Two parts each, so that nobody takes them for those of one.
pub(crate) struct Keys {
    /// There as long as this Redis knows our jobs.
    pub(crate) mark: String,
    /// There while a process sees to it that it does.
    pub(crate) recovery: String,
    /// There, with the name of the schedule behind it, while a process looks whether one goes on.
    pub(crate) schedules: String,
}

impl Link {
    async fn open(options: RedisConnectionOptions, prefix: String) -> Result<Self, Error> {
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
            keys: Arc::new(Keys {
                mark: format!("{prefix}:bharatmart-mark"),
                recovery: format!("{prefix}:bharatmart-recovery"),
                schedules: format!("{prefix}:bharatmart-schedules"),
            }),
        })
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(crate) const fn queue(&self, name: QueueName) -> &Queue {
        &self.queues[name.index()]
    }

    pub(crate) fn connection(&self) -> &RedisConnection {
        self.queues[0].connection()
    }
}

/// A URL with the password and database number that were given beside it.
///
/// A URL that cannot be read is left as it is, for the client to say so.
fn with_credentials(
    url: &SecretString,
    password: Option<&SecretString>,
    db: Option<u8>,
) -> SecretString {
    if db.is_none() && password.is_none() {
        return url.clone();
    }
    let Some(mut changed) = redis::parse_redis_url(url.expose_secret()) else {
        return url.clone();
    };
    if let Some(db) = db {
        changed.set_path(&format!("/{db}"));
    }
    if let Some(password) = password {
        // The setter encodes everything that needs it but the percent sign.
        let encoded = password.expose_secret().replace('%', "%25");
        if changed.set_password(Some(&encoded)).is_err() {
            return url.clone();
        }
    }
    String::from(changed).into()
}

#[cfg(test)]
mod tests {
    use redis::IntoConnectionInfo;

    use super::*;

    #[test]
    fn database_and_password_beside_the_url_win() {
        let url = "rediss://ann:old@queue.example:6380/1".into();
        let password = "p@ss:w/or%41d?#".into();
        let info = with_credentials(&url, Some(&password), Some(7))
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
        let url = "redis://queue.example".into();
        let same = with_credentials(&url, None, None);
        assert_eq!(same.expose_secret(), url.expose_secret());
    }
}
