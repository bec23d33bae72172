//! What is believed of the edge: the country, and when something happened.

use event_model::Producer;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::collector::{Collector, answer};

fn play(device: &str) -> Value {
    json!({"eventtype": "play", "action": "play", "musicsource": "tidal", "deviceid": device})
}

#[tokio::test]
async fn the_country_comes_from_the_configured_header_alone() {
    let trusted = [
        "--country-header",
        "CloudFront-Viewer-Country",
        "--trusted-proxies",
    ];
    let collector = Collector::start(&[&trusted[..], &["127.0.0.0/8"]].concat()).await;
    for (device, name, value) in [
        ("a", "cloudfront-viewer-country", "DE"),
        ("b", "cloudfront-viewer-country", "T1"),
        ("c", "cloudfront-viewer-country", "\"x"),
        ("d", "cf-ipcountry", "DE"),
    ] {
        let request = collector
            .post("/v1/events", play(device).to_string())
            .header(name, value);
        assert_eq!(request.send().await.expect("an answer").status(), 200);
    }
    for stored in collector.stored().await {
        let expected = if stored.partition_key == "a" {
            json!("de")
        } else {
            Value::Null
        };
        assert_eq!(stored.field("countrycode"), expected, "{stored:?}");
    }
}

#[tokio::test]
async fn nothing_is_believed_of_who_is_no_trusted_proxy() {
    let flags = [
        "--country-header",
        "x-country",
        "--trusted-proxies",
        "192.0.2.0/24",
    ];
    let collector = Collector::start(&flags).await;
    let request = collector.post("/v1/events", play("a").to_string());
    let response = request.header("x-country", "DE").send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!(collector.stored().await[0].field("countrycode"), Value::Null);
}

fn time(value: &Value) -> Timestamp {
    let text = value.as_str().expect("a time");
    assert!(text.len() == 24 && text.ends_with('Z'), "{text}");
    text.parse().expect("RFC 3339")
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_corrected_by_when_the_client_says_it_sent() {
    let collector = Collector::start(&[]).await;
    let at = |device: &str, eventtime: &str| {
        let mut event = play(device);
        event["eventtime"] = json!(eventtime);
        event
    };
    let events = [
        at("an-hour-ago", "1970-01-01T01:00:00Z"),
        at("from-the-future", "1970-01-01T03:00:00Z"),
        play("without-a-time"),
    ];
    let body = json!({"sentat": "1970-01-01T02:00:00+00:00", "events": events});
    let (status, _) = collector.send(body.to_string()).await;
    assert_eq!(status, 200);
    let unsent = at("not-said-when-sent", "1970-01-01T01:00:00Z").to_string();
    assert_eq!(collector.send(unsent).await.0, 200);
    let stored = collector.stored().await;
    assert_eq!(stored.len(), 4);
    for stored in stored {
        let corrected = stored.field("correctedtime");
        if stored.partition_key == "an-hour-ago" {
            let ago = time(&stored.field("receivedtime")).duration_since(time(&corrected));
            assert_eq!(ago, SignedDuration::from_hours(1));
            assert_eq!(
                stored.field("eventtime"),
                "1970-01-01T01:00:00Z",
                "kept as it was"
            );
        } else {
            assert_eq!(corrected, Value::Null, "{stored:?}");
        }
    }
    let mut forged = play("a");
    forged["correctedtime"] = json!("2026-01-01T00:00:00Z");
    let request = collector.post_as(Producer::Device, "/v1/events", forged.to_string());
    let (status, refused) = answer(request.send().await.expect("an answer")).await;
    assert_eq!(
        (status, &refused["results"][0]["code"]),
        (422, &json!("malformed"))
    );
}
