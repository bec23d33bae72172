//! Checksums: verified when sent, stored, and given back.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>

use std::pin::Pin;
use std::task::{Context, Poll};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, ChecksumType};
use bytes::Bytes;
use http_body::{Body, Frame};

use crate::{Target, refusal};

const ALGORITHMS: [ChecksumAlgorithm; 5] = [
    ChecksumAlgorithm::Crc32,
    ChecksumAlgorithm::Crc32C,
    ChecksumAlgorithm::Crc64Nvme,
    ChecksumAlgorithm::Sha1,
    ChecksumAlgorithm::Sha256,
];

/// The checksum of "123456789" in each algorithm, as the catalogues of check values have it.
fn check_value(algorithm: &ChecksumAlgorithm) -> &'static str {
    match algorithm {
        ChecksumAlgorithm::Crc32 => "y/Q5Jg==",
        ChecksumAlgorithm::Crc32C => "4waSgw==",
        ChecksumAlgorithm::Crc64Nvme => "rosUhgp5mIg=",
        ChecksumAlgorithm::Sha1 => "98O8HYCOBHMq32eZZczDTKeuNEE=",
        ChecksumAlgorithm::Sha256 => "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
        other => panic!("{other} is not tested"),
    }
}

/// The chunks of a body whose length is announced and whose bytes are not known beforehand: the
/// SDK sends it aws-chunked, with the checksum in a trailer.
struct Chunks(Vec<Bytes>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.pop().map(|chunk| Ok(Frame::data(chunk))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.0.iter().map(|chunk| chunk.len() as u64).sum())
    }
}

fn streamed(bytes: &[u8], chunk_bytes: usize) -> ByteStream {
    let chunks = bytes
        .chunks(chunk_bytes)
        .rev()
        .map(Bytes::copy_from_slice)
        .collect();
    ByteStream::new(SdkBody::from_body_1_x(Chunks(chunks)))
}

async fn stored_checksum(target: &Target, bucket: &str, algorithm: &ChecksumAlgorithm) -> Option<String> {
    let head = target
        .s3
        .head_object()
        .bucket(bucket)
        .key("key")
        .checksum_mode(ChecksumMode::Enabled)
        .send();
    let head = head.await.expect("the object");
    assert_eq!(head.checksum_type(), Some(&ChecksumType::FullObject));
    match algorithm {
        ChecksumAlgorithm::Crc32 => head.checksum_crc32,
        ChecksumAlgorithm::Crc32C => head.checksum_crc32_c,
        ChecksumAlgorithm::Crc64Nvme => head.checksum_crc64_nvme,
        ChecksumAlgorithm::Sha1 => head.checksum_sha1,
        ChecksumAlgorithm::Sha256 => head.checksum_sha256,
        other => panic!("{other} is not tested"),
    }
}

#[tokio::test]
async fn every_algorithm_is_computed_stored_and_given_back() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    for algorithm in ALGORITHMS {
        // In a header, then in the trailer of a streamed body.
        for body in [ByteStream::from_static(b"123456789"), streamed(b"123456789", 4)] {
            let put = target
                .s3
                .put_object()
                .bucket(&bucket)
                .key("key")
                .checksum_algorithm(algorithm.clone());
            put.body(body).send().await.expect("stored");
            assert_eq!(target.get(&bucket, "key").await, b"123456789", "{algorithm}");
            let stored = stored_checksum(&target, &bucket, &algorithm).await;
            assert_eq!(stored.as_deref(), Some(check_value(&algorithm)), "{algorithm}");
        }
    }
}

#[tokio::test]
async fn a_streamed_body_arrives_without_its_framing() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(300_000).collect();
    let put = target
        .s3
        .put_object()
        .bucket(&bucket)
        .key("key")
        .body(streamed(&bytes, 70_001));
    put.send().await.expect("stored");
    let got = target
        .s3
        .get_object()
        .bucket(&bucket)
        .key("key")
        .send()
        .await
        .expect("the object");
    assert_eq!(
        (got.content_length(), got.content_encoding()),
        (Some(300_000), None)
    );
    assert!(
        got.body.collect().await.expect("bytes").to_vec() == bytes,
        "the bytes are those that were sent"
    );
}

#[tokio::test]
async fn a_wrong_checksum_is_refused_and_nothing_is_stored() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    let put = || {
        target
            .s3
            .put_object()
            .bucket(&bucket)
            .key("key")
            .body(ByteStream::from_static(b"other bytes"))
    };
    let attempts = [
        ("CRC32", put().checksum_crc32("y/Q5Jg==")),
        ("CRC32C", put().checksum_crc32_c("4waSgw==")),
        ("CRC64NVME", put().checksum_crc64_nvme("rosUhgp5mIg=")),
        ("SHA1", put().checksum_sha1("98O8HYCOBHMq32eZZczDTKeuNEE=")),
        (
            "SHA256",
            put().checksum_sha256("FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
        ),
        ("MD5", put().content_md5("1B2M2Y8AsgTpgAmY7PhCfg==")),
    ];
    for (name, attempt) in attempts {
        assert_eq!(refusal(attempt.send().await), (400, "BadDigest".into()), "{name}");
    }
    let malformed = put().checksum_crc32("not base64").send().await;
    assert_eq!(refusal(malformed), (400, "InvalidRequest".into()));
    let malformed = put().content_md5("short").send().await;
    assert_eq!(refusal(malformed), (400, "InvalidDigest".into()));
    assert_eq!(
        refusal(target.s3.head_object().bucket(&bucket).key("key").send().await).0,
        404
    );
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>: S3
/// computes CRC64NVME for what comes without a checksum.
#[tokio::test]
async fn an_object_without_a_checksum_gets_one() {
    use aws_sdk_s3::config::RequestChecksumCalculation;
    let target = Target::start().await;
    let bucket = target.bucket().await;
    let config = target.s3.config().to_builder();
    let config = config
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .build();
    let plain = aws_sdk_s3::Client::from_conf(config);
    let put = plain
        .put_object()
        .bucket(&bucket)
        .key("key")
        .body(ByteStream::from_static(b"123456789"));
    put.send().await.expect("stored");
    let stored = stored_checksum(&target, &bucket, &ChecksumAlgorithm::Crc64Nvme).await;
    assert_eq!(stored.as_deref(), Some("rosUhgp5mIg="));

    let range = target
        .s3
        .get_object()
        .bucket(&bucket)
        .key("key")
        .range("bytes=0-3");
    let part = range
        .checksum_mode(ChecksumMode::Enabled)
        .send()
        .await
        .expect("a part");
    assert_eq!(
        part.checksum_crc64_nvme(),
        None,
        "the checksum is that of the whole object"
    );
}
