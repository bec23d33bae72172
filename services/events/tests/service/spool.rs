//! With a spool: what Kinesis does not take in time is on disk, and gets into the stream in order.

use std::{collections::BTreeMap, time::Duration};

use local_cloud::Rule;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::collector::{Collector, Stored};

/// A service with a spool, and a time to live short enough for a test to wait for.
async fn start(folder: &TempDir, flags: &[&str]) -> Collector {
    let path = folder.path().to_str().expect("UTF-8");
    let mut all = vec!["--spool-folder", path, "--record-time-to-live", "300ms"];
    all.extend(flags);
    Collector::start(&all).await
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// `each` events of each of `devices` devices, numbered from `first` on.
fn events(devices: usize, first: usize, each: usize) -> String {
    let event = |number: usize| {
        json!({
            "eventtype": "play", "action": "stop", "musicsource": "tidal",
            "deviceid": format!("spk-{}", number % devices), "secondslistened": first + number / devices,
        })
    };
    let events: Vec<_> = (0..devices * each).map(event).collect();
    Value::from(events).to_string()
}

fn durability(answer: &Value, what: &str) -> usize {
    let results = answer["results"].as_array().expect("results");
    results
        .iter()
        .filter(|result| result["durability"] == what)
        .count()
}

/// The numbers of each device's events, in the order of the stream.
fn numbers(stored: &[Stored]) -> BTreeMap<String, Vec<u64>> {
    let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for stored in stored {
        let number = stored.field("secondslistened").as_u64().expect("a number");
        numbers
            .entry(stored.partition_key.clone())
            .or_default()
            .push(number);
    }
    numbers
}

async fn drained(collector: &Collector) {
    collector
        .until("the spool is empty", || {
            collector.metric("events_spool_records") == 0.0
        })
        .await;
}

/// Each device's events are in the stream once and in order.
async fn holds_each_once_in_order(collector: &Collector, devices: usize, each: u64) {
    let numbers = numbers(&collector.stored().await);
    assert_eq!(numbers.len(), devices);
    for (device, numbers) in numbers {
        assert_eq!(numbers, (0..each).collect::<Vec<_>>(), "{device}");
    }
}

#[tokio::test]
async fn an_outage_is_spooled_and_drained_in_order_whatever_its_kind() {
    let outages: [fn(Rule) -> Rule; 4] = [
        |rule| rule.fail(500, "InternalFailure"),
        Rule::throttle,
        Rule::cut_off,
        |rule| rule.throttle_records(1.0),
    ];
    for outage in outages {
        let folder = folder();
        let collector = start(&folder, &[]).await;
        assert_eq!(collector.send(events(4, 0, 5)).await.0, 200);
        collector
            .cloud
            .faults()
            .inject(outage(Rule::on("kinesis:PutRecords")));
        let (status, answer) = collector.send(events(4, 5, 5)).await;
        assert_eq!((status, durability(&answer, "spooled")), (202, 20), "{answer}");
        let (status, answer) = collector.send(events(4, 10, 5)).await;
        assert_eq!((status, durability(&answer, "spooled")), (202, 20), "{answer}");
        assert_eq!(collector.metric("events_spool_records"), 40.0);
        assert!(collector.metric("events_spool_bytes") > 40.0 * 200.0);
        assert!(collector.runtime.readiness.is_ready(), "a filling spool is ready");

        collector.cloud.faults().clear();
        drained(&collector).await;
        assert_eq!(collector.send(events(4, 15, 5)).await.0, 200);
        holds_each_once_in_order(&collector, 4, 20).await;
        let counts = ["spooled", "spool_drained", "published", "received", "retry"];
        let counts = counts.map(|name| collector.metric(&format!("events_{name}_total")));
        assert_eq!(counts, [40.0, 40.0, 40.0, 80.0, 0.0]);
        assert_eq!(collector.metric("events_spool_bytes"), 0.0);
    }
}

#[tokio::test]
async fn events_sent_while_the_spool_drains_do_not_overtake_it() {
    let folder = folder();
    let collector = start(&folder, &[]).await;
    let faults = collector.cloud.faults();
    faults.inject(Rule::on("kinesis:PutRecords").throttle());
    assert_eq!(collector.send(events(3, 0, 20)).await.0, 202);
    faults.clear();
    faults.inject(
        Rule::on("kinesis:PutRecords")
            .delay(Duration::from_millis(5))
            .throttle_records(0.3),
    );
    for request in 1..20 {
        let (status, answer) = collector.send(events(3, request * 20, 20)).await;
        assert!([200, 202].contains(&status), "{answer}");
    }
    faults.clear();
    drained(&collector).await;
    holds_each_once_in_order(&collector, 3, 400).await;
}

#[tokio::test]
async fn only_a_lost_answer_brings_a_spooled_event_twice() {
    let folder = folder();
    let collector = start(&folder, &[]).await;
    let faults = collector.cloud.faults();
    faults.inject(Rule::on("kinesis:PutRecords").throttle());
    assert_eq!(collector.send(events(4, 0, 10)).await.0, 202);
    faults.clear();
    faults.inject(Rule::on("kinesis:PutRecords").times(2).lose_answer());
    drained(&collector).await;
    for (device, mut numbers) in numbers(&collector.stored().await) {
        assert!(numbers.len() > 10 && numbers.is_sorted(), "{device}: {numbers:?}");
        numbers.dedup();
        assert_eq!(numbers, (0..10).collect::<Vec<_>>(), "{device}");
    }
}

#[tokio::test]
async fn a_full_spool_accepts_nothing_more_and_is_not_ready_until_it_has_room() {
    let folder = folder();
    let collector = start(&folder, &["--spool-max-bytes", "1MiB"]).await;
    let faults = collector.cloud.faults();
    faults.inject(Rule::on("kinesis:PutRecords").throttle());
    let (mut accepted, mut last) = (0, 0);
    for request in 0..40 {
        let (status, answer) = collector.send(events(10, request * 10, 10)).await;
        accepted += durability(&answer, "spooled");
        last = status;
        if status != 202 {
            break;
        }
    }
    assert!([503, 207].contains(&last), "{last}");
    assert!(collector.metric("events_spool_bytes") <= collector.metric("events_spool_limit_bytes"));
    let (status, answer) = collector.send(events(10, 0, 50)).await;
    accepted += durability(&answer, "spooled");
    assert!([503, 207].contains(&status), "{answer}");
    assert_eq!(
        collector.runtime.readiness.reasons(),
        ["spool: the spool is full"]
    );

    faults.clear();
    drained(&collector).await;
    assert!(collector.runtime.readiness.is_ready());
    assert_eq!(
        collector.stored().await.len(),
        accepted,
        "exactly what was accepted"
    );
}

#[tokio::test]
async fn a_drain_spools_what_cannot_be_published_and_ends() {
    let folder = folder();
    let mut collector = start(&folder, &[]).await;
    let faults = collector.cloud.faults();
    faults.inject(Rule::on("kinesis:PutRecords").throttle());
    let request = collector.post("/v1/events", events(5, 0, 3)).send();
    let (response, ()) = tokio::join!(request, async {
        collector
            .until("it is in flight", || {
                collector.metric("events_in_flight_bytes") > 0.0
            })
            .await;
        collector.runtime.shutdown.request();
    });
    assert_eq!(response.expect("an answer").status(), 202);
    collector.stop().await.expect("drained, with Kinesis away");
    assert_eq!(collector.metric("events_spool_records"), 15.0);
}
