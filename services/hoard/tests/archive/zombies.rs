//! Two replicas that both believe they own a shard, and objects of somebody else.

use std::time::Duration;

use local_cloud::Rule;

use crate::world::{BUCKET, STREAM, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_former_owner_drops_what_it_holds_and_is_given_a_share_again() {
    let world = World::with_shards(2).await;
    let mut slow = world.config();
    slow.limits.age = Duration::from_millis(1500);
    let former = world.start_pausable(slow).await;
    world.send(0..100).await;
    world
        .until("the first holds all", async || {
            former.metric("hoard_records_read_total") >= 100.0
        })
        .await;
    let pause = former.pause();
    let owner = world.start(world.config());
    world.until_archived(100).await;
    assert_eq!(owner.metric("hoard_owner_changes_total{cause=\"dead\"}"), 2.0);
    world.send(100..200).await;
    world.until_archived(200).await;
    drop(pause);
    world
        .until("the first has lost both", async || {
            former.metric("hoard_owner_changes_total{cause=\"lost\"}") == 2.0
        })
        .await;
    world
        .until("one comes back", async || {
            former.metric("hoard_shards{state=\"running\"}") == 1.0
                && owner.metric("hoard_shards{state=\"running\"}") == 1.0
        })
        .await;
    world.send(200..300).await;
    world.until_archived(300).await;
    former.stop().await;
    owner.stop().await;
    world.assert_exact().await;
}

/// The former owner's put reaches S3 long after its successor has finished the same cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_arrives_late_changes_nothing() {
    let world = World::with_shards(1).await;
    world.send(0..100).await;
    let late = Duration::from_secs(3);
    world.faults().inject(
        Rule::on("s3:PutObject")
            .resource_containing(".jsonl.gz")
            .times(1)
            .delay(late),
    );
    let former = world.start_pausable(world.config()).await;
    world.until_injected("s3:PutObject", 1).await;
    let pause = former.pause();

    let owner = world.start(world.config());
    world
        .until("the cut is redone", async || {
            owner.metric("hoard_recovered_cuts_total{how=\"redone\"}") == 1.0
        })
        .await;
    world.send(100..150).await;
    world.until_archived(150).await;
    drop(pause);
    world
        .until("the late put was refused", async || {
            former.metric("hoard_conflicts_total{meaning=\"own\"}") == 1.0
        })
        .await;
    world
        .until("the former owner stops", async || {
            former.metric("hoard_conflicts_total{meaning=\"lost\"}") == 1.0
        })
        .await;
    former.stop().await;
    owner.stop().await;
    world.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_object_is_never_overwritten_and_stops_only_its_shard() {
    let world = World::with_shards(2).await;
    world.send(0..100).await;
    let shard = "shardId-000000000000";
    let iterator = world
        .kinesis
        .get_shard_iterator()
        .stream_name(STREAM)
        .shard_id(shard);
    let iterator = iterator
        .shard_iterator_type("TRIM_HORIZON".into())
        .send()
        .await
        .expect("an iterator");
    let request = world
        .kinesis
        .get_records()
        .set_shard_iterator(iterator.shard_iterator)
        .limit(1);
    let records = request.send().await.expect("records").records;
    let day = jiff::Timestamp::now().strftime("%Y/%m/%d").to_string();
    let key = format!(
        "raw/{day}/{STREAM}-{shard}-{}.jsonl.gz",
        records[0].sequence_number()
    );
    let foreign = aws_sdk_s3::primitives::ByteStream::from_static(b"somebody's");
    world
        .s3
        .put_object()
        .bucket(BUCKET)
        .key(&key)
        .body(foreign)
        .send()
        .await
        .expect("stored");

    let hoard = world.start(world.config());
    world
        .until("the conflict is seen", async || {
            hoard.metric("hoard_conflicts_total{meaning=\"foreign\"}") >= 2.0
        })
        .await;
    let others = world.records("shardId-000000000001").await.len() as f64;
    world
        .until("the other shard goes on", async || {
            hoard.metric("hoard_records_committed_total") == others
        })
        .await;
    let answer = world
        .s3
        .get_object()
        .bucket(BUCKET)
        .key(&key)
        .send()
        .await
        .expect("there");
    assert_eq!(
        answer.body.collect().await.expect("whole").to_vec(),
        b"somebody's"
    );

    // Somebody has looked and taken it away: the shard goes on by itself.
    world
        .s3
        .delete_object()
        .bucket(BUCKET)
        .key(&key)
        .send()
        .await
        .expect("deleted");
    world.until_archived(100).await;
    hoard.stop().await;
    world.assert_exact().await;
}
