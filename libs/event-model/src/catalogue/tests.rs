use std::{collections::BTreeSet, fs, path::Path};

use serde_json::json;

use super::*;

fn play() -> Value {
    let (_, document) = bundled_documents()
        .find(|(path, _)| *path == "play/1-0-0.json")
        .expect("bundled");
    serde_json::from_slice(document).expect("JSON")
}

fn problem(path: &str, document: &Value) -> String {
    Catalogue::from_documents([(path, document.to_string())])
        .expect_err("not fit for a catalogue")
        .to_string()
}

/// What is wrong with the bundled play schema after a change.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut document = play();
    change(&mut document);
    problem("play/1-0-0.json", &document)
}

fn verdict(schema: &Schema, event: &Value) -> Result<(), Vec<crate::SchemaError>> {
    let bytes = event.to_string();
    schema.verdict(&RawEvent::parse(bytes.as_bytes(), 32).expect("an event"))
}

#[test]
fn every_document_of_the_folder_is_bundled() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas");
    let mut found = BTreeSet::new();
    for event_type in fs::read_dir(folder).expect("schemas/") {
        let event_type = event_type.expect("an entry");
        for version in fs::read_dir(event_type.path()).expect("a folder of versions") {
            let version = version.expect("an entry").file_name();
            found.insert(format!(
                "{}/{}",
                event_type.file_name().to_string_lossy(),
                version.to_string_lossy()
            ));
        }
    }
    let bundled: BTreeSet<_> = bundled_documents().map(|(path, _)| path.to_owned()).collect();
    assert_eq!(found, bundled);
}

#[test]
fn the_bundled_catalogue_has_the_seven_types_and_who_may_send_them() {
    let catalogue = Catalogue::bundled().expect("the bundled catalogue");
    let types: Vec<(&str, &[Producer])> = catalogue
        .event_types()
        .map(|event_type| {
            let schema = catalogue.latest(event_type.as_str()).expect("a version");
            (event_type.as_str(), schema.producers())
        })
        .collect();
    use Producer::{App, Device, Platform};
    assert_eq!(
        types,
        [
            ("deviceregistered", [Platform].as_slice()),
            ("musicserviceauth", &[Platform]),
            ("navigation", &[App, Platform]),
            ("play", &[Device, App, Platform]),
            ("tokenrequest", &[Platform]),
            ("userregistered", &[Platform]),
            ("voicefeedback", &[Platform]),
        ]
    );
}

#[test]
fn bundled_schemas_explain_and_bound_every_field_and_keep_their_examples() {
    let catalogue = Catalogue::bundled().expect("the bundled catalogue");
    for (path, document) in bundled_documents() {
        let document: Value = serde_json::from_slice(document).expect("JSON");
        let schema = catalogue
            .latest(path.split_once('/').expect("a path").0)
            .expect("a version");
        for (name, field) in document["properties"].as_object().expect("properties") {
            for annotation in ["title", "description"] {
                assert!(
                    field[annotation].is_string(),
                    "{path}: {name} has no {annotation}"
                );
            }
            let bounded = match field["type"].as_str() {
                Some("string") => field["maxLength"].is_u64(),
                Some("number" | "integer") => field["maximum"].is_number(),
                Some("boolean") => true,
                None => field["const"].is_string(),
                Some(_) => false,
            };
            assert!(bounded, "{path}: {name} is not bounded");
        }
        let examples = document["examples"].as_array().expect("examples");
        assert!(!examples.is_empty(), "{path} has no examples");
        for example in examples {
            assert_eq!(verdict(schema, example), Ok(()), "{path}: {example}");
        }
    }
}

#[test]
fn what_is_personal_is_marked_so() {
    let catalogue = Catalogue::bundled().expect("the bundled catalogue");
    for (event_type, field, expected) in [
        ("voicefeedback", "utterance", Pii::Drop),
        ("voicefeedback", "interpretation", Pii::Drop),
        ("voicefeedback", "response", Pii::Drop),
        ("deviceregistered", "owner", Pii::Hash),
        ("play", "deviceid", Pii::Hash),
        ("play", "userid", Pii::Hash),
        ("play", "track", Pii::Keep),
    ] {
        let schema = catalogue.latest(event_type).expect("a type");
        assert_eq!(schema.pii(field), Some(expected), "{event_type}.{field}");
    }
    assert_eq!(catalogue.latest("play").expect("a type").pii("nosuchfield"), None);
}

#[test]
fn a_stop_without_seconds_listened_is_refused() {
    let catalogue = Catalogue::bundled().expect("the bundled catalogue");
    let schema = catalogue.latest("play").expect("play");
    let event = json!({"eventtype": "play", "action": "stop", "musicsource": "tidal"});
    let errors = verdict(schema, &event).expect_err("seconds are missing");
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].message, "must have the field secondslistened");
}

#[test]
fn versions_are_found_by_number_and_the_latest_by_order() {
    let versioned = |version: &str| {
        let mut document = play();
        document["properties"]["schemaversion"]["const"] = json!(version);
        (format!("play/{version}.json"), document.to_string())
    };
    let catalogue =
        Catalogue::from_documents(["1-0-9", "1-0-10", "1-0-0"].map(versioned)).expect("three versions");
    let version = |text: &str| text.parse::<SchemaVersion>().expect("a version");
    assert_eq!(
        catalogue.latest("play").expect("play").version(),
        version("1-0-10")
    );
    assert!(catalogue.get("play", version("1-0-9")).is_some());
    assert!(catalogue.get("play", version("1-0-8")).is_none());
    assert!(catalogue.latest("nosuchtype").is_none());
    let versions: Vec<_> = catalogue
        .versions("play")
        .expect("play")
        .map(|schema| schema.version().to_string())
        .collect();
    assert_eq!(versions, ["1-0-0", "1-0-9", "1-0-10"]);
}

#[test]
fn paths_must_say_type_and_version() {
    for (path, expected) in [
        ("play.json", "the path must be"),
        ("play/1-0-0", "the path must be"),
        ("Play/1-0-0.json", "the folder is not an event type"),
        ("../1-0-0.json", "the folder is not an event type"),
        ("play/latest.json", "the file name is not a version"),
        ("play/1-0-0/x.json", "the file name is not a version"),
        (
            "navigation/1-0-0.json",
            "field eventtype: must have \"const\": \"navigation\"",
        ),
        (
            "play/1-0-1.json",
            "field schemaversion: must have \"const\": \"1-0-1\"",
        ),
    ] {
        let problem = problem(path, &play());
        assert!(problem.starts_with(&format!("schema {path}: ")), "{problem}");
        assert!(problem.contains(expected), "{problem}");
    }
}

#[test]
fn the_same_version_twice_is_refused() {
    let document = ("play/1-0-0.json", play().to_string());
    let error = Catalogue::from_documents([document.clone(), document]).expect_err("twice");
    assert!(matches!(error.problem, CatalogueProblem::Twice));
}

#[test]
fn unfit_documents_are_refused_with_what_is_wrong() {
    type Change = Box<dyn FnOnce(&mut Value)>;
    fn set(pointer: &'static str, value: Value) -> Change {
        Box::new(move |document| *document.pointer_mut(pointer).expect("there") = value)
    }
    fn remove(parent: &'static str, name: &'static str) -> Change {
        Box::new(move |document| {
            let parent = document.pointer_mut(parent).and_then(Value::as_object_mut);
            parent.expect("an object").remove(name);
        })
    }
    fn field(name: &'static str, definition: Value) -> Change {
        Box::new(move |document| document["properties"][name] = definition)
    }
    let cases: Vec<(&str, Change)> = vec![
        (
            "field track: must have \"x-pii\"",
            remove("/properties/track", "x-pii"),
        ),
        (
            "field track: must have \"x-pii\"",
            set("/properties/track/x-pii", json!("maybe")),
        ),
        ("\"$schema\" must be", remove("", "$schema")),
        (
            "\"$schema\" must be",
            set("/$schema", json!("http://json-schema.org/draft-07/schema")),
        ),
        (
            "must have \"additionalProperties\"",
            remove("", "additionalProperties"),
        ),
        (
            "must have \"additionalProperties\"",
            set("/additionalProperties", json!({})),
        ),
        (
            "no \"patternProperties\"",
            Box::new(|document| document["patternProperties"] = json!({"^x": {"type": "string"}})),
        ),
        ("must describe an object", set("/type", json!("array"))),
        ("must describe an object", remove("", "properties")),
        ("must have \"x-producer\"", remove("", "x-producer")),
        ("must have \"x-producer\"", set("/x-producer", json!([]))),
        (
            "must have \"x-producer\"",
            set("/x-producer", json!(["device", "fridge"])),
        ),
        ("field userid is missing", remove("/properties", "userid")),
        (
            "field partnerid: only the server",
            field("partnerid", json!({"x-pii": "keep"})),
        ),
        (
            "field Mood: a name must be",
            field("Mood", json!({"x-pii": "keep"})),
        ),
        (
            "field tags: an event is flat",
            field("tags", json!({"x-pii": "keep", "type": "array"})),
        ),
        (
            "the reference https://example.org/s.json is not followed",
            field(
                "mood",
                json!({"x-pii": "keep", "$ref": "https://example.org/s.json"}),
            ),
        ),
        (
            "the reference file:///etc/passwd is not followed",
            field(
                "mood",
                json!({"x-pii": "keep", "allOf": [{"$ref": "file:///etc/passwd"}]}),
            ),
        ),
        (
            "the reference #/properties/track is not followed",
            field(
                "mood",
                json!({"x-pii": "keep", "type": "string", "$ref": "#/properties/track"}),
            ),
        ),
        (
            "field mood: an event is flat",
            field("mood", json!({"x-pii": "keep", "maxLength": 5})),
        ),
        (
            "field mood: an event is flat",
            field("mood", json!({"x-pii": "keep", "type": ["string", "object"]})),
        ),
        (
            "not a valid schema",
            field("mood", json!({"x-pii": "keep", "type": "text"})),
        ),
        (
            "not a valid schema",
            field("mood", json!({"x-pii": "keep", "format": "mood"})),
        ),
        // A look-ahead cannot run in linear time.
        (
            "not a valid schema",
            field("mood", json!({"x-pii": "keep", "pattern": "^(?=a)a$"})),
        ),
    ];
    for (expected, change) in cases {
        let problem = changed(change);
        assert!(problem.contains(expected), "{problem}, not {expected}");
    }
}

#[test]
fn a_definition_of_the_document_itself_is_followed() {
    let mut document = play();
    document["$defs"] = json!({"mood": {"enum": ["calm", "wild"]}});
    document["properties"]["mood"] = json!({"x-pii": "keep", "type": "string", "$ref": "#/$defs/mood"});
    let catalogue = Catalogue::from_documents([("play/1-0-0.json", document.to_string())]).expect("fit");
    let mut event = json!({"eventtype": "play", "action": "play", "musicsource": "tidal", "mood": "calm"});
    let schema = catalogue.latest("play").expect("play");
    assert_eq!(verdict(schema, &event), Ok(()));
    event["mood"] = json!("sad");
    assert!(verdict(schema, &event).is_err());
}

#[test]
fn all_unfit_documents_are_told_beside_the_fit_ones() {
    let bad = |path: &'static str| (path, "{}".to_owned());
    let (catalogue, unfit) = Catalogue::gather([
        bad("play/1-0-1.json"),
        ("play/1-0-0.json", play().to_string()),
        bad("play/2-0-0.json"),
    ]);
    assert!(catalogue.latest("play").is_some());
    let unfit: Vec<_> = unfit.into_iter().map(|error| error.path).collect();
    assert_eq!(unfit, ["play/1-0-1.json", "play/2-0-0.json"]);
}

#[test]
fn examples_that_the_schema_itself_refuses_are_found() {
    let mut document = play();
    assert_eq!(broken_examples(&document), []);
    document["examples"][1]["action"] = json!("jump");
    let broken = broken_examples(&document);
    assert_eq!(broken.len(), 1);
    assert_eq!((broken[0].0, broken[0].1[0].pointer.as_str()), (1, "/action"));
}

fn broken_examples(document: &Value) -> Vec<(usize, Vec<crate::SchemaError>)> {
    let catalogue = Catalogue::from_documents([("play/1-0-0.json", document.to_string())]).expect("fit");
    catalogue.latest("play").expect("play").broken_examples()
}

#[test]
fn the_bundled_versions_do_not_break_each_other() {
    let catalogue = Catalogue::bundled().expect("the bundled catalogue");
    assert_eq!(catalogue.breaches(), []);
}

#[test]
fn a_document_that_is_not_json_says_where() {
    let error = Catalogue::from_documents([("play/1-0-0.json", b"{\"a\":1,\"a\":2}")]).expect_err("twice");
    assert!(
        error.to_string().contains("this name is there twice (at byte"),
        "{error}"
    );
}
