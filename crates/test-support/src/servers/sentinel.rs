use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::{
    PROMPT_REPLICAS, RedisOptions, RedisServer,
    question::{ask_port, field, followers},
    required, wait_until_answers,
};
use crate::{
    child::{Child, Launch, Output},
    install::{Requirement, find_program},
    ports::free_port,
    scratch::{ScratchDir, give_to_servers, server_user},
    wait::wait_until,
};

const MASTER_NAME: &str = "bharatmart";
const REPLICAS: usize = 2;
const SENTINELS: usize = 3;
/// How long the servers may take to find each other, or to agree about another master.
const AGREE_LIMIT: Duration = Duration::from_secs(30);

/// One Redis master with two replicas, and three sentinels of which two decide that it is down.
#[derive(Debug)]
pub struct SentinelSet {
    redis: Vec<RedisServer>,
    sentinels: Vec<Sentinel>,
}

#[derive(Debug)]
struct Sentinel {
    // Dropped before the folder that it writes into.
    _server: Child,
    _folder: ScratchDir,
    port: u16,
}

impl SentinelSet {
    /// Starts the servers and waits until the replicas follow the master and the sentinels know
    /// all others.
    ///
    /// # Errors
    /// When Redis is not installed or the servers do not find each other.
    pub async fn start() -> Result<Self> {
        let master = start_redis(&PROMPT_REPLICAS).await?;
        let port = master.port();
        let mut redis = vec![master];
        for _ in 0..REPLICAS {
            let follow = ["--replicaof", "127.0.0.1", &port.to_string()];
            redis.push(
                start_redis(&[PROMPT_REPLICAS.as_slice(), follow.as_slice()].concat()).await?,
            );
        }
        wait_until("the replicas to follow", AGREE_LIMIT, async || {
            Ok(followers(port).await? == REPLICAS)
        })
        .await?;

        let mut sentinels = Vec::new();
        for _ in 0..SENTINELS {
            sentinels.push(Sentinel::start(port).await?);
        }
        let set = Self { redis, sentinels };
        wait_until(
            "the sentinels to know each other",
            AGREE_LIMIT,
            async || {
                for sentinel in &set.sentinels {
                    if !sentinel.knows_all().await? {
                        return Ok(false);
                    }
                }
                Ok(true)
            },
        )
        .await?;
        Ok(set)
    }

    /// `host:port` of the sentinels.
    #[must_use]
    pub fn sentinels(&self) -> Vec<String> {
        self.sentinels
            .iter()
            .map(|sentinel| format!("127.0.0.1:{}", sentinel.port))
            .collect()
    }

    /// What the sentinels call the master.
    #[must_use]
    pub fn master_name(&self) -> &'static str {
        MASTER_NAME
    }

    /// The port of the master, when the sentinels agree about it; else that of the newest one that
    /// any of them names.
    ///
    /// # Errors
    /// When the sentinels do not answer.
    pub async fn master_port(&self) -> Result<u16> {
        let mut newest = None;
        for sentinel in &self.sentinels {
            newest = newest.max(Some(sentinel.master().await?));
        }
        let (_, port) = newest.context("there are no sentinels")?;
        Ok(port)
    }

    /// Kills the master, as a crash would, and returns its port. The sentinels need some seconds to
    /// notice: [`SentinelSet::wait_for_failover`].
    ///
    /// # Errors
    /// When the sentinels do not answer, or name a server that is none of these or was killed.
    pub async fn kill_master(&mut self) -> Result<u16> {
        let port = self.master_port().await?;
        let master = self.redis.iter_mut().find(|redis| redis.port() == port);
        match master {
            Some(master) if master.is_started() => master.kill9(),
            _ => bail!("the sentinels' master on port {port} does not run"),
        }
        Ok(port)
    }

    /// Waits until all sentinels name the same master, which was not killed and says itself that it
    /// is one. Returns how long that took.
    ///
    /// # Errors
    /// When it takes longer than half a minute.
    pub async fn wait_for_failover(&self) -> Result<Duration> {
        let start = Instant::now();
        wait_until("the sentinels to agree", AGREE_LIMIT, async || {
            let mut named = Vec::new();
            for sentinel in &self.sentinels {
                named.push(sentinel.master().await?.1);
            }
            let port = named[0];
            let lives = self
                .redis
                .iter()
                .any(|redis| redis.port() == port && redis.is_started());
            if !lives || named.iter().any(|other| *other != port) {
                return Ok(false);
            }
            let info: String = ask_port(port, &["INFO", "replication"]).await?;
            Ok(field(&info, "role") == Some("master"))
        })
        .await?;
        Ok(start.elapsed())
    }
}

async fn start_redis(arguments: &[&str]) -> Result<RedisServer> {
    let options = RedisOptions {
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        ..RedisOptions::default()
    };
    RedisServer::start(options).await
}

impl Sentinel {
    async fn start(master_port: u16) -> Result<Self> {
        let program = required(find_program("redis-server"), Requirement::Redis)?;
        let folder = ScratchDir::create()?;
        let port = free_port();
        let file = folder.path().join("sentinel.conf");
        let config = format!(
            "port {port}\n\
             bind 127.0.0.1\n\
             sentinel monitor {MASTER_NAME} 127.0.0.1 {master_port} 2\n\
             sentinel down-after-milliseconds {MASTER_NAME} 1000\n\
             sentinel failover-timeout {MASTER_NAME} 3000\n",
        );
        fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
        // A sentinel keeps what it learns in its configuration.
        give_to_servers(&file)?;
        let log = Output::File(folder.path().join("sentinel.log"));
        let mut server = Launch::new("Redis Sentinel", program, log)
            .arg(&file)
            .arg("--sentinel")
            .directory(folder.path())
            .user(server_user()?)
            .death_signal(Signal::SIGTERM)
            .spawn()?;
        wait_until_answers(&mut server, async || {
            ask_port::<()>(port, &["PING"]).await.is_ok()
        })
        .await?;
        Ok(Self {
            _server: server,
            _folder: folder,
            port,
        })
    }

    async fn fields(&self) -> Result<std::collections::HashMap<String, String>> {
        ask_port(self.port, &["SENTINEL", "MASTER", MASTER_NAME]).await
    }

    async fn knows_all(&self) -> Result<bool> {
        let fields = self.fields().await?;
        let is = |name: &str, count: usize| fields.get(name) == Some(&count.to_string());
        Ok(is("num-slaves", REPLICAS) && is("num-other-sentinels", SENTINELS - 1))
    }

    /// The epoch of the master's election, and its port.
    async fn master(&self) -> Result<(u64, u16)> {
        let fields = self.fields().await?;
        let number = |name: &str| {
            let value = fields.get(name);
            value.with_context(|| format!("a sentinel does not tell `{name}`"))
        };
        Ok((number("config-epoch")?.parse()?, number("port")?.parse()?))
    }
}
