//! The bytes of one object on their way: counted, checksummed, and never completed unless they are
//! the right ones.
//!
//! The last chunk is held back until the source's stream has ended well with the expected length and
//! CRC64NVME. A destination that was promised a length (`Content-Length`) and does not get all of it
//! stores nothing, so a stream that was cut off or falsified is never visible under the key.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::bandwidth::Bandwidth;

/// Why a stream was not completed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StreamFailure {
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("{0} bytes are missing at the end")]
    Truncated(u64),
    #[error("more bytes than announced")]
    TooLong,
    #[error("the bytes do not have the CRC64NVME that the source stores")]
    Checksum,
}

impl StreamFailure {
    /// A metric label.
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            Self::Broken(_) => "broken_stream",
            Self::Truncated(_) => "truncated",
            Self::TooLong => "too_long",
            Self::Checksum => "checksum",
        }
    }
}

/// What a copy has moved so far, seen from outside its stream.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    bytes: AtomicU64,
    failure: OnceLock<StreamFailure>,
    crc64_nvme: OnceLock<u64>,
}

impl Progress {
    /// Why the stream stopped, if it did. The SDK reports it only as a failed dispatch.
    pub(crate) fn failure(&self) -> Option<&StreamFailure> {
        self.failure.get()
    }

    /// Bytes were read or written.
    pub(crate) fn moved(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Of all bytes, once the stream was completed.
    pub(crate) fn crc64_nvme(&self) -> Option<u64> {
        self.crc64_nvme.get().copied()
    }

    /// Runs `work` while bytes move; `None` once none has for `deadline` (noticed after up to twice
    /// that).
    pub(crate) async fn watch<T>(&self, deadline: Duration, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        let mut seen = self.bytes.load(Ordering::Relaxed);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                () = tokio::time::sleep(deadline) => {
                    let moved = self.bytes.load(Ordering::Relaxed);
                    if moved == seen {
                        return None;
                    }
                    seen = moved;
                }
            }
        }
    }
}

/// A request body that forwards an answer's body, as the module describes.
struct ProvedBody {
    source: SdkBody,
    digest: Digest,
    expected_crc64_nvme: Option<String>,
    /// Not yet read from the source.
    unread: u64,
    /// Not yet handed on.
    unsent: u64,
    held: Option<Bytes>,
    bandwidth: Option<Arc<Bandwidth>>,
    /// Until more may be read.
    pause: Option<Pin<Box<Sleep>>>,
    progress: Arc<Progress>,
}

/// `source` as a request body of exactly `size` bytes.
pub(crate) fn proved(
    source: ByteStream,
    size: u64,
    expected_crc64_nvme: Option<String>,
    bandwidth: Option<Arc<Bandwidth>>,
    progress: Arc<Progress>,
) -> ByteStream {
    ByteStream::from_body_1_x(ProvedBody {
        source: source.into_inner(),
        digest: Digest::new(CrcAlgorithm::Crc64Nvme),
        expected_crc64_nvme,
        unread: size,
        unsent: size,
        held: None,
        bandwidth,
        pause: None,
        progress,
    })
}

impl ProvedBody {
    /// Accounts for a chunk and returns the one that may now be handed on, if any.
    fn take(&mut self, chunk: Bytes) -> Result<Option<Bytes>, StreamFailure> {
        if chunk.is_empty() {
            return Ok(None);
        }
        let length = chunk.len() as u64;
        self.unread = self.unread.checked_sub(length).ok_or(StreamFailure::TooLong)?;
        self.digest.update(&chunk);
        let passed = |bandwidth: &Arc<Bandwidth>| bandwidth.passed(chunk.len(), Instant::now());
        if let Some(from) = self.bandwidth.as_ref().and_then(passed) {
            self.pause = Some(Box::pin(sleep_until(from)));
        }
        self.progress.moved(length);
        Ok(self.held.replace(chunk))
    }

    /// The source has ended: releases the last chunk if everything is as it should be.
    fn finish(&mut self) -> Result<Option<Bytes>, StreamFailure> {
        if self.unread > 0 {
            return Err(StreamFailure::Truncated(self.unread));
        }
        let crc = self.digest.finalize();
        match &self.expected_crc64_nvme {
            Some(expected) if *expected != in_base64(crc) => Err(StreamFailure::Checksum),
            _ => {
                self.progress.crc64_nvme.get_or_init(|| crc);
                Ok(self.held.take())
            }
        }
    }
}

/// A checksum as S3 writes it.
pub(crate) fn in_base64(crc: u64) -> String {
    BASE64_STANDARD.encode(crc.to_be_bytes())
}

impl Body for ProvedBody {
    type Data = Bytes;
    type Error = StreamFailure;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamFailure>>> {
        let this = self.get_mut();
        if let Some(failure) = this.progress.failure() {
            return Poll::Ready(Some(Err(failure.clone())));
        }
        loop {
            if let Some(pause) = &mut this.pause {
                ready!(pause.as_mut().poll(context));
                this.pause = None;
            }
            let (next, ended) = match ready!(Pin::new(&mut this.source).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => (this.take(chunk), false),
                    Err(_trailers) => continue,
                },
                Some(Err(error)) => (Err(StreamFailure::Broken(error.to_string())), true),
                None => (this.finish(), true),
            };
            match next {
                Ok(Some(chunk)) => {
                    this.unsent -= chunk.len() as u64;
                    return Poll::Ready(Some(Ok(Frame::data(chunk))));
                }
                Ok(None) if ended => return Poll::Ready(None),
                Ok(None) => {}
                Err(failure) => {
                    let failure = this.progress.failure.get_or_init(|| failure).clone();
                    return Poll::Ready(Some(Err(failure)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.unsent == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.unsent)
    }
}

/// A source object's bytes for a reader that does not forward them: as many as there should be, with the
/// CRC64NVME that the source stores, or a failure.
pub(crate) struct ProvedReader<'a> {
    source: ByteStream,
    digest: Digest,
    expected_crc64_nvme: Option<&'a str>,
    unread: u64,
    progress: &'a Progress,
}

impl<'a> ProvedReader<'a> {
    pub(crate) fn new(
        source: ByteStream,
        size: u64,
        expected_crc64_nvme: Option<&'a str>,
        progress: &'a Progress,
    ) -> Self {
        Self {
            source,
            digest: Digest::new(CrcAlgorithm::Crc64Nvme),
            expected_crc64_nvme,
            unread: size,
            progress,
        }
    }

    /// The next bytes; `None` once all have come and were the right ones.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, StreamFailure> {
        match self.source.next().await {
            Some(Ok(chunk)) => {
                let length = chunk.len() as u64;
                self.unread = self.unread.checked_sub(length).ok_or(StreamFailure::TooLong)?;
                self.digest.update(&chunk);
                self.progress.moved(length);
                Ok(Some(chunk))
            }
            Some(Err(error)) => Err(StreamFailure::Broken(error.to_string())),
            None if self.unread > 0 => Err(StreamFailure::Truncated(self.unread)),
            None => {
                let crc = BASE64_STANDARD.encode(self.digest.finalize().to_be_bytes());
                match self.expected_crc64_nvme {
                    Some(expected) if *expected != crc => Err(StreamFailure::Checksum),
                    _ => Ok(None),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::{BodyExt, StreamBody};
    use proptest::prelude::*;

    use super::*;

    fn crc(bytes: &[u8]) -> String {
        let crc = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes);
        BASE64_STANDARD.encode(crc.to_be_bytes())
    }

    /// What came out, and how it ended, when `chunks` arrive and then perhaps an error.
    fn forward(
        chunks: &[Vec<u8>],
        broken: bool,
        size: u64,
        expected_crc: Option<String>,
    ) -> (Vec<u8>, Option<StreamFailure>) {
        let mut frames: Vec<Result<Frame<Bytes>, std::io::Error>> = chunks
            .iter()
            .map(|chunk| Ok(Frame::data(chunk.clone().into())))
            .collect();
        if broken {
            frames.push(Err(std::io::Error::other("reset")));
        }
        let source = ByteStream::from_body_1_x(StreamBody::new(stream::iter(frames)));
        let progress = Arc::new(Progress::default());
        let mut body = proved(source, size, expected_crc, None, progress.clone()).into_inner();
        let mut sent = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => sent.extend_from_slice(&frame.into_data().expect("only data")),
                    Err(_) => break,
                }
            }
        });
        (sent, progress.failure().cloned())
    }

    proptest! {
        #[test]
        fn the_right_bytes_pass_unchanged(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6)) {
            let whole = chunks.concat();
            let (sent, failure) = forward(&chunks, false, whole.len() as u64, Some(crc(&whole)));
            prop_assert_eq!((sent, failure), (whole, None));
        }

        #[test]
        fn wrong_bytes_are_never_completed(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..6),
            wrong in any::<prop::sample::Index>(),
            bit in 0..8_u32,
        ) {
            let whole = chunks.concat();
            let mut falsified = chunks.clone();
            let chunk = wrong.index(chunks.len());
            let byte = wrong.index(chunks[chunk].len());
            falsified[chunk][byte] ^= 1 << bit;
            let (sent, failure) = forward(&falsified, false, whole.len() as u64, Some(crc(&whole)));
            prop_assert_eq!(failure, Some(StreamFailure::Checksum));
            prop_assert!(sent.len() < whole.len());
        }

        #[test]
        fn a_stream_that_ends_early_or_breaks_is_never_completed(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..6),
            missing in 1..100_u64,
            broken in any::<bool>(),
        ) {
            let size = chunks.concat().len() as u64 + missing;
            let (sent, failure) = forward(&chunks, broken, size, None);
            prop_assert!((sent.len() as u64) < size);
            let expected = if broken { matches!(failure, Some(StreamFailure::Broken(_))) } else { failure == Some(StreamFailure::Truncated(missing)) };
            prop_assert!(expected);
        }
    }

    #[test]
    fn more_bytes_than_announced_are_refused() {
        let (sent, failure) = forward(&[vec![1, 2], vec![3, 4]], false, 3, None);
        assert_eq!(failure, Some(StreamFailure::TooLong));
        assert!(sent.len() < 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_without_progress_is_given_up_and_a_slow_one_is_not() {
        let deadline = Duration::from_secs(10);
        let progress = Progress::default();
        assert_eq!(progress.watch(deadline, std::future::pending::<()>()).await, None);

        let slow = async {
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_secs(9)).await;
                progress.bytes.fetch_add(1, Ordering::Relaxed);
            }
            "done"
        };
        assert_eq!(progress.watch(deadline, slow).await, Some("done"));
    }
}
