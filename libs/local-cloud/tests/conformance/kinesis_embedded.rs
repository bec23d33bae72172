//! What only an embedded cloud can show of Kinesis: time that a test moves, limits that it switches
//! on, and faults.

use std::time::Duration;

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType};
use local_cloud::{Clock, CloudSettings, KinesisLimits, LocalCloud, Rule};

use crate::{REGION, Target};

async fn start(settings: CloudSettings) -> Target {
    let target = Target::embedded(LocalCloud::start(settings).await.expect("a free port"));
    let created = target.kinesis.create_stream().stream_name("s").shard_count(1);
    created.send().await.expect("a new stream");
    target
}

fn entries(keys: impl IntoIterator<Item = u32>) -> Vec<PutRecordsRequestEntry> {
    let entry = |key: u32| {
        let entry = PutRecordsRequestEntry::builder().partition_key(key.to_string());
        entry
            .data(Blob::new(key.to_string()))
            .build()
            .expect("key and data are set")
    };
    keys.into_iter().map(entry).collect()
}

async fn horizon(target: &Target) -> String {
    let request = target
        .kinesis
        .get_shard_iterator()
        .stream_name("s")
        .shard_id("shardId-000000000000");
    let request = request.shard_iterator_type(ShardIteratorType::TrimHorizon);
    request
        .send()
        .await
        .expect("the shard exists")
        .shard_iterator
        .expect("an iterator")
}

async fn read(target: &Target, iterator: &str) -> Vec<String> {
    let page = target
        .kinesis
        .get_records()
        .shard_iterator(iterator)
        .send()
        .await
        .expect("readable");
    page.records()
        .iter()
        .filter_map(|record| record.partition_key())
        .map(str::to_owned)
        .collect()
}

/// PutRecords: "a single record failure does not stop the processing of subsequent records", and
/// the failed ones are sent again.
#[tokio::test]
async fn a_producer_that_resends_the_failed_entries_loses_none() {
    let target = start(CloudSettings::in_memory(REGION)).await;
    target
        .cloud()
        .faults()
        .inject(Rule::on("kinesis:PutRecords").times(3).throttle_records(0.3));
    let (mut waiting, mut calls) = ((0..100).collect::<Vec<_>>(), 0);
    while !waiting.is_empty() {
        let request = target.kinesis.put_records().stream_name("s");
        let answer = request
            .set_records(Some(entries(waiting.clone())))
            .send()
            .await
            .expect("partial success");
        let failed = waiting
            .iter()
            .zip(answer.records())
            .filter(|(_, entry)| match entry.error_code() {
                Some(code) => {
                    assert_eq!(code, "ProvisionedThroughputExceededException");
                    assert_eq!(entry.sequence_number(), None);
                    true
                }
                None => false,
            });
        let failed: Vec<_> = failed.map(|(key, _)| *key).collect();
        assert_eq!(answer.failed_record_count(), Some(failed.len() as i32));
        waiting = failed;
        calls += 1;
    }
    assert_eq!(calls, 4, "30 of 100, 9 of 30, 3 of 9, then all");
    let mut keys: Vec<u32> = Vec::new();
    for key in read(&target, &horizon(&target).await).await {
        keys.push(key.parse().expect("a number"));
    }
    keys.sort_unstable();
    assert_eq!(keys, (0..100).collect::<Vec<_>>());
}

/// <https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>
#[tokio::test]
async fn limits_of_a_shard_throttle_writers_and_readers() {
    let clock = Clock::stopped_at(std::time::SystemTime::now());
    let limits = Some(KinesisLimits::AWS);
    let settings = CloudSettings {
        clock: clock.clone(),
        kinesis_limits: limits,
        ..CloudSettings::in_memory(REGION)
    };
    let target = start(settings).await;
    let mut failed = Vec::new();
    for _ in 0..3 {
        let request = target.kinesis.put_records().stream_name("s");
        let answer = request
            .set_records(Some(entries(0..500)))
            .send()
            .await
            .expect("partial success");
        failed.push(answer.failed_record_count().unwrap_or_default());
    }
    assert_eq!(failed, [0, 0, 500], "a thousand records a second");
    let iterator = horizon(&target).await;
    for _ in 0..5 {
        read(&target, &iterator).await;
    }
    let sixth = target
        .kinesis
        .get_records()
        .shard_iterator(&iterator)
        .send()
        .await;
    let error = sixth.expect_err("five calls a second").into_service_error();
    assert!(error.is_provisioned_throughput_exceeded_exception(), "{error:?}");
    clock.advance(Duration::from_secs(1));
    read(&target, &iterator).await;
}

/// GetShardIterator: "a shard iterator expires five minutes after it is returned". Retention trims.
#[tokio::test]
async fn time_expires_iterators_and_records() {
    let clock = Clock::system();
    let target = start(CloudSettings {
        clock: clock.clone(),
        ..CloudSettings::in_memory(REGION)
    })
    .await;
    let put = |keys| {
        target
            .kinesis
            .put_records()
            .stream_name("s")
            .set_records(Some(entries(keys)))
            .send()
    };
    put(0..2).await.expect("stored");
    let iterator = horizon(&target).await;
    clock.advance(Duration::from_secs(301));
    let late = target.kinesis.get_records().shard_iterator(iterator).send().await;
    let error = late.expect_err("it expired").into_service_error();
    assert!(error.is_expired_iterator_exception(), "{error:?}");
    clock.advance(Duration::from_hours(23));
    put(2..4).await.expect("stored");
    assert_eq!(read(&target, &horizon(&target).await).await, ["0", "1", "2", "3"]);
    clock.advance(Duration::from_hours(1));
    assert_eq!(read(&target, &horizon(&target).await).await, ["2", "3"]);
}
