//! Keys and messages can name people: neither is in a log line, a metric or a readiness reason.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use local_cloud::Rule;
use tracing_subscriber::EnvFilter;

use crate::harness::{SOURCE_BUCKET, World, message, record, until};

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// On one thread, so that the subscriber sees all of the service and nothing of other tests.
#[tokio::test(flavor = "current_thread")]
async fn keys_and_messages_appear_nowhere() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("syncomatic=trace,service_runtime=trace"))
        .with_writer(move || writer.clone());
    let _installed = tracing::subscriber::set_default(subscriber.finish());

    let world = World::new().await;
    let mut config = world.config_with_routes(&["in/=>in/:verbatim"]);
    config.limits.tries = 2;
    let service = world.run(config);
    service.until_ready().await;
    world.put_source("in/jane.doe@example.org", "x").await;
    until("copied", async || service.records("copied") == 1).await;
    world.put_source("out/jane.doe@example.org", "x").await;
    until("denied", async || service.records("denied_no_route") == 1).await;
    world.send("jane.doe@example.org").await;
    world
        .send(&message(&[record(SOURCE_BUCKET, "jane.doe@example.org%zz")]))
        .await;
    until("malformed", async || service.records("malformed") == 2).await;
    world
        .china
        .faults()
        .inject(Rule::on("s3:GetObject").times(2).cut_off_answer_after(1));
    world.put_source("in/jane.doe@example.org/2", "xyz").await;
    until("given up", async || service.records("unfinished") == 1).await;
    world
        .europe
        .faults()
        .inject(Rule::on("s3:PutObject").fail(403, "AccessDenied"));
    world.put_source("in/jane.doe@example.org/3", "x").await;
    service.until_not_ready("AccessDenied").await;

    let reasons = service.runtime.readiness.reasons().join("\n");
    let metrics = prometheus::TextEncoder::new().encode_to_string(&service.runtime.registry.gather());
    let shown = [log.text(), reasons, metrics.expect("metrics")].join("\n");
    for said in [
        "in place",
        "denied",
        "cannot be understood",
        "not in place",
        "trying again",
    ] {
        assert!(
            shown.contains(said),
            "the log does not say `{said}`: this test looks at nothing"
        );
    }
    let told = shown
        .lines()
        .find(|line| line.contains("jane") || line.contains("example.org"));
    assert_eq!(told, None);
    service.stop().await.expect("drained");
}
