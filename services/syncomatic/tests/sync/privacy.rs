//! Keys and messages can name people: neither is in a log line, a metric or a readiness reason.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use local_cloud::Rule;
use sha2::{Digest, Sha256};
use tracing_subscriber::EnvFilter;

use syncomatic::redact::OnCanary;

use crate::harness::{SOURCE_BUCKET, World, message, record, until};
use crate::redaction::redacted;

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

/// The subscriber is the process's own: other tests log through it too, and none of them writes what
/// this one looks for.
#[tokio::test(flavor = "multi_thread")]
async fn keys_and_messages_appear_nowhere() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("syncomatic=trace,service_runtime=trace"))
        .with_ansi(false)
        .with_writer(move || writer.clone());
    tracing::subscriber::set_global_default(subscriber.finish()).expect("no other test installs one");

    let world = World::new().await;
    let mut config = world.config_with_routes(&["in/=>in/:verbatim", "red/=>red/:redacted"]);
    config.redacted = Some(redacted(OnCanary::Quarantine));
    config.limits.tries = 2;
    let service = world.run(config);
    service.until_ready().await;
    world.put_source("in/jane.doe@example.org", "x").await;
    until("copied", async || service.records("copied") == 1).await;
    world.put_source("out/jane.doe@example.org", "x").await;
    until("denied", async || service.records("denied_no_route") == 1).await;
    let event =
        |track| format!(r#"{{"eventtype":"play","schemaversion":"1-0-0","track":"{track}","x":"jane"}}"#);
    let (kept, canary) = (event("x"), event("jane.doe@example.org"));
    world
        .put_source("red/a", format!("{kept}\n{canary}\njane.doe@example.org\n"))
        .await;
    until("redacted", async || service.records("copied") == 2).await;
    assert_eq!(service.metric("syncomatic_canary_lines_total", Some("email")), 1);
    assert_eq!(
        service.metric("syncomatic_quarantined_lines_total", Some("canary")),
        1
    );
    world.put_source("red/jane.doe@example.org", kept).await;
    until("denied", async || service.records("denied_personal_key") == 1).await;
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
    for (key, said) in [
        ("in/jane.doe@example.org", "in place"),
        ("out/jane.doe@example.org", "denied"),
        ("in/jane.doe@example.org/2", "trying again"),
        ("in/jane.doe@example.org/2", "not in place"),
    ] {
        let object = traceable(key);
        let found = shown
            .lines()
            .any(|line| line.contains(&object) && line.contains(said));
        assert!(
            found,
            "no line says `{said}` of {object}: this test looks at nothing"
        );
    }
    let told = shown
        .lines()
        .find(|line| line.contains("jane") || line.contains("example.org"));
    assert_eq!(told, None);
    service.stop().await.expect("drained");
}

/// What a log line has in place of a key.
fn traceable(key: &str) -> String {
    let digest = Sha256::digest(key);
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
