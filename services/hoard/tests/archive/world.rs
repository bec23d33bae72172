//! A stream, a bucket, instances of `hoard`, and the predicate that each test is about.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType};
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;
use hoard::budget::READ_ALLOWANCE;
use hoard::cut::Limits;
use hoard::encode::{Compression, crc_to_hex, crc64_nvme};
use hoard::layout::{Layout, LinesTo};
use hoard::pace::Pace;
use hoard::period::Zone;
use hoard::replicas::Pulse;
use hoard::sequence::SequenceNumber;
use hoard::start::StartPosition;
use hoard::state::ShardState;
use hoard::store::ObjectOptions;
use hoard::{Clients, Config, Error};
use local_cloud::{Clock, CloudSettings, Faults, LocalCloud};
use prometheus::TextEncoder;
use service_runtime::Runtime;
use tokio::task::JoinSet;

pub(crate) const STREAM: &str = "events";
pub(crate) const BUCKET: &str = "archive";
/// The middle of the whole range of hash keys, 2^127.
pub(crate) const MIDDLE: &str = "170141183460469231731687303715884105728";
const MIB: u64 = 1024 * 1024;
/// Longer than anything here takes, on a slow machine too.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stream and a bucket.
pub(crate) struct World {
    cloud: LocalCloud,
    pub(crate) clock: Clock,
    pub(crate) kinesis: aws_sdk_kinesis::Client,
    pub(crate) s3: aws_sdk_s3::Client,
    pub(crate) firehose: aws_sdk_firehose::Client,
}

/// An instance of `hoard`.
pub(crate) struct Hoard {
    pub(crate) runtime: Runtime,
    running: JoinSet<Result<(), Error>>,
}

/// An instance that can be paused.
pub(crate) struct Pausable {
    pub(crate) runtime: Runtime,
    thread: JoinHandle<Result<(), Error>>,
    pause: tokio::sync::mpsc::UnboundedSender<mpsc::Receiver<()>>,
}

/// A pause, which ends when this is dropped.
pub(crate) struct Pause {
    _until: mpsc::Sender<()>,
}

/// An object of the archive, read back.
#[derive(Clone)]
pub(crate) struct Object {
    pub(crate) key: String,
    pub(crate) metadata: HashMap<String, String>,
    pub(crate) lines: Vec<String>,
}

impl World {
    pub(crate) async fn with_shards(shards: i32) -> Self {
        Self::with_clock(shards, Clock::system()).await
    }

    pub(crate) async fn with_clock(shards: i32, clock: Clock) -> Self {
        let settings = CloudSettings {
            clock: clock.clone(),
            ..CloudSettings::in_memory("cn-north-1")
        };
        let cloud = LocalCloud::start(settings).await.expect("a free port");
        let Clients {
            kinesis,
            s3,
            firehose,
        } = clients(&cloud).await;
        kinesis
            .create_stream()
            .stream_name(STREAM)
            .shard_count(shards)
            .send()
            .await
            .expect("created");
        let location = CreateBucketConfiguration::builder()
            .location_constraint(BucketLocationConstraint::CnNorth1)
            .build();
        let request = s3
            .create_bucket()
            .bucket(BUCKET)
            .create_bucket_configuration(location);
        request.send().await.expect("created");
        let world = Self {
            cloud,
            clock,
            kinesis,
            s3,
            firehose,
        };
        world
            .until("the stream is active", async || world.is_active().await)
            .await;
        world
    }

    pub(crate) fn faults(&self) -> &Faults {
        self.cloud.faults()
    }

    pub(crate) fn clients(&self) -> Clients {
        Clients {
            kinesis: self.kinesis.clone(),
            s3: self.s3.clone(),
            firehose: self.firehose.clone(),
        }
    }

    /// What a program needs to find this world.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let account = self.cloud.account();
        vec![
            ("AWS_ENDPOINT_URL", self.cloud.endpoint_url()),
            ("AWS_REGION", account.region.clone()),
            ("AWS_ACCESS_KEY_ID", account.access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY", account.secret_access_key.clone()),
        ]
    }

    /// Settings in a hurry; the validation's floors are for a service that costs money.
    pub(crate) fn config(&self) -> Config {
        Config {
            stream: STREAM.to_owned(),
            bucket: BUCKET.to_owned(),
            delivery_stream: None,
            layout: layout("raw/", "errors/"),
            state_prefix: "_hoard/".to_owned(),
            start: StartPosition::TrimHorizon,
            limits: Limits {
                bytes: MIB,
                stored_bytes: u64::MAX,
                partitions: 100,
                age: Duration::from_millis(100),
            },
            compression: Compression::Gzip { level: 1 },
            object_options: ObjectOptions::default(),
            day_marker: None,
            memory_budget: 4 * READ_ALLOWANCE,
            pace: Pace {
                behind: Duration::from_millis(10),
                idle: Duration::from_millis(20),
                bytes_per_second: u64::MAX,
            },
            discovery_interval: Duration::from_millis(100),
            elasticsearch: None,
            replica_name: None,
            pulse: Pulse {
                interval: Duration::from_millis(100),
                misses: 5,
            },
        }
    }

    /// Starts an instance with a runtime of its own.
    pub(crate) fn start(&self, config: Config) -> Hoard {
        self.start_with_deadline(config, PATIENCE)
    }

    /// Starts an instance on a thread of its own, which can be paused as a whole.
    pub(crate) async fn start_pausable(&self, config: Config) -> Pausable {
        let clients = clients(&self.cloud).await;
        let runtime = Runtime::with_drain_deadline("hoard", PATIENCE);
        let (pause, mut pauses) = tokio::sync::mpsc::unbounded_channel::<mpsc::Receiver<()>>();
        let hoard = hoard::run(config, clients, runtime.clone());
        let thread = std::thread::spawn(move || {
            let executor = tokio::runtime::Builder::new_current_thread().enable_all().build();
            executor.expect("a runtime").block_on(async move {
                let mut hoard = std::pin::pin!(hoard);
                loop {
                    tokio::select! {
                        outcome = &mut hoard => return outcome,
                        // Blocks the thread with everything on it, as SIGSTOP or a paused machine would.
                        Some(until) = pauses.recv() => drop(until.recv()),
                    }
                }
            })
        });
        Pausable {
            runtime,
            thread,
            pause,
        }
    }

    /// The same with a drain deadline.
    pub(crate) fn start_with_deadline(&self, config: Config, deadline: Duration) -> Hoard {
        let runtime = Runtime::with_drain_deadline("hoard", deadline);
        let mut running = JoinSet::new();
        running.spawn(hoard::run(config, self.clients(), runtime.clone()));
        Hoard { runtime, running }
    }

    /// Sends events numbered so; each has a partition key of its own.
    pub(crate) async fn send(&self, numbers: std::ops::Range<usize>) {
        let records: Vec<_> = numbers
            .map(|n| format!("{{\"n\":{n},\"text\":\"a play of a song\"}}").into_bytes())
            .collect();
        self.send_raw(&records).await;
    }

    /// Sends these bytes.
    pub(crate) async fn send_raw(&self, records: &[Vec<u8>]) {
        for chunk in records.chunks(500) {
            let entries = chunk.iter().enumerate().map(|(n, data)| {
                let key = format!("{:x}-{n}", crc64_nvme(data));
                let entry = PutRecordsRequestEntry::builder().partition_key(key);
                entry.data(Blob::new(data.clone())).build().expect("complete")
            });
            let request = self
                .kinesis
                .put_records()
                .stream_name(STREAM)
                .set_records(Some(entries.collect()));
            let answer = request.send().await.expect("published");
            assert_eq!(answer.failed_record_count, Some(0));
        }
    }

    /// Waits until the condition holds.
    pub(crate) async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let waiting = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .unwrap_or_else(|_| panic!("waited in vain: {what}"));
    }

    /// Waits until so many lines are in the archive.
    pub(crate) async fn until_archived(&self, lines: usize) {
        self.until(&format!("{lines} lines are archived"), async || {
            self.lines_count("raw/").await >= lines
        })
        .await;
    }

    /// Waits until faults have fired so often on an operation.
    pub(crate) async fn until_injected(&self, operation: &str, times: u64) {
        let what = format!("{times} faults on {operation}");
        self.until(&what, async || self.faults().injected(operation) >= times)
            .await;
    }

    pub(crate) async fn lines_count(&self, prefix: &str) -> usize {
        self.objects(prefix)
            .await
            .iter()
            .map(|object| object.lines.len())
            .sum()
    }

    /// The archive's objects under a prefix.
    pub(crate) async fn objects(&self, prefix: &str) -> Vec<Object> {
        let mut objects = Vec::new();
        for key in self.keys(prefix).await {
            let answer = self
                .s3
                .get_object()
                .bucket(BUCKET)
                .key(&key)
                .send()
                .await
                .expect("readable");
            assert_eq!(
                answer.content_encoding, None,
                "{key}: readers get the bytes that were stored"
            );
            let metadata = answer.metadata.unwrap_or_default();
            let body = answer.body.collect().await.expect("whole").into_bytes();
            let text = if key.ends_with(".gz") {
                let mut text = String::new();
                MultiGzDecoder::new(&body[..])
                    .read_to_string(&mut text)
                    .expect("gzip");
                text
            } else if key.ends_with(".zst") {
                let text = zstd::stream::decode_all(&body[..]).expect("zstd");
                String::from_utf8(text).expect("UTF-8")
            } else {
                String::from_utf8(body.to_vec()).expect("UTF-8")
            };
            assert!(text.ends_with('\n'), "{key}: the last line is ended too");
            assert_eq!(
                metadata["uncompressed-crc64nvme"],
                crc_to_hex(crc64_nvme(text.as_bytes())),
                "{key}"
            );
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            assert_eq!(metadata["record-count"], lines.len().to_string(), "{key}");
            objects.push(Object { key, metadata, lines });
        }
        objects
    }

    pub(crate) async fn keys(&self, prefix: &str) -> Vec<String> {
        let pages = self
            .s3
            .list_objects_v2()
            .bucket(BUCKET)
            .prefix(prefix)
            .into_paginator()
            .send();
        let pages: Vec<_> = pages.try_collect().await.expect("listed");
        let objects = pages
            .into_iter()
            .flat_map(|page| page.contents.unwrap_or_default());
        objects.filter_map(|object| object.key).collect()
    }

    /// A shard's state, as it lies in the bucket.
    pub(crate) async fn state(&self, shard: &str) -> Option<ShardState> {
        let key = format!("_hoard/{STREAM}/{shard}.json");
        let answer = self.s3.get_object().bucket(BUCKET).key(key).send().await.ok()?;
        let body = answer.body.collect().await.expect("whole").into_bytes();
        Some(serde_json::from_slice(&body).expect("a state"))
    }

    /// The shards that the stream has now, closed ones included.
    pub(crate) async fn shard_ids(&self) -> Vec<String> {
        let answer = self
            .kinesis
            .list_shards()
            .stream_name(STREAM)
            .send()
            .await
            .expect("listed");
        answer
            .shards()
            .iter()
            .map(|shard| shard.shard_id().to_owned())
            .collect()
    }

    /// What the stream holds, read by other means than the code under test; aggregates opened.
    pub(crate) async fn records(&self, shard: &str) -> Vec<Vec<u8>> {
        let request = self
            .kinesis
            .get_shard_iterator()
            .stream_name(STREAM)
            .shard_id(shard);
        let answer = request
            .shard_iterator_type(ShardIteratorType::TrimHorizon)
            .send()
            .await;
        let mut iterator = answer.expect("an iterator").shard_iterator;
        let mut records = Vec::new();
        while let Some(current) = iterator {
            let answer = self
                .kinesis
                .get_records()
                .shard_iterator(current)
                .send()
                .await
                .expect("records");
            let is_up_to_date = answer.millis_behind_latest == Some(0);
            records.extend(
                answer
                    .records
                    .into_iter()
                    .flat_map(|record| user_records(record.data.into_inner())),
            );
            iterator = answer.next_shard_iterator.filter(|_| !is_up_to_date);
        }
        records
    }

    /// The predicate: the archive holds what the stream does, and each cut names the one before it.
    pub(crate) async fn assert_exact(&self) {
        let (lines, errors) = (self.objects("raw/").await, self.objects("errors/").await);
        assert_linked(lines.iter().chain(&errors));
        self.assert_holds_what_the_stream_does().await;
    }

    /// Per shard, the lines of the archive in the order of their objects are exactly the stream's good
    /// records in their order, the error lines exactly the bad ones, and the objects' ranges of
    /// sequence numbers do not overlap.
    pub(crate) async fn assert_holds_what_the_stream_does(&self) {
        let mut lines = by_shard(self.objects("raw/").await);
        let mut errors = by_shard(self.objects("errors/").await);
        for shard in self.shard_ids().await {
            let records = self.records(&shard).await;
            let (good, bad): (Vec<_>, Vec<_>) = records.into_iter().partition(|data| is_object(data));
            let archived = lines.remove(&shard).unwrap_or_default();
            let archived: Vec<_> = archived.into_iter().map(String::into_bytes).collect();
            assert!(
                archived == good,
                "{shard}: {} lines for {} records",
                archived.len(),
                good.len()
            );
            let kept: Vec<_> = errors
                .remove(&shard)
                .unwrap_or_default()
                .iter()
                .map(|line| raw_data(line))
                .collect();
            assert!(
                kept == bad,
                "{shard}: {} error lines for {} bad records",
                kept.len(),
                bad.len()
            );
        }
        assert!(
            lines.is_empty() && errors.is_empty(),
            "objects of shards that the stream does not have"
        );
    }

    /// The predicate where lines are divided by a field: per shard and value of it, the lines under
    /// `raw/{value}/` are the stream's in their order, all else is in error lines, and no cut lacks one
    /// of its objects.
    pub(crate) async fn assert_exact_by(&self, field: &str) {
        let objects = self.objects("raw/").await;
        let errors = self.objects("errors/").await;
        assert_linked(objects.iter().chain(&errors));
        let mut divided: BTreeMap<String, Vec<Object>> = BTreeMap::new();
        for object in objects {
            let folder = object.key.split('/').nth(1).expect("raw/value/…").to_owned();
            divided.entry(folder).or_default().push(object);
        }
        let mut archived: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        for (folder, objects) in divided {
            for (shard, lines) in by_shard(objects) {
                archived.insert((shard, folder.clone()), lines);
            }
        }
        let (mut expected, mut bad) = (BTreeMap::<_, Vec<String>>::new(), 0);
        for shard in self.shard_ids().await {
            for data in self.records(&shard).await {
                let value: Option<serde_json::Value> = serde_json::from_slice(&data).ok();
                let value = value.as_ref().and_then(|value| value[field].as_str());
                match value.filter(|value| hoard::prefix::is_valid_value(value)) {
                    Some(value) => expected
                        .entry((shard.clone(), value.to_owned()))
                        .or_default()
                        .push(String::from_utf8(data).expect("JSON")),
                    None => bad += 1,
                }
            }
        }
        assert!(
            archived == expected,
            "{:?} for {:?}",
            archived.keys(),
            expected.keys()
        );
        let kept: usize = errors.iter().map(|object| object.lines.len()).sum();
        assert_eq!(kept, bad, "error lines");
    }

    pub(crate) async fn split(&self, shard: &str, at: &str) {
        let request = self
            .kinesis
            .split_shard()
            .stream_name(STREAM)
            .shard_to_split(shard);
        request.new_starting_hash_key(at).send().await.expect("split");
        self.until_active().await;
    }

    pub(crate) async fn merge(&self, shard: &str, adjacent: &str) {
        let request = self
            .kinesis
            .merge_shards()
            .stream_name(STREAM)
            .shard_to_merge(shard);
        request
            .adjacent_shard_to_merge(adjacent)
            .send()
            .await
            .expect("merged");
        self.until_active().await;
    }

    async fn is_active(&self) -> bool {
        let answer = self
            .kinesis
            .describe_stream_summary()
            .stream_name(STREAM)
            .send()
            .await;
        let summary = answer
            .expect("described")
            .stream_description_summary
            .expect("a summary");
        summary.stream_status().as_str() == "ACTIVE"
    }

    /// Waits until the stream takes changes again.
    pub(crate) async fn until_active(&self) {
        self.until("the stream is active", async || self.is_active().await)
            .await;
    }
}

impl Hoard {
    /// Drains, and expects that to go well.
    pub(crate) async fn stop(mut self) {
        self.runtime.shutdown.request();
        self.ended().await.expect("drained");
    }

    /// Waits for the end without asking for it.
    pub(crate) async fn ended(&mut self) -> Result<(), Error> {
        let ended = tokio::time::timeout(PATIENCE, self.running.join_next()).await;
        ended.expect("ends in time").expect("one task").expect("no panic")
    }

    /// As `kill -9`: every task of the instance is gone wherever it was, its connections closed.
    pub(crate) async fn kill(mut self) {
        self.running.shutdown().await;
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        metric(&self.runtime, name)
    }
}

impl Pausable {
    /// Nothing of it goes on until the pause is dropped.
    pub(crate) fn pause(&self) -> Pause {
        let (sender, receiver) = mpsc::channel();
        self.pause.send(receiver).expect("it runs");
        Pause { _until: sender }
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        metric(&self.runtime, name)
    }

    /// Drains, and expects that to go well.
    pub(crate) async fn stop(self) {
        self.runtime.shutdown.request();
        let ended = tokio::task::spawn_blocking(|| self.thread.join());
        let outcome = tokio::time::timeout(PATIENCE, ended).await.expect("ends in time");
        outcome.expect("joined").expect("no panic").expect("drained");
    }
}

/// A metric's value; all labels must be given in order: `name{a="b"}`.
fn metric(runtime: &Runtime, name: &str) -> f64 {
    let text = TextEncoder::new()
        .encode_to_string(&runtime.registry.gather())
        .expect("text");
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().expect("a number"))
}

/// Days of UTC under these prefixes.
pub(crate) fn layout(prefix: &str, error_prefix: &str) -> Arc<Layout> {
    Arc::new(Layout {
        stream: STREAM.to_owned(),
        prefix: prefix.parse().expect("a prefix"),
        error_prefix: error_prefix.parse().expect("a prefix"),
        zone: Zone::utc(),
        record_partitions_max: 100,
        lines: LinesTo::Bucket,
    })
}

pub(crate) fn sequence(text: &str) -> SequenceNumber {
    SequenceNumber::try_from(text.to_owned()).expect("a sequence number")
}

async fn clients(cloud: &LocalCloud) -> Clients {
    let account = cloud.account();
    let (id, secret) = (account.access_key_id.clone(), account.secret_access_key.clone());
    let endpoint = aws_clients::Endpoint {
        region: Some(account.region.clone()),
        endpoint_url: Some(cloud.endpoint_url()),
        credentials: Some(aws_clients::Credentials::new(id, secret, None, None, "test")),
        ..Default::default()
    };
    Clients::of(&aws_clients::load(&endpoint).await)
}

/// Lines by shard, the objects of each in order of their first record.
fn by_shard(mut objects: Vec<Object>) -> BTreeMap<String, Vec<String>> {
    objects.sort_by_key(|object| sequence(&object.metadata["first-sequence-number"]));
    let mut last_of: HashMap<String, SequenceNumber> = HashMap::new();
    let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for object in objects {
        let shard = object.metadata["shard"].clone();
        let first = sequence(&object.metadata["first-sequence-number"]);
        assert!(
            last_of.get(&shard).is_none_or(|last| *last < first),
            "{}: overlaps",
            object.key
        );
        last_of.insert(shard.clone(), sequence(&object.metadata["last-sequence-number"]));
        lines.entry(shard).or_default().extend(object.lines);
    }
    lines
}

/// A record's user records, if it is a whole aggregate; else itself.
fn user_records(data: Vec<u8>) -> Vec<Vec<u8>> {
    match kpl::open(&data) {
        Ok(records) => records.iter().map(|record| record.data.to_vec()).collect(),
        Err(_) => vec![data],
    }
}

/// Every cut has all its objects, and follows the last record of the cut before it.
fn assert_linked<'a>(objects: impl Iterator<Item = &'a Object>) {
    let mut cuts: BTreeMap<(&str, SequenceNumber), Vec<&Object>> = BTreeMap::new();
    for object in objects {
        let first = sequence(&object.metadata["first-sequence-number"]);
        cuts.entry((&object.metadata["shard"], first))
            .or_default()
            .push(object);
    }
    let mut last_of: HashMap<&str, &str> = HashMap::new();
    for ((shard, _), objects) in &cuts {
        let before = last_of.get(shard).copied().unwrap_or("start");
        for object in objects {
            let metadata = &object.metadata;
            assert_eq!(metadata["after-sequence-number"], before, "{}", object.key);
            assert_eq!(
                metadata["cut-objects"],
                objects.len().to_string(),
                "{}",
                object.key
            );
            last_of.insert(shard, &metadata["last-sequence-number"]);
        }
    }
}

fn is_object(data: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(data).is_ok_and(|value| value.is_object())
}

fn raw_data(error_line: &str) -> Vec<u8> {
    let line: serde_json::Value = serde_json::from_str(error_line).expect("JSON");
    STANDARD
        .decode(line["rawData"].as_str().expect("text"))
        .expect("base64")
}
