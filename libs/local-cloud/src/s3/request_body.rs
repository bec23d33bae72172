//! A request body that can still be read after the service has let go of it, and that a fault rule may
//! have changed on its way.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::dispatch::falsified;
use crate::fault::OutcomeSlot;

/// Of a body that is not wanted any more; what is longer costs its sender the connection.
const DRAIN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Shares one incoming body between the service that reads it and the frame that drains it.
#[derive(Clone)]
pub(super) struct RequestBody {
    shared: Arc<Mutex<Shared>>,
    outcome: OutcomeSlot,
}

struct Shared {
    incoming: Incoming,
    /// Bytes that were read.
    read: u64,
}

impl RequestBody {
    /// `outcome` may come to say, before the first byte is read, that one of them is to be changed.
    pub(super) fn new(incoming: Incoming, outcome: OutcomeSlot) -> Self {
        let shared = Arc::new(Mutex::new(Shared { incoming, read: 0 }));
        Self { shared, outcome }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the rest of a body that was refused unread. A connection that is closed while its
    /// client still sends is reset, and the client may never see the answer that says why.
    pub(super) async fn drain(mut self) {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(frame)) = self.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut shared = self.lock();
        let Shared { incoming, read } = &mut *shared;
        let next = ready!(Pin::new(incoming).poll_frame(context));
        Poll::Ready(match (next, self.outcome.falsified_byte()) {
            (Some(Ok(frame)), Some(byte)) => Some(Ok(frame.map_data(|data| falsified(data, byte, read)))),
            (next, _) => next,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.lock().incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().incoming.size_hint()
    }
}
