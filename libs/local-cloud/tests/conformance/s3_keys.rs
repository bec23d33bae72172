//! Keys that are hard on file systems, URLs and XML.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>

use crate::Target;

/// Also put through notifications and through a folder.
pub(crate) const AWKWARD_KEYS: [&str; 18] = [
    "plain/2026/01/01/x.jsonl.gz",
    "with space",
    "plus+plus",
    "percent%20percent%",
    "[brackets]{}",
    "unicode/\u{fc}\u{4e2d}\u{6587}/\u{1f600}",
    "a//b",
    "a/b",
    "/leading",
    "trailing/",
    "../x",
    "a/../../x",
    "./x",
    "d",
    "d/e",
    "d/e/f",
    "quote\"&<>'",
    "question?mark#hash;semi=colon,comma:@!$*()~",
];

/// Every key keeps its own bytes; none clashes with, hides or escapes another.
pub(crate) async fn put_all(target: &Target, bucket: &str) {
    for key in AWKWARD_KEYS {
        target.put(bucket, key, key.as_bytes()).await;
    }
}

pub(crate) async fn assert_all(target: &Target, bucket: &str) {
    for key in AWKWARD_KEYS {
        assert_eq!(target.get(bucket, key).await, key.as_bytes(), "{key}");
    }
    let listed = target
        .s3
        .list_objects_v2()
        .bucket(bucket)
        .send()
        .await
        .expect("a list");
    let keys: Vec<_> = listed
        .contents()
        .iter()
        .filter_map(|object| object.key())
        .collect();
    let mut expected = AWKWARD_KEYS;
    expected.sort_unstable();
    assert_eq!(keys, expected);
}

#[tokio::test]
async fn awkward_keys_round_trip() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    put_all(&target, &bucket).await;
    assert_all(&target, &bucket).await;
    for key in AWKWARD_KEYS {
        target
            .s3
            .delete_object()
            .bucket(&bucket)
            .key(key)
            .send()
            .await
            .expect(key);
    }
    let listed = target
        .s3
        .list_objects_v2()
        .bucket(&bucket)
        .send()
        .await
        .expect("a list");
    assert_eq!(listed.key_count(), Some(0));
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>: `encoding-type`.
#[tokio::test]
async fn listings_are_url_encoded_on_request() {
    use aws_sdk_s3::types::EncodingType;
    let target = Target::start().await;
    let bucket = target.bucket().await;
    target.put(&bucket, "test_file(3).png", b"x").await;
    let listed = target
        .s3
        .list_objects_v2()
        .bucket(&bucket)
        .encoding_type(EncodingType::Url)
        .send()
        .await;
    let listed = listed.expect("a list");
    assert_eq!(listed.encoding_type(), Some(&EncodingType::Url));
    assert_eq!(listed.contents()[0].key(), Some("test_file%283%29.png"));
}

#[tokio::test]
async fn a_key_has_at_most_1024_bytes() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    let longest = "k".repeat(1024);
    target.put(&bucket, &longest, b"x").await;
    assert_eq!(target.get(&bucket, &longest).await, b"x");
    let too_long = "k".repeat(1025);
    let put = target.s3.put_object().bucket(&bucket).key(too_long).send().await;
    assert_eq!(crate::refusal(put), (400, "KeyTooLongError".into()));
}
