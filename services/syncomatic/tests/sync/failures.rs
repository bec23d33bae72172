//! Calls that fail, connections that break, access that is refused, queues that are not there.

use std::time::{Duration, Instant};

use aws_sdk_s3::config::timeout::TimeoutConfig;
use local_cloud::{LocalCloud, Rule};

use crate::harness::{Calls, World, bytes, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_is_found_in_place() {
    let world = World::new().await;
    let service = world.run(world.config());
    service.until_ready().await;
    let writes = Calls::count(&world.europe, &["s3:PutObject"]);
    world
        .europe
        .faults()
        .inject(Rule::on("s3:PutObject").times(1).lose_answer());
    world.put_source("a", bytes(100_000)).await;
    world.until_queue_is_empty().await;
    assert_eq!(world.destination_bytes("a").await, Some(bytes(100_000)));
    // The counting rule and the losing one both fire on the one call.
    assert_eq!(writes.since(), [2], "it is not written again");
    assert_eq!(service.records("already_there"), 1);
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_breaks_off_is_repeated_and_never_stored_short() {
    let world = World::new().await;
    let service = world.run(world.config());
    service.until_ready().await;
    world
        .china
        .faults()
        .inject(Rule::on("s3:GetObject").times(3).cut_off_answer_after(300_000));
    world.put_source("a", bytes(1 << 20)).await;
    until("three reads broke", async || {
        world.china.faults().injected("s3:GetObject") == 3
    })
    .await;
    // Whatever is visible at any time is whole.
    let seen = world.destination_bytes("a").await;
    assert!(
        seen.is_none() || seen == Some(bytes(1 << 20)),
        "a truncated object is visible"
    );
    world.until_queue_is_empty().await;
    assert!(
        world.destination_bytes("a").await == Some(bytes(1 << 20)),
        "other bytes arrived"
    );
    let retries = service.metric("syncomatic_retries_total", Some("broken_stream"));
    assert_eq!(retries, 3, "each break is named for what it is");
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_either_side_are_retried_inside_the_time_out() {
    let world = World::new().await;
    let mut config = world.config();
    config.limits.tries = 20;
    let service = world.run(config);
    service.until_ready().await;
    let europe = world.europe.faults();
    europe.inject(Rule::on("s3:PutObject").times(2).fail(503, "SlowDown"));
    europe.inject(Rule::on("s3:PutObject").times(2).fail(500, "InternalError"));
    europe.inject(Rule::on("s3:PutObject").times(1).cut_off());
    europe.inject(Rule::on("s3:HeadObject").times(1).cut_off());
    let china = world.china.faults();
    china.inject(Rule::on("s3:HeadObject").times(1).fail(503, "SlowDown"));
    china.inject(Rule::on("s3:GetObject").times(1).fail(500, "InternalError"));
    world.put_source("a", bytes(10_000)).await;
    world.until_queue_is_empty().await;
    assert_eq!(world.destination_bytes("a").await, Some(bytes(10_000)));
    assert_eq!(
        service.metric("syncomatic_messages_received_total", None),
        2,
        "the test event and one"
    );
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checksum_that_the_destination_refuses_is_counted_and_tried_again() {
    let world = World::new().await;
    let service = world.run(world.config());
    service.until_ready().await;
    let fault = Rule::on("s3:PutObject").times(1).fail(400, "BadDigest");
    world.europe.faults().inject(fault);
    world.put_source("a", "x").await;
    world.until_queue_is_empty().await;
    assert_eq!(service.metric("syncomatic_checksum_mismatches_total", None), 1);
    assert_eq!(service.records("copied"), 1);
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_last_try_the_message_is_left_for_redelivery() {
    let world = World::new().await;
    let mut config = world.config();
    config.limits.tries = 2;
    config.limits.visibility_timeout = Duration::from_secs(2);
    let service = world.run(config);
    service.until_ready().await;
    world
        .europe
        .faults()
        .inject(Rule::on("s3:PutObject").times(2).fail(500, "InternalError"));
    world.put_source("a", "late").await;
    until("it is left", async || {
        service.metric("syncomatic_messages_total", Some("left")) == 1
    })
    .await;
    assert_eq!(service.records("unfinished"), 1);
    world.until_queue_is_empty().await;
    assert_eq!(
        world.destination_bytes("a").await.as_deref(),
        Some(b"late".as_slice())
    );
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_does_not_move_is_given_up_and_tried_again() {
    let world = World::new().await;
    let mut config = world.config();
    config.limits.progress_deadline = Duration::from_millis(300);
    let service = world.run(config);
    service.until_ready().await;
    world
        .europe
        .faults()
        .inject(Rule::on("s3:PutObject").times(1).delay(Duration::from_secs(60)));
    world.put_source("a", bytes(1 << 20)).await;
    world.until_queue_is_empty().await;
    assert!(
        world.destination_bytes("a").await == Some(bytes(1 << 20)),
        "other bytes arrived"
    );
    assert_eq!(service.metric("syncomatic_retries_total", Some("stalled")), 1);
    service.stop().await.expect("drained");
}

/// The SDK counts its read time-out from the start of a request, the upload included.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_may_take_longer_than_the_read_time_out() {
    let mut world = World::new().await;
    let config = world.destination.s3.config();
    let timeouts = TimeoutConfig::builder()
        .read_timeout(Duration::from_millis(500))
        .build();
    let config = config.to_builder().timeout_config(timeouts).build();
    world.destination.s3 = aws_sdk_s3::Client::from_conf(config);
    let service = world.run(world.config());
    service.until_ready().await;
    world
        .europe
        .faults()
        .inject(Rule::on("s3:PutObject").delay(Duration::from_secs(2)));
    world.put_source("a", "slow").await;
    world.until_queue_is_empty().await;
    assert_eq!(service.records("copied"), 1);
    assert_eq!(service.metric("syncomatic_retries_total", None), 0);
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_access_stops_receiving_and_shows() {
    let world = World::new().await;
    let refusal = Rule::on("s3:PutObject").fail(403, "AccessDenied");
    let shown = "access: PutObject at the destination: AccessDenied";
    refused(&world, &world.europe, refusal, shown).await;
}

/// S3 says with a 400 that a key may not be used to encrypt (`KMS.` and the exception's name,
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>).
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_destination_may_not_use_stops_receiving_and_shows() {
    let world = World::new().await;
    let refusal = Rule::on("s3:PutObject").fail(400, "KMS.DisabledException");
    let shown = "access: PutObject at the destination: KMS.DisabledException";
    refused(&world, &world.europe, refusal, shown).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_source_may_not_use_stops_receiving_and_shows() {
    let world = World::new().await;
    let refusal = Rule::on("s3:GetObject").fail(400, "KMS.KMSInvalidStateException");
    let shown = "access: GetObject at the source: KMS.KMSInvalidStateException";
    refused(&world, &world.china, refusal, shown).await;
}

/// Twenty objects meet a refusal at one side, until it is lifted.
async fn refused(world: &World, side: &LocalCloud, refusal: Rule, shown: &str) {
    let mut config = world.config();
    config.limits.concurrency = 2;
    config.limits.visibility_timeout = Duration::from_secs(2);
    let service = world.run(config);
    service.until_ready().await;
    side.faults().inject(refusal);
    for number in 0..20 {
        world.put_source(&format!("{number}"), "x").await;
    }
    service.until_not_ready(shown).await;
    let openings = || service.metric("syncomatic_circuit_openings_total", Some("denied"));
    until("probes were refused", async || openings() >= 4).await;
    let received = service.metric("syncomatic_messages_received_total", None);
    // The test event, two in hand when access was refused, and one for each probe.
    assert!(
        received <= 3 + openings(),
        "{received} messages were received for {} refusals",
        openings()
    );

    side.faults().clear();
    world.until_queue_is_empty().await;
    service.until_ready().await;
    assert_eq!(service.records("copied"), 20);
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_not_there_is_waited_for() {
    let world = World::without_queue().await;
    let service = world.run(world.config());
    service.until_not_ready("sides: GetQueueUrl at the source").await;
    world.create_queue().await;
    service.until_ready().await;
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_deleted_shows_without_a_hot_loop() {
    let world = World::without_queue().await;
    world.create_queue().await;
    let service = world.run(world.config());
    service.until_ready().await;
    world
        .source
        .sqs
        .delete_queue()
        .queue_url(&world.queue_url)
        .send()
        .await
        .expect("deleted");
    let started = Instant::now();
    service
        .until_not_ready("queue: ReceiveMessage at the source")
        .await;
    let failed = || service.metric("syncomatic_receive_errors_total", Some("not_found"));
    until("it was tried again", async || failed() >= 4).await;
    assert!(
        started.elapsed() >= Duration::from_millis(300),
        "four tries in {:?}",
        started.elapsed()
    );
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_that_is_not_the_configured_one_ends_the_service() {
    let world = World::new().await;
    let mut config = world.config();
    config.source.region = "cn-northwest-1".to_owned();
    let error = world.run(config).ended().await.expect_err("the wrong region");
    assert!(error.to_string().contains("cn-north-1"), "{error}");

    let mut config = world.config();
    config.destination.region = "eu-central-1".to_owned();
    let error = world.run(config).ended().await.expect_err("the wrong region");
    assert!(
        error
            .to_string()
            .contains("the destination bucket is in eu-west-1"),
        "{error}"
    );
}
