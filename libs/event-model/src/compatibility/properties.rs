//! What the rules promise, held against what schemas let through.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    Part, Rule,
    changes::{changes, members, names, object, strictness},
    tests::{catalogue, document},
};
use crate::{RawEvent, types::Types};

/// Definitions of one field, simple enough for the values beneath to get through and to fail.
fn definition() -> impl Strategy<Value = Value> {
    let text = (
        proptest::option::of(0..3_u8),
        proptest::option::of(1..5_u8),
        proptest::option::of(proptest::sample::subsequence(vec!["a", "bb", "ccc"], 1..=3)),
        proptest::option::of(prop_oneof![Just("^[a-b]*$"), Just("c")]),
        prop_oneof![Just(json!("string")), Just(json!(["string", "null"]))],
    );
    let text = text.prop_map(|(least, most, values, pattern, types)| {
        filled(
            json!({"type": types}),
            [
                ("minLength", json!(least)),
                ("maxLength", json!(most)),
                ("enum", json!(values)),
                ("pattern", json!(pattern)),
            ],
        )
    });
    let bound = || {
        proptest::option::of(prop_oneof![
            Just(-1.0),
            Just(0.0),
            Just(1.0),
            Just(2.0),
            Just(2.5)
        ])
    };
    let number = (
        prop_oneof![Just("integer"), Just("number")],
        bound(),
        bound(),
        bound(),
        proptest::option::of(proptest::sample::subsequence(vec![0.0, 1.0, 2.5, 3.0], 1..=4)),
    );
    let number = number.prop_map(|(name, least, most, below, values)| {
        filled(
            json!({"type": name}),
            [
                ("minimum", json!(least)),
                ("maximum", json!(most)),
                ("exclusiveMaximum", json!(below)),
                ("enum", json!(values)),
            ],
        )
    });
    let plain = prop_oneof![
        Just(json!({"type": "boolean"})),
        Just(json!({"type": "string", "const": "a"}))
    ];
    let pii = prop_oneof![8 => Just("keep"), 1 => Just("hash"), 1 => Just("drop")];
    (prop_oneof![3 => text, 3 => number, 1 => plain], pii).prop_map(|(mut definition, pii)| {
        definition["x-pii"] = json!(pii);
        definition
    })
}

fn filled<const N: usize>(mut definition: Value, keywords: [(&str, Value); N]) -> Value {
    for (keyword, value) in keywords {
        if !value.is_null() {
            definition[keyword] = value;
        }
    }
    definition
}

/// One keyword of a definition as it is in another of its type, so that small changes are common.
fn mixed(older: &Value, other: &Value, which: usize) -> Value {
    let mut mixed = older.clone();
    if older["type"] != other["type"] {
        return mixed;
    }
    let keywords: BTreeSet<&str> = members(older).chain(members(other)).collect();
    let differing: Vec<_> = keywords
        .into_iter()
        .filter(|keyword| older.get(*keyword) != other.get(*keyword))
        .collect();
    if differing.is_empty() {
        return mixed;
    }
    let keyword = differing[which % differing.len()];
    match other.get(keyword) {
        Some(value) => mixed[keyword] = value.clone(),
        None => drop(mixed.as_object_mut().map(|mixed| mixed.remove(keyword))),
    }
    mixed
}

#[derive(Clone, Debug)]
struct Pair {
    older: Value,
    newer: Value,
}

/// Two documents with a few fields, some of them the same, some changed a little, some other, some gone.
fn pair() -> impl Strategy<Value = Pair> {
    let required = proptest::bool::weighted(0.2);
    let field = (
        definition(),
        definition(),
        0..16_u8,
        any::<usize>(),
        required,
        0..8_u8,
    );
    proptest::collection::vec(field, 1..3).prop_map(|fields| {
        let (mut older, mut newer) = (json!({}), json!({}));
        let (mut older_required, mut newer_required) = (Vec::new(), Vec::new());
        for (index, (one, other, fate, which, required, changes)) in fields.into_iter().enumerate() {
            let name = ["f0", "f1"][index];
            match fate {
                0 => older[name] = one,
                1 => newer[name] = one,
                2 => (older[name], newer[name]) = (one, other),
                3..=13 => (newer[name], older[name]) = (mixed(&one, &other, which), one),
                _ => (older[name], newer[name]) = (one.clone(), one),
            }
            for (document, list) in [(&older, &mut older_required), (&newer, &mut newer_required)] {
                if required && document.get(name).is_some() {
                    list.push(name);
                }
            }
            if changes == 0 {
                newer_required.retain(|required| *required != name);
            }
        }
        Pair {
            older: document("1-0-0", &older, &older_required),
            newer: document("1-0-1", &newer, &newer_required),
        }
    })
}

fn values() -> impl Strategy<Value = Option<Value>> {
    let values = json!([
        null, true, "", "a", "bb", "ccc", "dddd", -1, 0, 1, 1.0, 2, 2.5, 3, 9
    ]);
    let values = values.as_array().expect("values").clone();
    proptest::option::weighted(0.7, proptest::sample::select(values))
}

fn events() -> impl Strategy<Value = Vec<Value>> {
    let event = [values(), values()].prop_map(|values| {
        let mut event = json!({"eventtype": "test"});
        for (name, value) in ["f0", "f1"].into_iter().zip(values) {
            if let Some(value) = value {
                event[name] = value;
            }
        }
        event
    });
    proptest::collection::vec(event, 60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn what_a_version_permits_breaks_no_writer_and_no_reader(pair in pair(), events in events()) {
        let Pair { older, newer } = pair;
        let catalogue = catalogue(&[older.clone(), newer.clone()]);
        let schema = |version: &str| {
            let version = version.parse().expect("a version");
            catalogue.get("test", version).expect("there")
        };
        let verdict = |version: &str, event: &Value| {
            let event = event.to_string();
            schema(version).verdict(&RawEvent::parse(event.as_bytes(), 32).expect("an event"))
        };
        let found = changes(&older, &newer);
        let asked = found.iter().map(|change| change.rule.asks_for()).max();
        let asked = asked.unwrap_or(Part::Addition);
        for event in events {
            if asked < Part::Model && verdict("1-0-0", &event).is_ok() {
                // An older writer, whose event is judged by the newest version.
                prop_assert_eq!(verdict("1-0-1", &event), Ok(()), "{} {:?}", event, found);
            }
            if asked == Part::Model || verdict("1-0-1", &event).is_err() {
                continue;
            }
            // An older reader looks at the columns that it knows.
            let fields = object(&older, "properties");
            let mut read = event.clone();
            read.as_object_mut().expect("an object").retain(|name, _| fields.contains_key(name));
            for name in names(&older, "required") {
                prop_assert!(read.get(name).is_some(), "{}: {} is missing", event, name);
            }
            for (name, value) in read.as_object().expect("an object") {
                let (types, known) = (Types::of_value(value), Types::of(&fields[name]));
                prop_assert!(types.within(known), "{}: {} is {}, not {}", event, name, types, known);
            }
            if asked == Part::Addition {
                prop_assert_eq!(verdict("1-0-0", &read), Ok(()), "{} {:?}", event, found);
            }
        }
        // Protection never falls within a MODEL.
        if asked < Part::Model {
            for (name, definition) in object(&older, "properties") {
                prop_assert!(strictness(&definition) <= strictness(&newer["properties"][&name]));
            }
        }
    }

    #[test]
    fn nothing_changed_is_no_change_and_a_way_back_mirrors_the_way_there(pair in pair()) {
        let Pair { older, newer } = pair;
        prop_assert_eq!(changes(&older, &older), []);
        let rules = |one: &Value, other: &Value| -> BTreeSet<Rule> {
            changes(one, other).into_iter().map(|change| change.rule).collect()
        };
        let (there, back) = (rules(&older, &newer), rules(&newer, &older));
        for (one, other) in [
            (Rule::FieldAdded, Rule::FieldRemoved),
            (Rule::ValueAdded, Rule::ValueRemoved),
            (Rule::PiiStricter, Rule::PiiWeaker),
            (Rule::TypeChanged, Rule::TypeChanged),
        ] {
            prop_assert_eq!(there.contains(&one), back.contains(&other), "{:?} {:?}", there, back);
        }
    }
}
