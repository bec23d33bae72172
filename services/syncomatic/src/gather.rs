//! A part that is read before it is written, so that its checksum can go ahead of it as a header.
//!
//! A body whose checksum is not known when it begins has to be framed as `aws-chunked` with the checksum
//! behind it: the SDK copies it into chunks, computes the checksum a second time and, where there is no TLS,
//! hashes each chunk for its signature. That cost a third of what a large object takes. What is gathered is
//! handed on as it was received, without a copy.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::stream::{Progress, StreamFailure};

/// Chunks that are held until they have been sent.
pub(crate) struct Gathered {
    chunks: VecDeque<Bytes>,
    unsent: u64,
    progress: Arc<Progress>,
}

/// All of a stream whose end proves it; see [`crate::stream::proved`].
///
/// # Errors
/// What is wrong with the stream.
pub(crate) async fn gather(
    mut proved: ByteStream,
    progress: &Arc<Progress>,
) -> Result<Gathered, StreamFailure> {
    let mut gathered = Gathered {
        chunks: VecDeque::new(),
        unsent: 0,
        progress: Arc::clone(progress),
    };
    while let Some(chunk) = proved.next().await {
        let chunk = chunk.map_err(|error| {
            let failure = progress.failure().cloned();
            failure.unwrap_or_else(|| StreamFailure::Broken(error.to_string()))
        })?;
        gathered.unsent += chunk.len() as u64;
        gathered.chunks.push_back(chunk);
    }
    Ok(gathered)
}

impl Gathered {
    /// As the body of a request.
    pub(crate) fn into_body(self) -> ByteStream {
        ByteStream::from_body_1_x(self)
    }
}

impl Body for Gathered {
    type Data = Bytes;
    type Error = StreamFailure;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamFailure>>> {
        let this = self.get_mut();
        let chunk = this.chunks.pop_front();
        Poll::Ready(chunk.map(|chunk| {
            let length = chunk.len() as u64;
            this.unsent -= length;
            this.progress.moved(length);
            Ok(Frame::data(chunk))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.unsent == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.unsent)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::stream::proved;

    async fn gathered(bytes: &'static [u8], size: u64) -> Result<Vec<u8>, StreamFailure> {
        let progress = Arc::new(Progress::default());
        let proved = proved(ByteStream::from_static(bytes), size, None, None, progress.clone());
        let body = gather(proved, &progress).await?.into_body().into_inner();
        let sent = body.collect().await.expect("nothing is left to fail").to_bytes();
        Ok(sent.to_vec())
    }

    #[tokio::test]
    async fn all_of_it_is_handed_on_and_less_is_a_failure() {
        assert_eq!(gathered(b"abcdef", 6).await, Ok(b"abcdef".to_vec()));
        assert_eq!(gathered(b"abcdef", 7).await, Err(StreamFailure::Truncated(1)));
        assert_eq!(gathered(b"abcdef", 5).await, Err(StreamFailure::TooLong));
    }
}
