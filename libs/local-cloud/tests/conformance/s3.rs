//! Buckets and objects: headers, ranges, conditions, copies, tags.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::primitives::{ByteStream, DateTime, SdkBody};
use aws_sdk_s3::types::{Delete, MetadataDirective, ObjectIdentifier, StorageClass, Tag, Tagging};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

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

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>, RFC 9110 section 13.2.2.
#[tokio::test]
async fn reads_can_be_conditional() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    let etag = target.put(&bucket, "key", b"x").await;
    let get = || target.s3.get_object().bucket(&bucket).key("key");
    let hour = Duration::from_secs(3600);
    let past = DateTime::from(SystemTime::now() - hour);
    let future = DateTime::from(SystemTime::now() + hour);

    get().if_match(&etag).send().await.expect("it matches");
    get()
        .if_none_match("\"other\"")
        .send()
        .await
        .expect("it is another");
    get()
        .if_modified_since(past)
        .send()
        .await
        .expect("it was modified since");
    get()
        .if_unmodified_since(future)
        .send()
        .await
        .expect("it was not modified since");
    get()
        .if_match(&etag)
        .if_unmodified_since(past)
        .send()
        .await
        .expect("the ETag takes precedence");

    assert_eq!(
        refusal(get().if_match("\"other\"").send().await),
        (412, "PreconditionFailed".into())
    );
    assert_eq!(
        refusal(get().if_unmodified_since(past).send().await),
        (412, "PreconditionFailed".into())
    );
    assert_eq!(refusal(get().if_none_match(&etag).send().await).0, 304);
    assert_eq!(refusal(get().if_modified_since(future).send().await).0, 304);
    let head = target
        .s3
        .head_object()
        .bucket(&bucket)
        .key("key")
        .if_none_match(&etag)
        .send()
        .await;
    assert_eq!(refusal(head).0, 304);
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>
#[tokio::test]
async fn writes_can_be_conditional() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    let put = |body: &'static [u8]| {
        target
            .s3
            .put_object()
            .bucket(&bucket)
            .key("key")
            .body(ByteStream::from_static(body))
    };
    assert_eq!(
        refusal(put(b"0").if_match("\"any\"").send().await),
        (404, "NoSuchKey".into())
    );
    let first = put(b"1")
        .if_none_match("*")
        .send()
        .await
        .expect("there is none yet")
        .e_tag
        .expect("an ETag");
    assert_eq!(
        refusal(put(b"2").if_none_match("*").send().await),
        (412, "PreconditionFailed".into())
    );
    let second = put(b"3")
        .if_match(&first)
        .send()
        .await
        .expect("it matches")
        .e_tag
        .expect("an ETag");
    assert_eq!(
        refusal(put(b"4").if_match(&first).send().await),
        (412, "PreconditionFailed".into())
    );
    assert_eq!(target.get(&bucket, "key").await, b"3");

    // <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html>
    let delete = || target.s3.delete_object().bucket(&bucket).key("key");
    assert_eq!(
        refusal(delete().if_match(&first).send().await),
        (412, "PreconditionFailed".into())
    );
    delete().if_match(&second).send().await.expect("it matches");
    put(b"5")
        .if_none_match("*")
        .send()
        .await
        .expect("there is none any more");
}

/// A body that is sent only when all writers have begun theirs, so that each has been let in before
/// any can be done.
struct Gated {
    gate: Mutex<Pin<Box<dyn Future<Output = ()> + Send>>>,
    bytes: Option<Bytes>,
}

impl Gated {
    fn new(all: Arc<Barrier>, bytes: Vec<u8>) -> Self {
        let gate = Box::pin(async move {
            all.wait().await;
        });
        Self {
            gate: Mutex::new(gate),
            bytes: Some(bytes.into()),
        }
    }
}

impl Body for Gated {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.bytes.is_some() {
            let mut gate = self.gate.lock().expect("no panic");
            std::task::ready!(gate.as_mut().poll(context));
        }
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// Of any number of writers that all require that there is no object, exactly one wins.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>
#[tokio::test(flavor = "multi_thread")]
async fn of_64_racing_writers_one_wins() {
    const WRITERS: usize = 64;
    let target = Target::start().await;
    let bucket = target.bucket().await;
    for round in 0..4 {
        let key = format!("race-{round}");
        let all = Arc::new(Barrier::new(WRITERS));
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let body = Gated::new(Arc::clone(&all), format!("writer {writer}").into_bytes());
            let body = ByteStream::new(SdkBody::from_body_1_x(body));
            let put = target
                .s3
                .put_object()
                .bucket(&bucket)
                .key(&key)
                .if_none_match("*")
                .body(body);
            writers.spawn(async move { (writer, put.send().await) });
        }
        let mut winners = Vec::new();
        while let Some(writer) = writers.join_next().await {
            match writer.expect("no panic") {
                (writer, Ok(_)) => winners.push(writer),
                // A conflict says "try again"; the object is somebody else's then, too.
                (_, result) => assert!(matches!(refusal(result).0, 412 | 409)),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(
            target.get(&bucket, &key).await,
            format!("writer {}", winners[0]).into_bytes()
        );
    }
}

/// Compare-and-swap from 16 tasks at once counts correctly.
#[tokio::test(flavor = "multi_thread")]
async fn if_match_makes_a_counter() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    target.put(&bucket, "counter", b"0").await;
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let (s3, bucket) = (target.s3.clone(), bucket.clone());
        tasks.spawn(async move {
            loop {
                let got = s3
                    .get_object()
                    .bucket(&bucket)
                    .key("counter")
                    .send()
                    .await
                    .expect("the counter");
                let etag = got.e_tag().expect("an ETag").to_owned();
                let value = got.body.collect().await.expect("bytes").to_vec();
                let value: u32 = String::from_utf8(value)
                    .expect("digits")
                    .parse()
                    .expect("a number");
                let next = (value + 1).to_string().into_bytes();
                let put = s3
                    .put_object()
                    .bucket(&bucket)
                    .key("counter")
                    .if_match(etag)
                    .body(next.into());
                match put.send().await {
                    Ok(_) => return,
                    result => assert!(matches!(refusal(result).0, 412 | 409)),
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("no panic");
    }
    assert_eq!(target.get(&bucket, "counter").await, b"16");
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
