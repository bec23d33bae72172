//! Iterators, listings and retention.

use super::*;

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
