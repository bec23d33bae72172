//! A stream of a test's own, and the calls on it.

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{
    PutRecordsRequestEntry, Record, Shard, ShardFilter, ShardFilterType, ShardIteratorType, StreamStatus,
};

use crate::{Target, unique};

/// How long a stream may take to become ACTIVE.
const ACTIVE_WITHIN: Duration = Duration::from_secs(120);
/// How long a record may take to be readable.
const READABLE_WITHIN: Duration = Duration::from_secs(30);

/// A stream of a test's own.
pub(super) struct Stream {
    pub(super) client: Client,
    pub(super) name: String,
    /// Keeps an embedded cloud running.
    _target: Target,
}

impl Stream {
    /// A name, and clients to create a stream of that name with.
    pub(super) async fn name_one() -> Self {
        let target = Target::start().await;
        Self {
            client: target.kinesis.clone(),
            name: unique("stream"),
            _target: target,
        }
    }

    pub(super) async fn create(shards: i32) -> Self {
        let stream = Self::name_one().await;
        let request = stream
            .client
            .create_stream()
            .stream_name(&stream.name)
            .shard_count(shards);
        request.send().await.expect("a new stream");
        stream.active().await;
        stream
    }

    pub(super) async fn active(&self) {
        tokio::time::timeout(ACTIVE_WITHIN, async {
            loop {
                let summary = self
                    .client
                    .describe_stream_summary()
                    .stream_name(&self.name)
                    .send()
                    .await;
                let summary = summary.expect("the stream exists").stream_description_summary;
                if summary.expect("a summary").stream_status == StreamStatus::Active {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        })
        .await
        .expect("the stream becomes ACTIVE");
    }

    /// Puts one record with an explicit hash key and returns its sequence number.
    pub(super) async fn put(&self, hash_key: u128, data: &str) -> String {
        let request = self
            .client
            .put_record()
            .stream_name(&self.name)
            .partition_key("key");
        let request = request
            .explicit_hash_key(hash_key.to_string())
            .data(Blob::new(data));
        request
            .send()
            .await
            .expect("the stream is ACTIVE")
            .sequence_number
    }

    pub(super) async fn put_all(&self, entries: Vec<PutRecordsRequestEntry>) -> PutRecordsOutput {
        let request = self
            .client
            .put_records()
            .stream_name(&self.name)
            .set_records(Some(entries));
        request.send().await.expect("valid entries")
    }

    pub(super) async fn shards(&self) -> Vec<Shard> {
        let answer = self.client.list_shards().stream_name(&self.name).send().await;
        answer.expect("the stream exists").shards.unwrap_or_default()
    }

    pub(super) async fn filtered(&self, filter: ShardFilter) -> Vec<String> {
        let answer = self
            .client
            .list_shards()
            .stream_name(&self.name)
            .shard_filter(filter)
            .send()
            .await;
        ids(answer.expect("a valid filter").shards())
    }

    pub(super) async fn split(&self, shard: &Shard) {
        let range = shard.hash_key_range().expect("every shard has one");
        let bound = |text: &str| text.parse::<u128>().expect("a decimal number");
        let (start, end) = (bound(range.starting_hash_key()), bound(range.ending_hash_key()));
        let middle = start + (end - start) / 2 + 1;
        let request = self
            .client
            .split_shard()
            .stream_name(&self.name)
            .shard_to_split(shard.shard_id());
        request
            .new_starting_hash_key(middle.to_string())
            .send()
            .await
            .expect("an open shard");
        self.active().await;
    }

    pub(super) async fn merge(&self, shard: &str, adjacent: &str) {
        let request = self
            .client
            .merge_shards()
            .stream_name(&self.name)
            .shard_to_merge(shard);
        request
            .adjacent_shard_to_merge(adjacent)
            .send()
            .await
            .expect("two open neighbours");
        self.active().await;
    }

    pub(super) async fn iterator(&self, shard: &str, kind: ShardIteratorType) -> String {
        let request = self
            .client
            .get_shard_iterator()
            .stream_name(&self.name)
            .shard_id(shard);
        let answer = request
            .shard_iterator_type(kind)
            .send()
            .await
            .expect("the shard exists");
        answer.shard_iterator.expect("an iterator")
    }

    pub(super) async fn iterator_by_number(
        &self,
        shard: &str,
        kind: ShardIteratorType,
        number: &str,
    ) -> String {
        let request = self
            .client
            .get_shard_iterator()
            .stream_name(&self.name)
            .shard_id(shard);
        let request = request.shard_iterator_type(kind).starting_sequence_number(number);
        request
            .send()
            .await
            .expect("a number of the shard")
            .shard_iterator
            .expect("an iterator")
    }

    pub(super) async fn get(&self, iterator: &str, limit: Option<i32>) -> GetRecordsOutput {
        let request = self
            .client
            .get_records()
            .shard_iterator(iterator)
            .set_limit(limit);
        request.send().await.expect("a fresh iterator")
    }

    /// Reads on from an iterator until so many records came.
    pub(super) async fn read(&self, iterator: String, count: usize) -> Vec<Record> {
        let mut next = Some(iterator);
        let mut records = Vec::new();
        tokio::time::timeout(READABLE_WITHIN, async {
            while records.len() < count {
                let page = self.get(&next.take().expect("the shard has more"), None).await;
                records.extend(page.records);
                next = page.next_shard_iterator;
            }
        })
        .await
        .expect("the records become readable");
        records
    }

    pub(super) async fn read_shard(&self, shard: &str, count: usize) -> Vec<String> {
        let iterator = self.iterator(shard, ShardIteratorType::TrimHorizon).await;
        numbers(&self.read(iterator, count).await)
    }
}

pub(super) fn ids(shards: &[Shard]) -> Vec<String> {
    shards.iter().map(|shard| shard.shard_id().to_owned()).collect()
}

pub(super) fn numbers(records: &[Record]) -> Vec<String> {
    records
        .iter()
        .map(|record| record.sequence_number().to_owned())
        .collect()
}

pub(super) fn entry(key: &str, data: impl Into<Vec<u8>>) -> PutRecordsRequestEntry {
    let entry = PutRecordsRequestEntry::builder()
        .partition_key(key)
        .data(Blob::new(data));
    entry.build().expect("key and data are set")
}

pub(super) fn filter(kind: ShardFilterType) -> ShardFilter {
    ShardFilter::builder()
        .r#type(kind)
        .build()
        .expect("a type is set")
}
