//! With `--aggregate`: events of a shard share records, and all else stays true.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use local_cloud::Rule;
use serde_json::{Value, json};

use crate::collector::{Collector, STREAM, Stored};

fn event(device: usize, number: usize) -> Value {
    json!({
        "eventtype": "play", "action": "stop", "musicsource": "tidal",
        "deviceid": format!("spk-{device}"), "secondslistened": number,
    })
}

async fn start(flags: &[&str]) -> Collector {
    let collector = Collector::start(&[&["--aggregate"], flags].concat()).await;
    packs(&collector).await;
    collector
}

async fn packs(collector: &Collector) {
    collector
        .until("the shards are known", || {
            collector.metric("events_shard_map_shards") > 0.0
        })
        .await;
}

/// Sends `each` more events of each of `devices` devices, numbered on from `from`, a request a device.
async fn load(collector: &Collector, devices: usize, from: usize, each: usize) {
    let sends = (0..devices).map(|device| async move {
        let events: Vec<_> = (from..from + each).map(|number| event(device, number)).collect();
        let (status, answer) = collector.send(Value::from(events).to_string()).await;
        assert!([200, 202].contains(&status), "{answer}");
    });
    join_all(sends).await;
}

/// Every device's events, each once and in order, shard after shard. Returns how many were packed.
async fn holds_each_once_in_order(collector: &Collector, devices: usize, each: usize) -> usize {
    let stored = collector.stored().await;
    let mut numbers: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for stored in &stored {
        let number = stored.field("secondslistened").as_u64().expect("a number");
        numbers.entry(&stored.partition_key).or_default().push(number);
    }
    assert_eq!(numbers.len(), devices);
    for (device, numbers) in numbers {
        assert_eq!(numbers, (0..each as u64).collect::<Vec<_>>(), "{device}");
    }
    aws_consumers_leave_nothing_out(collector, &stored).await;
    stored.iter().filter(|stored| stored.hash_key.is_some()).count()
}

/// AWS's consumers drop a record over an event whose hash key is not of the shard that they read.
async fn aws_consumers_leave_nothing_out(collector: &Collector, stored: &[Stored]) {
    let call = collector.kinesis.list_shards().stream_name(STREAM);
    let shards = call.send().await.expect("shards");
    let range = |shard: usize| {
        let range = shards.shards()[shard].hash_key_range().expect("a range");
        let key = |text: &str| text.parse::<u128>().expect("a number");
        key(range.starting_hash_key())..=key(range.ending_hash_key())
    };
    for stored in stored {
        if let Some(hash_key) = &stored.hash_key {
            assert!(range(stored.shard).contains(&hash_key.parse().expect("a number")));
        }
    }
}

#[tokio::test]
async fn events_share_records_in_order_whatever_kinesis_refuses() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().to_str().expect("UTF-8");
    let collector = start(&["--spool-folder", folder, "--aggregate-bytes", "4KiB"]).await;
    let faults = collector.cloud.faults();
    load(&collector, 12, 0, 20).await;
    for rule in [
        Rule::on("kinesis:PutRecords").times(8).throttle_records(0.5),
        Rule::on("kinesis:PutRecords")
            .times(2)
            .fail(500, "InternalFailure"),
        Rule::on("kinesis:PutRecords").times(2).cut_off(),
    ] {
        faults.inject(rule);
    }
    load(&collector, 12, 20, 20).await;
    load(&collector, 12, 40, 20).await;
    let packed = holds_each_once_in_order(&collector, 12, 60).await;
    assert!(packed > 500, "{packed} of 720 events are packed");
    let records = collector.metric("events_shard_records_total");
    assert!(records < 300.0, "{records} records for 720 events");
    assert_eq!(collector.metric("events_mispredicted_records_total"), 0.0);
    assert!(collector.metric("events_aggregate_events") > 0.0);
}

#[tokio::test]
async fn one_device_s_events_take_few_calls() {
    let collector = start(&[]).await;
    load(&collector, 1, 0, 100).await;
    holds_each_once_in_order(&collector, 1, 100).await;
    let calls = collector.metric("events_put_batch_records");
    assert!(calls <= 3.0, "{calls} calls for 100 events of a device");
}

#[tokio::test]
async fn a_reshard_in_the_middle_loses_nothing_and_is_followed() {
    // Looks that are due only when records come to other shards than the map says.
    let collector = start(&["--aggregate-bytes", "4KiB", "--stream-check-interval", "1h"]).await;
    let kinesis = &collector.kinesis;
    let quarter = 1_u128 << 126;
    load(&collector, 16, 0, 20).await;
    let split = kinesis
        .split_shard()
        .stream_name(STREAM)
        .shard_to_split("shardId-000000000000");
    split
        .new_starting_hash_key((quarter / 4).to_string())
        .send()
        .await
        .expect("split");
    load(&collector, 16, 20, 20).await;
    collector
        .until("the split is noticed", || {
            collector.metric("events_mispredicted_records_total") > 0.0
        })
        .await;
    packs(&collector).await;
    load(&collector, 16, 40, 20).await;
    assert_eq!(collector.metric("events_shard_map_shards"), 4.0);

    let merge = kinesis.merge_shards().stream_name(STREAM);
    merge
        .shard_to_merge("shardId-000000000003")
        .adjacent_shard_to_merge("shardId-000000000004")
        .send()
        .await
        .expect("merged");
    load(&collector, 16, 60, 20).await;
    collector
        .eventually("the merge is followed", async || {
            collector.metric("events_shard_map_shards") == 3.0
        })
        .await;
    load(&collector, 16, 80, 20).await;
    let packed = holds_each_once_in_order(&collector, 16, 100).await;
    assert!(packed > 800, "{packed} of 1600 events are packed");
    let shards: BTreeSet<_> = collector
        .stored()
        .await
        .iter()
        .map(|stored| stored.shard)
        .collect();
    assert_eq!(shards, BTreeSet::from([0, 1, 2, 3, 4, 5]));
}

#[tokio::test]
async fn without_knowing_the_shards_events_are_sent_unpacked_and_that_shows() {
    let collector = Collector::start_without_stream(&["--aggregate"]).await;
    let faults = collector.cloud.faults();
    faults.inject(Rule::on("kinesis:ListShards").fail(400, "AccessDeniedException"));
    collector.create_stream().await;
    collector.becomes_ready().await;
    load(&collector, 4, 0, 5).await;
    assert_eq!(collector.metric("events_shard_map_shards"), 0.0);
    assert!(collector.metric("events_shard_map_refreshes_total") > 0.0);
    assert_eq!(collector.metric("events_aggregate_events"), 0.0);

    faults.clear();
    packs(&collector).await;
    load(&collector, 4, 5, 5).await;
    let packed = holds_each_once_in_order(&collector, 4, 10).await;
    assert!((1..=20).contains(&packed), "{packed}");
}
