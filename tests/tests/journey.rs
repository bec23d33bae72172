//! The main job: what is posted to `events` is a line in China and, in an equal object, in Europe.

use std::collections::BTreeMap;

use pipeline_tests::Pipeline;
use serde_json::json;

const PIPELINE: &str = env!("CARGO_BIN_EXE_pipeline");

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_exactly_one_line_on_both_sides() {
    let pipeline = Pipeline::start(PIPELINE).await;
    let (events, hoard, syncomatic) =
        tokio::join!(pipeline.events(), pipeline.hoard(), pipeline.syncomatic());
    let client = pipeline.client(&events, "northwind-speaker").await;

    let sent = client.send(1_000).await;
    let lines = pipeline.holds_exactly(&sent).await;

    let twin = pipeline.client(&events, "northwind-speaker").await;
    let originals = twin.events(1_000).into_iter();
    let originals: BTreeMap<_, _> = originals
        .map(|event| (event["eventid"].to_string(), event))
        .collect();
    for line in &lines {
        let original = originals[&line.event["eventid"].to_string()]
            .as_object()
            .expect("an object");
        for (name, value) in original {
            assert_eq!(&line.event[name], value, "{name}");
        }
        assert_eq!(line.event["clientid"], "northwind-speaker");
        assert_eq!(line.event["partnerid"], "northwind");
        assert!(line.event["receivedtime"].is_string());
    }
    keys_name_day_stream_and_shard(lines.iter().map(|line| line.key.as_str()));
    order_per_device_is_kept(&lines);

    for program in [events, hoard, syncomatic] {
        let ended = program.terminate().await;
        assert!(ended.status.success(), "{ended:?}");
    }
}

/// `YYYY/MM/DD/{stream}-{shard}-{first sequence number}.jsonl.gz`
fn keys_name_day_stream_and_shard<'k>(keys: impl Iterator<Item = &'k str>) {
    for key in keys {
        let mut parts = key.split('/');
        let date: Vec<usize> = parts.by_ref().take(3).map(str::len).collect();
        assert_eq!(date, [4, 2, 2], "{key}");
        let name = parts.next().expect("a name after the date");
        assert!(name.starts_with("events-shardId-00000000000"), "{key}");
        assert!(name.ends_with(".jsonl.gz"), "{key}");
    }
}

/// One device's events lie in one shard, so its objects in the order of their keys hold its events in
/// the order in which they were sent.
fn order_per_device_is_kept(lines: &[pipeline_tests::Line]) {
    let mut last = BTreeMap::new();
    for line in lines {
        let number = line.event["secondslistened"].as_u64().expect("a number");
        let earlier = last.insert(line.event["deviceid"].to_string(), number);
        assert!(
            earlier.is_none_or(|earlier| earlier < number),
            "{} comes after {earlier:?}",
            json!(number)
        );
    }
}
