//! Events that are sent again.

use std::time::Duration;

use event_model::Producer;
use local_cloud::Rule;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::collector::{Collector, answer};

fn event(number: usize) -> Value {
    json!({
        "eventtype": "play", "action": "stop", "musicsource": "tidal", "deviceid": format!("spk-{}", number % 5),
        "secondslistened": number, "eventid": format!("0192f0c1-7a3e-7c54-9f0e-{number:012}"),
    })
}

fn batch(numbers: &[usize]) -> String {
    Value::from_iter(numbers.iter().map(|number| event(*number))).to_string()
}

/// `STATUS DURABILITY` of each result.
fn results(answer: &Value) -> Vec<String> {
    let results = answer["results"].as_array().expect("results").iter();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    results
        .map(|result| format!("{} {}", text(&result["status"]), text(&result["durability"])))
        .collect()
}

fn with_spool(folder: &TempDir) -> [&str; 4] {
    let folder = folder.path().to_str().expect("UTF-8");
    ["--spool-folder", folder, "--record-time-to-live", "300ms"]
}

#[tokio::test]
async fn what_is_sent_again_is_in_the_stream_once() {
    let collector = Collector::start(&[]).await;
    let (status, first) = collector.send(batch(&[1, 2])).await;
    assert_eq!(
        (status, results(&first)),
        (200, vec!["accepted published".to_owned(); 2])
    );
    let (status, again) = collector.send(batch(&[2, 3, 1, 3])).await;
    assert_eq!(
        (status, &again["duplicate"], &again["accepted"]),
        (200, &json!(3), &json!(1))
    );
    assert_eq!(
        results(&again),
        [
            "duplicate published",
            "accepted published",
            "duplicate published",
            "duplicate published"
        ]
    );
    let ids = (
        first["results"][1]["eventid"].as_str(),
        again["results"][0]["eventid"].as_str(),
    );
    assert_eq!(ids.0, ids.1);
    let request = collector.post_as(Producer::Device, "/v1/events", batch(&[1]));
    let (_, other) = answer(request.send().await.expect("an answer")).await;
    assert_eq!(
        results(&other),
        ["accepted published"],
        "another client's id is another event"
    );
    assert_eq!(collector.stored().await.len(), 4);
    assert_eq!(collector.metric("events_duplicate_total"), 3.0);
    assert_eq!(collector.metric("events_dedupe_ids"), 4.0);
    assert!(collector.metric("events_dedupe_ids_limit") >= 4.0);
}

#[tokio::test]
async fn a_dry_run_knows_no_duplicates_and_makes_none() {
    let collector = Collector::start(&[]).await;
    let validate = async || {
        let request = collector.post("/v1/validate", batch(&[1, 1]));
        answer(request.send().await.expect("an answer")).await
    };
    assert_eq!(results(&validate().await.1), ["accepted -", "accepted -"]);
    let (_, first) = collector.send(batch(&[1])).await;
    assert_eq!(results(&first), ["accepted published"]);
    assert_eq!(results(&validate().await.1), ["accepted -", "accepted -"]);
}

#[tokio::test]
async fn what_ended_as_retry_is_sent_when_it_comes_again() {
    let collector = Collector::start(&["--record-time-to-live", "300ms"]).await;
    collector
        .cloud
        .faults()
        .inject(Rule::on("kinesis:PutRecords").throttle());
    let (status, refused) = collector.send(batch(&[1, 1])).await;
    assert_eq!((status, results(&refused)), (503, vec!["retry -".to_owned(); 2]));
    collector.cloud.faults().clear();
    let (status, sent) = collector.send(batch(&[1, 1])).await;
    assert_eq!(status, 200);
    assert_eq!(results(&sent), ["accepted published", "duplicate published"]);
    assert_eq!(collector.stored().await.len(), 1);
}

#[tokio::test]
async fn who_sends_while_the_first_is_in_progress_shares_its_end() {
    let collector = Collector::start(&[]).await;
    let slow = Rule::on("kinesis:PutRecords").delay(Duration::from_millis(300));
    collector.cloud.faults().inject(slow);
    let sends = (0..8).map(|_| collector.send(batch(&[1, 2])));
    let answers = futures::future::join_all(sends).await;
    let mut accepted = 0;
    for (status, answer) in answers {
        assert_eq!(status, 200, "{answer}");
        accepted += answer["accepted"].as_u64().expect("a number");
    }
    assert_eq!(accepted, 2, "each by one of them");
    assert_eq!(collector.stored().await.len(), 2);
}

#[tokio::test]
async fn after_the_window_an_id_is_an_event_again() {
    let collector = Collector::start(&["--dedupe-window", "300ms"]).await;
    collector.send(batch(&[1])).await;
    collector
        .eventually("the window is over", async || {
            let (_, again) = collector.send(batch(&[1])).await;
            results(&again) == ["accepted published"]
        })
        .await;
    assert_eq!(collector.stored().await.len(), 2);
}

#[tokio::test]
async fn what_the_spool_holds_is_known_after_a_restart() {
    let folder = TempDir::new().expect("a folder");
    let mut collector = Collector::start(&with_spool(&folder)).await;
    collector
        .cloud
        .faults()
        .inject(Rule::on("kinesis:PutRecords").throttle());
    let (status, spooled) = collector.send(batch(&[1, 2, 3])).await;
    assert_eq!(
        (status, results(&spooled)),
        (202, vec!["accepted spooled".to_owned(); 3])
    );
    let (status, again) = collector.send(batch(&[1])).await;
    assert_eq!(
        (status, results(&again)),
        (202, vec!["duplicate spooled".to_owned()])
    );
    collector.stop().await.expect("drained");

    let collector = Collector::start(&with_spool(&folder)).await;
    assert_eq!(collector.metric("events_dedupe_ids"), 3.0);
    let (status, again) = collector.send(batch(&[3, 4, 1])).await;
    assert_eq!(status, 202);
    assert_eq!(
        results(&again),
        ["duplicate spooled", "accepted published", "duplicate spooled"].map(str::to_owned)
    );
    collector
        .until("the spool is empty", || {
            collector.metric("events_spool_records") == 0.0
        })
        .await;
    assert_eq!(collector.stored().await.len(), 4);
}
