//! Multipart uploads.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html>

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart,
};

use crate::{Target, refusal};

/// The smallest part that may stand before another.
const PART_BYTES: usize = 5 * 1024 * 1024;

struct Upload<'a> {
    target: &'a Target,
    bucket: &'a str,
    id: String,
}

impl<'a> Upload<'a> {
    async fn begin(target: &'a Target, bucket: &'a str) -> Self {
        let create = target
            .s3
            .create_multipart_upload()
            .bucket(bucket)
            .key("key")
            .metadata("m", "1")
            .tagging("t=1");
        let create = create
            .content_type("text/plain")
            .checksum_algorithm(ChecksumAlgorithm::Crc32);
        let id = create.send().await.expect("an upload").upload_id.expect("its id");
        Self { target, bucket, id }
    }

    async fn part(&self, number: i32, bytes: Vec<u8>) -> CompletedPart {
        let upload = self
            .target
            .s3
            .upload_part()
            .bucket(self.bucket)
            .key("key")
            .upload_id(&self.id);
        let upload = upload
            .part_number(number)
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .body(bytes.into());
        let part = upload.send().await.expect("a part");
        let completed = CompletedPart::builder().part_number(number).set_e_tag(part.e_tag);
        completed.set_checksum_crc32(part.checksum_crc32).build()
    }

    fn complete(
        &self,
        parts: Vec<CompletedPart>,
    ) -> aws_sdk_s3::operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder
    {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = self
            .target
            .s3
            .complete_multipart_upload()
            .bucket(self.bucket)
            .key("key");
        complete.upload_id(&self.id).multipart_upload(parts)
    }
}

#[tokio::test]
async fn parts_become_one_object() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    let upload = Upload::begin(&target, &bucket).await;
    // Uploaded out of order, and one of them twice.
    let second = upload.part(7, b"tail".to_vec()).await;
    upload.part(2, vec![b'x'; PART_BYTES]).await;
    let first = upload.part(2, vec![b'a'; PART_BYTES]).await;
    let listed = target
        .s3
        .list_parts()
        .bucket(&bucket)
        .key("key")
        .upload_id(&upload.id)
        .send()
        .await
        .expect("parts");
    let numbers: Vec<_> = listed
        .parts()
        .iter()
        .map(|part| (part.part_number(), part.size()))
        .collect();
    assert_eq!(numbers, [(Some(2), Some(PART_BYTES as i64)), (Some(7), Some(4))]);
    let uploads = target
        .s3
        .list_multipart_uploads()
        .bucket(&bucket)
        .send()
        .await
        .expect("uploads");
    assert_eq!(uploads.uploads()[0].upload_id(), Some(upload.id.as_str()));
    assert_eq!(
        refusal(target.s3.head_object().bucket(&bucket).key("key").send().await).0,
        404,
        "not yet visible"
    );

    let completed = upload
        .complete(vec![first, second])
        .send()
        .await
        .expect("completed");
    let etag = completed.e_tag().expect("an ETag").to_owned();
    assert!(etag.ends_with("-2\""), "{etag}");
    assert!(
        completed
            .checksum_crc32()
            .is_some_and(|checksum| checksum.ends_with("-2")),
        "composite"
    );

    let head = target
        .s3
        .head_object()
        .bucket(&bucket)
        .key("key")
        .checksum_mode(ChecksumMode::Enabled)
        .send();
    let head = head.await.expect("the object");
    assert_eq!(head.e_tag(), Some(etag.as_str()));
    assert_eq!(head.content_type(), Some("text/plain"));
    assert_eq!(
        head.metadata().map(|metadata| metadata["m"].clone()),
        Some("1".to_owned())
    );
    assert_eq!(head.checksum_type(), Some(&ChecksumType::Composite));
    let mut expected = vec![b'a'; PART_BYTES];
    expected.extend_from_slice(b"tail");
    assert!(
        target.get(&bucket, "key").await == expected,
        "the parts in the order of their numbers"
    );
    let part = target
        .s3
        .get_object()
        .bucket(&bucket)
        .key("key")
        .part_number(2)
        .send()
        .await
        .expect("a part");
    assert_eq!(part.parts_count(), Some(2));
    assert_eq!(part.body.collect().await.expect("bytes").to_vec(), b"tail");
    let gone = target
        .s3
        .list_parts()
        .bucket(&bucket)
        .key("key")
        .upload_id(&upload.id)
        .send()
        .await;
    assert_eq!(refusal(gone), (404, "NoSuchUpload".into()));
}

#[tokio::test]
async fn a_wrong_list_of_parts_is_refused() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    let upload = Upload::begin(&target, &bucket).await;
    let small = upload.part(1, b"small".to_vec()).await;
    let last = upload.part(2, b"last".to_vec()).await;
    let other = CompletedPart::builder()
        .part_number(2)
        .e_tag("\"00000000000000000000000000000000\"")
        .build();
    let absent = CompletedPart::builder()
        .part_number(3)
        .set_e_tag(last.e_tag.clone())
        .build();
    for (parts, code) in [
        (vec![], "MalformedXML"),
        (vec![last.clone(), small.clone()], "InvalidPartOrder"),
        (vec![small.clone(), small.clone()], "InvalidPartOrder"),
        (vec![small.clone(), other], "InvalidPart"),
        (vec![absent], "InvalidPart"),
        (vec![small.clone(), last.clone()], "EntityTooSmall"),
    ] {
        let count = parts.len();
        assert_eq!(
            refusal(upload.complete(parts).send().await),
            (400, code.into()),
            "{count} parts"
        );
    }
    let complete = upload
        .complete(vec![last.clone()])
        .checksum_crc32("AAAAAA==")
        .send()
        .await;
    assert_eq!(refusal(complete), (400, "BadDigest".into()));
    // After all these the upload still stands.
    upload.complete(vec![last]).send().await.expect("completed");
    assert_eq!(target.get(&bucket, "key").await, b"last");
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>
#[tokio::test]
async fn completing_can_be_conditional() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    let upload = Upload::begin(&target, &bucket).await;
    let part = upload.part(1, b"multipart".to_vec()).await;
    let missing = upload.complete(vec![part.clone()]).if_match("\"x\"").send().await;
    assert_eq!(refusal(missing), (404, "NoSuchKey".into()));
    let etag = target.put(&bucket, "key", b"there").await;
    let there = upload
        .complete(vec![part.clone()])
        .if_none_match("*")
        .send()
        .await;
    assert_eq!(refusal(there), (412, "PreconditionFailed".into()));
    assert_eq!(target.get(&bucket, "key").await, b"there");
    upload
        .complete(vec![part])
        .if_match(etag)
        .send()
        .await
        .expect("it matches");
    assert_eq!(target.get(&bucket, "key").await, b"multipart");
}

#[tokio::test]
async fn an_aborted_upload_is_gone() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    let upload = Upload::begin(&target, &bucket).await;
    let part = upload.part(1, b"x".to_vec()).await;
    let abort = || {
        target
            .s3
            .abort_multipart_upload()
            .bucket(&bucket)
            .key("key")
            .upload_id(&upload.id)
            .send()
    };
    abort().await.expect("aborted");
    assert_eq!(refusal(abort().await), (404, "NoSuchUpload".into()));
    assert_eq!(
        refusal(upload.complete(vec![part]).send().await),
        (404, "NoSuchUpload".into())
    );
    let late = target
        .s3
        .upload_part()
        .bucket(&bucket)
        .key("key")
        .upload_id(&upload.id)
        .part_number(2);
    let late = late.body(ByteStream::from_static(b"late")).send().await;
    assert_eq!(refusal(late), (404, "NoSuchUpload".into()));
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html>
#[tokio::test]
async fn parts_can_be_copied_and_checksummed_as_a_whole() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    target.put(&bucket, "source", b"--123456789--").await;
    let create = target.s3.create_multipart_upload().bucket(&bucket).key("key");
    let create = create
        .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
        .checksum_type(ChecksumType::FullObject);
    let id = create.send().await.expect("an upload").upload_id.expect("its id");
    let copy = target
        .s3
        .upload_part_copy()
        .bucket(&bucket)
        .key("key")
        .upload_id(&id)
        .part_number(1);
    let copy = copy
        .copy_source(format!("{bucket}/source"))
        .copy_source_range("bytes=2-10");
    let copied = copy
        .send()
        .await
        .expect("copied")
        .copy_part_result
        .expect("a result");
    let part = CompletedPart::builder()
        .part_number(1)
        .set_e_tag(copied.e_tag)
        .build();
    let complete = target
        .s3
        .complete_multipart_upload()
        .bucket(&bucket)
        .key("key")
        .upload_id(&id);
    let parts = CompletedMultipartUpload::builder().parts(part).build();
    let completed = complete.multipart_upload(parts).send().await.expect("completed");
    assert_eq!(
        completed.checksum_crc64_nvme(),
        Some("rosUhgp5mIg="),
        "that of the nine bytes"
    );
    assert_eq!(target.get(&bucket, "key").await, b"123456789");
}
