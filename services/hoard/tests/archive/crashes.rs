//! Crashes and lost answers at every step of a commit: prepare → put → checkpoint.

use std::time::Duration;

use hoard::Error;
use local_cloud::Rule;

use crate::world::{World, layout};

/// The shard's state object, and the objects of the archive, as `bucket/key`.
const STATE: &str = "shardId-000000000000.json";
const OBJECT: &str = ".jsonl.gz";
/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3600);

fn put(resource: &str) -> Rule {
    Rule::on("s3:PutObject").resource_containing(resource)
}

/// Runs into `rules`, which hold a commit up for good; kills the instance there; expects the next one
/// to leave each record exactly once.
async fn crash_at(rules: Vec<Rule>) {
    let world = World::with_shards(1).await;
    world.send(0..200).await;
    let expected = rules.len() as u64;
    for rule in rules {
        world.faults().inject(rule);
    }
    let first = world.start(world.config());
    world.until_injected("s3:PutObject", expected).await;
    first.kill().await;
    world.faults().clear();

    world.send(200..300).await;
    let second = world.start(world.config());
    world.until_archived(300).await;
    second.stop().await;
    world.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_before_the_shard_is_claimed() {
    crash_at(vec![put(STATE).delay(FOR_EVER)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_before_the_cut_is_prepared() {
    crash_at(vec![put(STATE).skip(1).delay(FOR_EVER)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_after_the_cut_is_prepared_without_knowing_it() {
    crash_at(vec![
        put(STATE).skip(1).times(1).lose_answer(),
        put(STATE).skip(1).delay(FOR_EVER),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_before_the_object_is_stored() {
    crash_at(vec![put(OBJECT).delay(FOR_EVER)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_after_the_object_is_stored_without_knowing_it() {
    crash_at(vec![
        put(OBJECT).times(1).lose_answer(),
        put(OBJECT).delay(FOR_EVER),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_before_the_checkpoint_moves() {
    crash_at(vec![put(STATE).skip(2).delay(FOR_EVER)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_after_the_checkpoint_moved_without_knowing_it() {
    crash_at(vec![
        put(STATE).skip(2).times(1).lose_answer(),
        put(STATE).skip(2).delay(FOR_EVER),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_cut_is_redone_as_it_was_announced_whatever_the_settings_are_now() {
    let world = World::with_shards(1).await;
    world.send(0..100).await;
    world.faults().inject(put(OBJECT).delay(FOR_EVER));
    let first = world.start(world.config());
    world.until_injected("s3:PutObject", 1).await;
    first.kill().await;
    world.faults().clear();
    let announced = world
        .state("shardId-000000000000")
        .await
        .expect("claimed")
        .pending
        .expect("prepared");

    let mut config = world.config();
    config.layout = layout("elsewhere/!{partitionKey:n}/", "elsewhere-errors/");
    config.compression = hoard::encode::Compression::None;
    let second = world.start(config);
    world
        .until("the cut is finished", async || {
            second.metric("hoard_recovered_cuts_total{how=\"redone\"}") == 1.0
        })
        .await;
    second.stop().await;
    assert_eq!(world.keys("raw/").await, [announced.objects[0].key.clone()]);
    let objects = world.objects("raw/").await;
    assert_eq!(
        objects[0].metadata["last-sequence-number"],
        announced.last.as_str()
    );
    assert_eq!(objects[0].lines.len() as u64, announced.records);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_cut_is_not_read_again() {
    let world = World::with_shards(1).await;
    world.send(0..100).await;
    world.faults().inject(put(STATE).skip(2).delay(FOR_EVER));
    let first = world.start(world.config());
    world.until_injected("s3:PutObject", 1).await;
    first.kill().await;
    world.faults().clear();
    let second = world.start(world.config());
    world
        .until("the cut is finished", async || {
            second.metric("hoard_recovered_cuts_total{how=\"found\"}") == 1.0
        })
        .await;
    second.stop().await;
    world.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_left_the_stream_before_a_redo_are_counted_and_the_rest_goes_on() {
    let world = World::with_shards(1).await;
    world.send(0..30).await;
    world.faults().inject(put(OBJECT).delay(FOR_EVER));
    let first = world.start(world.config());
    world.until_injected("s3:PutObject", 1).await;
    first.kill().await;
    world.faults().clear();
    let announced = world
        .state("shardId-000000000000")
        .await
        .expect("claimed")
        .pending
        .expect("prepared");

    world.clock.advance(Duration::from_secs(25 * 3600));
    world.send(30..40).await;
    let second = world.start(world.config());
    world.until_archived(10).await;
    assert_eq!(
        second.metric("hoard_records_missing_total"),
        announced.records as f64
    );
    second.stop().await;
    world.assert_holds_what_the_stream_does().await;
    let objects = world.objects("raw/").await;
    assert_eq!(
        objects[0].metadata["after-sequence-number"],
        announced.last.as_str(),
        "the objects themselves show that a cut is missing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_cut_connections_and_errors_are_outlived() {
    let world = World::with_shards(1).await;
    world.send(0..200).await;
    let faults = world.faults();
    // One of each on every kind of write; each write succeeds in the end.
    for resource in [STATE, OBJECT] {
        faults.inject(put(resource).skip(1).times(1).lose_answer());
        faults.inject(put(resource).skip(1).times(1).cut_off());
        faults.inject(put(resource).skip(1).times(1).fail(503, "SlowDown"));
        faults.inject(
            put(resource)
                .skip(1)
                .times(1)
                .fail(409, "ConditionalRequestConflict"),
        );
    }
    let mut config = world.config();
    config.limits.bytes = 2_000;
    let hoard = world.start(config);
    world.until_archived(200).await;
    assert!(
        hoard.metric("hoard_conflicts_total{meaning=\"own\"}") >= 2.0,
        "both lost answers were recognised"
    );
    hoard.stop().await;
    assert_eq!(world.faults().injected("s3:PutObject"), 8);
    world.assert_exact().await;
}

/// Everything at once, with restarts: the protocol does not depend on which call fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_faults_and_kills_loses_and_doubles_nothing() {
    let world = World::with_shards(3).await;
    let faults = world.faults();
    for on in [
        "s3:PutObject",
        "s3:GetObject",
        "s3:HeadObject",
        "kinesis:GetRecords",
    ] {
        faults.inject(Rule::on(on).probability(0.08).lose_answer());
        faults.inject(Rule::on(on).probability(0.08).cut_off());
        faults.inject(Rule::on(on).probability(0.08).throttle());
    }
    let mut config = world.config();
    config.limits.bytes = 3_000;
    config.limits.age = Duration::from_millis(20);
    for round in 0..12 {
        let hoard = world.start(config.clone());
        world.send(round * 100..(round + 1) * 100).await;
        // A different place each time: whatever is under way after so many faults is cut short.
        world
            .until_injected("*", world.faults().injected("*") + 5 + round as u64)
            .await;
        hoard.kill().await;
    }
    world.faults().clear();
    let hoard = world.start(config);
    world.until_archived(1200).await;
    hoard.stop().await;
    world.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_cannot_finish_says_so_and_the_next_instance_finishes() {
    let world = World::with_shards(1).await;
    world.send(0..100).await;
    world.faults().inject(put(OBJECT).fail(503, "ServiceUnavailable"));
    let mut first = world.start_with_deadline(world.config(), Duration::from_millis(300));
    world.until_injected("s3:PutObject", 1).await;
    first.runtime.shutdown.request();
    let error = first.ended().await.expect_err("the bucket takes nothing");
    assert!(matches!(error, Error::NotDrained { shards: 1 }), "{error}");
    world.faults().clear();
    let second = world.start(world.config());
    world.until_archived(100).await;
    second.stop().await;
    world.assert_exact().await;
}
