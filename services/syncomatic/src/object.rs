//! What each side stores under a key, as far as convergence needs it.

use aws_clients::{Failure, classify};
use aws_sdk_s3::Client;
use aws_sdk_s3::types::{ChecksumMode, ChecksumType};

use crate::failure::{At, CallFailure};
use crate::verify::{MARKER, OUTPUT};

/// An object of the source bucket, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceObject {
    /// With its quotes, as conditions take it.
    pub(crate) etag: String,
    /// In a bucket that has versions.
    pub(crate) version_id: Option<String>,
    /// Bytes.
    pub(crate) size: u64,
    /// Of the full object, in base64.
    pub(crate) crc64_nvme: Option<String>,
}

/// An object of the destination bucket, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DestinationObject {
    /// With its quotes, as conditions take it.
    pub(crate) etag: String,
    /// Bytes.
    pub(crate) size: u64,
    /// Of the full object, in base64.
    pub(crate) crc64_nvme: Option<String>,
    /// What a copy of ours wrote about its source.
    pub(crate) marker: Option<String>,
    /// What a redacted copy of ours wrote about itself.
    pub(crate) output: Option<String>,
}

/// The source object, or `None` where there is none.
pub(crate) async fn head_source(
    client: &Client,
    bucket: &str,
    key: &str,
) -> Result<Option<SourceObject>, CallFailure> {
    let Some(mut head) = head(At::Source, client, bucket, key).await? else {
        return Ok(None);
    };
    let version_id = head.output.version_id.take();
    Ok(Some(SourceObject {
        etag: head.etag,
        version_id,
        size: head.size,
        crc64_nvme: head.crc64_nvme,
    }))
}

/// The destination object, or `None` where there is none.
pub(crate) async fn head_destination(
    client: &Client,
    bucket: &str,
    key: &str,
) -> Result<Option<DestinationObject>, CallFailure> {
    let Some(head) = head(At::Destination, client, bucket, key).await? else {
        return Ok(None);
    };
    let mut metadata = head.output.metadata.unwrap_or_default();
    let (marker, output) = (metadata.remove(MARKER), metadata.remove(OUTPUT));
    Ok(Some(DestinationObject {
        etag: head.etag,
        size: head.size,
        crc64_nvme: head.crc64_nvme,
        marker,
        output,
    }))
}

struct Head {
    etag: String,
    size: u64,
    crc64_nvme: Option<String>,
    output: aws_sdk_s3::operation::head_object::HeadObjectOutput,
}

async fn head(at: At, client: &Client, bucket: &str, key: &str) -> Result<Option<Head>, CallFailure> {
    const OPERATION: &str = "HeadObject";
    let request = client
        .head_object()
        .bucket(bucket)
        .key(key)
        .checksum_mode(ChecksumMode::Enabled);
    let mut output = match request.send().await {
        Ok(output) => output,
        Err(error) if classify(&error) == Failure::NotFound => return Ok(None),
        Err(error) => return Err(CallFailure::new(at, OPERATION, &error)),
    };
    let etag = output
        .e_tag
        .take()
        .ok_or_else(|| CallFailure::incomplete(at, OPERATION, "ETag"))?;
    let size = output
        .content_length
        .and_then(|length| u64::try_from(length).ok());
    let size = size.ok_or_else(|| CallFailure::incomplete(at, OPERATION, "Content-Length"))?;
    let crc64_nvme = match output.checksum_type {
        Some(ChecksumType::Composite) => None,
        _ => output.checksum_crc64_nvme.take(),
    };
    Ok(Some(Head {
        etag,
        size,
        crc64_nvme,
        output,
    }))
}

/// Fails unless the bucket is there: `HeadObject` answers 404 for a missing bucket too.
pub(crate) async fn require_bucket(
    at: At,
    client: &Client,
    bucket: &str,
) -> Result<Option<String>, CallFailure> {
    let answer = client.head_bucket().bucket(bucket).send().await;
    let output = answer.map_err(|error| CallFailure::new(at, "HeadBucket", &error))?;
    Ok(output.bucket_region)
}
