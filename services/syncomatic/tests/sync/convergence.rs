//! Duplicates, reordering, overwrites, vanished sources and crashes end in the right state.

use std::time::Duration;

use aws_sdk_s3::types::{BucketVersioningStatus, ChecksumAlgorithm, VersioningConfiguration};
use local_cloud::Rule;
use syncomatic::verify::MARKER;

use crate::harness::{Calls, DESTINATION_BUCKET, SOURCE_BUCKET, World, message, record, until};

const SECOND: Duration = Duration::from_secs(1);

async fn enable_versions(world: &World) {
    let enabled = VersioningConfiguration::builder()
        .status(BucketVersioningStatus::Enabled)
        .build();
    let request = world.source.s3.put_bucket_versioning().bucket(SOURCE_BUCKET);
    request
        .versioning_configuration(enabled)
        .send()
        .await
        .expect("versions");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redelivery_of_finished_work_costs_two_looks() {
    let world = World::new().await;
    let service = world.run(world.config());
    world.put_source("a", "once").await;
    world.until_queue_is_empty().await;

    let operations = ["s3:HeadObject", "s3:GetObject", "s3:PutObject"];
    let source = Calls::count(&world.china, &operations);
    let destination = Calls::count(&world.europe, &operations);
    world.send(&message(&[record(SOURCE_BUCKET, "a")])).await;
    until("it was looked at", async || service.records("already_there") == 1).await;
    world.until_queue_is_empty().await;
    assert_eq!(source.since(), [1, 0, 0]);
    assert_eq!(destination.since(), [1, 0, 0]);
    assert_eq!(service.records("copied"), 1);
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicate_and_late_notifications_write_once() {
    let world = World::new().await;
    world.put_source("a", "first").await;
    world.put_source("a", "second").await;
    for _ in 0..10 {
        world
            .send(&message(&[
                record(SOURCE_BUCKET, "a"),
                record(SOURCE_BUCKET, "a"),
            ]))
            .await;
    }
    let service = world.run(world.config());
    until("all are settled", async || {
        service.metric("syncomatic_messages_total", Some("deleted")) == 13
    })
    .await;
    assert_eq!(
        world.destination_bytes("a").await.as_deref(),
        Some(b"second".as_slice())
    );
    assert_eq!(service.records("copied"), 1);
    assert_eq!(service.records("already_there"), 21);
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_overwritten_before_it_is_read_is_never_written_old() {
    let world = World::new().await;
    let service = world.run(world.config());
    service.until_ready().await;
    let writes = Calls::count(&world.europe, &["s3:PutObject"]);
    world
        .china
        .faults()
        .inject(Rule::on("s3:GetObject").times(1).delay(SECOND));
    world.put_source("a", "first").await;
    until("the first is being read", async || {
        world.china.faults().injected("s3:GetObject") == 1
    })
    .await;
    world.put_source("a", "second, and longer").await;
    world.until_queue_is_empty().await;
    assert_eq!(
        world.destination_bytes("a").await.as_deref(),
        Some(b"second, and longer".as_slice())
    );
    assert_eq!(
        writes.since(),
        [1],
        "the first object's read no longer matched its ETag"
    );
    assert_eq!(
        service.metric("syncomatic_retries_total", None),
        0,
        "412 is no failure"
    );
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_overwritten_while_it_is_written_is_overtaken() {
    let world = World::new().await;
    let service = world.run(world.config());
    service.until_ready().await;
    world
        .europe
        .faults()
        .inject(Rule::on("s3:PutObject").times(1).delay(SECOND));
    world.put_source("a", "first").await;
    until("the first is being written", async || {
        world.europe.faults().injected("s3:PutObject") == 1
    })
    .await;
    world.put_source("a", "second").await;
    until("the second was copied", async || service.records("copied") == 1).await;
    assert_eq!(
        world.destination_bytes("a").await.as_deref(),
        Some(b"second".as_slice())
    );
    world.until_queue_is_empty().await;
    assert_eq!(
        world.destination_bytes("a").await.as_deref(),
        Some(b"second".as_slice())
    );
    assert_eq!(
        (service.records("copied"), service.records("already_there")),
        (1, 1),
        "412 and a second look"
    );
    service.stop().await.expect("drained");
}

/// Looking at the source first would find the first version, then the second one's copy, and replace
/// it: three writes, the destination old in between.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_object_never_replaces_a_newer_one() {
    let world = World::new().await;
    enable_versions(&world).await;
    let service = world.run(world.config());
    service.until_ready().await;
    let writes = Calls::count(&world.europe, &["s3:PutObject"]);
    world
        .europe
        .faults()
        .inject(Rule::on("s3:HeadObject").times(1).delay(SECOND));
    world.put_source("a", "first").await;
    until("the first is looked for", async || {
        world.europe.faults().injected("s3:HeadObject") == 1
    })
    .await;
    world.put_source("a", "second").await;
    world.until_queue_is_empty().await;
    assert_eq!(
        world.destination_bytes("a").await.as_deref(),
        Some(b"second".as_slice())
    );
    assert_eq!(writes.since(), [1]);
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_at_the_destination_without_proof_is_replaced() {
    let world = World::new().await;
    for (key, body) in [("same size", "other bytes"), ("same bytes", "equal bytes")] {
        let put = world
            .destination
            .s3
            .put_object()
            .bucket(DESTINATION_BUCKET)
            .key(key);
        let put = put
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .body(body.as_bytes().to_vec().into());
        put.send().await.expect("stored");
    }
    let service = world.run(world.config());
    for key in ["same size", "same bytes"] {
        world.put_source(key, "equal bytes").await;
    }
    world.until_queue_is_empty().await;
    for key in ["same size", "same bytes"] {
        let arrived = world.get_destination(key).await.expect("copied");
        let marked = arrived
            .metadata
            .as_ref()
            .is_some_and(|metadata| metadata.contains_key(MARKER));
        assert!(marked, "{key}: content headers and metadata have not been copied");
        assert_eq!(
            arrived.body.collect().await.expect("a body").to_vec(),
            b"equal bytes",
            "{key}"
        );
    }
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_source_is_acknowledged_and_deletes_nothing() {
    let world = World::new().await;
    world.put_source("never-copied", "x").await;
    let delete = world
        .source
        .s3
        .delete_object()
        .bucket(SOURCE_BUCKET)
        .key("never-copied");
    delete.send().await.expect("deleted");
    let service = world.run(world.config());
    until("it is found gone", async || service.records("vanished") == 1).await;

    world.put_source("copied", "x").await;
    until("it is copied", async || service.records("copied") == 1).await;
    let delete = world
        .source
        .s3
        .delete_object()
        .bucket(SOURCE_BUCKET)
        .key("copied");
    delete.send().await.expect("deleted");
    world.send(&message(&[record(SOURCE_BUCKET, "copied")])).await;
    until("it is found gone", async || service.records("vanished") == 2).await;
    world.until_queue_is_empty().await;
    assert!(world.destination_bytes("never-copied").await.is_none());
    assert!(world.destination_bytes("copied").await.is_some());
    service.stop().await.expect("drained");
}

/// S3 answers 404 for an object of a bucket that does not exist, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_source_bucket_is_not_taken_for_a_vanished_object() {
    let world = World::new().await;
    let service = world.run(world.config());
    service.until_ready().await;
    let delete = world.source.s3.delete_bucket().bucket(SOURCE_BUCKET);
    delete.send().await.expect("deleted");
    world.send(&message(&[record(SOURCE_BUCKET, "a")])).await;
    service.until_not_ready("access: HeadBucket at the source").await;
    until("it is left", async || {
        service.metric("syncomatic_messages_total", Some("left")) == 1
    })
    .await;
    assert_eq!(
        world.queue_depth(&world.queue_url).await,
        (0, 1),
        "hidden, not deleted"
    );
    assert_eq!(service.records("vanished"), 0);
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_write_and_acknowledgement_costs_two_looks() {
    let world = World::new().await;
    let mut config = world.config();
    config.limits.visibility_timeout = Duration::from_secs(2);
    world
        .china
        .faults()
        .inject(Rule::on("sqs:DeleteMessage").cut_off());
    let service = world.run(config.clone());
    world.put_source("a", "once").await;
    until("it is copied", async || service.records("copied") == 1).await;
    service.kill().await;

    let operations = ["s3:HeadObject", "s3:GetObject", "s3:PutObject"];
    let source = Calls::count(&world.china, &operations);
    let destination = Calls::count(&world.europe, &operations);
    let service = world.run(config);
    world.until_queue_is_empty().await;
    assert_eq!(source.since(), [1, 0, 0]);
    assert_eq!(destination.since(), [1, 0, 0]);
    assert_eq!(service.records("already_there"), 1);
    assert_eq!(
        world.destination_bytes("a").await.as_deref(),
        Some(b"once".as_slice())
    );
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_writing_is_repeated() {
    let world = World::new().await;
    let mut config = world.config();
    config.limits.visibility_timeout = Duration::from_secs(2);
    world
        .europe
        .faults()
        .inject(Rule::on("s3:PutObject").times(1).delay(60 * SECOND));
    let service = world.run(config.clone());
    world.put_source("a", "in the end").await;
    until("it is being written", async || {
        world.europe.faults().injected("s3:PutObject") == 1
    })
    .await;
    service.kill().await;
    assert!(world.destination_bytes("a").await.is_none());

    let service = world.run(config);
    world.until_queue_is_empty().await;
    assert_eq!(
        world.destination_bytes("a").await.as_deref(),
        Some(b"in the end".as_slice())
    );
    service.stop().await.expect("drained");
}

/// The destination's ETag is the same before and after, so that the write's condition holds; only the
/// look after the write finds that the source has changed back.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_changes_back_while_it_is_written_wins() {
    let world = World::new().await;
    let service = world.run(world.config());
    world.put_source("a", "content A").await;
    until("A is copied", async || service.records("copied") == 1).await;

    world
        .europe
        .faults()
        .inject(Rule::on("s3:PutObject").times(1).delay(SECOND));
    world.put_source("a", "content B").await;
    until("B is being written", async || {
        world.europe.faults().injected("s3:PutObject") == 1
    })
    .await;
    world.put_source("a", "content A").await;
    until("A is found in place", async || {
        service.records("already_there") == 1
    })
    .await;
    world.until_queue_is_empty().await;
    assert_eq!(
        world.destination_bytes("a").await.as_deref(),
        Some(b"content A".as_slice())
    );
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_were_changed_under_a_true_marker_are_replaced() {
    let world = World::new().await;
    let service = world.run(world.config());
    world.put_source("a", "true bytes").await;
    world.until_queue_is_empty().await;
    let copied = world.get_destination("a").await.expect("copied");
    let put = world
        .destination
        .s3
        .put_object()
        .bucket(DESTINATION_BUCKET)
        .key("a");
    let put = put
        .set_metadata(copied.metadata)
        .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme);
    put.body(b"FALSE BYTE".to_vec().into())
        .send()
        .await
        .expect("stored");

    world.send(&message(&[record(SOURCE_BUCKET, "a")])).await;
    until("it is copied again", async || service.records("copied") == 2).await;
    assert_eq!(
        world.destination_bytes("a").await.as_deref(),
        Some(b"true bytes".as_slice())
    );
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_versioned_source_is_read_by_version_and_ends_with_the_latest() {
    let world = World::new().await;
    enable_versions(&world).await;
    let service = world.run(world.config());
    service.until_ready().await;
    world
        .china
        .faults()
        .inject(Rule::on("s3:GetObject").times(1).delay(SECOND));
    world.put_source("a", "first").await;
    until("the first is being read", async || {
        world.china.faults().injected("s3:GetObject") == 1
    })
    .await;
    let second = world.put("a", "second").send().await.expect("stored");
    world.until_queue_is_empty().await;
    let arrived = world.get_destination("a").await.expect("copied");
    let marker = &arrived.metadata.as_ref().expect("metadata")[MARKER];
    let version = second.version_id.expect("a version");
    assert!(marker.contains(&format!("version={version} ")), "{marker}");
    assert_eq!(arrived.body.collect().await.expect("a body").to_vec(), b"second");
    service.stop().await.expect("drained");
}
