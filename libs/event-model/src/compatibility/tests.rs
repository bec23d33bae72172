use serde_json::json;

use super::*;

/// A document fit for a catalogue, with these fields beside the shared ones.
pub(super) fn document(version: &str, fields: &Value, required: &[&str]) -> Value {
    let text = |pii: &str| json!({"type": "string", "maxLength": 36, "x-pii": pii});
    let mut properties = json!({
        "eventtype": {"const": "test", "x-pii": "keep"},
        "schemaversion": {"const": version, "x-pii": "keep"},
        "eventid": text("keep"), "eventtime": text("keep"),
        "deviceid": text("hash"), "userid": text("hash"),
    });
    for (name, definition) in fields.as_object().expect("fields") {
        properties[name] = definition.clone();
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Test", "x-producer": ["app"], "type": "object",
        "properties": properties, "required": required, "additionalProperties": false,
    })
}

pub(super) fn catalogue(documents: &[Value]) -> Catalogue {
    let documents = documents.iter().map(|document| {
        let version = document["properties"]["schemaversion"]["const"].as_str();
        let path = format!("test/{}.json", version.expect("a version"));
        (path, document.to_string())
    });
    Catalogue::from_documents(documents).expect("fit for a catalogue")
}

pub(super) fn old() -> Value {
    let fields = json!({
        "mood": {"type": "string", "minLength": 2, "maxLength": 10, "pattern": "^[a-z]+$", "x-pii": "keep"},
        "kind": {"type": "string", "enum": ["a", "b"], "x-pii": "keep"},
        "level": {"type": "integer", "minimum": 0, "maximum": 10, "multipleOf": 2, "x-pii": "keep"},
        "owner": {"type": "string", "x-pii": "hash"},
        "words": {"type": "string", "format": "email", "x-pii": "drop"},
    });
    let mut old = document("1-0-0", &fields, &["mood"]);
    old["$defs"] = json!({"x": {"maxLength": 5}});
    old
}

/// The old document as another version, with a change.
fn version(version: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut document = old();
    document["properties"]["schemaversion"]["const"] = json!(version);
    change(&mut document);
    document
}

fn told(breaches: &[Breach]) -> Vec<(String, &'static str)> {
    let told = breaches.iter();
    told.map(|breach| (breach.version.to_string(), breach.rule()))
        .collect()
}

#[test]
fn a_change_needs_the_rise_that_it_asks_for() {
    let add = |document: &mut Value| {
        document["properties"]["new"] = json!({"type": "string", "x-pii": "keep"});
    };
    let widen = |document: &mut Value| document["properties"]["mood"]["maxLength"] = json!(20);
    let reveal = |document: &mut Value| document["properties"]["words"]["x-pii"] = json!("keep");
    type Change<'c> = &'c dyn Fn(&mut Value);
    let cases: [(&str, Change<'_>, Option<&str>); 9] = [
        ("1-0-1", &add, None),
        ("1-0-1", &widen, Some("limit-widened")),
        ("1-0-1", &reveal, Some("pii-weaker")),
        ("1-1-0", &add, None),
        ("1-1-0", &widen, None),
        ("1-1-0", &reveal, Some("pii-weaker")),
        ("2-0-0", &add, None),
        ("2-0-0", &widen, None),
        ("2-0-0", &reveal, None),
    ];
    for (newer, change, expected) in cases {
        let catalogue = catalogue(&[old(), version(newer, change)]);
        let expected: Vec<_> = expected
            .map(|rule| (newer.to_owned(), rule))
            .into_iter()
            .collect();
        assert_eq!(told(&catalogue.breaches()), expected, "{newer}");
    }
}

#[test]
fn each_version_is_held_against_the_one_before_it() {
    let with = |name: &'static str| {
        move |document: &mut Value| {
            document["properties"][name] = json!({"type": "string", "x-pii": "keep"});
        }
    };
    // 1-0-10 follows 1-0-9; 2-0-1 follows 2-0-0 and not 1-0-10.
    let catalogue = catalogue(&[
        version("2-0-1", |_| {}),
        version("1-0-10", |_| {}),
        version("1-0-9", with("one")),
        old(),
        version("2-0-0", with("two")),
    ]);
    let expected = [("1-0-10", "field-removed"), ("2-0-1", "field-removed")];
    assert_eq!(
        told(&catalogue.breaches()),
        expected.map(|(version, rule)| (version.to_owned(), rule))
    );
}

#[test]
fn a_breach_says_where_why_and_how_to_fix_it() {
    let catalogue = catalogue(&[
        old(),
        version("1-0-1", |document| {
            document["properties"]["mood"]["maxLength"] = json!(5);
        }),
        version("1-0-2", |document| {
            document["properties"]["mood"]["maxLength"] = json!(7);
        }),
    ]);
    let said: Vec<_> = catalogue
        .breaches()
        .iter()
        .map(|breach| {
            format!(
                "{} {} {} | {breach} | {}",
                breach.version,
                breach.pointer(),
                breach.rule(),
                breach.fix()
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            "1-0-1 /properties/mood/maxLength limit-narrowed | 10 → 5 since 1-0-0: clients that send what lay \
             within it are refused, which asks for MODEL | keep the limit; or make this version 2-0-0",
            "1-0-2 /properties/mood/maxLength limit-widened | 5 → 7 since 1-0-1: readers may meet a value beyond \
             what they know, which asks for REVISION | keep the limit; or make this version 1-1-0",
        ]
    );
}

#[test]
fn a_published_document_stays_as_it_is() {
    let published = catalogue(&[old()]);
    assert_eq!(catalogue(&[old()]).breaches_since(&published), []);
    // Layout and order are no content.
    let pretty = serde_json::to_string_pretty(&old()).expect("JSON");
    let pretty = Catalogue::from_documents([("test/1-0-0.json", pretty)]).expect("fit");
    assert_eq!(pretty.breaches_since(&published), []);
    let edited = catalogue(&[version("1-0-0", |document| {
        document["properties"]["mood"]["description"] = json!("How it feels");
    })]);
    let breaches = edited.breaches_since(&published);
    assert_eq!(told(&breaches), [("1-0-0".to_owned(), "edited-in-place")]);
    assert_eq!(breaches[0].pointer(), "/properties/mood/description");
    assert!(breaches[0].fix().contains("1-0-1"), "{}", breaches[0].fix());
}

#[test]
fn a_version_may_go_once_its_model_is_not_the_newest() {
    let narrower = |document: &mut Value| document["properties"]["mood"]["maxLength"] = json!(5);
    let published = catalogue(&[old(), version("1-0-1", |_| {}), version("2-0-0", narrower)]);
    let gone = |left: &[Value]| told(&catalogue(left).breaches_since(&published));
    assert_eq!(gone(&[version("2-0-0", narrower)]), []);
    let withdrawn = |version: &str| (version.to_owned(), "withdrawn");
    assert_eq!(gone(&[old(), version("1-0-1", |_| {})]), [withdrawn("2-0-0")]);
    let nothing = Catalogue::default().breaches_since(&catalogue(&[old()]));
    assert_eq!(told(&nothing), [withdrawn("1-0-0")], "a type is not forgotten");
}

#[test]
fn what_is_gone_still_binds_what_comes() {
    let add = |document: &mut Value| {
        document["properties"]["new"] = json!({"type": "string", "x-pii": "keep"});
    };
    let published = catalogue(&[old(), version("1-0-1", add)]);
    // 1-0-2 would pass beside 1-0-0 alone.
    let current = catalogue(&[old(), version("1-0-2", |_| {})]);
    assert_eq!(
        told(&current.breaches_since(&published)),
        [
            ("1-0-1".to_owned(), "withdrawn"),
            ("1-0-2".to_owned(), "field-removed")
        ]
    );
}
