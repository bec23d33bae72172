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

#[test]
fn every_iterator_type_starts_where_it_says() {
    let client = Client::new();
    client.create(1);
    let mut numbers = Vec::new();
    for key in ["a", "b", "c"] {
        numbers.push(client.put(key));
        client.clock.advance(Duration::from_millis(10));
    }
    assert_eq!(client.read(&client.horizon(0)), numbers);
    let latest = client.iterator(0, json!({"ShardIteratorType": "LATEST"}));
    assert!(client.read(&latest).is_empty());
    let at = json!({"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": numbers[1]});
    assert_eq!(client.read(&client.iterator(0, at)), numbers[1..]);
    let after = json!({"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": numbers[1]});
    assert_eq!(client.read(&client.iterator(0, after)), numbers[2..]);
    for (seconds, from) in [
        (0.0, 0),
        (1_700_000_000.123, 0),
        (1_700_000_000.124, 1),
        (1_700_000_000.133, 1),
        (1_700_000_000.144, 3),
    ] {
        let at = json!({"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": seconds});
        assert_eq!(client.read(&client.iterator(0, at)), numbers[from..], "{seconds}");
    }
    numbers.push(client.put("d"));
    assert_eq!(client.read(&latest), numbers[3..]);
}

#[test]
fn contradictory_iterators_are_refused() {
    let client = Client::new();
    client.create(2);
    let number = client.put("a");
    let start = text(
        &client.call("ListShards", json!({"StreamName": "s"}))["Shards"][0]["SequenceNumberRange"]["StartingSequenceNumber"],
    );
    let other = if number[..34] == start[..34] { 1 } else { 0 };
    for (shard, mut input, code) in [
        (0, json!({"ShardIteratorType": "NEWEST"}), "ValidationException"),
        (
            0,
            json!({"ShardIteratorType": "LATEST", "StartingSequenceNumber": start}),
            "InvalidArgumentException",
        ),
        (
            0,
            json!({"ShardIteratorType": "AT_SEQUENCE_NUMBER"}),
            "InvalidArgumentException",
        ),
        (
            0,
            json!({"ShardIteratorType": "AT_TIMESTAMP"}),
            "InvalidArgumentException",
        ),
        (
            0,
            json!({"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1_700_000_001.0}),
            "InvalidArgumentException",
        ),
        (
            0,
            json!({"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": "49"}),
            "InvalidArgumentException",
        ),
        (
            other,
            json!({"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": number}),
            "InvalidArgumentException",
        ),
        (
            7,
            json!({"ShardIteratorType": "LATEST"}),
            "ResourceNotFoundException",
        ),
    ] {
        input["StreamName"] = json!("s");
        input["ShardId"] = json!(format!("shardId-{shard:012}"));
        assert_eq!(client.code("GetShardIterator", input.clone()), code, "{input}");
    }
}

#[test]
fn an_iterator_is_good_for_five_minutes() {
    let client = Client::new();
    client.create(1);
    let iterator = client.horizon(0);
    client.clock.advance(Duration::from_secs(300));
    client.get(&iterator);
    client.clock.advance(Duration::from_millis(1));
    assert_eq!(
        client.code("GetRecords", json!({"ShardIterator": iterator})),
        "ExpiredIteratorException"
    );
    assert_eq!(
        client.code("GetRecords", json!({"ShardIterator": "AAAA"})),
        "InvalidArgumentException"
    );
    client.call("DeleteStream", json!({"StreamName": "s"}));
    client.create(1);
    assert_eq!(
        client.code("GetRecords", json!({"ShardIterator": iterator})),
        "ResourceNotFoundException"
    );
}

#[test]
fn millis_behind_latest_is_the_age_of_what_was_read_last() {
    let client = Client::new();
    client.create(1);
    for key in ["a", "b"] {
        client.put(key);
        client.clock.advance(Duration::from_millis(1_500));
    }
    let page = client.call(
        "GetRecords",
        json!({"ShardIterator": client.horizon(0), "Limit": 1}),
    );
    assert_eq!(page["MillisBehindLatest"], 3_000);
    assert_eq!(
        page["Records"][0]["ApproximateArrivalTimestamp"],
        1_700_000_000.123
    );
    assert_eq!(page["Records"][0]["Data"], "AAA=");
    let page = client.get(&text(&page["NextShardIterator"]));
    assert_eq!(
        (numbers(&page).len(), &page["MillisBehindLatest"]),
        (1, &json!(0))
    );
    let page = client.get(&text(&page["NextShardIterator"]));
    assert_eq!(
        (numbers(&page).len(), &page["MillisBehindLatest"]),
        (0, &json!(0))
    );
}

#[test]
fn a_closed_shard_ends_and_names_its_children() {
    let client = Client::new();
    client.create(2);
    let (mut records, half) = (Vec::new(), u128::MAX / 4);
    for hash_key in [0, half, u128::MAX / 2] {
        let input = json!({"StreamName": "s", "PartitionKey": "k", "ExplicitHashKey": hash_key.to_string(), "Data": ""});
        records.push(text(&client.call("PutRecord", input)["SequenceNumber"]));
    }
    let begin = client.horizon(0);
    client.call("SplitShard", json!({"StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": half.to_string()}));

    let first = client.call("GetRecords", json!({"ShardIterator": begin, "Limit": 2}));
    assert_eq!(numbers(&first), records[..2]);
    assert!(first.get("ChildShards").is_none(), "there is a record left");
    let last = client.get(&text(&first["NextShardIterator"]));
    assert_eq!(numbers(&last), records[2..]);
    assert_eq!(last["NextShardIterator"], Value::Null);
    let children = last["ChildShards"].as_array().expect("children");
    assert_eq!(children.len(), 2);
    assert_eq!(children[0]["ParentShards"], json!(["shardId-000000000000"]));
    assert_eq!(children[1]["HashKeyRange"]["StartingHashKey"], half.to_string());
    let latest = client.get(&client.iterator(0, json!({"ShardIteratorType": "LATEST"})));
    assert_eq!(
        (numbers(&latest).len(), &latest["NextShardIterator"]),
        (0, &Value::Null)
    );

    client.call("MergeShards", json!({"StreamName": "s", "ShardToMerge": "shardId-000000000003", "AdjacentShardToMerge": "shardId-000000000001"}));
    let last = client.get(&client.horizon(3));
    assert_eq!(
        last["ChildShards"][0]["ParentShards"],
        json!(["shardId-000000000003", "shardId-000000000001"])
    );
}

#[test]
fn listings_page_and_filter() {
    let client = Client::new();
    client.create(3);
    client.clock.advance(HOUR);
    client.call("MergeShards", json!({"StreamName": "s", "ShardToMerge": "shardId-000000000000", "AdjacentShardToMerge": "shardId-000000000001"}));
    client.clock.advance(HOUR);
    let list = |filter: Value| {
        shard_ids(&client.call("ListShards", json!({"StreamName": "s", "ShardFilter": filter})))
    };
    let start = START.as_secs_f64();
    assert_eq!(list(json!({"Type": "FROM_TRIM_HORIZON"})), [0, 1, 2, 3]);
    assert_eq!(list(json!({"Type": "AT_TRIM_HORIZON"})), [0, 1, 2]);
    assert_eq!(list(json!({"Type": "AT_LATEST"})), [2, 3]);
    assert_eq!(
        list(json!({"Type": "AFTER_SHARD_ID", "ShardId": "shardId-000000000001"})),
        [2, 3]
    );
    assert_eq!(
        list(json!({"Type": "AT_TIMESTAMP", "Timestamp": start + 60.0})),
        [0, 1, 2]
    );
    assert_eq!(
        list(json!({"Type": "AT_TIMESTAMP", "Timestamp": start + 3_700.0})),
        [2, 3]
    );
    assert_eq!(
        list(json!({"Type": "FROM_TIMESTAMP", "Timestamp": start + 60.0})),
        [0, 1, 2, 3]
    );
    assert_eq!(
        list(json!({"Type": "FROM_TIMESTAMP", "Timestamp": start + 3_700.0})),
        [2, 3]
    );

    let page = client.call(
        "ListShards",
        json!({"StreamName": "s", "MaxResults": 3, "ExclusiveStartShardId": "shardId-000000000000"}),
    );
    assert_eq!((shard_ids(&page), page.get("NextToken")), (vec![1, 2, 3], None));
    let page = client.call(
        "ListShards",
        json!({"StreamName": "s", "MaxResults": 1, "ShardFilter": {"Type": "AT_LATEST"}}),
    );
    assert_eq!(shard_ids(&page), [2]);
    let token = page["NextToken"].clone();
    let rest = client.call("ListShards", json!({"NextToken": token}));
    assert_eq!((shard_ids(&rest), rest.get("NextToken")), (vec![3], None));
    for wrong in [
        json!({"NextToken": token, "StreamName": "s"}),
        json!({"NextToken": token, "ExclusiveStartShardId": "shardId-000000000000"}),
        json!({"NextToken": "nonsense"}),
        json!({}),
        json!({"StreamName": "s", "ShardFilter": {"Type": "AFTER_SHARD_ID"}}),
        json!({"StreamName": "s", "ShardFilter": {"Type": "AT_TIMESTAMP"}}),
        json!({"StreamName": "s", "ShardFilter": {"Type": "AT_LATEST", "ShardId": "shardId-000000000000"}}),
    ] {
        assert_eq!(
            client.code("ListShards", wrong.clone()),
            "InvalidArgumentException",
            "{wrong}"
        );
    }
    client.clock.advance(Duration::from_millis(300_001));
    assert_eq!(
        client.code("ListShards", json!({"NextToken": token})),
        "ExpiredNextTokenException"
    );
}

#[test]
fn what_retention_no_longer_covers_is_gone() {
    let client = Client::new();
    client.create(1);
    let old = client.put("a");
    client.clock.advance(12 * HOUR);
    let young = client.put("b");
    client.call(
        "SplitShard",
        json!({"StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": "5"}),
    );
    client.clock.advance(12 * HOUR);
    assert_eq!(
        client.read(&client.horizon(0)),
        [old.clone(), young.clone()],
        "24 hours are covered"
    );
    let iterator = client.horizon(0);
    client.clock.advance(Duration::from_millis(1));
    assert_eq!(
        client.read(&iterator),
        std::slice::from_ref(&young),
        "an older iterator goes on at the horizon"
    );
    let at = json!({"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": old});
    assert_eq!(client.read(&client.iterator(0, at)), std::slice::from_ref(&young));

    client.call(
        "IncreaseStreamRetentionPeriod",
        json!({"StreamName": "s", "RetentionPeriodHours": 48}),
    );
    assert_eq!(client.read(&client.horizon(0)), [young], "nothing comes back");
    assert_eq!(
        client.code(
            "IncreaseStreamRetentionPeriod",
            json!({"StreamName": "s", "RetentionPeriodHours": 47})
        ),
        "InvalidArgumentException"
    );
    assert_eq!(
        client.code(
            "DecreaseStreamRetentionPeriod",
            json!({"StreamName": "s", "RetentionPeriodHours": 23})
        ),
        "InvalidArgumentException"
    );
    client.clock.advance(24 * HOUR);
    client.call(
        "DecreaseStreamRetentionPeriod",
        json!({"StreamName": "s", "RetentionPeriodHours": 24}),
    );
    assert_eq!(
        shard_ids(&client.call("ListShards", json!({"StreamName": "s"}))),
        [1, 2],
        "an empty closed shard is forgotten"
    );
    let input = json!({"StreamName": "s", "ShardId": "shardId-000000000000", "ShardIteratorType": "LATEST"});
    assert_eq!(
        client.code("GetShardIterator", input),
        "ResourceNotFoundException"
    );
}

#[test]
fn one_answer_holds_ten_mebibytes() {
    let client = Client::new();
    client.create(1);
    let record = json!({"PartitionKey": "k", "Data": "A".repeat(4 * 340_000)});
    for _ in 0..3 {
        client.call(
            "PutRecords",
            json!({"StreamName": "s", "Records": vec![&record; 5]}),
        );
    }
    let page = client.get(&client.horizon(0));
    assert_eq!(numbers(&page).len(), 10, "of 1,020,001 bytes each");
    assert_eq!(client.read(&text(&page["NextShardIterator"])).len(), 5);
}

#[test]
fn invalid_puts_are_refused_whole() {
    let client = Client::new();
    client.create(1);
    let good = json!({"PartitionKey": "k", "Data": "AAA="});
    let big = json!({"PartitionKey": "k", "Data": "A".repeat(1 << 20)});
    for (records, code) in [
        (json!([]), "ValidationException"),
        (json!(vec![&good; 501]), "ValidationException"),
        (
            json!([good, {"PartitionKey": "", "Data": "AAA="}]),
            "ValidationException",
        ),
        (
            json!([good, {"PartitionKey": "é".repeat(257), "Data": "AAA="}]),
            "ValidationException",
        ),
        (
            json!([good, {"PartitionKey": "k", "Data": "A".repeat(1_398_104)}]),
            "ValidationException",
        ),
        (
            json!([good, {"PartitionKey": "k", "Data": "not base64"}]),
            "SerializationException",
        ),
        (
            json!([good, {"PartitionKey": "k", "Data": "AA=="  , "ExplicitHashKey": "01"}]),
            "ValidationException",
        ),
        (
            json!([good, {"PartitionKey": "k", "Data": "AA==", "ExplicitHashKey": "340282366920938463463374607431768211456"}]),
            "InvalidArgumentException",
        ),
        (json!(vec![&big; 7]), "InvalidArgumentException"),
        (json!([good, {"Data": "AAA="}]), "SerializationException"),
    ] {
        assert_eq!(
            client.code("PutRecords", json!({"StreamName": "s", "Records": records})),
            code
        );
    }
    assert!(client.read(&client.horizon(0)).is_empty());
    let at_the_limits = json!([{"PartitionKey": "é".repeat(256), "Data": "A".repeat(4 * 349_354)}, good]);
    client.call("PutRecords", json!({"StreamName": "s", "Records": at_the_limits}));
    assert_eq!(
        client.code(
            "PutRecord",
            json!({"StreamName": "none", "PartitionKey": "k", "Data": ""})
        ),
        "ResourceNotFoundException"
    );
    assert_eq!(
        client.code("PutRecord", json!({"PartitionKey": "k", "Data": ""})),
        "InvalidArgumentException"
    );
    let foreign =
        json!({"StreamARN": "arn:aws:kinesis:us-east-1:1:stream/s", "PartitionKey": "k", "Data": ""});
    assert_eq!(client.code("PutRecord", foreign), "ResourceNotFoundException");
}

#[test]
fn a_fault_rule_fails_its_share_of_the_entries_and_only_those() {
    let client = Client::new();
    client.create(4);
    let faults = Faults::seeded(5);
    let throttle = RecordThrottle::new(&faults, Some(&Outcome::ThrottleRecords { fraction: 0.25 }));
    let records: Vec<_> = (0..100)
        .map(|n| json!({"PartitionKey": n.to_string(), "Data": "AAA="}))
        .collect();
    let answer = client
        .call_with(
            "PutRecords",
            &json!({"StreamName": "s", "Records": records}),
            throttle,
        )
        .expect("partial success");
    assert_eq!(answer["FailedRecordCount"], 25);
    let entries = answer["Records"].as_array().expect("entries");
    let failed: Vec<_> = entries
        .iter()
        .filter(|entry| entry.get("ErrorCode").is_some())
        .collect();
    assert_eq!(failed.len(), 25);
    assert!(failed.iter().all(
        |entry| entry["ErrorCode"] == "ProvisionedThroughputExceededException"
            && entry.get("SequenceNumber").is_none()
    ));
    let stored: BTreeSet<_> = entries
        .iter()
        .filter_map(|entry| entry["SequenceNumber"].as_str().map(str::to_owned))
        .collect();
    let read: BTreeSet<_> = (0..4)
        .flat_map(|shard| client.read(&client.horizon(shard)))
        .collect();
    assert_eq!(read, stored);
}

#[test]
fn limits_throttle_when_they_are_on() {
    let clock = Clock::stopped_at(UNIX_EPOCH + START);
    let client = Client::open(&State::in_memory(), clock, Some(KinesisLimits::AWS));
    client.create(1);
    let records = vec![json!({"PartitionKey": "k", "Data": "AAA="}); 400];
    let failed: Vec<_> = (0..3)
        .map(|_| {
            client.call("PutRecords", json!({"StreamName": "s", "Records": records}))["FailedRecordCount"]
                .clone()
        })
        .collect();
    assert_eq!(failed, [0, 0, 200]);
    assert_eq!(
        client.code(
            "PutRecord",
            json!({"StreamName": "s", "PartitionKey": "k", "Data": ""})
        ),
        "ProvisionedThroughputExceededException"
    );
    let iterator = client.horizon(0);
    for _ in 0..5 {
        client.get(&iterator);
    }
    assert_eq!(
        client.code("GetRecords", json!({"ShardIterator": iterator})),
        "ProvisionedThroughputExceededException"
    );
    client.clock.advance(Duration::from_millis(200));
    client.get(&iterator);
}

#[test]
fn streams_are_described_and_listed() {
    let client = Client::new();
    client.call(
        "CreateStream",
        json!({"StreamName": "b", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}}),
    );
    client.call(
        "CreateStream",
        json!({"StreamName": "a", "ShardCount": 2, "Tags": {"team": "events"}}),
    );
    assert_eq!(
        client.code("CreateStream", json!({"StreamName": "a", "ShardCount": 2})),
        "ResourceInUseException"
    );
    assert_eq!(
        client.code("CreateStream", json!({"StreamName": "c"})),
        "InvalidArgumentException"
    );
    assert_eq!(
        client.code("CreateStream", json!({"StreamName": "a/b", "ShardCount": 1})),
        "ValidationException"
    );
    let arn = client.kinesis.stream_arn("b");
    assert!(arn.starts_with("arn:aws-cn:kinesis:cn-north-1:"), "{arn}");
    let summary =
        &client.call("DescribeStreamSummary", json!({"StreamARN": arn}))["StreamDescriptionSummary"];
    assert_eq!(summary["StreamARN"], arn);
    assert_eq!(
        (
            &summary["OpenShardCount"],
            &summary["RetentionPeriodHours"],
            &summary["MaxRecordSizeInKiB"]
        ),
        (&json!(4), &json!(24), &json!(1024))
    );
    assert_eq!(summary["StreamModeDetails"]["StreamMode"], "ON_DEMAND");
    let described =
        &client.call("DescribeStream", json!({"StreamName": "b", "Limit": 3}))["StreamDescription"];
    assert_eq!(
        (shard_ids(described), &described["HasMoreShards"]),
        (vec![0, 1, 2], &json!(true))
    );
    let input = json!({"StreamName": "b", "ExclusiveStartShardId": "shardId-000000000002"});
    let described = &client.call("DescribeStream", input)["StreamDescription"];
    assert_eq!(
        (shard_ids(described), &described["HasMoreShards"]),
        (vec![3], &json!(false))
    );

    let page = client.call("ListStreams", json!({"Limit": 1}));
    assert_eq!(
        (&page["StreamNames"], &page["HasMoreStreams"]),
        (&json!(["a"]), &json!(true))
    );
    let page = client.call("ListStreams", json!({"NextToken": page["NextToken"]}));
    assert_eq!(
        (&page["StreamNames"], &page["HasMoreStreams"]),
        (&json!(["b"]), &json!(false))
    );
    client.call(
        "AddTagsToStream",
        json!({"StreamName": "a", "Tags": {"side": "source"}}),
    );
    let tags = client.call("ListTagsForStream", json!({"StreamName": "a"}));
    assert_eq!(
        tags["Tags"],
        json!([{"Key": "side", "Value": "source"}, {"Key": "team", "Value": "events"}])
    );
    client.call(
        "UpdateShardCount",
        json!({"StreamName": "a", "TargetShardCount": 3, "ScalingType": "UNIFORM_SCALING"}),
    );
    let summary =
        &client.call("DescribeStreamSummary", json!({"StreamName": "a"}))["StreamDescriptionSummary"];
    assert_eq!(summary["OpenShardCount"], 3);
    assert_eq!(
        client.code("PutResourcePolicy", json!({})),
        "UnknownOperationException"
    );
}

#[test]
fn a_folder_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let clock = Clock::stopped_at(UNIX_EPOCH + START);
    let open = || {
        let state = State::open(folder.path()).expect("the folder is free");
        Client::open(&state, clock.clone(), None)
    };
    let client = open();
    client.create(1);
    let mut written = vec![client.put("a")];
    clock.advance(12 * HOUR);
    written.extend((0..3).map(|_| client.put("b")));
    let iterator = client.horizon(0);
    drop(client);

    let client = open();
    assert_eq!(
        client.read(&iterator),
        written,
        "an iterator outlives the process"
    );
    written.push(client.put("c"));
    client.call(
        "SplitShard",
        json!({"StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": "5"}),
    );
    let child = client.put("d");
    clock.advance(12 * HOUR + Duration::from_millis(1));
    assert_eq!(
        client.read(&client.horizon(0)),
        written[1..],
        "the first record is trimmed"
    );
    drop(client);

    let client = open();
    assert_eq!(
        shard_ids(&client.call("ListShards", json!({"StreamName": "s"}))),
        [0, 1, 2]
    );
    assert_eq!(client.read(&client.horizon(0)), written[1..], "and stays so");
    let before: Vec<_> = (1..3)
        .flat_map(|shard| client.read(&client.horizon(shard)))
        .collect();
    assert_eq!(before, std::slice::from_ref(&child));
    clock.advance(24 * HOUR);
    assert!((1..3).all(|shard| client.read(&client.horizon(shard)).is_empty()));
    assert_eq!(
        client.kinesis.state.scan(crate::state::Table::Records).count(),
        0,
        "trimmed records leave the disk"
    );
    drop(client);

    let client = open();
    assert!(client.put("d") > child, "no sequence number is given twice");
    client.call("DeleteStream", json!({"StreamName": "s"}));
    drop(client);
    assert_eq!(open().kinesis.stream_count(), 0);
}

/// One step of a producer, an operator or a reader.
#[derive(Clone, Debug)]
enum Step {
    Put(Vec<u8>),
    Get {
        reader: prop::sample::Index,
        limit: usize,
    },
    Split {
        which: prop::sample::Index,
    },
    Merge {
        which: prop::sample::Index,
    },
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 1..6).prop_map(Step::Put),
        4 => (any::<prop::sample::Index>(), 1..4_usize).prop_map(|(reader, limit)| Step::Get { reader, limit }),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::Split { which }),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::Merge { which }),
        2 => (0..3_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..60)
}

/// A consumer that follows the shards from parents to children.
#[derive(Default)]
struct Consumer {
    iterators: BTreeMap<u32, String>,
    finished: BTreeSet<u32>,
    records: Vec<(String, String)>,
}

impl Consumer {
    fn advance(&mut self, client: &Client, shard: u32, limit: usize) {
        let Some(iterator) = self.iterators.get(&shard) else {
            return;
        };
        let page = client.call("GetRecords", json!({"ShardIterator": iterator, "Limit": limit}));
        for record in page["Records"].as_array().expect("records") {
            self.records
                .push((text(&record["PartitionKey"]), text(&record["SequenceNumber"])));
        }
        match page["NextShardIterator"].as_str() {
            Some(next) => {
                self.iterators.insert(shard, next.to_owned());
            }
            None => {
                self.iterators.remove(&shard);
                self.finished.insert(shard);
                for child in page["ChildShards"]
                    .as_array()
                    .expect("children of a closed shard")
                {
                    let parents = child["ParentShards"].as_array().expect("parents");
                    let number = |id: &Value| text(id)[8..].parse::<u32>().expect("a number");
                    if parents
                        .iter()
                        .all(|parent| self.finished.contains(&number(parent)))
                    {
                        let child = number(&child["ShardId"]);
                        self.iterators.insert(child, client.horizon(child));
                    }
                }
            }
        }
    }
}

proptest! {
    /// However puts, reads and resharding interleave: a consumer that reads parents before children
    /// gets every record exactly once, and those of one partition key in the order they were put.
    #[test]
    fn nothing_is_skipped_repeated_or_reordered(steps in steps()) {
        let client = Client::new();
        client.create(2);
        let mut consumer = Consumer::default();
        consumer.iterators.extend((0..2).map(|shard| (shard, client.horizon(shard))));
        let mut put: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for step in steps {
            let open = || client.call("ListShards", json!({"StreamName": "s", "ShardFilter": {"Type": "AT_LATEST"}}));
            match step {
                Step::Put(keys) => {
                    let records: Vec<_> = keys.iter().map(|key| json!({"PartitionKey": key.to_string(), "Data": "AAA="})).collect();
                    let answer = client.call("PutRecords", json!({"StreamName": "s", "Records": records}));
                    for (key, entry) in keys.iter().zip(answer["Records"].as_array().expect("entries")) {
                        put.entry(key.to_string()).or_default().push(text(&entry["SequenceNumber"]));
                    }
                }
                Step::Get { reader, limit } if !consumer.iterators.is_empty() => {
                    let shards: Vec<_> = consumer.iterators.keys().copied().collect();
                    consumer.advance(&client, *reader.get(&shards), limit);
                }
                Step::Split { which } => {
                    let shards = open();
                    let shard = which.get(shards["Shards"].as_array().expect("shards"));
                    let range = &shard["HashKeyRange"];
                    let bound = |name: &str| text(&range[name]).parse::<u128>().expect("a number");
                    let (start, end) = (bound("StartingHashKey"), bound("EndingHashKey"));
                    let middle = start + (end - start) / 2 + 1;
                    client.call("SplitShard", json!({"StreamName": "s", "ShardToSplit": shard["ShardId"], "NewStartingHashKey": middle.to_string()}));
                }
                Step::Merge { which } => {
                    let shards = open();
                    let mut shards = shards["Shards"].as_array().expect("shards").clone();
                    shards.sort_by_key(|shard| text(&shard["HashKeyRange"]["StartingHashKey"]).parse::<u128>().expect("a number"));
                    if shards.len() > 1 {
                        let at = which.index(shards.len() - 1);
                        client.call("MergeShards", json!({"StreamName": "s", "ShardToMerge": shards[at]["ShardId"], "AdjacentShardToMerge": shards[at + 1]["ShardId"]}));
                    }
                }
                Step::Wait(ms) => client.clock.advance(Duration::from_millis(ms)),
                Step::Get { .. } => {}
            }
        }
        let expected: usize = put.values().map(Vec::len).sum();
        for _ in 0..1_000 {
            for shard in consumer.iterators.keys().copied().collect::<Vec<_>>() {
                consumer.advance(&client, shard, 100);
            }
            if consumer.records.len() >= expected {
                break;
            }
        }
        let mut read: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, number) in consumer.records {
            read.entry(key).or_default().push(number);
        }
        prop_assert_eq!(&read, &put);
        for numbers in put.values() {
            prop_assert!(numbers.is_sorted_by(|left, right| left < right), "{:?}", numbers);
        }
    }
}
