//! The numbers that operators see: they balance in every scrape, and say where the time goes.

use std::collections::BTreeMap;

use event_model::Producer;
use local_cloud::Rule;
use prometheus::{TextEncoder, proto::MetricFamily};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::collector::{Collector, PATIENCE, answer};

/// Events by type and partner, received; fails unless they are what became of them.
fn balanced(families: &[MetricFamily]) -> BTreeMap<(String, String), f64> {
    let (mut received, mut accounted) = (BTreeMap::new(), BTreeMap::new());
    for family in families {
        let sums = match family.name() {
            "events_received_total" => &mut received,
            "events_published_total"
            | "events_spooled_total"
            | "events_duplicate_total"
            | "events_rejected_total"
            | "events_retry_total"
            | "events_in_progress" => &mut accounted,
            _ => continue,
        };
        for metric in family.get_metric() {
            let label = |name: &str| {
                let label = metric.get_label().iter().find(|label| label.name() == name);
                label.expect("every series has it").value().to_owned()
            };
            let value = metric.get_counter().get_value() + metric.get_gauge().get_value();
            *sums.entry((label("eventtype"), label("partner"))).or_insert(0.0) += value;
        }
    }
    assert_eq!(received, accounted, "received is what became of them");
    received
}

fn event(number: usize) -> Value {
    match number % 10 {
        0 => json!({"eventtype": "nosuchtype"}),
        1 => json!({"eventtype": "play", "action": "jump", "musicsource": "tidal"}),
        2 => json!({"eventtype": "navigation", "screen": "home"}),
        // Sent by several requests with the same id.
        3 => json!({"eventtype": "navigation", "screen": "home",
                    "eventid": format!("0192f0c1-7a3e-7c54-9f0e-{:012}", number % 50)}),
        _ => json!({"eventtype": "play", "action": "play", "musicsource": "tidal",
                    "deviceid": format!("spk-{}", number % 7)}),
    }
}

#[tokio::test]
async fn received_is_what_became_of_every_event_in_every_scrape() {
    let folder = TempDir::new().expect("a folder");
    let spool = folder.path().to_str().expect("UTF-8");
    let flags = ["--spool-folder", spool, "--record-time-to-live", "300ms"];
    let collector = Collector::start(&flags).await;
    let faults = collector.cloud.faults();
    faults.inject(Rule::on("kinesis:PutRecords").times(40).throttle_records(0.3));
    faults.inject(Rule::on("kinesis:PutRecords").times(3).throttle());
    let mut requests = JoinSet::new();
    for request in 0..60 {
        let events: Vec<_> = (0..20).map(|number| event(request * 20 + number)).collect();
        let sent = collector
            .post("/v1/events", Value::from(events).to_string())
            .send();
        requests.spawn(async move { answer(sent.await.expect("an answer")).await });
    }
    let mut became: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut scrapes, mut seen_in_progress) = (0, false);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !requests.is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "not answered in time");
        balanced(&collector.runtime.registry.gather());
        seen_in_progress |= collector.metric("events_in_progress") > 0.0;
        scrapes += 1;
        let next = requests.join_next();
        let Ok(ended) = tokio::time::timeout(std::time::Duration::from_millis(1), next).await else {
            continue;
        };
        let (_, answer) = ended.expect("a request").expect("no panic");
        for name in ["accepted", "duplicate", "rejected", "retry"] {
            *became.entry(name).or_default() += answer[name].as_u64().expect("a number");
        }
    }
    assert!(scrapes > 10 && seen_in_progress, "{scrapes} scrapes");
    let rows = balanced(&collector.runtime.registry.gather());
    let names: Vec<_> = rows
        .keys()
        .map(|(name, partner)| format!("{name} {partner}"))
        .collect();
    assert_eq!(
        names,
        ["navigation northwind", "play northwind", "unknown northwind"]
    );
    assert_eq!(rows.values().sum::<f64>(), 1_200.0);
    let metric = |name: &str| collector.metric(&format!("events_{name}"));
    assert_eq!(metric("in_progress"), 0.0);
    let accepted = metric("published_total") + metric("spooled_total");
    for (name, count) in [
        ("accepted", accepted),
        ("duplicate", metric("duplicate_total")),
        ("rejected", metric("rejected_total")),
        ("retry", metric("retry_total")),
    ] {
        assert_eq!(became[name] as f64, count, "{name}");
    }
    assert!(became["duplicate"] > 0 && became["rejected"] == 240);
}

#[tokio::test]
async fn requests_that_are_refused_as_a_whole_are_no_events() {
    let collector = Collector::start(&["--client-quota", "1:1"]).await;
    let one = event(4).to_string();
    let refused = [
        (collector.post("/v1/events", "{"), 400),
        (collector.http.post(collector.url("/v1/events")), 401),
        (
            collector.post_as(Producer::Device, "/v1/events/tokenrequest", "{}"),
            403,
        ),
        (
            collector.post("/v1/events", format!("[{}]", vec!["{}"; 501].join(","))),
            413,
        ),
        (collector.post("/v1/events", one.clone()), 200),
        (collector.post("/v1/events", one), 429),
    ];
    for (request, expected) in refused {
        assert_eq!(request.send().await.expect("an answer").status(), expected);
    }
    assert_eq!(collector.metric("events_received_total"), 1.0);
    assert_eq!(collector.metric("events_requests_total"), 6.0);
}

#[tokio::test]
async fn every_stage_of_a_request_is_timed() {
    let collector = Collector::start(&[]).await;
    for _ in 0..3 {
        assert_eq!(collector.send(event(4).to_string()).await.0, 200);
    }
    let text = TextEncoder::new().encode_to_string(&collector.runtime.registry.gather());
    let text = text.expect("text");
    for stage in ["auth", "read", "decode", "validate", "publish"] {
        let count = format!("events_stage_seconds_count{{stage=\"{stage}\"}} 3");
        assert!(text.contains(&count), "{stage}: {text}");
    }
}
