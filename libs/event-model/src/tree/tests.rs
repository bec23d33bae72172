use jsonschema::{Draft, PatternOptions, Validator};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{RawEvent, SchemaError, bundled_documents, verdict};

/// The same schema for both representations.
struct Both {
    owned: Validator,
    borrowed: Validator<Borrowed>,
}

impl Both {
    fn compile(schema: &Value) -> Self {
        Self {
            owned: jsonschema::options()
                .with_draft(Draft::Draft202012)
                .with_pattern_options(PatternOptions::regex())
                .should_validate_formats(true)
                .build(schema)
                .expect("a valid schema"),
            borrowed: jsonschema::options_for::<Borrowed>()
                .with_draft(Draft::Draft202012)
                .with_pattern_options(PatternOptions::regex())
                .should_validate_formats(true)
                .build(schema)
                .expect("a valid schema"),
        }
    }

    /// The errors, which must be the same for both but for their order: an owned object is sorted.
    fn errors(&self, event: &str) -> Vec<SchemaError> {
        let owned: Value = serde_json::from_str(event).expect("JSON");
        let wrapped = format!(r#"{{"x":{event}}}"#);
        let raw = RawEvent::parse(wrapped.as_bytes(), 32).expect("an event");
        let borrowed = raw.field("x").expect("it is there");
        assert_eq!(borrowed.to_value(), owned, "{event}");
        let sorted = |mut errors: Vec<SchemaError>| {
            errors.sort_by(|a, b| (&a.pointer, &a.message).cmp(&(&b.pointer, &b.message)));
            errors
        };
        let expected = sorted(verdict::explain(self.owned.iter_errors(&owned)));
        let errors = sorted(verdict::explain(self.borrowed.iter_errors(borrowed)));
        assert_eq!(errors, expected, "{event}");
        assert_eq!(
            self.borrowed.is_valid(borrowed),
            self.owned.is_valid(&owned),
            "{event}"
        );
        assert_eq!(self.borrowed.is_valid(borrowed), errors.is_empty(), "{event}");
        errors
    }
}

#[test]
fn every_keyword_says_the_same_of_both_representations() {
    let values = [
        json!(null),
        json!(true),
        json!(1),
        json!(1.0),
        json!(-7),
        json!(18_446_744_073_709_551_615_u64),
        json!(1e300),
        json!(""),
        json!("play"),
        json!("ééé"),
        json!("0192f0c1-7a3e-7c54-9f0e-3b6d5a2c0001"),
        json!("2026-03-02T08:14:09Z"),
        json!([]),
        json!([1, 1.0, "1"]),
        json!([null, {"a": 1}, {"a": 1.0}]),
        json!({}),
        json!({"x": 1, "screen": "a", "known": {"x": []}}),
    ];
    for (keyword, schema, refused) in verdict::tests::cases() {
        let both = Both::compile(&schema);
        assert!(!both.errors(&refused.to_string()).is_empty(), "{keyword}");
        for value in &values {
            both.errors(&value.to_string());
        }
    }
}

#[test]
fn numbers_are_equal_by_value_and_never_to_a_truth_or_a_text() {
    for (schema, event, valid) in [
        (json!({"const": 1}), "1.0", true),
        (json!({"const": 1.0}), "1", true),
        (json!({"const": 1}), "true", false),
        (json!({"const": "1"}), "1", false),
        (json!({"enum": [null, {"a": [1]}]}), r#"{"a":[1.0]}"#, true),
        (json!({"enum": [null, {"a": [1]}]}), "false", false),
        (json!({"type": "integer"}), "3.0", true),
        (json!({"maxLength": 2}), r#""\ud83d\ude00\ud83d\ude00""#, true),
    ] {
        assert_eq!(
            Both::compile(&schema).errors(event).is_empty(),
            valid,
            "{schema} {event}"
        );
    }
}

/// Values that are near to what fields hold, and others.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..90_000_u32).prop_map(Value::from),
        (0.0..100.0_f64).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z0-9.:-]{0,44}".prop_map(Value::from),
        Just(json!("play")),
        Just(json!("1-0-0")),
        Just(json!({"a": [1]})),
    ]
}

proptest! {
    #[test]
    fn events_near_to_valid_ones_get_the_same_verdict_from_both_representations(
        document in 0..7_usize,
        example in any::<proptest::sample::Index>(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), proptest::option::of(value())), 0..4),
        added in proptest::option::of(("[a-z]{1,8}", value())),
    ) {
        let (_, document) = bundled_documents().nth(document).expect("seven documents");
        let schema: Value = serde_json::from_slice(document).expect("JSON");
        let mut event = example.get(schema["examples"].as_array().expect("examples")).clone();
        let fields = event.as_object_mut().expect("an object");
        let known: Vec<String> = schema["properties"].as_object().expect("fields").keys().cloned().collect();
        for (field, value) in changes {
            let name = field.get(&known).clone();
            match value {
                Some(value) => drop(fields.insert(name, value)),
                None => drop(fields.remove(&name)),
            }
        }
        if let Some((name, value)) = added {
            fields.insert(name, value);
        }
        Both::compile(&schema).errors(&event.to_string());
    }
}
