//! What is in the stream is what was sent plus the server's fields, byte for byte: events of any
//! contents and spelling, in every shape of a body, through the whole service.

use std::{collections::BTreeMap, io::Write};

use event_model::SERVER_SET_FIELDS;
use flate2::{Compression, write::GzEncoder};
use proptest::{
    option,
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};

use crate::collector::{Collector, answer, with_header};

/// A text as JSON, each character spelt plainly or escaped.
fn text(longest: usize) -> impl Strategy<Value = String> {
    let character = (any::<char>().prop_filter("no NUL", |one| *one != '\0'), 0..4_u8);
    proptest::collection::vec(character, 1..longest).prop_map(|characters| {
        let mut json = String::from("\"");
        for (character, spelling) in characters {
            match spelling {
                0 => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        json.push_str(&format!("\\u{unit:04X}"));
                    }
                }
                _ => json.push_str(Value::from(character.to_string()).to_string().trim_matches('"')),
            }
            // A quotation mark is written `\"`, of which the trimming above takes the mark.
            if spelling != 0 && character == '"' {
                json.push('"');
            }
        }
        json.push('"');
        json
    })
}

/// A number of seconds in one of the ways in which JSON writes it.
fn seconds() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..86_400_u32).prop_map(|whole| whole.to_string()),
        (0..86_399_u32, "[0-9]{1,40}").prop_map(|(whole, digits)| format!("{whole}.{digits}")),
        (0..8_u32, 0..4_u8, any::<bool>()).prop_map(|(digit, exponent, plus)| {
            format!("{digit}.50{}{exponent}", if plus { "E+" } else { "e" })
        }),
        Just("-0".to_owned()),
        Just("-0.0e-99".to_owned()),
        Just("1e-400".to_owned()),
    ]
}

/// White space wherever JSON allows it, line breaks included.
fn space() -> impl Strategy<Value = String> {
    prop_oneof![4 => Just(String::new()), 1 => "[ \t\r\n]{1,3}"]
}

/// A valid play event as a client may write it, without its id: its members in any order.
fn event() -> impl Strategy<Value = String> {
    let members = (
        text(40),
        option::of(text(40)),
        option::of(text(20)),
        seconds(),
        option::of("[a-z0-9]{1,8}"),
        any::<bool>(),
    );
    let members = members.prop_map(|(track, artist, genre, seconds, device, version)| {
        let mut members = vec![
            ("action".to_owned(), "\"stop\"".to_owned()),
            ("m\\u0075sicsource".to_owned(), "\"tidal\"".to_owned()),
            ("track".to_owned(), track),
            ("secondslistened".to_owned(), seconds),
        ];
        let optional = [
            ("artist", artist),
            ("genre", genre),
            ("deviceid", device.map(|device| format!("\"spk-{device}\""))),
            ("schemaversion", version.then(|| "\"1-0-0\"".to_owned())),
        ];
        let given = optional.into_iter();
        members.extend(given.filter_map(|(name, value)| Some((name.to_owned(), value?))));
        members
    });
    let shuffled = members.prop_flat_map(|members| Just(members).prop_shuffle());
    (shuffled, proptest::collection::vec(space(), 40)).prop_map(|(members, spaces)| {
        let mut spaces = spaces.into_iter().cycle();
        let mut space = || spaces.next().expect("without end");
        let mut json = String::from("{");
        for (index, (name, value)) in members.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            json.push_str(&format!(
                "{comma}{}\"{name}\"{}:{}{value}{}",
                space(),
                space(),
                space(),
                space()
            ));
        }
        json.push('}');
        json
    })
}

/// How a batch of events is put into a body.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Single,
    Array,
    Batch,
    Lines,
    Zipped,
}

/// Sends the events in this shape, of the type in the path; their ids, as the server gave them.
async fn send(collector: &Collector, shape: Shape, events: &[String]) -> Vec<String> {
    let body = match shape {
        Shape::Single => format!("\n {} ", events[0]),
        Shape::Array | Shape::Zipped => format!("[ {}\r\n]", events.join(" ,\n")),
        Shape::Batch => format!(
            "{{\"events\" : [{}], \"sentat\":\"2026-03-02T08:14:09Z\"}}",
            events.join(",")
        ),
        Shape::Lines => events.join("\r\n\n"),
    };
    let request = |body: Vec<u8>| collector.post("/v1/events/play", body);
    let request = match shape {
        Shape::Lines => with_header(request(body.into()), "content-type", "application/x-ndjson"),
        Shape::Zipped => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(body.as_bytes()).expect("into memory");
            let body = encoder.finish().expect("into memory");
            with_header(request(body), "content-encoding", "gzip")
        }
        Shape::Single | Shape::Array | Shape::Batch => request(body.into()),
    };
    let (status, answer) = answer(request.send().await.expect("an answer")).await;
    assert_eq!(status, 200, "{shape:?}: {answer}");
    let results = answer["results"].as_array().expect("results").iter();
    results
        .map(|result| result["eventid"].as_str().expect("an id").to_owned())
        .collect()
}

#[tokio::test]
async fn every_event_is_stored_as_it_was_sent_behind_the_server_s_fields() {
    let collector = Collector::start(&[]).await;
    let mut runner = TestRunner::new(Config::default());
    let mut sent = BTreeMap::new();
    let shapes = [
        Shape::Single,
        Shape::Array,
        Shape::Batch,
        Shape::Lines,
        Shape::Zipped,
    ];
    for shape in shapes.into_iter().cycle().take(40) {
        let mut events: Vec<String> = (0..8)
            .map(|_| event().new_tree(&mut runner).expect("an event").current())
            .collect();
        match shape {
            Shape::Single => events.truncate(1),
            // A line cannot hold a line break; a tab is as good there.
            Shape::Lines => {
                events = events
                    .iter()
                    .map(|event| event.replace(['\r', '\n'], "\t"))
                    .collect();
            }
            Shape::Array | Shape::Batch | Shape::Zipped => {}
        }
        let ids = send(&collector, shape, &events).await;
        assert_eq!(ids.len(), events.len());
        sent.extend(ids.into_iter().zip(events));
    }

    let stored = collector.stored().await;
    assert_eq!(stored.len(), sent.len());
    for stored in stored {
        let id = stored.field("eventid").as_str().expect("an id").to_owned();
        let sent = sent.remove(&id).expect("each is there once");
        let read: Value = serde_json::from_str(&sent).expect("JSON");
        let tail = sent[1..].replace(['\r', '\n'], " ");
        let head = stored.line.strip_suffix(&format!(",{tail}"));
        let head = head.unwrap_or_else(|| panic!("{:?} does not end with {tail:?}", stored.line));
        let added: Value = serde_json::from_str(&format!("{head}}}")).expect("JSON");
        assert_eq!(
            added.to_string().len(),
            head.len() + 1,
            "written once, without white space: {head}"
        );
        for (name, value) in [
            ("eventid", json!(id)),
            ("eventtype", json!("play")),
            ("partnerid", json!("northwind")),
            ("clientid", json!("platform")),
        ] {
            assert_eq!(added[name], value, "{head}");
        }
        let version = read["schemaversion"].is_null().then(|| json!("1-0-0"));
        assert_eq!(added.get("schemaversion"), version.as_ref(), "{head}");
        let received = added["receivedtime"].as_str().expect("a time");
        received.parse::<jiff::Timestamp>().expect("a time");
        let allowed = ["eventid", "eventtype", "schemaversion"];
        for name in added.as_object().expect("an object").keys().map(String::as_str) {
            assert!(
                allowed.contains(&name) || SERVER_SET_FIELDS.contains(&name),
                "{name}"
            );
            assert!(read.get(name).is_none(), "{name} is there twice");
        }
        let key = read["deviceid"].as_str().unwrap_or(&id);
        assert_eq!(stored.partition_key, key);
    }
    assert!(sent.is_empty(), "{} are not in the stream", sent.len());
}
