//! The accept loop, which follows the phases of the [`Lifecycle`].

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use futures_util::FutureExt;
use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::lifecycle::Lifecycle;

/// Gauge: connections of the API that are open now.
const HTTP_CONNECTIONS_OPEN: &str = "http_connections_open";

/// How long the loop rests when the system has no file descriptor left: long enough for some to come back, short enough
/// that nobody notices.
const REST_AFTER_ERROR: Duration = Duration::from_millis(100);
/// What a connection that was opened just before the stop gets to send its first request.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// Bounds of the server.
#[derive(Clone, Copy, Debug)]
pub struct HttpOptions {
    /// Connections at a time; further ones wait in the system's queue.
    pub max_connections: usize,
    /// How long a connection may be idle, or take to send the head of a request.
    pub keep_alive_timeout: Duration,
}

/// For scrapers and probes, which are few, ask at once and can connect anew.
const ADMIN: HttpOptions = HttpOptions {
    max_connections: 64,
    keep_alive_timeout: Duration::from_secs(10),
};

/// Serves `router` on `listener` as the task `http` of `lifecycle`. Handlers find the peer in
/// [`ConnectInfo`]`<`[`SocketAddr`]`>`.
///
/// While draining every answer carries `Connection: close`. When stopping, connections that the system has already
/// established are still taken, then the port is closed, requests under way are finished, and idle connections are
/// closed. When aborting, what is left is dropped.
pub fn serve_http(
    listener: TcpListener,
    router: Router,
    options: HttpOptions,
    lifecycle: &Lifecycle,
) {
    metrics::describe_gauge!(
        HTTP_CONNECTIONS_OPEN,
        "Connections of the API that are open now"
    );
    metrics::gauge!(HTTP_CONNECTIONS_OPEN).set(0.0);
    let server = Server {
        router,
        options,
        signs: Signs {
            draining: lifecycle.draining(),
            stopping: lifecycle.stopping(),
            aborting: lifecycle.aborting(),
        },
        counted: true,
        connections: TaskTracker::new(),
    };
    lifecycle.spawn("http", server.run(listener));
}

/// Serves `router` on `listener` through all phases. Nothing waits for what is under way at the end.
pub(crate) fn serve_until_ended(listener: TcpListener, router: Router, lifecycle: &Lifecycle) {
    let ended = lifecycle.tokens().ended;
    let server = Server {
        router,
        options: ADMIN,
        signs: Signs {
            draining: ended.clone(),
            stopping: ended,
            // The end of the process does it.
            aborting: CancellationToken::new(),
        },
        counted: false,
        connections: TaskTracker::new(),
    };
    tokio::spawn(server.run(listener));
}

/// What the server is told by.
#[derive(Clone)]
struct Signs {
    /// Answers close their connections.
    draining: CancellationToken,
    /// Nothing new is accepted.
    stopping: CancellationToken,
    /// What is under way is dropped.
    aborting: CancellationToken,
}

struct Server {
    router: Router,
    options: HttpOptions,
    signs: Signs,
    /// Whether its connections show in [`HTTP_CONNECTIONS_OPEN`].
    counted: bool,
    connections: TaskTracker,
}

impl Server {
    async fn run(self, listener: TcpListener) {
        let permits = Arc::new(Semaphore::new(
            self.options.max_connections.min(Semaphore::MAX_PERMITS),
        ));
        let stopping = self.signs.stopping.clone();
        if stopping
            .run_until_cancelled(self.accept(&listener, &permits))
            .await
            .is_none()
        {
            self.accept_established(&listener, &permits);
        }
        drop(listener);
        self.connections.close();
        // Aborting ends every connection, so this wait has an end.
        self.connections.wait().await;
    }

    async fn accept(&self, listener: &TcpListener, permits: &Arc<Semaphore>) {
        loop {
            let Ok(permit) = Arc::clone(permits).acquire_owned().await else {
                unreachable!("nobody closes the semaphore");
            };
            match listener.accept().await {
                Ok((stream, peer)) => self.serve(stream, peer, permit),
                Err(error) => rest_after(&error).await,
            }
        }
    }

    /// A connection that waits in the system's queue when the port closes is reset, and its client sees a failed
    /// request. So the queue is emptied first.
    fn accept_established(&self, listener: &TcpListener, permits: &Arc<Semaphore>) {
        while let Ok(permit) = Arc::clone(permits).try_acquire_owned()
            && let Some(Ok((stream, peer))) = listener.accept().now_or_never()
        {
            self.serve(stream, peer, permit);
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        if let Err(error) = stream.set_nodelay(true) {
            // The peer is already gone.
            tracing::debug!(%error, "TCP_NODELAY refused");
        }
        let asked = Arc::new(Asked {
            router: self.router.clone(),
            peer,
            draining: self.signs.draining.child_token(),
            once: AtomicBool::new(false),
        });
        let service = service_fn({
            let asked = Arc::clone(&asked);
            move |request| Arc::clone(&asked).answer(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.options.keep_alive_timeout)
            .serve_connection(TokioIo::new(stream), service);
        let (signs, counted) = (self.signs.clone(), self.counted);
        self.connections.spawn(async move {
            let _open = counted.then(Open::new);
            let _permit = permit;
            match signs
                .aborting
                .run_until_cancelled(follow(connection, &signs.stopping, &asked.once))
                .await
            {
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::debug!(%error, %peer, "connection failed"),
                None => tracing::warn!(%peer, "connection dropped at the end of the shutdown"),
            }
        });
    }
}

/// Counts a connection for as long as it lives.
struct Open;

impl Open {
    fn new() -> Self {
        metrics::gauge!(HTTP_CONNECTIONS_OPEN).increment(1.0);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!(HTTP_CONNECTIONS_OPEN).decrement(1.0);
    }
}

/// What answers the requests of one connection.
struct Asked {
    router: Router,
    peer: SocketAddr,
    /// Of this connection alone: a token is a lock, and every request takes it.
    draining: CancellationToken,
    /// Whether a request has come.
    once: AtomicBool,
}

impl Asked {
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        self.once.store(true, Ordering::Relaxed);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(self.peer));
        let mut response = self.router.clone().oneshot(request).await?;
        if self.draining.is_cancelled() {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

/// Drives a connection to its end, which it is told to find when the process stops.
async fn follow<C: GracefulConnection>(
    connection: C,
    stopping: &CancellationToken,
    asked: &AtomicBool,
) -> Result<(), C::Error> {
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = stopping.cancelled() => {}
    }
    // A new connection looks idle although its first request may be on the wire.
    if !asked.load(Ordering::Relaxed)
        && let Ok(ended) = tokio::time::timeout(FIRST_REQUEST, connection.as_mut()).await
    {
        return ended;
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

async fn rest_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    // These concern one peer that left before it was accepted.
    if matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    ) {
        return;
    }
    tracing::error!(%error, "cannot accept connections, trying again");
    tokio::time::sleep(REST_AFTER_ERROR).await;
}
