//! Every decision is in the ledger before its message is gone, and the ledger tells when it was touched.

use std::process::Output;
use std::time::Duration;

use local_cloud::{LocalCloud, Rule};
use serde_json::Value;
use syncomatic::config::Config;
use syncomatic::ledger::{LedgerSide, Place};
use syncomatic::redact::{HashKey, OnCanary};

use crate::harness::{DEAD_LETTERS, DESTINATION_BUCKET, QUEUE, SOURCE_BUCKET, World, message, record, until};
use crate::redaction::redacted;
use sha2::Digest;

const PREFIX: &str = "_ledger/";
/// A key that must not be told, and content that could be guessed from a checksum.
const KEY: &str = "in/jane-doe";

fn config(world: &World, side: LedgerSide) -> Config {
    let routes = ["in/=>in/:verbatim", "red/=>red/:redacted", "stays/:denied"];
    let mut config = world.config_with_routes(&routes);
    config.redacted = Some(redacted(OnCanary::Count));
    let bucket = match side {
        LedgerSide::Source => SOURCE_BUCKET,
        LedgerSide::Destination(_) => DESTINATION_BUCKET,
    };
    config.ledger = Some(Place {
        side,
        bucket: bucket.to_owned(),
        prefix: PREFIX.to_owned(),
        instance: "test".to_owned(),
        linger: Duration::from_millis(10),
    });
    config.limits.progress_deadline = Duration::from_secs(2);
    for own in [PREFIX, "_quarantine/"] {
        config.routes = config.routes.reserve(own).expect("no route below it");
    }
    config
}

/// Every line of the ledger, in the order of its objects' keys.
async fn lines(s3: &aws_sdk_s3::Client, bucket: &str) -> Vec<Value> {
    let listed = s3
        .list_objects_v2()
        .bucket(bucket)
        .prefix(PREFIX)
        .send()
        .await
        .expect("listed");
    let mut lines = Vec::new();
    for key in listed.contents().iter().filter_map(|object| object.key()) {
        let object = s3
            .get_object()
            .bucket(bucket)
            .key(key)
            .send()
            .await
            .expect("there");
        let bytes = object.body.collect().await.expect("a body").to_vec();
        let text = String::from_utf8(bytes).expect("UTF-8");
        lines.extend(
            text.lines()
                .map(|line| serde_json::from_str::<Value>(line).expect("JSON")),
        );
    }
    lines
}

/// Runs `syncomatic ledger verify` against a cloud.
async fn verify(cloud: &LocalCloud, bucket: &str, more: &[&str]) -> Output {
    let account = cloud.account();
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), &account.secret_access_key).expect("written");
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_syncomatic"));
    command
        .env_clear()
        .args([
            "ledger",
            "verify",
            "--bucket",
            bucket,
            "--region",
            &account.region,
        ])
        .args([
            "--endpoint-url",
            &cloud.endpoint_url(),
            "--access-key-id",
            &account.access_key_id,
        ])
        .arg("--secret-access-key-file")
        .arg(secret.path())
        .args(more);
    command.output().await.expect("it runs")
}

fn outcomes(lines: &[Value]) -> Vec<String> {
    let outcomes = lines.iter().filter_map(|line| line["outcome"].as_str());
    let mut outcomes: Vec<_> = outcomes.map(str::to_owned).collect();
    outcomes.sort_unstable();
    outcomes
}

#[tokio::test(flavor = "multi_thread")]
async fn every_decision_is_recorded_in_a_chain_that_holds() {
    let world = World::new().await;
    world.create_dead_letter_queue().await;
    let mut config = config(&world, LedgerSide::Source);
    config.dead_letter_queue = Some(syncomatic::config::Queue::Name(DEAD_LETTERS.to_owned()));
    let service = world.run(config);
    world.put_source(KEY, "verbatim").await;
    let event = r#"{"eventtype":"play","schemaversion":"1-0-0","deviceid":"d","x":1}"#;
    world.put_source("red/a", format!("{event}\nbad\n")).await;
    world.put_source("stays/a", "x").await;
    world.put_source("undeclared", "x").await;
    until("all are decided", async || {
        service.metric("syncomatic_ledger_lines_total", None) == 4
    })
    .await;
    world.until_queue_is_empty().await;
    world
        .send(&message(&[
            record(SOURCE_BUCKET, KEY),
            record(SOURCE_BUCKET, "in/gone"),
        ]))
        .await;
    until("the rest is", async || {
        service.metric("syncomatic_ledger_lines_total", None) == 6
    })
    .await;
    world.until_queue_is_empty().await;
    service.stop().await.expect("drained");

    let lines = lines(&world.source.s3, SOURCE_BUCKET).await;
    assert_eq!(
        outcomes(&lines),
        [
            "already_there",
            "copied",
            "copied",
            "denied_by_route",
            "denied_no_route",
            "vanished"
        ]
    );
    assert_eq!(
        (&lines[0]["kind"], &lines[lines.len() - 1]["kind"]),
        (&"genesis".into(), &"close".into())
    );
    let of_route = |route: &str| lines.iter().find(|line| line["route"] == route).expect("a line");
    let verbatim = of_route("in/=>in/:verbatim");
    assert_eq!(verbatim["source_crc64nvme"], verbatim["destination_crc64nvme"]);
    let redacted = of_route("red/=>red/:redacted");
    assert_eq!(redacted["redacted"]["lines"], 1);
    assert_eq!(
        (
            &redacted["redacted"]["quarantined"],
            &redacted["redacted"]["undeclared"]
        ),
        (&1.into(), &1.into())
    );
    assert_ne!(redacted["source_crc64nvme"], redacted["destination_crc64nvme"]);
    assert_eq!(lines[0]["policy"], redacted["policy"]);
    assert!(!format!("{lines:?}").contains("jane"));

    let holds = verify(&world.china, SOURCE_BUCKET, &[]).await;
    let text = String::from_utf8_lossy(&holds.stdout).into_owned();
    assert_eq!(
        holds.status.code(),
        Some(0),
        "{text} {}",
        String::from_utf8_lossy(&holds.stderr)
    );
    assert!(
        text.contains("every chain holds") && text.contains("closed"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_or_taken_away_is_told() {
    let world = World::new().await;
    let service = world.run(config(&world, LedgerSide::Source));
    for number in 0..3 {
        world.put_source(&format!("in/{number}"), "x").await;
        world.until_queue_is_empty().await;
    }
    service.stop().await.expect("drained");
    let listed = world
        .source
        .s3
        .list_objects_v2()
        .bucket(SOURCE_BUCKET)
        .prefix(PREFIX)
        .send()
        .await;
    let keys: Vec<_> = listed
        .expect("listed")
        .contents()
        .iter()
        .filter_map(|object| object.key().map(str::to_owned))
        .collect();
    let get = world
        .source
        .s3
        .get_object()
        .bucket(SOURCE_BUCKET)
        .key(&keys[1])
        .send()
        .await;
    let bytes = get.expect("there").body.collect().await.expect("a body").to_vec();
    let changed = String::from_utf8(bytes)
        .expect("UTF-8")
        .replace("copied", "denied");
    world.put_source(&keys[1], changed).await;
    let output = verify(&world.china, SOURCE_BUCKET, &["--json"]).await;
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["problems"][0]["kind"], "broken");

    let delete = world
        .source
        .s3
        .delete_object()
        .bucket(SOURCE_BUCKET)
        .key(&keys[1]);
    delete.send().await.expect("deleted");
    let output = verify(&world.china, SOURCE_BUCKET, &[]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(1) && text.contains("Gap"), "{text}");

    let nothing = verify(&world.europe, DESTINATION_BUCKET, &[]).await;
    assert_eq!(nothing.status.code(), Some(1), "no ledger is no proof");
    let usage = verify(&world.europe, DESTINATION_BUCKET, &["--no-such-flag"]).await;
    assert_eq!(usage.status.code(), Some(64));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_that_is_not_recorded() {
    let world = World::new().await;
    world.china.faults().inject(
        Rule::on("s3:PutObject")
            .resource_containing(PREFIX)
            .fail(503, "SlowDown"),
    );
    let mut config = config(&world, LedgerSide::Source);
    config.limits.visibility_timeout = Duration::from_secs(2);
    let service = world.run(config);
    world.put_source(KEY, "x").await;
    service.until_not_ready("ledger").await;
    service
        .until_not_ready("access: the ledger cannot be written")
        .await;
    assert_eq!(
        service.metric("syncomatic_messages_total", Some("deleted")),
        1,
        "S3's own test event"
    );
    assert!(service.metric("syncomatic_ledger_errors_total", Some("throttled")) > 0);
    world.china.faults().clear();
    world.until_queue_is_empty().await;
    until("it is ready again", async || service.runtime.readiness.is_ready()).await;
    service.stop().await.expect("drained");
    let recorded = outcomes(&lines(&world.source.s3, SOURCE_BUCKET).await);
    assert!(recorded.contains(&"copied".to_owned()), "{recorded:?}");
    assert_eq!(
        verify(&world.china, SOURCE_BUCKET, &[]).await.status.code(),
        Some(0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_survives_lost_answers_and_the_next_names_it() {
    let world = World::new().await;
    let faults = world.china.faults();
    faults.inject(
        Rule::on("s3:PutObject")
            .resource_containing(PREFIX)
            .times(1)
            .lose_answer(),
    );
    let first = world.run(config(&world, LedgerSide::Source));
    world.put_source("in/1", "x").await;
    world.until_queue_is_empty().await;
    assert_eq!(faults.injected("s3:PutObject"), 1);
    first.kill().await;

    let second = world.run(config(&world, LedgerSide::Source));
    world.put_source("in/2", "x").await;
    world.until_queue_is_empty().await;
    second.stop().await.expect("drained");
    let output = verify(&world.china, SOURCE_BUCKET, &["--json"]).await;
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(0), "{report}");
    let mut ends: Vec<_> = report["chains"]
        .as_array()
        .expect("chains")
        .iter()
        .map(|chain| chain["end"].as_str().expect("text"))
        .collect();
    ends.sort_unstable();
    assert_eq!(ends, ["closed", "followed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_border_nothing_can_be_guessed() {
    let world = World::new().await;
    let key = HashKey::from_hex("cn-1", &"0b".repeat(32)).expect("a key");
    let service = world.run(config(&world, LedgerSide::Destination(key)));
    let put = world.put("red/jane-doe", r#"{"eventtype":"play","schemaversion":"1-0-0"}"#);
    let stored = put.send().await.expect("stored");
    world.until_queue_is_empty().await;
    service.stop().await.expect("drained");
    let lines = lines(&world.destination.s3, DESTINATION_BUCKET).await;
    let line = lines
        .iter()
        .find(|line| line["outcome"] == "copied")
        .expect("a line");
    let shown = line.to_string();
    let told = [stored.e_tag, stored.checksum_crc64_nvme].map(|told| told.expect("S3 says it"));
    let traceable = sha2::Sha256::digest("red/jane-doe")
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    for told in told.into_iter().chain([traceable, "jane".to_owned()]) {
        assert!(!shown.contains(told.trim_matches('"')), "{shown} tells {told}");
    }
    assert_eq!(
        verify(&world.europe, DESTINATION_BUCKET, &[]).await.status.code(),
        Some(0)
    );
    assert_eq!(world.queue_depth(&world.queue_url).await, (0, 0), "{QUEUE}");
}
