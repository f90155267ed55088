//! What a Redis must be like to hold queues.

use bharatmart_config::QueueConfig;
use redis::aio::MultiplexedConnection;

use crate::connection::Endpoint;

/// The scripts use commands and flags that came with this version.
const OLDEST: (u32, u32) = (6, 2);
/// The only policy that drops no job when the memory is full.
const POLICY: &str = "noeviction";

/// Why a Redis must not hold the queues.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitServer {
    /// It may drop jobs.
    #[error(
        "the queue's Redis has maxmemory-policy {0} and may drop jobs when its memory is full: set it to {POLICY}, \
         or QUEUE_ALLOW_EVICTION=true to take the risk"
    )]
    Evicts(String),
    /// The scripts would fail.
    #[error("the queue's Redis has version {0}; {major}.{minor} or later is needed", major = OLDEST.0, minor = OLDEST.1)]
    Old(String),
}

/// What a server says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Facts {
    version: String,
    policy: String,
    /// Whether each write is logged.
    has_log: bool,
    /// Whether snapshots are taken; `None` where nobody may ask.
    has_snapshots: Option<bool>,
}

/// Asks the queue's Redis, as soon as it answers, whether it is fit to hold queues. In a cluster, the node that
/// answers first stands for all.
pub async fn check_server(config: &QueueConfig) -> Result<(), UnfitServer> {
    let endpoint = Endpoint::new(config);
    let facts = endpoint
        .until_ready(|| async { Ok(ask(&mut endpoint.dial().await?).await?) })
        .await;
    facts.judge(config.allow_eviction)
}

/// Whether the queue's Redis answers now, and if not why; takes at most 2 s.
pub async fn reach(config: &QueueConfig) -> redis::RedisResult<()> {
    Endpoint::new(config).dial().await.map(drop)
}

async fn ask(connection: &mut MultiplexedConnection) -> redis::RedisResult<Facts> {
    let info: String = redis::cmd("INFO").query_async(connection).await?;
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    // Managed servers do not let everybody see their settings.
    let snapshots: redis::RedisResult<Vec<String>> = redis::cmd("CONFIG")
        .arg("GET")
        .arg("save")
        .query_async(connection)
        .await;
    Ok(Facts {
        version: field("redis_version"),
        policy: field("maxmemory_policy"),
        has_log: field("aof_enabled") == "1",
        has_snapshots: snapshots
            .ok()
            .map(|pair| pair.get(1).is_some_and(|save| !save.is_empty())),
    })
}

impl Facts {
    fn judge(&self, allow_eviction: bool) -> Result<(), UnfitServer> {
        let mut numbers = self.version.split('.').map(str::parse);
        // A server that does not tell is taken as it is.
        if let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next())
            && (major, minor) < OLDEST
        {
            return Err(UnfitServer::Old(self.version.clone()));
        }
        if !self.policy.is_empty() && self.policy != POLICY {
            let unfit = UnfitServer::Evicts(self.policy.clone());
            if !allow_eviction {
                return Err(unfit);
            }
            tracing::warn!(
                policy = self.policy,
                "the queue's Redis may drop jobs when its memory is full"
            );
        }
        if !self.has_log && self.has_snapshots == Some(false) {
            tracing::warn!(
                "the queue's Redis keeps jobs in its memory only; after a restart they are carried to it again from the database"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(version: &str, policy: &str) -> Facts {
        Facts {
            version: version.to_owned(),
            policy: policy.to_owned(),
            ..Facts::default()
        }
    }

    #[test]
    fn old_servers_and_those_that_evict_are_refused() {
        assert_eq!(facts("7.0.15", "noeviction").judge(false), Ok(()));
        assert_eq!(facts("6.2.0", "noeviction").judge(false), Ok(()));
        assert_eq!(facts("", "").judge(false), Ok(()));
        assert_eq!(
            facts("6.0.20", "noeviction").judge(true),
            Err(UnfitServer::Old("6.0.20".to_owned()))
        );
        let evicting = facts("7.0.15", "allkeys-lru");
        assert_eq!(
            evicting.judge(false),
            Err(UnfitServer::Evicts("allkeys-lru".to_owned()))
        );
        assert_eq!(evicting.judge(true), Ok(()));
    }
}
