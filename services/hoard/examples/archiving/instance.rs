//! An instance of hoard that archives a stream as fast as it can.

use std::sync::Arc;
use std::time::Duration;

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
use crate::cloud::{BUCKET, Cloud, STREAM};

/// The default.
const BUDGET: u64 = 256 << 20;

/// Archives the whole stream.
pub(crate) async fn archive(cloud: &Cloud, compression: Compression) -> Result<(), Failure> {
    let runtime = Runtime::with_drain_deadline("hoard", Duration::from_secs(600));
    let running = hoard::run(config(compression), cloud.clients.clone(), runtime.clone());
    let until_read = async {
        while metric(&runtime, "hoard_records_read_total ")? < cloud.records as f64 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        runtime.shutdown.request();
        Ok::<(), Failure>(())
    };
    let (ended, read) = tokio::join!(running, until_read);
    ended?;
    read?;
    let committed = metric(&runtime, "hoard_records_committed_total ")?;
    if committed < cloud.records as f64 {
        return Err(format!("{committed} of {} records were committed", cloud.records).into());
    }
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
