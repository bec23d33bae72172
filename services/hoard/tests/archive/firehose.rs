//! Lines into Firehose: each at least once, a checkpoint never past one that was not accepted.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_firehose::types::ExtendedS3DestinationConfiguration;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use hoard::layout::{Layout, LinesTo};
use hoard::{Config, Error};
use local_cloud::Rule;

use crate::world::{Hoard, MIDDLE, STREAM, World};

const DELIVERY_STREAM: &str = "to-analytics";
const DELIVERED: &str = "delivered";
const SHARD: &str = "shardId-000000000000";
/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3600);
/// The largest record that Firehose takes.
const LARGEST: usize = 1_024_000;

/// A stream, and a delivery stream into a bucket of its own.
async fn world(shards: i32) -> World {
    let world = World::with_shards(shards).await;
    let location = CreateBucketConfiguration::builder()
        .location_constraint(BucketLocationConstraint::CnNorth1)
        .build();
    let create = world.s3.create_bucket().bucket(DELIVERED);
    create
        .create_bucket_configuration(location)
        .send()
        .await
        .expect("created");
    let destination = ExtendedS3DestinationConfiguration::builder()
        .role_arn("arn:aws-cn:iam::123456789012:role/firehose")
        .bucket_arn(format!("arn:aws-cn:s3:::{DELIVERED}"))
        .build()
        .expect("complete");
    let create = world.firehose.create_delivery_stream();
    let create = create.delivery_stream_name(DELIVERY_STREAM);
    let create = create.extended_s3_destination_configuration(destination);
    Box::pin(create.send()).await.expect("created");
    world
}

fn config(world: &World) -> Config {
    let mut config = world.config();
    config.delivery_stream = Some(DELIVERY_STREAM.to_owned());
    config.layout = std::sync::Arc::new(Layout {
        lines: LinesTo::Firehose,
        ..config.layout.as_ref().clone()
    });
    config
}

/// Every line that was delivered.
async fn lines(world: &World) -> Vec<String> {
    let pages = world
        .s3
        .list_objects_v2()
        .bucket(DELIVERED)
        .into_paginator()
        .send();
    let pages: Vec<_> = pages.try_collect().await.expect("listed");
    let mut lines = Vec::new();
    for object in pages.iter().flat_map(|page| page.contents()) {
        let get = world
            .s3
            .get_object()
            .bucket(DELIVERED)
            .key(object.key().expect("a key"));
        let body = get
            .send()
            .await
            .expect("readable")
            .body
            .collect()
            .await
            .expect("whole");
        let text = String::from_utf8(body.to_vec()).expect("UTF-8");
        assert!(text.ends_with('\n'), "each line is ended");
        lines.extend(text.lines().map(str::to_owned));
    }
    lines
}

/// How often each event was delivered, by its number.
async fn counts(world: &World) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for line in lines(world).await {
        let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        *counts.entry(event["n"].as_u64().expect("a number")).or_default() += 1;
    }
    counts
}

async fn until_delivered(world: &World, events: usize) {
    let what = format!("{events} events are delivered");
    world
        .until(&what, async || counts(world).await.len() >= events)
        .await;
}

/// Waits until the checkpoint of the only shard is at its last record.
async fn until_committed(world: &World, hoard: &Hoard, records: f64) {
    world
        .until("all is committed", async || {
            hoard.metric("hoard_records_committed_total") == records
        })
        .await;
}

async fn assert_each_once(world: &World, events: u64) {
    assert_eq!(counts(world).await, (0..events).map(|n| (n, 1)).collect());
}

fn put(resource: &str) -> Rule {
    Rule::on("s3:PutObject").resource_containing(resource)
}

fn batches() -> Rule {
    Rule::on("firehose:PutRecordBatch")
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_delivered_and_what_is_none_is_kept_with_the_reason() {
    let world = world(2).await;
    let longest = |length: usize| format!("{{\"n\":105,\"text\":\"{}\"}}", "x".repeat(length - 19));
    let mut aggregate = kpl::Aggregate::new();
    for n in 100..105 {
        aggregate.push("device", None, format!("{{\"n\":{n}}}").as_bytes());
    }
    world.send(0..100).await;
    // With its line break, the first fills a record of Firehose's, and the second is one byte too long.
    let (fits, too_long) = (longest(LARGEST - 1), longest(LARGEST));
    assert_eq!(fits.len(), LARGEST - 1);
    let records = [
        aggregate.finish(),
        b"not json".to_vec(),
        fits.into_bytes(),
        too_long.clone().into_bytes(),
    ];
    for record in records {
        world.send_raw(&[record]).await;
    }
    let hoard = world.start(config(&world));
    until_delivered(&world, 106).await;
    until_committed(&world, &hoard, 104.0).await;
    assert_eq!(hoard.metric("hoard_firehose_records_total"), 106.0);
    assert_eq!(hoard.metric("hoard_records_bad_total{reason=\"too-long\"}"), 1.0);
    assert!(hoard.metric("hoard_firehose_request_records_count") >= 2.0);
    hoard.stop().await;

    assert_each_once(&world, 106).await;
    assert_eq!(
        world.keys("raw/").await,
        Vec::<String>::new(),
        "lines are in no object of ours"
    );
    let errors = world.objects("errors/").await;
    let mut errors: Vec<serde_json::Value> = errors
        .iter()
        .flat_map(|object| &object.lines)
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    errors.sort_by_key(|error| error["errorCode"].to_string());
    let codes: Vec<_> = errors.iter().map(|error| error["errorCode"].as_str()).collect();
    assert_eq!(codes, [Some("not-json"), Some("too-long")]);
    assert!(errors[1]["rawData"].as_str().expect("text").len() > too_long.len());
}

/// The order of acceptance and checkpoint, from both sides.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_committed_that_was_not_accepted() {
    let world = world(1).await;
    world.send(0..200).await;
    world.faults().inject(batches().throttle());
    let first = world.start(config(&world));
    world.until_injected("firehose:PutRecordBatch", 5).await;
    assert!(first.metric("hoard_retries_total{failure=\"throttled\",step=\"deliver\"}") >= 4.0);
    let asked = std::time::Instant::now();
    first.stop().await;
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "a drain does not wait for Firehose"
    );
    let state = world.state(SHARD).await.expect("claimed");
    assert_eq!((state.checkpoint, state.pending, state.owner), (None, None, None));

    // Half of what is left is taken each time, but for the last record, which never is.
    world.faults().clear();
    world.faults().inject(batches().throttle_records(0.5));
    let second = world.start(config(&world));
    world
        .until("all but one is taken", async || counts(&world).await.len() == 199)
        .await;
    second.stop().await;
    assert_eq!(world.state(SHARD).await.expect("claimed").checkpoint, None);

    world.faults().clear();
    let third = world.start(config(&world));
    until_delivered(&world, 200).await;
    until_committed(&world, &third, 200.0).await;
    third.stop().await;
    let counts = counts(&world).await;
    assert_eq!(
        counts.values().filter(|times| **times == 2).count(),
        199,
        "sent a second time"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_acceptance_and_checkpoint_doubles_and_loses_nothing() {
    let world = world(1).await;
    world.send(0..200).await;
    // After the claim.
    world.faults().inject(put(SHARD).skip(1).delay(FOR_EVER));
    let first = world.start(config(&world));
    until_delivered(&world, 200).await;
    world.until_injected("s3:PutObject", 1).await;
    first.kill().await;
    world.faults().clear();
    assert_eq!(world.state(SHARD).await.expect("claimed").checkpoint, None);

    world.send(200..250).await;
    let second = world.start(config(&world));
    until_delivered(&world, 250).await;
    until_committed(&world, &second, 250.0).await;
    second.stop().await;
    let expected = (0..250).map(|n| (n, if n < 200 { 2 } else { 1 })).collect();
    assert_eq!(counts(&world).await, expected);
}

/// What was announced was accepted: whoever finishes it stores its error lines and sends nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_announcement_doubles_nothing() {
    for held_up in [".jsonl.gz", SHARD] {
        let world = world(1).await;
        world.send(0..100).await;
        world.send_raw(&[b"not json".to_vec()]).await;
        let calls_before = u64::from(held_up == SHARD) * 2; // claim and announcement
        world
            .faults()
            .inject(put(held_up).skip(calls_before).delay(FOR_EVER));
        let mut in_one_cut = config(&world);
        in_one_cut.limits.age = Duration::from_secs(2);
        let first = world.start(in_one_cut);
        world.until_injected("s3:PutObject", 1).await;
        first.kill().await;
        world.faults().clear();
        let pending = world
            .state(SHARD)
            .await
            .expect("claimed")
            .pending
            .expect("announced");
        assert_eq!((pending.records, pending.objects.len()), (101, 1));

        world.send(100..120).await;
        let second = world.start(config(&world));
        until_delivered(&world, 120).await;
        until_committed(&world, &second, 121.0).await;
        second.stop().await;
        assert_each_once(&world, 120).await;
        assert_eq!(world.lines_count("errors/").await, 1, "{held_up}");
        assert_eq!(world.lines_count("raw/").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_call_that_is_taken_in_part_only_the_rest_is_sent_again() {
    let world = world(1).await;
    world.send(0..400).await;
    world.faults().inject(batches().times(3).throttle_records(0.25));
    let hoard = world.start(config(&world));
    until_delivered(&world, 400).await;
    until_committed(&world, &hoard, 400.0).await;
    assert_each_once(&world, 400).await;
    // A quarter of 400, of the 100 that were left, and of the 25 after that.
    let retried = hoard.metric("hoard_firehose_retried_records_total{cause=\"throttled\"}");
    assert_eq!(retried, f64::from(100 + 25 + 6));
    assert_eq!(hoard.metric("hoard_firehose_records_total"), 400.0);
    hoard.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_fail_are_made_again_also_when_they_were_carried_out() {
    let world = world(1).await;
    world.send(0..100).await;
    world.faults().inject(batches().times(2).throttle());
    world
        .faults()
        .inject(batches().times(1).fail(500, "InternalFailure"));
    world.faults().inject(batches().times(1).lose_answer());
    let hoard = world.start(config(&world));
    until_committed(&world, &hoard, 100.0).await;
    hoard.stop().await;
    let twice = (0..100).map(|n| (n, 2)).collect();
    assert_eq!(
        counts(&world).await,
        twice,
        "the answer that was lost was to all of them"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_are_delivered_to_their_end_through_splits_and_merges_and_hand_overs() {
    let world = world(1).await;
    world.send(0..100).await;
    let first = world.start(config(&world));
    until_delivered(&world, 100).await;
    world.split(SHARD, MIDDLE).await;
    world.send(100..300).await;
    let second = world.start(config(&world));
    until_delivered(&world, 300).await;
    world.merge("shardId-000000000001", "shardId-000000000002").await;
    world.send(300..400).await;
    first.stop().await;
    until_delivered(&world, 400).await;
    for shard in [SHARD, "shardId-000000000001", "shardId-000000000002"] {
        let what = format!("{shard} has ended");
        world
            .until(&what, async || {
                world.state(shard).await.is_some_and(|state| state.shard_end)
            })
            .await;
    }
    second.stop().await;
    assert_each_once(&world, 400).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_that_was_announced_for_the_bucket_is_finished_there() {
    let world = world(1).await;
    world.send(0..100).await;
    world.faults().inject(put(".jsonl.gz").delay(FOR_EVER));
    let before = world.start(world.config());
    world.until_injected("s3:PutObject", 1).await;
    before.kill().await;
    world.faults().clear();
    let announced = world
        .state(SHARD)
        .await
        .expect("claimed")
        .pending
        .expect("announced");
    assert_eq!(announced.records, 100);

    world.send(100..150).await;
    let after = world.start(config(&world));
    until_delivered(&world, 50).await;
    after.stop().await;
    assert_eq!(world.lines_count("raw/").await, 100);
    assert_eq!(counts(&world).await, (100..150).map(|n| (n, 1)).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_stream_that_is_not_there_is_named() {
    let world = World::with_shards(1).await;
    let error = world
        .start(config(&world))
        .ended()
        .await
        .expect_err("no such stream");
    assert!(
        matches!(&error, Error::DeliveryStream { stream, .. } if stream == DELIVERY_STREAM),
        "{error}"
    );
    assert_eq!(
        world.keys(&format!("_hoard/{STREAM}/")).await,
        Vec::<String>::new()
    );
}
