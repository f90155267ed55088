//! Questions to a Redis, each on a connection of its own.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use redis::{AsyncConnectionConfig, Client, FromRedisValue, TlsCertificates};

/// How long a server may take to accept a connection, and again to answer.
const LIMIT: Duration = Duration::from_secs(2);

/// A client of `url` that trusts the authority in `ca_file`, or else the public ones.
pub(super) fn client(url: &str, ca_file: Option<&Path>) -> Result<Client> {
    let Some(ca_file) = ca_file else {
        return Client::open(url).with_context(|| format!("{url} is no URL of a Redis"));
    };
    // An error says that it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let authority =
        fs::read(ca_file).with_context(|| format!("cannot read {}", ca_file.display()))?;
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: Some(authority),
    };
    Client::build_with_tls(url, certificates)
        .with_context(|| format!("{url} is no URL of a Redis, or its authority is none"))
}

/// Sends a command and returns its answer.
pub(super) async fn ask<T: FromRedisValue>(client: &Client, command: &[&str]) -> Result<T> {
    let limits = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(LIMIT))
        .set_response_timeout(Some(LIMIT));
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&limits)
        .await
        .context("Redis does not let anyone in")?;
    let mut question = redis::Cmd::new();
    for word in command {
        question.arg(*word);
    }
    let what = || format!("Redis does not answer {}", command.join(" "));
    question
        .query_async(&mut connection)
        .await
        .with_context(what)
}

/// The same, of a Redis on `port` that wants no password and speaks no TLS.
pub(super) async fn ask_port<T: FromRedisValue>(port: u16, command: &[&str]) -> Result<T> {
    ask(
        &client(&format!("redis://127.0.0.1:{port}"), None)?,
        command,
    )
    .await
}

/// One field of the answer to `INFO` and the like: lines of `name:value`.
pub(super) fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value.trim())
}

/// How many replicas follow the server on `port`. One that has just copied everything is told of
/// no further command until it has confirmed that, which shows in an offset above 0.
pub(super) async fn followers(port: u16) -> Result<usize> {
    let info: String = ask_port(port, &["INFO", "replication"]).await?;
    Ok(info.lines().filter(|line| follows(line)).count())
}

/// `slave0:ip=127.0.0.1,port=20001,state=online,offset=14,lag=0`
fn follows(line: &str) -> bool {
    let offset = line
        .split(',')
        .find_map(|part| part.strip_prefix("offset="))
        .and_then(|offset| offset.parse().ok());
    line.starts_with("slave")
        && line.contains(",state=online,")
        && offset.is_some_and(|o: u64| o > 0)
}
