//! What a cache may send to a server that others use as well.

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::servers::WHOLE_DATABASE_COMMANDS;

use super::PREFIX;
use crate::support::Backend;

pub fn are_fit_for_a_shared_server(backend: Backend, lines: &[String]) -> Result<()> {
    for line in lines {
        let words = words(line).with_context(|| format!("no command: {line}"))?;
        let name = words[0].to_uppercase();
        ensure!(!WHOLE_DATABASE_COMMANDS.contains(&name.as_str()), "{line}");
        let key = match name.as_str() {
            "GET" | "SET" | "DEL" | "GETRANGE" | "SETRANGE" | "HGET" | "HMGET" | "HSET"
            | "HINCRBY" | "HDEL" | "PUBLISH" | "SUBSCRIBE" | "TYPE" => words.get(1),
            // EVALSHA sha 1 key
            "EVALSHA" | "EVAL" => words.get(3),
            "ASKING" | "AUTH" | "CLIENT" | "CLUSTER" | "COMMAND" | "HELLO" | "INFO" | "MULTI"
            | "EXEC" | "PING" | "READONLY" | "REPLCONF" | "ROLE" | "SCRIPT" | "SELECT" | "TIME"
            | "UNSUBSCRIBE" | "WAIT" => None,
            other => anyhow::bail!("{other} is not among the commands of the cache: {line}"),
        };
        // Sentinels talk to each other over a channel of the master.
        let ours = |key: &String| key.starts_with(PREFIX) || key == "__sentinel__:hello";
        ensure!(key.is_none_or(ours), "not under the prefix: {line}");
    }
    let seen = lines.iter().any(|line| line.contains(PREFIX));
    ensure!(
        seen == backend.shares(),
        "{} commands were seen",
        lines.len()
    );
    Ok(())
}

/// The words of `1700000000.123456 [0 127.0.0.1:40000] "get" "key"`, as far as they are plain.
fn words(line: &str) -> Option<Vec<String>> {
    let (_, words) = line.split_once("] \"")?;
    Some(
        words
            .split("\" \"")
            .map(|word| word.trim_end_matches('"').to_owned())
            .collect(),
    )
}
