//! Multipart uploads.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html>

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumAlgorithm, CopyPartResult,
    CreateMultipartUploadInput, CreateMultipartUploadOutput, ETag, ListMultipartUploadsInput,
    ListMultipartUploadsOutput, ListPartsInput, ListPartsOutput, MultipartUpload, Part as PartDto, Range,
    UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Request, S3Result, s3_error};

use super::Backend;
use super::body::{self, Received, internal};
use super::checksum::{self, Algorithm, Expected, Kind, sent_checksums};
use super::commit::{remove_upload, storage};
use super::condition::ReadCondition;
use super::record::{self, Encryption, Headers, Part, Upload};
use super::tagging;
use super::write::{headers_of, source_of};
use crate::state::Table;

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
const PART_NUMBER_MAX: i32 = 10_000;
/// Of one page of parts or uploads.
const PAGE_MAX: i32 = 1000;

impl Backend {
    pub(super) fn create_multipart_upload(
        &self,
        input: CreateMultipartUploadInput,
    ) -> S3Result<CreateMultipartUploadOutput> {
        let headers = headers_of!(input)?;
        let tags = tagging::parse_header(input.tagging.as_deref())?;
        let algorithm = input
            .checksum_algorithm
            .as_ref()
            .map(Algorithm::parse)
            .transpose()?;
        let used = algorithm.unwrap_or(Algorithm::DEFAULT);
        let kind = input
            .checksum_type
            .as_ref()
            .map(Kind::parse)
            .transpose()?
            .unwrap_or(used.default_kind());
        if !used.supports(kind) {
            let (kind, name) = (kind.dto(), used.name());
            return Err(s3_error!(
                InvalidRequest,
                "The {} checksum type cannot be used with the {name} checksum algorithm.",
                kind.as_str()
            ));
        }
        let encryption_dto = headers.encryption_dto();
        let upload = Upload {
            bucket: input.bucket.clone(),
            key: input.key.clone(),
            initiated_ms: self.clock.now_ms(),
            headers,
            tags,
            algorithm,
            kind,
            parts: std::collections::BTreeMap::new(),
        };
        let upload_id = uuid::Uuid::new_v4().simple().to_string();
        let mut catalogue = self.lock();
        catalogue.bucket(&input.bucket)?;
        let value = record::encode("upload", &upload).map_err(storage)?;
        self.state
            .put(Table::Uploads, &record::upload_key(&upload_id, None), &value)
            .map_err(storage)?;
        let output = CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            checksum_algorithm: algorithm.map(|algorithm| ChecksumAlgorithm::from_static(algorithm.name())),
            checksum_type: algorithm.map(|_| kind.dto()),
            server_side_encryption: Some(encryption_dto),
            ssekms_key_id: upload.headers.encryption.kms_key_id.clone(),
            upload_id: Some(upload_id.clone()),
            ..CreateMultipartUploadOutput::default()
        };
        catalogue.uploads.insert(upload_id, upload);
        Ok(output)
    }

    pub(super) async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<UploadPartOutput> {
        let mut input = request.input;
        if input.sse_customer_algorithm.is_some() {
            return Err(s3_error!(
                NotImplemented,
                "local-cloud has no encryption with customer keys"
            ));
        }
        check_part_number(input.part_number)?;
        let algorithm = self
            .lock()
            .upload(&input.bucket, &input.key, &input.upload_id)?
            .algorithm;
        let expected = Expected::of(
            sent_checksums!(input),
            input.checksum_algorithm.as_ref(),
            request.trailing_headers,
            input.content_md5.as_deref(),
            algorithm.unwrap_or(Algorithm::DEFAULT),
        )?;
        if let Some(wanted) = algorithm
            && wanted != expected.algorithm()
        {
            return Err(s3_error!(
                InvalidRequest,
                "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
                wanted.name().to_ascii_lowercase(),
                expected.algorithm().name().to_ascii_lowercase()
            ));
        }
        let stream = input
            .body
            .take()
            .ok_or_else(|| s3_error!(IncompleteBody, "The request has no body."))?;
        let received = self.bodies.receive(stream, expected).await?;
        let part = self.keep_part(
            &input.bucket,
            &input.key,
            &input.upload_id,
            input.part_number,
            received,
        )?;
        let sums = part.checksum.fields();
        Ok(UploadPartOutput {
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            e_tag: Some(ETag::Strong(checksum::hex(&part.md5))),
            ..UploadPartOutput::default()
        })
    }

    pub(super) async fn upload_part_copy(
        &self,
        input: UploadPartCopyInput,
    ) -> S3Result<UploadPartCopyOutput> {
        check_part_number(input.part_number)?;
        let algorithm = self
            .lock()
            .upload(&input.bucket, &input.key, &input.upload_id)?
            .algorithm;
        let (bucket, key, version_id) = source_of(&input.copy_source)?;
        let source = self.open(bucket, key, version_id)?;
        let condition = ReadCondition {
            if_match: input.copy_source_if_match.clone(),
            if_none_match: input.copy_source_if_none_match.clone(),
            if_modified_since: input.copy_source_if_modified_since.clone(),
            if_unmodified_since: input.copy_source_if_unmodified_since.clone(),
        };
        condition.check_copy_source(&source.content.etag, &record::seconds_of(source.modified_ms))?;
        let bytes = source.content.bytes;
        let range = match &input.copy_source_range {
            None => 0..bytes,
            Some(text) => Range::parse(text)
                .ok()
                .and_then(|range| range.check(bytes).ok())
                .ok_or_else(|| {
                    s3_error!(
                        InvalidRange,
                        "The x-amz-copy-source-range value is not inside the source of {bytes} bytes"
                    )
                })?,
        };
        let stream = source.reader.stream(range).await.map_err(internal)?;
        let expected = Expected::nothing(algorithm.unwrap_or(Algorithm::DEFAULT));
        let received = self.bodies.receive(body::chunks_of(stream), expected).await?;
        let part = self.keep_part(
            &input.bucket,
            &input.key,
            &input.upload_id,
            input.part_number,
            received,
        )?;
        let sums = part.checksum.fields();
        let result = CopyPartResult {
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            e_tag: Some(ETag::Strong(checksum::hex(&part.md5))),
            last_modified: Some(record::seconds_of(part.modified_ms)),
        };
        Ok(UploadPartCopyOutput {
            copy_part_result: Some(result),
            copy_source_version_id: source.version_id,
            ..UploadPartCopyOutput::default()
        })
    }

    /// Adds a part to its upload, in place of an earlier one with the same number.
    fn keep_part(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        number: i32,
        received: Received,
    ) -> S3Result<Part> {
        let mut catalogue = self.lock();
        catalogue.upload(bucket, key, upload_id)?;
        let part = Part {
            bytes: received.bytes,
            md5: received.digests.md5,
            checksum: received.digests.checksum,
            modified_ms: self.clock.now_ms(),
            body: received.staged.keep(),
        };
        if self.state.is_durable() {
            let value = record::encode("part", &part).map_err(storage)?;
            let key = record::upload_key(upload_id, Some(number));
            self.state.put(Table::Uploads, &key, &value).map_err(storage)?;
        }
        let upload = catalogue.uploads.get_mut(upload_id);
        if let Some(replaced) = upload.and_then(|upload| upload.parts.insert(number, part.clone())) {
            self.bodies.discard_staged(&replaced.body);
        }
        Ok(part)
    }

    pub(super) fn abort_multipart_upload(
        &self,
        input: &AbortMultipartUploadInput,
    ) -> S3Result<AbortMultipartUploadOutput> {
        let mut catalogue = self.lock();
        catalogue.upload(&input.bucket, &input.key, &input.upload_id)?;
        let mut batch = self.state.batch();
        remove_upload(&self.state, &mut batch, &input.upload_id)
            .and_then(|()| batch.commit())
            .map_err(storage)?;
        let upload = catalogue.uploads.remove(&input.upload_id);
        drop(catalogue);
        for part in upload.iter().flat_map(|upload| upload.parts.values()) {
            self.bodies.discard_staged(&part.body);
        }
        Ok(AbortMultipartUploadOutput::default())
    }

    pub(super) fn list_parts(&self, input: ListPartsInput) -> S3Result<ListPartsOutput> {
        let limit = input.max_parts.unwrap_or(PAGE_MAX).clamp(0, PAGE_MAX);
        let after_exclusive = input.part_number_marker.unwrap_or(0);
        let catalogue = self.lock();
        let upload = catalogue.upload(&input.bucket, &input.key, &input.upload_id)?;
        let mut rest = upload.parts.range(after_exclusive.saturating_add(1)..).peekable();
        let parts: Vec<PartDto> = rest
            .by_ref()
            .take(usize::try_from(limit).unwrap_or(0))
            .map(|(number, part)| part_dto(*number, part))
            .collect();
        let is_truncated = limit > 0 && rest.peek().is_some();
        Ok(ListPartsOutput {
            checksum_algorithm: upload
                .algorithm
                .map(|algorithm| ChecksumAlgorithm::from_static(algorithm.name())),
            checksum_type: upload.algorithm.map(|_| upload.kind.dto()),
            is_truncated: Some(is_truncated),
            max_parts: Some(limit),
            next_part_number_marker: parts
                .last()
                .filter(|_| is_truncated)
                .and_then(|part| part.part_number),
            owner: Some(self.owner()),
            part_number_marker: Some(after_exclusive),
            parts: Some(parts),
            storage_class: upload.headers.storage_class_dto(),
            upload_id: Some(input.upload_id),
            bucket: Some(input.bucket),
            key: Some(input.key),
            ..ListPartsOutput::default()
        })
    }

    /// In the order of key and time; a page goes on behind (key marker, upload id marker).
    pub(super) fn list_multipart_uploads(
        &self,
        input: ListMultipartUploadsInput,
    ) -> S3Result<ListMultipartUploadsOutput> {
        if input
            .delimiter
            .as_ref()
            .is_some_and(|delimiter| !delimiter.is_empty())
        {
            return Err(s3_error!(
                NotImplemented,
                "local-cloud lists uploads without a delimiter only"
            ));
        }
        let limit = input.max_uploads.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let marker = input.key_marker.as_deref().unwrap_or_default();
        let id_marker = input.upload_id_marker.as_deref().filter(|id| !id.is_empty());
        let catalogue = self.lock();
        catalogue.bucket(&input.bucket)?;
        let mut uploads: Vec<(&String, &Upload)> = catalogue
            .uploads
            .iter()
            .filter(|(_, upload)| upload.bucket == input.bucket && upload.key.starts_with(prefix))
            .collect();
        uploads.sort_by_key(|(id, upload)| (&upload.key, upload.initiated_ms, *id));
        let listed_before = match id_marker {
            Some(id) => uploads
                .iter()
                .position(|(this, _)| *this == id)
                .map_or(0, |position| position + 1),
            None => {
                uploads.partition_point(|(_, upload)| !marker.is_empty() && upload.key.as_str() <= marker)
            }
        };
        let rest = &uploads[listed_before..];
        let page = &rest[..rest.len().min(usize::try_from(limit).unwrap_or(0))];
        let is_truncated = page.len() < rest.len();
        let last = page.last().filter(|_| is_truncated);
        Ok(ListMultipartUploadsOutput {
            is_truncated: Some(is_truncated),
            key_marker: Some(marker.to_owned()),
            max_uploads: Some(limit),
            next_key_marker: last.map(|(_, upload)| upload.key.clone()),
            next_upload_id_marker: last.map(|(id, _)| (*id).clone()),
            prefix: Some(prefix.to_owned()),
            upload_id_marker: input.upload_id_marker.clone(),
            uploads: Some(page.iter().map(|(id, upload)| upload_dto(id, upload)).collect()),
            bucket: Some(input.bucket),
            ..ListMultipartUploadsOutput::default()
        })
    }
}

fn check_part_number(number: i32) -> S3Result<()> {
    if (1..=PART_NUMBER_MAX).contains(&number) {
        return Ok(());
    }
    Err(s3_error!(
        InvalidArgument,
        "Part number must be an integer between 1 and {PART_NUMBER_MAX}, inclusive"
    ))
}

fn part_dto(number: i32, part: &Part) -> PartDto {
    let sums = part.checksum.fields();
    PartDto {
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        e_tag: Some(ETag::Strong(checksum::hex(&part.md5))),
        last_modified: Some(record::seconds_of(part.modified_ms)),
        part_number: Some(number),
        size: i64::try_from(part.bytes).ok(),
    }
}

fn upload_dto(id: &str, upload: &Upload) -> MultipartUpload {
    MultipartUpload {
        checksum_algorithm: upload
            .algorithm
            .map(|algorithm| ChecksumAlgorithm::from_static(algorithm.name())),
        checksum_type: upload.algorithm.map(|_| upload.kind.dto()),
        initiated: Some(record::seconds_of(upload.initiated_ms)),
        key: Some(upload.key.clone()),
        storage_class: upload.headers.storage_class_dto(),
        upload_id: Some(id.to_owned()),
        ..MultipartUpload::default()
    }
}
