//! Every key that S3 takes arrives under itself, whichever way it comes and goes.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::harness::{JOURNAL_PREFIX, SOURCE_BUCKET, World, message, record, until};

fn awkward() -> Vec<String> {
    let mut keys: Vec<String> = [
        "plus+plus",
        "per%cent",
        "per%25cent",
        "per%2Fcent",
        "and&and",
        "is=is",
        "why?why",
        "hash#hash",
        "[brackets]",
        "{braces}",
        "space space",
        " space at both ends ",
        "a/b/c",
        "a//b",
        "/a",
        "a/",
        "a///",
        "./a",
        "../a",
        "a/./b",
        "a/../b",
        "..",
        ".",
        "ü/漢字/🎧",
        "e\u{301}",
        "quote\"'<>|\\^`~*!$,;:@()",
        "tab\there",
        "line\nbreak",
        "a=b&c=d+e%20f",
    ]
    .map(str::to_owned)
    .into();
    keys.push("k".repeat(1024));
    // 1,024 bytes in 342 characters, the last of them cut nowhere.
    keys.push(format!("{}k", "漢".repeat(341)));
    assert!(keys.iter().rev().take(2).all(|key| key.len() == 1024));
    keys
}

async fn all_arrive(world: &World) {
    for key in awkward() {
        let arrived = world.destination_bytes(&key).await;
        assert_eq!(arrived.as_deref(), Some(key.as_bytes()), "{key:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_one_piece() {
    let world = World::new().await;
    let service = world.run(world.config());
    for key in awkward() {
        world.put_source(&key, key.as_str()).await;
    }
    world.until_queue_is_empty().await;
    all_arrive(&world).await;
    assert_eq!(service.records("copied"), awkward().len() as u64);
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_parts() {
    let world = World::new().await;
    let mut config = world.config();
    config.limits.multipart_threshold_bytes = 0;
    let service = world.run(config);
    for key in awkward() {
        world.put_source(&key, key.as_str()).await;
    }
    world.until_queue_is_empty().await;
    all_arrive(&world).await;
    assert_eq!(
        service.metric("syncomatic_parts_total", None),
        awkward().len() as u64
    );
    assert_eq!(world.uploads().await, (0, 0), "nothing below {JOURNAL_PREFIX}");
    service.stop().await.expect("drained");
}

/// S3 form-encodes keys in its records, others escape more than they need; EventBridge does neither.
#[tokio::test(flavor = "multi_thread")]
async fn by_every_kind_of_message() {
    let world = World::without_queue().await;
    world.create_queue().await;
    let service = world.run(world.config());
    let escaped = |key: &str| utf8_percent_encode(key, NON_ALPHANUMERIC).to_string();
    let form = |key: &str| form_urlencoded::byte_serialize(key.as_bytes()).collect::<String>();
    for (number, key) in awkward().into_iter().enumerate() {
        world.put_source(&key, key.as_str()).await;
        let bridge = json!({"detail-type": "Object Created", "source": "aws.s3", "time": "2026-03-01T12:00:00Z",
            "detail": {"bucket": {"name": SOURCE_BUCKET}, "object": {"key": key}}});
        let body = match number % 4 {
            0 => message(&[record(SOURCE_BUCKET, &form(&key))]),
            1 => message(&[record(SOURCE_BUCKET, &escaped(&key))]),
            2 => json!({"Type": "Notification", "Message": bridge.to_string()}).to_string(),
            _ => bridge.to_string(),
        };
        world.send(&body).await;
    }
    until("all are copied", async || {
        service.records("copied") == awkward().len() as u64
    })
    .await;
    world.until_queue_is_empty().await;
    all_arrive(&world).await;
    service.stop().await.expect("drained");
}
