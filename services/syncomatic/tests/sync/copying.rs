//! What arrives is what was there: bytes, headers, metadata, tags, keys.

use std::time::Duration;

use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart};

use tokio::io::AsyncReadExt;

use crate::harness::{DESTINATION_BUCKET, SOURCE_BUCKET, World, bytes, until, until_within};

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_every_size_arrive_equal() {
    let world = World::new().await;
    let service = world.run(world.config());
    let sizes = [0, 1, 1_000, 1 << 20, (16 << 20) + 1, 40 << 20];
    for size in sizes {
        world.put_source(&format!("size/{size}"), bytes(size)).await;
    }
    world.until_queue_is_empty().await;
    for size in sizes {
        let arrived = world.destination_bytes(&format!("size/{size}")).await;
        assert!(arrived == Some(bytes(size)), "{size} bytes arrived differently");
    }
    assert_eq!(service.records("copied"), sizes.len() as u64);
    assert_eq!(
        service.records("test_event"),
        1,
        "S3 announces itself when the notification is configured"
    );
    assert_eq!(
        service.metric("syncomatic_copied_bytes_total", None),
        sizes.iter().sum::<usize>() as u64
    );
    assert_eq!(service.metric("syncomatic_unattested_objects_total", None), 0);
    assert_eq!(service.metric("syncomatic_in_flight_bytes", None), 0);
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_metadata_and_tags_arrive_with_the_bytes() {
    let world = World::new().await;
    let service = world.run(world.config());
    let put = world
        .put("2026/03/01/a.jsonl.gz", b"not unzipped on its way".as_slice())
        .content_type("application/x-ndjson")
        .content_encoding("gzip")
        .content_language("de-CH")
        .content_disposition("attachment; filename=\"a.jsonl\"")
        .cache_control("max-age=60")
        .metadata("stream", "events")
        .metadata("first-sequence-number", "495")
        .tagging("owner=data%20platform&cost%2Fcentre=1%2B1");
    put.send().await.expect("stored");
    world.until_queue_is_empty().await;

    let arrived = world
        .get_destination("2026/03/01/a.jsonl.gz")
        .await
        .expect("arrived");
    assert_eq!(arrived.content_type.as_deref(), Some("application/x-ndjson"));
    assert_eq!(arrived.content_encoding.as_deref(), Some("gzip"));
    assert_eq!(arrived.content_language.as_deref(), Some("de-CH"));
    assert_eq!(
        arrived.content_disposition.as_deref(),
        Some("attachment; filename=\"a.jsonl\"")
    );
    assert_eq!(arrived.cache_control.as_deref(), Some("max-age=60"));
    let mut metadata = arrived.metadata.clone().expect("metadata");
    let marker = metadata.remove(syncomatic::verify::MARKER).expect("the marker");
    assert!(
        marker.contains("bucket=events-cn") && marker.contains("size=23"),
        "{marker}"
    );
    let expected = [("stream", "events"), ("first-sequence-number", "495")];
    assert_eq!(
        metadata,
        expected
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    );

    let request = world
        .destination
        .s3
        .get_object_tagging()
        .bucket(DESTINATION_BUCKET);
    let tags = request
        .key("2026/03/01/a.jsonl.gz")
        .send()
        .await
        .expect("tags")
        .tag_set;
    let mut tags: Vec<_> = tags.iter().map(|tag| (tag.key(), tag.value())).collect();
    tags.sort_unstable();
    assert_eq!(tags, [("cost/centre", "1+1"), ("owner", "data platform")]);
    assert_eq!(
        arrived.body.collect().await.expect("a body").to_vec(),
        b"not unzipped on its way"
    );
    service.stop().await.expect("drained");
}

/// 64 MiB, or what SYNC_LARGE_BYTES says, such as 1073741824.
#[tokio::test(flavor = "multi_thread")]
async fn a_very_large_object_arrives_equal() {
    let size = std::env::var("SYNC_LARGE_BYTES").map_or(64 << 20, |size| size.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::in_folder(folder.path()).await;
    let service = world.run(world.config());
    let blocks = |size: usize| (0_u64..).map(block).take(size.div_ceil(BLOCK));
    let mut whole: Vec<u8> = blocks(size).flatten().collect();
    whole.truncate(size);
    world.put_source("large", whole).await;
    until_within(Duration::from_secs(300), "it is acknowledged", async || {
        world.queue_depth(&world.queue_url).await == (0, 0)
    })
    .await;
    let arrived = world.get_destination("large").await.expect("it arrived");
    let mut body = arrived.body.into_async_read();
    let mut left = size;
    for expected in blocks(size) {
        let length = left.min(BLOCK);
        let mut read = vec![0; length];
        body.read_exact(&mut read)
            .await
            .expect("as many bytes as were sent");
        assert!(
            read == expected[..length],
            "{left} bytes before the end it differs"
        );
        left -= length;
    }
    assert_eq!(body.read(&mut [0]).await.expect("the end"), 0);
    let parts = (size as u64).div_ceil(world.config().limits.part_bytes);
    assert_eq!(service.metric("syncomatic_parts_total", None), parts);
    service.stop().await.expect("drained");
}

const BLOCK: usize = 1 << 20;

/// No two are alike.
fn block(number: u64) -> Vec<u8> {
    number.to_be_bytes().repeat(BLOCK / 8)
}

/// Some clients made how an upload travelled a part of the object. S3 takes `aws-chunked` out itself; in
/// another spelling, which means the same (RFC 9110, 8.4.1), it is stored.
#[tokio::test(flavor = "multi_thread")]
async fn aws_chunked_is_never_stored_and_gzip_is_never_undone() {
    let world = World::new().await;
    let mut config = world.config();
    config.limits.multipart_threshold_bytes = 1_000;
    let service = world.run(config);
    let encodings = [
        ("AWS-Chunked", None),
        ("AWS-Chunked,gzip", Some("gzip")),
        ("gzip", Some("gzip")),
    ];
    for (stored, _) in encodings {
        for size in [10, 2_000] {
            let key = format!("{stored}/{size}");
            world.put_encoded(&key, bytes(size), stored).await;
        }
    }
    world.until_queue_is_empty().await;
    for (stored, expected) in encodings {
        for size in [10, 2_000] {
            let arrived = world
                .get_destination(&format!("{stored}/{size}"))
                .await
                .expect("arrived");
            assert_eq!(
                arrived.content_encoding.as_deref(),
                expected,
                "{stored}, {size} bytes"
            );
            assert!(arrived.body.collect().await.expect("a body").to_vec() == bytes(size));
        }
    }
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_prefix_is_replaced() {
    let world = World::new().await;
    let service = world.run(world.config_with_routes(&["events/=>cn/events/:verbatim"]));
    world.put_source("events/1", "one").await;
    world.until_queue_is_empty().await;
    assert_eq!(
        world.destination_bytes("cn/events/1").await.as_deref(),
        Some(b"one".as_slice())
    );
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_with_another_checksum_is_copied_and_counted_as_unattested() {
    let world = World::new().await;
    let service = world.run(world.config());
    let put = world
        .put("crc32", bytes(100_000))
        .checksum_algorithm(ChecksumAlgorithm::Crc32);
    put.send().await.expect("stored");
    world.until_queue_is_empty().await;
    assert_eq!(world.destination_bytes("crc32").await, Some(bytes(100_000)));
    assert_eq!(service.metric("syncomatic_unattested_objects_total", None), 1);
    let head = world
        .destination
        .s3
        .head_object()
        .bucket(DESTINATION_BUCKET)
        .key("crc32");
    let head = head
        .checksum_mode(ChecksumMode::Enabled)
        .send()
        .await
        .expect("there");
    assert!(
        head.checksum_crc64_nvme.is_some(),
        "the destination has one all the same"
    );
    assert_eq!(head.content_encoding, None, "aws-chunked is not stored");
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_uploaded_in_parts_arrives_with_its_full_checksum() {
    let world = World::new().await;
    let service = world.run(world.config());
    let s3 = &world.source.s3;
    let create = s3.create_multipart_upload().bucket(SOURCE_BUCKET).key("parts");
    let create = create
        .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
        .send()
        .await
        .expect("begun");
    let upload = create.upload_id.expect("an upload id");
    let mut parts = Vec::new();
    for (number, size) in [(1, 5 << 20), (2, 1_000)] {
        let part = s3
            .upload_part()
            .bucket(SOURCE_BUCKET)
            .key("parts")
            .upload_id(&upload)
            .part_number(number);
        let part = part
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .body(bytes(size).into());
        let part = part.send().await.expect("a part");
        let done = CompletedPart::builder().part_number(number).set_e_tag(part.e_tag);
        parts.push(done.set_checksum_crc64_nvme(part.checksum_crc64_nvme).build());
    }
    let complete = s3
        .complete_multipart_upload()
        .bucket(SOURCE_BUCKET)
        .key("parts")
        .upload_id(&upload);
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    complete.multipart_upload(parts).send().await.expect("completed");

    world.until_queue_is_empty().await;
    let whole = [bytes(5 << 20), bytes(1_000)].concat();
    assert!(
        world.destination_bytes("parts").await == Some(whole),
        "other bytes arrived"
    );
    assert_eq!(service.metric("syncomatic_unattested_objects_total", None), 0);
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_objects_arrive_within_a_small_budget() {
    let world = World::new().await;
    let mut config = world.config();
    config.limits.memory_bytes = 1 << 20;
    config.limits.concurrency = 8;
    let service = world.run(config);
    for number in 0..200 {
        world
            .put_source(&format!("small/{number}"), format!("{number}"))
            .await;
    }
    until("all are copied", async || service.records("copied") == 200).await;
    world.until_queue_is_empty().await;
    for number in [0, 99, 199] {
        let arrived = world.destination_bytes(&format!("small/{number}")).await;
        assert_eq!(arrived, Some(format!("{number}").into_bytes()));
    }
    service.stop().await.expect("drained");
}
