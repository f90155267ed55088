//! Asks a running process whether it lives, for images that have no HTTP client.

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Asks `/api/health/live` on this machine, prints one line, and answers 0 when the process says that it lives within
/// two seconds, else 1. The process must listen on the loopback address, as it does unless `HOST` names another one.
pub async fn healthcheck(port: u16) -> ExitCode {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let answer = tokio::time::timeout(TIMEOUT, ask(address)).await;
    let problem = match answer {
        Ok(Ok(StatusCode::OK)) => {
            println!("{address} lives");
            return ExitCode::SUCCESS;
        }
        Ok(Ok(status)) => format!("answered {status}"),
        Ok(Err(error)) => error,
        Err(_) => format!("no answer within {} s", TIMEOUT.as_secs()),
    };
    println!("{address} does not live: {problem}");
    ExitCode::FAILURE
}

async fn ask(address: SocketAddr) -> Result<StatusCode, String> {
    let stream = TcpStream::connect(address).await.map_err(in_words)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(in_words)?;
    let request = Request::get("/api/health/live")
        .header(header::HOST, address.to_string())
        .header(header::CONNECTION, "close")
        .body(Body::empty())
        .map_err(in_words)?;
    // What goes wrong on the connection also fails the request, so its own result says nothing more.
    tokio::spawn(connection);
    sender
        .send_request(request)
        .await
        .map(|response| response.status())
        .map_err(in_words)
}

fn in_words(error: impl Display) -> String {
    error.to_string()
}
