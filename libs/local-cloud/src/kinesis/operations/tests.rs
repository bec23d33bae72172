//! The calls as a client sees them, on a clock that the test moves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures::FutureExt;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Kinesis, KinesisLimits};
use crate::account::Account;
use crate::clock::Clock;
use crate::fault::{Faults, Outcome, RecordThrottle};
use crate::state::State;
use crate::wire::json::{ApiError, Call, JsonService};

mod consumer;
mod reading;
mod writing;

const START: Duration = Duration::from_millis(1_700_000_000_123);
const HOUR: Duration = Duration::from_hours(1);

struct Client {
    kinesis: Kinesis,
    clock: Clock,
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "calls read better with their input in place"
)]
impl Client {
    fn new() -> Self {
        Self::open(&State::in_memory(), Clock::stopped_at(UNIX_EPOCH + START), None)
    }

    fn open(state: &State, clock: Clock, limits: Option<KinesisLimits>) -> Self {
        let account = Account::development("cn-north-1");
        let kinesis = Kinesis::open(&account, state, &clock, limits).expect("the state is readable");
        Self { kinesis, clock }
    }

    fn call_with(&self, operation: &str, input: &Value, throttle: RecordThrottle) -> Result<Value, ApiError> {
        let call = Call {
            operation,
            body: Bytes::from(input.to_string()),
            throttle,
        };
        let body = self
            .kinesis
            .call(call)
            .now_or_never()
            .expect("Kinesis never waits")?;
        Ok(serde_json::from_slice(&body).expect("an answer is JSON"))
    }

    fn try_call(&self, operation: &str, input: Value) -> Result<Value, ApiError> {
        self.call_with(operation, &input, RecordThrottle::new(&Faults::seeded(1), None))
    }

    fn call(&self, operation: &str, input: Value) -> Value {
        self.try_call(operation, input).expect("the call is valid")
    }

    fn code(&self, operation: &str, input: Value) -> String {
        self.try_call(operation, input)
            .expect_err("the call is not valid")
            .code
            .into_owned()
    }

    fn create(&self, shards: u32) {
        self.call("CreateStream", json!({"StreamName": "s", "ShardCount": shards}));
    }

    /// Puts one record and returns its sequence number.
    fn put(&self, key: &str) -> String {
        let put = self.call(
            "PutRecord",
            json!({"StreamName": "s", "PartitionKey": key, "Data": "AAA="}),
        );
        text(&put["SequenceNumber"])
    }

    fn iterator(&self, shard: u32, mut rest: Value) -> String {
        rest["StreamName"] = json!("s");
        rest["ShardId"] = json!(format!("shardId-{shard:012}"));
        text(&self.call("GetShardIterator", rest)["ShardIterator"])
    }

    fn horizon(&self, shard: u32) -> String {
        self.iterator(shard, json!({"ShardIteratorType": "TRIM_HORIZON"}))
    }

    fn get(&self, iterator: &str) -> Value {
        self.call("GetRecords", json!({"ShardIterator": iterator}))
    }

    fn read(&self, iterator: &str) -> Vec<String> {
        numbers(&self.get(iterator))
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn numbers(page: &Value) -> Vec<String> {
    let records = page["Records"].as_array().expect("records");
    records
        .iter()
        .map(|record| text(&record["SequenceNumber"]))
        .collect()
}

fn shard_ids(page: &Value) -> Vec<u32> {
    let shards = page["Shards"].as_array().expect("shards");
    shards
        .iter()
        .map(|shard| text(&shard["ShardId"])[8..].parse().expect("a number"))
        .collect()
}
