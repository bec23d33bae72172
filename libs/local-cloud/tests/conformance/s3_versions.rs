//! Versions and delete markers.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};

use crate::{Target, refusal};

async fn enable_versioning(target: &Target, bucket: &str, status: BucketVersioningStatus) {
    let configuration = VersioningConfiguration::builder().status(status).build();
    let put = target
        .s3
        .put_bucket_versioning()
        .bucket(bucket)
        .versioning_configuration(configuration);
    put.send().await.expect("set");
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/versioning-workflows.html>
#[tokio::test]
async fn versions_are_kept_hidden_and_restored() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    target.put(&bucket, "key", b"before").await;
    enable_versioning(&target, &bucket, BucketVersioningStatus::Enabled).await;
    let put = |body: &'static [u8]| {
        target
            .s3
            .put_object()
            .bucket(&bucket)
            .key("key")
            .body(ByteStream::from_static(body))
            .send()
    };
    let get = |version: String| {
        target
            .s3
            .get_object()
            .bucket(&bucket)
            .key("key")
            .version_id(version)
            .send()
    };
    let one = put(b"one").await.expect("stored").version_id.expect("a version");
    let two = put(b"two").await.expect("stored").version_id.expect("a version");
    for (version, expected) in [("null", "before"), (&one, "one"), (&two, "two")] {
        let got = get(version.to_owned()).await.expect("the version");
        assert_eq!(got.version_id(), Some(version));
        assert_eq!(
            got.body.collect().await.expect("bytes").to_vec(),
            expected.as_bytes()
        );
    }
    assert_eq!(
        refusal(get("00000000000000000000000000000000".into()).await),
        (404, "NoSuchVersion".into())
    );

    // A delete without a version puts a marker in front; a condition sees no object then.
    let deleted = target
        .s3
        .delete_object()
        .bucket(&bucket)
        .key("key")
        .send()
        .await
        .expect("deleted");
    assert_eq!(deleted.delete_marker(), Some(true));
    let marker = deleted.version_id().expect("a version").to_owned();
    assert_eq!(
        refusal(target.s3.get_object().bucket(&bucket).key("key").send().await),
        (404, "NoSuchKey".into())
    );
    assert_eq!(
        refusal(get(marker.clone()).await),
        (405, "MethodNotAllowed".into())
    );
    let listed = target
        .s3
        .list_objects_v2()
        .bucket(&bucket)
        .send()
        .await
        .expect("a list");
    assert_eq!(listed.key_count(), Some(0));

    let versions = target
        .s3
        .list_object_versions()
        .bucket(&bucket)
        .send()
        .await
        .expect("versions");
    let ids: Vec<_> = versions
        .versions()
        .iter()
        .filter_map(|version| version.version_id())
        .collect();
    assert_eq!(ids, [two.as_str(), one.as_str(), "null"], "newest first");
    assert!(
        versions
            .versions()
            .iter()
            .all(|version| version.is_latest() == Some(false))
    );
    assert_eq!(versions.delete_markers()[0].is_latest(), Some(true));

    // Deleting the marker brings the object back; deleting a version is for good.
    target
        .s3
        .delete_object()
        .bucket(&bucket)
        .key("key")
        .version_id(&marker)
        .send()
        .await
        .expect("deleted");
    assert_eq!(target.get(&bucket, "key").await, b"two");
    target
        .s3
        .delete_object()
        .bucket(&bucket)
        .key("key")
        .version_id(&two)
        .send()
        .await
        .expect("deleted");
    assert_eq!(target.get(&bucket, "key").await, b"one");

    // Suspended, writes replace the null version and leave the others.
    enable_versioning(&target, &bucket, BucketVersioningStatus::Suspended).await;
    let suspended = put(b"null again").await.expect("stored");
    assert!(matches!(suspended.version_id(), None | Some("null")));
    assert_eq!(target.get(&bucket, "key").await, b"null again");
    let versions = target
        .s3
        .list_object_versions()
        .bucket(&bucket)
        .send()
        .await
        .expect("versions");
    let ids: Vec<_> = versions
        .versions()
        .iter()
        .filter_map(|version| version.version_id())
        .collect();
    assert_eq!(ids, ["null", one.as_str()]);
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html>
#[tokio::test]
async fn versions_are_listed_page_by_page() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    enable_versioning(&target, &bucket, BucketVersioningStatus::Enabled).await;
    let mut expected = Vec::new();
    for key in ["a", "b", "c"] {
        let mut of_key = Vec::new();
        for body in [b"1", b"2", b"3"] {
            let put = target
                .s3
                .put_object()
                .bucket(&bucket)
                .key(key)
                .body(ByteStream::from_static(body))
                .send();
            of_key.insert(
                0,
                (
                    key.to_owned(),
                    put.await.expect("stored").version_id.expect("a version"),
                ),
            );
        }
        expected.extend(of_key);
    }
    for page_size in [1, 2, 3, 4, 9, 10] {
        let (mut found, mut key_marker, mut version_marker) = (Vec::new(), None, None);
        loop {
            let list = target
                .s3
                .list_object_versions()
                .bucket(&bucket)
                .max_keys(page_size);
            let page = list
                .set_key_marker(key_marker)
                .set_version_id_marker(version_marker)
                .send()
                .await;
            let page = page.expect("a page");
            found.extend(page.versions().iter().map(|version| {
                (
                    version.key().expect("a key").to_owned(),
                    version.version_id().expect("a version").to_owned(),
                )
            }));
            if page.is_truncated() != Some(true) {
                break;
            }
            key_marker = page.next_key_marker;
            version_marker = page.next_version_id_marker;
        }
        assert_eq!(found, expected, "pages of {page_size}");
    }
}
