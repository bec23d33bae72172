//! What is measured: hoard, and the least that anyone must do to read a stream.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesis::types::ShardIteratorType;
use hoard::Config;
use hoard::cut::Limits;
use hoard::encode::Compression;
use hoard::layout::{Layout, LinesTo};
use hoard::pace::Pace;
use hoard::period::Zone;
use hoard::replicas::Pulse;
use hoard::start::StartPosition;
use hoard::store::ObjectOptions;
use prometheus::TextEncoder;
use service_runtime::Runtime;

use crate::Failure;
use crate::cloud::{BUCKET, Place, STREAM};
use crate::usage::Usage;

/// The default.
pub(crate) const BUDGET: u64 = 256 << 20;
/// As many records as hoard asks for at this size of theirs.
const LIMIT: i32 = 4_600;

/// Reads every shard to its end with the SDK and drops what comes.
pub(crate) async fn read(place: &Place) -> Result<(), Failure> {
    let (kinesis, _) = place.clients().await;
    let shards = kinesis.list_shards().stream_name(STREAM).send().await?;
    let mut records = 0;
    for shard in shards.shards() {
        let iterator = kinesis
            .get_shard_iterator()
            .stream_name(STREAM)
            .shard_id(shard.shard_id());
        let iterator = iterator
            .shard_iterator_type(ShardIteratorType::TrimHorizon)
            .send()
            .await?;
        let mut next = iterator.shard_iterator;
        while let Some(iterator) = next {
            let answer = kinesis
                .get_records()
                .shard_iterator(iterator)
                .limit(LIMIT)
                .send()
                .await?;
            records += answer.records.len() as u64;
            let is_behind = answer.millis_behind_latest != Some(0);
            next = answer.next_shard_iterator.filter(|_| is_behind);
        }
    }
    if records != place.records {
        return Err(format!("{records} of {} records were read", place.records).into());
    }
    Usage::so_far()?.print();
    Ok(())
}

/// Archives the whole stream.
pub(crate) async fn archive(place: &Place, compression: Compression) -> Result<(), Failure> {
    let clients = place.all_clients().await;
    let runtime = Runtime::with_drain_deadline("hoard", Duration::from_secs(600));
    let running = hoard::run(config(compression), clients, runtime.clone());
    let until_read = async {
        while metric(&runtime, "hoard_records_read_total ")? < place.records as f64 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        runtime.shutdown.request();
        Ok::<(), Failure>(())
    };
    let (ended, read) = tokio::join!(running, until_read);
    ended?;
    read?;
    let committed = metric(&runtime, "hoard_records_committed_total ")?;
    if committed < place.records as f64 {
        return Err(format!("{committed} of {} records were committed", place.records).into());
    }
    Usage::so_far()?.print();
    Ok(())
}

fn metric(runtime: &Runtime, name: &str) -> Result<f64, Failure> {
    let text = TextEncoder::new().encode_to_string(&runtime.registry.gather())?;
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(value.map_or(Ok(0.0), str::parse)?)
}

fn config(compression: Compression) -> Config {
    Config {
        stream: STREAM.to_owned(),
        bucket: BUCKET.to_owned(),
        delivery_stream: None,
        layout: Arc::new(Layout {
            stream: STREAM.to_owned(),
            prefix: "raw/".parse().unwrap_or_else(|_| unreachable!("a plain prefix")),
            error_prefix: "errors/"
                .parse()
                .unwrap_or_else(|_| unreachable!("a plain prefix")),
            zone: Zone::utc(),
            record_partitions_max: 100,
            lines: LinesTo::Bucket,
        }),
        state_prefix: "_hoard/".to_owned(),
        start: StartPosition::TrimHorizon,
        limits: Limits {
            bytes: 64 << 20,
            stored_bytes: u64::MAX,
            partitions: 100,
            age: Duration::from_secs(600),
        },
        compression,
        object_options: ObjectOptions::default(),
        day_marker: None,
        memory_budget: BUDGET,
        pace: Pace {
            behind: Duration::from_millis(1),
            idle: Duration::from_secs(1),
            bytes_per_second: u64::MAX,
        },
        discovery_interval: Duration::from_secs(30),
        elasticsearch: None,
        replica_name: None,
        pulse: Pulse {
            interval: Duration::from_secs(2),
            misses: 5,
        },
    }
}
