//! Objects that another service of the same cloud leaves in a bucket.

use std::sync::Arc;

use bytes::Bytes;

use super::Backend;
use super::checksum::{self, Algorithm, Expected};
use super::commit::NewObject;
use super::condition::WriteCondition;
use super::notification::Event;
use super::record::Headers;

/// Puts objects without a request of their own: what notifications and readers see is an ordinary put.
#[derive(Clone)]
pub(crate) struct Depositor(pub(super) Arc<Backend>);

impl Depositor {
    /// Puts an object; where that fails, says why in a line.
    pub(crate) async fn put(&self, bucket: &str, key: &str, data: Bytes) -> Result<(), String> {
        let chunks = futures::stream::iter([Ok(data)]);
        let received = self
            .0
            .bodies
            .receive(chunks, Expected::nothing(Algorithm::DEFAULT));
        let received = received.await.map_err(|error| error.to_string())?;
        let object = NewObject {
            bucket,
            key,
            bytes: received.bytes,
            etag: checksum::hex(&received.digests.md5),
            checksum: received.digests.checksum,
            headers: Headers {
                content_type: Some("application/octet-stream".to_owned()),
                ..Headers::default()
            },
            tags: Vec::new(),
            part_bytes: Vec::new(),
            staged: received.staged,
            condition: WriteCondition::default(),
            event: Event::Put,
            upload_id: None,
        };
        self.0.commit(object).map(drop).map_err(|error| error.to_string())
    }
}
