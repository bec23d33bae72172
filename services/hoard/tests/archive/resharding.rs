//! Splits and merges in the middle: parents before children, nothing lost.

use local_cloud::Rule;

use crate::world::{MIDDLE, World};

const FIRST: &str = "shardId-000000000000";
#[tokio::test(flavor = "multi_thread")]
async fn a_split_and_a_merge_lose_and_double_nothing() {
    let world = World::with_shards(1).await;
    let hoard = world.start(world.config());
    world.send(0..200).await;
    world.split(FIRST, MIDDLE).await;
    world.send(200..400).await;
    world.merge("shardId-000000000001", "shardId-000000000002").await;
    world.send(400..600).await;
    world.until_archived(600).await;
    hoard.stop().await;
    world.assert_exact().await;
    for shard in [FIRST, "shardId-000000000001", "shardId-000000000002"] {
        assert!(
            world.state(shard).await.expect("claimed").shard_end,
            "{shard} is closed and committed"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_tree_found_at_the_start_is_read_from_its_root() {
    let world = World::with_shards(1).await;
    world.send(0..100).await;
    world.split(FIRST, MIDDLE).await;
    world.send(100..200).await;
    world.merge("shardId-000000000001", "shardId-000000000002").await;
    world.send(200..300).await;
    let hoard = world.start(world.config());
    world.until_archived(300).await;
    hoard.stop().await;
    world.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn children_wait_until_their_parent_is_committed() {
    let world = World::with_shards(1).await;
    world.send(0..100).await;
    // The parent cannot commit: its objects are refused, but its children's would not be.
    let parents_objects = "shardId-000000000000-";
    let put = Rule::on("s3:PutObject").resource_containing(parents_objects);
    world.faults().inject(put.fail(503, "ServiceUnavailable"));
    world.split(FIRST, MIDDLE).await;
    world.send(100..200).await;
    let hoard = world.start(world.config());
    world.until_injected("s3:PutObject", 1).await;
    // A rule without an action counts: the service looks at the shards five more times.
    world.faults().inject(Rule::on("kinesis:ListShards"));
    world.until_injected("kinesis:ListShards", 5).await;
    assert_eq!(hoard.metric("hoard_shards{state=\"waiting\"}"), 2.0);
    for child in ["shardId-000000000001", "shardId-000000000002"] {
        assert_eq!(
            world.state(child).await,
            None,
            "{child} was started before its parent was committed"
        );
    }
    world.faults().clear();
    world.until_archived(200).await;
    hoard.stop().await;
    world.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_the_end_of_a_shard_does_not_strand_its_children() {
    let world = World::with_shards(1).await;
    world.send(0..100).await;
    world.split(FIRST, MIDDLE).await;
    world.send(100..200).await;
    // Claim, prepare, checkpoint pass; the mark that the shard has ended does not.
    let mark = Rule::on("s3:PutObject")
        .resource_containing("shardId-000000000000.json")
        .skip(3);
    world.faults().inject(mark.fail(503, "ServiceUnavailable"));
    let first = world.start(world.config());
    world.until_injected("s3:PutObject", 1).await;
    first.kill().await;
    world.faults().clear();
    let second = world.start(world.config());
    world.until_archived(200).await;
    second.stop().await;
    world.assert_exact().await;
}

/// Every shard of the tree is archived by whoever it falls to, and still in order.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_a_tree_of_splits_and_merges() {
    let world = World::with_shards(1).await;
    let all: Vec<_> = (0..3).map(|_| world.start(world.config())).collect();
    let mut sent = 0;
    let mut send_more = async || {
        world.send(sent..sent + 200).await;
        sent += 200;
    };
    send_more().await;
    world.split(FIRST, MIDDLE).await;
    send_more().await;
    world
        .split("shardId-000000000001", "85070591730234615865843651857942052864")
        .await;
    send_more().await;
    world.merge("shardId-000000000003", "shardId-000000000004").await;
    send_more().await;
    world.merge("shardId-000000000005", "shardId-000000000002").await;
    send_more().await;
    world.until_archived(1000).await;
    for shard in ["shardId-000000000000", "shardId-000000000005"] {
        world
            .until("the closed shards have ended", async || {
                world.state(shard).await.is_some_and(|state| state.shard_end)
            })
            .await;
    }
    assert_eq!(
        all[0].metric("hoard_stream_hash_range_defects{defect=\"hole\"}"),
        0.0
    );
    for hoard in all {
        hoard.stop().await;
    }
    world.assert_exact().await;
}
