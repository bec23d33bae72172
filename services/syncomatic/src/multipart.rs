//! Large objects: ranges of the source in parallel, each the part of an upload that can be resumed.
//!
//! ```text
//! journal → begin or resume → ┌ range → part ┐ → combined checksum → complete → journal removed
//!                             └─ in parallel ┘
//! ```
//!
//! Each range is read with `If-Match` on the source object that was compared, so parts of two versions
//! never meet. A part is gathered before it is sent where there is memory for it (see [`crate::gather`]),
//! else streamed. Its CRC64NVME is computed on the way and held against what the destination computed; the
//! CRCs of all parts combine to that of the object, which must be the source's. Only
//! `CompleteMultipartUpload` makes anything visible, with the same condition as a write in one piece.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_clients::Failure;
use aws_sdk_s3::operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType};
use crc_fast::{CrcAlgorithm, checksum_combine};
use futures::{StreamExt, TryStreamExt, stream};
use service_runtime::backoff::Backoff;

use crate::budget::of_stream;
use crate::copy::{Copier, Plan, Range, Written};
use crate::failure::{At, CallFailure, CopyFailure, Remedy};
use crate::gather::gather;
use crate::journal::Entry;
use crate::stream::{Progress, StreamFailure, in_base64, proved};
use crate::uploads::{Begun, Stored, completed};

/// An upload has at most this many parts
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const PARTS_MAX: u64 = 10_000;
/// The largest part.
const PART_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;
/// Part sizes are multiples of this.
const PART_BYTES_STEP: u64 = 1024 * 1024;
/// Parts that must have room side by side for each to be gathered before it is sent.
const GATHERED_AT_ONCE: u64 = 4;
/// Tries for one part before the object is tried again as a whole, which resumes the upload.
const PART_TRIES: u32 = 5;

/// One part of an object: its number, from 1, and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    number: i32,
    first: u64,
    bytes: u64,
}

impl Copier {
    /// Copies an object in parts.
    pub(crate) async fn in_parts(&self, plan: &Plan<'_>) -> Result<Written, CopyFailure> {
        let part_bytes = part_bytes(plan.source.size, self.limits.part_bytes)?;
        let entry = Entry {
            destination_key: plan.destination_key.to_owned(),
            marker: self.marker(plan),
            part_bytes,
            upload_id: None,
        };
        let uploads = self.uploads();
        let opening = uploads.open(&entry, || self.begin(plan));
        let Some(mut upload) = Box::pin(opening).await? else {
            return Ok(Written::Overtaken);
        };
        let parts = parts(plan.source.size, part_bytes);
        upload.stored.retain(|number, stored| {
            let expected = parts.iter().find(|part| part.number == *number);
            expected.is_some_and(|part| part.bytes == stored.bytes)
        });
        if self.fill(plan, &mut upload, &parts).await? {
            self.complete(plan, &upload, &parts).await
        } else {
            uploads.give_up(&upload.journal).await?;
            Ok(Written::Overtaken)
        }
    }

    /// `None` if the source is no longer there.
    async fn begin(&self, plan: &Plan<'_>) -> Result<Option<String>, CopyFailure> {
        const OPERATION: &str = "CreateMultipartUpload";
        // One byte: headers, metadata and the number of tags come with it.
        let Some(mut object) = self.read(plan, Range::Bytes(0, 0)).await? else {
            return Ok(None);
        };
        let Some(attributes) = self.attributes(plan, &mut object).await? else {
            return Ok(None);
        };
        let request = self
            .destination
            .client()
            .create_multipart_upload()
            .bucket(&self.destination.bucket)
            .key(plan.destination_key)
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .checksum_type(ChecksumType::FullObject);
        let output = attributes.on_upload(request).send().await;
        let output = output.map_err(|error| CallFailure::new(At::Destination, OPERATION, &error))?;
        let missing = || CallFailure::incomplete(At::Destination, OPERATION, "UploadId");
        Ok(Some(output.upload_id.ok_or_else(missing)?))
    }

    /// Brings the missing parts, several at a time; `false` if source or upload are no longer there.
    async fn fill(&self, plan: &Plan<'_>, upload: &mut Begun, parts: &[Part]) -> Result<bool, CopyFailure> {
        let id = upload.id.as_str();
        let missing: Vec<Part> = parts
            .iter()
            .filter(|part| !upload.stored.contains_key(&part.number))
            .copied()
            .collect();
        let brought = stream::iter(missing)
            .map(|part| async move {
                let stored = Box::pin(self.part_with_retries(plan, id, part)).await?;
                Ok::<_, CopyFailure>((part.number, stored))
            })
            .buffer_unordered(self.limits.parts_at_once);
        let mut brought = std::pin::pin!(brought);
        let mut stored = BTreeMap::new();
        while let Some((number, part)) = brought.try_next().await? {
            let Some(part) = part else {
                return Ok(false);
            };
            stored.insert(number, part);
        }
        upload.stored.append(&mut stored);
        Ok(true)
    }

    /// `None` if source or upload are no longer there.
    async fn part_with_retries(
        &self,
        plan: &Plan<'_>,
        id: &str,
        part: Part,
    ) -> Result<Option<Stored>, CopyFailure> {
        let mut backoff = Backoff::new(self.limits.backoff_base, self.limits.backoff_cap);
        self.retries.first_try();
        loop {
            let progress = Arc::new(Progress::default());
            let work = Box::pin(self.part(plan, id, part, &progress));
            let memory_bytes = match self.is_gathered(part) {
                true => part.bytes.saturating_add(of_stream(part.bytes)),
                false => of_stream(part.bytes),
            };
            let failure = match self.transfer(memory_bytes, &progress, work).await {
                Ok(stored) => return Ok(stored),
                Err(failure) => failure,
            };
            if failure.is_mismatch() {
                self.metrics.checksum_mismatch();
            }
            let pause = backoff.next_delay();
            let again = failure.remedy() == Remedy::Retry && backoff.tries() < PART_TRIES;
            if !again || !self.retries.retry() {
                return Err(failure);
            }
            self.metrics.retried(failure.cause());
            tokio::time::sleep(pause).await;
        }
    }

    /// Whether there is memory to hold all of it beside others like it; larger parts are streamed.
    fn is_gathered(&self, part: Part) -> bool {
        part.bytes.saturating_add(of_stream(part.bytes)) <= self.limits.memory_bytes / GATHERED_AT_ONCE
    }

    async fn part(
        &self,
        plan: &Plan<'_>,
        id: &str,
        part: Part,
        progress: &Arc<Progress>,
    ) -> Result<Option<Stored>, CopyFailure> {
        const OPERATION: &str = "UploadPart";
        let range = Range::Bytes(part.first, part.first + part.bytes - 1);
        let Some(object) = self.read(plan, range).await? else {
            return Ok(None);
        };
        let body = proved(
            object.body,
            part.bytes,
            None,
            self.bandwidth.clone(),
            progress.clone(),
        );
        let request = self
            .destination
            .uploads()
            .upload_part()
            .bucket(&self.destination.bucket)
            .key(plan.destination_key)
            .upload_id(id)
            .part_number(part.number)
            .content_length(i64::try_from(part.bytes).unwrap_or(i64::MAX));
        let request = if self.is_gathered(part) {
            let gathered = gather(body, progress).await?;
            let crc64_nvme = progress.crc64_nvme().map(in_base64);
            request
                .set_checksum_crc64_nvme(crc64_nvme)
                .body(gathered.into_body())
        } else {
            request
                .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
                .body(body)
        };
        let output = match request.customize().disable_payload_signing().send().await {
            Ok(output) => output,
            Err(error) => {
                if let Some(failure) = progress.failure() {
                    return Err(failure.clone().into());
                }
                let failure = CallFailure::new(At::Destination, OPERATION, &error);
                return match failure.code.as_str() {
                    // Completed or aborted by another copier.
                    "NoSuchUpload" => Ok(None),
                    "BadDigest" | "XAmzContentChecksumMismatch" => Err(CopyFailure::Digest(failure)),
                    _ => Err(failure.into()),
                };
            }
        };
        let incomplete = |missing| CallFailure::incomplete(At::Destination, OPERATION, missing);
        let etag = output.e_tag.ok_or_else(|| incomplete("ETag"))?;
        let read = progress
            .crc64_nvme()
            .ok_or_else(|| incomplete("use for its body"))?;
        let received = output
            .checksum_crc64_nvme
            .ok_or_else(|| incomplete("CRC64NVME"))?;
        if received != in_base64(read) {
            return Err(StreamFailure::Checksum.into());
        }
        self.metrics.transfers.part_copied();
        Ok(Some(Stored {
            etag,
            bytes: part.bytes,
            crc64_nvme: read,
        }))
    }

    /// Makes the object visible, if its bytes are the source's.
    async fn complete(
        &self,
        plan: &Plan<'_>,
        upload: &Begun,
        parts: &[Part],
    ) -> Result<Written, CopyFailure> {
        let crc = in_base64(combined_crc(parts, &upload.stored));
        if plan
            .source
            .crc64_nvme
            .as_ref()
            .is_some_and(|expected| *expected != crc)
        {
            // Nobody can say which part it was: all of them are brought again.
            self.uploads().give_up(&upload.journal).await?;
            return Err(StreamFailure::Checksum.into());
        }
        let request = self
            .destination
            .client()
            .complete_multipart_upload()
            .bucket(&self.destination.bucket)
            .key(plan.destination_key)
            .upload_id(&upload.id)
            .checksum_crc64_nvme(crc)
            .checksum_type(ChecksumType::FullObject)
            .mpu_object_size(i64::try_from(plan.source.size).unwrap_or(i64::MAX))
            .multipart_upload(completed(&upload.stored));
        match with_condition(request, plan.replaces).send().await {
            Ok(_) => {
                self.uploads().journal().remove(&upload.journal).await?;
                Ok(Written::Verbatim)
            }
            Err(error) => {
                let failure = CallFailure::new(At::Destination, "CompleteMultipartUpload", &error);
                match (failure.failure, failure.code.as_str()) {
                    // Another copier has completed it, or replaced one of its parts with equal bytes.
                    (_, "NoSuchUpload" | "InvalidPart") => Ok(Written::Overtaken),
                    // 412: the destination is no longer what was compared. 409: after it an upload
                    // has to be begun anew
                    // (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
                    (Failure::PreconditionFailed | Failure::Conflict, _) | (_, "NoSuchKey") => {
                        self.uploads().give_up(&upload.journal).await?;
                        Ok(Written::Overtaken)
                    }
                    (_, "BadDigest" | "XAmzContentChecksumMismatch") => {
                        self.uploads().give_up(&upload.journal).await?;
                        Err(CopyFailure::Digest(failure))
                    }
                    _ => Err(failure.into()),
                }
            }
        }
    }
}

/// The configured size, or what keeps the object within 10,000 parts.
fn part_bytes(size: u64, configured: u64) -> Result<u64, CopyFailure> {
    let least = size.div_ceil(PARTS_MAX).next_multiple_of(PART_BYTES_STEP);
    let part_bytes = configured.max(least);
    if part_bytes > PART_BYTES_MAX {
        return Err(CopyFailure::TooLarge(size));
    }
    Ok(part_bytes)
}

fn parts(size: u64, part_bytes: u64) -> Vec<Part> {
    (1..)
        .zip((0..size).step_by(usize::try_from(part_bytes).unwrap_or(usize::MAX)))
        .map(|(number, first)| Part {
            number,
            first,
            bytes: part_bytes.min(size - first),
        })
        .collect()
}

/// That of the whole object, from those of all its parts.
fn combined_crc(parts: &[Part], stored: &BTreeMap<i32, Stored>) -> u64 {
    let crcs = parts
        .iter()
        .filter_map(|part| Some((stored.get(&part.number)?.crc64_nvme, part.bytes)));
    crcs.reduce(|(crc, bytes), (next, next_bytes)| {
        let crc = checksum_combine(CrcAlgorithm::Crc64Nvme, crc, next, next_bytes);
        (crc, bytes + next_bytes)
    })
    .map_or(0, |(crc, _)| crc)
}

fn with_condition(
    request: CompleteMultipartUploadFluentBuilder,
    replaces: Option<&str>,
) -> CompleteMultipartUploadFluentBuilder {
    match replaces {
        Some(etag) => request.if_match(etag),
        None => request.if_none_match("*"),
    }
}

#[cfg(test)]
#[path = "multipart/tests.rs"]
mod tests;
