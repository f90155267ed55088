//! HTTP/2 without TLS, for those who begin with it.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bharatmart_lifecycle::{HttpOptions, Lifecycle, serve_http};
use futures_util::future::join_all;
use http::{Request, StatusCode, Version};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, Notify};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(30);
const OPTIONS: HttpOptions = HttpOptions {
    max_connections: 100,
    keep_alive_timeout: SOON,
    header_timeout: SOON,
    write_timeout: SOON,
    http2: true,
};

async fn serve(options: HttpOptions) -> (Lifecycle, SocketAddr) {
    let lifecycle = Lifecycle::without_signals(Duration::from_secs(20), Duration::ZERO);
    let all = Arc::new(Barrier::new(20));
    let together = move || {
        let all = Arc::clone(&all);
        async move {
            all.wait().await;
            "together"
        }
    };
    let router = Router::new()
        .route("/", get(|| async { "shop" }))
        .route("/together", get(together));
    let address = serve_on(&lifecycle, router, options).await;
    (lifecycle, address)
}

async fn serve_on(lifecycle: &Lifecycle, router: Router, options: HttpOptions) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound port");
    serve_http(listener, router, options, lifecycle);
    address
}

async fn connect(address: SocketAddr) -> SendRequest<Body> {
    let stream = TcpStream::connect(address)
        .await
        .expect("the server accepts");
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .expect("both speak HTTP/2");
    tokio::spawn(connection);
    sender
}

async fn ask(mut sender: SendRequest<Body>, path: &str) -> hyper::Result<StatusCode> {
    let request = Request::get(format!("http://test{path}"));
    let request = request.body(Body::empty()).expect("the request is good");
    let answer = timeout(SOON, sender.send_request(request))
        .await
        .expect("an answer in time")?;
    assert_eq!(answer.version(), Version::HTTP_2);
    Ok(answer.status())
}

#[tokio::test]
async fn requests_share_a_connection_and_older_clients_are_served_beside() {
    let (_lifecycle, address) = serve(OPTIONS).await;
    let sender = connect(address).await;
    // Each waits for all the others.
    let together = join_all((0..20).map(|_| ask(sender.clone(), "/together")));
    for status in together.await {
        assert_eq!(status.unwrap(), 200);
    }
    let mut old = TcpStream::connect(address).await.unwrap();
    old.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 15];
    old.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_request_under_way_is_answered_when_the_process_stops() {
    let lifecycle = Lifecycle::without_signals(Duration::from_secs(20), Duration::ZERO);
    let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (reached, go_on) = (Arc::clone(&reached), Arc::clone(&go_on));
        || async move {
            reached.notify_one();
            go_on.notified().await;
            "at last"
        }
    };
    let address = serve_on(&lifecycle, Router::new().route("/slow", get(slow)), OPTIONS).await;
    let sender = connect(address).await;
    let asked = tokio::spawn(ask(sender.clone(), "/slow"));
    reached.notified().await;
    lifecycle.shut_down();
    lifecycle.stopping().cancelled().await;
    go_on.notify_one();
    assert_eq!(asked.await.unwrap().unwrap(), 200);
    let code = lifecycle.run().await;
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused_and_the_connection_lives() {
    let (_lifecycle, address) = serve(OPTIONS).await;
    let mut sender = connect(address).await;
    let request = Request::get("http://test/")
        .header("x-long", "x".repeat(40_000))
        .body(Body::empty())
        .unwrap();
    let answer = timeout(SOON, sender.send_request(request)).await.unwrap();
    assert!(answer.is_err() || answer.unwrap().status() == 431);
    let again = connect(address).await;
    assert_eq!(ask(again, "/").await.unwrap(), 200);
}

#[tokio::test]
async fn it_is_off_unless_it_is_asked_for() {
    let options = HttpOptions {
        http2: false,
        ..OPTIONS
    };
    let (_lifecycle, address) = serve(options).await;
    let sender = connect(address).await;
    assert!(ask(sender, "/").await.is_err());
}
