//! `CompleteMultipartUpload`: from a list of parts to one object.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>

use s3s::dto::{CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart, ETag};
use s3s::{S3Result, s3_error};

use super::Backend;
use super::body::{Bodies, Reader, internal};
use super::checksum::{self, Algorithm, Checksum, sent_checksums};
use super::commit::NewObject;
use super::condition::WriteCondition;
use super::notification::Event;
use super::record::{Headers, Part, Upload};

/// Of every part but the last.
const PART_BYTES_MIN: u64 = 5 * 1024 * 1024;
impl Backend {
    /// Checks the client's list of parts against what was uploaded, joins them, and commits.
    pub(super) async fn complete_multipart_upload(
        &self,
        mut input: CompleteMultipartUploadInput,
    ) -> S3Result<CompleteMultipartUploadOutput> {
        let condition = WriteCondition::new(input.if_match.take(), input.if_none_match.as_ref())?;
        let listed = input
            .multipart_upload
            .take()
            .and_then(|upload| upload.parts)
            .unwrap_or_default();
        let Joined {
            headers,
            tags,
            etag,
            checksum,
            part_bytes,
            readers,
        } = {
            let catalogue = self.lock();
            let upload = catalogue.upload(&input.bucket, &input.key, &input.upload_id)?;
            join(&self.bodies, &input, upload, &listed)?
        };
        let bytes = part_bytes.iter().sum();
        // A part that was replaced in the meantime is gone, and so is the list that named it.
        let staged = self.bodies.concatenate(readers).await.map_err(internal)?;
        let (sums, encryption_dto) = (checksum.fields(), headers.encryption_dto());
        let kms_key_id = headers.encryption.kms_key_id.clone();
        let committed = self.commit(NewObject {
            bucket: &input.bucket,
            key: &input.key,
            bytes,
            etag: etag.clone(),
            checksum,
            headers,
            tags,
            part_bytes,
            staged,
            condition,
            event: Event::CompleteMultipartUpload,
            upload_id: Some(&input.upload_id),
        })?;
        Ok(CompleteMultipartUploadOutput {
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            checksum_type: sums.checksum_type,
            e_tag: Some(ETag::Strong(etag)),
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            server_side_encryption: Some(encryption_dto),
            ssekms_key_id: kms_key_id,
            version_id: committed.version_id,
            ..CompleteMultipartUploadOutput::default()
        })
    }
}

/// What the parts of an upload come to.
struct Joined {
    headers: Headers,
    tags: Vec<(String, String)>,
    etag: String,
    checksum: Checksum,
    part_bytes: Vec<u64>,
    readers: Vec<(Reader, u64)>,
}

fn join(
    bodies: &Bodies,
    input: &CompleteMultipartUploadInput,
    upload: &Upload,
    listed: &[CompletedPart],
) -> S3Result<Joined> {
    let parts = listed_parts(upload, listed)?;
    let part_bytes: Vec<u64> = parts.iter().map(|part| part.bytes).collect();
    let total: u64 = part_bytes.iter().sum();
    if input
        .mpu_object_size
        .is_some_and(|announced| u64::try_from(announced) != Ok(total))
    {
        return Err(s3_error!(
            InvalidRequest,
            "The provided 'x-amz-mp-object-size' header value does not match what was computed: {total}"
        ));
    }
    let algorithm = upload.algorithm.unwrap_or(Algorithm::DEFAULT);
    let checksums: Vec<(&Checksum, u64)> = parts.iter().map(|part| (&part.checksum, part.bytes)).collect();
    // Parts may bring checksums that their upload did not ask for; only the first one's kind is
    // certain to cover all of them then.
    let algorithm = if upload.algorithm.is_some() {
        algorithm
    } else {
        parts[0].checksum.algorithm
    };
    let kind = if algorithm.supports(upload.kind) {
        upload.kind
    } else {
        algorithm.default_kind()
    };
    let checksum = Checksum::of_parts(algorithm, kind, &checksums)?;
    if let Some((sent_algorithm, sent)) = checksum::single(sent_checksums!(input))?
        && (sent_algorithm != algorithm || without_count(&sent) != without_count(&checksum.value))
    {
        let name = sent_algorithm.name();
        return Err(s3_error!(
            BadDigest,
            "The {name} you specified did not match the calculated checksum."
        ));
    }
    let md5s: Vec<[u8; 16]> = parts.iter().map(|part| part.md5).collect();
    let readers = parts
        .iter()
        .map(|part| {
            Ok((
                bodies
                    .open(&upload.bucket, &upload.key, &part.body)
                    .map_err(internal)?,
                part.bytes,
            ))
        })
        .collect::<S3Result<_>>()?;
    Ok(Joined {
        headers: upload.headers.clone(),
        tags: upload.tags.clone(),
        etag: checksum::multipart_etag(&md5s),
        checksum,
        part_bytes,
        readers,
    })
}

/// The parts that the client lists: in ascending order, as they were uploaded, and large enough.
fn listed_parts<'a>(upload: &'a Upload, listed: &[CompletedPart]) -> S3Result<Vec<&'a Part>> {
    if listed.is_empty() {
        return Err(s3_error!(MalformedXML, "You must specify at least one part"));
    }
    let mut parts = Vec::with_capacity(listed.len());
    let mut previous = 0;
    for completed in listed {
        let number = completed.part_number.unwrap_or_default();
        if number <= previous {
            return Err(s3_error!(
                InvalidPartOrder,
                "The list of parts was not in ascending order."
            ));
        }
        previous = number;
        let invalid = || {
            s3_error!(
                InvalidPart,
                "One or more of the specified parts could not be found: part {number} was not uploaded, or its entity \
                 tag or checksum does not match."
            )
        };
        let part = upload.parts.get(&number).ok_or_else(invalid)?;
        let etag_matches = completed
            .e_tag
            .as_ref()
            .is_none_or(|etag| etag.value() == checksum::hex(&part.md5));
        let sent = checksum::single(sent_checksums!(completed))?;
        let checksum_matches = sent.is_none_or(|(algorithm, value)| {
            algorithm == part.checksum.algorithm && value == part.checksum.value
        });
        if !etag_matches || !checksum_matches {
            return Err(invalid());
        }
        parts.push(part);
    }
    let all_but_last = &parts[..parts.len() - 1];
    if all_but_last.iter().any(|part| part.bytes < PART_BYTES_MIN) {
        return Err(s3_error!(
            EntityTooSmall,
            "Your proposed upload is smaller than the minimum allowed size"
        ));
    }
    Ok(parts)
}

/// Clients send a composite checksum with or without the number of parts.
fn without_count(value: &str) -> &str {
    value.split_once('-').map_or(value, |(digest, _)| digest)
}
