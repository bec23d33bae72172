//! Guessing: how often, and what it tells.

use event_model::Producer;
use reqwest::Response;

use crate::collector::{Collector, with_header};

const EVENT: &str = r#"{"eventtype": "play", "action": "play", "musicsource": "tidal", "deviceid": "spk-1"}"#;
const EDGE: [&str; 8] = [
    "--failed-attempts",
    "2",
    "--failed-attempts-refill",
    "1h",
    "--trusted-proxies",
    "127.0.0.0/8",
    "--client-address-header",
    "x-forwarded-for",
];

async fn attempt(collector: &Collector, address: &'static str, key: &str, secret: &str) -> Response {
    let request = collector.http.post(collector.url("/v1/events"));
    let request = request.basic_auth(key, Some(secret)).body(EVENT);
    let sent = with_header(request, "x-forwarded-for", address).send();
    sent.await.expect("an answer")
}

#[tokio::test]
async fn an_address_that_guesses_is_refused_and_learns_nothing() {
    let collector = Collector::start(&EDGE).await;
    let (key, secret) = collector.credential(Producer::Device);
    let (guesser, other) = ("203.0.113.9, 192.0.2.1", "192.0.2.1, 203.0.113.9");
    for _ in 0..2 {
        assert_eq!(attempt(&collector, guesser, key, "wrong").await.status(), 401);
    }
    let mut answers = Vec::new();
    for (key, secret) in [(key, "wrong"), ("nobody", "wrong"), ("nobody", secret)] {
        let answer = attempt(&collector, guesser, key, secret).await;
        assert_eq!(answer.status(), 429);
        let wait: u64 = answer.headers()["retry-after"]
            .to_str()
            .expect("text")
            .parse()
            .expect("seconds");
        assert!((3_590..=3_600).contains(&wait), "{wait}");
        let mut body: serde_json::Value = answer.json().await.expect("JSON");
        body["requestid"].take();
        answers.push(body);
    }
    assert_eq!(answers[0]["code"], "too_many_failures");
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "the same for a wrong secret and an unknown key: {answers:?}"
    );
    assert_eq!(
        attempt(&collector, guesser, key, secret).await.status(),
        200,
        "who shares the address is not shut out"
    );
    assert_eq!(attempt(&collector, other, key, secret).await.status(), 200);
    assert_eq!(collector.metric("events_failed_attempts_total"), 5.0);
    assert_eq!(collector.metric("events_failed_attempt_addresses"), 1.0);
}

#[tokio::test]
async fn right_credentials_use_nothing_up() {
    let collector = Collector::start(&EDGE).await;
    let (key, secret) = collector.credential(Producer::Device);
    for _ in 0..50 {
        assert_eq!(attempt(&collector, "192.0.2.1", key, secret).await.status(), 200);
    }
    assert_eq!(attempt(&collector, "192.0.2.1", key, "wrong").await.status(), 401);
    assert_eq!(attempt(&collector, "192.0.2.1", key, secret).await.status(), 200);
}

#[tokio::test]
async fn without_a_trusted_edge_the_peer_counts_whatever_it_claims() {
    let collector = Collector::start(&EDGE[..4]).await;
    let (key, secret) = collector.credential(Producer::Device);
    assert_eq!(attempt(&collector, "192.0.2.1", key, "wrong").await.status(), 401);
    assert_eq!(attempt(&collector, "192.0.2.2", key, "wrong").await.status(), 401);
    assert_eq!(attempt(&collector, "192.0.2.3", key, "wrong").await.status(), 429);
    assert_eq!(attempt(&collector, "192.0.2.3", key, secret).await.status(), 200);
}
