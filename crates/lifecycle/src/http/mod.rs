//! The accept loop, which follows the phases of the [`Lifecycle`].
//!
//! **Slow clients** do not hold what others need. The head of a request has a time from its first byte on; its body
//! is read by a handler, which must have a time of its own; who takes nothing of an answer for too long is cut off;
//! and idle connections end. A connection beyond the limit takes the place of the one that has done nothing for
//! longest: idle for 2 s, in the middle of a head for 1 s, or with no byte of a body that a handler waits for for 2 s.
//! So clients that stand still do not fill the server up for longer; those that send a byte now and then do until the
//! time of the handler is over.

mod bodies;
mod watch;

use std::convert::Infallible;
use std::fmt;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::ConnectInfo;
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use http::{HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tower::ServiceExt;

use crate::lifecycle::Lifecycle;
use bodies::{InPieces, RequestBody, Streamed};
use watch::{Patience, Watch, Watched, Watches};

/// Gauge: connections of the API that are open now.
const HTTP_CONNECTIONS_OPEN: &str = "http_connections_open";

/// How long the loop rests when the system has no file descriptor left: long enough for some to come back, short enough
/// that nobody notices.
const REST_AFTER_ERROR: Duration = Duration::from_millis(100);
/// What a connection that was opened just before the stop gets to send its first request.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// The longest head of a request, in bytes; a longer one is answered 431.
const MAX_HEAD: usize = 32 * 1024;
/// The most headers that it may have; more are answered 431.
const MAX_HEADERS: usize = 100;
/// How often it is tried again to make room for a connection beyond the limit.
const MAKE_ROOM: Duration = Duration::from_millis(100);
/// Requests at a time on one connection of HTTP/2.
const MAX_STREAMS: u32 = 128;
/// Streams that the client has reset and nobody has looked at yet, or that we had to reset: beyond so many the
/// connection is ended (CVE-2023-44487, "rapid reset").
const MAX_RESETS: usize = 20;
/// What HTTP/2 keeps at most of an answer that its client does not take, in bytes.
const MAX_UNSENT: usize = 64 * 1024;
/// How often a client of HTTP/2 is asked for a sign of life, and how long that may take.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// Bounds of the server.
#[derive(Clone, Copy, Debug)]
pub struct HttpOptions {
    /// Connections at a time; a further one takes the place of the one that has been idle, or has sent nothing of what
    /// it has begun, for longest, or waits until there is one that has been so for 2 s.
    pub max_connections: usize,
    /// How long a connection may be idle between two requests.
    pub keep_alive_timeout: Duration,
    /// How long the head of a request may take, from its first byte to its last; the first one from the connection on.
    pub header_timeout: Duration,
    /// How long a client may take no byte of its answer.
    pub write_timeout: Duration,
    /// Whether HTTP/2 is spoken too, without TLS, to clients that begin with it (RFC 9113, section 3.3).
    pub http2: bool,
}

impl HttpOptions {
    fn watches(&self) -> Arc<Watches> {
        Watches::new(Patience {
            idle: self.keep_alive_timeout,
            head: self.header_timeout,
            write: self.write_timeout,
        })
    }
}

/// For scrapers and probes, which are few, ask at once and can connect anew.
const ADMIN: HttpOptions = HttpOptions {
    max_connections: 64,
    keep_alive_timeout: Duration::from_secs(10),
    header_timeout: Duration::from_secs(5),
    write_timeout: Duration::from_secs(10),
    http2: false,
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
        watches: options.watches(),
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
        watches: ADMIN.watches(),
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
    watches: Arc<Watches>,
    connections: TaskTracker,
}

impl Server {
    async fn run(self, listener: TcpListener) {
        let permits = Arc::new(Semaphore::new(
            self.options.max_connections.min(Semaphore::MAX_PERMITS),
        ));
        let _looking = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&self.watches).look()));
        self.accept(&listener, &permits).await;
        self.accept_established(&listener, &permits);
        drop(listener);
        self.connections.close();
        // Aborting ends every connection, so this wait has an end.
        self.connections.wait().await;
    }

    async fn accept(&self, listener: &TcpListener, permits: &Arc<Semaphore>) {
        let stopping = &self.signs.stopping;
        while let Some(accepted) = stopping.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, peer)) => {
                    if let Some(permit) = self.place(permits).await {
                        self.serve(stream, peer, permit);
                    } else {
                        tracing::warn!(%peer, "no connection became free before the stop");
                    }
                }
                Err(error) => rest_after(&error).await,
            }
        }
    }

    /// Waits for a connection to end, and sees to it that one does that is of no use; `None` when the process stops
    /// before.
    async fn place(&self, permits: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
            return Some(permit);
        }
        let stopped = pin!(async {
            self.signs.stopping.cancelled().await;
            tokio::time::sleep(FIRST_REQUEST).await;
        });
        let free = pin!(async {
            loop {
                self.watches.make_room();
                let free = Arc::clone(permits).acquire_owned();
                if let Ok(Ok(permit)) = tokio::time::timeout(MAKE_ROOM, free).await {
                    return permit;
                }
            }
        });
        match select(free, stopped).await {
            Either::Left((permit, _)) => Some(permit),
            Either::Right(_) => None,
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
        let (watch, place) = self.watches.enter();
        let number = place.number();
        let asked = Arc::new(Asked {
            watch: Arc::clone(&watch),
            router: self.router.clone(),
            peer,
            draining: self.signs.draining.child_token(),
            once: AtomicBool::new(false),
        });
        let service = service_fn({
            let asked = Arc::clone(&asked);
            move |request| Arc::clone(&asked).answer(request)
        });
        let stream = TokioIo::new(Watched::new(stream, watch));
        let (signs, counted) = (self.signs.clone(), self.counted);
        let http2 = self.options.http2;
        let task = self.connections.spawn(async move {
            let _open = counted.then(Open::new);
            let _permit = permit;
            let _place = place;
            if http2 {
                let connection = both_versions()
                    .serve_connection(stream, service)
                    .into_owned();
                signs.lead(connection, &asked).await;
            } else {
                let connection = http1::Builder::new()
                    .max_buf_size(MAX_HEAD)
                    .max_headers(MAX_HEADERS)
                    .serve_connection(stream, service);
                signs.lead(connection, &asked).await;
            }
        });
        self.watches.served_by(number, task.abort_handle());
    }
}

/// HTTP/1.1, and HTTP/2 for those who begin with its preface.
fn both_versions() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS);
    let (interval, patience) = PING;
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(interval)
        .keep_alive_timeout(patience)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .max_send_buf_size(MAX_UNSENT);
    builder
}

impl Signs {
    /// Drives a connection to its end.
    async fn lead<C>(&self, connection: C, asked: &Asked)
    where
        C: GracefulConnection,
        C::Error: fmt::Display,
    {
        let peer = asked.peer;
        let end = follow(connection, &self.stopping, &asked.once);
        match self.aborting.run_until_cancelled(end).await {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::debug!(%error, %peer, "connection failed"),
            None => tracing::warn!(%peer, "connection dropped at the end of the shutdown"),
        }
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
    watch: Arc<Watch>,
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
        let is_http2 = request.version() == Version::HTTP_2;
        let Some(working) = self.watch.begin(is_http2) else {
            // The connection is ended any moment.
            return pending().await;
        };
        self.once.store(true, Ordering::Relaxed);
        let mut request = request.map(|body| {
            if body.is_end_stream() {
                Body::empty()
            } else {
                Body::new(RequestBody::new(body, Arc::clone(&self.watch)))
            }
        });
        request.extensions_mut().insert(ConnectInfo(self.peer));
        let mut response = self.router.clone().oneshot(request).await?;
        if self.draining.is_cancelled() {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if response.body().size_hint().exact().is_none() {
            // A stream, which may be silent for a while.
            response = response.map(|body| Body::new(Streamed::new(body, working)));
        }
        if is_http2 && !response.body().is_end_stream() {
            response = response.map(|body| Body::new(InPieces::new(body, &self.watch)));
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
