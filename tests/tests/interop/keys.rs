//! What a job looks like in Redis, field by field: one of theirs beside the same of ours.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};

use crate::{ORDERS, Shop, stack::id};

/// Everything under a queue's keys: by the key without what all have in common, by field.
type Dump = BTreeMap<String, BTreeMap<String, Value>>;

/// Fields of which the text is JSON, written in any order of its own fields.
const JSON_FIELDS: [&str; 2] = ["data", "opts"];

#[tokio::test]
async fn a_job_of_ours_looks_in_redis_as_one_of_theirs() -> Result<()> {
    let shop = Shop::open().await?;
    let placed = shop.order("upi").await?;
    let job = format!("order-{}", id(&placed)?);
    let events = shop.node.events(ORDERS)?;
    events.event("waiting", &job).await?;

    let theirs = shop.node.with_prefix("theirs");
    let payload = json!({
        "orderId": placed["id"],
        "userId": shop.customer.user_id(),
        "totalAmount": placed["total_amount"],
        "items": [{"productId": shop.product, "quantity": 2, "price": 1999}],
    });
    let contract = json!({
        "jobId": job,
        "attempts": 3,
        "backoff": {"type": "exponential", "delay": 2000},
        "removeOnComplete": 1000,
        "removeOnFail": {"age": 604_800, "count": 5000},
    });
    let calls = json!([["add", "process-order", payload, contract]]);
    theirs.calls(ORDERS, calls).await?;

    let mut redis = shop.stack.redis().await?;
    let mut ours = dump(&mut redis, &shop.stack.prefix).await?;
    let theirs = dump(&mut redis, "theirs").await?;
    // Node keeps the trace in an option that the Rust library drops.
    let data = ours.get_mut(&job).and_then(|fields| fields.get_mut("data"));
    let data = data.and_then(Value::as_object_mut).context("a payload")?;
    assert!(
        data.remove("traceparent")
            .is_some_and(|trace| trace.is_string())
    );
    // Each library signs the queue under a name of its own.
    assert_eq!(
        differences(&theirs, &ours),
        [
            "meta library: theirs nothing, ours \"bullmq-official:0.1.0\"",
            "meta version: theirs \"bullmq:6.7.0\", ours nothing",
        ]
    );
    assert_eq!(ours[&job]["data"], payload);
    Ok(())
}

/// One line for each field that is not the same.
fn differences(theirs: &Dump, ours: &Dump) -> Vec<String> {
    let mut lines = Vec::new();
    let keys: BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
    for key in keys {
        let none = BTreeMap::new();
        let theirs = theirs.get(key).unwrap_or(&none);
        let ours = ours.get(key).unwrap_or(&none);
        let fields: BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
        for field in fields {
            let show = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
            let (theirs, ours) = (theirs.get(field), ours.get(field));
            if theirs != ours {
                let (theirs, ours) = (show(theirs), show(ours));
                lines.push(format!("{key} {field}: theirs {theirs}, ours {ours}"));
            }
        }
    }
    lines
}

/// The keys of the queue under `prefix`. The server is the test's own: others would be stalled.
async fn dump(redis: &mut MultiplexedConnection, prefix: &str) -> Result<Dump> {
    let common = format!("{prefix}:{ORDERS}:");
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg(format!("{common}*"))
        .query_async(redis)
        .await?;
    let mut dump = Dump::new();
    for key in keys {
        let name = key
            .strip_prefix(&common)
            .context("a key of another queue")?;
        dump.insert(name.to_owned(), fields(redis, &key).await?);
    }
    Ok(dump)
}

async fn fields(redis: &mut MultiplexedConnection, key: &str) -> Result<BTreeMap<String, Value>> {
    let kind: String = redis::cmd("TYPE").arg(key).query_async(redis).await?;
    Ok(match kind.as_str() {
        "hash" => {
            let hash: BTreeMap<String, String> =
                redis::cmd("HGETALL").arg(key).query_async(redis).await?;
            hash.into_iter().map(normal).collect()
        }
        "list" => {
            let list: Vec<String> = redis::cmd("LRANGE")
                .arg(key)
                .arg(0)
                .arg(-1)
                .query_async(redis)
                .await?;
            BTreeMap::from([("list".to_owned(), json!(list))])
        }
        "zset" => {
            let set: Vec<(String, f64)> = redis::cmd("ZRANGE")
                .arg(key)
                .arg(0)
                .arg(-1)
                .arg("WITHSCORES")
                .query_async(redis)
                .await?;
            BTreeMap::from([("sorted set".to_owned(), json!(set))])
        }
        "stream" => {
            let entries: Vec<(String, BTreeMap<String, String>)> = redis::cmd("XRANGE")
                .arg(key)
                .arg("-")
                .arg("+")
                .query_async(redis)
                .await?;
            let entries: Vec<_> = entries.into_iter().map(|(_, entry)| entry).collect();
            BTreeMap::from([("stream".to_owned(), json!(entries))])
        }
        "string" => {
            let text: String = redis::cmd("GET").arg(key).query_async(redis).await?;
            BTreeMap::from([("string".to_owned(), json!(text))])
        }
        other => bail!("{key} is a {other}"),
    })
}

/// A field without what differs by nature: the time at which the job was added.
fn normal((field, text): (String, String)) -> (String, Value) {
    let value = if field == "timestamp" && text.parse::<u64>().is_ok() {
        json!("a time in milliseconds")
    } else if JSON_FIELDS.contains(&field.as_str()) {
        serde_json::from_str(&text).unwrap_or(json!(text))
    } else {
        json!(text)
    };
    (field, value)
}
