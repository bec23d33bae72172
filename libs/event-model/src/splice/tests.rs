use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json, value::RawValue};

use super::*;

const BARE: ServerFields<'static> = ServerFields {
    event_id: None,
    event_type: None,
    schema_version: None,
    partner_id: "northwind",
    client_id: "northwind-app",
    country_code: None,
    received_time: Timestamp::UNIX_EPOCH,
    corrected_time: None,
};

fn spliced(fields: &ServerFields<'_>, json: &str) -> String {
    let event = RawEvent::parse(json.as_bytes(), 32).expect("well-formed");
    String::from_utf8(fields.splice(&event)).expect("UTF-8")
}

#[test]
fn the_server_s_fields_stand_in_front_of_the_client_s_bytes() {
    assert_eq!(
        spliced(&BARE, " {\"a\" : 1.50,\r\n \"b\":\"\\u00e5\\n\"}\n"),
        "{\"partnerid\":\"northwind\",\"clientid\":\"northwind-app\",\
         \"receivedtime\":\"1970-01-01T00:00:00.000Z\",\"a\" : 1.50,   \"b\":\"\\u00e5\\n\"}"
    );
}

#[test]
fn an_event_without_fields_leaves_no_comma() {
    for empty in ["{}", "{ \n }"] {
        let line = spliced(&BARE, empty);
        serde_json::from_str::<Value>(&line).expect("JSON");
    }
}

#[test]
fn every_field_the_server_knows_is_written() {
    let event_id: EventId = "0192f0c1-7a3e-7c54-9f0e-3b6d5a2c0001".parse().expect("a UUID");
    let event_type: EventType = "play".parse().expect("a type");
    let fields = ServerFields {
        event_id: Some(event_id),
        event_type: Some(&event_type),
        schema_version: Some("1-0-0".parse().expect("a version")),
        country_code: Some("cn"),
        received_time: "2026-03-02T08:14:09.1239Z".parse().expect("a time"),
        corrected_time: Some("2026-03-02T08:13:00Z".parse().expect("a time")),
        ..BARE
    };
    let line: Value = serde_json::from_str(&spliced(&fields, r#"{"a":1}"#)).expect("JSON");
    assert_eq!(
        line,
        json!({
            "eventid": "0192f0c1-7a3e-7c54-9f0e-3b6d5a2c0001",
            "eventtype": "play",
            "schemaversion": "1-0-0",
            "partnerid": "northwind",
            "clientid": "northwind-app",
            "countrycode": "cn",
            "receivedtime": "2026-03-02T08:14:09.123Z",
            "correctedtime": "2026-03-02T08:13:00.000Z",
            "a": 1,
        })
    );
}

#[test]
fn values_of_the_server_s_are_escaped() {
    let fields = ServerFields {
        partner_id: "a\"b\\\n",
        ..BARE
    };
    let line: Value = serde_json::from_str(&spliced(&fields, "{}")).expect("JSON");
    assert_eq!(line["partnerid"], "a\"b\\\n");
}

/// JSON values as clients may send them, numbers included that no float holds exactly.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Map<String, Value>> {
    let name = any::<String>().prop_filter("a client's own", |name| {
        !crate::SERVER_SET_FIELDS.contains(&name.as_str())
    });
    proptest::collection::btree_map(name, value(), 0..8).prop_map(|map| map.into_iter().collect())
}

/// Writes a value with white space, line breaks included, wherever JSON allows it.
fn write_loosely(value: &Value, spaces: &mut impl Iterator<Item = &'static str>, out: &mut String) {
    match value {
        Value::Object(map) => {
            out.push('{');
            for (index, (name, value)) in map.iter().enumerate() {
                let comma = if index > 0 { "," } else { "" };
                let name = Value::from(name.as_str());
                out.push_str(&format!("{comma}{}{name}{}:", next(spaces), next(spaces)));
                write_loosely(value, spaces, out);
            }
            out.push_str(next(spaces));
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                out.push_str(next(spaces));
                write_loosely(item, spaces, out);
            }
            out.push_str(next(spaces));
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

fn next(spaces: &mut impl Iterator<Item = &'static str>) -> &'static str {
    spaces.next().unwrap_or_default()
}

/// What the one permitted change makes of a piece of the client's text.
fn without_line_breaks(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

proptest! {
    #[test]
    fn the_stored_line_is_the_sent_object_plus_the_server_s_fields(
        sent in object(),
        spaces in proptest::collection::vec(
            prop_oneof![Just(""), Just(" "), Just("\n"), Just("\r\n"), Just("\t"), Just(" \n\n ")],
            0..40,
        ),
        country in proptest::option::of("[a-z]{2}"),
    ) {
        let mut body = String::new();
        let sent = Value::Object(sent);
        write_loosely(&sent, &mut spaces.into_iter(), &mut body);
        let event = RawEvent::parse(body.as_bytes(), MAX_DEPTH).expect("well-formed");
        let fields = ServerFields { country_code: country.as_deref(), ..BARE };
        let line = String::from_utf8(fields.splice(&event)).expect("UTF-8");

        // One line.
        prop_assert!(!line.contains(['\n', '\r']));

        // It says what was sent and what the server adds, nothing more and nothing less.
        let mut expected = event.tree().to_value();
        let map = expected.as_object_mut().expect("an object");
        map.insert("partnerid".to_owned(), json!("northwind"));
        map.insert("clientid".to_owned(), json!("northwind-app"));
        map.insert("receivedtime".to_owned(), json!("1970-01-01T00:00:00.000Z"));
        if let Some(country) = &country {
            map.insert("countrycode".to_owned(), json!(country));
        }
        prop_assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON"), expected);

        // Every byte of the client's is there, in its place.
        let tail = without_line_breaks(&body[1..]);
        prop_assert!(line.ends_with(&tail), "{line:?} does not end with {tail:?}");

        // And every value reads as it was spelt, digit for digit and escape for escape.
        let stored: BTreeMap<String, &RawValue> = serde_json::from_str(&line).expect("JSON");
        let original: BTreeMap<String, &RawValue> = serde_json::from_str(&body).expect("JSON");
        for (name, value) in original {
            prop_assert_eq!(stored[&name].get(), without_line_breaks(value.get()));
        }
    }
}

const MAX_DEPTH: usize = 32;
