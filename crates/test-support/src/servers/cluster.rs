use std::{
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{
    PROMPT_REPLICAS, RedisOptions, RedisServer,
    question::{ask_port, field, followers},
    required,
};
use crate::{
    install::{Requirement, find_program},
    ports::free_port_with,
    wait::wait_until,
};

const NODES: usize = 6;
/// The nodes talk to each other on a port so much above the one of the clients.
const BUS_PORT: u16 = 10_000;
const SLOTS: u32 = 16_384;
/// For how long a node must be silent to be voted out. A busy machine keeps one waiting for a
/// second now and then.
const NODE_TIMEOUT: &str = "2000";
/// How long the cluster may take to agree about its masters, at the start and after a loss.
const AGREE_LIMIT: Duration = Duration::from_secs(30);

/// A Redis Cluster of three masters with one replica each, on 127.0.0.1.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts the nodes, joins them and waits until all agree and every replica follows its master.
    ///
    /// # Errors
    /// When Redis is not installed or the nodes do not come together.
    pub async fn start() -> Result<Self> {
        let membership = [
            "--cluster-enabled",
            "yes",
            "--cluster-config-file",
            "nodes.conf",
            "--cluster-node-timeout",
            NODE_TIMEOUT,
        ];
        let arguments = [membership.as_slice(), &PROMPT_REPLICAS].concat();
        let mut nodes = Vec::new();
        for _ in 0..NODES {
            let options = RedisOptions {
                port: Some(free_port_with(BUS_PORT)),
                arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
                ..RedisOptions::default()
            };
            nodes.push(RedisServer::start(options).await?);
        }
        let cluster = Self { nodes };
        cluster.join()?;
        cluster.wait_until_ok().await?;
        cluster.wait_for_replicas().await?;
        Ok(cluster)
    }

    fn join(&self) -> Result<()> {
        let program = required(find_program("redis-cli"), Requirement::Redis)?;
        let output = Command::new(program)
            .args(["--cluster", "create"])
            .args(self.nodes())
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .stdin(Stdio::null())
            .output()
            .context("cannot start redis-cli")?;
        ensure!(
            output.status.success(),
            "redis-cli cannot make a cluster: {}{}",
            String::from_utf8_lossy(&output.stdout).trim(),
            String::from_utf8_lossy(&output.stderr).trim(),
        );
        Ok(())
    }

    /// `host:port` of all nodes, also of those that were killed.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        self.nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port()))
            .collect()
    }

    /// The URLs of the nodes that were not killed.
    #[must_use]
    pub fn living_urls(&self) -> Vec<String> {
        self.living().map(RedisServer::url).collect()
    }

    /// `host:port` of the master that holds `key`.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn master_of(&self, key: &str) -> Result<String> {
        let (port, slot) = {
            let node = self.living().next().context("all nodes were killed")?;
            let slot: u32 = ask_port(node.port(), &["CLUSTER", "KEYSLOT", key]).await?;
            (node.port(), slot)
        };
        let masters = masters(port).await?;
        let master = masters
            .iter()
            .find(|master| master.slots.iter().any(|range| range.contains(&slot)))
            .with_context(|| format!("no master holds slot {slot}"))?;
        Ok(format!("127.0.0.1:{}", master.port))
    }

    /// Kills the master that holds `key`, as a crash would, and says which one it was. The cluster
    /// needs some seconds to notice: [`RedisCluster::wait_until_ok`].
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn kill_master_of(&mut self, key: &str) -> Result<String> {
        let address = self.master_of(key).await?;
        self.nodes
            .iter_mut()
            .find(|node| address == format!("127.0.0.1:{}", node.port()))
            .with_context(|| format!("{address} is none of the cluster's nodes"))?
            .kill9();
        Ok(address)
    }

    /// Kills one of the masters, as a crash would, and says which one it was.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn kill_a_master(&mut self) -> Result<String> {
        self.kill_master_of("any").await
    }

    /// Waits until each node that was not killed says that the cluster is well and that masters
    /// which were not killed hold all slots.
    ///
    /// # Errors
    /// When that takes longer than half a minute.
    pub async fn wait_until_ok(&self) -> Result<()> {
        wait_until("the cluster to be well", AGREE_LIMIT, async || {
            for node in self.living() {
                // A node that does not answer in time is not well yet.
                if !self.is_well_for(node.port()).await.unwrap_or(false) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    }

    async fn is_well_for(&self, port: u16) -> Result<bool> {
        let info: String = ask_port(port, &["CLUSTER", "INFO"]).await?;
        let held: u32 = masters(port)
            .await?
            .iter()
            .filter(|master| self.living().any(|node| node.port() == master.port))
            .flat_map(|master| &master.slots)
            .map(|range| range.end() - range.start() + 1)
            .sum();
        Ok(field(&info, "cluster_state") == Some("ok") && held == SLOTS)
    }

    async fn wait_for_replicas(&self) -> Result<()> {
        wait_until("every master's replica", AGREE_LIMIT, async || {
            let mut attached = 0;
            for node in self.living() {
                attached += followers(node.port()).await?;
            }
            Ok(attached == NODES / 2)
        })
        .await
    }

    fn living(&self) -> impl Iterator<Item = &RedisServer> {
        self.nodes.iter().filter(|node| node.is_started())
    }
}

/// A node that holds slots.
struct Master {
    port: u16,
    slots: Vec<std::ops::RangeInclusive<u32>>,
}

/// The masters as the node on `port` sees them.
async fn masters(port: u16) -> Result<Vec<Master>> {
    let nodes: String = ask_port(port, &["CLUSTER", "NODES"]).await?;
    Ok(nodes.lines().filter_map(master).collect())
}

/// "<id> 127.0.0.1:20001@30001 myself,master - 0 0 1 connected 0-5460 …"
fn master(line: &str) -> Option<Master> {
    let mut words = line.split_whitespace().skip(1);
    let (address, _) = words.next()?.split_once('@')?;
    let (_, port) = address.rsplit_once(':')?;
    let slots: Vec<_> = words.skip(6).filter_map(slots).collect();
    let port = port.parse().ok()?;
    (!slots.is_empty()).then_some(Master { port, slots })
}

/// "0-5460" or "7"; a slot on its way to another node, "[7->-<id>]", is told by its number as well.
fn slots(word: &str) -> Option<std::ops::RangeInclusive<u32>> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    Some(first.parse().ok()?..=last.parse().ok()?)
}
