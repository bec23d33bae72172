use std::collections::BTreeMap;

use aws_sdk_kinesis::{Client, types::ShardIteratorType};
use local_cloud::{CloudSettings, LocalCloud};
use service_runtime::Runtime;

use super::*;
use crate::{
    backlog::Keys,
    spool::{Spool, tests::records},
};

#[test]
fn the_more_calls_are_out_the_longer_records_wait_for_company() {
    let linger = Duration::from_millis(5);
    let waits = [0, 1, 2, 4, 9].map(|out| adapted(linger, out, 4).as_micros());
    assert_eq!(waits, [0, 1_250, 2_500, 5_000, 5_000]);
}

const SETTINGS: PublishSettings = PublishSettings {
    batch_records: 500,
    batch_bytes: 5 << 20,
    linger: Duration::from_millis(5),
    concurrency: 4,
    aggregate: false,
    aggregate_bytes: 50 << 10,
    time_to_live: Duration::from_secs(10),
};

async fn connect(cloud: &LocalCloud) -> Client {
    let account = cloud.account();
    let (id, secret) = (&account.access_key_id, &account.secret_access_key);
    let endpoint = aws_clients::Endpoint {
        region: Some(account.region.clone()),
        profile: None,
        endpoint_url: Some(cloud.endpoint_url()),
        credentials: Some(aws_clients::Credentials::new(id, secret, None, None, "tests")),
    };
    aws_clients::kinesis(&aws_clients::load(&endpoint).await)
}

/// Partition keys and lines of the only shard.
async fn stored(kinesis: &Client) -> Vec<(String, String)> {
    let call = kinesis.get_shard_iterator().stream_name("events");
    let call = call.shard_id("shardId-000000000000");
    let call = call.shard_iterator_type(ShardIteratorType::TrimHorizon);
    let iterator = call.send().await.expect("an iterator").shard_iterator;
    let call = kinesis.get_records().set_shard_iterator(iterator);
    let records = call.send().await.expect("records").records;
    let text = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
    let pair = |record: aws_sdk_kinesis::types::Record| {
        (
            record.partition_key.unwrap_or_default(),
            text(record.data.as_ref()),
        )
    };
    records.into_iter().map(pair).collect()
}

/// Kinesis refuses a whole call for a partition key of more than 256 characters.
#[tokio::test]
async fn a_spooled_event_that_kinesis_calls_invalid_is_buried_and_all_others_are_published() {
    let cloud = LocalCloud::start(CloudSettings::in_memory("eu-west-1"))
        .await
        .expect("a cloud");
    let kinesis = connect(&cloud).await;
    let create = kinesis.create_stream().stream_name("events").shard_count(1);
    create.send().await.expect("a stream");

    let folder = tempfile::tempdir().expect("a folder");
    let mut spool = Spool::open(folder.path(), 1 << 20, |_| ()).expect("it opens");
    let too_long = "k".repeat(257);
    let keys = ["a", "b", &too_long, "c", "d", "a", &too_long, "b"];
    let lines: Vec<_> = (0..keys.len()).map(|number| number.to_string()).collect();
    let pairs = keys.iter().zip(&lines).map(|(key, line)| (*key, line.as_str()));
    let pairs: Vec<_> = pairs.collect();
    spool.append(&records(&pairs)).expect("written");
    drop(spool);

    let runtime = Runtime::new("events");
    let metrics = Arc::new(Metrics::register(&runtime.registry).expect("a new registry"));
    let mut keys = Keys::default();
    let spool =
        Spool::open(folder.path(), 1 << 20, |record| keys.add(&record.partition_key)).expect("it opens");
    let backlog = Backlog::new(keys, spool.records());
    let spooling = Spooling::new(spool, runtime.readiness.latch("spool"), &metrics).expect("readable");
    let stream = Stream::new(kinesis.clone(), "events".to_owned());
    let (publisher, submissions) =
        Publisher::new(stream, SETTINGS, None, Some((spooling, backlog)), &metrics);
    let mut service = JoinSet::new();
    service.spawn(publisher.run());

    let deadline = Instant::now() + Duration::from_secs(30);
    let mut number = 100;
    while metrics.spool_dead_records.get() < 2 || metrics.spool_records.get() > 0 {
        assert!(Instant::now() < deadline, "not all are sent or buried");
        // Something else that Kinesis takes, from time to time.
        let line = number.to_string();
        submissions.send(records(&[("e", &line)])).await.expect("it runs");
        number += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(submissions);
    let ended = service.join_next().await.expect("one service");
    ended.expect("no panic").expect("drained");

    assert_eq!((metrics.spool_buried.get(), metrics.spool_drained.get()), (2, 6));
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, line) in stored(&kinesis).await {
        by_key.entry(key).or_default().push(line);
    }
    by_key.remove("e");
    let expected = [
        ("a", vec!["0", "5"]),
        ("b", vec!["1", "7"]),
        ("c", vec!["3"]),
        ("d", vec!["4"]),
    ];
    let expected =
        expected.map(|(key, lines)| (key.to_owned(), lines.into_iter().map(str::to_owned).collect()));
    assert_eq!(by_key, BTreeMap::from(expected));

    let spool = Spool::open(folder.path(), 1 << 20, |_| ()).expect("it opens");
    let dead = spool.dead_records().expect("read");
    let dead: Vec<_> = dead.map(|dead| dead.expect("an entry").record.line).collect();
    assert_eq!(dead, [b"2", b"6"]);
}
