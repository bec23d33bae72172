use serde_json::json;

use super::*;
use crate::compatibility::{
    Part,
    tests::{catalogue, old},
};

/// What a change to the old document counts as: each rule with the pointer.
fn found(change: impl FnOnce(&mut Value)) -> Vec<(Rule, String)> {
    let mut newer = old();
    newer["properties"]["schemaversion"]["const"] = json!("1-0-1");
    change(&mut newer);
    // Only documents that a catalogue takes count.
    catalogue(&[newer.clone()]);
    let changes = changes(&old(), &newer);
    changes
        .into_iter()
        .map(|change| (change.rule, change.pointer))
        .collect()
}

#[test]
fn each_change_falls_under_its_rule() {
    type Case = (&'static str, Value, &'static str, &'static [Rule]);
    use Rule::*;
    let gone = Value::Null;
    // Where, what stands there then (`null`: nothing), where it is found, and as what.
    let cases: Vec<Case> = vec![
        ("/title", json!("Other"), "", &[]),
        ("/examples", json!([{}]), "", &[]),
        ("/$id", json!("https://schemas.example.org/test/1-0-1"), "", &[]),
        ("/properties/mood/description", json!("How"), "", &[]),
        ("/properties/mood/deprecated", json!(true), "", &[]),
        ("/properties/mood/x-unit", json!("moods"), "", &[]),
        ("/$defs/y", json!({"minLength": 1}), "", &[]),
        (
            "/properties/new",
            json!({"type": "string", "x-pii": "keep"}),
            "/properties/new",
            &[FieldAdded],
        ),
        (
            "/properties/kind/enum",
            json!(["a", "b", "c"]),
            "/properties/kind/enum",
            &[ValueAdded],
        ),
        (
            "/properties/kind/enum",
            gone.clone(),
            "/properties/kind/enum",
            &[ValueAdded],
        ),
        (
            "/properties/kind/enum",
            json!(["b"]),
            "/properties/kind/enum",
            &[ValueRemoved],
        ),
        (
            "/properties/kind/enum",
            json!(["b", "c"]),
            "/properties/kind/enum",
            &[ValueAdded, ValueRemoved],
        ),
        (
            "/properties/kind/const",
            json!("a"),
            "/properties/kind/enum",
            &[ValueRemoved],
        ),
        (
            "/properties/mood/enum",
            json!(["sad"]),
            "/properties/mood/enum",
            &[ValueRemoved],
        ),
        (
            "/properties/mood/maxLength",
            json!(11),
            "/properties/mood/maxLength",
            &[LimitWidened],
        ),
        (
            "/properties/mood/maxLength",
            gone.clone(),
            "/properties/mood/maxLength",
            &[LimitWidened],
        ),
        (
            "/properties/mood/maxLength",
            json!(9),
            "/properties/mood/maxLength",
            &[LimitNarrowed],
        ),
        (
            "/properties/mood/minLength",
            json!(1),
            "/properties/mood/minLength",
            &[LimitWidened],
        ),
        (
            "/properties/mood/minLength",
            json!(3),
            "/properties/mood/minLength",
            &[LimitNarrowed],
        ),
        (
            "/properties/kind/maxLength",
            json!(3),
            "/properties/kind/maxLength",
            &[LimitNarrowed],
        ),
        (
            "/properties/level/maximum",
            json!(10.5),
            "/properties/level/maximum",
            &[LimitWidened],
        ),
        (
            "/properties/level/minimum",
            json!(0.5),
            "/properties/level/minimum",
            &[LimitNarrowed],
        ),
        (
            "/properties/level/minimum",
            json!(-1),
            "/properties/level/minimum",
            &[LimitWidened],
        ),
        (
            "/properties/level/exclusiveMinimum",
            json!(-1),
            "/properties/level/exclusiveMinimum",
            &[LimitNarrowed],
        ),
        (
            "/properties/level/exclusiveMaximum",
            json!(99),
            "/properties/level/exclusiveMaximum",
            &[LimitNarrowed],
        ),
        (
            "/properties/level/multipleOf",
            gone.clone(),
            "/properties/level/multipleOf",
            &[LimitWidened],
        ),
        (
            "/properties/level/multipleOf",
            json!(4),
            "/properties/level/multipleOf",
            &[PatternChanged],
        ),
        (
            "/properties/mood/pattern",
            gone.clone(),
            "/properties/mood/pattern",
            &[LimitWidened],
        ),
        (
            "/properties/mood/pattern",
            json!("^[a-y]+$"),
            "/properties/mood/pattern",
            &[PatternChanged],
        ),
        (
            "/properties/kind/pattern",
            json!("^a$"),
            "/properties/kind/pattern",
            &[PatternChanged],
        ),
        (
            "/properties/words/format",
            gone.clone(),
            "/properties/words/format",
            &[FormatChanged],
        ),
        (
            "/properties/mood/format",
            json!("uri"),
            "/properties/mood/format",
            &[FormatChanged],
        ),
        (
            "/properties/level/type",
            json!("number"),
            "/properties/level/type",
            &[TypeChanged],
        ),
        (
            "/properties/mood/type",
            json!(["string", "null"]),
            "/properties/mood/type",
            &[TypeChanged],
        ),
        (
            "/properties/mood/type",
            json!("boolean"),
            "/properties/mood/type",
            &[TypeChanged],
        ),
        (
            "/properties/owner/x-pii",
            json!("drop"),
            "/properties/owner/x-pii",
            &[PiiStricter],
        ),
        (
            "/properties/mood/x-pii",
            json!("hash"),
            "/properties/mood/x-pii",
            &[PiiStricter],
        ),
        (
            "/properties/owner/x-pii",
            json!("keep"),
            "/properties/owner/x-pii",
            &[PiiWeaker],
        ),
        (
            "/properties/words/x-pii",
            json!("hash"),
            "/properties/words/x-pii",
            &[PiiWeaker],
        ),
        (
            "/properties/words/x-pii",
            json!("keep"),
            "/properties/words/x-pii",
            &[PiiWeaker],
        ),
        (
            "/properties/owner",
            gone.clone(),
            "/properties/owner",
            &[FieldRemoved],
        ),
        (
            "/required",
            json!(["mood", "kind"]),
            "/required",
            &[RequiredAdded],
        ),
        ("/required", json!([]), "/required", &[RequiredRemoved]),
        (
            "/required",
            json!(["kind"]),
            "/required",
            &[RequiredAdded, RequiredRemoved],
        ),
        (
            "/x-producer",
            json!(["app", "device"]),
            "/x-producer",
            &[ProducerAdded],
        ),
        (
            "/x-producer",
            json!(["device"]),
            "/x-producer",
            &[ProducerAdded, ProducerRemoved],
        ),
        ("/if", json!({"required": ["kind"]}), "/if", &[ConditionChanged]),
        (
            "/allOf",
            json!([{"required": ["kind"]}]),
            "/allOf",
            &[ConditionChanged],
        ),
        ("/minProperties", json!(2), "/minProperties", &[ConditionChanged]),
        (
            "/dependentRequired",
            json!({"kind": ["mood"]}),
            "/dependentRequired",
            &[ConditionChanged],
        ),
        (
            "/properties/mood/not",
            json!({"const": "x"}),
            "/properties/mood/not",
            &[ConditionChanged],
        ),
        (
            "/properties/mood/$ref",
            json!("#/$defs/x"),
            "/properties/mood/$ref",
            &[ConditionChanged],
        ),
        ("/$defs/x/maxLength", json!(6), "/$defs/x", &[ConditionChanged]),
        ("/$defs/x", gone, "/$defs/x", &[ConditionChanged]),
    ];
    for (at, then, pointer, rules) in cases {
        let (parent, name) = at.rsplit_once('/').expect("a pointer");
        let found = found(|document| {
            let parent = document.pointer_mut(parent).and_then(Value::as_object_mut);
            let parent = parent.expect("an object");
            match then.clone() {
                Value::Null => drop(parent.remove(name)),
                then => drop(parent.insert(name.to_owned(), then)),
            }
        });
        let expected: Vec<_> = rules.iter().map(|rule| (*rule, pointer.to_owned())).collect();
        assert_eq!(found, expected, "{at} = {then}");
    }
}

#[test]
fn each_rule_asks_for_its_part() {
    use Rule::*;
    let asking = |part: Part, rules: &[Rule]| {
        for rule in rules {
            assert_eq!(rule.asks_for(), part, "{}", rule.name());
        }
    };
    asking(Part::Addition, &[FieldAdded]);
    asking(
        Part::Revision,
        &[ValueAdded, LimitWidened, ProducerAdded, PiiStricter],
    );
    asking(
        Part::Model,
        &[
            FieldRemoved,
            RequiredAdded,
            RequiredRemoved,
            TypeChanged,
            FormatChanged,
            ValueRemoved,
            LimitNarrowed,
            PatternChanged,
            ProducerRemoved,
            PiiWeaker,
            ConditionChanged,
        ],
    );
}

#[test]
fn a_required_field_that_is_new_is_both_and_one_that_goes_is_gone_alone() {
    let added = found(|document| {
        document["properties"]["new"] = json!({"type": "string", "x-pii": "keep"});
        document["required"] = json!(["mood", "new"]);
    });
    let rules: Vec<_> = added.into_iter().map(|(rule, _)| rule).collect();
    assert_eq!(rules, [Rule::FieldAdded, Rule::RequiredAdded]);
    let gone = found(|document| {
        document["required"] = json!([]);
        let fields = document["properties"].as_object_mut().expect("fields");
        fields.remove("mood");
    });
    assert_eq!(gone, [(Rule::FieldRemoved, "/properties/mood".to_owned())]);
}
