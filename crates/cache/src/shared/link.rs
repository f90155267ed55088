//! Reaching Redis: one server, a cluster, or the master that sentinels name.

use std::{fs, future::Future, time::Duration};

use bharatmart_config::{RedisCacheConfig, RedisTopology};
use deadpool_redis::{Manager, Pool, PoolError, Runtime};
use futures_util::future::FutureExt;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    Pipeline, RedisError, RedisFuture, RedisResult, TlsCertificates, TlsMode, Value,
    aio::{ConnectionLike, MultiplexedConnection, PubSub},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use secrecy::{ExposeSecret, SecretString};

/// How long one attempt to connect may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long one of several servers may take to answer. They are asked at once, and the answers of some
/// are waited for until the last has come or has had its time: a host that is gone answers nothing.
const NODE_TIMEOUT: Duration = Duration::from_millis(400);
/// How long it may take to find the way through several of them.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(4);
/// How often a cluster's connection follows MOVED and ASK, or tries another node, within one command,
/// and how long it waits in between.
const CLUSTER_RETRIES: u32 = 4;
const CLUSTER_RETRY_WAITS: (Duration, Duration) =
    (Duration::from_millis(5), Duration::from_millis(50));

/// Why Redis cannot be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// It refused, or the settings cannot be used.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// No connection within the time.
    #[error("no connection in time")]
    Timeout,
    /// The certificate authority's file.
    #[error("CACHE_REDIS_CA_FILE cannot be read")]
    CaFile(#[source] std::io::Error),
    /// The pool's own reasons, of which none is left after the above.
    #[error("the connection pool failed: {0}")]
    Pool(String),
}

/// The settings as the client wants them.
pub(crate) struct Dialer {
    config: RedisCacheConfig,
    certificates: Option<TlsCertificates>,
    /// Which of a cluster's nodes is asked for messages next.
    turn: usize,
}

/// A way to the data.
#[derive(Clone)]
pub(crate) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// A way to the data and one to the messages of other processes.
pub(crate) struct Link {
    pub(crate) connection: Connection,
    pub(crate) messages: PubSub,
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) => connection.req_packed_commands(cmd, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

impl Dialer {
    pub(crate) const fn new(config: RedisCacheConfig) -> Self {
        Self {
            config,
            certificates: None,
            turn: 0,
        }
    }

    /// Connects; takes at most [`SEARCH_TIMEOUT`] and twice [`DIAL_TIMEOUT`].
    pub(crate) async fn dial(&mut self) -> Result<Link, LinkError> {
        if self.certificates.is_none() {
            self.certificates = self.read_certificates()?;
        }
        match self.config.topology.clone() {
            RedisTopology::Standalone { url } => {
                let client = self.client(self.info(&url)?)?;
                single(&client).await
            }
            RedisTopology::Sentinel {
                sentinels,
                master_name,
            } => {
                let mut sentinels = self.sentinels(&sentinels, &master_name)?;
                let client = bounded(SEARCH_TIMEOUT, sentinels.async_get_client()).await?;
                single(&client).await
            }
            RedisTopology::Cluster { nodes } => self.cluster(&nodes).await,
        }
    }

    async fn cluster(&mut self, nodes: &[SecretString]) -> Result<Link, LinkError> {
        let infos = nodes
            .iter()
            .map(|node| self.info(node))
            .collect::<RedisResult<Vec<_>>>()?;
        // Any node passes on what is published at any other. The next attempt asks the next one.
        self.turn = (self.turn + 1) % infos.len().max(1);
        let listener = infos.get(self.turn).cloned();
        let (shortest, longest) = CLUSTER_RETRY_WAITS;
        let mut builder = ClusterClient::builder(infos)
            .connection_timeout(NODE_TIMEOUT)
            .response_timeout(self.config.command_timeout)
            .retries(CLUSTER_RETRIES)
            .min_retry_wait(milliseconds(shortest))
            .max_retry_wait(milliseconds(longest));
        if let Some(certificates) = &self.certificates {
            builder = builder.certs(certificates.clone());
        }
        let cluster = builder.build()?;
        let Some(listener) = listener else {
            return Err(LinkError::Timeout);
        };
        let messages = self.client(listener)?;
        Ok(Link {
            messages: bounded(DIAL_TIMEOUT, messages.get_async_pubsub()).await?,
            connection: Connection::Cluster(
                bounded(SEARCH_TIMEOUT, cluster.get_async_connection()).await?,
            ),
        })
    }

    fn sentinels(
        &self,
        sentinels: &[SecretString],
        master_name: &str,
    ) -> RedisResult<SentinelClient> {
        let infos = sentinels
            .iter()
            .map(|url| url.expose_secret().into_connection_info())
            .collect::<RedisResult<Vec<_>>>()?;
        let addresses: Vec<_> = infos.iter().map(|info| info.addr().clone()).collect();
        let tls = addresses
            .iter()
            .any(|address| matches!(address, ConnectionAddr::TcpTls { .. }));
        let mut builder =
            SentinelClientBuilder::new(addresses, master_name, SentinelServerType::Master)?;
        // What their URLs hold is for the sentinels themselves.
        if let Some(settings) = infos.first().map(ConnectionInfo::redis_settings) {
            if let Some(username) = settings.username() {
                builder = builder.set_client_to_sentinel_username(username);
            }
            if let Some(password) = settings.password() {
                builder = builder.set_client_to_sentinel_password(password);
            }
        }
        if tls {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
            if let Some(certificates) = &self.certificates {
                builder = builder
                    .set_client_to_redis_certificates(certificates.clone())
                    .set_client_to_sentinel_certificates(certificates.clone());
            }
        }
        if let Some(username) = &self.config.username {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = &self.config.password {
            builder = builder.set_client_to_redis_password(password.expose_secret());
        }
        if let Some(db) = self.config.db {
            builder = builder.set_client_to_redis_db(db.into());
        }
        builder.build()
    }

    /// What a URL says, and what the variables beside it say instead.
    fn info(&self, url: &SecretString) -> RedisResult<ConnectionInfo> {
        let info = url.expose_secret().into_connection_info()?;
        let mut settings = info.redis_settings().clone();
        if let Some(username) = &self.config.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &self.config.password {
            settings = settings.set_password(password.expose_secret());
        }
        if let Some(db) = self.config.db {
            settings = settings.set_db(db.into());
        }
        Ok(info.set_redis_settings(settings))
    }

    fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        match (&self.certificates, info.addr()) {
            (Some(certificates), ConnectionAddr::TcpTls { .. }) => {
                Client::build_with_tls(info, certificates.clone())
            }
            _ => Client::open(info),
        }
    }

    fn read_certificates(&self) -> Result<Option<TlsCertificates>, LinkError> {
        let Some(path) = &self.config.ca_file else {
            return Ok(None);
        };
        Ok(Some(TlsCertificates {
            client_tls: None,
            root_cert: Some(fs::read(path).map_err(LinkError::CaFile)?),
        }))
    }
}

/// Connects twice to the server of `client`: for commands and for messages.
async fn single(client: &Client) -> Result<Link, LinkError> {
    // Every command has a time limit of its own.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(DIAL_TIMEOUT))
        .set_response_timeout(None);
    let manager = Manager::new_with_config(client.get_connection_info().clone(), config)?;
    let pool = Pool::builder(manager)
        .max_size(1)
        .create_timeout(Some(DIAL_TIMEOUT))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| LinkError::Pool(error.to_string()))?;
    let connection = pool.get().await.map_err(|error| match error {
        PoolError::Backend(error) => LinkError::Redis(error),
        PoolError::Timeout(_) => LinkError::Timeout,
        other => LinkError::Pool(other.to_string()),
    })?;
    Ok(Link {
        // It carries any number of commands at once. The pool would ask for a sign of life before each.
        connection: Connection::Single(deadpool_redis::Connection::take(connection)),
        messages: bounded(DIAL_TIMEOUT, client.get_async_pubsub()).await?,
    })
}

async fn bounded<T>(
    limit: Duration,
    dial: impl Future<Output = RedisResult<T>>,
) -> Result<T, LinkError> {
    tokio::time::timeout(limit, dial)
        .map(|answer| match answer {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(LinkError::Timeout),
        })
        .await
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
