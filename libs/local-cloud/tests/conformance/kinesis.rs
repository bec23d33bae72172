//! Kinesis Data Streams, held against <https://docs.aws.amazon.com/kinesis/latest/APIReference/>.
//!
//! Each test has a stream of its own and waits for it to be ACTIVE, so that the suite can be pointed
//! at an endpoint that takes its time.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::primitives::{Blob, DateTime};
use aws_sdk_kinesis::types::{
    PutRecordsRequestEntry, ShardFilter, ShardFilterType, ShardIteratorType, StreamMode, StreamModeDetails,
};

mod stream;

use stream::{Stream, entry, filter, ids, numbers};

/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_DescribeStreamSummary.html>
#[tokio::test]
async fn an_on_demand_stream_begins_with_four_shards() {
    let stream = Stream::name_one().await;
    let details = StreamModeDetails::builder()
        .stream_mode(StreamMode::OnDemand)
        .build()
        .expect("a mode");
    let request = stream
        .client
        .create_stream()
        .stream_name(&stream.name)
        .stream_mode_details(details);
    request.send().await.expect("a new stream");
    stream.active().await;
    let answer = stream
        .client
        .describe_stream_summary()
        .stream_name(&stream.name)
        .send()
        .await;
    let summary = answer
        .expect("the stream exists")
        .stream_description_summary
        .expect("a summary");
    assert_eq!(
        (summary.open_shard_count, summary.retention_period_hours),
        (4, 24)
    );
    let by_arn = stream
        .client
        .describe_stream_summary()
        .stream_arn(&summary.stream_arn)
        .send()
        .await;
    let by_arn = by_arn
        .expect("the ARN names it")
        .stream_description_summary
        .expect("a summary");
    assert_eq!(by_arn.stream_name, stream.name);
    let parts: Vec<_> = summary.stream_arn.split(':').collect();
    assert_eq!(
        (parts[0], parts[2], parts[5]),
        ("arn", "kinesis", format!("stream/{}", stream.name).as_str())
    );
}

/// "An MD5 hash function is used to map partition keys to 128-bit integer values and to map
/// associated data records to shards": <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>
#[tokio::test]
async fn the_md5_of_the_partition_key_finds_the_shard() {
    let stream = Stream::create(2).await;
    // MD5("a") begins with 0x0c, MD5("abc") with 0x90: RFC 1321, appendix A.5.
    let answer = stream.put_all(vec![entry("a", "1"), entry("abc", "2")]).await;
    let shards: Vec<_> = answer
        .records()
        .iter()
        .filter_map(|entry| entry.shard_id())
        .collect();
    assert_eq!(shards, ["shardId-000000000000", "shardId-000000000001"]);
    let explicit = PutRecordsRequestEntry::builder()
        .partition_key("abc")
        .explicit_hash_key("0");
    let explicit = explicit
        .data(Blob::new("3"))
        .build()
        .expect("key and data are set");
    let answer = stream.put_all(vec![explicit]).await;
    assert_eq!(answer.records()[0].shard_id(), Some("shardId-000000000000"));
}

/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetShardIterator.html>
#[tokio::test]
async fn iterators_start_where_their_type_says() {
    let stream = Stream::create(1).await;
    let shard = "shardId-000000000000";
    let mut written = Vec::new();
    for data in ["one", "two", "three"] {
        written.push(stream.put(0, data).await);
    }
    let iterator = stream.iterator(shard, ShardIteratorType::TrimHorizon).await;
    let records = stream.read(iterator, 3).await;
    assert_eq!(numbers(&records), written);
    assert_eq!(records[1].data().as_ref(), b"two");
    assert_eq!(records[1].partition_key(), Some("key"));
    assert!(
        written.is_sorted_by(|left, right| left < right),
        "sequence numbers increase"
    );

    let at = stream
        .iterator_by_number(shard, ShardIteratorType::AtSequenceNumber, &written[1])
        .await;
    assert_eq!(numbers(&stream.read(at, 2).await), written[1..]);
    let after = stream
        .iterator_by_number(shard, ShardIteratorType::AfterSequenceNumber, &written[1])
        .await;
    assert_eq!(numbers(&stream.read(after, 1).await), written[2..]);
    let time = *records[0]
        .approximate_arrival_timestamp()
        .expect("an arrival time");
    let request = stream
        .client
        .get_shard_iterator()
        .stream_name(&stream.name)
        .shard_id(shard);
    let request = request
        .shard_iterator_type(ShardIteratorType::AtTimestamp)
        .timestamp(time);
    let at_time = request
        .send()
        .await
        .expect("a past time")
        .shard_iterator
        .expect("an iterator");
    assert_eq!(numbers(&stream.read(at_time, 3).await), written);

    let latest = stream.iterator(shard, ShardIteratorType::Latest).await;
    written.push(stream.put(0, "four").await);
    assert_eq!(numbers(&stream.read(latest, 1).await), written[3..]);
}

/// "Invalid" is what the page's errors call each of these.
#[tokio::test]
async fn iterators_that_contradict_themselves_are_refused() {
    let stream = Stream::create(1).await;
    let request = || {
        stream
            .client
            .get_shard_iterator()
            .stream_name(&stream.name)
            .shard_id("shardId-000000000000")
    };
    let numberless = request()
        .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
        .send()
        .await;
    assert_eq!(
        numberless.expect_err("a number is missing").code(),
        Some("InvalidArgumentException")
    );
    let superfluous = request()
        .shard_iterator_type(ShardIteratorType::Latest)
        .starting_sequence_number("1")
        .send()
        .await;
    assert_eq!(
        superfluous.expect_err("a number too many").code(),
        Some("InvalidArgumentException")
    );
    let nowhere = stream
        .client
        .get_shard_iterator()
        .stream_name(&stream.name)
        .shard_id("shardId-000000000009");
    let nowhere = nowhere
        .shard_iterator_type(ShardIteratorType::Latest)
        .send()
        .await;
    assert_eq!(
        nowhere.expect_err("no such shard").code(),
        Some("ResourceNotFoundException")
    );
    let nonsense = stream
        .client
        .get_records()
        .shard_iterator("bm9uc2Vuc2U=")
        .send()
        .await;
    assert_eq!(
        nonsense.expect_err("no iterator").code(),
        Some("InvalidArgumentException")
    );
}

/// MillisBehindLatest: "a value of zero indicates that record processing is caught up".
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
#[tokio::test]
async fn millis_behind_latest_is_zero_only_at_the_tip() {
    let stream = Stream::create(1).await;
    stream.put(0, "one").await;
    stream.put(0, "two").await;
    let shard = "shardId-000000000000";
    let begin = stream.iterator(shard, ShardIteratorType::TrimHorizon).await;
    stream.read(begin.clone(), 2).await;
    // A moment later than the first record, so that the distance is at least that.
    tokio::time::sleep(Duration::from_millis(30)).await;
    let first = stream.get(&begin, Some(1)).await;
    assert_eq!(first.records().len(), 1);
    assert!(first.millis_behind_latest().expect("always told") >= 30);
    let second = stream
        .get(first.next_shard_iterator().expect("open"), Some(1))
        .await;
    assert_eq!(
        (second.records().len(), second.millis_behind_latest()),
        (1, Some(0))
    );
    let third = stream
        .get(second.next_shard_iterator().expect("open"), None)
        .await;
    assert_eq!(
        (third.records().len(), third.millis_behind_latest()),
        (0, Some(0))
    );
}

/// "If set to null, the shard has been closed and the requested iterator does not return any more
/// data", and ChildShards is "returned only when the end of the current shard is reached".
#[tokio::test]
async fn a_split_closes_the_parent_which_names_its_children_at_its_end() {
    let stream = Stream::create(1).await;
    let parent = stream.shards().await.remove(0);
    let before = [stream.put(0, "low").await, stream.put(u128::MAX, "high").await];
    stream.split(&parent).await;
    let shards = stream.shards().await;
    assert_eq!(shards.len(), 3, "the closed parent is still listed");
    let end = shards[0]
        .sequence_number_range()
        .and_then(|range| range.ending_sequence_number());
    assert!(end.expect("it is closed") >= before[1].as_str());
    assert!(
        shards[1..]
            .iter()
            .all(|child| child.parent_shard_id() == Some(parent.shard_id()))
    );

    let mut next = Some(
        stream
            .iterator(parent.shard_id(), ShardIteratorType::TrimHorizon)
            .await,
    );
    let (mut read, mut children) = (Vec::new(), Vec::new());
    while let Some(iterator) = next {
        let page = stream.get(&iterator, None).await;
        read.extend(numbers(page.records()));
        children = page.child_shards().to_vec();
        next = page.next_shard_iterator;
    }
    assert_eq!(read, before);
    let named: BTreeSet<_> = children.iter().map(|child| child.shard_id().to_owned()).collect();
    assert_eq!(named, ids(&shards[1..]).into_iter().collect());
    assert!(
        children
            .iter()
            .all(|child| child.parent_shards() == [parent.shard_id()])
    );

    let after = [stream.put(0, "low").await, stream.put(u128::MAX, "high").await];
    assert!(
        after[0] > before[1] && after[1] > before[1],
        "children number behind their parent"
    );
    assert_eq!(stream.read_shard(shards[1].shard_id(), 1).await, after[..1]);
    assert_eq!(stream.read_shard(shards[2].shard_id(), 1).await, after[1..]);
    let again = stream
        .client
        .split_shard()
        .stream_name(&stream.name)
        .shard_to_split(parent.shard_id());
    let again = again.new_starting_hash_key("1000").send().await;
    assert_eq!(
        again.expect_err("it is closed").code(),
        Some("InvalidArgumentException")
    );
}

/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_MergeShards.html>
#[tokio::test]
async fn a_merge_has_two_parents() {
    let stream = Stream::create(3).await;
    let [one, two, three] = [
        "shardId-000000000000",
        "shardId-000000000001",
        "shardId-000000000002",
    ];
    let apart = stream
        .client
        .merge_shards()
        .stream_name(&stream.name)
        .shard_to_merge(one);
    let apart = apart.adjacent_shard_to_merge(three).send().await;
    assert_eq!(
        apart.expect_err("they are not adjacent").code(),
        Some("InvalidArgumentException")
    );
    stream.merge(one, two).await;
    let shards = stream.shards().await;
    let child = shards.last().expect("four shards");
    assert_eq!(
        (child.parent_shard_id(), child.adjacent_parent_shard_id()),
        (Some(one), Some(two))
    );
    let ranges: Vec<_> = shards.iter().filter_map(|shard| shard.hash_key_range()).collect();
    assert_eq!(ranges[3].starting_hash_key(), ranges[0].starting_hash_key());
    assert_eq!(ranges[3].ending_hash_key(), ranges[1].ending_hash_key());
    let end = stream
        .get(&stream.iterator(two, ShardIteratorType::Latest).await, None)
        .await;
    assert_eq!(end.next_shard_iterator(), None);
    assert_eq!(end.child_shards()[0].parent_shards(), [one, two]);
}

/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>
#[tokio::test]
async fn listings_are_paged_and_a_token_stands_alone() {
    let stream = Stream::create(5).await;
    let (mut token, mut listed, mut pages) = (None, Vec::new(), 0);
    loop {
        let request = stream.client.list_shards().max_results(2);
        let request = match token {
            Some(token) => request.next_token(token),
            None => request.stream_name(&stream.name),
        };
        let page = request.send().await.expect("a page");
        listed.extend(ids(page.shards()));
        pages += 1;
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!((pages, listed), (3, ids(&stream.shards().await)));
    let page = stream
        .client
        .list_shards()
        .stream_name(&stream.name)
        .max_results(1)
        .send()
        .await
        .expect("a page");
    let both = stream
        .client
        .list_shards()
        .stream_name(&stream.name)
        .set_next_token(page.next_token)
        .send()
        .await;
    assert_eq!(
        both.expect_err("one of the two").code(),
        Some("InvalidArgumentException")
    );
    let neither = stream.client.list_shards().send().await;
    assert_eq!(
        neither.expect_err("one of the two").code(),
        Some("InvalidArgumentException")
    );
    let after = stream
        .client
        .list_shards()
        .stream_name(&stream.name)
        .exclusive_start_shard_id("shardId-000000000002");
    let after = after.send().await.expect("a page");
    assert_eq!(
        ids(after.shards()),
        ["shardId-000000000003", "shardId-000000000004"]
    );
    assert_eq!(after.next_token(), None);
}

/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ShardFilter.html>
#[tokio::test]
async fn filters_choose_by_lineage_and_time() {
    let stream = Stream::create(2).await;
    let all = |count: u32| {
        (0..count)
            .map(|number| format!("shardId-{number:012}"))
            .collect::<Vec<_>>()
    };
    stream.merge("shardId-000000000000", "shardId-000000000001").await;
    assert_eq!(
        stream.filtered(filter(ShardFilterType::FromTrimHorizon)).await,
        all(3)
    );
    assert_eq!(
        stream.filtered(filter(ShardFilterType::AtTrimHorizon)).await,
        all(2)
    );
    assert_eq!(
        stream.filtered(filter(ShardFilterType::AtLatest)).await,
        all(3)[2..]
    );
    let after = ShardFilter::builder()
        .r#type(ShardFilterType::AfterShardId)
        .shard_id("shardId-000000000000");
    assert_eq!(stream.filtered(after.build().expect("a type")).await, all(3)[1..]);
    let past = ShardFilter::builder()
        .r#type(ShardFilterType::FromTimestamp)
        .timestamp(DateTime::from_secs(1));
    assert_eq!(stream.filtered(past.build().expect("a type")).await, all(3));
    let bare = filter(ShardFilterType::AtTimestamp);
    let bare = stream
        .client
        .list_shards()
        .stream_name(&stream.name)
        .shard_filter(bare)
        .send()
        .await;
    assert_eq!(
        bare.expect_err("a time is missing").code(),
        Some("InvalidArgumentException")
    );
}

/// "Each PutRecords request can support up to 500 records"; a record has at most 1 MiB of data and
/// partition key, a key at most 256 characters.
#[tokio::test]
async fn requests_beyond_the_limits_are_refused_whole() {
    let stream = Stream::create(1).await;
    let put = |entries: Vec<PutRecordsRequestEntry>| {
        let request = stream
            .client
            .put_records()
            .stream_name(&stream.name)
            .set_records(Some(entries));
        async move {
            request
                .send()
                .await
                .expect_err("beyond a limit")
                .code()
                .map(str::to_owned)
        }
    };
    let refused = Some("ValidationException".to_owned());
    assert_eq!(put(vec![entry("k", "d"); 501]).await, refused);
    assert_eq!(
        put(vec![entry("k", "d"), entry(&"k".repeat(257), "d")]).await,
        refused
    );
    assert_eq!(
        put(vec![entry("k", "d"), entry("k", vec![0; (1 << 20) + 1])]).await,
        refused
    );
    let answer = stream.put_all(vec![entry(&"é".repeat(256), "d"); 500]).await;
    assert_eq!(
        (answer.failed_record_count(), answer.records().len()),
        (Some(0), 500)
    );
    assert_eq!(
        stream.read_shard("shardId-000000000000", 500).await.len(),
        500,
        "and nothing of what was refused"
    );
}

/// "The default limit is 10,000"; "if you specify a value that is greater than 10,000" it is refused.
/// AWS names the error in two ways.
#[tokio::test]
async fn get_records_returns_as_many_as_asked() {
    let stream = Stream::create(1).await;
    stream
        .put_all((0..20).map(|n| entry(&n.to_string(), "d")).collect())
        .await;
    stream.read_shard("shardId-000000000000", 20).await;
    let iterator = stream
        .iterator("shardId-000000000000", ShardIteratorType::TrimHorizon)
        .await;
    let page = stream.get(&iterator, Some(7)).await;
    assert_eq!(page.records().len(), 7);
    let rest = stream.read(page.next_shard_iterator.expect("open"), 13).await;
    assert_eq!(rest.len(), 13);
    let greedy = stream
        .client
        .get_records()
        .shard_iterator(iterator)
        .limit(10_001)
        .send()
        .await;
    let code = greedy.expect_err("above the limit").code().map(str::to_owned);
    assert!(
        matches!(
            code.as_deref(),
            Some("InvalidArgumentException" | "ValidationException")
        ),
        "{code:?}"
    );
}

/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_IncreaseStreamRetentionPeriod.html>
#[tokio::test]
async fn retention_goes_from_a_day_to_a_year() {
    let stream = Stream::create(1).await;
    let (client, name) = (&stream.client, &stream.name);
    let increase = |hours| {
        client
            .increase_stream_retention_period()
            .stream_name(name)
            .retention_period_hours(hours)
            .send()
    };
    increase(8_760).await.expect("a year");
    stream.active().await;
    let code = increase(8_761)
        .await
        .expect_err("more than a year")
        .code()
        .map(str::to_owned);
    assert_eq!(code.as_deref(), Some("InvalidArgumentException"));
    let code = increase(48)
        .await
        .expect_err("that is a decrease")
        .code()
        .map(str::to_owned);
    assert_eq!(code.as_deref(), Some("InvalidArgumentException"));
    let decrease = client
        .decrease_stream_retention_period()
        .stream_name(name)
        .retention_period_hours(24);
    decrease.send().await.expect("a day");
    stream.active().await;
    let summary = client
        .describe_stream_summary()
        .stream_name(name)
        .send()
        .await
        .expect("the stream exists");
    assert_eq!(
        summary
            .stream_description_summary
            .expect("a summary")
            .retention_period_hours,
        24
    );
}

/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_CreateStream.html>
#[tokio::test]
async fn streams_that_exist_twice_or_not_at_all_are_errors() {
    let stream = Stream::create(1).await;
    let twice = stream
        .client
        .create_stream()
        .stream_name(&stream.name)
        .shard_count(1)
        .send()
        .await;
    assert_eq!(
        twice.expect_err("it exists").code(),
        Some("ResourceInUseException")
    );
    let missing = stream
        .client
        .describe_stream_summary()
        .stream_name("there-is-no-such-stream")
        .send()
        .await;
    assert_eq!(
        missing.expect_err("there is none").code(),
        Some("ResourceNotFoundException")
    );
    let listed = stream.client.list_streams().send().await.expect("a list");
    assert!(listed.stream_names().contains(&stream.name) || listed.has_more_streams());
    stream
        .client
        .delete_stream()
        .stream_name(&stream.name)
        .send()
        .await
        .expect("it exists");
}
