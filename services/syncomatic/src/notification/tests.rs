use proptest::prelude::*;
use serde_json::json;

use super::*;

fn record(version: &str, name: &str, key: &str) -> Value {
    json!({
        "eventVersion": version, "eventSource": "aws:s3", "awsRegion": "cn-north-1",
        "eventTime": "2026-03-01T12:00:00.000Z", "eventName": name,
        "s3": {
            "s3SchemaVersion": "1.0", "configurationId": "new-objects",
            "bucket": {"name": "source", "arn": "arn:aws-cn:s3:::source"},
            "object": {"key": key, "size": 1024, "eTag": "d41d8cd98f00b204e9800998ecf8427e", "sequencer": "0055AED6DCD90281E5"}
        }
    })
}

fn event_bridge_event(kind: &str, key: &str) -> Value {
    json!({
        "version": "0", "detail-type": kind, "source": "aws.s3", "time": "2026-03-01T12:00:00Z", "region": "cn-north-1",
        "detail": {"version": "0", "bucket": {"name": "source"}, "object": {"key": key, "size": 5, "sequencer": "00"}, "reason": "PutObject"}
    })
}

fn in_sns(message: &Value) -> String {
    json!({"Type": "Notification", "TopicArn": "arn:aws-cn:sns:cn-north-1:1:t", "Message": message.to_string()}).to_string()
}

/// The keys of the objects created, in order.
fn created(body: &str) -> Vec<String> {
    let Ok(Notification::Records(records)) = parse(body) else {
        panic!("no records");
    };
    let keys = records.into_iter().filter_map(|record| match record {
        Ok(Record::Created(object)) => Some(object.key),
        _ => None,
    });
    keys.collect()
}

#[test]
fn every_field_that_is_used_is_read() {
    let body = json!({"Records": [record("2.1", "ObjectCreated:Put", "2026/a+b%2Bc.gz")]}).to_string();
    let expected = ObjectCreated {
        bucket: "source".into(),
        key: "2026/a b+c.gz".into(),
        sequencer: Some("0055AED6DCD90281E5".into()),
        event_time: Some("2026-03-01T12:00:00Z".parse().expect("a time")),
    };
    assert_eq!(
        parse(&body),
        Ok(Notification::Records(vec![Ok(Record::Created(expected))]))
    );
}

#[test]
fn any_minor_version_is_read_and_another_major_is_refused() {
    for version in ["2.0", "2.1", "2.2", "2.3", "2.47"] {
        let body = json!({"Records": [record(version, "ObjectCreated:CompleteMultipartUpload", "a")]});
        assert_eq!(created(&body.to_string()), ["a"], "{version}");
    }
    for version in ["1.0", "3.0", "20.1", ""] {
        let body = json!({"Records": [record(version, "ObjectCreated:Put", "a")]}).to_string();
        assert_eq!(
            parse(&body),
            Ok(Notification::Records(vec![Err(Malformed::Version)])),
            "{version}"
        );
    }
}

#[test]
fn each_record_of_a_message_has_its_own_verdict() {
    let mut without_key = record("2.1", "ObjectCreated:Put", "x");
    without_key["s3"]["object"]
        .as_object_mut()
        .expect("an object")
        .remove("key");
    let records = json!([
        record("2.1", "ObjectCreated:Put", "a"),
        without_key,
        record("2.1", "ObjectRemoved:Delete", "b"),
        record("2.1", "ObjectCreated:Copy", "c"),
        7,
    ]);
    let Ok(Notification::Records(verdicts)) = parse(&json!({"Records": records}).to_string()) else {
        panic!("records");
    };
    assert!(matches!(&verdicts[0], Ok(Record::Created(object)) if object.key == "a"));
    assert_eq!(verdicts[1], Err(Malformed::Field("s3.object.key")));
    assert_eq!(verdicts[2], Ok(Record::OtherEvent));
    assert!(matches!(&verdicts[3], Ok(Record::Created(object)) if object.key == "c"));
    assert_eq!(verdicts[4], Err(Malformed::Field("eventVersion")));
}

#[test]
fn optional_fields_may_be_missing() {
    let body = json!({"Records": [{
        "eventVersion": "2.1", "eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": "k"}}
    }]});
    let Ok(Notification::Records(records)) = parse(&body.to_string()) else {
        panic!("records");
    };
    let expected = ObjectCreated {
        bucket: "b".into(),
        key: "k".into(),
        sequencer: None,
        event_time: None,
    };
    assert_eq!(records, [Ok(Record::Created(expected))]);
}

#[test]
fn envelopes_are_opened() {
    let s3 = json!({"Records": [record("2.1", "ObjectCreated:Put", "a%2Fb+c")]});
    assert_eq!(created(&in_sns(&s3)), ["a/b c"]);
    assert_eq!(
        created(&event_bridge_event("Object Created", "a%2Fb+c").to_string()),
        ["a%2Fb+c"]
    );
    assert_eq!(
        created(&in_sns(&event_bridge_event("Object Created", "k"))),
        ["k"]
    );
    let deleted = event_bridge_event("Object Deleted", "k").to_string();
    assert_eq!(
        parse(&deleted),
        Ok(Notification::Records(vec![Ok(Record::OtherEvent)]))
    );
}

#[test]
fn test_events_create_nothing() {
    let test = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-03-01T12:00:00.000Z", "Bucket": "source"});
    assert_eq!(parse(&test.to_string()), Ok(Notification::TestEvent));
    assert_eq!(parse(&in_sns(&test)), Ok(Notification::TestEvent));
}

#[test]
fn what_is_not_a_notification_is_named() {
    for (body, malformed) in [
        ("", Malformed::NotJson),
        ("{\"Records\"", Malformed::NotJson),
        ("[]", Malformed::UnknownShape),
        ("{}", Malformed::UnknownShape),
        ("{\"Records\": {}}", Malformed::UnknownShape),
        ("{\"Records\": []}", Malformed::NoRecords),
        ("{\"source\": \"aws.ec2\"}", Malformed::UnknownShape),
        (
            "{\"Type\": \"Notification\", \"Message\": \"hello\"}",
            Malformed::NotJson,
        ),
        (
            "{\"Type\": \"SubscriptionConfirmation\", \"Message\": \"{}\"}",
            Malformed::UnknownShape,
        ),
    ] {
        assert_eq!(parse(body), Err(malformed), "{body}");
    }
}

#[test]
fn keys_that_cannot_be_decoded_are_refused_rather_than_guessed() {
    for key in [
        "",
        "%",
        "a%2",
        "a%zz",
        "%+1",
        "%ff",
        "%C3",
        "%ED%A0%80",
        &"a".repeat(1025),
    ] {
        let body = json!({"Records": [record("2.1", "ObjectCreated:Put", key)]}).to_string();
        assert_eq!(
            parse(&body),
            Ok(Notification::Records(vec![Err(Malformed::Key)])),
            "{key:?}"
        );
    }
    assert_eq!(decode_form("%e6%bc%a2%E5%AD%97"), Some("漢字".into()));
}

/// JSON of the shapes a message can have, with anything in the places that are read.
fn near_notification() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("2.1")),
        Just(json!("ObjectCreated:Put")),
        Just(json!("Notification")),
        Just(json!("{\"Records\":[{}]}")),
        Just(json!("aws.s3")),
    ];
    let names = prop::sample::select(vec![
        "Records",
        "Type",
        "Message",
        "Event",
        "source",
        "detail",
        "detail-type",
        "eventVersion",
        "eventName",
        "s3",
        "bucket",
        "name",
        "object",
        "key",
        "eventTime",
        "time",
    ]);
    leaf.prop_recursive(6, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names.clone().prop_map(str::to_owned), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_key_survives_the_form_encoding(key in "\\PC{1,200}|[+%&=?# /.\\[\\]\u{0}-\u{1f}ü漢🎧]{1,200}") {
        let encoded: String = form_urlencoded::byte_serialize(key.as_bytes()).collect();
        let body = json!({"Records": [record("2.1", "ObjectCreated:Put", &encoded)]}).to_string();
        prop_assert_eq!(created(&body), [key]);
    }

    #[test]
    fn arbitrary_json_never_panics(value in near_notification()) {
        let _ = parse(&value.to_string());
        let _ = parse(&in_sns(&value));
    }

    #[test]
    fn arbitrary_text_never_panics_and_errors_do_not_quote_it(body in "\\PC{8,64}") {
        if let Err(malformed) = parse(&body) {
            prop_assert!(!malformed.to_string().contains(&body));
        }
    }
}
