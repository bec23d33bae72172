//! Large objects: ranges of the source in parallel, each the part of an upload that can be resumed.
//!
//! ```text
//! journal → begin or resume → ┌ range → part ┐ → combined checksum → complete → journal removed
//!                             └─ in parallel ┘
//! ```
//!
//! Each range is read with `If-Match` on the source object that was compared, so parts of two versions
//! never meet. Each part's CRC64NVME is computed on the way and held against what the destination
//! computed; the CRCs of all parts combine to that of the object, which must be the source's. Only
//! `CompleteMultipartUpload` makes anything visible, with the same condition as a write in one piece.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_clients::{Failure, classify};
use aws_sdk_s3::operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use crc_fast::{CrcAlgorithm, checksum_combine};
use futures::{StreamExt, TryStreamExt, stream};
use service_runtime::backoff::Backoff;

use crate::budget::of_stream;
use crate::copy::{Copier, Plan, Range, Written};
use crate::failure::{At, CallFailure, CopyFailure, Remedy};
use crate::journal::{Entry, Found, Journal};
use crate::stream::{Progress, StreamFailure, in_base64, proved};

/// An upload has at most this many parts
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const PARTS_MAX: u64 = 10_000;
/// The largest part.
const PART_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;
/// Part sizes are multiples of this.
const PART_BYTES_STEP: u64 = 1024 * 1024;
/// Tries for one part before the object is tried again as a whole, which resumes the upload.
const PART_TRIES: u32 = 5;
/// Looks at a journal that others keep changing.
const JOURNAL_TRIES: u32 = 5;

/// One part of an object: its number, from 1, and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    number: i32,
    first: u64,
    bytes: u64,
}

/// A part that the destination has.
#[derive(Clone, Debug)]
struct Stored {
    etag: String,
    crc64_nvme: u64,
}

/// An upload under way, and what it holds already.
struct Upload {
    id: String,
    journal: Found,
    stored: BTreeMap<i32, Stored>,
}

impl Copier {
    /// Copies an object in parts.
    pub(crate) async fn in_parts(&self, plan: &Plan<'_>) -> Result<Written, CopyFailure> {
        let part_bytes = part_bytes(plan.source.size, self.limits.part_bytes)?;
        let Some(mut upload) = Box::pin(self.upload(plan, part_bytes)).await? else {
            return Ok(Written::Overtaken);
        };
        let parts = parts(plan.source.size, part_bytes);
        if self.fill(plan, &mut upload, &parts).await? {
            self.complete(plan, &upload, &parts).await
        } else {
            self.give_up(&upload.journal).await?;
            Ok(Written::Overtaken)
        }
    }

    /// The upload that the journal names for exactly this plan, or a new one; `None` if the source is
    /// no longer there.
    async fn upload(&self, plan: &Plan<'_>, part_bytes: u64) -> Result<Option<Upload>, CopyFailure> {
        let entry = Entry {
            destination_key: plan.destination_key.to_owned(),
            marker: self.marker(plan),
            part_bytes,
            upload_id: None,
        };
        for _ in 0..JOURNAL_TRIES {
            let found = self.journal().read(plan.destination_key).await?;
            if let Some(found) = &found {
                if let Some(id) = resumable(&found.entry, &entry)
                    && let Some(stored) = self.stored_parts(plan, id, part_bytes).await?
                {
                    self.metrics.transfers.upload_begun("resumed");
                    let (id, journal) = (id.to_owned(), found.clone());
                    return Ok(Some(Upload { id, journal, stored }));
                }
                self.abort_uploads(plan.destination_key).await?;
            }
            let over = found.as_ref().map(|found| found.etag.as_str());
            let Some(announced) = self.journal().write(entry.clone(), over).await? else {
                continue;
            };
            let Some(id) = self.begin(plan).await? else {
                self.journal().remove(&announced).await?;
                return Ok(None);
            };
            let named = Entry {
                upload_id: Some(id.clone()),
                ..entry.clone()
            };
            match self.journal().write(named, Some(&announced.etag)).await? {
                Some(journal) => {
                    self.metrics.transfers.upload_begun("new");
                    let stored = BTreeMap::new();
                    return Ok(Some(Upload { id, journal, stored }));
                }
                None => self.abort(plan.destination_key, &id).await?,
            }
        }
        Err(CopyFailure::StillChanging(JOURNAL_TRIES))
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

    /// The parts an upload has that are as they should be; `None` if it has ended.
    async fn stored_parts(
        &self,
        plan: &Plan<'_>,
        id: &str,
        part_bytes: u64,
    ) -> Result<Option<BTreeMap<i32, Stored>>, CopyFailure> {
        let expected: BTreeMap<i32, u64> = parts(plan.source.size, part_bytes)
            .into_iter()
            .map(|part| (part.number, part.bytes))
            .collect();
        let Some(listed) = self.list_parts(plan.destination_key, id).await? else {
            return Ok(None);
        };
        let usable = listed.into_iter().filter_map(|part| {
            let number = part.part_number?;
            let size = u64::try_from(part.size?).ok()?;
            let crc64_nvme = from_base64(part.checksum_crc64_nvme.as_deref()?)?;
            let etag = part.e_tag?;
            (expected.get(&number) == Some(&size)).then_some((number, Stored { etag, crc64_nvme }))
        });
        Ok(Some(usable.collect()))
    }

    /// What an upload has; `None` if it has ended.
    pub(crate) async fn list_parts(
        &self,
        destination_key: &str,
        id: &str,
    ) -> Result<Option<Vec<aws_sdk_s3::types::Part>>, CopyFailure> {
        let client = self.destination.client();
        let pages = client
            .list_parts()
            .bucket(&self.destination.bucket)
            .key(destination_key)
            .upload_id(id)
            .into_paginator()
            .items()
            .send();
        match pages.try_collect().await {
            Ok(parts) => Ok(Some(parts)),
            Err(error) if classify(&error) == Failure::NotFound || is_no_such_upload(&error) => Ok(None),
            Err(error) => Err(CallFailure::new(At::Destination, "ListParts", &error).into()),
        }
    }

    /// Brings the missing parts, several at a time; `false` if source or upload are no longer there.
    async fn fill(&self, plan: &Plan<'_>, upload: &mut Upload, parts: &[Part]) -> Result<bool, CopyFailure> {
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
            let failure = match self.transfer(of_stream(part.bytes), &progress, work).await {
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
            .content_length(i64::try_from(part.bytes).unwrap_or(i64::MAX))
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .body(body);
        let output = match request.send().await {
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
            crc64_nvme: read,
        }))
    }

    /// Makes the object visible, if its bytes are the source's.
    async fn complete(
        &self,
        plan: &Plan<'_>,
        upload: &Upload,
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
            self.give_up(&upload.journal).await?;
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
            .multipart_upload(listed(&upload.stored));
        match with_condition(request, plan.replaces).send().await {
            Ok(_) => {
                self.journal().remove(&upload.journal).await?;
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
                        self.give_up(&upload.journal).await?;
                        Ok(Written::Overtaken)
                    }
                    (_, "BadDigest" | "XAmzContentChecksumMismatch") => {
                        self.give_up(&upload.journal).await?;
                        Err(CopyFailure::Digest(failure))
                    }
                    _ => Err(failure.into()),
                }
            }
        }
    }

    /// Ends an upload of which nothing will come.
    pub(crate) async fn give_up(&self, journal: &Found) -> Result<(), CopyFailure> {
        if let Some(id) = &journal.entry.upload_id {
            self.abort(&journal.entry.destination_key, id).await?;
        }
        self.journal().remove(journal).await?;
        Ok(())
    }

    /// Ends every open upload of a key that has a journal entry: they are ours.
    pub(crate) async fn abort_uploads(&self, destination_key: &str) -> Result<usize, CopyFailure> {
        let client = self.destination.client();
        let mut request = client
            .list_multipart_uploads()
            .bucket(&self.destination.bucket)
            .prefix(destination_key);
        let mut aborted = 0;
        loop {
            let page = request.clone().send().await;
            let page =
                page.map_err(|error| CallFailure::new(At::Destination, "ListMultipartUploads", &error))?;
            for upload in page.uploads.unwrap_or_default() {
                if upload.key.as_deref() == Some(destination_key)
                    && let Some(id) = upload.upload_id
                {
                    self.abort(destination_key, &id).await?;
                    aborted += 1;
                }
            }
            if page.is_truncated != Some(true) {
                return Ok(aborted);
            }
            request = request
                .set_key_marker(page.next_key_marker)
                .set_upload_id_marker(page.next_upload_id_marker);
        }
    }

    async fn abort(&self, destination_key: &str, id: &str) -> Result<(), CopyFailure> {
        let client = self.destination.client();
        let request = client
            .abort_multipart_upload()
            .bucket(&self.destination.bucket)
            .key(destination_key)
            .upload_id(id);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if classify(&error) == Failure::NotFound || is_no_such_upload(&error) => Ok(()),
            Err(error) => Err(CallFailure::new(At::Destination, "AbortMultipartUpload", &error).into()),
        }
    }

    pub(crate) fn journal(&self) -> Journal<'_> {
        Journal {
            destination: &self.destination,
            prefix: &self.journal_prefix,
        }
    }
}

/// The upload to resume, if `found` agrees with what would be written now in everything but the id.
fn resumable<'f>(found: &'f Entry, wanted: &Entry) -> Option<&'f str> {
    let agrees = found.destination_key == wanted.destination_key
        && found.marker == wanted.marker
        && found.part_bytes == wanted.part_bytes;
    found.upload_id.as_deref().filter(|_| agrees)
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

fn listed(stored: &BTreeMap<i32, Stored>) -> CompletedMultipartUpload {
    let parts = stored.iter().map(|(number, part)| {
        CompletedPart::builder()
            .part_number(*number)
            .e_tag(&part.etag)
            .checksum_crc64_nvme(in_base64(part.crc64_nvme))
            .build()
    });
    CompletedMultipartUpload::builder()
        .set_parts(Some(parts.collect()))
        .build()
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

fn from_base64(crc: &str) -> Option<u64> {
    let bytes = BASE64_STANDARD.decode(crc).ok()?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// S3 answers it with 404 and a code of its own.
fn is_no_such_upload(error: &impl aws_sdk_s3::error::ProvideErrorMetadata) -> bool {
    error.code() == Some("NoSuchUpload")
}

#[cfg(test)]
#[path = "multipart/tests.rs"]
mod tests;
