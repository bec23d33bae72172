//! An event of any bytes: what is stored is what was sent plus the server's fields, byte for byte, and
//! says the same to another parser.

#![no_main]

use event_model::{EventId, EventType, RawEvent, SERVER_SET_FIELDS, ServerFields, Tree};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const SERVER: &str = r#"{"partnerid":"northwind","clientid":"app \"1\"","countrycode":"cn","receivedtime":"1970-01-01T00:00:00.000Z","correctedtime":"1970-01-01T00:00:00.000Z""#;

fuzz_target!(|bytes: &[u8]| {
    let event = match RawEvent::parse(bytes, 32) {
        Ok(event) => event,
        Err(fault) => {
            assert!(fault.offset <= bytes.len());
            assert!(fault.pointer.len() <= 256);
            return;
        }
    };
    let sent: Value = serde_json::from_slice(bytes).expect("what is read here is JSON to others");
    assert!(same(event.tree(), &sent));
    assert!(SERVER_SET_FIELDS.iter().all(|name| sent.get(*name).is_none()));

    let fields = ServerFields {
        event_id: None,
        event_type: None,
        schema_version: None,
        partner_id: "northwind",
        client_id: "app \"1\"",
        country_code: Some("cn"),
        received_time: Timestamp::UNIX_EPOCH,
        corrected_time: Some(Timestamp::UNIX_EPOCH),
    };
    let line = fields.splice(&event);
    let mut expected = SERVER.as_bytes().to_vec();
    if sent != json!({}) {
        expected.push(b',');
    }
    let after_brace = bytes.trim_ascii()[1..].iter();
    expected.extend(after_brace.map(|byte| {
        if matches!(byte, b'\n' | b'\r') {
            b' '
        } else {
            *byte
        }
    }));
    assert_eq!(line, expected);

    let mut stored: Value = serde_json::from_slice(&line).expect("a stored line is JSON");
    let map = stored.as_object_mut().expect("an object");
    for name in SERVER_SET_FIELDS {
        map.remove(name).expect("the server set it");
    }
    assert_eq!(stored, sent);

    // What the client leaves out is the server's to add, and in front too.
    let (event_id, event_type) = (EventId::generate(), "play".parse::<EventType>());
    let event_type = event_type.expect("a type");
    if sent.get("eventid").is_none() && sent.get("eventtype").is_none() {
        let fields = ServerFields {
            event_id: Some(event_id),
            event_type: Some(&event_type),
            ..fields
        };
        let line: Value = serde_json::from_slice(&fields.splice(&event)).expect("JSON");
        assert_eq!(line["eventid"], event_id.to_string());
        assert_eq!(line["eventtype"], "play");
    }
});

/// Whether both say the same, whatever the order of names.
fn same(tree: &Tree<'_>, value: &Value) -> bool {
    match (tree, value) {
        (Tree::Null, Value::Null) => true,
        (Tree::Bool(one), Value::Bool(other)) => one == other,
        (Tree::Number(one), Value::Number(other)) => one == other,
        (Tree::Text(one), Value::String(other)) => one == other,
        (Tree::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Tree::Object(one), Value::Object(other)) => {
            let member = |name: &str| other.get(name);
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(name, one)| member(name).is_some_and(|other| same(one, other)))
        }
        _ => false,
    }
}
