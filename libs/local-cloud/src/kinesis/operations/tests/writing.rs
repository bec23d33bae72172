//! Puts, limits, and what streams say of themselves.

use super::*;

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
