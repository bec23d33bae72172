//! `GetObject` and `HeadObject`.

use std::ops::Range as Bytes;

use s3s::dto::{
    Checksum, ChecksumMode, ETag, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, Range,
    StreamingBlob,
};
use s3s::header;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use http::{HeaderMap, HeaderValue, StatusCode};

use super::Backend;
use super::body::{Reader, internal};
use super::catalogue::no_such_key;
use super::condition::{self, ReadCondition, Verdict};
use super::record::{self, Content, Version, Versioning};

/// A version, opened for reading.
pub(super) struct OpenObject {
    pub(super) content: Content,
    pub(super) modified_ms: u64,
    /// `None` when the bucket never had versioning.
    pub(super) version_id: Option<String>,
    pub(super) reader: Reader,
}

impl Backend {
    /// Opens a key's current version, or the one that is named. From here on it is read whole,
    /// whatever happens to the key.
    pub(super) fn open(
        &self,
        bucket_name: &str,
        key: &str,
        version_id: Option<&str>,
    ) -> S3Result<OpenObject> {
        let catalogue = self.lock();
        let bucket = catalogue.bucket(bucket_name)?;
        let versions = bucket.keys.get(key);
        let version = select(versions.map(Vec::as_slice), version_id)?;
        let Some(content) = &version.content else {
            return Err(is_delete_marker(version_id.is_some(), version.id()));
        };
        let reader = self
            .bodies
            .open(bucket_name, key, &content.body)
            .map_err(internal)?;
        let versioned = bucket.settings.versioning != Versioning::Never;
        Ok(OpenObject {
            content: content.clone(),
            modified_ms: version.modified_ms,
            version_id: versioned.then(|| version.id().to_owned()),
            reader,
        })
    }

    pub(super) async fn get_object(&self, input: GetObjectInput) -> S3Result<GetObjectOutput> {
        let object = self.open(&input.bucket, &input.key, input.version_id.as_deref())?;
        let condition = ReadCondition {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
            if_unmodified_since: input.if_unmodified_since,
        };
        let answer = describe(
            object,
            &condition,
            input.range,
            input.part_number,
            input.checksum_mode.as_ref(),
        )?;
        let (head, reader, range) = answer;
        let body: StreamingBlob = reader.stream(range).await.map_err(internal)?;
        let tags = i32::try_from(head.tag_count).ok().filter(|count| *count > 0);
        let head = head.output;
        Ok(GetObjectOutput {
            body: Some(body),
            tag_count: tags,
            accept_ranges: head.accept_ranges,
            bucket_key_enabled: head.bucket_key_enabled,
            cache_control: head.cache_control,
            checksum_crc32: head.checksum_crc32,
            checksum_crc32c: head.checksum_crc32c,
            checksum_crc64nvme: head.checksum_crc64nvme,
            checksum_sha1: head.checksum_sha1,
            checksum_sha256: head.checksum_sha256,
            checksum_type: head.checksum_type,
            content_disposition: head.content_disposition,
            content_encoding: head.content_encoding,
            content_language: head.content_language,
            content_length: head.content_length,
            content_range: head.content_range,
            content_type: head.content_type,
            e_tag: head.e_tag,
            expires: head.expires,
            last_modified: head.last_modified,
            metadata: head.metadata,
            parts_count: head.parts_count,
            ssekms_key_id: head.ssekms_key_id,
            server_side_encryption: head.server_side_encryption,
            storage_class: head.storage_class,
            version_id: head.version_id,
            website_redirect_location: head.website_redirect_location,
            ..GetObjectOutput::default()
        })
    }

    pub(super) fn head_object(&self, input: HeadObjectInput) -> S3Result<HeadObjectOutput> {
        let object = self.open(&input.bucket, &input.key, input.version_id.as_deref())?;
        let condition = ReadCondition {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
            if_unmodified_since: input.if_unmodified_since,
        };
        let answer = describe(
            object,
            &condition,
            input.range,
            input.part_number,
            input.checksum_mode.as_ref(),
        )?;
        Ok(answer.0.output)
    }
}

/// What GET and HEAD say alike.
struct Head {
    output: HeadObjectOutput,
    tag_count: usize,
}

/// Conditions, then the range, then the headers.
fn describe(
    object: OpenObject,
    condition: &ReadCondition,
    range: Option<Range>,
    part_number: Option<i32>,
    checksum_mode: Option<&ChecksumMode>,
) -> S3Result<(Head, Reader, Bytes<u64>)> {
    let OpenObject {
        content,
        modified_ms,
        version_id,
        reader,
    } = object;
    let modified = record::seconds_of(modified_ms);
    match condition.evaluate(&content.etag, &modified) {
        Verdict::Proceed => {}
        Verdict::Failed(header) => return Err(condition::failed(header)),
        Verdict::NotModified => return Err(not_modified(&content.etag)),
    }
    let selected = select_bytes(&content, range, part_number)?;
    let range = selected.clone().unwrap_or(0..content.bytes);
    let content_range = selected
        .as_ref()
        .map(|range| format!("bytes {}-{}/{}", range.start, range.end - 1, content.bytes));
    // The stored checksum is that of the whole object.
    let wants_checksum = checksum_mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED);
    let sums = if wants_checksum && selected.is_none() {
        content.checksum.fields()
    } else {
        Checksum::default()
    };
    let parts_count = part_number
        .and_then(|_| i32::try_from(content.part_bytes.len()).ok())
        .filter(|count| *count > 0);
    let headers = content.headers;
    let output = HeadObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        server_side_encryption: Some(headers.encryption_dto()),
        storage_class: headers.storage_class_dto(),
        bucket_key_enabled: headers.encryption.bucket_key_enabled,
        ssekms_key_id: headers.encryption.kms_key_id,
        cache_control: headers.cache_control,
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        checksum_type: sums.checksum_type,
        content_disposition: headers.content_disposition,
        content_encoding: headers.content_encoding,
        content_language: headers.content_language,
        content_length: i64::try_from(range.end - range.start).ok(),
        content_range,
        // What S3 says of an object that came without one.
        content_type: Some(
            headers
                .content_type
                .unwrap_or_else(|| "binary/octet-stream".to_owned()),
        ),
        e_tag: Some(ETag::Strong(content.etag)),
        expires: headers.expires,
        last_modified: Some(modified),
        metadata: Some(headers.metadata.into_iter().collect()),
        parts_count,
        version_id,
        website_redirect_location: headers.website_redirect_location,
        ..HeadObjectOutput::default()
    };
    Ok((
        Head {
            output,
            tag_count: content.tags.len(),
        },
        reader,
        range,
    ))
}

/// The bytes that a range or part number asks for; `None` is the whole object.
fn select_bytes(content: &Content, range: Option<Range>, part: Option<i32>) -> S3Result<Option<Bytes<u64>>> {
    match (range, part) {
        (Some(_), Some(_)) => Err(s3_error!(
            InvalidRequest,
            "Cannot specify both Range header and partNumber query parameter."
        )),
        (Some(range), None) => {
            let selected = range.check(content.bytes).ok().filter(|range| !range.is_empty());
            selected
                .map(Some)
                .ok_or_else(|| s3_error!(InvalidRange, "The requested range is not satisfiable"))
        }
        (None, Some(part)) => select_part(content, part),
        (None, None) => Ok(None),
    }
}

fn select_part(content: &Content, part: i32) -> S3Result<Option<Bytes<u64>>> {
    let index = usize::try_from(part).ok().and_then(|part| part.checked_sub(1));
    let index = index.ok_or_else(|| {
        s3_error!(
            InvalidArgument,
            "Part number must be an integer between 1 and 10000"
        )
    })?;
    if content.part_bytes.is_empty() && index == 0 {
        // An object that was put in one piece is its own first part.
        return Ok((content.bytes > 0).then_some(0..content.bytes));
    }
    let Some(length) = content.part_bytes.get(index) else {
        let mut error = S3Error::with_message(
            S3ErrorCode::Custom("InvalidPartNumber".into()),
            "The requested partnumber is not satisfiable",
        );
        error.set_status_code(StatusCode::RANGE_NOT_SATISFIABLE);
        return Err(error);
    };
    let start: u64 = content.part_bytes[..index].iter().sum();
    Ok(Some(start..start + length))
}

/// The version that is named, or the current one.
pub(super) fn select<'a>(versions: Option<&'a [Version]>, version_id: Option<&str>) -> S3Result<&'a Version> {
    let versions = versions.unwrap_or_default();
    match version_id {
        Some(version_id) => versions
            .iter()
            .find(|version| version.id() == version_id)
            .ok_or_else(no_such_version),
        None => versions.last().ok_or_else(no_such_key),
    }
}

pub(super) fn no_such_version() -> S3Error {
    s3_error!(NoSuchVersion, "The specified version does not exist.")
}

/// A delete marker cannot be read: it hides the key, and asked for by its id it is the wrong thing.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html>
pub(super) fn is_delete_marker(named: bool, version_id: &str) -> S3Error {
    let mut error = if named {
        s3_error!(
            MethodNotAllowed,
            "The specified method is not allowed against this resource."
        )
    } else {
        no_such_key()
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::X_AMZ_DELETE_MARKER, HeaderValue::from_static("true"));
    if let Ok(value) = HeaderValue::try_from(version_id) {
        headers.insert(header::X_AMZ_VERSION_ID, value);
    }
    error.set_headers(headers);
    error
}

fn not_modified(etag: &str) -> S3Error {
    let mut error = s3_error!(NotModified, "Not Modified");
    error.set_status_code(StatusCode::NOT_MODIFIED);
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::try_from(format!("\"{etag}\"")) {
        headers.insert(http::header::ETAG, value);
    }
    error.set_headers(headers);
    error
}
