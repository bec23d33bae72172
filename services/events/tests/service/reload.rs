//! Credentials that change while the service runs.

use std::{fs, time::Duration};

use event_model::Producer;
use events::credentials::{Keep, Store};
use local_cloud::Rule;
use tokio::task::JoinSet;

use crate::collector::Collector;

const EVENT: &str = r#"{"eventtype": "play", "action": "play", "musicsource": "tidal", "deviceid": "spk-1"}"#;
const OFTEN: [&str; 2] = ["--reload-interval", "10ms"];

async fn status(collector: &Collector, key: &str, secret: &str) -> u16 {
    let request = collector.http.post(collector.url("/v1/events"));
    let sent = request.basic_auth(key, Some(secret)).body(EVENT).send();
    sent.await.expect("an answer").status().as_u16()
}

async fn becomes(collector: &Collector, expected: u16, key: &str, secret: &str) {
    let what = format!("answered {expected}");
    let answered = async || status(collector, key, secret).await == expected;
    collector.eventually(&what, answered).await;
}

#[tokio::test]
async fn a_secret_rotates_and_a_client_is_revoked_without_a_restart() {
    let collector = Collector::start(&OFTEN).await;
    let store = Store::new(&collector.credentials_file());
    let (key, first) = collector.credential(Producer::App);
    let second = store.rotate(&collector.hash_key, key).expect("rotated").secret;
    becomes(&collector, 200, key, &second).await;
    assert_eq!(status(&collector, key, first).await, 200, "both work");
    store.retire(key, Keep::Newest).expect("retired");
    becomes(&collector, 401, key, first).await;
    assert_eq!(status(&collector, key, &second).await, 200);
    store.revoke(key).expect("revoked");
    becomes(&collector, 401, key, &second).await;
    let (key, secret) = collector.credential(Producer::Device);
    assert_eq!(status(&collector, key, secret).await, 200, "the others stay");
}

#[tokio::test]
async fn a_bad_file_keeps_the_old_clients_and_alarms_until_it_is_good() {
    let collector = Collector::start(&OFTEN).await;
    let file = collector.credentials_file();
    let good = fs::read(&file).expect("a file");
    let failures = || collector.metric("events_credentials_reload_failures_total");
    assert_eq!(failures(), 0.0);
    assert!(collector.metric("events_credentials_loaded_timestamp_seconds") > 1.7e9);

    fs::write(&file, "{\"clients\": [").expect("written");
    collector.until("it alarms", || failures() > 0.0).await;
    let (key, secret) = collector.credential(Producer::Device);
    assert_eq!(status(&collector, key, secret).await, 200);
    assert!(collector.runtime.readiness.is_ready());

    fs::write(&file, good).expect("written");
    let store = Store::new(&file);
    store.revoke(key).expect("revoked");
    becomes(&collector, 401, key, secret).await;
}

#[tokio::test]
async fn a_request_in_flight_keeps_the_credentials_it_began_with() {
    let collector = Collector::start(&OFTEN).await;
    let slow = Rule::on("kinesis:PutRecords")
        .times(1)
        .delay(Duration::from_secs(1));
    collector.cloud.faults().inject(slow);
    let (key, secret) = collector.credential(Producer::App);
    let request = collector.post_as(Producer::App, "/v1/events", EVENT);
    let mut requests = JoinSet::new();
    requests.spawn(async move { request.send().await });
    collector
        .until("it is in flight", || {
            collector.metric("events_in_flight_bytes") > 0.0
        })
        .await;
    Store::new(&collector.credentials_file())
        .revoke(key)
        .expect("revoked");
    let refused = collector.http.post(collector.url("/v1/validate"));
    let refused = refused.basic_auth(key, Some(secret)).body(EVENT);
    collector
        .eventually("the client is revoked", async || {
            let request = refused.try_clone().expect("a body in memory");
            request.send().await.expect("an answer").status() == 401
        })
        .await;
    let answer = requests.join_next().await.expect("one request");
    let answer = answer.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), 200);
}
