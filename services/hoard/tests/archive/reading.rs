//! What Kinesis can do to a reader.

use std::time::Duration;

use local_cloud::Rule;

use crate::world::World;

/// One failure at a time: after each, what was sent meanwhile arrives.
#[tokio::test(flavor = "multi_thread")]
async fn failed_reads_are_tried_again_and_seen() {
    let read = || Rule::on("kinesis:GetRecords").times(1);
    let faults = [
        read().throttle(),
        read().fail(400, "ExpiredIteratorException"),
        read().fail(500, "InternalFailure"),
        read().lose_answer(),
        read().cut_off(),
        read().cut_off_answer_after(100),
        read().fail(400, "NeverHeardOfException"),
    ];
    let count = faults.len();
    let world = World::with_shards(1).await;
    world
        .faults()
        .inject(Rule::on("kinesis:ListShards").times(1).throttle());
    world
        .faults()
        .inject(Rule::on("kinesis:GetShardIterator").times(1).throttle());
    let hoard = world.start(world.config());
    for (round, fault) in faults.into_iter().enumerate() {
        world.faults().inject(fault);
        world.send(round * 20..(round + 1) * 20).await;
        world.until_injected("kinesis:GetRecords", round as u64 + 1).await;
        world.until_archived((round + 1) * 20).await;
    }
    for step in ["list", "iterator", "read"] {
        let name = format!("hoard_retries_total{{failure=\"throttled\",step=\"{step}\"}}");
        assert_eq!(hoard.metric(&name), 1.0, "{name}");
    }
    assert_eq!(
        hoard.metric("hoard_records_repeated_total"),
        0.0,
        "reading resumes strictly after"
    );
    hoard.stop().await;
    assert_eq!(world.faults().injected("kinesis:GetRecords"), count as u64);
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
    assert_eq!(
        hoard.metric("hoard_records_repeated_total"),
        0.0,
        "reading resumes strictly after"
    );
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
