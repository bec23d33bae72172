//! Bodies in a content encoding: the same events, the same bounds.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::collector::{Collector, answer};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("into memory");
    encoder.finish().expect("into memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).expect("into memory")
}

fn play(device: &str) -> Value {
    json!({"eventtype": "play", "action": "play", "musicsource": "tidal", "deviceid": device})
}

async fn send(collector: &Collector, encoding: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
    let request = collector
        .post("/v1/events", body)
        .header("content-encoding", encoding);
    answer(request.send().await.expect("an answer")).await
}

#[tokio::test]
async fn encoded_bodies_bring_their_events() {
    let collector = Collector::start(&[]).await;
    // More than a body may have as it is sent; the space between events is not stored. One device's events
    // would wait for each other.
    let space = " ".repeat(8 << 10);
    let events: Vec<_> = (0..500).map(|n| play(&format!("spk-{n}")).to_string()).collect();
    let wide = format!("[{}]", events.join(&format!(",{space}")));
    assert!(wide.len() > 1 << 20 && wide.len() < 5 << 20, "{}", wide.len());
    for (encoding, body) in [("gzip", gzip(wide.as_bytes())), ("zstd", zstd(wide.as_bytes()))] {
        let (status, answer) = send(&collector, encoding, body).await;
        assert_eq!((status, &answer["accepted"]), (200, &json!(500)), "{encoding}");
    }
    assert_eq!(collector.stored().await.len(), 1000);
    assert_eq!(collector.metric("events_in_flight_bytes"), 0.0);
}

#[tokio::test]
async fn bombs_and_broken_streams_are_refused_and_leave_nothing_behind() {
    let collector = Collector::start(&[]).await;
    let bomb = gzip(&vec![0; 16 << 20]).repeat(60);
    assert!(bomb.len() < 1 << 20, "within what may be sent: {}", bomb.len());
    let event = gzip(play("a").to_string().as_bytes());
    let half = event[..event.len() / 2].to_vec();
    for (encoding, body, expected, code) in [
        ("gzip", bomb, 413, "body_too_large"),
        ("gzip", half, 400, "bad_encoding"),
        ("zstd", event.clone(), 400, "bad_encoding"),
        ("gzip, zstd", event.clone(), 415, "content_encoding"),
        ("br", event.clone(), 415, "content_encoding"),
    ] {
        let (status, answer) = send(&collector, encoding, body).await;
        assert_eq!((status, &answer["code"]), (expected, &json!(code)), "{answer}");
    }
    assert!(collector.stored().await.is_empty());
    assert_eq!(collector.metric("events_in_flight_bytes"), 0.0);
    assert_eq!(send(&collector, "gzip", event).await.0, 200);
}

#[tokio::test]
async fn an_encoded_body_that_drips_is_a_time_out() {
    let collector = Collector::start(&["--body-timeout", "200ms"]).await;
    let beginning = gzip(play("a").to_string().as_bytes())[..20].to_vec();
    let bytes = beginning
        .into_iter()
        .map(|byte| Ok::<_, std::io::Error>(vec![byte]));
    let drip = stream::iter(bytes).chain(stream::pending());
    let (status, answer) = send(&collector, "gzip", reqwest::Body::wrap_stream(drip)).await;
    assert_eq!((status, &answer["code"]), (408, &json!("body_too_slow")));
    assert_eq!(collector.metric("events_in_flight_bytes"), 0.0);
}
