//! What keeps one client, or all of them together, from taking what others need.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use bharatmart_test_support::{App, test_prefix, wait_until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{interval, timeout},
};

use crate::{
    cache::LIST,
    load::{Load, Wire, errors},
    stack::{SOON, Stack},
};

/// So long that no window ends in a test.
const DAY: &str = "86400000";

#[tokio::test]
async fn two_processes_share_a_limit_that_no_forged_header_escapes() -> Result<()> {
    let stack = Stack::new().await?;
    let prefix = test_prefix();
    let api = || {
        stack
            .api()
            .cache_redis(&stack.redis)
            .cache_prefix(&prefix)
            .env("RATE_LIMIT_MAX_REQUESTS", "50")
            .env("RATE_LIMIT_WINDOW_MS", DAY)
    };
    let (one, other) = (api().start().await?, api().start().await?);
    let (mut to_one, mut to_other) = (Wire::open(&one).await?, Wire::open(&other).await?);
    for number in 1..=50 {
        let reply = to_one.get(LIST).await?;
        let left = (50 - number).to_string();
        ensure!(reply.status == 200, "{number}: {}", reply.status);
        ensure!(reply.header("ratelimit-remaining") == Some(left.as_str()));
    }
    let mut admitted = 0;
    wait_until("the other process to hear of it", SOON, async || {
        let forged = format!("198.51.100.{admitted}");
        let headers = [("x-forwarded-for", forged.as_str())];
        let reply = to_other.send("GET", LIST, &headers, None).await?;
        admitted += u32::from(reply.status == 200);
        if reply.status == 429 {
            let problem = reply.expect(429)?;
            ensure!(problem["code"] == "rate_limited", "{problem}");
            ensure!(reply.header("retry-after").is_some(), "no Retry-After");
        } else {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(reply.status == 429)
    })
    .await?;
    ensure!(admitted < 50, "the other process counted alone: {admitted}");
    let refused = other
        .metric("rate_limited_total{policy=\"requests\"}")
        .await?;
    ensure!(refused == Some(1.0), "{refused:?}");
    ensure!(to_other.get("/api/health").await?.status == 200);
    Ok(())
}

#[tokio::test]
async fn a_proxy_that_is_not_trusted_is_warned_of_once_and_in_production_only() -> Result<()> {
    let stack = Stack::new().await?;
    for (environment, warnings) in [("production", 1), ("development", 0)] {
        let api = stack
            .api()
            .env("ENVIRONMENT", environment)
            .env("TRUSTED_PROXIES", "192.0.2.1")
            .start()
            .await?;
        let mut wire = Wire::open(&api).await?;
        for name in ["x-forwarded-for", "forwarded"] {
            let headers = [(name, "198.51.100.4")];
            let reply = wire.send("GET", LIST, &headers, None).await?;
            ensure!(reply.status == 200, "{name}");
        }
        let log = api.log();
        let told = log.lines().filter(|line| line.contains("TRUSTED_PROXIES"));
        let told = told.count();
        ensure!(told == warnings, "{environment}: {told}");
    }
    Ok(())
}

/// Slow clients of each kind.
const SLOW: usize = 1000;

/// Sends `beginning` and then a byte now and then, until the server closes the connection; what it has answered.
async fn trickle(address: String, beginning: &'static str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(beginning.as_bytes()).await?;
    let mut ticks = interval(Duration::from_millis(500));
    let mut answer = Vec::new();
    loop {
        tokio::select! {
            read = stream.read_buf(&mut answer) => match read {
                Ok(0) | Err(_) => return Ok(String::from_utf8_lossy(&answer).into_owned()),
                Ok(_) => {}
            },
            // A connection that the server has closed is noticed by the read.
            _ = ticks.tick() => drop(stream.write_all(b"x").await),
        }
    }
}

#[tokio::test]
async fn two_thousand_slow_clients_are_closed_and_nobody_else_notices() -> Result<()> {
    let stack = Stack::new().await?;
    stack.product("Kite", 20, 5).await?;
    let api = stack
        .api()
        .env("REQUEST_HEADER_TIMEOUT", "3s")
        .env("REQUEST_TIMEOUT", "5s")
        // Fewer than there are slow ones.
        .env("MAX_CONNECTIONS_PER_INSTANCE", "1500")
        .start()
        .await?;
    let address = api.base_url().replace("http://", "");
    let mut slow = JoinSet::new();
    for _ in 0..SLOW {
        slow.spawn(trickle(address.clone(), "GET / HTTP/1.1\r\nhost: "));
        slow.spawn(trickle(
            address.clone(),
            "POST /api/auth/login HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n\
             content-length: 4000\r\n\r\n{\"email\":\"",
        ));
    }
    let mut served = 0;
    let ordinary = async {
        loop {
            // Each on a connection of its own, as somebody new.
            let reply = Wire::open(&api).await?.get(LIST).await?;
            ensure!(
                reply.status == 200,
                "an ordinary request got {}",
                reply.status
            );
            served += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let closed = async {
        let mut late = 0;
        while let Some(answer) = slow.join_next().await {
            let answer = answer??;
            ensure!(!answer.contains(" 200 "), "a slow one was served: {answer}");
            late += usize::from(answer.starts_with("HTTP/1.1 503"));
        }
        Ok(late)
    };
    let late = tokio::select! {
        failed = ordinary => return failed,
        closed = timeout(SOON, closed) => closed.context("slow clients are left")??,
    };
    ensure!(served > 10, "only {served} ordinary requests were served");
    ensure!(late > 0, "no slow body was answered that it took too long");
    let open = "the connections to be gone";
    wait_until(open, SOON, async || {
        let open = api.metric("http_connections_open").await?;
        Ok(open.is_some_and(|open| open < 5.0))
    })
    .await?;
    Ok(())
}

fn highest_megabytes(api: &App) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", api.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kibibytes: f64 = kibibytes.context("no VmHWM")?.trim().parse()?;
    Ok(kibibytes / 1024.0)
}

#[tokio::test]
async fn what_is_too_much_is_refused_at_once_and_the_shop_recovers() -> Result<()> {
    let stack = Stack::new().await?;
    stack.product("Kite", 20, 5).await?;
    let api = stack
        .api()
        .env("CACHE_TYPE", "none")
        // Little is too much.
        .env("DATABASE_POOL_SIZE", "2")
        .env("OVERLOAD_DELAY", "10")
        .start()
        .await?;
    let pause = Duration::from_millis(1);
    let load = Load::start(&api, 200, pause, &[LIST.to_owned()]).await?;
    let mut wire = Wire::open(&api).await?;
    let mut refusal = None;
    wait_until("a refusal", SOON, async || {
        let reply = wire.get(LIST).await?;
        refusal = (reply.status == 503).then_some(reply);
        Ok(refusal.is_some())
    })
    .await?;
    let refusal = refusal.context("waited for")?;
    let problem = refusal.expect(503)?;
    ensure!(problem["code"] == "overloaded", "{problem}");
    ensure!(refusal.header("retry-after") == Some("1"));
    for _ in 0..20 {
        ensure!(
            wire.get("/api/health").await?.status == 200,
            "a probe was refused"
        );
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let samples = load.end().await?;
    let refused = errors(&samples);
    ensure!(
        refused > 0 && refused < samples.len(),
        "{refused} of {}",
        samples.len()
    );
    ensure!(
        samples
            .iter()
            .all(|sample| [200, 503].contains(&sample.status))
    );
    let shed = api.metric("requests_shed_total").await?;
    ensure!(shed.is_some_and(|shed| shed > 0.0), "{shed:?}");
    wait_until("the shop to recover", SOON, async || {
        for _ in 0..20 {
            if wire.get(LIST).await?.status != 200 {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .await?;
    let highest = highest_megabytes(&api)?;
    ensure!(highest < 300.0, "it needed {highest:.0} MB");
    Ok(())
}
