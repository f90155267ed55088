//! Clients that take their time, over real sockets.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use bharatmart_lifecycle::{HttpOptions, Lifecycle, serve_http};
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

const LONG: Duration = Duration::from_mins(5);
const OPTIONS: HttpOptions = HttpOptions {
    max_connections: 100,
    keep_alive_timeout: LONG,
    header_timeout: LONG,
    write_timeout: LONG,
    http2: false,
};
/// For what happens soon, on a machine that is busy with other things.
const SOON: Duration = Duration::from_secs(30);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

async fn serve(router: Router, options: HttpOptions) -> (Lifecycle, SocketAddr) {
    let lifecycle = Lifecycle::without_signals(ms(1000), Duration::ZERO);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound port");
    serve_http(listener, router, options, &lifecycle);
    (lifecycle, address)
}

fn shop() -> Router {
    Router::new().route("/", get(|| async { "shop" }))
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address)
        .await
        .expect("the server accepts")
}

/// The status of the answer to a request that is sent at once.
async fn ask(stream: &mut TcpStream) -> u16 {
    stream.write_all(REQUEST).await.expect("the server reads");
    status(stream).await
}

async fn status(stream: &mut TcpStream) -> u16 {
    let mut bytes = [0; 4096];
    let read = timeout(SOON, stream.read(&mut bytes))
        .await
        .expect("the server answers in time")
        .expect("the server answers in time");
    let text = String::from_utf8_lossy(&bytes[..read]);
    let code = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.unwrap_or_else(|| panic!("no answer: {text}"))
}

/// Sends a byte now and then until the server has closed the connection.
async fn trickle(stream: &mut TcpStream, text: &[u8]) {
    let trickle = async {
        for byte in text.iter().chain(std::iter::repeat(&b'x')) {
            let mut answer = [0];
            tokio::select! {
                read = stream.read(&mut answer) => {
                    assert!(matches!(read, Ok(0) | Err(_)), "an answer to half a request");
                    return;
                }
                () = sleep(ms(30)) => {}
            }
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
        }
    };
    timeout(SOON, trickle)
        .await
        .expect("the server closes a slow connection");
}

#[tokio::test]
async fn a_head_has_its_time_from_the_first_byte_on_and_an_idle_connection_another() {
    let options = HttpOptions {
        header_timeout: ms(300),
        ..OPTIONS
    };
    let (_lifecycle, address) = serve(shop(), options).await;
    let mut idle = connect(address).await;
    assert_eq!(ask(&mut idle).await, 200);

    let mut mute = connect(address).await;
    let mut slow = connect(address).await;
    let mut slow_later = connect(address).await;
    assert_eq!(ask(&mut slow_later).await, 200);
    tokio::join!(
        trickle(&mut slow, b"GET / HTTP/1.1\r\nhost: "),
        trickle(&mut slow_later, b"GET / HTTP/1.1\r\nhost: "),
        async {
            let read = timeout(SOON, mute.read(&mut [0])).await.unwrap();
            assert!(matches!(read, Ok(0) | Err(_)), "nothing was asked");
        }
    );
    // Much longer idle than a head may take.
    assert_eq!(ask(&mut idle).await, 200);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_silent_stream_is_not_idle() {
    let options = HttpOptions {
        keep_alive_timeout: ms(200),
        ..OPTIONS
    };
    let go_on = Arc::new(Notify::new());
    let events = {
        let go_on = Arc::clone(&go_on);
        move || {
            let go_on = Arc::clone(&go_on);
            let later = stream::once(async move {
                go_on.notified().await;
                Ok::<_, Infallible>(Bytes::from_static(b"late"))
            });
            async move { Body::from_stream(later) }
        }
    };
    let (_lifecycle, address) = serve(shop().route("/events", get(events)), options).await;
    let mut listening = connect(address).await;
    listening
        .write_all(b"GET /events HTTP/1.1\r\nhost: test\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(status(&mut listening).await, 200);

    let mut idle = connect(address).await;
    assert_eq!(ask(&mut idle).await, 200);
    let closed = timeout(SOON, idle.read(&mut [0])).await.unwrap();
    assert!(matches!(closed, Ok(0) | Err(_)));

    go_on.notify_one();
    let mut rest = [0; 64];
    let read = timeout(SOON, listening.read(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(rest[..read].windows(4).any(|word| word == b"late"));
}

/// Says when it is dropped.
struct Dropped(Arc<Notify>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_off_and_a_slow_one_is_not() {
    let options = HttpOptions {
        write_timeout: ms(500),
        ..OPTIONS
    };
    let dropped = Arc::new(Notify::new());
    let endless = {
        let dropped = Arc::clone(&dropped);
        move || {
            let guard = Dropped(Arc::clone(&dropped));
            let chunks = stream::repeat(Bytes::from(vec![b'x'; 65_536]));
            let chunks = chunks.map(move |chunk| {
                let _ = &guard;
                Ok::<_, Infallible>(chunk)
            });
            async move { Body::from_stream(chunks) }
        }
    };
    let (_lifecycle, address) = serve(Router::new().route("/", get(endless)), options).await;
    let mut slow = connect(address).await;
    slow.write_all(REQUEST).await.unwrap();
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..20 {
        sleep(ms(100)).await;
        let read = timeout(SOON, slow.read(&mut buffer)).await.unwrap();
        assert!(read.unwrap() > 0, "a client that reads is served");
    }
    drop(slow);
    timeout(SOON, dropped.notified()).await.unwrap();

    let mut stuck = connect(address).await;
    stuck.write_all(REQUEST).await.unwrap();
    timeout(SOON, dropped.notified())
        .await
        .expect("the answer is given up");
}

#[tokio::test]
async fn what_does_nothing_makes_room_for_others() {
    let options = HttpOptions {
        max_connections: 4,
        ..OPTIONS
    };
    let (_lifecycle, address) = serve(shop(), options).await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut stream = connect(address).await;
        stream.write_all(b"GET / HT").await.unwrap();
        slow.push(stream);
    }
    let mut honest = Vec::new();
    for _ in 0..4 {
        let mut stream = connect(address).await;
        assert_eq!(ask(&mut stream).await, 200);
        honest.push(stream);
    }
    for mut stream in slow {
        let read = timeout(SOON, stream.read(&mut [0])).await.unwrap();
        assert!(matches!(read, Ok(0) | Err(_)));
    }
    // All four places are taken by idle ones now, of which the first has been so for longest.
    let mut fifth = connect(address).await;
    assert_eq!(ask(&mut fifth).await, 200);
    let read = timeout(SOON, honest[0].read(&mut [0])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)));
    assert_eq!(ask(&mut honest[3]).await, 200);
}

#[tokio::test]
async fn bodies_that_do_not_come_make_room_and_work_under_way_does_not() {
    const STALLED: usize = 6;
    let options = HttpOptions {
        max_connections: 4,
        ..OPTIONS
    };
    let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let work = {
        let (reached, go_on) = (Arc::clone(&reached), Arc::clone(&go_on));
        |_: Bytes| async move {
            reached.notify_one();
            go_on.notified().await;
            "done"
        }
    };
    let router = shop()
        .route("/read", post(|_: Bytes| async { "read" }))
        .route("/work", post(work));
    let (_lifecycle, address) = serve(router, options).await;
    let mut working = connect(address).await;
    let request = b"POST /work HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\nbody";
    working.write_all(request).await.unwrap();
    timeout(SOON, reached.notified()).await.unwrap();
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        let mut stream = connect(address).await;
        let request = b"POST /read HTTP/1.1\r\nhost: test\r\ncontent-length: 1000\r\n\r\nbo";
        stream.write_all(request).await.unwrap();
        stalled.push(stream);
    }
    let mut honest = connect(address).await;
    assert_eq!(ask(&mut honest).await, 200);
    let read = timeout(SOON, stalled[0].read(&mut [0])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "it had made room");
    go_on.notify_one();
    assert_eq!(status(&mut working).await, 200);
}

#[tokio::test]
async fn a_head_that_is_too_long_or_has_too_many_lines_is_431() {
    let (_lifecycle, address) = serve(shop(), OPTIONS).await;
    let long = format!("x-long: {}\r\n", "x".repeat(100_000));
    let many = "x-header: 1\r\n".repeat(120);
    for (headers, expected) in [("x-short: 1\r\n", 200), (long.as_str(), 431), (&many, 431)] {
        let mut stream = connect(address).await;
        let request = format!("GET / HTTP/1.1\r\nhost: test\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(status(&mut stream).await, expected);
    }
}
