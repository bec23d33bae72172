//! An object whose length nobody knows yet, written in order and in bounded memory.
//!
//! What fits into one part goes in one PutObject, anything longer in parts of one size, completed at the
//! end: either way the object appears whole, under the condition it was begun with, and only if S3 finds
//! the CRC64NVME that was computed on the way. Where the parts are cut depends on the bytes alone, so a
//! try that begins again finds in its upload what an earlier one sent, and does not send it again.

use std::collections::{BTreeMap, HashMap};

use aws_clients::Failure;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, ServerSideEncryption, StorageClass};
use bytes::{Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};

use crate::failure::{CallFailure, CopyFailure};
use crate::journal::{Entry, Found};
use crate::stream::{Progress, in_base64};
use crate::uploads::{Begun, Stored, Uploads, completed};

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
#[derive(Clone)]
pub(crate) struct Target<'a> {
    pub(crate) uploads: Uploads<'a>,
    pub(crate) key: &'a str,
    /// What it is made of, for an upload in parts to be resumed by.
    pub(crate) marker: String,
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
    buffer: BytesMut,
    digest: Digest,
    size: u64,
    parts: Option<Parts>,
}

struct Parts {
    upload_id: String,
    journal: Found,
    /// What the upload had when this try began.
    found: BTreeMap<i32, Stored>,
    sent: BTreeMap<i32, Stored>,
}

impl<'a> Upload<'a> {
    /// Nothing is sent before there is something to send.
    pub(crate) fn new(target: Target<'a>, attributes: Attributes, progress: &'a Progress) -> Self {
        Self {
            target,
            attributes,
            progress,
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

    /// Bytes so far.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// What the object is so far.
    pub(crate) fn expected(&self) -> Output {
        Output {
            size: self.size,
            crc64_nvme: in_base64(self.digest.finalize()),
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

    /// Ends it without an object, when no other try will come to one either.
    pub(crate) async fn give_up(self) -> Result<(), CopyFailure> {
        match &self.parts {
            Some(parts) => self.target.uploads.give_up(&parts.journal).await,
            None => Ok(()),
        }
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
            uploads,
            key,
            replaces,
            ..
        } = &self.target;
        let mut metadata = self.attributes.metadata.clone();
        metadata.extend(self.attributes.note.map(|note| note(output)));
        let client = uploads.sending_client();
        let put = client.put_object().bucket(uploads.bucket).key(*key);
        let put = match replaces {
            Some(etag) => put.if_match(*etag),
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
        match put.customize().disable_payload_signing().send().await {
            Ok(_) => Ok(true),
            Err(error) => match CallFailure::new(uploads.at(), "PutObject", &error) {
                call if is_overtaken(&call) => Ok(false),
                call => Err(failure(call)),
            },
        }
    }

    /// An upload to send parts to: one that an earlier try began, or a new one.
    async fn begin(&self) -> Result<Parts, CopyFailure> {
        let Target {
            uploads, key, marker, ..
        } = &self.target;
        let entry = Entry {
            destination_key: (*key).to_owned(),
            marker: marker.clone(),
            part_bytes: PART_BYTES as u64,
            upload_id: None,
        };
        let opening = uploads.open(&entry, || self.create());
        let begun = Box::pin(opening).await?;
        let Begun { id, journal, stored } = begun.ok_or(CopyFailure::StillChanging(1))?;
        Ok(Parts {
            upload_id: id,
            journal,
            found: stored,
            sent: BTreeMap::new(),
        })
    }

    async fn create(&self) -> Result<Option<String>, CopyFailure> {
        const OPERATION: &str = "CreateMultipartUpload";
        let Target { uploads, key, .. } = &self.target;
        let create = uploads
            .client()
            .create_multipart_upload()
            .bucket(uploads.bucket)
            .key(*key)
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
        let created = created.map_err(|error| CallFailure::new(uploads.at(), OPERATION, &error))?;
        let missing = || CallFailure::incomplete(uploads.at(), OPERATION, "UploadId");
        Ok(Some(created.upload_id.ok_or_else(missing)?))
    }

    async fn send_part(&mut self, body: Bytes) -> Result<(), CopyFailure> {
        const OPERATION: &str = "UploadPart";
        let mut parts = match self.parts.take() {
            Some(parts) => parts,
            None => self.begin().await?,
        };
        if parts.sent.len() == PARTS_MAX {
            return Err(CopyFailure::TooLarge(self.size));
        }
        let number = i32::try_from(parts.sent.len() + 1).unwrap_or(i32::MAX);
        let (bytes, crc64_nvme) = (
            body.len() as u64,
            crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &body),
        );
        let is_there = |part: &Stored| (part.bytes, part.crc64_nvme) == (bytes, crc64_nvme);
        let stored = match parts.found.remove(&number).filter(is_there) {
            Some(stored) => stored,
            None => {
                let Target { uploads, key, .. } = &self.target;
                let request = uploads
                    .sending_client()
                    .upload_part()
                    .bucket(uploads.bucket)
                    .key(*key)
                    .upload_id(&parts.upload_id)
                    .part_number(number)
                    .checksum_crc64_nvme(in_base64(crc64_nvme))
                    .body(ByteStream::from(body));
                let sent = request
                    .customize()
                    .disable_payload_signing()
                    .send()
                    .await
                    .map_err(|error| {
                        match CallFailure::new(uploads.at(), OPERATION, &error) {
                            // Completed or ended by another copier of the same object.
                            call if call.code == "NoSuchUpload" => CopyFailure::StillChanging(1),
                            call => failure(call),
                        }
                    })?;
                let missing = || CallFailure::incomplete(uploads.at(), OPERATION, "ETag");
                Stored {
                    etag: sent.e_tag.ok_or_else(missing)?,
                    bytes,
                    crc64_nvme,
                }
            }
        };
        self.progress.moved(bytes);
        parts.sent.insert(number, stored);
        self.parts = Some(parts);
        Ok(())
    }

    async fn complete(&mut self, output: &Output) -> Result<bool, CopyFailure> {
        let Target {
            uploads,
            key,
            replaces,
            ..
        } = &self.target;
        let Some(parts) = self.parts.take() else {
            return Ok(false);
        };
        let complete = uploads
            .client()
            .complete_multipart_upload()
            .bucket(uploads.bucket)
            .key(*key)
            .upload_id(&parts.upload_id)
            .checksum_type(ChecksumType::FullObject)
            .checksum_crc64_nvme(&output.crc64_nvme)
            .multipart_upload(completed(&parts.sent));
        let complete = match replaces {
            Some(etag) => complete.if_match(*etag),
            None => complete.if_none_match("*"),
        };
        let Err(error) = complete.send().await else {
            uploads.journal().remove(&parts.journal).await?;
            return Ok(true);
        };
        match CallFailure::new(uploads.at(), "CompleteMultipartUpload", &error) {
            // Another copier has completed it, or replaced one of its parts with equal bytes.
            call if matches!(call.code.as_str(), "NoSuchUpload" | "InvalidPart") => Ok(false),
            call if is_overtaken(&call) => {
                uploads.give_up(&parts.journal).await?;
                Ok(false)
            }
            call => match failure(call) {
                CopyFailure::Digest(call) => {
                    uploads.give_up(&parts.journal).await?;
                    Err(CopyFailure::Digest(call))
                }
                failure => Err(failure),
            },
        }
    }
}

/// Whether the condition is what failed: the object is no longer what was compared, another write is
/// under way, or it is gone (a missing bucket is `NoSuchBucket`).
fn is_overtaken(call: &CallFailure) -> bool {
    matches!(call.failure, Failure::PreconditionFailed | Failure::Conflict) || call.code == "NoSuchKey"
}

fn failure(call: CallFailure) -> CopyFailure {
    match call.code.as_str() {
        "BadDigest" | "XAmzContentChecksumMismatch" => CopyFailure::Digest(call),
        _ => call.into(),
    }
}
