//! How many events a client and a partner may send.

use std::time::{Duration, Instant};

use event_model::Producer;
use reqwest::Response;
use serde_json::{Value, json};

use crate::collector::{Collector, answer};

fn events(count: usize) -> String {
    let event = json!({"eventtype": "play", "action": "play", "musicsource": "tidal", "deviceid": "a"});
    json!(vec![event; count]).to_string()
}

async fn send(collector: &Collector, kind: Producer, path: &str, body: String) -> Response {
    let request = collector.post_as(kind, path, body);
    request.send().await.expect("an answer")
}

async fn status(collector: &Collector, kind: Producer, count: usize) -> u16 {
    let response = send(collector, kind, "/v1/events", events(count)).await;
    response.status().as_u16()
}

#[tokio::test]
async fn a_client_over_its_quota_waits_as_long_as_it_is_told() {
    let collector = Collector::start(&["--client-quota", "10:20"]).await;
    assert_eq!(status(&collector, Producer::Device, 20).await, 200);
    let start = Instant::now();
    let refused = send(&collector, Producer::Device, "/v1/events", events(20)).await;
    let wait = refused.headers()["retry-after"].to_str().expect("text");
    let wait: u64 = wait.parse().expect("seconds");
    assert!((1..=2).contains(&wait), "{wait}");
    let (status_code, problem) = answer(refused).await;
    assert_eq!((status_code, &problem["code"]), (429, &json!("client_quota")));
    assert_eq!(
        status(&collector, Producer::App, 20).await,
        200,
        "another client's is its own"
    );
    assert_eq!(collector.metric("events_quota_refused_events_total"), 20.0);
    assert_eq!(
        collector.metric("events_received_total"),
        40.0,
        "what is refused was not received"
    );
    tokio::time::sleep_until((start + Duration::from_secs(wait)).into()).await;
    assert_eq!(status(&collector, Producer::Device, 20).await, 200, "as told");
}

#[tokio::test]
async fn events_are_charged_whatever_becomes_of_them_and_a_dry_run_is_not() {
    let collector = Collector::start(&["--client-quota", "1:10"]).await;
    for _ in 0..5 {
        let response = send(&collector, Producer::Device, "/v1/validate", events(10)).await;
        assert_eq!(response.status(), 200);
    }
    let invalid = json!(vec![json!({"eventtype": "nosuchtype"}); 9]).to_string();
    let response = send(&collector, Producer::Device, "/v1/events", invalid).await;
    assert_eq!(response.status(), 422);
    assert_eq!(status(&collector, Producer::Device, 5).await, 429);
    let malformed = send(&collector, Producer::Device, "/v1/events", "[".to_owned()).await;
    assert_eq!(malformed.status(), 400, "there are no events in it to charge");
}

#[tokio::test]
async fn a_batch_larger_than_the_burst_gets_through_in_the_end() {
    let collector = Collector::start(&["--client-quota", "50:10"]).await;
    assert_eq!(
        status(&collector, Producer::Device, 100).await,
        200,
        "the bucket was full"
    );
    assert_eq!(status(&collector, Producer::Device, 1).await, 429, "and owes 90");
    collector
        .eventually("it is full again", async || {
            status(&collector, Producer::Device, 100).await == 200
        })
        .await;
}

#[tokio::test]
async fn clients_of_a_partner_share_its_quota() {
    let collector = Collector::start(&["--partner-quota", "1:10", "--client-quota", "1:8"]).await;
    assert_eq!(status(&collector, Producer::Device, 8).await, 200);
    let response = send(&collector, Producer::App, "/v1/events", events(8)).await;
    let (status_code, problem) = answer(response).await;
    assert_eq!((status_code, &problem["code"]), (429, &json!("partner_quota")));
    assert_eq!(status(&collector, Producer::App, 2).await, 200);
}

#[tokio::test]
async fn the_credentials_file_gives_quotas_and_a_change_forgets_no_debt() {
    let collector = Collector::start(&["--reload-interval", "20ms", "--client-quota", "1:5"]).await;
    let change = |quota: &str| {
        let path = collector.credentials_file();
        let text = std::fs::read_to_string(&path).expect("readable");
        let mut file: Value = serde_json::from_str(&text).expect("JSON");
        for client in file["clients"].as_array_mut().expect("clients") {
            if client["kind"] == "device" {
                client["quota"] = json!(quota);
            }
        }
        let new = path.with_extension("new");
        std::fs::write(&new, file.to_string()).expect("written");
        std::fs::rename(new, path).expect("renamed");
    };
    assert_eq!(status(&collector, Producer::Device, 5).await, 200);
    assert_eq!(status(&collector, Producer::Device, 4).await, 429);
    // A larger bucket has room at once, less what was taken.
    change("1:25");
    collector
        .eventually("the new quota holds", async || {
            status(&collector, Producer::Device, 15).await == 200
        })
        .await;
    assert_eq!(
        status(&collector, Producer::Device, 15).await,
        429,
        "20 of 25 are taken"
    );
}
