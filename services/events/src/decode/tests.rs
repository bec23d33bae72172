use std::time::Duration;

use axum::http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn events(body: &str, format: Format) -> Result<Vec<&str>, Refusal> {
    Ok(decode(body.as_bytes(), format, 3)?.events)
}

fn refused(body: &str) -> Refusal {
    events(body, Format::Json).expect_err(body)
}

#[test]
fn every_shape_gives_its_events_byte_for_byte() {
    for (body, expected) in [
        (" {\"a\": 1.0}\n", vec!["{\"a\": 1.0}"]),
        ("{}", vec!["{}"]),
        ("[{\"a\":\t1}, {} ]", vec!["{\"a\":\t1}", "{}"]),
        ("[1,\"x\"]", vec!["1", "\"x\""]),
        ("{\"events\":[{\"a\":1}]}", vec!["{\"a\":1}"]),
        (
            "{\"sentat\":\"2026-03-02T08:14:09Z\",\"events\":[{},{ }]}",
            vec!["{}", "{ }"],
        ),
        ("{\"sentat\":\"x\"}", vec!["{\"sentat\":\"x\"}"]),
        ("{\"a\":1,\"a\":2}", vec!["{\"a\":1,\"a\":2}"]),
    ] {
        assert_eq!(events(body, Format::Json), Ok(expected), "{body}");
    }
}

#[test]
fn ndjson_has_an_event_a_line_and_each_line_stands_for_itself() {
    let body = "{\"a\":1}\r\n\n  {\"b\":\n{\"c\":3}";
    assert_eq!(
        events(body, Format::Ndjson),
        Ok(vec!["{\"a\":1}", "{\"b\":", "{\"c\":3}"])
    );
}

#[test]
fn a_body_that_is_not_json_is_refused_where_it_stops_to_be() {
    for (body, at) in [
        ("", 0),
        ("   ", 2),
        ("{\"a\":1", 6),
        ("[{},]", 4),
        ("[{}] x", 5),
        ("\u{feff}{}", 0),
        ("{\"a\":1}{\"b\":2}", 7),
        ("{\"events\":[{]}", 12),
        ("[\n{\"a\":1},\n{\"a\" 2}\n]", 16),
    ] {
        let Refusal::NotJson { offset, .. } = refused(body) else {
            panic!("{body}: not so")
        };
        assert!(offset.abs_diff(at) <= 1, "{body:?}: {offset}, not near {at}");
    }
}

#[test]
fn bytes_that_are_not_utf8_are_refused_where_they_are() {
    let refusal = decode(b"{\"a\":\"\xff\"}", Format::Json, 3).expect_err("not UTF-8");
    assert_eq!(
        refusal,
        Refusal::NotJson {
            offset: 6,
            problem: "not UTF-8".to_owned()
        }
    );
}

#[test]
fn json_that_holds_no_events_is_refused_with_what_to_send() {
    for (body, expected) in [
        ("[]", NO_EVENTS),
        ("{\"events\":[]}", NO_EVENTS),
        ("1", SHAPES),
        ("-1", SHAPES),
        ("1.5", SHAPES),
        ("true", SHAPES),
        ("null", SHAPES),
        ("\"canary\"", SHAPES),
        ("{\"events\":{}}", SHAPES),
        ("{\"events\":\"canary\"}", SHAPES),
        ("{\"events\":[],\"eventtype\":\"play\"}", SHAPES),
        ("{\"events\":[],\"events\":[]}", SHAPES),
        ("{\"sentat\":\"canary\",\"events\":[{}]}", SENTAT),
        ("{\"sentat\":5,\"events\":[{}]}", SENTAT),
    ] {
        assert_eq!(refused(body), Refusal::WrongShape(expected), "{body}");
    }
    assert_eq!(
        events("\n \n", Format::Ndjson),
        Err(Refusal::WrongShape(NO_EVENTS))
    );
}

#[test]
fn too_many_events_are_refused_in_every_shape() {
    let refusal = Refusal::TooManyEvents { limit: 3 };
    for body in ["[1,2,3,4]", "{\"events\":[1,2,3,4]}"] {
        assert_eq!(refused(body), refusal, "{body}");
    }
    assert_eq!(events("1\n2\n3\n4\n", Format::Ndjson), Err(refusal));
    assert_eq!(events("[1,2,3]", Format::Json).map(|events| events.len()), Ok(3));
}

#[test]
fn deep_bodies_are_skipped_over_without_recursion() {
    for open in ["[", "{\"a\":"] {
        refused(&open.repeat(1_000_000));
    }
    let body = format!("[{}{}]", "[".repeat(300_000), "]".repeat(300_000));
    assert_eq!(events(&body, Format::Json).map(|events| events.len()), Ok(1));
}

/// What this thread has used of a processor, whatever else the machine does.
fn processor_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(used).expect("not negative")
}

/// Finding the events takes time in proportion to the bytes: see `event_model`'s own test of this, with
/// the same bounds.
#[test]
fn no_body_costs_more_than_its_bytes() {
    let bodies = |bytes: usize| {
        let filled = |head: &str, unit: &str, tail: &str| {
            let times = (bytes - head.len() - tail.len()) / unit.len();
            format!("{head}{}{tail}", unit.repeat(times))
        };
        [
            ("brackets", filled("", "[", ""), Format::Json),
            ("braces", filled("", "{\"a\":", ""), Format::Json),
            ("names", filled("{\"a\":1", ",\"a\":1", "}"), Format::Json),
            (
                "sending times",
                filled("{\"sentat\":1", ",\"sentat\":1", "}"),
                Format::Json,
            ),
            (
                "batches in a batch",
                filled("{\"events\":", "[{\"events\":", ""),
                Format::Json,
            ),
            ("items", filled("[1", ",1", "]"), Format::Json),
            (
                "items in a batch",
                filled("{\"events\":[1", ",1", "]}"),
                Format::Json,
            ),
            (
                "nesting in a batch",
                filled("{\"events\":[", "[", "]}"),
                Format::Json,
            ),
            ("line breaks before a fault", filled("[", "\n", "x"), Format::Json),
            ("lines", filled("1", "\n1", ""), Format::Ndjson),
            ("blank lines", filled("1", "\n", ""), Format::Ndjson),
            ("carriage returns", filled("1", "\r", "\n"), Format::Ndjson),
            ("a bad byte at the end", filled("\"", "å", ""), Format::Json),
        ]
    };
    let shortest = |body: &str, format| {
        let run = |_| {
            let started = processor_time();
            drop(decode(body.as_bytes(), format, 500));
            processor_time() - started
        };
        (0..7).map(run).min().expect("several runs")
    };
    for ((name, few, format), (_, many, _)) in bodies(50_000).into_iter().zip(bodies(800_000)) {
        let floor = Duration::from_micros(50);
        let (short, long) = (shortest(&few, format).max(floor), shortest(&many, format));
        assert!(
            long < short * 128,
            "{name}: {short:?} for one part, {long:?} for sixteen"
        );
    }
}

#[test]
fn media_types_are_what_they_say() {
    let format = |pairs: &[(header::HeaderName, &'static str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        Format::of(&headers)
    };
    use header::CONTENT_TYPE;
    for (value, expected) in [
        ("application/json", Ok(Format::Json)),
        ("Application/JSON; charset=UTF-8", Ok(Format::Json)),
        ("application/json;charset=\"utf-8\"", Ok(Format::Json)),
        ("application/x-ndjson", Ok(Format::Ndjson)),
        ("application/json; charset=utf-16", Err(Refusal::MediaType)),
        ("text/plain", Err(Refusal::MediaType)),
        ("", Err(Refusal::MediaType)),
    ] {
        assert_eq!(format(&[(CONTENT_TYPE, value)]), expected, "{value}");
    }
    assert_eq!(format(&[]), Ok(Format::Json));
    let twice = [
        (CONTENT_TYPE, "application/json"),
        (CONTENT_TYPE, "application/json"),
    ];
    assert_eq!(format(&twice), Err(Refusal::MediaType));
}

proptest! {
    #[test]
    fn no_text_near_to_json_makes_it_panic(body in r#"[\{\}\[\]":,\\ \na-cevnts0-9.\-]{0,60}"#) {
        for format in [Format::Json, Format::Ndjson] {
            match decode(body.as_bytes(), format, 3) {
                Ok(events) => prop_assert!((1..=3).contains(&events.events.len())),
                Err(Refusal::NotJson { offset, .. }) => prop_assert!(offset <= body.len()),
                Err(_) => {}
            }
        }
    }
}

#[test]
fn only_the_batch_s_own_time_of_sending_counts() {
    let sent_at = |body: &str| decode(body.as_bytes(), Format::Json, 3).expect(body).sent_at;
    let time = "2026-03-02T08:14:09+01:00";
    let expected: Timestamp = time.parse().expect("a time");
    assert_eq!(
        sent_at(&format!("{{\"sentat\":\"{time}\",\"events\":[{{}}]}}")),
        Some(expected)
    );
    assert_eq!(
        sent_at(&format!("{{\"events\":[{{}}],\"sentat\":\"{time}\"}}")),
        Some(expected)
    );
    assert_eq!(sent_at("{\"events\":[{}]}"), None);
    assert_eq!(sent_at(&format!("{{\"sentat\":\"{time}\"}}")), None);
    assert_eq!(sent_at(&format!("[{{\"sentat\":\"{time}\"}}]")), None);
}
