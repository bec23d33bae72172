//! A redacted route lets pass what the schemas call harmless, and nothing else of an object.

use std::io::{Read, Write};

use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use event_model::Catalogue;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use local_cloud::Rule;
use serde_json::Value;
use syncomatic::RedactedRoutes;
use syncomatic::config::Config;
use syncomatic::redact::{HashKey, OnCanary, Options, Redaction};
use syncomatic::verify::{MARKER, OUTPUT};

use crate::harness::{Calls, DESTINATION_BUCKET, SOURCE_BUCKET, World, message, record, until};

pub(crate) const QUARANTINE: &str = "_quarantine/";
/// What must not be in Europe.
const SECRET: &str = "jane.doe";

pub(crate) fn redacted(on_canary: OnCanary) -> RedactedRoutes {
    let key = HashKey::from_hex("cn-1", &"0b".repeat(32)).expect("a key");
    let options = Options {
        on_canary,
        ..Options::default()
    };
    RedactedRoutes {
        redaction: Redaction::new(&Catalogue::bundled().expect("bundled"), key, options),
        quarantine_bucket: SOURCE_BUCKET.to_owned(),
        quarantine_prefix: QUARANTINE.to_owned(),
    }
}

fn config(world: &World) -> Config {
    let mut config = world.config_with_routes(&["=>eu/:redacted"]);
    config.routes = config.routes.reserve(QUARANTINE).expect("no route below it");
    config.redacted = Some(redacted(OnCanary::Count));
    config
}

fn event(number: usize) -> String {
    format!(
        r#"{{"eventtype":"voicefeedback","schemaversion":"1-0-0","partnerid":"acme","deviceid":"spk-{number}","userid":"u-{SECRET}","utterance":"call {SECRET}","interpretation":"x","response":"x","confidence":0.50,"friend":"{SECRET}"}}"#
    )
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(text.as_bytes()).expect("memory");
    encoder.finish().expect("memory")
}

fn gunzip(bytes: &[u8]) -> String {
    let mut text = String::new();
    MultiGzDecoder::new(bytes)
        .read_to_string(&mut text)
        .expect("gzip");
    text
}

async fn keys(world: &World, prefix: &str) -> Vec<String> {
    let list = world
        .source
        .s3
        .list_objects_v2()
        .bucket(SOURCE_BUCKET)
        .prefix(prefix);
    let listed = list.send().await.expect("listed");
    listed
        .contents()
        .iter()
        .filter_map(|object| object.key().map(str::to_owned))
        .collect()
}

async fn source_bytes(world: &World, key: &str) -> Vec<u8> {
    let get = world.source.s3.get_object().bucket(SOURCE_BUCKET).key(key);
    let object = get.send().await.expect("there");
    object.body.collect().await.expect("a body").to_vec()
}

async fn open_uploads(world: &World) -> usize {
    let europe = world
        .destination
        .s3
        .list_multipart_uploads()
        .bucket(DESTINATION_BUCKET);
    let china = world.source.s3.list_multipart_uploads().bucket(SOURCE_BUCKET);
    europe.send().await.expect("listed").uploads().len() + china.send().await.expect("listed").uploads().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_object_arrives_redacted_and_proved() {
    let world = World::new().await;
    let service = world.run(config(&world));
    let lines = format!("{}\n{}\n", event(1), event(2));
    let put = world
        .put("2026/03/01/events-0-49.jsonl.gz", gzip(&lines))
        .content_type("application/x-ndjson")
        .content_disposition(format!("attachment; filename=\"{SECRET}\""))
        .metadata("stream", "events")
        .metadata("first-sequence-number", "49")
        .metadata("record-count", "2")
        .metadata("uncompressed-crc64nvme", "ae8b14860a799888")
        .metadata("owner", SECRET)
        .tagging(format!("owner={SECRET}"));
    let source = put.send().await.expect("stored");
    world.until_queue_is_empty().await;

    let get = world.destination.s3.get_object().bucket(DESTINATION_BUCKET);
    let get = get
        .key("eu/2026/03/01/events-0-49.jsonl.gz")
        .checksum_mode(ChecksumMode::Enabled);
    let arrived = get.send().await.expect("arrived");
    assert_eq!(arrived.content_type.as_deref(), Some("application/x-ndjson"));
    assert_eq!(
        (arrived.content_disposition.clone(), arrived.tag_count),
        (None, None)
    );
    let metadata = arrived.metadata.clone().expect("metadata");
    let mut names: Vec<_> = metadata.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["first-sequence-number", "stream", OUTPUT, MARKER]);
    let shown = format!("{metadata:?}");
    for told in [
        source.e_tag.as_deref(),
        source.checksum_crc64_nvme.as_deref(),
        Some(SECRET),
    ] {
        let told = told.expect("S3 says it").trim_matches('"');
        assert!(!shown.contains(told), "{shown} tells {told}");
    }
    let crc = arrived.checksum_crc64_nvme.clone().expect("stored");
    assert!(metadata[OUTPUT].ends_with(&format!("crc64nvme={crc}")), "{shown}");

    let text = gunzip(&arrived.body.collect().await.expect("a body").into_bytes());
    assert!(!text.contains(SECRET), "{text}");
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["userid"], events[1]["userid"]);
    assert_ne!(events[0]["deviceid"], events[1]["deviceid"]);
    assert!(text.contains(r#""confidence":0.50"#) && events[0]["partnerid"] == "acme");

    assert_eq!(service.metric("syncomatic_redacted_lines_total", None), 2);
    assert_eq!(
        service.metric("syncomatic_redacted_fields_total", Some("undeclared")),
        2
    );
    assert_eq!(
        service.metric("syncomatic_redacted_fields_total", Some("hashed")),
        4
    );
    assert_eq!(
        service.metric("syncomatic_objects_total", Some("=>eu/:redacted")),
        1
    );
    assert_eq!(service.metric("syncomatic_in_flight_bytes", None), 0);
    assert_eq!(keys(&world, QUARANTINE).await, [""; 0]);
    service.stop().await.expect("drained");
}

/// As with verbatim copies: some clients made how an upload travelled a part of the object.
#[tokio::test(flavor = "multi_thread")]
async fn aws_chunked_is_not_stored_with_a_redacted_copy() {
    let world = World::new().await;
    let service = world.run(config(&world));
    let encodings = [("AWS-Chunked", None), ("AWS-Chunked,gzip", Some("gzip"))];
    for (stored, _) in encodings {
        let lines = gzip(&format!("{}\n", event(1)));
        world
            .put_encoded(&format!("{stored}.jsonl.gz"), lines, stored)
            .await;
    }
    world.until_queue_is_empty().await;
    for (stored, expected) in encodings {
        let key = format!("eu/{stored}.jsonl.gz");
        let arrived = world.get_destination(&key).await.expect("arrived");
        assert_eq!(arrived.content_encoding.as_deref(), expected, "{stored}");
        let body = arrived.body.collect().await.expect("a body").into_bytes();
        assert_eq!(gunzip(&body).lines().count(), 1, "{stored}");
    }
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redelivery_costs_two_looks_and_a_new_policy_a_copy() {
    let world = World::new().await;
    let service = world.run(config(&world));
    world.put_source("a", event(1)).await;
    world.until_queue_is_empty().await;

    let operations = ["s3:HeadObject", "s3:GetObject", "s3:PutObject"];
    let (source, destination) = (
        Calls::count(&world.china, &operations),
        Calls::count(&world.europe, &operations),
    );
    world.send(&message(&[record(SOURCE_BUCKET, "a")])).await;
    until("it was looked at", async || service.records("already_there") == 1).await;
    world.until_queue_is_empty().await;
    assert_eq!(
        (source.since(), destination.since()),
        (vec![1, 0, 0], vec![1, 0, 0])
    );
    let first = world.destination_bytes("eu/a").await.expect("there");
    service.stop().await.expect("drained");

    let mut stricter = config(&world);
    stricter.redacted = Some(redacted(OnCanary::Quarantine));
    let service = world.run(stricter);
    world.send(&message(&[record(SOURCE_BUCKET, "a")])).await;
    until("it is copied again", async || service.records("copied") == 1).await;
    assert_eq!(world.destination_bytes("eu/a").await, Some(first));
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_were_changed_under_a_true_marker_are_replaced() {
    let world = World::new().await;
    let service = world.run(config(&world));
    world.put_source("a", event(1)).await;
    world.until_queue_is_empty().await;
    let copied = world.get_destination("eu/a").await.expect("copied");
    let metadata = copied.metadata.clone();
    let bytes = copied.body.collect().await.expect("a body").to_vec();
    let put = world
        .destination
        .s3
        .put_object()
        .bucket(DESTINATION_BUCKET)
        .key("eu/a");
    let put = put
        .set_metadata(metadata)
        .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
        .body(vec![b'x'; bytes.len()].into());
    put.send().await.expect("stored");
    world.send(&message(&[record(SOURCE_BUCKET, "a")])).await;
    until("it is copied again", async || service.records("copied") == 2).await;
    assert_eq!(world.destination_bytes("eu/a").await, Some(bytes));
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_may_not_pass_stay_on_the_source_side_once() {
    let world = World::new().await;
    // The quarantine is written, the copy is not: the next try finds its own quarantine.
    world
        .europe
        .faults()
        .inject(Rule::on("s3:PutObject").times(1).fail(500, "InternalError"));
    let service = world.run(config(&world));
    let bad = format!("not json, {SECRET}");
    let unknown = format!(r#"{{"eventtype":"party","schemaversion":"1-0-0","guest":"{SECRET}"}}"#);
    world
        .put_source("a", format!("{}\n{bad}\n{unknown}\n{}\n", event(1), event(2)))
        .await;
    until("copied", async || service.records("copied") == 1).await;
    until("the quarantine's own notification is let go", async || {
        service.records("denied_own_object") >= 1
    })
    .await;
    world.until_queue_is_empty().await;

    let text = String::from_utf8(world.destination_bytes("eu/a").await.expect("there")).expect("UTF-8");
    assert_eq!(text.lines().count(), 2);
    let keys = keys(&world, QUARANTINE).await;
    assert_eq!(keys.len(), 1, "{keys:?}");
    let kept = String::from_utf8(source_bytes(&world, &keys[0]).await).expect("UTF-8");
    let raw: Vec<_> = kept
        .lines()
        .map(|line| {
            let entry: Value = serde_json::from_str(line).expect("JSON");
            BASE64_STANDARD
                .decode(entry["raw"].as_str().expect("text"))
                .expect("base64")
        })
        .collect();
    assert_eq!(raw, [bad.into_bytes(), unknown.into_bytes()]);
    let count = |reason| service.metric("syncomatic_quarantined_lines_total", Some(reason));
    assert_eq!((count("not_an_event"), count("unknown_type")), (1, 1));
    assert_eq!(world.destination_bytes(&format!("eu/{}", keys[0])).await, None);
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_object_in_the_quarantine_is_never_overwritten() {
    let world = World::new().await;
    world.create_dead_letter_queue().await;
    let mut config = config(&world);
    config.dead_letter_queue = Some(syncomatic::config::Queue::Name(
        crate::harness::DEAD_LETTERS.to_owned(),
    ));
    let service = world.run(config);
    world.put_source("a", "bad\n").await;
    until("copied", async || service.records("copied") == 1).await;
    world.until_queue_is_empty().await;
    let key = keys(&world, QUARANTINE).await.pop().expect("a quarantine");
    world.put_source(&key, "foreign").await;
    let delete = world
        .destination
        .s3
        .delete_object()
        .bucket(DESTINATION_BUCKET)
        .key("eu/a");
    delete.send().await.expect("deleted");
    world.send(&message(&[record(SOURCE_BUCKET, "a")])).await;
    until("it is set aside", async || service.records("rejected") == 1).await;
    assert_eq!(source_bytes(&world, &key).await, b"foreign");
    assert_eq!(world.destination_bytes("eu/a").await, None);
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_longer_than_a_part_goes_in_parts_and_leaves_none_behind() {
    let world = World::new().await;
    // Few and long, which is quicker than many.
    let event = format!(
        r#"{{"eventtype":"play","schemaversion":"1-0-0","friend":"{SECRET}","track":"{}"}}"#,
        "la".repeat(10_000)
    );
    let lines = format!("{event}\n").repeat(600);
    world
        .europe
        .faults()
        .inject(Rule::on("s3:UploadPart").times(1).fail(500, "InternalError"));
    world
        .europe
        .faults()
        .inject(Rule::on("s3:CompleteMultipartUpload").times(1).lose_answer());
    let service = world.run(config(&world));
    world.put_source("large", lines).await;
    // The first try loses a part, the second its last answer: the third finds it in place.
    until("in place", async || service.records("already_there") == 1).await;
    world.until_queue_is_empty().await;
    let text = String::from_utf8(world.destination_bytes("eu/large").await.expect("there")).expect("UTF-8");
    assert_eq!(text.lines().count(), 600);
    assert!(!text.contains(SECRET));
    assert!(text.len() > 10 << 20, "this test is about several parts");
    assert_eq!(open_uploads(&world).await, 0);
    let faults = world.europe.faults();
    assert_eq!(faults.injected("s3:UploadPart"), 1);
    assert_eq!(faults.injected("s3:CompleteMultipartUpload"), 1);

    world.send(&message(&[record(SOURCE_BUCKET, "large")])).await;
    until("it is found in place", async || {
        service.records("already_there") == 2
    })
    .await;
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_cut_off_starts_again_and_writes_the_same() {
    let world = World::new().await;
    let lines: String = (0..3_000).map(|number| event(number) + "\n").collect();
    let object = gzip(&lines);
    let cut = u64::try_from(object.len() / 2).expect("small");
    world
        .china
        .faults()
        .inject(Rule::on("s3:GetObject").times(2).cut_off_answer_after(cut));
    let service = world.run(config(&world));
    world.put_source("a.gz", object.clone()).await;
    world.put_source("b.gz", object).await;
    until("copied", async || service.records("copied") == 2).await;
    world.until_queue_is_empty().await;
    let one = world.destination_bytes("eu/a.gz").await.expect("there");
    assert_eq!(gunzip(&one).lines().count(), 3_000);
    assert!(Some(one) == world.destination_bytes("eu/b.gz").await);
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_or_named_is_set_aside_with_its_reason() {
    let world = World::new().await;
    let letters = world.create_dead_letter_queue().await;
    let mut config = config(&world);
    config.dead_letter_queue = Some(syncomatic::config::Queue::Name(
        crate::harness::DEAD_LETTERS.to_owned(),
    ));
    let service = world.run(config);
    let whole = gzip(&event(1));
    world.put_source("cut.gz", &whole[..whole.len() - 4]).await;
    world
        .put_source("mail/jane.doe@example.org.jsonl", event(1))
        .await;
    until("both are dead letters", async || {
        world.queue_depth(&letters).await.0 == 2
    })
    .await;
    assert_eq!(service.records("denied_personal_key"), 1);
    assert_eq!(
        service.metric("syncomatic_objects_total", Some("unredactable")),
        1
    );
    let list = world.destination.s3.list_objects_v2().bucket(DESTINATION_BUCKET);
    assert_eq!(list.send().await.expect("listed").key_count, Some(0));
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redacted_route_that_nothing_explains_copies_nothing() {
    let world = World::new().await;
    let mut config = config(&world);
    config.redacted = None;
    let service = world.run(config);
    world.put_source("a", event(1)).await;
    until("it is denied", async || service.records("denied_no_route") == 1).await;
    assert_eq!(world.destination_bytes("eu/a").await, None);
    service.stop().await.expect("drained");
}
