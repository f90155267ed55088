//! Which server a piece of work goes to.

mod congestion;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bharatmart_config::{DatabaseConfig, DatabaseUrl};
use futures_util::future::select_ok;
use metrics::Counter;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    connection::{Connection, Transaction},
    error::{Error, Result, is_loss},
    migrations::{self, SchemaError},
    position::Position,
    primary::Primary,
    reads::Reads,
    replica::{self, Replica, ReplicaStatus},
    scope::{Freshness, Scope},
    server::{Host, Limits, PoolStatus, Role, Server},
};

/// How long a read waits for a replica to reach the position that it needs, before the primary answers.
const CATCH_UP: Duration = Duration::from_millis(10);
/// A replica that lags more is not waited for.
const CLOSE: Duration = Duration::from_millis(500);
/// How long a server may take to say how far it is, or the primary whether it is well, where another would do.
const QUESTION: Duration = Duration::from_millis(500);
/// More bytes than the log grows by in the time that passes between two looks at the primary: no token is so
/// far ahead of what is known, and nobody is asked about one that is.
const AHEAD: u64 = 64 << 20;
const RECENT: Duration = Duration::from_secs(1);
/// How long such a read waits for a replica when there is no primary that could answer.
const CATCH_UP_WITHOUT_PRIMARY: Duration = Duration::from_secs(1);

/// The database: a primary, and perhaps replicas to read from; cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    router: Arc<Router>,
    scope: Option<Arc<Scope>>,
    /// How long one may wait for a connection before further ones are refused.
    longest_queue: Option<Duration>,
}

#[derive(Debug)]
struct Router {
    primary: Arc<Primary>,
    replicas: Vec<Arc<Replica>>,
    /// Makes those who are equally loaded take turns.
    turn: AtomicUsize,
    reads: Reads,
    /// Ends with the router.
    _tasks: JoinSet<()>,
}

/// A connection for reads, and how fresh they are.
#[derive(Debug)]
pub struct AsOf {
    /// The connection.
    pub connection: Connection,
    /// What is read shows all that was committed before this position, and that was all when the read began; zero
    /// without replicas. `None` when the primary could not be asked: then something newer may exist.
    pub position: Option<Position>,
}

impl Database {
    /// Sets the pools up without connecting; the first use does. Replicas, and several hosts of a primary,
    /// are watched from now on, in tasks that end with the last clone.
    ///
    /// `application_name` is what `pg_stat_activity` shows.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn connect(config: &DatabaseConfig, application_name: &str) -> Result<Self> {
        let host = |url: &DatabaseUrl| Host::new(url, config, application_name).map(Arc::new);
        let mut limits = Limits {
            connections: config.pool_size as usize,
            kept: config.pool_min as usize,
            patience: config.connection_timeout,
            statement_timeout: config.statement_timeout,
        };
        let hosts = config
            .primary
            .iter()
            .map(host)
            .collect::<Result<Vec<_>>>()?;
        let server = Server::new(Role::Primary, hosts, limits)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&server).maintain());
        // Longer than what is too long.
        let (primary, monitor) = Primary::new(server, config.max_replica_lag * 2);
        if config.primary.len() > 1 || !config.replicas.is_empty() {
            tasks.spawn(monitor.run());
        }
        limits.kept = 0;
        let mut replicas = Vec::with_capacity(config.replicas.len());
        for url in &config.replicas {
            let server = Server::new(Role::Replica, vec![host(url)?], limits)?;
            tasks.spawn(Arc::clone(&server).maintain());
            let replica = Replica::new(server);
            let (watched, primary) = (Arc::clone(&replica), Arc::clone(&primary));
            tasks.spawn(replica::Monitor::new(watched, primary, config.max_replica_lag).run());
            replicas.push(replica);
        }
        Ok(Self {
            router: Arc::new(Router {
                primary,
                replicas,
                turn: AtomicUsize::new(0),
                reads: Reads::new(),
                _tasks: tasks,
            }),
            scope: None,
            longest_queue: None,
        })
    }

    /// The same database for one request of a client whose token says `seen`: it remembers up to where the
    /// log was written by the request. Without replicas that is of no use and costs nothing.
    #[must_use]
    pub fn for_request(&self, seen: Option<Position>) -> Self {
        let router = Arc::clone(&self.router);
        let scope = self
            .has_replicas()
            .then(|| Arc::new(Scope::new(Arc::clone(&router.primary), seen)));
        Self {
            router,
            scope,
            longest_queue: self.longest_queue,
        }
    }

    /// Whether there are replicas, so that what was just written may not be seen everywhere.
    #[must_use]
    pub fn has_replicas(&self) -> bool {
        !self.router.replicas.is_empty()
    }

    /// What the client of this request must bring with the next one to see all that this one has written or
    /// may have; `None` when it wrote nothing, or when there are no replicas.
    pub async fn token(&self) -> Option<Position> {
        let scope = self.scope.as_ref()?;
        if scope.is_in_doubt()
            && let Some(position) = self.router.primary.ask().await
        {
            scope.note(position);
        }
        scope.written().and(scope.needs())
    }

    /// What the client of this request must see, by its token and its writes.
    #[must_use]
    pub fn needs(&self) -> Option<Position> {
        self.scope.as_ref().and_then(|scope| scope.needs())
    }

    /// The position of a token, if the log has come so far; `None` for an invention, and without replicas.
    /// A token that cannot be checked, because the primary does not answer, is believed.
    pub async fn believe(&self, token: Position) -> Option<Position> {
        if !self.has_replicas() {
            return None;
        }
        let primary = &self.router.primary;
        let known = primary.known();
        if token <= known {
            return Some(token);
        }
        let is_beyond = token.timeline() == known.timeline() && token.since(known) > AHEAD;
        if is_beyond && primary.heard().elapsed() < RECENT {
            return None;
        }
        let asked = if token.timeline() > known.timeline() {
            // Another instance may know of a primary that has taken over.
            primary.ask_anew().await
        } else {
            primary.ask().await
        };
        match asked {
            Some(position) if token > position => None,
            Some(_) | None => Some(token),
        }
    }

    /// A connection to the primary for statements of which each is a transaction of its own.
    ///
    /// Fails at once while no server takes writes.
    pub async fn write(&self) -> Result<Connection> {
        let primary = &self.router.primary;
        primary.check()?;
        self.admit_write()?;
        let mut lease = primary.server.lease().await?;
        if !lease.link().is_writable() {
            return Err(Error::ReadOnly);
        }
        Ok(Connection::for_writes(lease, self.scope.clone()))
    }

    /// A transaction on the primary.
    ///
    /// Fails at once while no server takes writes.
    pub async fn begin(&self) -> Result<Transaction> {
        Transaction::begin(self.write().await?).await
    }

    /// A connection for statements that only read, to a server that is as fresh as they need: to a replica
    /// if one will do, else to the primary. A statement that its server fails at is run again on another.
    pub async fn read(&self, freshness: Freshness) -> Result<Connection> {
        let router = &self.router;
        self.admit_read()?;
        if !self.has_replicas() {
            let read = Read::of(router, None);
            return router.read_primary(&router.reads.no_replicas, read).await;
        }
        let position = match freshness {
            Freshness::Latest => None,
            Freshness::Any => Some(Position::ZERO),
            Freshness::AtLeast(position) => Some(position),
            Freshness::OwnWrites => self
                .scope
                .as_ref()
                .map(|scope| scope.needs().unwrap_or_default()),
            Freshness::Current => router.primary.ask().await,
        };
        if let Some(position) = position {
            return router.read(position, Vec::new()).await;
        }
        let read = Read {
            scope: self.scope.clone(),
            ..Read::of(router, None)
        };
        router.read_primary(&router.reads.latest, read).await
    }

    /// [`Database::read`] with [`Freshness::Current`], and how fresh that is. While the primary does not
    /// answer, any replica does that shows the client of this request their own writes.
    pub async fn read_as_of_now(&self) -> Result<AsOf> {
        let router = &self.router;
        if !self.has_replicas() {
            return Ok(AsOf {
                connection: self.read(Freshness::Latest).await?,
                position: Some(Position::ZERO),
            });
        }
        self.admit_read()?;
        let position = router.primary.ask().await;
        // Nobody who waits for this read may see less than they have written.
        let needed = position.max(self.needs()).unwrap_or_default();
        Ok(AsOf {
            connection: router.read(needed, Vec::new()).await?,
            position,
        })
    }

    /// Asks the primary whether it answers and whether its schema is the one of this build.
    pub async fn check_schema(&self) -> Result<(), SchemaError> {
        migrations::check_schema(self, Freshness::Latest).await
    }

    /// Asks as [`Database::check_schema`] does, and while the primary does not answer, a replica: it is good
    /// for reads.
    pub async fn check_reads(&self) -> Result<(), SchemaError> {
        if !self.has_replicas() {
            return self.check_schema().await;
        }
        match timeout(QUESTION, self.check_schema()).await {
            Ok(Err(error)) if !error.is_transient() => Err(error),
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => migrations::check_schema(self, Freshness::Any).await,
        }
    }

    /// How full the primary's pool is.
    #[must_use]
    pub fn status(&self) -> PoolStatus {
        self.router.primary.server.status()
    }

    /// How the replicas do.
    #[must_use]
    pub fn replicas(&self) -> Vec<ReplicaStatus> {
        let replicas = self.router.replicas.iter();
        replicas.map(|replica| replica.status()).collect()
    }

    /// Publishes how full the pools are.
    pub fn measure(&self) {
        self.router.primary.server.measure();
        for replica in &self.router.replicas {
            replica.server.measure();
        }
    }
}

impl Router {
    /// A connection to a replica that has replayed the log up to `position`, and is none of those that have
    /// `failed`; else to the primary.
    async fn read(
        self: &Arc<Self>,
        position: Position,
        mut failed: Vec<Arc<Replica>>,
    ) -> Result<Connection> {
        let reason = loop {
            let Some(replica) = self.choose(position, &failed).await else {
                break self.why_none(&failed);
            };
            match self.read_replica(replica, position, &failed).await {
                Ok(Some(connection)) => {
                    self.reads.of_replica(position).increment(1);
                    return Ok(connection);
                }
                Ok(None) => break &self.reads.behind,
                // It has been waited for long enough, and others are as busy.
                Err(Error::Unavailable(sqlx::Error::PoolTimedOut)) => {
                    return Err(Error::Unavailable(sqlx::Error::PoolTimedOut));
                }
                Err(error) => {
                    if error.is_loss() {
                        replica.suspect();
                    }
                    failed.push(Arc::clone(replica));
                }
            }
        };
        match self
            .read_primary(reason, Read::of(self, Some(position)))
            .await
        {
            Err(error) if error.is_loss() || matches!(error, Error::ReadOnly) => self
                .read_without_primary(position, failed)
                .await
                .ok_or(error),
            outcome => outcome,
        }
    }

    /// A connection to a replica that reaches `position` after all, now that the primary does not answer.
    /// None of those that have `failed`.
    async fn read_without_primary(
        self: &Arc<Self>,
        position: Position,
        failed: Vec<Arc<Replica>>,
    ) -> Option<Connection> {
        let deadline = Instant::now() + CATCH_UP_WITHOUT_PRIMARY;
        let reaching: Vec<_> = self
            .candidates(&failed)
            .map(|replica| {
                let reach = replica.reach(position, deadline);
                Box::pin(async move { reach.await.then_some(replica).ok_or(()) })
            })
            .collect();
        if reaching.is_empty() {
            return None;
        }
        let (replica, _) = select_ok(reaching).await.ok()?;
        let connection = self.read_replica(replica, position, &failed).await;
        let connection = connection.ok().flatten();
        if connection.is_some() {
            self.reads.of_replica(position).increment(1);
        }
        connection
    }

    /// A connection to the primary; `why` is counted.
    async fn read_primary(self: &Arc<Self>, why: &Counter, read: Read) -> Result<Connection> {
        self.primary.check_reads()?;
        why.increment(1);
        Connection::for_reads(self.primary.server.lease().await?, read).await
    }

    /// A connection to `replica`; `None` when its server has not replayed the log up to `position` after
    /// all.
    async fn read_replica(
        self: &Arc<Self>,
        replica: &Arc<Replica>,
        position: Position,
        failed: &[Arc<Replica>],
    ) -> Result<Option<Connection>> {
        let lease = replica.server.lease().await?;
        let read = Read {
            replica: Some(Arc::clone(replica)),
            failed: failed.to_vec(),
            ..Read::of(self, Some(position))
        };
        let mut connection = Connection::for_reads(lease, read).await?;
        let has_reached = position == Position::ZERO
            || timeout(QUESTION, replica.has_reached(connection.link(), position))
                .await
                .map_err(|_| {
                    Error::Unavailable(sqlx::Error::Io(io::ErrorKind::TimedOut.into()))
                })??;
        Ok(has_reached.then_some(connection))
    }

    /// The least loaded replica in rotation that has replayed the log up to `position` or is about to.
    async fn choose(&self, position: Position, failed: &[Arc<Replica>]) -> Option<&Arc<Replica>> {
        let replayed = self
            .candidates(failed)
            .filter(|replica| replica.has_replayed(position));
        if let Some(replica) = self.least_loaded(replayed) {
            return Some(replica);
        }
        let close = self
            .candidates(failed)
            .filter(|replica| replica.lag() < CLOSE);
        let replica = self.least_loaded(close)?;
        let reached = replica.reach(position, Instant::now() + CATCH_UP).await;
        reached.then_some(replica)
    }

    /// The replicas in rotation but those that have `failed`.
    fn candidates<'r, 'f>(
        &'r self,
        failed: &'f [Arc<Replica>],
    ) -> impl Iterator<Item = &'r Arc<Replica>> + use<'r, 'f> {
        self.replicas.iter().filter(|replica| {
            replica.is_in_rotation() && !failed.iter().any(|other| Arc::ptr_eq(other, replica))
        })
    }

    fn least_loaded<'a>(
        &self,
        candidates: impl Iterator<Item = &'a Arc<Replica>>,
    ) -> Option<&'a Arc<Replica>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.replicas.len();
        candidates
            .enumerate()
            .min_by_key(|(index, replica)| (replica.server.load(), (index + turn) % count))
            .map(|(_, replica)| replica)
    }

    /// The counter of reads that no replica can answer.
    fn why_none(&self, failed: &[Arc<Replica>]) -> &Counter {
        if !failed.is_empty() {
            &self.reads.failed
        } else if self.replicas.iter().any(|replica| replica.is_in_rotation()) {
            &self.reads.behind
        } else {
            &self.reads.none_in_rotation
        }
    }
}

/// Where a connection for reads leads, and where not to go from there.
#[derive(Debug)]
pub(crate) struct Read {
    router: Arc<Router>,
    /// `None` for the primary.
    replica: Option<Arc<Replica>>,
    /// What a replica must have replayed; `None` if it must be the primary.
    position: Option<Position>,
    failed: Vec<Arc<Replica>>,
    /// Whether it is the second attempt at the primary.
    is_second: bool,
    /// Who must not read less later than what is read here.
    pub(crate) scope: Option<Arc<Scope>>,
}

impl Read {
    /// A read from the primary, for which a replica that has replayed the log up to `position` would do.
    fn of(router: &Arc<Router>, position: Option<Position>) -> Self {
        Self {
            router: Arc::clone(router),
            replica: None,
            position,
            failed: Vec::new(),
            is_second: false,
            scope: None,
        }
    }

    /// A connection to another server after `error`; `None` when there is nowhere left to go.
    pub(crate) async fn elsewhere(mut self, error: &sqlx::Error) -> Option<Connection> {
        tracing::debug!(
            error = error as &dyn std::error::Error,
            "a read that its server failed at is run again"
        );
        let (router, position) = (Arc::clone(&self.router), self.position);
        if let Some(replica) = self.replica.take() {
            if is_loss(error) {
                replica.suspect();
            }
            self.failed.push(replica);
            return router.read(position?, self.failed).await.ok();
        }
        // The connection may have been broken for long; a new one tells.
        let failed = std::mem::take(&mut self.failed);
        if !self.is_second {
            self.is_second = true;
            let again = router.read_primary(&router.reads.failed, self);
            if let Ok(connection) = again.await {
                return Some(connection);
            }
        }
        router.read_without_primary(position?, failed).await
    }
}
