//! The server and the probes over real sockets, through the phases.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use bharatmart_lifecycle::{
    Health, HttpOptions, Importance, Lifecycle, healthcheck, serve_admin, serve_http,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

const OPTIONS: HttpOptions = HttpOptions {
    max_connections: 100,
    keep_alive_timeout: Duration::from_mins(1),
    header_timeout: Duration::from_mins(1),
    write_timeout: Duration::from_mins(1),
    http2: false,
};

/// For what happens at once, on a machine that is busy with other things.
const SOON: Duration = Duration::from_secs(10);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn is(code: ExitCode, expected: ExitCode) -> bool {
    format!("{code:?}") == format!("{expected:?}")
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound port");
    (listener, address)
}

/// One connection, over which requests are written and answers read by hand.
struct Client {
    stream: TcpStream,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }

    fn closes(&self) -> bool {
        self.head.contains("connection: close")
    }
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address)
                .await
                .expect("the server accepts"),
        }
    }

    async fn send(&mut self, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
        self.stream
            .write_all(request.as_bytes())
            .await
            .expect("the server reads");
    }

    async fn read(&mut self) -> Answer {
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length: usize = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "))
                    .map_or(0, |length| length.parse().expect("a number"));
                if body.len() >= length {
                    let original = String::from_utf8_lossy(&bytes).into_owned();
                    let status = head[9..12].parse().expect("a status");
                    return Answer {
                        status,
                        head: head.to_owned(),
                        body: original[head.len() + 4..].to_owned(),
                    };
                }
            }
            let read = self
                .stream
                .read_buf(&mut bytes)
                .await
                .expect("the server answers");
            assert_ne!(
                read, 0,
                "the server closed in the middle of an answer: {text}"
            );
        }
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send(path).await;
        self.read().await
    }

    /// Whether the server closes the connection without a word.
    async fn is_closed_within(&mut self, time: Duration) -> bool {
        let mut byte = [0];
        matches!(
            tokio::time::timeout(time, self.stream.read(&mut byte)).await,
            Ok(Ok(0) | Err(_))
        )
    }
}

async fn get_once(address: SocketAddr, path: &str) -> Answer {
    Client::connect(address).await.get(path).await
}

/// Asks for readiness until the answer is as it should be.
async fn wait_until(address: SocketAddr, is_so: impl Fn(&Answer) -> bool) -> Answer {
    let asking = async {
        loop {
            let answer = get_once(address, "/api/health/ready").await;
            if is_so(&answer) {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, asking)
        .await
        .expect("readiness changes in time")
}

async fn wait_for_status(address: SocketAddr, status: u16) -> Answer {
    wait_until(address, |answer| answer.status == status).await
}

async fn dies() {
    panic!("on purpose")
}

fn shop() -> Router {
    Router::new().route("/", get(|| async { "shop" }))
}

#[tokio::test]
async fn draining_answers_close_their_connection_and_probes_flip_at_once() {
    let lifecycle = Lifecycle::without_signals(ms(30_000), ms(3000));
    let health = Health::new("1.2.3", &lifecycle);
    let (main, address) = listener().await;
    serve_http(main, shop().merge(health.router()), OPTIONS, &lifecycle);
    let (admin, admin_address) = listener().await;
    serve_admin(admin, &health, || "metric 1\n".to_owned(), &lifecycle);
    health.mark_started();

    let mut kept = Client::connect(address).await;
    assert!(!kept.get("/").await.closes());
    assert!(!kept.get("/").await.closes());
    let answer = get_once(address, "/api/health").await;
    assert_eq!(
        (answer.status, answer.json()["ok"].clone()),
        (200, Value::Bool(true))
    );
    assert_eq!(answer.json()["version"], "1.2.3");

    lifecycle.shut_down();
    for address in [address, admin_address] {
        let answer = get_once(address, "/api/health").await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.json()["ok"], false);
        assert_eq!(answer.json()["draining"], true);
        assert!(answer.head.contains("retry-after: "), "{}", answer.head);
        let answer = get_once(address, "/api/health/ready").await;
        assert_eq!(
            (answer.status, answer.json()["checks"]["service"].clone()),
            (503, "draining".into())
        );
        assert_eq!(get_once(address, "/api/health/live").await.status, 200);
    }
    // Still serving, on old connections and on new ones.
    let answer = kept.get("/").await;
    assert_eq!((answer.status, answer.closes()), (200, true));
    assert!(kept.is_closed_within(ms(2000)).await);
    assert_eq!(get_once(address, "/").await.status, 200);

    lifecycle.stopping().cancelled().await;
    assert!(is(lifecycle.run().await, ExitCode::SUCCESS));
    assert!(
        TcpStream::connect(address).await.is_err(),
        "the port is closed"
    );
}

#[tokio::test]
async fn a_slow_request_is_answered_and_an_idle_connection_closed_when_stopping() {
    let lifecycle = Lifecycle::without_signals(ms(10_000), Duration::ZERO);
    let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let router = shop().route(
        "/slow",
        get({
            let (reached, go_on) = (Arc::clone(&reached), Arc::clone(&go_on));
            || async move {
                reached.notify_one();
                go_on.notified().await;
                "at last"
            }
        }),
    );
    let (main, address) = listener().await;
    serve_http(main, router, OPTIONS, &lifecycle);
    let mut idle = Client::connect(address).await;
    idle.get("/").await;
    let mut slow = Client::connect(address).await;
    slow.send("/slow").await;
    reached.notified().await;

    lifecycle.shut_down();
    lifecycle.stopping().cancelled().await;
    assert!(idle.is_closed_within(SOON).await);
    let ended = tokio::spawn(lifecycle.run());
    go_on.notify_one();
    let answer = slow.read().await;
    assert_eq!(
        (answer.status, answer.body.as_str(), answer.closes()),
        (200, "at last", true)
    );
    assert!(is(ended.await.unwrap(), ExitCode::SUCCESS));
}

#[tokio::test]
async fn a_request_on_a_connection_opened_just_before_the_stop_is_answered() {
    let lifecycle = Lifecycle::without_signals(ms(10_000), Duration::ZERO);
    let (main, address) = listener().await;
    // Established by the system, not yet accepted by the server.
    let mut early = Client::connect(address).await;
    let mut late = Client::connect(address).await;
    early.send("/").await;
    lifecycle.shut_down();
    lifecycle.stopping().cancelled().await;
    serve_http(main, shop(), OPTIONS, &lifecycle);
    let ended = tokio::spawn(lifecycle.run());
    assert_eq!(early.read().await.status, 200);
    assert_eq!(late.get("/").await.status, 200);
    assert!(is(ended.await.unwrap(), ExitCode::SUCCESS));
}

#[tokio::test]
async fn a_request_that_does_not_end_is_dropped_before_the_timeout() {
    let lifecycle = Lifecycle::without_signals(ms(5000), ms(100));
    let router = Router::new().route("/stuck", get(std::future::pending::<()>));
    let (main, address) = listener().await;
    serve_http(main, router, OPTIONS, &lifecycle);
    let mut stuck = Client::connect(address).await;
    stuck.send("/stuck").await;
    let begin = Instant::now();
    lifecycle.shut_down();
    let code = lifecycle.run().await;
    assert!(is(code, ExitCode::SUCCESS));
    // That it was in time is what the exit code says.
    assert!(begin.elapsed() >= ms(4500), "{:?}", begin.elapsed());
    assert!(stuck.is_closed_within(SOON).await);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let lifecycle = Lifecycle::without_signals(ms(1000), Duration::ZERO);
    let (main, address) = listener().await;
    serve_http(
        main,
        shop(),
        HttpOptions {
            max_connections: 1,
            ..OPTIONS
        },
        &lifecycle,
    );
    let mut first = Client::connect(address).await;
    first.get("/").await;
    let mut second = Client::connect(address).await;
    second.send("/").await;
    assert!(
        tokio::time::timeout(ms(200), second.read()).await.is_err(),
        "the second is served beside the first"
    );
    drop(first);
    assert_eq!(
        tokio::time::timeout(SOON, second.read())
            .await
            .unwrap()
            .status,
        200
    );
}

#[tokio::test]
async fn idle_connections_and_slow_heads_are_closed() {
    let lifecycle = Lifecycle::without_signals(ms(1000), Duration::ZERO);
    let (main, address) = listener().await;
    serve_http(
        main,
        shop(),
        HttpOptions {
            keep_alive_timeout: ms(200),
            header_timeout: ms(200),
            ..OPTIONS
        },
        &lifecycle,
    );
    let mut idle = Client::connect(address).await;
    idle.get("/").await;
    let mut slow = Client::connect(address).await;
    slow.stream
        .write_all(b"GET / HTTP/1.1\r\nhost:")
        .await
        .unwrap();
    let (idle, slow) = tokio::join!(idle.is_closed_within(SOON), slow.is_closed_within(SOON));
    assert!(idle && slow, "idle closed: {idle}, slow closed: {slow}");
}

#[tokio::test]
async fn handlers_know_their_peer_and_a_panic_costs_one_connection() {
    let lifecycle = Lifecycle::without_signals(ms(1000), Duration::ZERO);
    let router = Router::new()
        .route(
            "/peer",
            get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }),
        )
        .route("/panic", get(dies));
    let (main, address) = listener().await;
    serve_http(
        main,
        router,
        HttpOptions {
            max_connections: 1,
            ..OPTIONS
        },
        &lifecycle,
    );
    let mut unlucky = Client::connect(address).await;
    unlucky.send("/panic").await;
    assert!(unlucky.is_closed_within(SOON).await);
    let mut client = Client::connect(address).await;
    let own = client.stream.local_addr().unwrap().to_string();
    assert_eq!(client.get("/peer").await.body, own);
}

#[tokio::test]
async fn readiness_follows_critical_dependencies_only() {
    let lifecycle = Lifecycle::without_signals(ms(1000), Duration::ZERO);
    let health = Health::new("1.2.3", &lifecycle);
    let (admin, address) = listener().await;
    serve_admin(admin, &health, String::new, &lifecycle);
    assert_eq!(get_once(address, "/api/health").await.status, 503);
    health.mark_started();

    let database_up = Arc::new(AtomicBool::new(true));
    let up = Arc::clone(&database_up);
    health.watch(
        "database",
        Importance::Critical,
        ms(20),
        ms(100),
        move || {
            let up = up.load(Ordering::Relaxed);
            async move {
                if up {
                    Ok(())
                } else {
                    Err("password authentication failed for user shop")
                }
            }
        },
    );
    health.watch(
        "queue",
        Importance::Informational,
        ms(20),
        ms(50),
        std::future::pending::<()>,
    );
    let answer = wait_for_status(address, 200).await.json();
    assert_eq!(answer["status"], "ready");
    assert_eq!(answer["checks"]["database"]["status"], "ok");
    assert!(answer["checks"]["database"]["responseTimeMs"].is_number());
    assert_eq!(answer["checks"]["service"], "ok");
    assert!(answer["timestamp"].as_str().unwrap().ends_with('Z'));

    database_up.store(false, Ordering::Relaxed);
    let answer = wait_for_status(address, 503).await;
    assert_eq!(answer.json()["status"], "not ready");
    assert_eq!(answer.json()["checks"]["database"]["status"], "error");
    assert!(!answer.body.contains("password"), "{}", answer.body);
    // A lost dependency neither restarts the process nor takes its own health away.
    assert_eq!(get_once(address, "/api/health/live").await.status, 200);
    assert_eq!(get_once(address, "/api/health").await.status, 200);

    database_up.store(true, Ordering::Relaxed);
    wait_for_status(address, 200).await;
    // What is only informational may fail without taking readiness away.
    let answer = wait_until(address, |answer| {
        answer.json()["checks"]["queue"]["status"] == "error"
    })
    .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn no_request_asks_a_dependency() {
    let lifecycle = Lifecycle::without_signals(ms(1000), Duration::ZERO);
    let health = Health::new("1.2.3", &lifecycle);
    let (admin, address) = listener().await;
    serve_admin(admin, &health, String::new, &lifecycle);
    health.mark_started();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    health.watch(
        "database",
        Importance::Critical,
        Duration::from_mins(1),
        ms(100),
        move || {
            count.fetch_add(1, Ordering::Relaxed);
            async {}
        },
    );
    wait_for_status(address, 200).await;
    for path in ["/api/health", "/api/health/live", "/api/health/ready"].repeat(10) {
        get_once(address, path).await;
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_panicking_probe_is_a_failed_one_and_runs_again() {
    let lifecycle = Lifecycle::without_signals(ms(1000), Duration::ZERO);
    let health = Health::new("1.2.3", &lifecycle);
    let (admin, address) = listener().await;
    serve_admin(admin, &health, String::new, &lifecycle);
    health.mark_started();
    let runs = Arc::new(AtomicUsize::new(0));
    health.watch(
        "database",
        Importance::Critical,
        ms(20),
        ms(100),
        move || {
            let run = runs.fetch_add(1, Ordering::Relaxed);
            async move { assert_ne!(run, 0, "the first run panics") }
        },
    );
    wait_for_status(address, 200).await;
}

#[tokio::test]
async fn metrics_are_served_while_draining() {
    let lifecycle = Lifecycle::without_signals(ms(5000), ms(3000));
    let health = Health::new("1.2.3", &lifecycle);
    let (admin, address) = listener().await;
    serve_admin(admin, &health, || "orders_total 7\n".to_owned(), &lifecycle);
    lifecycle.shut_down();
    let answer = get_once(address, "/metrics").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "orders_total 7\n")
    );
    assert!(
        answer
            .head
            .contains("content-type: text/plain; version=0.0.4"),
        "{}",
        answer.head
    );
}

#[tokio::test]
async fn probes_and_scrapes_share_a_bounded_number_of_connections() {
    let lifecycle = Lifecycle::without_signals(ms(1000), Duration::ZERO);
    let health = Health::new("1.2.3", &lifecycle);
    let (admin, address) = listener().await;
    serve_admin(admin, &health, String::new, &lifecycle);
    let mut held = Vec::new();
    for _ in 0..64 {
        let mut client = Client::connect(address).await;
        assert_eq!(client.get("/api/health/live").await.status, 200);
        held.push(client);
    }
    let mut further = Client::connect(address).await;
    further.send("/api/health/live").await;
    assert!(
        tokio::time::timeout(ms(200), further.read()).await.is_err(),
        "a 65th is served beside the others"
    );
    held.pop();
    let answer = tokio::time::timeout(SOON, further.read()).await.unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn healthcheck_tells_living_from_dead_and_mute() {
    let lifecycle = Lifecycle::without_signals(ms(1000), Duration::ZERO);
    let health = Health::new("1.2.3", &lifecycle);
    let (admin, address) = listener().await;
    serve_admin(admin, &health, String::new, &lifecycle);
    assert!(is(healthcheck(address.port()).await, ExitCode::SUCCESS));

    let (closed, address) = listener().await;
    drop(closed);
    assert!(is(healthcheck(address.port()).await, ExitCode::FAILURE));

    // Accepts and says nothing.
    let (_mute, address) = listener().await;
    let begin = Instant::now();
    assert!(is(healthcheck(address.port()).await, ExitCode::FAILURE));
    assert!(begin.elapsed() < ms(10_000), "{:?}", begin.elapsed());
}
