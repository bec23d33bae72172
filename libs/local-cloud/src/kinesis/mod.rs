//! Kinesis Data Streams, as exact as a consumer of a stream can tell.
//!
//! The model, from the inside out: `hash` (which hash key), `sequence` (which number), `log` (the
//! records of a shard), `shard`, `stream` (routing, splits and merges), `iterator` (the token of a
//! place in a shard), `store` (what survives the process). `operations` are the calls on top.
//!
//! Streams are ACTIVE at once. What AWS throttles is off unless [`KinesisLimits`] are set.

mod error;
mod hash;
mod iterator;
mod limits;
mod log;
mod operations;
mod sequence;
mod shard;
mod store;
mod stream;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;

use crate::account::Account;
use crate::clock::Clock;
use crate::state::{State, StateError};
use crate::wire::json::{ApiError, Call, JsonService};
use stream::Stream;

pub use limits::KinesisLimits;

/// The streams of one account.
pub(crate) struct Kinesis {
    account: Account,
    state: State,
    clock: Clock,
    limits: Option<KinesisLimits>,
    streams: RwLock<Registry>,
}

/// The streams, by name for those who ask and by identity for the tokens they were given.
#[derive(Default)]
struct Registry {
    by_name: BTreeMap<String, Arc<Mutex<Stream>>>,
    by_id: HashMap<u128, Arc<Mutex<Stream>>>,
}

impl Registry {
    fn insert(&mut self, stream: Stream) {
        let (name, id) = (stream.name.clone(), stream.id);
        let stream = Arc::new(Mutex::new(stream));
        self.by_id.insert(id, Arc::clone(&stream));
        self.by_name.insert(name, stream);
    }
}

impl Kinesis {
    /// Reads back what the state holds.
    pub(crate) fn open(
        account: &Account,
        state: &State,
        clock: &Clock,
        limits: Option<KinesisLimits>,
    ) -> Result<Self, StateError> {
        let mut registry = Registry::default();
        for stream in store::load(state)? {
            registry.insert(stream);
        }
        Ok(Self {
            account: account.clone(),
            state: state.clone(),
            clock: clock.clone(),
            limits,
            streams: RwLock::new(registry),
        })
    }

    /// How many streams there are.
    pub(crate) fn stream_count(&self) -> usize {
        self.streams
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .by_name
            .len()
    }
}

impl JsonService for Kinesis {
    const NAME: &'static str = "kinesis";
    const TARGET_PREFIX: &'static str = "Kinesis_20131202";
    const CONTENT_TYPE: &'static str = "application/x-amz-json-1.1";
    const ERROR_NAMESPACE: Option<&'static str> = None;

    fn throttled(_operation: &str) -> ApiError {
        error::throughput_exceeded("Rate exceeded")
    }

    fn unknown_access_key() -> ApiError {
        ApiError::new(
            400,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        )
    }

    async fn call(&self, call: Call<'_>) -> Result<Bytes, ApiError> {
        match call.operation {
            "AddTagsToStream" => self.add_tags_to_stream(&call),
            "CreateStream" => self.create_stream(&call),
            "DecreaseStreamRetentionPeriod" => self.decrease_stream_retention_period(&call),
            "DeleteStream" => self.delete_stream(&call),
            "DescribeStream" => self.describe_stream(&call),
            "DescribeStreamSummary" => self.describe_stream_summary(&call),
            "GetRecords" => self.get_records(&call),
            "GetShardIterator" => self.get_shard_iterator(&call),
            "IncreaseStreamRetentionPeriod" => self.increase_stream_retention_period(&call),
            "ListShards" => self.list_shards(&call),
            "ListStreams" => self.list_streams(&call),
            "ListTagsForStream" => self.list_tags_for_stream(&call),
            "MergeShards" => self.merge_shards(&call),
            "PutRecord" => self.put_record(&call),
            "PutRecords" => self.put_records(&call),
            "SplitShard" => self.split_shard(&call),
            "UpdateShardCount" => self.update_shard_count(&call),
            unknown => Err(ApiError::unknown_operation(Self::NAME, unknown)),
        }
    }
}

/// Locks a stream. Nothing panics half way through a change of one.
fn lock(stream: &Mutex<Stream>) -> MutexGuard<'_, Stream> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}
