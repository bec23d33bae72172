//! A request's line in the log, and the trace it belongs to.

use serde_json::Value;

use crate::{collector::Collector, privacy::Log};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const EVENT: &str = r#"{"eventtype": "play", "action": "play", "musicsource": "canary"}"#;

fn lines(log: &Log) -> Vec<Value> {
    let text = log.text();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"));
    lines
        .filter(|line: &Value| line["message"] == "answered")
        .collect()
}

#[tokio::test]
async fn a_request_of_a_recorded_trace_is_in_the_log_with_its_trace() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(log.clone())
        .with_max_level(tracing::Level::INFO)
        .finish();
    // The test's runtime has one thread, so this sees all that the service logs.
    let _guard = tracing::subscriber::set_default(subscriber);
    let collector = Collector::start(&[]).await;
    let traced = |flags: &str| format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
    let request = collector
        .post("/v1/events", EVENT)
        .header("traceparent", traced("01"));
    let response = request.send().await.expect("an answer");
    let request_id = response.headers()["x-request-id"]
        .to_str()
        .expect("text")
        .to_owned();
    let seen = lines(&log);
    assert_eq!(seen.len(), 1, "{seen:?}");
    for (field, expected) in [
        ("requestid", request_id.as_str()),
        ("traceid", TRACE),
        ("parentid", "00f067aa0ba902b7"),
        ("route", "/v1/events"),
    ] {
        assert_eq!(seen[0][field], expected, "{seen:?}");
    }
    assert_eq!(
        (&seen[0]["status"], &seen[0]["accepted"]),
        (&200.into(), &1.into())
    );
    assert!(seen[0]["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
    assert!(!log.text().contains("canary"), "{}", log.text());

    // Not recorded by its caller, not valid, or of nobody who has proved who it is: no line.
    for (header, proved) in [
        (Some(traced("00")), true),
        (Some(format!("00-{TRACE}-canary-01")), true),
        (None, true),
        (Some(traced("01")), false),
    ] {
        let request = collector.post("/v1/events", EVENT);
        let request = match header {
            Some(header) => request.header("traceparent", header),
            None => request,
        };
        let request = if proved {
            request
        } else {
            collector
                .http
                .post(collector.url("/v1/events"))
                .header("traceparent", traced("01"))
        };
        request.send().await.expect("an answer");
    }
    assert_eq!(lines(&log).len(), 1);
    assert!(!log.text().contains("canary"), "{}", log.text());
}
