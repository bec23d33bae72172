//! Messages of every shape: understood, let go, or set aside with a reason, and never in a loop.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use syncomatic::config::Queue;

use crate::harness::{DEAD_LETTERS, SOURCE_BUCKET, World, message, record, until};

/// What S3 sends when a notification is configured.
fn test_event() -> Value {
    json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-03-01T12:00:00.000Z",
        "Bucket": SOURCE_BUCKET, "RequestId": "5582815E1AEA5ADF", "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3e"})
}

fn bridge(kind: &str, key: &str) -> Value {
    json!({"version": "0", "id": "17793124-05d4-b198-2fde-7ededc63b103", "detail-type": kind, "source": "aws.s3",
        "account": "111122223333", "time": "2026-03-01T12:00:00Z", "region": "cn-north-1",
        "detail": {"version": "0", "bucket": {"name": SOURCE_BUCKET}, "object": {"key": key, "size": 1}}})
}

fn sns(message: &str) -> String {
    json!({"Type": "Notification", "MessageId": "22b80b92", "TopicArn": "arn:aws-cn:sns:cn-north-1:111122223333:new",
        "Subject": "Amazon S3 Notification", "Message": message, "Timestamp": "2026-03-01T12:00:00.000Z"})
    .to_string()
}

fn with(key: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut record = record(SOURCE_BUCKET, key);
    change(&mut record);
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_a_notification_is_understood_in_every_envelope() {
    let world = World::without_queue().await;
    world.create_queue().await;
    for number in 0..9 {
        world.put_source(&number.to_string(), "x").await;
    }
    let service = world.run(world.config());
    let newer = with("1", |record| record["eventVersion"] = json!("2.9"));
    let bare = json!({"eventVersion": "2.0", "eventName": "ObjectCreated:CompleteMultipartUpload",
        "s3": {"bucket": {"name": SOURCE_BUCKET}, "object": {"key": "2"}}});
    let removed = with("0", |record| record["eventName"] = json!("ObjectRemoved:Delete"));
    let several = message(&[
        record(SOURCE_BUCKET, "3"),
        removed.clone(),
        record(SOURCE_BUCKET, "4"),
    ]);
    for body in [
        message(&[record(SOURCE_BUCKET, "0")]),
        message(&[newer, bare]),
        several,
        sns(&message(&[
            record(SOURCE_BUCKET, "5"),
            record(SOURCE_BUCKET, "6"),
        ])),
        bridge("Object Created", "7").to_string(),
        sns(&bridge("Object Created", "8").to_string()),
        test_event().to_string(),
        sns(&test_event().to_string()),
        message(&[removed]),
        bridge("Object Deleted", "0").to_string(),
    ] {
        world.send(&body).await;
    }
    until("all are copied", async || service.records("copied") == 9).await;
    world.until_queue_is_empty().await;
    assert_eq!(service.records("test_event"), 2);
    assert_eq!(service.records("other_event"), 3);
    assert_eq!(service.records("malformed"), 0);
    service.stop().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_none_is_set_aside_as_it_came_with_its_reason() {
    let world = World::without_queue().await;
    world.create_queue().await;
    let url = world.create_dead_letter_queue().await;
    let mut config = world.config();
    config.dead_letter_queue = Some(Queue::Name(DEAD_LETTERS.to_owned()));
    let service = world.run(config);
    let without = |pointer: &str, name: &str| {
        with("a", |record| {
            let parent = record.pointer_mut(pointer).and_then(Value::as_object_mut);
            parent.expect("an object").remove(name);
        })
    };
    let set_aside = [
        ("not_json", "hello".to_owned()),
        ("not_json", "{\"Records\": [".to_owned()),
        ("not_json", sns("hello")),
        ("unknown_shape", "[]".to_owned()),
        ("unknown_shape", "null".to_owned()),
        ("unknown_shape", "{\"Records\": {}}".to_owned()),
        ("unknown_shape", sns("{\"hello\": 1}")),
        (
            "unknown_shape",
            json!({"source": "aws.ec2", "detail-type": "Object Created"}).to_string(),
        ),
        (
            "unknown_shape",
            json!({"Type": "SubscriptionConfirmation", "Message": "confirm"}).to_string(),
        ),
        ("no_records", message(&[])),
        (
            "unsupported_version",
            message(&[with("a", |record| record["eventVersion"] = json!("3.0"))]),
        ),
        ("missing_field", message(&[without("", "eventVersion")])),
        ("missing_field", message(&[without("", "eventName")])),
        ("missing_field", message(&[without("/s3/object", "key")])),
        ("missing_field", message(&[without("/s3/bucket", "name")])),
        ("missing_field", message(&[json!("a record")])),
        ("invalid_key", message(&[record(SOURCE_BUCKET, "")])),
        ("invalid_key", message(&[record(SOURCE_BUCKET, "%zz")])),
        ("invalid_key", message(&[record(SOURCE_BUCKET, "%ff")])),
        (
            "invalid_key",
            message(&[record(SOURCE_BUCKET, &"k".repeat(1025))]),
        ),
    ];
    for (_, body) in &set_aside {
        world.send(body).await;
    }
    let mut letters = BTreeMap::new();
    while letters.len() < set_aside.len() {
        let receive = world.source.sqs.receive_message().queue_url(&url);
        let receive = receive.max_number_of_messages(10).message_attribute_names("All");
        let answer = receive.wait_time_seconds(5).send().await.expect("received");
        for letter in answer.messages.expect("a dead letter in time") {
            let reason = letter.message_attributes.as_ref().expect("attributes")["reason"]
                .string_value
                .clone();
            letters.insert(letter.body.expect("a body"), reason.expect("a reason"));
        }
    }
    for (reason, body) in &set_aside {
        assert_eq!(letters.get(body).map(String::as_str), Some(*reason), "{body}");
    }
    world.until_queue_is_empty().await;
    let received = service.metric("syncomatic_messages_received_total", None);
    assert_eq!(received, set_aside.len() as u64, "each was received once");
    service.stop().await.expect("drained");
}
