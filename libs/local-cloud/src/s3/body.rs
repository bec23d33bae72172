//! Bodies: received into a staged place, kept in memory or as files, read back in ranges.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, TryStreamExt};
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3Result, StdError, s3_error};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;

use super::checksum::{Digests, Expected, Verifier};
use super::error::bad_request;
use super::layout::{Layout, Place};

/// Bytes that one system call moves between a socket's buffers and a file.
const FILE_CHUNK_BYTES: usize = 256 * 1024;
/// Chunks below this are copied when they are kept in memory.
const SMALL_CHUNK_BYTES: usize = 16 * 1024;
/// The largest object that one PUT may carry.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html>
const PUT_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;

/// Where bodies are kept.
#[derive(Clone, Debug)]
pub(super) enum Bodies {
    Memory,
    Folder(Layout),
}

/// A body that belongs to an object version or a part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Body {
    /// Unique; names the file while it is staged or reserved.
    pub(super) id: String,
    pub(super) place: Place,
    /// The bytes themselves, when they are kept in memory.
    #[serde(skip)]
    chunks: Option<Arc<[Bytes]>>,
}

/// A body that belongs to nothing yet; dropped, it is gone.
pub(super) struct Staged {
    body: Option<Body>,
    bodies: Bodies,
}

impl Staged {
    /// Hands the body over to who keeps it from now on.
    pub(super) fn keep(mut self) -> Body {
        self.body
            .take()
            .unwrap_or_else(|| unreachable!("a staged body is handed over once"))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            self.bodies.discard_staged(&body);
        }
    }
}

/// What was received.
pub(super) struct Received {
    pub(super) staged: Staged,
    pub(super) bytes: u64,
    pub(super) digests: Digests,
}

impl Bodies {
    /// Receives a body chunk by chunk and verifies it. Nothing stays behind when it fails.
    pub(super) async fn receive<S>(&self, mut stream: S, expected: Expected) -> S3Result<Received>
    where
        S: Stream<Item = Result<Bytes, StdError>> + Unpin + Send,
    {
        let mut writer = Writer::new(self.clone()).await.map_err(internal)?;
        let mut verifier = Verifier::new(expected);
        let mut bytes = 0_u64;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| broken_stream(&error))?;
            bytes += chunk.len() as u64;
            if bytes > PUT_BYTES_MAX {
                return Err(s3_error!(
                    EntityTooLarge,
                    "Your proposed upload exceeds the maximum allowed size"
                ));
            }
            verifier.update(&chunk);
            writer.write(chunk).await.map_err(internal)?;
        }
        let digests = verifier.finish()?;
        let staged = writer.finish().await.map_err(internal)?;
        Ok(Received {
            staged,
            bytes,
            digests,
        })
    }

    /// One staged body with the bytes of several, in order.
    pub(super) async fn concatenate(&self, parts: Vec<(Reader, u64)>) -> io::Result<Staged> {
        let mut writer = Writer::new(self.clone()).await?;
        for (part, bytes) in parts {
            let mut stream = part.stream(0..bytes).await?;
            while let Some(chunk) = stream.next().await {
                writer.write(chunk.map_err(io::Error::other)?).await?;
            }
        }
        writer.finish().await
    }

    /// Opens a body. What was opened stays readable when the object is overwritten or deleted, so
    /// a reader sees one version whole.
    pub(super) fn open(&self, bucket: &str, key: &str, body: &Body) -> io::Result<Reader> {
        match (self, &body.chunks) {
            (Self::Folder(layout), _) => Ok(Reader::File(File::open(
                layout.path(bucket, key, &body.id, body.place),
            )?)),
            (Self::Memory, Some(chunks)) => Ok(Reader::Memory(Arc::clone(chunks))),
            (Self::Memory, None) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Removes a staged body (a part that was replaced, an upload that ended).
    pub(super) fn discard_staged(&self, body: &Body) {
        if let Self::Folder(layout) = self
            && let Err(error) = std::fs::remove_file(layout.staged(&body.id))
        {
            tracing::debug!(%error, "a staged body was gone already");
        }
    }
}

/// An opened body.
pub(super) enum Reader {
    Memory(Arc<[Bytes]>),
    File(File),
}

impl Reader {
    /// The bytes of a range that lies inside the body.
    pub(super) async fn stream(self, range: Range<u64>) -> io::Result<StreamingBlob> {
        match self {
            Self::Memory(chunks) => {
                let slices = slices(&chunks, range);
                Ok(StreamingBlob::wrap(futures::stream::iter(
                    slices.into_iter().map(Ok::<_, io::Error>),
                )))
            }
            Self::File(file) => {
                let mut file = tokio::fs::File::from_std(file);
                if range.start > 0 {
                    file.seek(io::SeekFrom::Start(range.start)).await?;
                }
                file.set_max_buf_size(FILE_CHUNK_BYTES);
                let part = file.take(range.end - range.start);
                Ok(StreamingBlob::wrap(ReaderStream::with_capacity(
                    part,
                    FILE_CHUNK_BYTES,
                )))
            }
        }
    }
}

/// The parts of the chunks that lie in the range; no byte is copied.
fn slices(chunks: &[Bytes], range: Range<u64>) -> Vec<Bytes> {
    let mut start_of_chunk = 0_u64;
    let mut slices = Vec::new();
    for chunk in chunks {
        let end_of_chunk = start_of_chunk + chunk.len() as u64;
        let (from, to) = (range.start.max(start_of_chunk), range.end.min(end_of_chunk));
        if from < to {
            let within = |position: u64| usize::try_from(position - start_of_chunk).unwrap_or(usize::MAX);
            slices.push(chunk.slice(within(from)..within(to)));
        }
        start_of_chunk = end_of_chunk;
    }
    slices
}

/// Writes a staged body; small chunks are put together before they go to the file.
enum Writer {
    Memory(Vec<Bytes>),
    File {
        file: tokio::fs::File,
        staged: Staged,
        pending: BytesMut,
    },
}

impl Writer {
    async fn new(bodies: Bodies) -> io::Result<Self> {
        let Bodies::Folder(layout) = &bodies else {
            return Ok(Self::Memory(Vec::new()));
        };
        let id = uuid::Uuid::new_v4().simple().to_string();
        let path = layout.staged(&id);
        let staged = Staged {
            body: Some(Body {
                id,
                place: Place::Staged,
                chunks: None,
            }),
            bodies: bodies.clone(),
        };
        let mut file = tokio::fs::File::create_new(path).await?;
        file.set_max_buf_size(FILE_CHUNK_BYTES);
        Ok(Self::File {
            file,
            staged,
            pending: BytesMut::new(),
        })
    }

    async fn write(&mut self, chunk: Bytes) -> io::Result<()> {
        match self {
            Self::Memory(chunks) => {
                // A small chunk would keep the whole buffer alive that it was read into.
                let is_small = chunk.len() < SMALL_CHUNK_BYTES;
                chunks.push(if is_small {
                    Bytes::copy_from_slice(&chunk)
                } else {
                    chunk
                });
                Ok(())
            }
            Self::File { file, pending, .. } => {
                pending.extend_from_slice(&chunk);
                if pending.len() >= FILE_CHUNK_BYTES {
                    file.write_all(pending).await?;
                    pending.clear();
                }
                Ok(())
            }
        }
    }

    async fn finish(self) -> io::Result<Staged> {
        match self {
            Self::Memory(chunks) => {
                let body = Body {
                    id: String::new(),
                    place: Place::Staged,
                    chunks: Some(chunks.into()),
                };
                Ok(Staged {
                    body: Some(body),
                    bodies: Bodies::Memory,
                })
            }
            Self::File {
                mut file,
                staged,
                pending,
            } => {
                file.write_all(&pending).await?;
                // The last write may still be on its way to the operating system.
                file.flush().await?;
                Ok(staged)
            }
        }
    }
}

/// Reads a stored body as the body of another request (copies).
pub(super) fn chunks_of(blob: StreamingBlob) -> impl Stream<Item = Result<Bytes, StdError>> + Unpin + Send {
    blob.into_stream()
}

pub(super) fn internal(error: io::Error) -> S3Error {
    tracing::error!(%error, "a body could not be read or written");
    S3Error::internal_error(error)
}

/// The request's body did not arrive as announced. The protocol crate keeps the types of these
/// errors to itself; their texts are what there is to tell them apart by.
fn broken_stream(error: &StdError) -> S3Error {
    let text = error.to_string();
    if text.contains("Sha256Mismatch") {
        bad_request(
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )
    } else if text.contains("SignatureMismatch") {
        s3_error!(SignatureDoesNotMatch, "The signature of a chunk does not match.")
    } else {
        tracing::debug!(error = text, "a request body ended early");
        s3_error!(
            IncompleteBody,
            "The body does not have the announced length or framing."
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::checksum::Algorithm;
    use super::*;

    fn source(
        chunks: Vec<Result<Bytes, StdError>>,
    ) -> impl Stream<Item = Result<Bytes, StdError>> + Unpin + Send {
        futures::stream::iter(chunks)
    }

    fn folder() -> (tempfile::TempDir, Bodies, Layout) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let layout = Layout::new(folder.path());
        std::fs::create_dir_all(layout.staging()).expect("a folder");
        (folder, Bodies::Folder(layout.clone()), layout)
    }

    async fn read(reader: Reader, range: Range<u64>) -> Vec<u8> {
        let stream = reader.stream(range).await.expect("a stream");
        stream.try_concat_bytes().await
    }

    trait Concat {
        async fn try_concat_bytes(self) -> Vec<u8>;
    }

    impl Concat for StreamingBlob {
        async fn try_concat_bytes(self) -> Vec<u8> {
            let chunks: Vec<Bytes> = self.try_collect().await.expect("readable");
            chunks.concat()
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_leaves_no_file() {
        let (_folder, bodies, layout) = folder();
        let broken = source(vec![Ok(Bytes::from_static(b"begin")), Err("gone".into())]);
        let error = bodies
            .receive(broken, Expected::nothing(Algorithm::DEFAULT))
            .await
            .err()
            .expect("an error");
        assert_eq!(error.code().as_str(), "IncompleteBody");
        let left: Vec<_> = std::fs::read_dir(layout.staging()).expect("the folder").collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[tokio::test]
    async fn bodies_are_joined_in_order() {
        let (_folder, bodies, _) = folder();
        let mut parts = Vec::new();
        for text in ["one ", "two ", "three"] {
            let stream = source(vec![Ok(Bytes::from_static(text.as_bytes()))]);
            let received = bodies
                .receive(stream, Expected::nothing(Algorithm::DEFAULT))
                .await
                .expect("received");
            let body = received.staged.keep();
            parts.push((bodies.open("b", "k", &body).expect("opened"), received.bytes));
        }
        let whole = bodies.concatenate(parts).await.expect("joined").keep();
        let reader = bodies.open("b", "k", &whole).expect("opened");
        assert_eq!(read(reader, 4..9).await, b"two t");
    }

    proptest! {
        #[test]
        fn slices_are_the_range(lengths in prop::collection::vec(0_usize..5, 0..6), ends in (0_u64..20, 0_u64..20)) {
            let whole: Vec<u8> = (0..=u8::MAX).take(lengths.iter().sum()).collect();
            let mut rest = Bytes::from(whole.clone());
            let chunks: Vec<Bytes> = lengths.into_iter().map(|length| rest.split_to(length)).collect();
            let length = whole.len() as u64;
            let (from, to) = (ends.0.min(ends.1).min(length), ends.0.max(ends.1).min(length));
            let joined = slices(&chunks, from..to).concat();
            prop_assert_eq!(joined, whole[from as usize..to as usize].to_vec());
        }
    }
}
