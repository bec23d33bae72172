//! What is called accepted is in the stream, whatever the network between does.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::collector::{Collector, Stored};

fn events(devices: usize, each: usize) -> String {
    let event = |number: usize| {
        json!({
            "eventtype": "play", "action": "stop", "musicsource": "tidal",
            "deviceid": format!("spk-{}", number % devices), "secondslistened": number / devices,
        })
    };
    Value::from((0..devices * each).map(event).collect::<Vec<_>>()).to_string()
}

/// The numbers of each device's events, in the order of the stream.
fn numbers(stored: &[Stored]) -> BTreeMap<&str, Vec<u64>> {
    let mut numbers: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for stored in stored {
        let number = stored.field("secondslistened").as_u64().expect("a number");
        numbers.entry(&stored.partition_key).or_default().push(number);
    }
    numbers
}

#[tokio::test]
async fn refused_connections_are_tried_again_and_each_event_is_there_once() {
    let (collector, mut gate) = Collector::start_behind_gate(&[]).await;
    gate.close().await;
    let (answer, ()) = tokio::join!(collector.send(events(3, 4)), async {
        collector
            .until("several calls have failed", || {
                collector.metric("events_put_failed_records_total") >= 6.0
            })
            .await;
        gate.open();
    });
    assert_eq!(answer.0, 200, "{}", answer.1);
    let stored = collector.stored().await;
    let numbers = numbers(&stored);
    assert_eq!(numbers.len(), 3);
    for numbers in numbers.values() {
        assert_eq!(numbers, &[0, 1, 2, 3]);
    }
}

#[tokio::test]
async fn refused_connections_past_the_time_to_live_are_answered_retry() {
    let (collector, mut gate) = Collector::start_behind_gate(&["--record-time-to-live", "300ms"]).await;
    gate.close().await;
    let (status, answer) = collector.send(events(2, 2)).await;
    assert_eq!((status, &answer["retry"]), (503, &json!(4)), "{answer}");
    gate.open();
    assert!(collector.stored().await.is_empty());
    assert_eq!(collector.send(events(2, 2)).await.0, 200);
}

#[tokio::test]
async fn a_slow_connection_is_waited_for_and_each_event_is_there_once() {
    let (collector, gate) = Collector::start_behind_gate(&[]).await;
    gate.pace(16);
    let answers = futures::future::join_all((0..4).map(|_| collector.send(events(2, 2)))).await;
    for (status, answer) in answers {
        assert_eq!(status, 200, "{answer}");
    }
    gate.full_pace();
    assert_eq!(collector.stored().await.len(), 16);
    assert_eq!(collector.metric("events_put_failed_records_total"), 0.0);
}

#[tokio::test]
async fn a_call_that_times_out_after_it_succeeded_is_sent_again_in_order() {
    // The answer is held back for longer than a call may take.
    let (collector, gate) = Collector::start_behind_gate(&["--record-time-to-live", "14s"]).await;
    gate.pace(0);
    let (answer, ()) = tokio::join!(collector.send(events(2, 3)), async {
        collector
            .eventually("the first call took effect", async || {
                collector.stored().await.len() == 2
            })
            .await;
        collector
            .until("the call has timed out", || {
                collector.metric("events_put_failed_records_total") >= 2.0
            })
            .await;
        gate.full_pace();
    });
    assert_eq!(answer.0, 200, "{}", answer.1);
    let stored = collector.stored().await;
    for numbers in numbers(&stored).values() {
        assert_eq!(numbers, &[0, 0, 1, 2], "at least once, and in order");
    }
    assert_eq!(collector.metric("events_retry_total"), 0.0);
}
