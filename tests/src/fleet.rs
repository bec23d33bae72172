//! Several replicas of `hoard` as processes over one emulated AWS, and the chaos that they must outlive.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_clients::{Credentials, Endpoint, SdkConfig};
use aws_sdk_kinesis::Client as KinesisClient;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use local_cloud::{CloudSettings, LocalCloud};
use serde_json::Value;

use crate::{Archive, Process, eventually};

const STREAM: &str = "events";
const BUCKET: &str = "archive";
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// The most entries that PutRecords takes.
const BATCH: usize = 500;

/// A stream and a bucket, and how to start a replica on them.
pub struct Fleet {
    /// The emulated AWS.
    pub cloud: LocalCloud,
    /// For SDK clients.
    pub config: SdkConfig,
    kinesis: KinesisClient,
    binary: &'static str,
}

/// An open shard and its range of hash keys.
#[derive(Clone, Debug)]
pub struct OpenShard {
    /// Its name.
    pub id: String,
    first: u128,
    last: u128,
}

/// Days as `hoard verify` takes them, YYYY-MM-DD.
#[derive(Clone, Debug)]
pub struct Days {
    first: String,
    last: String,
}

impl Fleet {
    /// Starts the emulated AWS in memory; every random choice of its faults comes from the seed.
    pub async fn start(binary: &'static str, shards: i32, seed: u64) -> Self {
        let settings = CloudSettings {
            seed,
            ..CloudSettings::in_memory("cn-north-1")
        };
        let cloud = LocalCloud::start(settings).await.expect("a free port");
        let account = cloud.account();
        let endpoint = Endpoint {
            region: Some(account.region.clone()),
            endpoint_url: Some(cloud.endpoint_url()),
            credentials: Some(Credentials::from_keys(
                &account.access_key_id,
                &account.secret_access_key,
                None,
            )),
            ..Endpoint::default()
        };
        let config = aws_clients::load(&endpoint).await;
        let kinesis = aws_clients::kinesis(&config);
        let made = kinesis
            .create_stream()
            .stream_name(STREAM)
            .shard_count(shards)
            .send();
        made.await.expect("a stream");
        let location = CreateBucketConfiguration::builder()
            .location_constraint(BucketLocationConstraint::CnNorth1)
            .build();
        let s3 = aws_clients::s3(&config);
        let made = s3
            .create_bucket()
            .bucket(BUCKET)
            .create_bucket_configuration(location);
        made.send().await.expect("a bucket");
        let fleet = Self {
            cloud,
            config,
            kinesis,
            binary,
        };
        fleet.until_active().await;
        fleet
    }

    /// Starts a replica, with cuts and signs of life frequent enough that a test sees many.
    pub fn replica(&self) -> Process {
        let flags = [
            ("--flush-interval", "1s"),
            ("--flush-bytes", "256KiB"),
            ("--memory-budget", "64MiB"),
            ("--poll-interval", "200ms"),
            ("--idle-poll-interval", "300ms"),
            ("--discovery-interval", "2s"),
            ("--heartbeat-interval", "300ms"),
            ("--heartbeat-misses", "4"),
            ("--admin-listen", "127.0.0.1:0"),
            ("--log-format", "json"),
        ];
        Process::start(self.binary, "hoard", &arguments(&flags), &self.variables())
    }

    /// Runs `hoard verify` over these days, and gives what it says when all is well.
    pub async fn verify(&self, days: &Days) -> String {
        let flags = [("--from", days.first.as_str()), ("--to", days.last.as_str())];
        let args = ["verify".to_owned()].into_iter().chain(arguments(&flags));
        let args: Vec<String> = args.collect();
        let ended = Process::start(self.binary, "hoard", &args, &self.variables())
            .wait()
            .await;
        assert!(ended.status.success(), "{ended:#?}");
        ended.stdout.join("\n")
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let account = self.cloud.account();
        vec![
            ("AWS_REGION", account.region.clone()),
            ("AWS_ENDPOINT_URL", self.cloud.endpoint_url()),
            ("AWS_ACCESS_KEY_ID", account.access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY", account.secret_access_key.clone()),
            ("RUST_BACKTRACE", "1".to_owned()),
        ]
    }

    /// Sends events with these numbers, each until the stream has it.
    pub async fn send(&self, numbers: std::ops::Range<u64>) {
        let numbers: Vec<u64> = numbers.collect();
        for chunk in numbers.chunks(BATCH) {
            let entries = chunk.iter().map(|number| {
                let line = format!(r#"{{"eventid":"{number:012}","action":"play","artist":"somebody"}}"#);
                PutRecordsRequestEntry::builder()
                    .partition_key(number.to_string())
                    .data(Blob::new(line))
                    .build()
                    .expect("complete")
            });
            let entries: Vec<PutRecordsRequestEntry> = entries.collect();
            let request = self
                .kinesis
                .put_records()
                .stream_name(STREAM)
                .set_records(Some(entries));
            let answer = request.send().await.expect("published");
            assert_eq!(
                answer.failed_record_count,
                Some(0),
                "nothing throttles writes here"
            );
        }
    }

    /// The shards that take records now, in the order of their ranges.
    pub async fn open_shards(&self) -> Vec<OpenShard> {
        let answer = self
            .kinesis
            .list_shards()
            .stream_name(STREAM)
            .send()
            .await
            .expect("listed");
        let is_open = |shard: &&aws_sdk_kinesis::types::Shard| {
            let range = shard.sequence_number_range();
            range.is_some_and(|range| range.ending_sequence_number().is_none())
        };
        let open = answer.shards().iter().filter(is_open).map(|shard| {
            let range = shard.hash_key_range().expect("a range");
            OpenShard {
                id: shard.shard_id().to_owned(),
                first: range.starting_hash_key().parse().expect("a number"),
                last: range.ending_hash_key().parse().expect("a number"),
            }
        });
        let mut open: Vec<OpenShard> = open.collect();
        open.sort_by_key(|shard| shard.first);
        open
    }

    /// Splits a shard in the middle.
    pub async fn split(&self, shard: &OpenShard) {
        let middle = shard.first + (shard.last - shard.first) / 2 + 1;
        let request = self
            .kinesis
            .split_shard()
            .stream_name(STREAM)
            .shard_to_split(&shard.id);
        request
            .new_starting_hash_key(middle.to_string())
            .send()
            .await
            .expect("split");
        self.until_active().await;
    }

    /// Merges two neighbours.
    pub async fn merge(&self, shard: &OpenShard, next: &OpenShard) {
        let request = self
            .kinesis
            .merge_shards()
            .stream_name(STREAM)
            .shard_to_merge(&shard.id);
        request
            .adjacent_shard_to_merge(&next.id)
            .send()
            .await
            .expect("merged");
        self.until_active().await;
    }

    async fn until_active(&self) {
        eventually("the stream to be active", PATIENCE, async || {
            let answer = self
                .kinesis
                .describe_stream_summary()
                .stream_name(STREAM)
                .send()
                .await;
            let summary = answer.ok()?.stream_description_summary?;
            (summary.stream_status().as_str() == "ACTIVE").then_some(())
        })
        .await
        .unwrap_or_else(|late| panic!("{late}"));
    }

    /// Waits until the archive has as many lines as events were sent.
    pub async fn until_archived(&self, events: u64) {
        let s3 = aws_clients::s3(&self.config);
        let mut counted = BTreeMap::new();
        let mut lines = 0;
        let waited = eventually("the events in the archive", PATIENCE, async || {
            let mut pages = s3.list_objects_v2().bucket(BUCKET).into_paginator().send();
            while let Some(page) = pages.next().await {
                for key in page.ok()?.contents().iter().filter_map(|object| object.key()) {
                    if key.starts_with('_') || counted.contains_key(key) {
                        continue;
                    }
                    let head = s3.head_object().bucket(BUCKET).key(key).send().await.ok()?;
                    let count: u64 = head.metadata()?.get("record-count")?.parse().ok()?;
                    counted.insert(key.to_owned(), count);
                    lines += count;
                }
            }
            (lines >= events).then_some(())
        });
        let late = waited.await;
        late.unwrap_or_else(|late| panic!("{late}: {lines} of {events}"));
    }

    /// The archive.
    pub async fn read(&self) -> Archive {
        let read = Archive::read(&self.config, BUCKET).await;
        read.unwrap_or_else(|error| panic!("cannot read {BUCKET}: {error}"))
    }

    /// Holds every line against the numbers that were sent: each is there once, and nothing else. Gives
    /// the days that they lie under.
    pub async fn holds_exactly(&self, events: u64) -> Days {
        let mut times = vec![0_u32; usize::try_from(events).expect("it fits")];
        let archive = self.read().await;
        assert!(
            archive.objects.keys().all(|key| !key.starts_with("errors/")),
            "every event is a line"
        );
        archive.each_line(|key, line| {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{key}: {error}"));
            let number: usize = event["eventid"].as_str().expect("ours").parse().expect("ours");
            times[number] += 1;
        });
        let count = |wanted: fn(u32) -> bool| times.iter().filter(|times| wanted(**times)).count();
        let (missing, again) = (count(|times| times == 0), count(|times| times > 1));
        assert!(
            missing == 0 && again == 0,
            "{missing} of {events} are missing, {again} are there again"
        );
        let day = |key: Option<&String>| key.expect("something is archived")[..10].replace('/', "-");
        Days {
            first: day(archive.objects.keys().next()),
            last: day(archive.objects.keys().next_back()),
        }
    }
}

fn arguments(flags: &[(&str, &str)]) -> Vec<String> {
    let place = [("--stream", STREAM), ("--bucket", BUCKET)];
    let all = place.iter().chain(flags);
    all.flat_map(|(flag, value)| [*flag, *value])
        .map(str::to_owned)
        .collect()
}
