//! HTTP/2 without TLS, for those who begin with it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use bharatmart_lifecycle::{HttpOptions, Lifecycle, serve_http};
use futures_util::{StreamExt, future::join_all, stream};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, Notify};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

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
    connect_with(address, 1 << 20).await.0
}

/// A client that takes up to `window` bytes of an answer before it has read any, and what ends with its connection.
async fn connect_with(
    address: SocketAddr,
    window: u32,
) -> (SendRequest<Body>, JoinHandle<hyper::Result<()>>) {
    let stream = TcpStream::connect(address)
        .await
        .expect("the server accepts");
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .handshake(TokioIo::new(stream))
        .await
        .expect("both speak HTTP/2");
    (sender, tokio::spawn(connection))
}

async fn ask(sender: SendRequest<Body>, path: &str) -> hyper::Result<StatusCode> {
    let answer = get_answer(sender, path).await?;
    assert_eq!(answer.version(), Version::HTTP_2);
    Ok(answer.status())
}

async fn get_answer(
    mut sender: SendRequest<Body>,
    path: &str,
) -> hyper::Result<Response<Incoming>> {
    let request = Request::get(format!("http://test{path}"));
    let request = request.body(Body::empty()).expect("the request is good");
    timeout(SOON, sender.send_request(request))
        .await
        .expect("an answer in time")
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
    assert_eq!(ask(sender, "/").await.unwrap(), 200);
}

/// Long answers, short ones, and one that says nothing until it is told to.
async fn serve_answers(go_on: Arc<Notify>) -> (Lifecycle, SocketAddr) {
    let lifecycle = Lifecycle::without_signals(Duration::from_secs(20), Duration::ZERO);
    let silent = move || {
        let go_on = Arc::clone(&go_on);
        let later = stream::once(async move {
            go_on.notified().await;
            Ok::<_, Infallible>(Bytes::from_static(b"late"))
        });
        async move { Body::from_stream(later) }
    };
    let router = Router::new()
        .route("/short", get(|| async { "short" }))
        .route("/long", get(|| async { vec![b'x'; LONG] }))
        .route("/silent", get(silent));
    let options = HttpOptions {
        keep_alive_timeout: Duration::from_mins(5),
        write_timeout: Duration::from_millis(500),
        ..OPTIONS
    };
    let address = serve_on(&lifecycle, router, options).await;
    (lifecycle, address)
}

const LONG: usize = 400_000;

#[tokio::test]
async fn who_takes_nothing_of_an_answer_is_cut_off_whatever_else_they_do() {
    let (_lifecycle, address) = serve_answers(Arc::default()).await;
    // No byte at all, or one: then the library has all of a short answer in its own queue.
    for (window, path) in [(0, "/long"), (0, "/short"), (1, "/long"), (1, "/short")] {
        let (sender, connection) = connect_with(address, window).await;
        let untaken = get_answer(sender.clone(), path).await.unwrap();
        assert_eq!(untaken.status(), 200);
        let busy = tokio::spawn(async move {
            while ask(sender.clone(), "/nowhere").await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        });
        let ended = timeout(SOON, connection).await;
        assert!(ended.is_ok(), "{path} with a window of {window} is kept");
        busy.await.unwrap();
        drop(untaken);
    }
}

#[tokio::test]
async fn who_takes_an_answer_slowly_or_has_none_to_take_is_not_cut_off() {
    let go_on = Arc::new(Notify::new());
    let (_lifecycle, address) = serve_answers(Arc::clone(&go_on)).await;
    let (sender, _connection) = connect_with(address, 16 * 1024).await;
    let answer = get_answer(sender.clone(), "/silent").await.unwrap();
    let mut silent = Body::new(answer.into_body()).into_data_stream();
    let answer = get_answer(sender, "/long").await.unwrap();
    let mut long = Body::new(answer.into_body()).into_data_stream();
    let mut length = 0;
    while let Some(bytes) = timeout(SOON, long.next()).await.unwrap() {
        length += bytes.unwrap().len();
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(length, LONG);
    go_on.notify_one();
    let late = timeout(SOON, silent.next()).await.unwrap();
    assert_eq!(late.unwrap().unwrap().as_ref(), b"late");
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
