//! What Kinesis can do to a reader.

use std::time::Duration;

use local_cloud::Rule;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn failed_reads_are_tried_again_for_ever_and_seen() {
    let world = World::with_shards(1).await;
    world.send(0..300).await;
    let faults = world.faults();
    let read = || Rule::on("kinesis:GetRecords");
    faults.inject(read().times(2).throttle());
    faults.inject(read().times(1).fail(400, "ExpiredIteratorException"));
    faults.inject(read().times(1).fail(500, "InternalFailure"));
    faults.inject(read().times(1).lose_answer());
    faults.inject(read().times(1).cut_off_answer_after(100));
    faults.inject(read().times(1).fail(400, "NeverHeardOfException"));
    faults.inject(Rule::on("kinesis:GetShardIterator").times(2).throttle());
    faults.inject(Rule::on("kinesis:ListShards").times(2).throttle());
    let hoard = world.start(world.config());
    world.until_archived(300).await;
    assert_eq!(
        hoard.metric("hoard_retries_total{failure=\"throttled\",step=\"read\"}"),
        2.0
    );
    assert_eq!(
        hoard.metric("hoard_retries_total{failure=\"throttled\",step=\"list\"}"),
        2.0
    );
    hoard.stop().await;
    assert_eq!(world.faults().injected("kinesis:GetRecords"), 7);
    world.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_iterator_that_expires_while_idle_costs_and_doubles_nothing() {
    let world = World::with_shards(1).await;
    world.send(0..50).await;
    let hoard = world.start(world.config());
    world.until_archived(50).await;
    // Five minutes are an iterator's life; ten passed between two reads.
    world.clock.advance(Duration::from_secs(600));
    world.send(50..100).await;
    world.until_archived(100).await;
    assert!(hoard.metric("hoard_retries_total{failure=\"invalid\",step=\"read\"}") >= 1.0);
    hoard.stop().await;
    world.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_away_for_a_while_is_waited_for() {
    let world = World::with_shards(2).await;
    let hoard = world.start(world.config());
    world
        .until("ready", async || hoard.runtime.readiness.is_ready())
        .await;
    world
        .faults()
        .inject(Rule::on("kinesis:GetRecords").fail(503, "ServiceUnavailable"));
    world.until_injected("kinesis:GetRecords", 4).await;
    world.send(0..100).await;
    world.faults().clear();
    world.until_archived(100).await;
    hoard.stop().await;
    world.assert_exact().await;
}
