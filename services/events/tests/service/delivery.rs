//! From the answer to the stream: what is called accepted is there, in order, whatever Kinesis does.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::join_all;
use local_cloud::Rule;
use serde_json::{Value, json};

use crate::collector::{Collector, Stored, answer};

/// Event `number` of a device; the number is in `secondslistened`.
fn stop(device: usize, number: usize) -> Value {
    json!({
        "eventtype": "play", "action": "stop", "musicsource": "tidal",
        "deviceid": format!("spk-{device}"), "secondslistened": number,
    })
}

/// Sends `requests` at once, each with `each` events of one of `devices` devices; every event is
/// accepted. Events of one request are numbered in order.
async fn load(collector: &Collector, requests: usize, each: usize, devices: usize) {
    let sends = (0..requests).map(|request| async move {
        let numbers = request * each..(request + 1) * each;
        let events: Vec<_> = numbers.map(|number| stop(request % devices, number)).collect();
        let (status, answer) = collector.send(Value::from(events).to_string()).await;
        assert_eq!(status, 200, "{answer}");
    });
    join_all(sends).await;
}

/// The numbers that each device's events have, in the order of the stream.
fn numbers(stored: &[Stored]) -> BTreeMap<String, Vec<usize>> {
    let mut numbers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for stored in stored {
        let number = stored.field("secondslistened").as_u64().expect("a number");
        let number = usize::try_from(number).expect("a small number");
        numbers
            .entry(stored.partition_key.clone())
            .or_default()
            .push(number);
    }
    numbers
}

/// Events of one request and one device must be in the order in which they were sent; requests that
/// were sent at the same time have no order among each other.
fn in_order(numbers: &[usize], each: usize) -> bool {
    let requests: BTreeSet<_> = numbers.iter().map(|number| number / each).collect();
    requests.into_iter().all(|request| {
        numbers
            .iter()
            .filter(|number| *number / each == request)
            .is_sorted()
    })
}

#[tokio::test]
async fn the_stored_line_is_the_client_s_bytes_behind_the_server_s_fields() {
    let collector = Collector::start(&[]).await;
    let sent = "{\"eventtype\" : \"play\",\r\n\t\"action\":\"stop\", \"musicsource\":\"tidal\",\
                \"secondslistened\":1.50e1, \"deviceid\":\"spk-1\", \"track\":\"N\\u00f6rd \\\"x\\\"\"}";
    let (status, answer) = collector.send(format!("[ {sent} ]")).await;
    assert_eq!(status, 200);
    let stored = collector.stored().await;
    assert_eq!(stored.len(), 1);
    let (stored, id) = (
        &stored[0],
        answer["results"][0]["eventid"].as_str().expect("an id"),
    );
    assert_eq!(stored.partition_key, "spk-1");
    let received = stored.field("receivedtime");
    let received = received.as_str().expect("a time");
    let tail = sent[1..].replace("\r\n", "  ");
    assert_eq!(
        stored.line,
        format!(
            "{{\"eventid\":\"{id}\",\"schemaversion\":\"1-0-0\",\"partnerid\":\"northwind\",\
             \"clientid\":\"platform\",\"receivedtime\":\"{received}\",{tail}"
        )
    );
    assert!(received.len() == 24 && received.ends_with('Z'), "{received}");
}

#[tokio::test]
async fn an_event_without_a_device_is_spread_by_its_id() {
    let collector = Collector::start(&[]).await;
    let id = "0192F0C1-7A3E-7C54-9F0E-3B6D5A2C0001";
    let event = json!({"eventtype": "play", "eventid": id, "action": "play", "musicsource": "x"});
    let (status, answer) = collector.send(event.to_string()).await;
    assert_eq!(
        (status, &answer["results"][0]["eventid"]),
        (200, &json!(id.to_lowercase()))
    );
    let stored = collector.stored().await;
    assert_eq!(stored[0].partition_key, id.to_lowercase());
    assert_eq!(
        stored[0].field("eventid"),
        id,
        "the client's own spelling is kept"
    );
}

#[tokio::test]
async fn requests_share_calls() {
    let collector = Collector::start(&["--put-concurrency", "2"]).await;
    let slow = Duration::from_millis(50);
    collector
        .cloud
        .faults()
        .inject(Rule::on("kinesis:PutRecords").delay(slow));
    load(&collector, 100, 1, 100).await;
    assert_eq!(collector.stored().await.len(), 100);
    let calls = collector.metric("events_put_batch_records");
    assert!(calls < 50.0, "{calls} calls for 100 requests");
}

#[tokio::test]
async fn records_that_kinesis_refuses_are_sent_again_in_order_and_only_they() {
    let collector = Collector::start(&[]).await;
    let rule = Rule::on("kinesis:PutRecords").times(25).throttle_records(0.4);
    collector.cloud.faults().inject(rule);
    load(&collector, 24, 5, 8).await;
    assert!(collector.cloud.faults().injected("kinesis:PutRecords") > 10);
    assert!(collector.metric("events_put_failed_records_total") > 10.0);

    let stored = collector.stored().await;
    assert_eq!(
        stored.len(),
        120,
        "each exactly once: what was refused is not in the stream"
    );
    for (device, numbers) in numbers(&stored) {
        assert_eq!(numbers.len(), 15);
        assert!(in_order(&numbers, 5), "{device}: {numbers:?}");
    }
}

#[tokio::test]
async fn after_a_lost_answer_events_are_there_perhaps_twice_and_in_order() {
    let collector = Collector::start(&[]).await;
    collector
        .cloud
        .faults()
        .inject(Rule::on("kinesis:PutRecords").skip(1).times(3).lose_answer());
    load(&collector, 8, 10, 4).await;
    assert_eq!(collector.cloud.faults().injected("kinesis:PutRecords"), 3);

    let stored = collector.stored().await;
    // Kinesis took the records of a call whose answer was lost. Nobody can know; they go again, so
    // the promise up to here is at least once.
    assert!(stored.len() > 80, "{} records", stored.len());
    for (device, mut numbers) in numbers(&stored) {
        assert!(in_order(&numbers, 10), "{device}: {numbers:?}");
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 20, "{device}");
    }
}

#[tokio::test]
async fn an_outage_shorter_than_the_time_to_live_is_not_seen_by_clients() {
    let collector = Collector::start(&[]).await;
    // Each rule has its turn when the one before has had enough.
    for rule in [
        Rule::on("kinesis:PutRecords")
            .times(2)
            .fail(500, "InternalFailure"),
        Rule::on("kinesis:PutRecords").times(2).cut_off(),
        Rule::on("kinesis:PutRecords").times(2).throttle(),
        Rule::on("kinesis:PutRecords").times(1).cut_off_answer_after(20),
    ] {
        collector.cloud.faults().inject(rule);
    }
    load(&collector, 1, 3, 1).await;
    assert!(collector.metric("events_put_failed_records_total") >= 7.0);
    assert_eq!(collector.metric("events_retry_total"), 0.0);
}

#[tokio::test]
async fn throttling_past_the_time_to_live_is_answered_retry() {
    let collector = Collector::start(&["--record-time-to-live", "300ms"]).await;
    collector
        .cloud
        .faults()
        .inject(Rule::on("kinesis:PutRecords").throttle());

    let response = collector.post("/v1/events", stop(1, 1).to_string()).send().await;
    let response = response.expect("an answer");
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let (status, all) = answer(response).await;
    assert_eq!(
        (status, &all["retry"], &all["accepted"]),
        (503, &json!(1), &json!(0))
    );
    assert!(all["results"][0]["eventid"].is_string() && all["results"][0]["durability"].is_null());

    let body = json!([stop(1, 1), {"eventtype": "nosuchtype"}]).to_string();
    let response = collector
        .post("/v1/events", body)
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.headers()["retry-after"], "1");
    let (status, mixed) = answer(response).await;
    assert_eq!(
        (status, &mixed["retry"], &mixed["rejected"]),
        (207, &json!(1), &json!(1))
    );

    assert!(collector.stored().await.is_empty());
    collector.cloud.faults().clear();
    assert_eq!(collector.send(stop(1, 1).to_string()).await.0, 200);
}

#[tokio::test]
async fn a_shard_that_stays_hot_holds_back_its_own_events_alone() {
    let collector = Collector::start(&["--record-time-to-live", "400ms"]).await;
    // Of two records of a call, one always fails; which one is drawn anew in each call.
    collector
        .cloud
        .faults()
        .inject(Rule::on("kinesis:PutRecords").throttle_records(0.5));
    let events: Vec<_> = (0..40).map(|number| stop(number % 4, number)).collect();
    let (status, answer) = collector.send(Value::from(events).to_string()).await;
    assert!([200, 207, 503].contains(&status), "{answer}");

    // The stream holds exactly what was called accepted, and of each device a beginning without gaps.
    let results = answer["results"].as_array().expect("results");
    let accepted: BTreeSet<usize> = (0..40)
        .filter(|number| results[*number]["status"] == "accepted")
        .collect();
    let numbers = numbers(&collector.stored().await);
    let stored: BTreeSet<usize> = numbers.values().flatten().copied().collect();
    assert_eq!(stored, accepted);
    for numbers in numbers.values() {
        let expected: Vec<_> = (0..numbers.len()).map(|at| numbers[0] % 4 + 4 * at).collect();
        assert_eq!(
            numbers, &expected,
            "an event overtook one that is to be sent again"
        );
    }
}

#[tokio::test]
async fn throttling_lowers_the_number_of_calls_and_is_charged_to_the_shard() {
    let collector = Collector::start(&["--put-concurrency", "8"]).await;
    load(&collector, 4, 5, 4).await;
    assert_eq!(collector.metric("events_put_concurrency_limit"), 8.0);
    assert_eq!(collector.metric("events_shard_records_total"), 20.0);
    assert_eq!(collector.metric("events_shard_throttles_total"), 0.0);

    let throttled = Rule::on("kinesis:PutRecords").times(3).throttle();
    collector.cloud.faults().inject(throttled);
    load(&collector, 1, 1, 1).await;
    let limit = collector.metric("events_put_concurrency_limit");
    assert!(
        (1.0..=2.0).contains(&limit),
        "halved three times from 8, then one call went well: {limit}"
    );
    assert_eq!(collector.metric("events_shard_records_total"), 21.0);
    assert_eq!(collector.metric("events_shard_throttles_total"), 3.0);
}
