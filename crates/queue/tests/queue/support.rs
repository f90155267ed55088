//! A private Redis, what is in it, and handlers that the tests can watch.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use bharatmart_config::{QueueConfig, QueueServers};
use bharatmart_domain::{Clock, OrderId, SystemClock};
use bharatmart_queue::{
    Handlers, JobContext, JobError, JobQueues, OutboxJob, PaymentDeadline, PendingJob,
    ProcessOrder, QueueName, WorkerOptions,
};
use bharatmart_test_support::{
    servers::{RedisOptions, RedisServer},
    wait_until,
};
use bullmq::{JobOptions, Queue, QueueOptions, types::BackoffStrategy};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

pub const SOON: Duration = Duration::from_secs(5);

/// A way to Redis whose connections can go dead without a word, as those to a machine that lost its power
/// do, while new ones work.
pub struct MortalWay {
    port: u16,
    dead: watch::Sender<usize>,
}

impl MortalWay {
    pub async fn to(redis: &RedisServer) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let target = redis.port();
        let dead = watch::Sender::new(0);
        let watcher = dead.subscribe();
        tokio::spawn(async move {
            for number in 1.. {
                let Ok((client, _)) = listener.accept().await else {
                    return;
                };
                tokio::spawn(pass_until_dead(client, target, number, watcher.clone()));
            }
        });
        Ok(Self { port, dead })
    }

    pub fn config(&self) -> QueueConfig {
        config_of(&format!("redis://127.0.0.1:{}", self.port))
    }

    /// The first `count` connections let no byte through from now on.
    pub fn kill(&self, count: usize) {
        self.dead.send_replace(count);
    }
}

async fn pass_until_dead(
    mut client: TcpStream,
    target: u16,
    number: usize,
    mut dead: watch::Receiver<usize>,
) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await else {
        return;
    };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let died = async { dead.wait_for(|dead| number <= *dead).await.is_ok() };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = died => std::future::pending().await,
    }
}

/// A way to Redis on which every byte takes its time, there and back, and which can be cut.
pub struct Way {
    port: u16,
    cuts: watch::Sender<()>,
    target: Arc<AtomicU16>,
}

impl Way {
    pub async fn to(redis: &RedisServer, delay: Duration) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let target = Arc::new(AtomicU16::new(redis.port()));
        let cuts = watch::Sender::new(());
        let (watcher, towards) = (cuts.subscribe(), Arc::clone(&target));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut cut = watcher.clone();
                cut.mark_unchanged();
                let target = towards.load(Ordering::SeqCst);
                tokio::spawn(async move {
                    tokio::select! {
                        () = pass_slowly(client, target, delay) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Ok(Self { port, cuts, target })
    }

    /// Has new connections lead to another server; those that there are stay.
    pub fn lead_to(&self, redis: &RedisServer) {
        self.target.store(redis.port(), Ordering::SeqCst);
    }

    /// Ends every connection that there is. New ones can be made at once.
    pub fn cut(&self) {
        self.cuts.send_replace(());
    }

    pub fn config(&self) -> QueueConfig {
        config_of(&format!("redis://127.0.0.1:{}", self.port))
    }
}

async fn pass_slowly(client: TcpStream, target: u16, delay: Duration) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else {
        return;
    };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        carry_slowly(from_client, to_server, delay),
        carry_slowly(from_server, to_client, delay),
    );
}

/// Several pieces may be on the way at a time.
async fn carry_slowly(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (sender, mut on_the_way) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let depart = async move {
        let mut buffer = vec![0; 65_536];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if sender
                .send((Instant::now() + delay, buffer[..count].to_vec()))
                .is_err()
            {
                return;
            }
        }
    };
    let arrive = async move {
        while let Some((time, bytes)) = on_the_way.recv().await {
            sleep_until(time).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(depart, arrive);
}

/// The queue of the tests, and the prefix of its keys.
pub const QUEUE: QueueName = QueueName::OrderProcessing;
const KEYS: &str = "bull:order-processing";

pub fn config(redis: &RedisServer) -> QueueConfig {
    config_of(&redis.url())
}

fn config_of(url: &str) -> QueueConfig {
    QueueConfig {
        servers: QueueServers::Standalone {
            url: url.into(),
            db: None,
        },
        password: None,
        ca_file: None,
        allow_eviction: false,
        prefix: "bull".into(),
    }
}

pub async fn persistent_redis() -> Result<RedisServer> {
    RedisServer::start(RedisOptions {
        append_only: true,
        ..RedisOptions::default()
    })
    .await
}

/// Queues that are connected.
pub async fn connected(redis: &RedisServer) -> Result<JobQueues> {
    let queues = JobQueues::connect(&config(redis), Arc::new(SystemClock));
    wait_until("the queues connect", SOON, async || {
        queues.is_available().then_some(())
    })
    .await?;
    Ok(queues)
}

pub fn order(n: u128) -> OrderId {
    OrderId(uuid::Uuid::from_u128(n))
}

/// A row of the outbox as the relay would see it.
pub fn row(id: i64, job: &impl OutboxJob) -> PendingJob {
    let now = SystemClock.now();
    let new = job.to_outbox().expect("a payload is JSON");
    PendingJob {
        id,
        queue: new.queue.to_owned(),
        job_name: new.job_name.to_owned(),
        job_id: new.job_id,
        payload: new.payload,
        run_at: now,
        created_at: now,
        trace_parent: None,
    }
}

pub fn deadline_row(n: u32) -> PendingJob {
    row(
        n.into(),
        &PaymentDeadline {
            order_id: order(n.into()),
        },
    )
}

/// Looks into the queue's keys.
pub struct Keys {
    connection: ConnectionManager,
}

impl Keys {
    pub async fn of(redis: &RedisServer) -> Result<Self> {
        let client = redis::Client::open(redis.url())?;
        // The client's own patience is half a second, which a busy machine may need.
        let patient = ConnectionManagerConfig::new().set_response_timeout(Some(2 * SOON));
        Ok(Self {
            connection: ConnectionManager::new_with_config(client, patient).await?,
        })
    }

    pub async fn ask<T: redis::FromRedisValue>(&self, command: &str, args: &[&str]) -> T {
        let mut connection = self.connection.clone();
        redis::cmd(command)
            .arg(args)
            .query_async(&mut connection)
            .await
            .expect("Redis answers")
    }

    pub async fn field(&self, id: &str, field: &str) -> Option<String> {
        self.ask("HGET", &[&format!("{KEYS}:{id}"), field]).await
    }

    pub async fn length(&self, list: &str) -> u64 {
        self.ask("LLEN", &[&format!("{KEYS}:{list}")]).await
    }

    pub async fn set_lock(&self, id: &str, token: &str) {
        let _: () = self
            .ask("SET", &[&format!("{KEYS}:{id}:lock"), token])
            .await;
    }

    pub async fn remove_lock(&self, id: &str) {
        let _: () = self.ask("DEL", &[&format!("{KEYS}:{id}:lock")]).await;
    }

    /// The state that a job is in.
    pub async fn state(&self, id: &str) -> &'static str {
        for list in ["wait", "active"] {
            let place: Option<u64> = self.ask("LPOS", &[&format!("{KEYS}:{list}"), id]).await;
            if place.is_some() {
                return list;
            }
        }
        for set in ["completed", "failed", "delayed"] {
            let score: Option<f64> = self.ask("ZSCORE", &[&format!("{KEYS}:{set}"), id]).await;
            if score.is_some() {
                return set;
            }
        }
        "nowhere"
    }

    pub async fn until(&self, id: &str, state: &str) -> Result<()> {
        let what = format!("{id} is {state}");
        wait_until(&what, Duration::from_secs(10), async || {
            (self.state(id).await == state).then_some(())
        })
        .await
    }

    pub async fn failed_reason(&self, id: &str) -> String {
        self.field(id, "failedReason").await.unwrap_or_default()
    }

    /// How many attempts BullMQ has counted.
    pub async fn attempts_made(&self, id: &str) -> u32 {
        self.field(id, "atm")
            .await
            .map_or(0, |made| made.parse().expect("a number"))
    }
}

/// Adds jobs as any other program would.
pub async fn foreign_queue(redis: &RedisServer) -> Result<Queue> {
    let connection = bullmq::options::RedisConnectionOptions::new().url(redis.url());
    let options = QueueOptions::new().connection(connection);
    Ok(Queue::with_options(QUEUE.as_str(), options).await?)
}

/// Tries again almost at once.
pub fn quick(attempts: u32, id: &str) -> JobOptions {
    JobOptions::new()
        .job_id(id)
        .attempts(attempts)
        .backoff(BackoffStrategy::Fixed(50))
}

/// The payload of a payment deadline: the tests' handler reads what to do from the order's id.
pub fn payload(act: Act) -> Value {
    json!({"orderId": order(act as u128)})
}

/// What the tests' handler is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u128)]
pub enum Act {
    Succeed = 1,
    Panic,
    Retry,
    Fail,
    Hang,
    SleepTwoSeconds,
    PostponeOnce,
}

/// What the tests' handler did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Started {
        id: String,
        attempt: u32,
        attempts: u32,
    },
    Dropped {
        id: String,
    },
}

/// Watches the tests' handler.
pub struct Watch {
    events: mpsc::UnboundedReceiver<Seen>,
    most_at_once: Arc<AtomicUsize>,
}

impl Watch {
    pub async fn next(&mut self) -> Seen {
        tokio::time::timeout(Duration::from_secs(15), self.events.recv())
            .await
            .expect("the handler does something")
            .expect("the handler exists")
    }

    pub fn all(&mut self) -> Vec<Seen> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }

    pub fn most_at_once(&self) -> usize {
        self.most_at_once.load(Ordering::SeqCst)
    }
}

pub fn started(id: &str, attempt: u32, attempts: u32) -> Seen {
    Seen::Started {
        id: id.to_owned(),
        attempt,
        attempts,
    }
}

pub fn dropped(id: &str) -> Seen {
    Seen::Dropped { id: id.to_owned() }
}

/// Says that a handler's future is gone.
struct Running {
    id: String,
    events: mpsc::UnboundedSender<Seen>,
    now: Arc<AtomicUsize>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
        self.events
            .send(Seen::Dropped {
                id: self.id.clone(),
            })
            .ok();
    }
}

/// Handlers that do what the payload says.
pub fn handlers() -> (Handlers, Watch) {
    let (sender, events) = mpsc::unbounded_channel();
    let (now, most_at_once) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let watch = Watch {
        events,
        most_at_once: Arc::clone(&most_at_once),
    };
    let known = Mutex::new(HashSet::new());
    let act = move |job: PaymentDeadline, context: JobContext| {
        let at_once = now.fetch_add(1, Ordering::SeqCst) + 1;
        most_at_once.fetch_max(at_once, Ordering::SeqCst);
        let is_first = known
            .lock()
            .expect("nothing panics under the lock")
            .insert(context.id.clone());
        let running = Running {
            id: context.id.clone(),
            events: sender.clone(),
            now: Arc::clone(&now),
        };
        sender
            .send(Seen::Started {
                id: context.id,
                attempt: context.attempt,
                attempts: context.attempts,
            })
            .ok();
        async move {
            let running = running;
            let answer = match job.order_id.0.as_u128() {
                n if n == Act::Panic as u128 => panic!("kaboom"),
                n if n == Act::Retry as u128 => Err(JobError::retry(
                    anyhow::anyhow!("timed out").context("no gateway"),
                )),
                n if n == Act::Fail as u128 => Err(JobError::fail("declined")),
                n if n == Act::PostponeOnce as u128 && is_first => {
                    Err(JobError::Postpone(Duration::from_millis(200)))
                }
                n if n == Act::Hang as u128 => std::future::pending().await,
                n if n == Act::SleepTwoSeconds as u128 => {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    Ok(json!("slept"))
                }
                _ => Ok(json!("done")),
            };
            drop(running);
            answer
        }
    };
    let handlers = Handlers::new(QUEUE)
        .on(act)
        .on(async |_: ProcessOrder, _: JobContext| Ok(json!("processed")));
    (handlers, watch)
}

pub fn options() -> WorkerOptions {
    WorkerOptions {
        concurrency: 10,
        lock_duration: Duration::from_millis(900),
        stalled_interval: Duration::from_millis(300),
        job_timeout: Duration::from_secs(10),
        limiter: None,
    }
}
