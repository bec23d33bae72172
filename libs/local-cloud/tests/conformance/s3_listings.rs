//! Listings of keys.

use crate::Target;

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>
#[tokio::test]
async fn listings_are_ordered_filtered_grouped_and_paged() {
    let target = Target::start().await;
    let bucket = target.bucket().await;
    let mut keys = [
        "2026/01/a",
        "2026/01/b",
        "2026/02/c",
        "2026-x",
        "2026/",
        "é",
        "z",
        "A",
        "2026/01/b/c",
    ];
    for key in keys {
        target.put(&bucket, key, key.as_bytes()).await;
    }
    keys.sort_unstable();
    let names = |page: &aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output| -> Vec<String> {
        let prefixes = page.common_prefixes().iter().filter_map(|prefix| prefix.prefix());
        let keys = page.contents().iter().filter_map(|object| object.key());
        keys.chain(prefixes).map(str::to_owned).collect()
    };
    for page_size in [1, 2, 3, 100] {
        let (mut found, mut token) = (Vec::new(), None);
        loop {
            let list = target
                .s3
                .list_objects_v2()
                .bucket(&bucket)
                .max_keys(page_size)
                .set_continuation_token(token);
            let page = list.send().await.expect("a page");
            assert_eq!(page.key_count(), i32::try_from(names(&page).len()).ok());
            found.extend(names(&page));
            token = page.next_continuation_token;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(found, keys, "pages of {page_size}, in the order of UTF-8 bytes");
    }
    let list = || target.s3.list_objects_v2().bucket(&bucket);
    let page = list()
        .prefix("2026/")
        .delimiter("/")
        .send()
        .await
        .expect("a page");
    assert_eq!(names(&page), ["2026/", "2026/01/", "2026/02/"]);
    let page = list().start_after("2026/01/b").send().await.expect("a page");
    assert_eq!(names(&page), ["2026/01/b/c", "2026/02/c", "A", "z", "é"]);
    let page = list().prefix("none/").send().await.expect("a page");
    assert_eq!((page.key_count(), page.is_truncated()), (Some(0), Some(false)));

    // Groups count towards a page and are not repeated on the next one.
    let (mut found, mut token) = (Vec::new(), None);
    loop {
        let page = list()
            .delimiter("/")
            .max_keys(1)
            .set_continuation_token(token)
            .send()
            .await
            .expect("a page");
        found.extend(names(&page));
        token = page.next_continuation_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(found, ["2026-x", "2026/", "A", "z", "é"]);

    let old = target
        .s3
        .list_objects()
        .bucket(&bucket)
        .delimiter("/")
        .max_keys(2)
        .send()
        .await
        .expect("a page");
    assert_eq!(old.next_marker(), Some("2026/"));
    let old = target
        .s3
        .list_objects()
        .bucket(&bucket)
        .delimiter("/")
        .marker("2026/")
        .send()
        .await
        .expect("a page");
    let found: Vec<_> = old.contents().iter().filter_map(|object| object.key()).collect();
    assert_eq!(found, ["A", "z", "é"]);
}
