//! Which multipart upload belongs to which source object: one small object for each upload under way,
//! on the side of the upload.
//!
//! S3 does not say what an open upload was begun for, so an upload found under the right key proves
//! nothing: its parts may be of another version. An entry binds it to the source object's version,
//! ETag, size and checksum, and to the size of its parts. What does not agree in every point is
//! aborted, never resumed.
//!
//! An entry is written before its upload is begun, without an id, and again with it. So whatever step
//! a crash falls on, each open upload of ours lies under a key that has an entry, and the sweep finds
//! it. Every write is conditional on the entry that was read: two copiers of one object end up in
//! the same upload, or one of them learns that it was overtaken.

use aws_clients::{Failure, classify};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::failure::{At, CallFailure};

/// An upload under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Where the object will be.
    pub(crate) destination_key: String,
    /// What the object will say of its source: everything the parts depend on.
    pub(crate) marker: String,
    /// Of every part but the last.
    pub(crate) part_bytes: u64,
    /// None while the upload is being begun.
    pub(crate) upload_id: Option<String>,
}

/// An entry as it was found or written.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) entry: Entry,
    pub(crate) etag: String,
}

/// The entries of one bucket.
pub(crate) struct Journal<'c> {
    pub(crate) at: At,
    pub(crate) client: Client,
    pub(crate) bucket: &'c str,
    pub(crate) prefix: &'c str,
}

impl Journal<'_> {
    /// The entry of an object, if there is one.
    pub(crate) async fn read(&self, destination_key: &str) -> Result<Option<Found>, CallFailure> {
        self.read_at(&self.key(destination_key)).await
    }

    /// The entry that lies at `journal_key`; none if what lies there is no entry.
    pub(crate) async fn read_at(&self, journal_key: &str) -> Result<Option<Found>, CallFailure> {
        const OPERATION: &str = "GetObject of a journal";
        let request = self.client.get_object().bucket(self.bucket).key(journal_key);
        let output = match request.send().await {
            Ok(output) => output,
            Err(error) if classify(&error) == Failure::NotFound => return Ok(None),
            Err(error) => return Err(CallFailure::new(self.at, OPERATION, &error)),
        };
        let incomplete = |missing| CallFailure::incomplete(self.at, OPERATION, missing);
        let etag = output.e_tag.ok_or_else(|| incomplete("ETag"))?;
        let body = output
            .body
            .collect()
            .await
            .map_err(|_| incomplete("whole body"))?;
        // What an older or newer program wrote, and cannot be read, is replaced like any other entry
        // that does not agree: it has no marker that could.
        let entry = serde_json::from_slice(&body.into_bytes()).unwrap_or_else(|_| Entry {
            destination_key: String::new(),
            marker: String::new(),
            part_bytes: 0,
            upload_id: None,
        });
        Ok(Some(Found { entry, etag }))
    }

    /// Writes an entry over the one with the ETag `over`, or where there is none; `None` when somebody
    /// else was faster.
    pub(crate) async fn write(&self, entry: Entry, over: Option<&str>) -> Result<Option<Found>, CallFailure> {
        const OPERATION: &str = "PutObject of a journal";
        let body = serde_json::to_vec(&entry).expect("texts and numbers are JSON");
        let put = self
            .client
            .put_object()
            .bucket(self.bucket)
            .key(self.key(&entry.destination_key))
            .content_type("application/json")
            .body(ByteStream::from(body));
        let put = match over {
            Some(etag) => put.if_match(etag),
            None => put.if_none_match("*"),
        };
        match put.send().await {
            Ok(output) => {
                let missing = || CallFailure::incomplete(self.at, OPERATION, "ETag");
                let etag = output.e_tag.ok_or_else(missing)?;
                Ok(Some(Found { entry, etag }))
            }
            Err(error) => match classify(&error) {
                // 404: the entry of If-Match is gone.
                Failure::PreconditionFailed | Failure::Conflict | Failure::NotFound => Ok(None),
                _ => Err(CallFailure::new(self.at, OPERATION, &error)),
            },
        }
    }

    /// Removes an entry whose upload has ended, unless it has been replaced.
    pub(crate) async fn remove(&self, found: &Found) -> Result<(), CallFailure> {
        let key = self.key(&found.entry.destination_key);
        self.remove_at(&key, &found.etag).await
    }

    /// Removes what lies at `journal_key`, unless it has been replaced.
    pub(crate) async fn remove_at(&self, journal_key: &str, etag: &str) -> Result<(), CallFailure> {
        let request = self
            .client
            .delete_object()
            .bucket(self.bucket)
            .key(journal_key)
            .if_match(etag);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => match classify(&error) {
                Failure::PreconditionFailed | Failure::Conflict | Failure::NotFound => Ok(()),
                _ => Err(CallFailure::new(self.at, "DeleteObject of a journal", &error)),
            },
        }
    }

    /// Keys are hashed: they may be as long as S3 allows, and the journal's prefix comes on top.
    fn key(&self, destination_key: &str) -> String {
        let digest = Sha256::digest(destination_key);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}{digest}.json", self.prefix)
    }
}
