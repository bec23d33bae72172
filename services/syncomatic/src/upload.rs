//! An object whose length nobody knows yet, written in order and in bounded memory.
//!
//! What fits into one part goes in one PutObject, anything longer in parts of one size, completed at the
//! end: either way the object appears whole, under the condition it was begun with, and only if S3 finds
//! the CRC64NVME that was computed on the way. Where the parts are cut depends on the bytes alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws_clients::Failure;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart, ServerSideEncryption,
    StorageClass,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};

use crate::failure::{At, CallFailure, CopyFailure};
use crate::stream::Progress;

/// The smallest part that S3 takes, other than the last
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
pub(crate) const PART_BYTES: usize = 5 * 1024 * 1024;
/// How many parts an object may have (same page).
const PARTS_MAX: usize = 10_000;
/// What the buffer grows by while it is small.
const GROWTH_BYTES: usize = 256 * 1024;
/// The most that one upload holds: a part, and what came before it was noticed to be whole.
pub(crate) const UPLOAD_BYTES: u64 = 6 * 1024 * 1024;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// Bytes.
    pub(crate) size: u64,
    /// Of the full object, in base64.
    pub(crate) crc64_nvme: String,
}

/// Where an object goes, and on which condition.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) at: At,
    pub(crate) client: &'a Client,
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
    /// ETag of the object that is replaced; `None`: there must be none.
    pub(crate) replaces: Option<&'a str>,
}

/// What an object carries beside its bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes {
    pub(crate) content_type: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) metadata: HashMap<String, String>,
    pub(crate) tagging: Option<String>,
    pub(crate) storage_class: Option<StorageClass>,
    pub(crate) kms_key_id: Option<String>,
    /// Says what was written, where that is known before it is written.
    pub(crate) note: Option<Note>,
}

impl Attributes {
    fn encryption(&self) -> Option<ServerSideEncryption> {
        self.kms_key_id.as_ref().map(|_| ServerSideEncryption::AwsKms)
    }
}

/// A metadata entry, its name and its value.
pub(crate) type Note = fn(&Output) -> (String, String);

/// An object being written.
pub(crate) struct Upload<'a> {
    target: Target<'a>,
    attributes: Attributes,
    progress: &'a Progress,
    open: &'a OpenUploads,
    buffer: BytesMut,
    digest: Digest,
    size: u64,
    parts: Option<Parts>,
}

struct Parts {
    upload_id: String,
    completed: Vec<CompletedPart>,
}

impl<'a> Upload<'a> {
    /// Nothing is sent before there is something to send.
    pub(crate) fn new(
        target: Target<'a>,
        attributes: Attributes,
        progress: &'a Progress,
        open: &'a OpenUploads,
    ) -> Self {
        Self {
            target,
            attributes,
            progress,
            open,
            buffer: BytesMut::new(),
            digest: Digest::new(CrcAlgorithm::Crc64Nvme),
            size: 0,
            parts: None,
        }
    }

    /// Takes the next bytes, and sends each part that they complete.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), CopyFailure> {
        self.digest.update(bytes);
        self.size += bytes.len() as u64;
        self.make_room(bytes.len());
        self.buffer.extend_from_slice(bytes);
        // The last part is sent by `finish`, which makes it the only one where it can.
        while self.buffer.len() > PART_BYTES {
            let part = self.buffer.split_to(PART_BYTES).freeze();
            self.send_part(part).await?;
        }
        Ok(())
    }

    /// What the object is so far.
    pub(crate) fn expected(&self) -> Output {
        Output {
            size: self.size,
            crc64_nvme: BASE64_STANDARD.encode(self.digest.finalize().to_be_bytes()),
        }
    }

    /// Completes the object; `None` if the condition does not hold.
    pub(crate) async fn finish(mut self) -> Result<Option<Output>, CopyFailure> {
        let output = self.expected();
        let last = self.buffer.split().freeze();
        let taken = if self.parts.is_some() {
            self.send_part(last).await?;
            self.complete(&output).await?
        } else {
            self.put(last, &output).await?
        };
        Ok(taken.then_some(output))
    }

    /// Doubling would hold up to twice a part.
    fn make_room(&mut self, bytes: usize) {
        let length = self.buffer.len();
        if self.buffer.capacity() - length < bytes {
            let to_part = (PART_BYTES + GROWTH_BYTES).saturating_sub(length);
            let growth = if length < GROWTH_BYTES {
                GROWTH_BYTES
            } else {
                to_part
            };
            self.buffer.reserve(bytes.max(growth));
        }
    }

    async fn put(&self, body: Bytes, output: &Output) -> Result<bool, CopyFailure> {
        let Target {
            client,
            bucket,
            key,
            replaces,
            ..
        } = self.target;
        let mut metadata = self.attributes.metadata.clone();
        metadata.extend(self.attributes.note.map(|note| note(output)));
        let put = client.put_object().bucket(bucket).key(key);
        let put = match replaces {
            Some(etag) => put.if_match(etag),
            None => put.if_none_match("*"),
        };
        let put = put
            .checksum_crc64_nvme(&output.crc64_nvme)
            .set_content_type(self.attributes.content_type.clone())
            .set_content_encoding(self.attributes.content_encoding.clone())
            .set_metadata(Some(metadata))
            .set_tagging(self.attributes.tagging.clone())
            .set_storage_class(self.attributes.storage_class.clone())
            .set_server_side_encryption(self.attributes.encryption())
            .set_ssekms_key_id(self.attributes.kms_key_id.clone())
            .body(ByteStream::from(body));
        match put.send().await {
            Ok(_) => Ok(true),
            Err(error) => self.refused(CallFailure::new(self.target.at, "PutObject", &error)),
        }
    }

    async fn begin(&self) -> Result<Parts, CopyFailure> {
        let Target {
            at,
            client,
            bucket,
            key,
            ..
        } = self.target;
        let create = client
            .create_multipart_upload()
            .bucket(bucket)
            .key(key)
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .checksum_type(ChecksumType::FullObject)
            .set_content_type(self.attributes.content_type.clone())
            .set_content_encoding(self.attributes.content_encoding.clone())
            .set_metadata(Some(self.attributes.metadata.clone()))
            .set_tagging(self.attributes.tagging.clone())
            .set_storage_class(self.attributes.storage_class.clone())
            .set_server_side_encryption(self.attributes.encryption())
            .set_ssekms_key_id(self.attributes.kms_key_id.clone());
        let created = create.send().await;
        let created = created.map_err(|error| CallFailure::new(at, "CreateMultipartUpload", &error))?;
        let upload_id = created
            .upload_id
            .ok_or_else(|| CallFailure::incomplete(at, "CreateMultipartUpload", "UploadId"))?;
        self.open.add(at, bucket, key, &upload_id);
        Ok(Parts {
            upload_id,
            completed: Vec::new(),
        })
    }

    async fn send_part(&mut self, body: Bytes) -> Result<(), CopyFailure> {
        if self.parts.is_none() {
            self.parts = Some(self.begin().await?);
        }
        let Target {
            at,
            client,
            bucket,
            key,
            ..
        } = self.target;
        let Some(parts) = &mut self.parts else {
            return Ok(());
        };
        if parts.completed.len() == PARTS_MAX {
            return Err(CopyFailure::TooLarge(self.size));
        }
        let number = i32::try_from(parts.completed.len() + 1).unwrap_or(i32::MAX);
        let crc = BASE64_STANDARD.encode(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &body).to_be_bytes());
        let length = body.len() as u64;
        let request = client
            .upload_part()
            .bucket(bucket)
            .key(key)
            .upload_id(&parts.upload_id)
            .part_number(number)
            .checksum_crc64_nvme(&crc)
            .body(ByteStream::from(body));
        let sent = request.send().await;
        let sent = sent.map_err(|error| failure(CallFailure::new(at, "UploadPart", &error)))?;
        self.progress.moved(length);
        let part = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag)
            .checksum_crc64_nvme(crc);
        parts.completed.push(part.build());
        Ok(())
    }

    async fn complete(&mut self, output: &Output) -> Result<bool, CopyFailure> {
        let Target {
            at,
            client,
            bucket,
            key,
            replaces,
        } = self.target;
        let Some(Parts { upload_id, completed }) = self.parts.take() else {
            return Ok(false);
        };
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(completed))
            .build();
        let complete = client
            .complete_multipart_upload()
            .bucket(bucket)
            .key(key)
            .upload_id(&upload_id)
            .checksum_type(ChecksumType::FullObject)
            .checksum_crc64_nvme(&output.crc64_nvme)
            .multipart_upload(parts);
        let complete = match replaces {
            Some(etag) => complete.if_match(etag),
            None => complete.if_none_match("*"),
        };
        match complete.send().await {
            Ok(_) => {
                self.open.remove(&upload_id);
                Ok(true)
            }
            Err(error) => self.refused(CallFailure::new(at, "CompleteMultipartUpload", &error)),
        }
    }

    /// `Ok` where the condition is what failed: the object is no longer what was compared, another write is
    /// under way, or it is gone (a missing bucket is `NoSuchBucket`). An upload that is gone was completed
    /// by a call whose answer was lost, or swept away: a look tells.
    fn refused(&self, call: CallFailure) -> Result<bool, CopyFailure> {
        match (call.failure, call.code.as_str()) {
            (Failure::PreconditionFailed | Failure::Conflict, _) => Ok(false),
            (_, "NoSuchKey" | "NoSuchUpload") => Ok(false),
            _ => Err(failure(call)),
        }
    }
}

fn failure(call: CallFailure) -> CopyFailure {
    match call.code.as_str() {
        "BadDigest" | "XAmzContentChecksumMismatch" => CopyFailure::Digest(call),
        _ => call.into(),
    }
}

/// Uploads in parts that were begun and not completed. It outlives the copy, so that one that is given up
/// in the middle of a call leaves nothing behind.
#[derive(Default)]
pub(crate) struct OpenUploads(Mutex<Vec<OpenUpload>>);

struct OpenUpload {
    at: At,
    bucket: String,
    key: String,
    upload_id: String,
}

impl OpenUploads {
    fn add(&self, at: At, bucket: &str, key: &str, upload_id: &str) {
        self.lock().push(OpenUpload {
            at,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            upload_id: upload_id.to_owned(),
        });
    }

    fn remove(&self, upload_id: &str) {
        self.lock().retain(|open| open.upload_id != upload_id);
    }

    /// Gives up what is open. What cannot be is left to the bucket's lifecycle rule, and logged.
    pub(crate) async fn abort(&self, source: &Client, destination: &Client) {
        let open = std::mem::take(&mut *self.lock());
        for upload in open {
            let client = match upload.at {
                At::Source => source,
                At::Destination => destination,
            };
            let request = client
                .abort_multipart_upload()
                .bucket(upload.bucket)
                .key(upload.key)
                .upload_id(upload.upload_id);
            if let Err(error) = request.send().await {
                let error = CallFailure::new(upload.at, "AbortMultipartUpload", &error);
                if error.code != "NoSuchUpload" {
                    tracing::warn!(%error, "an unfinished upload stays until the bucket's lifecycle rule ends it");
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<OpenUpload>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
