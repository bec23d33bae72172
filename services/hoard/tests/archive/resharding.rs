//! Splits and merges in the middle: parents before children, nothing lost.

use local_cloud::Rule;

use crate::world::{STREAM, World};

const FIRST: &str = "shardId-000000000000";
/// The middle of the whole range of hash keys, 2^127.
const MIDDLE: &str = "170141183460469231731687303715884105728";

async fn split(world: &World, shard: &str, at: &str) {
    let request = world
        .kinesis
        .split_shard()
        .stream_name(STREAM)
        .shard_to_split(shard);
    request.new_starting_hash_key(at).send().await.expect("split");
    world.until_active().await;
}

async fn merge(world: &World, shard: &str, adjacent: &str) {
    let request = world
        .kinesis
        .merge_shards()
        .stream_name(STREAM)
        .shard_to_merge(shard);
    request
        .adjacent_shard_to_merge(adjacent)
        .send()
        .await
        .expect("merged");
    world.until_active().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_and_a_merge_lose_and_double_nothing() {
    let world = World::with_shards(1).await;
    let hoard = world.start(world.config());
    world.send(0..200).await;
    split(&world, FIRST, MIDDLE).await;
    world.send(200..400).await;
    merge(&world, "shardId-000000000001", "shardId-000000000002").await;
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
    split(&world, FIRST, MIDDLE).await;
    world.send(100..200).await;
    merge(&world, "shardId-000000000001", "shardId-000000000002").await;
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
    split(&world, FIRST, MIDDLE).await;
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
    split(&world, FIRST, MIDDLE).await;
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
