//! Input made to break things: a precise answer, and a service that goes on.

use serde_json::{Value, json};

use crate::collector::{Collector, answer};

/// A body, its status, and the code in the answer: of the problem, or of the first result.
fn cases() -> Vec<(&'static str, Vec<u8>, u16, &'static str)> {
    let play = r#""eventtype":"play","action":"play","musicsource":"tidal""#;
    let event = |more: &str| format!("{{{play}{more}}}").into_bytes();
    let deep = |open: &str, close: &str, times: usize| {
        event(&format!(
            r#","track":{}1{}"#,
            open.repeat(times),
            close.repeat(times)
        ))
    };
    vec![
        ("nothing", b"".to_vec(), 400, "not_json"),
        ("white space", b" \n\t".to_vec(), 400, "not_json"),
        ("no JSON", b"hello".to_vec(), 400, "not_json"),
        ("half an object", b"{\"eventtype\":".to_vec(), 400, "not_json"),
        (
            "trailing bytes",
            [event(""), b"x".to_vec()].concat(),
            400,
            "not_json",
        ),
        ("two values", [event(""), event("")].concat(), 400, "not_json"),
        (
            "a byte order mark",
            [b"\xef\xbb\xbf".to_vec(), event("")].concat(),
            400,
            "not_json",
        ),
        (
            "a NUL in front",
            [b"\0".to_vec(), event("")].concat(),
            400,
            "not_json",
        ),
        ("a NUL in a text", event(",\"track\":\"\0\""), 400, "not_json"),
        (
            "an escaped NUL in a text",
            event(",\"track\":\"a\\u0000b\""),
            422,
            "malformed",
        ),
        (
            "an escaped NUL in a name",
            event(",\"tr\\u0000ck\":\"a\""),
            422,
            "invalid",
        ),
        (
            "a low surrogate first",
            event(",\"track\":\"\\udc00\\ud800\""),
            422,
            "malformed",
        ),
        (
            "a number that takes an exponent to be huge",
            event(",\"secondslistened\":1e400"),
            422,
            "malformed",
        ),
        (
            "a number of twenty thousand digits",
            event(&format!(",\"secondslistened\":{}", "9".repeat(20_000))),
            422,
            "malformed",
        ),
        (
            "a number of a hundred thousand digits",
            event(&format!(",\"secondslistened\":0.{}", "9".repeat(100_000))),
            413,
            "too_large",
        ),
        (
            "a name twice, in an array, deep",
            event(",\"x\":[[{\"y\":[{\"a\":1,\"b\":2,\"\\u0061\":3}]}]]"),
            422,
            "malformed",
        ),
        (
            "invalid UTF-8",
            [b"{\"a\":\"".to_vec(), vec![0xc3, 0x28], b"\"}".to_vec()].concat(),
            400,
            "not_json",
        ),
        (
            "UTF-16",
            "{}".encode_utf16().flat_map(u16::to_le_bytes).collect(),
            400,
            "not_json",
        ),
        (
            "a million brackets",
            "[".repeat(1_000_000).into_bytes(),
            400,
            "not_json",
        ),
        (
            "a leading zero",
            event(",\"secondslistened\":01"),
            400,
            "not_json",
        ),
        ("NaN", event(",\"secondslistened\":NaN"), 400, "not_json"),
        ("a number", b"1".to_vec(), 400, "wrong_shape"),
        ("an empty array", b"[]".to_vec(), 400, "wrong_shape"),
        (
            "a batch of nothing",
            b"{\"events\":[]}".to_vec(),
            400,
            "wrong_shape",
        ),
        (
            "a batch in disorder",
            b"{\"events\":7}".to_vec(),
            400,
            "wrong_shape",
        ),
        (
            "a name twice",
            event(",\"track\":\"a\",\"track\":\"b\""),
            422,
            "malformed",
        ),
        (
            "a name twice, escaped",
            event(",\"track\":\"a\",\"tr\\u0061ck\":\"b\""),
            422,
            "malformed",
        ),
        (
            "a name twice, within",
            event(",\"x\":{\"a\":1,\"a\":2}"),
            422,
            "malformed",
        ),
        (
            "the server's name",
            event(",\"partnerid\":\"victim\""),
            422,
            "malformed",
        ),
        (
            "the server's name, escaped",
            event(",\"partner\\u0069d\":\"victim\""),
            422,
            "malformed",
        ),
        (
            "a lone surrogate",
            event(",\"track\":\"\\ud800\""),
            422,
            "malformed",
        ),
        (
            "a number beyond all floats",
            event(",\"secondslistened\":1e999"),
            422,
            "malformed",
        ),
        ("arrays in arrays", deep("[", "]", 40), 422, "malformed"),
        ("objects in objects", deep("{\"a\":", "}", 40), 422, "malformed"),
        ("arrays as events", b"[[],[[]]]".to_vec(), 422, "malformed"),
        ("nulls as events", b"[null]".to_vec(), 422, "malformed"),
        ("no type", b"{}".to_vec(), 422, "missing_type"),
        (
            "a type that is a path",
            b"{\"eventtype\":\"../play\"}".to_vec(),
            422,
            "invalid_envelope",
        ),
        (
            "a type that is a number",
            b"{\"eventtype\":1}".to_vec(),
            422,
            "invalid_envelope",
        ),
        (
            "an id that is none",
            event(",\"eventid\":\"1\""),
            422,
            "invalid_envelope",
        ),
        (
            "a version that is none",
            event(",\"schemaversion\":\"1.0\""),
            422,
            "invalid_envelope",
        ),
        (
            "a version to come",
            event(",\"schemaversion\":\"9-0-0\""),
            422,
            "unknown_version",
        ),
        ("nesting within bounds", deep("[", "]", 3), 422, "invalid"),
        ("an unknown field", event(",\"mood\":\"x\""), 422, "invalid"),
        ("the prototype", event(",\"__proto__\":{\"a\":1}"), 422, "invalid"),
        (
            "a number without end",
            event(&format!(",\"secondslistened\":{}", "9".repeat(300))),
            422,
            "invalid",
        ),
        (
            "a time that is none",
            event(",\"eventtime\":\"yesterday\""),
            422,
            "invalid",
        ),
        ("a country for a track", event(",\"track\":false"), 422, "invalid"),
    ]
}

#[tokio::test]
async fn hostile_bodies_get_a_precise_answer_and_change_nothing() {
    let collector = Collector::start(&[]).await;
    for (name, body, expected, code) in cases() {
        let response = collector.post("/v1/events", body).send().await.expect(name);
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json",
            "{name}"
        );
        let (status, answer) = answer(response).await;
        let found = if answer["results"].is_null() {
            &answer
        } else {
            &answer["results"][0]
        };
        assert_eq!(
            (status, &found["code"]),
            (expected, &json!(code)),
            "{name}: {answer}"
        );
        match code {
            "not_json" => assert!(
                answer["detail"].as_str().expect(name).contains("at byte"),
                "{name}"
            ),
            "wrong_shape" => {}
            _ => assert!(found["errors"][0]["message"].is_string(), "{name}: {answer}"),
        }
    }
    assert!(collector.stored().await.is_empty());
    let event = json!({"eventtype": "play", "action": "play", "musicsource": "tidal"});
    assert_eq!(
        collector.send(event.to_string()).await.0,
        200,
        "the service goes on"
    );
}

/// Where an event is malformed is said by pointer and by byte of the event.
#[tokio::test]
async fn a_malformed_event_is_told_where() {
    let collector = Collector::start(&[]).await;
    let number = format!("{{\"a\":{}}}", "9".repeat(20_000));
    for (event, pointer, said) in [
        (
            r#"{"x":[{"a":1,"a":2}]}"#,
            "/x/0/a",
            "this name is there twice (at byte ",
        ),
        (
            r#"{"countrycode":"cn"}"#,
            "/countrycode",
            "only the server sets this field (at byte ",
        ),
        (
            r#"{"a":"\u0000"}"#,
            "/a",
            "a text must not hold the character U+0000 (at byte ",
        ),
        (r#"{"a":"\ud800"}"#, "", "(at byte 1"),
        (r#"{"a":1e400}"#, "", "number out of range (at byte "),
        (number.as_str(), "", "number out of range (at byte "),
    ] {
        let (status, answer) = collector.send(event.to_owned()).await;
        let error = &answer["results"][0]["errors"][0];
        assert_eq!((status, &error["pointer"]), (422, &json!(pointer)), "{answer}");
        let message = error["message"].as_str().expect("text");
        assert!(message.contains(said), "{message}, not {said}");
    }
    for (body, at) in [
        ("\u{feff}{}", "(at byte 0)"),
        ("{} {}", "(at byte 3)"),
        ("[{},]", "(at byte 4)"),
        ("{\"a\":\"\u{0}\"}", "(at byte 5)"),
    ] {
        let (status, answer) = collector.send(body).await;
        let detail = answer["detail"].as_str().expect("text");
        assert_eq!(status, 400);
        assert!(detail.ends_with(at), "{detail}, not {at}");
    }
}

/// Larger than any body may be by default: it is refused by its size, or where it stops to be JSON.
#[tokio::test]
async fn ten_megabytes_of_brackets_are_refused() {
    let brackets = "[".repeat(10_000_000);
    let collector = Collector::start(&[]).await;
    assert_eq!(collector.send(brackets.clone()).await.0, 413);
    let roomy = ["--max-body-bytes", "16MiB", "--max-decompressed-bytes", "16MiB"];
    let collector = Collector::start(&roomy).await;
    let (status, answer) = collector.send(brackets).await;
    assert_eq!((status, &answer["code"]), (400, &json!("not_json")));
    let (status, _) = collector.send("{\"a\":".repeat(1_600_000)).await;
    assert_eq!(status, 400);
    assert_eq!(collector.metric("events_in_flight_bytes"), 0.0);
}

#[tokio::test]
async fn one_hostile_event_does_not_harm_its_neighbours() {
    let collector = Collector::start(&[]).await;
    let good = r#"{"eventtype":"play","action":"play","musicsource":"tidal"}"#;
    let body = format!("[{good},{{\"a\":1,\"a\":2}},{{\"a\":\"\\udfff\"}},{good},7]");
    let (status, answer) = collector.send(body).await;
    let statuses: Vec<_> = (0..5).map(|at| answer["results"][at]["status"].clone()).collect();
    assert_eq!(status, 207);
    assert_eq!(
        statuses,
        ["accepted", "rejected", "rejected", "accepted", "rejected"]
    );
    assert_eq!(answer["results"][1]["errors"][0]["pointer"], "/a");
    assert_eq!(collector.stored().await.len(), 2);
}

#[tokio::test]
async fn answers_to_hostile_events_are_bounded() {
    let collector = Collector::start(&[]).await;
    let fields: serde_json::Map<String, Value> = (0..3_000)
        .map(|number| (format!("f{number}"), json!(1)))
        .collect();
    let mut event = Value::Object(fields);
    event["eventtype"] = json!("play");
    let (status, answer) = collector.send(event.to_string()).await;
    assert_eq!(status, 422);
    assert_eq!(
        answer["results"][0]["errors"].as_array().map(Vec::len),
        Some(event_model::MAX_ERRORS)
    );
    assert!(answer.to_string().len() < 4096);
}
