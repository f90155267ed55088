//! Bodies that tell their connection's [`Watch`] whom they wait for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};

use super::watch::{Awaited, Pieces, Watch, Working};

/// The most that is handed to HTTP/2 at a time, in bytes: as long as a frame is unless its client allows more
/// (RFC 9113, section 6.5.2). Who takes that much in time is not cut off.
const PIECE: usize = 16 * 1024;

/// The body of a request, which notes when nothing of it comes although a handler waits.
pub(super) struct RequestBody {
    body: Incoming,
    watch: Arc<Watch>,
    awaited: Option<Awaited>,
}

impl RequestBody {
    pub(super) const fn new(body: Incoming, watch: Arc<Watch>) -> Self {
        Self {
            body,
            watch,
            awaited: None,
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            self.awaited = None;
        } else if self.awaited.is_none() {
            self.awaited = Some(self.watch.await_body());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer that keeps its connection from counting as idle.
pub(super) struct Streamed {
    body: Body,
    #[expect(dead_code, reason = "works until it is dropped")]
    working: Working,
}

impl Streamed {
    pub(super) const fn new(body: Body, working: Working) -> Self {
        Self { body, working }
    }
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer in HTTP/2, where a client that takes nothing of it need not stall the connection. It is handed
/// out in pieces that are accounted for until they are written.
pub(super) struct InPieces {
    body: Body,
    /// Of the last frame.
    rest: Bytes,
    pieces: Arc<Pieces>,
}

impl InPieces {
    pub(super) fn new(body: Body, watch: &Watch) -> Self {
        Self {
            body,
            rest: Bytes::new(),
            pieces: watch.pieces(),
        }
    }
}

impl HttpBody for InPieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let body = &mut *self;
        if body.rest.is_empty() {
            match Pin::new(&mut body.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => body.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return other,
            }
        }
        let length = body.rest.len().min(PIECE);
        let piece = body.rest.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(body.pieces.hand_out(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (of_body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(of_body.lower().saturating_add(rest));
        hint
    }
}
