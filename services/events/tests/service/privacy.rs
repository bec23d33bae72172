//! What a client sends surfaces in the stream and nowhere else.

use std::{
    io,
    sync::{Arc, Mutex},
};

use local_cloud::Rule;
use prometheus::TextEncoder;
use serde_json::json;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::collector::Collector;

const CANARY: &str = "canary-5d1c07a2";

/// Log lines, for a test to look at.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        let bytes = self.0.lock().expect("no panic while writing").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .expect("no panic while writing")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_value_of_an_event_is_in_answers_logs_or_metrics() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_env_filter(EnvFilter::new(
            "info,events=trace,service_runtime=trace,aws_clients=trace",
        ))
        .finish();
    // The test's runtime has one thread, so this sees all that the service logs.
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut collector = Collector::start(&["--record-time-to-live", "300ms"]).await;
    let event = |field: &str, value: serde_json::Value| {
        let mut event = json!({"eventtype": "voicefeedback", "utterance": "x", "interpretation": "x",
            "response": "x"});
        event[field] = value;
        event.to_string()
    };
    let long = CANARY.repeat(100);
    let bodies = [
        event("utterance", json!([CANARY])),
        event("utterance", json!(long)),
        event("outcome", json!(CANARY)),
        event("intent", json!(CANARY.to_uppercase())),
        event("language", json!(CANARY)),
        event("confidence", json!(CANARY)),
        event("eventtime", json!(CANARY)),
        event("eventid", json!(CANARY)),
        event("deviceid", json!(format!("{CANARY} "))),
        event("schemaversion", json!(CANARY)),
        event("eventtype", json!(CANARY)),
        event("partnerid", json!(CANARY)),
        event("unknown", json!(CANARY)),
        event(&format!("{CANARY} {CANARY}"), json!(1)),
        format!("{{\"utterance\":\"{CANARY}\",\"utterance\":\"{CANARY}\"}}"),
        format!("{{\"utterance\":\"{CANARY}"),
        CANARY.to_owned(),
        format!("\"{CANARY}\""),
        format!("{{\"sentat\":\"{CANARY}\",\"events\":[{{}}]}}"),
        format!("{{\"a\":\"{CANARY}\\x\"}}"),
    ];
    for body in bodies {
        let response = collector
            .post("/v1/events", body.clone())
            .send()
            .await
            .expect("an answer");
        let status = response.status().as_u16();
        let answer = response.text().await.expect("a text");
        assert!((400..500).contains(&status), "{status}: {body}");
        assert!(
            !answer.to_lowercase().contains("canary"),
            "{body} is answered {answer}"
        );
    }
    // Valid events too, in trouble: refused by Kinesis as a whole and one by one, and given up.
    for rule in [
        Rule::on("kinesis:PutRecords")
            .times(1)
            .fail(400, "ValidationException"),
        Rule::on("kinesis:PutRecords")
            .times(1)
            .fail(500, "InternalFailure"),
        Rule::on("kinesis:PutRecords").throttle_records(1.0),
    ] {
        collector.cloud.faults().inject(rule);
    }
    for _ in 0..2 {
        let (status, answer) = collector.send(event("deviceid", json!(CANARY))).await;
        assert_eq!(status, 503);
        assert!(!answer.to_string().contains("canary"), "{answer}");
    }
    let metrics = TextEncoder::new().encode_to_string(&collector.runtime.registry.gather());
    assert!(!metrics.expect("text").to_lowercase().contains("canary"));
    collector.stop().await.expect("drained");

    let log = log.text().to_lowercase();
    assert!(log.contains("putrecords failed"), "the log was seen: {log}");
    assert!(!log.contains("canary"), "{log}");
    let (key, secret) = collector.credential(event_model::Producer::Platform);
    assert!(
        !log.contains(&secret.to_lowercase()) && !log.contains(key),
        "{log}"
    );
}
