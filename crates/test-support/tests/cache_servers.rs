//! The servers that the cache is tested with, and what is seen of them.

use std::time::Duration;

use bharatmart_test_support::{
    TestDatabase,
    servers::{
        Monitor, RedisCluster, RedisOptions, RedisServer, SentinelSet, WHOLE_DATABASE_COMMANDS,
    },
};
use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, TlsCertificates, aio::MultiplexedConnection,
};

const LONG: Duration = Duration::from_secs(10);

async fn connect(client: &Client) -> redis::RedisResult<MultiplexedConnection> {
    let limits = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(LONG))
        .set_response_timeout(Some(LONG));
    client
        .get_multiplexed_async_connection_with_config(&limits)
        .await
}

async fn ask<T: FromRedisValue>(client: &Client, command: &[&str]) -> redis::RedisResult<T> {
    let mut connection = connect(client).await?;
    let mut question = redis::cmd(command[0]);
    for argument in &command[1..] {
        question.arg(*argument);
    }
    question.query_async(&mut connection).await
}

/// Sets `key` to 1 and tells how many replicas have it. `WAIT` is about its own connection.
async fn set_and_wait(client: &Client, replicas: u32) -> redis::RedisResult<u32> {
    let mut connection = connect(client).await?;
    let mut both = redis::pipe();
    both.set("key", 1).ignore();
    both.cmd("WAIT").arg(replicas).arg(5000);
    let (copied,) = both.query_async(&mut connection).await?;
    Ok(copied)
}

fn plain(address: &str) -> Client {
    Client::open(format!("redis://{address}")).expect("an address")
}

fn trusting(url: &str, ca_file: &std::path::Path) -> Client {
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: Some(std::fs::read(ca_file).expect("a readable authority")),
    };
    Client::build_with_tls(url, certificates).expect("an authority and a URL")
}

async fn guarded(tls: bool) -> RedisServer {
    let options = RedisOptions {
        password: Some("opensesame".to_owned()),
        tls,
        ..RedisOptions::default()
    };
    RedisServer::start(options).await.expect("Redis starts")
}

#[tokio::test]
async fn a_redis_with_a_password_lets_nobody_else_in() {
    let redis = guarded(false).await;
    let set: String = ask(&redis.client().unwrap(), &["SET", "key", "1"])
        .await
        .unwrap();
    assert_eq!(set, "OK");
    let stranger = plain(&format!("127.0.0.1:{}", redis.port()));
    let refused = ask::<String>(&stranger, &["GET", "key"]).await.unwrap_err();
    assert_eq!(refused.code(), Some("NOAUTH"));
}

#[tokio::test]
async fn a_redis_with_tls_wants_tls_its_own_authority_and_the_password() {
    let (redis, other) = (guarded(true).await, guarded(true).await);
    let (url, ca_file) = (redis.url(), redis.ca_file().unwrap());
    let client = redis.client().unwrap();
    assert!(url.starts_with("rediss://:opensesame@localhost:"), "{url}");
    assert_eq!(
        ask::<String>(&client, &["ECHO", "hello"]).await.unwrap(),
        "hello"
    );

    let by_number = url.replace("localhost", "127.0.0.1");
    let asked = ask::<String>(&trusting(&by_number, ca_file), &["ECHO", "hello"]).await;
    assert_eq!(asked.unwrap(), "hello");

    let unencrypted = Client::open(url.replace("rediss", "redis")).unwrap();
    assert!(ask::<String>(&unencrypted, &["PING"]).await.is_err());

    for distrusting in [
        trusting(&url, other.ca_file().unwrap()),
        Client::open(url.as_str()).unwrap(),
    ] {
        let refused = ask::<String>(&distrusting, &["PING"]).await.unwrap_err();
        assert!(
            refused.to_string().contains("invalid peer certificate"),
            "{refused}"
        );
    }

    let wrong = trusting(&url.replace("opensesame", "guess"), ca_file);
    let refused = ask::<String>(&wrong, &["PING"]).await.unwrap_err();
    assert_eq!(refused.kind(), redis::ErrorKind::AuthenticationFailed);
}

#[tokio::test]
async fn a_redis_keeps_everything_unless_told_and_takes_further_arguments() {
    let redis = RedisServer::temporary().await.unwrap();
    let policy = ["CONFIG", "GET", "maxmemory-policy"];
    let answer: (String, String) = ask(&redis.client().unwrap(), &policy).await.unwrap();
    assert_eq!(answer.1, "noeviction");

    let arguments = ["--maxmemory", "100mb"].map(str::to_owned);
    let options = RedisOptions {
        maxmemory_policy: Some("allkeys-lru".to_owned()),
        arguments: arguments.into(),
        ..RedisOptions::default()
    };
    let redis = RedisServer::start(options).await.unwrap();
    let client = redis.client().unwrap();
    let answer: (String, String) = ask(&client, &policy).await.unwrap();
    assert_eq!(answer.1, "allkeys-lru");
    let answer: (String, u64) = ask(&client, &["CONFIG", "GET", "maxmemory"]).await.unwrap();
    assert_eq!(answer.1, 100 * 1024 * 1024);
}

#[tokio::test]
async fn a_monitor_and_the_counts_see_commands_of_clients_and_of_scripts() {
    let redis = guarded(true).await;
    let client = redis.client().unwrap();
    let () = ask(&client, &["SET", "before", "1"]).await.unwrap();
    let mut monitor = Monitor::start(&redis.url(), redis.ca_file()).await.unwrap();
    let () = ask(&client, &["set", "key", "a \"KEYS\" b"]).await.unwrap();
    let script = "redis.call('get', 'key') redis.call('flushdb') return redis.call('keys', '*')";
    let () = ask(&client, &["EVAL", script, "0"]).await.unwrap();

    let seen = monitor.commands().await.unwrap();
    let of_connecting = ["AUTH", "CLIENT"];
    let of_ours: Vec<&str> = seen
        .iter()
        .map(String::as_str)
        .filter(|name| !of_connecting.contains(name))
        .collect();
    assert_eq!(of_ours, ["SET", "EVAL", "GET", "FLUSHDB", "KEYS"]);
    let lines = monitor.lines().await.unwrap();
    let in_scripts = lines.iter().filter(|line| line.contains(" lua] ")).count();
    assert_eq!(in_scripts, 3, "{lines:?}");

    let counts = redis.command_counts().await.unwrap();
    assert_eq!(counts["SET"], 2);
    assert_eq!(counts["GET"], 1);
    let found: Vec<&str> = WHOLE_DATABASE_COMMANDS
        .into_iter()
        .filter(|name| counts.contains_key(*name))
        .collect();
    assert_eq!(found, ["FLUSHDB", "KEYS"]);
}

#[tokio::test]
async fn a_cluster_survives_the_loss_of_the_master_that_holds_a_key() {
    let mut cluster = RedisCluster::start().await.unwrap();
    assert_eq!(cluster.nodes().len(), 6);
    let holder = cluster.master_of("key").await.unwrap();
    assert_eq!(set_and_wait(&plain(&holder), 1).await.unwrap(), 1);

    assert_eq!(cluster.kill_master_of("key").await.unwrap(), holder);
    cluster.wait_until_ok().await.unwrap();
    let successor = cluster.master_of("key").await.unwrap();
    assert_ne!(successor, holder);
    let kept: String = ask(&plain(&successor), &["GET", "key"]).await.unwrap();
    assert_eq!(kept, "1");
    assert_eq!(cluster.living_urls().len(), 5);
}

#[tokio::test]
async fn sentinels_make_a_replica_the_master_when_the_master_is_killed() {
    let mut set = SentinelSet::start().await.unwrap();
    let first = set.master_port().await.unwrap();
    let master = plain(&format!("127.0.0.1:{first}"));
    assert_eq!(set_and_wait(&master, 2).await.unwrap(), 2);

    assert_eq!(set.kill_master().await.unwrap(), first);
    let took = set.wait_for_failover().await.unwrap();
    assert!(took < Duration::from_secs(15), "{took:?}");
    let second = set.master_port().await.unwrap();
    assert_ne!(second, first);
    let named: (String, u16) = ask(
        &plain(&set.sentinels()[0]),
        &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", set.master_name()],
    )
    .await
    .unwrap();
    assert_eq!(named.1, second);
    let master = plain(&format!("127.0.0.1:{second}"));
    let kept: String = ask(&master, &["GET", "key"]).await.unwrap();
    assert_eq!(kept, "1");
    let () = ask(&master, &["SET", "key", "2"]).await.unwrap();
}

#[tokio::test]
async fn statements_are_counted_one_by_one_and_for_each_database() {
    let (database, other) = (TestDatabase::create().await, TestDatabase::create().await);
    let pool = database.pool().await;
    let like = "SELECT id, sku FROM products WHERE price > %";
    assert_eq!(database.statement_calls(like).await.unwrap(), 0);
    for price in 0..7 {
        sqlx::query("SELECT id,\n    sku\nFROM products WHERE price > $1")
            .bind(price)
            .fetch_all(&pool)
            .await
            .unwrap();
    }
    assert_eq!(database.statement_calls(like).await.unwrap(), 7);
    assert_eq!(other.statement_calls(like).await.unwrap(), 0);
    assert_eq!(database.statement_calls("no such %").await.unwrap(), 0);
}
