//! The main job, undisturbed.

use std::time::Duration;

use hoard::encode::Compression;
use hoard::start::StartPosition;

use crate::world::{BUCKET, World};

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_several_shards_is_archived_once_in_order() {
    let world = World::with_shards(4).await;
    world.send(0..700).await;
    let hoard = world.start(world.config());
    world.until_archived(700).await;
    world.send(700..1500).await;
    world.until_archived(1500).await;
    assert!(
        hoard.runtime.readiness.is_ready(),
        "{:?}",
        hoard.runtime.readiness.reasons()
    );
    hoard.stop().await;
    world.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_what_the_layout_promises() {
    let world = World::with_shards(1).await;
    world.send(0..3).await;
    let hoard = world.start(world.config());
    world.until_archived(3).await;
    hoard.stop().await;
    let objects = world.objects("raw/").await;
    let first = &objects[0];
    let day = jiff::Timestamp::now().strftime("%Y/%m/%d").to_string();
    let number = &first.metadata["first-sequence-number"];
    assert_eq!(
        first.key,
        format!("raw/{day}/events-shardId-000000000000-{number}.jsonl.gz")
    );
    assert_eq!(first.metadata["stream"], "events");
    assert_eq!(first.metadata["shard"], "shardId-000000000000");
    let head = world
        .s3
        .head_object()
        .bucket(BUCKET)
        .key(&first.key)
        .send()
        .await
        .expect("there");
    assert_eq!(head.content_type(), Some("application/x-ndjson"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_commits_what_is_held_and_hands_the_shards_back() {
    let world = World::with_shards(2).await;
    let mut config = world.config();
    config.limits.age = Duration::from_secs(3600);
    let hoard = world.start(config);
    world.send(0..100).await;
    world
        .until("all is read", async || {
            hoard.metric("hoard_records_read_total") >= 100.0
        })
        .await;
    assert_eq!(world.lines_count("raw/").await, 0, "nothing is due for an hour");
    hoard.stop().await;
    world.assert_exact().await;
    for shard in world.shard_ids().await {
        let state = world.state(&shard).await.expect("claimed");
        assert_eq!((state.owner, state.pending), (None, None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_after_the_checkpoint() {
    let world = World::with_shards(2).await;
    for round in 0..4 {
        world.send(round * 50..(round + 1) * 50).await;
        let hoard = world.start(world.config());
        world.until_archived((round + 1) * 50).await;
        hoard.stop().await;
    }
    world.assert_exact().await;
    assert_eq!(
        world.state("shardId-000000000000").await.expect("claimed").epoch,
        4
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_records_go_to_the_error_prefix_within_the_same_cut() {
    let world = World::with_shards(1).await;
    let records: [&[u8]; 6] = [
        b"{\"n\":0}",
        b"no json",
        b"{\"n\":1}",
        b"\xff\xfe",
        b"[1]",
        b"{\"n\":2} {\"n\":3}",
    ];
    world.send_raw(&records.map(<[u8]>::to_vec)).await;
    let hoard = world.start(world.config());
    world.until_archived(2).await;
    world
        .until("bad records are kept", async || {
            world.lines_count("errors/").await == 4
        })
        .await;
    assert_eq!(hoard.metric("hoard_records_bad_total{reason=\"not-json\"}"), 2.0);
    hoard.stop().await;
    world.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_are_opened_in_order_and_broken_ones_kept() {
    let world = World::with_shards(2).await;
    let mut records = Vec::new();
    for n in 0..60 {
        let mut aggregate = kpl::Aggregate::new();
        for user_record in 0..n % 7 + 1 {
            let text = match user_record {
                5 => "not json".to_owned(),
                _ => format!(
                    "{{\"n\":{n},\"user\":{user_record},\"text\":\"{}\"}}",
                    "x".repeat(100)
                ),
            };
            aggregate.push("key", None, text.as_bytes());
        }
        let mut record = aggregate.finish();
        if n % 10 == 9 {
            *record.last_mut().expect("bytes") ^= 1;
        }
        records.push(record);
        records.push(format!("{{\"plain\":{n}}}").into_bytes());
    }
    world.send_raw(&records).await;
    let mut config = world.config();
    config.limits.bytes = 2_000;
    let hoard = world.start(config);
    world
        .until("all is committed", async || {
            hoard.metric("hoard_records_committed_total") == 120.0
        })
        .await;
    assert_eq!(
        hoard.metric("hoard_records_bad_total{reason=\"broken-aggregate\"}"),
        6.0
    );
    assert!(hoard.metric("hoard_records_bad_total{reason=\"not-json\"}") >= 10.0);
    hoard.stop().await;
    for object in world.objects("errors/").await {
        for line in &object.lines {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let is_user_record = line["errorCode"] != "broken-aggregate";
            assert_eq!(line["subSequenceNumber"].is_number(), is_user_record, "{line}");
        }
    }
    let cuts: std::collections::BTreeMap<_, _> =
        [world.objects("raw/").await, world.objects("errors/").await]
            .concat()
            .into_iter()
            .map(|object| {
                let of = |name: &str| object.metadata[name].clone();
                ((of("shard"), of("first-sequence-number")), of("cut-records"))
            })
            .collect();
    let counted: u64 = cuts
        .values()
        .map(|count| count.parse::<u64>().expect("a number"))
        .sum();
    assert_eq!(counted, 120, "cuts count Kinesis records, objects count lines");
    world.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_is_a_place_in_the_stream_that_a_restart_does_not_move() {
    let world = World::with_shards(1).await;
    world.send(0..10).await;
    // Arrival times have milliseconds: the next one must differ.
    let sent_at = world.clock.now_ms();
    world
        .until("the clock moved on", async || world.clock.now_ms() > sent_at + 1)
        .await;

    let mut config = world.config();
    config.start = StartPosition::Latest;
    config.limits.age = Duration::from_secs(3600);
    let first = world.start(config.clone());
    world
        .until("ready", async || first.runtime.readiness.is_ready())
        .await;
    world.send(10..20).await;
    world
        .until("all is read", async || {
            first.metric("hoard_records_read_total") >= 10.0
        })
        .await;
    first.kill().await;
    world.send(20..30).await;

    config.limits.age = Duration::from_millis(50);
    let second = world.start(config);
    world.until_archived(20).await;
    second.stop().await;
    let lines: Vec<String> = world
        .objects("raw/")
        .await
        .into_iter()
        .flat_map(|object| object.lines)
        .collect();
    assert_eq!(lines.len(), 20);
    assert!(
        lines[0].contains("\"n\":10,") && lines[19].contains("\"n\":29,"),
        "{lines:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_compression_objects_are_plain_lines() {
    let world = World::with_shards(1).await;
    world.send(0..10).await;
    let mut config = world.config();
    config.compression = Compression::None;
    let hoard = world.start(config);
    world.until_archived(10).await;
    hoard.stop().await;
    assert!(world.keys("raw/").await.iter().all(|key| key.ends_with(".jsonl")));
    world.assert_exact().await;
}
