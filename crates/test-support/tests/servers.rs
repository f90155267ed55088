//! The servers and the proxy that the other tests stand on.

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, TcpStream},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    time::Duration,
};

use bharatmart_test_support::{
    FlakyProxy, ScratchDir, free_port,
    servers::{
        HaProxy, PgBouncer, PgBouncerOptions, Postgres, PostgresOptions, RedisOptions, RedisServer,
        Refusals, SmtpServer,
    },
    wait_until,
};
use sqlx::{Connection, PgConnection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(20);

fn answers(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

async fn redis_ask(url: &str, command: &str) -> String {
    let ask = async || -> std::io::Result<String> {
        let address = url.trim_start_matches("redis://");
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream
            .write_all(format!("{command}\r\n").as_bytes())
            .await?;
        let mut answer = [0; 64];
        let length = stream.read(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    };
    ask().await.expect("Redis answers")
}

async fn redis_has(url: &str, key: &str) -> bool {
    redis_ask(url, &format!("EXISTS {key}")).await == ":1\r\n"
}

async fn redis_set(url: &str, key: &str) {
    assert_eq!(redis_ask(url, &format!("SET {key} 1")).await, "+OK\r\n");
}

#[tokio::test]
async fn postgres_keeps_its_data_in_a_kept_folder() {
    let folder = ScratchDir::create().unwrap();
    let options = PostgresOptions {
        data_dir: Some(folder.path().join("postgres")),
        ..PostgresOptions::default()
    };
    let first = Postgres::start(options.clone()).await.unwrap();
    let url = first.create_database("shop").await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::query("CREATE TABLE kept ()")
        .execute(&mut connection)
        .await
        .unwrap();
    let port = first.port();
    first.stop().await.unwrap();
    assert!(!answers(port));

    let second = Postgres::start(options).await.unwrap();
    let url = second.create_database("shop").await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::query("SELECT FROM kept")
        .execute(&mut connection)
        .await
        .unwrap();
}

#[tokio::test]
async fn postgres_starts_although_a_killed_run_left_its_pid_file() {
    let folder = ScratchDir::create().unwrap();
    let options = PostgresOptions {
        data_dir: Some(folder.path().join("postgres")),
        ..PostgresOptions::default()
    };
    Postgres::start(options.clone())
        .await
        .unwrap()
        .stop()
        .await
        .unwrap();
    // The number of a process that lives but is no PostgreSQL: this one's.
    let pid_file = folder.path().join("postgres/pgdata/postmaster.pid");
    std::fs::write(&pid_file, format!("{}\n", std::process::id())).unwrap();
    Postgres::start(options).await.unwrap();
}

#[tokio::test]
async fn a_second_postgres_takes_the_folder_over_from_a_forgotten_one() {
    let folder = ScratchDir::create().unwrap();
    let options = PostgresOptions {
        data_dir: Some(folder.path().join("postgres")),
        ..PostgresOptions::default()
    };
    let forgotten = Postgres::start(options.clone()).await.unwrap();
    let _second = Postgres::start(options).await.unwrap();
    assert!(!answers(forgotten.port()));
}

#[tokio::test]
async fn redis_returns_on_its_port_and_forgets_unless_it_is_append_only() {
    for append_only in [false, true] {
        let mut redis = RedisServer::start(RedisOptions {
            append_only,
            ..RedisOptions::default()
        })
        .await
        .unwrap();
        redis_set(&redis.url(), "key").await;
        redis.stop().await.unwrap();
        assert!(!answers(redis.port()));
        redis.start_again().await.unwrap();
        assert_eq!(redis_has(&redis.url(), "key").await, append_only);
    }
}

#[tokio::test]
async fn a_paused_redis_is_silent_until_it_resumes() {
    let mut redis = RedisServer::temporary().await.unwrap();
    redis_set(&redis.url(), "key").await;
    redis.pause().unwrap();
    assert!(
        timeout(SHORT, redis_has(&redis.url(), "key"))
            .await
            .is_err()
    );
    redis.resume().unwrap();
    assert!(redis_has(&redis.url(), "key").await);
}

/// Hands a mail to the server; what it says to the content.
async fn hand_over(smtp: &SmtpServer, mail: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, smtp.port()))
        .await
        .expect("the server listens");
    let talk = format!(
        "HELO test\r\nMAIL FROM:<shop@example.in>\r\nRCPT TO:<asha@example.in>\r\nDATA\r\n{mail}.\r\nQUIT\r\n"
    );
    // One command a packet: this server takes no pipelining.
    let mut answer = [0; 512];
    let _ = stream.read(&mut answer).await.expect("it answers");
    let (commands, data) = talk.split_once("DATA\r\n").expect("a mail has content");
    for command in commands.split_inclusive("\r\n").chain(["DATA\r\n"]) {
        stream
            .write_all(command.as_bytes())
            .await
            .expect("the server goes on");
        let _ = stream.read(&mut answer).await.expect("it answers");
    }
    stream
        .write_all(data.as_bytes())
        .await
        .expect("the server goes on");
    let mut rest = String::new();
    stream
        .read_to_string(&mut rest)
        .await
        .expect("the server goes on");
    rest
}

#[tokio::test]
async fn the_smtp_server_refuses_what_it_is_told_to_refuse() {
    let smtp = SmtpServer::start().await.unwrap();
    let mail = "Message-ID: <2@example.in>\r\n\r\nHello\r\n";
    smtp.refuse(Some(Refusals {
        share: 1.0,
        times: 1,
        reply: "451 4.3.0 try again later",
    }))
    .unwrap();
    let answer = hand_over(&smtp, mail).await;
    assert!(answer.starts_with("451 4.3.0 try again later"), "{answer}");
    assert!(smtp.mails().unwrap().is_empty());
    let answer = hand_over(&smtp, mail).await;
    assert!(answer.starts_with("250"), "not more than once: {answer}");
    smtp.refuse(None).unwrap();
    let answer = hand_over(&smtp, "Message-ID: <3@example.in>\r\n\r\nHello\r\n").await;
    assert!(answer.starts_with("250"), "{answer}");
    assert_eq!(smtp.mails().unwrap().len(), 2);
}

#[tokio::test]
async fn the_smtp_server_keeps_what_it_accepted_over_a_restart() {
    let mut smtp = SmtpServer::start().await.unwrap();
    let mail = "From: shop@example.in\r\nTo: Asha <asha@example.in>\r\nSubject: =?utf-8?q?Namast=C3=A9?=\r\n\
        Message-ID: <1@example.in>\r\nX-Kind: test\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/alternative; boundary=b\r\n\r\n\
        --b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello\r\n\
        --b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Hello</p>\r\n--b--\r\n";
    let answer = hand_over(&smtp, mail).await;
    assert!(answer.starts_with("250"), "{answer}");

    smtp.stop().await.unwrap();
    assert!(!answers(smtp.port()));
    smtp.start_again().await.unwrap();
    let mails = smtp.mails().unwrap();
    assert_eq!(mails.len(), 1);
    let mail = &mails[0];
    assert_eq!(mail.subject, "Namasté");
    assert_eq!(mail.message_id, "1@example.in");
    assert_eq!(mail.from, "shop@example.in");
    assert_eq!(mail.to, ["asha@example.in"]);
    assert_eq!(mail.headers["x-kind"], "test");
    assert_eq!(mail.text.trim(), "Hello");
    assert_eq!(mail.html.trim(), "<p>Hello</p>");
}

#[tokio::test]
async fn haproxy_serves_what_its_configuration_says() {
    let port = free_port();
    let config = format!(
        "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n\
         listen here\n bind 127.0.0.1:{port}\n \
         http-request return status 200 content-type text/plain string here\n"
    );
    let haproxy = HaProxy::start(port, &config).await.unwrap();
    let answer = reqwest::get(format!("http://127.0.0.1:{port}/"))
        .await
        .unwrap();
    assert_eq!(answer.text().await.unwrap(), "here");
    haproxy.stop().await.unwrap();
    assert!(!answers(port));
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let error = HaProxy::start(free_port(), "no such directive\n")
        .await
        .unwrap_err();
    assert!(
        format!("{error:#}").contains("unknown keyword"),
        "{error:#}"
    );
}

#[tokio::test]
async fn the_proxy_passes_stalls_cuts_and_recovers() {
    let redis = RedisServer::temporary().await.unwrap();
    let proxy = FlakyProxy::start(format!("127.0.0.1:{}", redis.port()))
        .await
        .unwrap();
    let url = format!("redis://{}", proxy.address());
    redis_set(&url, "key").await;

    let mut open = tokio::net::TcpStream::connect(proxy.address())
        .await
        .unwrap();
    open.write_all(b"PING\r\n").await.unwrap();
    let mut pong = [0; 7];
    open.read_exact(&mut pong).await.unwrap();

    proxy.stall();
    open.write_all(b"PING\r\n").await.unwrap();
    assert!(timeout(SHORT, open.read_exact(&mut pong)).await.is_err());
    proxy.restore();
    timeout(LONG, open.read_exact(&mut pong))
        .await
        .unwrap()
        .unwrap();

    proxy.cut();
    // An end of the stream or a reset, but no answer.
    assert!(matches!(
        timeout(LONG, open.read(&mut pong)).await.unwrap(),
        Ok(0) | Err(_)
    ));
    wait_until("refusal", LONG, async || Ok(!answers(proxy.port())))
        .await
        .unwrap();
    proxy.restore();
    wait_until("recovery", LONG, async || Ok(answers(proxy.port())))
        .await
        .unwrap();
    assert!(redis_has(&url, "key").await);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn servers_end_when_their_owner_is_killed() {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "an_owner_of_servers_until_it_is_killed"])
        .args(["--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let output = BufReader::new(owner.stdout.take().unwrap());
    let line = output
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.split_once("ports:").map(|(_, ports)| ports.to_owned()))
        .unwrap();
    let ports: Vec<u16> = line
        .split_whitespace()
        .map(|port| port.parse().unwrap())
        .collect();
    assert!(ports.iter().all(|port| answers(*port)));
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("the servers' end", LONG, async || {
        Ok(ports.iter().all(|port| !answers(*port)))
    })
    .await
    .unwrap();
}

#[tokio::test]
#[ignore = "started, and killed, by servers_end_when_their_owner_is_killed"]
async fn an_owner_of_servers_until_it_is_killed() {
    let postgres = Postgres::start(PostgresOptions::default()).await.unwrap();
    let pooler = PgBouncer::start(&postgres, PgBouncerOptions::default())
        .await
        .unwrap();
    let mut frozen = Postgres::start(PostgresOptions::default()).await.unwrap();
    frozen.pause().unwrap();
    let redis = RedisServer::temporary().await.unwrap();
    let smtp = SmtpServer::start().await.unwrap();
    println!(
        "ports: {} {} {} {} {}",
        postgres.port(),
        pooler.port(),
        frozen.port(),
        redis.port(),
        smtp.port()
    );
    tokio::time::sleep(Duration::from_mins(1)).await;
}
