use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use event_model::Catalogue;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{HashKey, OnCanary, Options};
use super::*;

fn key(digit: char) -> HashKey {
    HashKey::from_hex("k1", &digit.to_string().repeat(64)).expect("a key")
}

fn bundled(on_canary: OnCanary) -> Redaction {
    let options = Options {
        on_canary,
        ..Options::default()
    };
    Redaction::new(&Catalogue::bundled().expect("bundled"), key('a'), options)
}

fn redact(redaction: &Redaction, line: &str) -> Result<String, Reason> {
    let mut output = b"before".to_vec();
    let mut tally = Tally::new(redaction.event_types().len());
    let redacted = redaction.redact_line(line.as_bytes(), &mut output, &mut tally);
    let output = String::from_utf8(output).expect("UTF-8");
    let output = output.strip_prefix("before").expect("nothing before is touched");
    assert_eq!(tally.lines(), u64::from(redacted.is_ok()));
    assert_eq!(redacted.is_err(), output.is_empty());
    redacted.map(|()| output.to_owned())
}

/// What goes in the place of a value.
fn hashed(redaction: &Redaction, text: &str) -> String {
    let mut value = Vec::new();
    redaction.key.write_value(text, &mut value);
    String::from_utf8(value).expect("ASCII")
}

#[test]
fn kept_bytes_stay_hashes_replace_and_nothing_else_passes() {
    let redaction = bundled(OnCanary::Count);
    let line = r#" {"eventid":"0192f0c1-7a3e-7c54-9f0e-3b6d5a2c0001" , "eventtype":"voicefeedback","schemaversion":"1-0-0","partnerid":"acme","countrycode":"cn","receivedtime":"2026-03-02T19:02:11.408Z","devic\u0065id":"spk-1","userid":"u\u002d1","utterance":"call jane","confidence":0.930,"language":"zh\u002dCN","nickname":"jane"} "#;
    let expected = format!(
        concat!(
            r#"{{"eventid":"0192f0c1-7a3e-7c54-9f0e-3b6d5a2c0001","eventtype":"voicefeedback","schemaversion":"1-0-0","#,
            r#""partnerid":"acme","countrycode":"cn","receivedtime":"2026-03-02T19:02:11.408Z","deviceid":"{}","userid":"{}","#,
            r#""confidence":0.930,"language":"zh\u002dCN"}}"#,
            "\n"
        ),
        hashed(&redaction, "spk-1"),
        hashed(&redaction, "u-1"),
    );
    assert_eq!(redact(&redaction, line), Ok(expected));
}

#[test]
fn what_has_no_single_meaning_is_quarantined() {
    let redaction = bundled(OnCanary::Count);
    let event = |rest: &str| format!(r#"{{"eventtype":"play","schemaversion":"1-0-0"{rest}}}"#);
    let many: String = (0..MEMBERS_MAX)
        .map(|number| format!(r#","x{number}":1"#))
        .collect();
    for (line, reason) in [
        (String::new(), Reason::NotAnEvent),
        ("[]".into(), Reason::NotAnEvent),
        ("jane@example.org".into(), Reason::NotAnEvent),
        (event(r#","track":"\ud800""#), Reason::NotAnEvent),
        (event("") + "{}", Reason::NotAnEvent),
        (event(&many), Reason::NotAnEvent),
        ("{}".into(), Reason::UnknownType),
        (
            r#"{"eventtype":7,"schemaversion":"1-0-0"}"#.into(),
            Reason::UnknownType,
        ),
        (
            r#"{"eventtype":"party","schemaversion":"1-0-0"}"#.into(),
            Reason::UnknownType,
        ),
        (r#"{"eventtype":"play"}"#.into(), Reason::UnknownVersion),
        (
            r#"{"eventtype":"play","schemaversion":"1-0-1"}"#.into(),
            Reason::UnknownVersion,
        ),
        (event(r#","track":"a","tr\u0061ck":"b""#), Reason::DuplicateName),
        (event(r#","eventtype":"voicefeedback""#), Reason::DuplicateName),
        (event(r#","track":{"jane":1}"#), Reason::Nested),
        (event(r#","track":["jane"]"#), Reason::Nested),
        (event(r#","userid":["jane"]"#), Reason::Nested),
    ] {
        assert_eq!(redact(&redaction, &line), Err(reason), "{line}");
    }
    assert!(redact(&redaction, &event(r#","secret":{"jane":["x"]},"userid":null"#)).is_ok());
}

#[test]
fn a_canary_is_counted_and_withholds_the_line_where_it_is_asked_to() {
    let line = r#"{"eventtype":"play","schemaversion":"1-0-0","track":"by jane\u0040example.org","firmware":"1.2.3.4"}"#;
    for (on_canary, passes) in [(OnCanary::Count, true), (OnCanary::Quarantine, false)] {
        let redaction = bundled(on_canary);
        let mut tally = Tally::new(redaction.event_types().len());
        let mut output = Vec::new();
        let redacted = redaction.redact_line(line.as_bytes(), &mut output, &mut tally);
        assert_eq!(redacted, if passes { Ok(()) } else { Err(Reason::Canary) });
        let found: Vec<_> = tally
            .canaries()
            .map(|(pattern, count)| (pattern.as_str(), count))
            .collect();
        assert_eq!(found, [("email", 1)]);
    }
}

/// One field of a random event.
#[derive(Clone, Debug)]
struct Member {
    /// `None`: no schema declares it.
    pii: Option<&'static str>,
    value: Value,
    /// Spells the first letter of the name as an escape.
    escaped_name: bool,
    /// Spells the whole value in escapes.
    escaped_value: bool,
}

/// Values that no other part of a line is likely to hold: each has a mark of its own.
fn value() -> impl Strategy<Value = Value> {
    let mark = "[A-Z]{6}[0-9]{4}";
    prop_oneof![
        (mark, any::<String>()).prop_map(|(mark, text)| Value::from(format!("{mark}{text}"))),
        (mark, "[ \"\\\\/\n\t漢ü🎧&=]{1,8}")
            .prop_map(|(mark, text)| Value::from(format!("{text}{mark}{text}"))),
        (1_000_000_000_000_u64..).prop_map(Value::from),
    ]
}

fn member() -> impl Strategy<Value = Member> {
    let pii = prop_oneof![
        Just(None),
        Just(Some("keep")),
        Just(Some("hash")),
        Just(Some("drop"))
    ];
    (pii, value(), any::<bool>(), any::<bool>()).prop_map(|(pii, value, escaped_name, escaped_value)| {
        Member {
            pii,
            value,
            escaped_name,
            escaped_value,
        }
    })
}

fn name(index: usize) -> String {
    format!("field{index}")
}

/// A schema that declares the members as they say.
fn schema(members: &[Member]) -> Value {
    let mut properties = json!({
        "eventtype": {"const": "random", "x-pii": "keep"}, "schemaversion": {"const": "1-0-0", "x-pii": "keep"},
        "eventid": {"type": "string", "x-pii": "keep"}, "eventtime": {"type": "string", "x-pii": "keep"},
        "deviceid": {"type": "string", "x-pii": "hash"}, "userid": {"type": "string", "x-pii": "hash"},
    });
    for (index, member) in members.iter().enumerate() {
        if let Some(pii) = member.pii {
            properties[name(index)] = json!({"type": ["string", "number", "boolean", "null"], "x-pii": pii});
        }
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "x-producer": ["device"],
        "type": "object", "additionalProperties": false, "properties": properties,
    })
}

/// Every character as `\uXXXX`.
fn escaped(text: &str) -> String {
    text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
}

/// The value as it is spelled in the line.
fn spelled(member: &Member) -> String {
    match &member.value {
        Value::String(text) if member.escaped_value => format!("\"{}\"", escaped(text)),
        value => value.to_string(),
    }
}

fn line(members: &[Member]) -> String {
    let mut line = String::from(r#"{"eventtype":"random","schemaversion":"1-0-0""#);
    for (index, member) in members.iter().enumerate() {
        let name = name(index);
        let name = if member.escaped_name {
            name.replace('f', "\\u0066")
        } else {
            name
        };
        line += &format!(",\"{name}\":{}", spelled(member));
    }
    line + "}"
}

/// A value in every form that somebody might look for it in.
fn forms(value: &Value) -> Vec<String> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let hex = |bytes: &[u8]| super::super::hex(bytes);
    vec![
        value.to_string(),
        escaped(&text),
        BASE64_STANDARD.encode(&text),
        BASE64_URL_SAFE_NO_PAD.encode(&text),
        utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string(),
        hex(text.as_bytes()),
        // The mark alone: a part of the value is as bad.
        text.chars()
            .filter(char::is_ascii_alphanumeric)
            .collect::<String>(),
        text,
    ]
}

fn random_redaction(members: &[Member], digit: char) -> Redaction {
    let documents = [("random/1-0-0.json", schema(members).to_string())];
    let catalogue = Catalogue::from_documents(documents).expect("a schema");
    Redaction::new(&catalogue, key(digit), Options::default())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The proof: what is dropped, hashed or undeclared is in no form in what passes, whatever the schema
    /// says of it and however the line spells it; what is kept is there to the byte.
    #[test]
    fn nothing_passes_that_a_schema_does_not_let_pass(members in prop::collection::vec(member(), 1..8)) {
        let redaction = random_redaction(&members, 'a');
        let output = redact(&redaction, &line(&members)).expect("an event");
        let passed: Value = serde_json::from_str(&output).expect("one JSON object");
        for (index, member) in members.iter().enumerate() {
            let name = name(index);
            if member.pii == Some("keep") {
                let kept = format!("\"{name}\":{}", spelled(member));
                prop_assert!(output.contains(&kept), "{output} lacks {kept}");
                continue;
            }
            prop_assert_eq!(passed.get(&name).is_some(), member.pii == Some("hash"));
            for form in forms(&member.value) {
                let kept_by_chance = members.iter().any(|other| other.pii == Some("keep") && spelled(other).contains(&form));
                prop_assert!(kept_by_chance || !output.contains(&form), "{output} holds {form}");
            }
        }
    }

    /// Joins go on to work, and another key gives nothing to join with.
    #[test]
    fn a_hash_is_the_same_in_every_field_and_object_and_under_no_other_key(value in value(), spelling in any::<bool>()) {
        let member = |escaped_value| Member { pii: Some("hash"), value: value.clone(), escaped_name: false, escaped_value };
        let hash = |digit, members: &[Member], field: &str| {
            let output = redact(&random_redaction(members, digit), &line(members)).expect("an event");
            let output: Value = serde_json::from_str(&output).expect("one JSON object");
            output[field].as_str().expect("a hash").to_owned()
        };
        let here = hash('a', &[member(false)], "field0");
        let there = hash('a', &[Member { pii: Some("keep"), ..member(false) }, member(spelling)], "field1");
        prop_assert_eq!(&here, &there);
        prop_assert!(here.starts_with("k1:") && here.len() == 25, "{}", here);
        prop_assert_ne!(here, hash('b', &[member(false)], "field0"));
    }

    #[test]
    fn no_line_makes_it_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let redaction = bundled(OnCanary::Quarantine);
        let _ = redaction.redact_line(&line, &mut Vec::new(), &mut Tally::new(7));
    }
}
