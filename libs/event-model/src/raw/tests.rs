use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn fault(json: impl AsRef<[u8]>) -> MalformedEvent {
    RawEvent::parse(json.as_ref(), 4).expect_err("malformed")
}

#[test]
fn what_is_read_is_what_was_sent() {
    let json = br#"  {"a":1,"b":[true,null,{"c":-2.5}],"d":"\u00e5"} "#;
    let event = RawEvent::parse(json, 4).expect("well-formed");
    assert_eq!(event.bytes(), json.trim_ascii());
    assert_eq!(
        event.tree().to_value(),
        serde_json::from_slice::<Value>(json).expect("JSON")
    );
    assert_eq!(event.field("d").and_then(Tree::as_str), Some("å"));
}

#[test]
fn duplicate_names_are_refused_at_any_depth_and_in_any_spelling() {
    for (json, pointer) in [
        (r#"{"a":1,"a":1}"#, "/a"),
        (r#"{"a":1,"\u0061":2}"#, "/a"),
        (r#"{"x":[{"y":{"a":1,"b":2,"a":3}}]}"#, "/x/0/y/a"),
        (r#"{"x":[0,1,{"":1,"":2}]}"#, "/x/2/"),
        (r#"{"a/b~":{"c":1,"c":1}}"#, "/a~1b~0/c"),
    ] {
        let fault = fault(json);
        assert_eq!(fault.reason, MalformedReason::DuplicateName, "{json}");
        assert_eq!(fault.pointer, pointer, "{json}");
    }
}

#[test]
fn duplicate_names_are_refused_among_many() {
    let names = |count: usize| (0..count).map(|number| format!(r#""n{number}":0"#));
    for count in [SEARCHED - 1, SEARCHED, SEARCHED + 1, 1_000] {
        let all = names(count).collect::<Vec<_>>().join(",");
        RawEvent::parse(format!("{{{all}}}").as_bytes(), 4).expect("no name is there twice");
        for twice in [0, count / 2, count - 1] {
            let json = format!(r#"{{{all},"\u006e{twice}":0,"x":0,"x":0}}"#);
            let fault = fault(&json);
            assert_eq!(fault.reason, MalformedReason::DuplicateName, "{count}, {twice}");
            assert_eq!(fault.pointer, format!("/n{twice}"));
        }
    }
}

#[test]
fn many_names_are_read_in_time_that_grows_with_their_number_alone() {
    let names: Vec<_> = (0..300_000).map(|number| format!(r#""{number:x}":0"#)).collect();
    let json = format!("{{{}}}", names.join(","));
    let started = processor_time();
    RawEvent::parse(json.as_bytes(), 4).expect("well-formed");
    // Compared one by one they would take minutes.
    assert!(processor_time() - started < Duration::from_secs(10));
}

#[test]
fn texts_are_copied_only_where_they_hold_an_escape() {
    let event = RawEvent::parse(r#"{"a":"å","\u0062":"\n"}"#.as_bytes(), 4).expect("well-formed");
    let owned: Vec<_> = event
        .tree()
        .members()
        .iter()
        .map(|(name, value)| {
            (
                matches!(name, Cow::Owned(_)),
                matches!(value, Tree::Text(Cow::Owned(_))),
            )
        })
        .collect();
    assert_eq!(owned, [(false, false), (true, true)]);
}

#[test]
fn the_same_name_in_two_objects_is_no_duplicate() {
    let json = br#"{"a":{"a":{"b":1}},"b":[{"a":1},{"a":1}]}"#;
    RawEvent::parse(json, 4).expect("well-formed");
}

#[test]
fn server_set_names_are_refused_at_the_top_alone() {
    for name in SERVER_SET_FIELDS {
        let fault = fault(format!(r#"{{"a":1,"{name}":"x"}}"#));
        assert_eq!(fault.reason, MalformedReason::ServerSetName);
        assert_eq!(fault.pointer, format!("/{name}"));
        RawEvent::parse(format!(r#"{{"a":{{"{name}":"x"}}}}"#).as_bytes(), 4).expect("not the top");
    }
    assert_eq!(
        fault(r#"{"partner\u0069d":1}"#).reason,
        MalformedReason::ServerSetName
    );
}

#[test]
fn depth_is_counted_from_the_event_itself() {
    RawEvent::parse(br#"{"a":[{"b":[1]}]}"#, 4).expect("depth 4");
    let fault = fault(r#"{"a":[{"b":[[1]]}]}"#);
    assert_eq!(fault.reason, MalformedReason::TooDeep { limit: 4 });
    assert_eq!(fault.pointer, "/a/0/b/0");
}

#[test]
fn a_limit_above_what_the_parser_takes_is_still_a_limit() {
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let fault = RawEvent::parse(deep.as_bytes(), usize::MAX).expect_err("too deep");
    assert_eq!(
        fault.reason,
        MalformedReason::TooDeep {
            limit: MAX_DEPTH_LIMIT
        }
    );
    assert!(fault.pointer.len() <= MAX_POINTER);
}

#[test]
fn an_event_is_an_object() {
    for json in ["[]", "[{}]", "1", "\"canary\"", "null", "true", "-1", "1.5"] {
        assert_eq!(fault(json).reason, MalformedReason::NotAnObject, "{json}");
    }
}

#[test]
fn hostile_bytes_are_refused_where_they_are() {
    let cases: [(&[u8], usize); 16] = [
        (b"", 0),
        (b"{", 1),
        (b"{}}", 2),
        (b"{} {}", 3),
        (b"\xef\xbb\xbf{}", 0),
        (b"{\"a\":1,}", 7),
        (b"{\"a\":01}", 6),
        (b"{\"a\":+1}", 5),
        (b"{\"a\":NaN}", 5),
        (b"{\"a\":1e999}", 9),
        (b"{'a':1}", 1),
        (b"{\"a\":\"\x00\"}", 6),
        (b"{\"a\":\"\xff\"}", 6),
        (b"{\"a\":\"\\ud800\"}", 12),
        (b"{\"a\":\"\\udc00x\"}", 11),
        (b"{\n\n  \"a\": oops}", 10),
    ];
    for (bytes, offset) in cases {
        let fault = fault(bytes);
        let shown = String::from_utf8_lossy(bytes);
        assert!(
            matches!(fault.reason, MalformedReason::Syntax(_)),
            "{shown}: {fault}"
        );
        assert!(
            fault.offset.abs_diff(offset) <= 1,
            "{shown}: {fault}, not near {offset}"
        );
    }
}

#[test]
fn an_escaped_nul_is_refused_in_a_text_at_any_depth() {
    for (json, pointer) in [
        (r#"{"a":"\u0000"}"#, "/a"),
        (r#"{"a":"x\u0000y"}"#, "/a"),
        (r#"{"b":[{"c":"\n\u0000"}]}"#, "/b/0/c"),
    ] {
        let fault = fault(json);
        assert_eq!(fault.reason, MalformedReason::Nul, "{json}");
        assert_eq!(fault.pointer, pointer, "{json}");
    }
    RawEvent::parse(br#"{"a":"\\u0000 \u0001"}"#, 4).expect("no NUL");
}

#[test]
fn numbers_may_be_long_and_not_huge() {
    let digits = "7".repeat(100_000);
    for (number, fits) in [
        (format!("0.{digits}"), true),
        (format!("-0.{digits}e-5"), true),
        (format!("1e-{digits}"), true),
        (format!("0e{digits}"), true),
        (digits.clone(), false),
        (format!("-{digits}.5"), false),
        (format!("1e{digits}"), false),
        ("1e400".to_owned(), false),
        ("-1e400".to_owned(), false),
        ("1.7976931348623157e308".to_owned(), true),
        ("1.7976931348623159e308".to_owned(), false),
        ("123456789012345678901234567890".to_owned(), true),
    ] {
        let json = format!("{{\"a\":{number}}}");
        let shown = &number[..number.len().min(30)];
        match RawEvent::parse(json.as_bytes(), 4) {
            Ok(event) => {
                assert!(fits, "{shown}");
                assert_eq!(event.bytes(), json.as_bytes(), "{shown}");
                let Some(Tree::Number(number)) = event.field("a") else {
                    panic!("{shown}: no number")
                };
                assert!(number.as_f64().is_some_and(f64::is_finite), "{shown}");
            }
            Err(fault) => {
                assert!(!fits, "{shown}: {fault}");
                let expected = MalformedReason::Syntax("number out of range".to_owned());
                assert_eq!(fault.reason, expected, "{shown}");
                assert!((5..=json.len()).contains(&fault.offset), "{shown}: {fault}");
            }
        }
    }
}

/// Bytes made to make a reader go over them again and again.
fn costly(bytes: usize) -> Vec<(&'static str, Vec<u8>)> {
    let filled = |head: &str, unit: &str, tail: &str| {
        let times = bytes.saturating_sub(head.len() + tail.len()) / unit.len();
        format!("{head}{}{tail}", unit.repeat(times)).into_bytes()
    };
    let names = |last: &str| {
        let names: String = (0..bytes / 14)
            .map(|number| format!("\"{number:09}\":1,"))
            .collect();
        format!("{{{names}\"{last}\":1}}").into_bytes()
    };
    vec![
        ("open brackets", filled("{\"a\":", "[", "")),
        ("open braces", filled("", "{\"a\":", "")),
        ("names", names("a")),
        ("names, the first again at the end", names("000000000")),
        ("one long name twice", {
            let name = "n".repeat(bytes / 2);
            format!("{{\"{name}\":1,\"{name}\":1}}").into_bytes()
        }),
        (
            "a long name above a fault",
            filled("{\"", "n", "\":{\"a\":1,\"a\":1}}"),
        ),
        ("line breaks before a fault", filled("{", "\n", "x")),
        ("items", filled("{\"a\":[1", ",1", "]}")),
        ("empty arrays", filled("{\"a\":[[]", ",[]", "]}")),
        ("escapes", filled("{\"a\":\"", "\\u0061", "\"}")),
        ("backslashes", filled("{\"a\":\"", "\\\\", "\"}")),
        ("surrogates", filled("{\"a\":\"", "\\ud83d\\ude00", "\\ud83d\"}")),
        ("digits", filled("{\"a\":0.", "7", "}")),
        ("an exponent", filled("{\"a\":1e", "7", "}")),
        ("white space", filled("{", " ", "}")),
        ("an open text", filled("{\"a\":\"", "x", "")),
    ]
}

/// What this thread has used of a processor, whatever else the machine does.
fn processor_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(used).expect("not negative")
}

/// Reading takes time in proportion to the bytes: sixteen times the bytes take about sixteen times as
/// long, a few times more where maps outgrow caches, and what is quadratic 256 times. The shortest of
/// several runs counts, because others fill the caches too.
#[test]
fn no_bytes_cost_more_than_their_number() {
    let shortest = |bytes: &[u8]| {
        let run = |_| {
            let started = processor_time();
            drop(RawEvent::parse(bytes, 32));
            processor_time() - started
        };
        (0..7).map(run).min().expect("several runs")
    };
    let (few, many) = (costly(10_000), costly(160_000));
    for ((name, few), (_, many)) in few.into_iter().zip(many) {
        let floor = Duration::from_micros(50);
        let (short, long) = (shortest(&few).max(floor), shortest(&many));
        assert!(
            long < short * 128,
            "{name}: {short:?} for one part, {long:?} for sixteen"
        );
    }
}

#[test]
fn ten_megabytes_are_read_or_refused_in_bounds() {
    let brackets = costly(10_000_000).into_iter().take(2);
    for (name, bytes) in brackets.chain(costly(200_000)) {
        match RawEvent::parse(&bytes, 32) {
            Ok(event) => assert_eq!(event.bytes(), bytes.trim_ascii(), "{name}"),
            Err(fault) => {
                assert!(fault.offset <= bytes.len(), "{name}");
                assert!(fault.pointer.len() <= MAX_POINTER, "{name}");
                assert!(fault.to_string().len() <= 2 * MAX_POINTER, "{name}");
            }
        }
    }
}

#[test]
fn no_error_repeats_a_value() {
    for json in [
        r#"{"a":"canary","a":1}"#,
        r#"{"partnerid":"canary"}"#,
        r#"{"a":[[[["canary"]]]]}"#,
        r#"{"a":"canary"#,
        r#"{"a":canary}"#,
        r#"{"a":"canary\x"}"#,
        r#""canary""#,
        r#"{"a":"canary"} canary"#,
    ] {
        let fault = fault(json);
        assert!(!format!("{fault} {fault:?}").contains("canary"), "{fault:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(RawEvent::parse(&bytes, 4));
    }

    #[test]
    fn no_text_near_to_json_makes_it_panic_and_offsets_stay_inside(
        text in r#"[\{\}\[\]":,\\ \na-c0-9.eu\-]{0,60}"#,
    ) {
        match RawEvent::parse(text.as_bytes(), 4) {
            Ok(event) => prop_assert!(serde_json::from_slice::<Value>(event.bytes()).is_ok()),
            Err(fault) => prop_assert!(fault.offset <= text.len()),
        }
    }
}
