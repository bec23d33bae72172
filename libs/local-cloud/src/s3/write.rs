//! `PutObject` and `CopyObject`.

use std::collections::BTreeMap;

use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, ETag, MetadataDirective,
    ObjectCannedACL, PutObjectInput, PutObjectOutput, ServerSideEncryption, StorageClass, TaggingDirective,
};
use s3s::{S3Request, S3Result, s3_error};

use super::Backend;
use super::body::{self, internal};
use super::checksum::{self, Algorithm, Expected, sent_checksums};
use super::commit::NewObject;
use super::condition::{ReadCondition, WriteCondition};
use super::notification::Event;
use super::record::{self, Encryption, Headers};
use super::tagging;

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>
const METADATA_BYTES_MAX: usize = 2048;

/// What the inputs of the three operations that begin an object say about it.
macro_rules! headers_of {
    ($input:expr) => {{
        let input = &$input;
        $crate::s3::write::refuse_unemulated(
            input.acl.as_ref(),
            input.sse_customer_algorithm.is_some(),
            input.object_lock_mode.is_some() || input.object_lock_legal_hold_status.is_some(),
        )
        .and_then(|()| {
            $crate::s3::write::checked(Headers {
                content_type: input.content_type.clone(),
                content_encoding: $crate::s3::write::stored_encoding(input.content_encoding.as_deref()),
                content_disposition: input.content_disposition.clone(),
                content_language: input.content_language.clone(),
                cache_control: input.cache_control.clone(),
                expires: input.expires.clone(),
                website_redirect_location: input.website_redirect_location.clone(),
                metadata: input.metadata.clone().unwrap_or_default().into_iter().collect(),
                storage_class: input
                    .storage_class
                    .as_ref()
                    .map(|class| class.as_str().to_owned()),
                encryption: Encryption {
                    algorithm: input
                        .server_side_encryption
                        .as_ref()
                        .map(|name| name.as_str().to_owned()),
                    kms_key_id: input.ssekms_key_id.clone(),
                    bucket_key_enabled: input.bucket_key_enabled,
                },
            })
        })
    }};
}
pub(super) use headers_of;

/// What would change the meaning of the request when it were ignored.
pub(super) fn refuse_unemulated(
    acl: Option<&ObjectCannedACL>,
    customer_key: bool,
    lock: bool,
) -> S3Result<()> {
    if customer_key {
        return Err(s3_error!(
            NotImplemented,
            "local-cloud has no encryption with customer keys"
        ));
    }
    if lock {
        return Err(s3_error!(NotImplemented, "local-cloud has no object lock"));
    }
    // New buckets have ACLs switched off, and then take only these two.
    match acl.map(ObjectCannedACL::as_str) {
        None | Some(ObjectCannedACL::BUCKET_OWNER_FULL_CONTROL | ObjectCannedACL::PRIVATE) => Ok(()),
        Some(_) => Err(s3_error!(
            AccessControlListNotSupported,
            "The bucket does not allow ACLs"
        )),
    }
}

pub(super) fn checked(headers: Headers) -> S3Result<Headers> {
    let bytes: usize = headers
        .metadata
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > METADATA_BYTES_MAX {
        return Err(s3_error!(
            MetadataTooLarge,
            "Your metadata headers exceed the maximum allowed metadata size: {bytes} of {METADATA_BYTES_MAX} bytes"
        ));
    }
    Ok(headers)
}

/// `aws-chunked` says how the request was framed and is not part of the object.
pub(super) fn stored_encoding(sent: Option<&str>) -> Option<String> {
    let kept: Vec<&str> = sent?
        .split(',')
        .map(str::trim)
        .filter(|coding| !coding.is_empty() && *coding != "aws-chunked")
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

impl Headers {
    pub(super) fn encryption_dto(&self) -> ServerSideEncryption {
        // S3 has encrypted everything since 2023, with keys of its own unless told otherwise.
        let name = self.encryption.algorithm.clone();
        name.map_or_else(
            || ServerSideEncryption::from_static(ServerSideEncryption::AES256),
            ServerSideEncryption::from,
        )
    }

    /// S3 leaves the standard class out of the headers.
    pub(super) fn storage_class_dto(&self) -> Option<StorageClass> {
        self.storage_class
            .clone()
            .filter(|class| class != StorageClass::STANDARD)
            .map(StorageClass::from)
    }
}

impl Backend {
    pub(super) async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<PutObjectOutput> {
        let mut input = request.input;
        let condition = WriteCondition::new(input.if_match.take(), input.if_none_match.as_ref())?;
        if input.write_offset_bytes.is_some() {
            return Err(s3_error!(
                NotImplemented,
                "local-cloud does not append to objects"
            ));
        }
        let headers = headers_of!(input)?;
        let tags = tagging::parse_header(input.tagging.as_deref())?;
        let expected = Expected::of(
            sent_checksums!(input),
            input.checksum_algorithm.as_ref(),
            request.trailing_headers,
            input.content_md5.as_deref(),
            Algorithm::DEFAULT,
        )?;
        // Refuse early what can only fail; the commit decides.
        self.lock().bucket(&input.bucket)?;
        let stream = input
            .body
            .take()
            .ok_or_else(|| s3_error!(IncompleteBody, "The request has no body."))?;
        let received = self.bodies.receive(stream, expected).await?;

        let (encryption, encryption_dto) = (headers.encryption.clone(), headers.encryption_dto());
        let etag = checksum::hex(&received.digests.md5);
        let sums = received.digests.checksum.fields();
        let committed = self.commit(NewObject {
            bucket: &input.bucket,
            key: &input.key,
            bytes: received.bytes,
            etag: etag.clone(),
            checksum: received.digests.checksum,
            headers,
            tags,
            part_bytes: Vec::new(),
            staged: received.staged,
            condition,
            event: Event::Put,
            upload_id: None,
        })?;
        Ok(PutObjectOutput {
            e_tag: Some(ETag::Strong(etag)),
            version_id: committed.version_id,
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            checksum_type: sums.checksum_type,
            server_side_encryption: Some(encryption_dto),
            ssekms_key_id: encryption.kms_key_id,
            bucket_key_enabled: encryption.bucket_key_enabled,
            ..PutObjectOutput::default()
        })
    }

    /// Copies byte by byte, as S3 does: the copy has the ETag of its bytes, also when the source
    /// was uploaded in parts.
    pub(super) async fn copy_object(&self, input: CopyObjectInput) -> S3Result<CopyObjectOutput> {
        let (source_bucket, source_key, source_version) = source_of(&input.copy_source)?;
        let condition = ReadCondition {
            if_match: input.copy_source_if_match.clone(),
            if_none_match: input.copy_source_if_none_match.clone(),
            if_modified_since: input.copy_source_if_modified_since.clone(),
            if_unmodified_since: input.copy_source_if_unmodified_since.clone(),
        };
        let source = self.open(source_bucket, source_key, source_version)?;
        condition.check_copy_source(&source.content.etag, &record::seconds_of(source.modified_ms))?;
        let is_replaced = |directive: Option<&str>| directive == Some(MetadataDirective::REPLACE);
        let replace_metadata = is_replaced(input.metadata_directive.as_ref().map(MetadataDirective::as_str));
        let replace_tags = is_replaced(input.tagging_directive.as_ref().map(TaggingDirective::as_str));
        let sent = headers_of!(input)?;
        if source_bucket == input.bucket && source_key == input.key && source_version.is_none() {
            refuse_empty_self_copy(replace_metadata, &sent)?;
        }
        let headers = copied_headers(replace_metadata, sent, &source.content.headers);
        let tags = if replace_tags {
            tagging::parse_header(input.tagging.as_deref())?
        } else {
            source.content.tags.clone()
        };
        let algorithm = match &input.checksum_algorithm {
            Some(name) => Algorithm::parse(name)?,
            None => source.content.checksum.algorithm,
        };
        self.lock().bucket(&input.bucket)?;
        let stream = source
            .reader
            .stream(0..source.content.bytes)
            .await
            .map_err(internal)?;
        let received = self
            .bodies
            .receive(body::chunks_of(stream), Expected::nothing(algorithm))
            .await?;

        let (encryption, encryption_dto) = (headers.encryption.clone(), headers.encryption_dto());
        let etag = checksum::hex(&received.digests.md5);
        let sums = received.digests.checksum.fields();
        let committed = self.commit(NewObject {
            bucket: &input.bucket,
            key: &input.key,
            bytes: received.bytes,
            etag: etag.clone(),
            checksum: received.digests.checksum,
            headers,
            tags,
            part_bytes: Vec::new(),
            staged: received.staged,
            condition: WriteCondition::default(),
            event: Event::Copy,
            upload_id: None,
        })?;
        let result = CopyObjectResult {
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            checksum_type: sums.checksum_type,
            e_tag: Some(ETag::Strong(etag)),
            last_modified: Some(record::seconds_of(committed.modified_ms)),
        };
        Ok(CopyObjectOutput {
            copy_object_result: Some(result),
            copy_source_version_id: source.version_id,
            version_id: committed.version_id,
            server_side_encryption: Some(encryption_dto),
            ssekms_key_id: encryption.kms_key_id,
            bucket_key_enabled: encryption.bucket_key_enabled,
            ..CopyObjectOutput::default()
        })
    }
}

/// Bucket, key and version of a copy's source.
pub(super) fn source_of(source: &CopySource) -> S3Result<(&str, &str, Option<&str>)> {
    match source {
        CopySource::Bucket {
            bucket,
            key,
            version_id,
        } => Ok((bucket, key, version_id.as_deref())),
        CopySource::AccessPoint { .. } | CopySource::Outpost { .. } => Err(s3_error!(
            NotImplemented,
            "local-cloud has neither access points nor outposts"
        )),
    }
}

fn refuse_empty_self_copy(replace_metadata: bool, sent: &Headers) -> S3Result<()> {
    let changes = replace_metadata
        || sent.storage_class.is_some()
        || sent.encryption.algorithm.is_some()
        || sent.website_redirect_location.is_some();
    if changes {
        return Ok(());
    }
    Err(s3_error!(
        InvalidRequest,
        "This copy request is illegal because it is trying to copy an object to itself without changing the object's \
         metadata, storage class, website redirect location or encryption attributes."
    ))
}

/// Storage class, encryption and redirect are always the request's, never the source's.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>
fn copied_headers(replace: bool, sent: Headers, source: &Headers) -> Headers {
    if replace {
        return sent;
    }
    Headers {
        storage_class: sent.storage_class,
        encryption: sent.encryption,
        website_redirect_location: sent.website_redirect_location,
        metadata: BTreeMap::clone(&source.metadata),
        ..source.clone()
    }
}
