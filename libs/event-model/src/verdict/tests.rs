use serde_json::json;

use super::*;

const CANARY: &str = "canary-7f3a91";

fn errors(schema: &Value, event: &Value) -> Vec<SchemaError> {
    let validator = jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .should_validate_formats(true)
        .build(schema)
        .expect("a valid schema");
    assert!(!validator.is_valid(event), "{schema} should refuse {event}");
    explain(validator.iter_errors(event))
}

/// For each keyword a schema and a value full of canaries that it refuses.
pub(crate) fn cases() -> Vec<(&'static str, Value, Value)> {
    let text = json!(CANARY);
    let number = json!(7_391_739.25);
    let list = json!([CANARY, CANARY, 7_391_739]);
    let object = json!({"x": CANARY, "y": {"z": CANARY}});
    vec![
        ("type", json!({"type": "integer"}), text.clone()),
        ("type", json!({"type": ["integer", "null"]}), object.clone()),
        ("const", json!({"const": "play"}), text.clone()),
        ("enum", json!({"enum": ["play", "stop"]}), text.clone()),
        ("pattern", json!({"pattern": "^[0-9]+$"}), text.clone()),
        ("format", json!({"format": "uuid"}), text.clone()),
        ("format", json!({"format": "date-time"}), text.clone()),
        ("minLength", json!({"minLength": 100}), text.clone()),
        ("maxLength", json!({"maxLength": 3}), text.clone()),
        ("minimum", json!({"minimum": 1e9}), number.clone()),
        ("maximum", json!({"maximum": 5}), number.clone()),
        (
            "exclusiveMinimum",
            json!({"exclusiveMinimum": 1e9}),
            number.clone(),
        ),
        ("exclusiveMaximum", json!({"exclusiveMaximum": 5}), number.clone()),
        ("multipleOf", json!({"multipleOf": 5}), number),
        ("minItems", json!({"minItems": 9}), list.clone()),
        ("maxItems", json!({"maxItems": 1}), list.clone()),
        ("uniqueItems", json!({"uniqueItems": true}), list.clone()),
        ("contains", json!({"contains": {"type": "null"}}), list.clone()),
        (
            "items",
            json!({"prefixItems": [true], "items": false}),
            list.clone(),
        ),
        (
            "unevaluatedItems",
            json!({"prefixItems": [true], "unevaluatedItems": false}),
            list,
        ),
        ("required", json!({"required": ["screen"]}), object.clone()),
        ("minProperties", json!({"minProperties": 9}), object.clone()),
        ("maxProperties", json!({"maxProperties": 1}), object.clone()),
        (
            "propertyNames",
            json!({"propertyNames": {"pattern": "^q"}}),
            json!({CANARY: 1}),
        ),
        (
            "additionalProperties",
            json!({"properties": {"known": true}, "additionalProperties": false}),
            json!({format!("{CANARY} {}", "a".repeat(70)): CANARY, "x": CANARY}),
        ),
        (
            "additionalProperties",
            json!({"properties": {"known": true}, "additionalProperties": false}),
            object.clone(),
        ),
        (
            "unevaluatedProperties",
            json!({"unevaluatedProperties": false}),
            object.clone(),
        ),
        (
            "dependentRequired",
            json!({"dependentRequired": {"x": ["screen"]}}),
            object.clone(),
        ),
        (
            "anyOf",
            json!({"anyOf": [{"type": "null"}, {"const": 1}]}),
            text.clone(),
        ),
        (
            "oneOf",
            json!({"oneOf": [{"type": "null"}, {"const": 1}]}),
            text.clone(),
        ),
        ("oneOf", json!({"oneOf": [true, true]}), text.clone()),
        ("not", json!({"not": {"type": "string"}}), text.clone()),
        ("falseSchema", json!({"properties": {"x": false}}), object),
        ("if", json!({"if": true, "then": {"const": 1}}), text),
    ]
}

#[test]
fn no_message_of_any_keyword_holds_the_value() {
    for (keyword, schema, value) in cases() {
        let errors = errors(&schema, &value);
        assert!(!errors.is_empty(), "{keyword}");
        for error in errors {
            // `propertyNames` and unknown names point at the object, never at such a name.
            let said = format!("{error:?}");
            assert!(!said.contains("canary"), "{keyword}: {said}");
            assert!(!said.contains("7391739"), "{keyword}: {said}");
            assert!(!error.message.is_empty(), "{keyword}");
        }
    }
}

#[test]
fn an_error_says_where_by_what_and_what_is_asked() {
    let schema = json!({
        "properties": {"action": {"enum": ["play", "stop"]}, "seconds": {"maximum": 86400}},
        "required": ["action", "musicsource"],
    });
    let said: Vec<_> = errors(&schema, &json!({"action": "jump", "seconds": 1e9}))
        .into_iter()
        .map(|error| (error.pointer, error.keyword, error.message))
        .collect();
    for expected in [
        ("/action", "enum", "must be one of [\"play\",\"stop\"]"),
        ("/seconds", "maximum", "must be at most 86400"),
        ("", "required", "must have the field musicsource"),
    ] {
        let expected = (
            expected.0.to_owned(),
            expected.1.to_owned(),
            expected.2.to_owned(),
        );
        assert!(said.contains(&expected), "{expected:?} is not in {said:?}");
    }
}

#[test]
fn an_unknown_field_is_pointed_at_when_its_name_could_be_a_field_s() {
    let schema = json!({"properties": {"known": true}, "additionalProperties": false});
    let errors = errors(&schema, &json!({"Sound_Level-2": 1, "ada@example.org": 1}));
    let pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(pointers, ["/Sound_Level-2", ""]);
}

#[test]
fn errors_are_bounded_in_number_and_length() {
    let many: serde_json::Map<String, Value> = (0..5_000)
        .map(|number| (format!("f{number}"), json!(1)))
        .collect();
    let schema = json!({
        "properties": {"known": true},
        "additionalProperties": false,
        "required": (0..100).map(|number| format!("r{number}")).collect::<Vec<_>>(),
    });
    assert_eq!(errors(&schema, &Value::Object(many)).len(), MAX_ERRORS);

    let schema = json!({"enum": ["é".repeat(4_000)]});
    assert!(errors(&schema, &json!(1))[0].message.len() <= MAX_QUOTE);
}
