//! A lean HTTP client: so many connections, each sending its next request when it has its answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http1::{SendRequest, handshake},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

/// What a load did.
pub struct Report {
    /// Answers of the expected status.
    pub done: u64,
    pub elapsed: Duration,
    /// How long each answer took, in milliseconds, sorted.
    pub latencies: Vec<f64>,
}

impl Report {
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 requests")]
    pub fn rate(&self) -> f64 {
        self.done as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency in milliseconds that the share `quantile` of the answers stayed below.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index into a list"
    )]
    pub fn quantile(&self, quantile: f64) -> f64 {
        let index = (self.latencies.len() as f64 * quantile) as usize;
        self.latencies.get(index).copied().unwrap_or(f64::NAN)
    }
}

/// Posts to `path` from `connections` connections for `length`; `body` makes each request's body
/// from the number of the request. Any answer but 201 is an error.
pub async fn post(
    port: u16,
    path: &'static str,
    token: &str,
    connections: u64,
    length: Duration,
    body: impl Fn(u64) -> String + Send + Sync + 'static,
) -> Result<Report> {
    let stop = Arc::new(AtomicBool::new(false));
    let body = Arc::new(body);
    let authorization = format!("Bearer {token}");
    let mut clients = JoinSet::new();
    let start = Instant::now();
    for client in 0..connections {
        let (stop, body) = (stop.clone(), body.clone());
        let authorization = authorization.clone();
        clients.spawn(async move {
            let mut sender = connect(port).await?;
            let mut latencies = Vec::new();
            let mut number = client;
            while !stop.load(Ordering::Relaxed) {
                let request = Request::post(path)
                    .header(HOST, "127.0.0.1")
                    .header(AUTHORIZATION, &authorization)
                    .header(CONTENT_TYPE, "application/json")
                    .body(Full::new(Bytes::from(body(number))))?;
                number += connections;
                let sent = Instant::now();
                sender.ready().await?;
                let answer = sender.send_request(request).await?;
                let status = answer.status();
                let text = answer.into_body().collect().await?.to_bytes();
                ensure!(
                    status == StatusCode::CREATED,
                    "{status}: {}",
                    String::from_utf8_lossy(&text)
                );
                latencies.push(sent.elapsed().as_secs_f64() * 1000.0);
            }
            Ok(latencies)
        });
    }
    tokio::time::sleep(length).await;
    stop.store(true, Ordering::Relaxed);
    let elapsed = start.elapsed();
    let mut latencies = Vec::new();
    while let Some(client) = clients.join_next().await {
        latencies.extend(client??);
    }
    latencies.sort_by(f64::total_cmp);
    Ok(Report {
        done: latencies.len() as u64,
        elapsed,
        latencies,
    })
}

/// Asks for the paths that `path` makes of the numbers from 0 to `total`, each once, from `connections`
/// connections. Any answer but 200 is an error.
pub async fn get(
    port: u16,
    connections: u64,
    total: u64,
    path: impl Fn(u64) -> String + Copy + Send + Sync + 'static,
) -> Result<()> {
    let mut clients = JoinSet::new();
    for client in 0..connections {
        clients.spawn(async move {
            let mut sender = connect(port).await?;
            let mut number = client;
            while number < total {
                let request = Request::get(path(number))
                    .header(HOST, "127.0.0.1")
                    .body(Full::default())?;
                sender.ready().await?;
                let answer = sender.send_request(request).await?;
                let status = answer.status();
                let text = answer.into_body().collect().await?.to_bytes();
                ensure!(
                    status == StatusCode::OK,
                    "{}: {status}: {}",
                    path(number),
                    String::from_utf8_lossy(&text)
                );
                number += connections;
            }
            Ok(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(())
}

async fn connect(port: u16) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .context("cannot connect")?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
