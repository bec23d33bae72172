//! Buckets and objects: headers, ranges, copies, tags.

use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{Delete, MetadataDirective, ObjectIdentifier, StorageClass, Tag, Tagging};

use crate::{Target, refusal};

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html>
#[tokio::test]
async fn buckets_are_created_found_and_deleted_when_empty() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    target
        .s3
        .head_bucket()
        .bucket(&bucket)
        .send()
        .await
        .expect("it exists");
    let location = target
        .s3
        .get_bucket_location()
        .bucket(&bucket)
        .send()
        .await
        .expect("a location");
    assert_eq!(
        location
            .location_constraint
            .map(|region| region.as_str().to_owned()),
        Some(target.region.clone())
    );
    let listed = target
        .s3
        .list_buckets()
        .prefix(&bucket)
        .send()
        .await
        .expect("a list");
    assert_eq!(
        listed
            .buckets()
            .iter()
            .filter_map(|listed| listed.name())
            .collect::<Vec<_>>(),
        [bucket.as_str()]
    );

    target.put(&bucket, "key", b"x").await;
    assert_eq!(
        refusal(target.s3.delete_bucket().bucket(&bucket).send().await),
        (409, "BucketNotEmpty".into())
    );
    target
        .s3
        .delete_object()
        .bucket(&bucket)
        .key("key")
        .send()
        .await
        .expect("deleted");
    target
        .s3
        .delete_bucket()
        .bucket(&bucket)
        .send()
        .await
        .expect("deleted");
    assert_eq!(
        refusal(target.s3.head_bucket().bucket(&bucket).send().await).0,
        404
    );
    let put = target
        .s3
        .put_object()
        .bucket(&bucket)
        .key("key")
        .body(ByteStream::from_static(b"x"));
    assert_eq!(refusal(put.send().await), (404, "NoSuchBucket".into()));
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html>,
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>
#[tokio::test]
async fn content_headers_and_metadata_come_back_as_they_were_sent() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    let expires = DateTime::from_secs(1_800_000_000);
    let put = target
        .s3
        .put_object()
        .bucket(&bucket)
        .key("key")
        .body(ByteStream::from_static(b"0123456789"))
        .content_type("application/x-ndjson; charset=utf-8")
        .content_encoding("gzip")
        .content_disposition("attachment; filename=\"a b.gz\"")
        .content_language("zh-CN, en")
        .cache_control("max-age=60, no-transform")
        .expires(expires)
        .storage_class(StorageClass::StandardIa)
        .metadata("records", "12")
        .metadata("first-sequence-number", "49 600")
        .metadata("name", "caf\u{e9}")
        .tagging("a=1&b=two%20words")
        .send()
        .await
        .expect("stored");
    assert_eq!(
        put.e_tag(),
        Some("\"781e5e245d69b566979b86e28d23f2c7\""),
        "the quoted MD5 of the bytes"
    );

    let got = target
        .s3
        .get_object()
        .bucket(&bucket)
        .key("key")
        .send()
        .await
        .expect("the object");
    assert_eq!(got.content_type(), Some("application/x-ndjson; charset=utf-8"));
    assert_eq!(
        got.content_encoding(),
        Some("gzip"),
        "aws-chunked is not part of the object"
    );
    assert_eq!(got.content_disposition(), Some("attachment; filename=\"a b.gz\""));
    assert_eq!(got.content_language(), Some("zh-CN, en"));
    assert_eq!(got.cache_control(), Some("max-age=60, no-transform"));
    assert_eq!(got.expires_string(), Some("Fri, 15 Jan 2027 08:00:00 GMT"));
    assert_eq!(got.storage_class(), Some(&StorageClass::StandardIa));
    assert_eq!(
        got.server_side_encryption().map(|encryption| encryption.as_str()),
        Some("AES256")
    );
    assert_eq!(
        (got.content_length(), got.accept_ranges()),
        (Some(10), Some("bytes"))
    );
    assert_eq!(got.tag_count(), Some(2));
    assert_eq!(got.e_tag(), put.e_tag());
    assert_eq!(got.version_id(), None, "the bucket has no versioning");
    let metadata = got.metadata().expect("metadata");
    assert_eq!(metadata.len(), 3);
    assert_eq!(metadata["records"], "12");
    assert_eq!(metadata["first-sequence-number"], "49 600");
    // What is not ASCII comes back in the encoding of RFC 2047, which S3 documents.
    assert!(
        ["caf\u{e9}", "=?UTF-8?B?Y2Fmw6k=?=", "=?UTF-8?Q?caf=C3=A9?="].contains(&metadata["name"].as_str())
    );

    let head = target
        .s3
        .head_object()
        .bucket(&bucket)
        .key("key")
        .send()
        .await
        .expect("the object");
    assert_eq!(head.metadata(), got.metadata());
    assert_eq!(head.content_encoding(), got.content_encoding());
    assert_eq!(head.content_length(), Some(10));
    assert_eq!(got.body.collect().await.expect("bytes").to_vec(), b"0123456789");
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>
#[tokio::test]
async fn ranges_select_bytes() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    target.put(&bucket, "key", b"0123456789").await;
    target.put(&bucket, "empty", b"").await;
    for (range, bytes, content_range) in [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=2-5", "2345", "bytes 2-5/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=-30", "0123456789", "bytes 0-9/10"),
        ("bytes=8-99", "89", "bytes 8-9/10"),
    ] {
        let got = target
            .s3
            .get_object()
            .bucket(&bucket)
            .key("key")
            .range(range)
            .send()
            .await
            .expect(range);
        assert_eq!(got.content_range(), Some(content_range), "{range}");
        assert_eq!(got.content_length(), i64::try_from(bytes.len()).ok(), "{range}");
        assert_eq!(
            got.body.collect().await.expect("bytes").to_vec(),
            bytes.as_bytes(),
            "{range}"
        );
    }
    for (key, range) in [
        ("key", "bytes=10-"),
        ("key", "bytes=-0"),
        ("empty", "bytes=0-"),
        ("empty", "bytes=-1"),
    ] {
        let got = target
            .s3
            .get_object()
            .bucket(&bucket)
            .key(key)
            .range(range)
            .send()
            .await;
        assert_eq!(refusal(got), (416, "InvalidRange".into()), "{key} {range}");
    }
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>
#[tokio::test]
async fn several_keys_are_deleted_at_once() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    for key in ["a", "b", "c"] {
        target.put(&bucket, key, b"x").await;
    }
    let identify = |key: &str| ObjectIdentifier::builder().key(key).build().expect("a key");
    let delete = Delete::builder().set_objects(Some(vec![identify("a"), identify("missing"), identify("c")]));
    let deleted = target
        .s3
        .delete_objects()
        .bucket(&bucket)
        .delete(delete.build().expect("keys"))
        .send()
        .await;
    let deleted = deleted.expect("deleted");
    let keys: Vec<_> = deleted
        .deleted()
        .iter()
        .filter_map(|deleted| deleted.key())
        .collect();
    assert_eq!((keys, deleted.errors().len()), (vec!["a", "missing", "c"], 0));
    let left = target
        .s3
        .list_objects_v2()
        .bucket(&bucket)
        .send()
        .await
        .expect("a list");
    assert_eq!(
        left.contents()
            .iter()
            .filter_map(|object| object.key())
            .collect::<Vec<_>>(),
        ["b"]
    );
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>
#[tokio::test]
async fn copies_keep_or_replace_metadata() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    let put = target
        .s3
        .put_object()
        .bucket(&bucket)
        .key("a b")
        .body(ByteStream::from_static(b"bytes"));
    let put = put
        .metadata("m", "1")
        .content_type("text/plain")
        .tagging("t=1")
        .send()
        .await
        .expect("stored");
    let source = format!("{bucket}/a%20b");
    let copy = |key: &str| {
        target
            .s3
            .copy_object()
            .bucket(&bucket)
            .key(key)
            .copy_source(&source)
    };
    let head = |key: &'static str| target.s3.head_object().bucket(&bucket).key(key).send();

    let copied = copy("kept").send().await.expect("copied");
    let result = copied.copy_object_result().expect("a result");
    assert_eq!(result.e_tag(), put.e_tag());
    let kept = head("kept").await.expect("the copy");
    assert_eq!(
        (kept.content_type(), kept.metadata().map(|all| all["m"].clone())),
        (Some("text/plain"), Some("1".into()))
    );
    let tags = target
        .s3
        .get_object_tagging()
        .bucket(&bucket)
        .key("kept")
        .send()
        .await
        .expect("tags");
    assert_eq!(tags.tag_set()[0].key(), "t");

    let replaced = copy("replaced")
        .metadata_directive(MetadataDirective::Replace)
        .metadata("n", "2");
    replaced.send().await.expect("copied");
    let replaced = head("replaced").await.expect("the copy");
    assert_eq!(replaced.metadata().map(|all| all.contains_key("m")), Some(false));
    assert_eq!(target.get(&bucket, "replaced").await, b"bytes");

    let unmatched = copy("never").copy_source_if_match("\"other\"").send().await;
    assert_eq!(refusal(unmatched), (412, "PreconditionFailed".into()));
    assert_eq!(
        refusal(copy("a b").send().await),
        (400, "InvalidRequest".into()),
        "onto itself, changing nothing"
    );
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html>
#[tokio::test]
async fn tags_are_set_read_and_removed() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    target.put(&bucket, "key", b"x").await;
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build().expect("a tag");
    let set = Tagging::builder()
        .set_tag_set(Some(vec![tag("a", "1"), tag("b", "ü")]))
        .build()
        .expect("tags");
    target
        .s3
        .put_object_tagging()
        .bucket(&bucket)
        .key("key")
        .tagging(set)
        .send()
        .await
        .expect("set");
    let got = target
        .s3
        .get_object_tagging()
        .bucket(&bucket)
        .key("key")
        .send()
        .await
        .expect("tags");
    let mut tags: Vec<_> = got.tag_set().iter().map(|tag| (tag.key(), tag.value())).collect();
    tags.sort_unstable();
    assert_eq!(tags, [("a", "1"), ("b", "ü")]);

    let twice = Tagging::builder()
        .set_tag_set(Some(vec![tag("a", "1"), tag("a", "2")]))
        .build()
        .expect("tags");
    let put = target
        .s3
        .put_object_tagging()
        .bucket(&bucket)
        .key("key")
        .tagging(twice)
        .send()
        .await;
    assert_eq!(refusal(put), (400, "InvalidTag".into()));
    target
        .s3
        .delete_object_tagging()
        .bucket(&bucket)
        .key("key")
        .send()
        .await
        .expect("removed");
    let got = target
        .s3
        .get_object_tagging()
        .bucket(&bucket)
        .key("key")
        .send()
        .await
        .expect("tags");
    assert!(got.tag_set().is_empty());
}
