//! What prefixes become, and which are refused.

use proptest::prelude::*;

use super::*;

fn prefix(text: &str) -> Prefix {
    text.parse().expect("a valid prefix")
}

fn render(text: &str, period: &str, values: &[&str]) -> String {
    let values: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
    prefix(text).render(period.parse().expect("a period"), &Partition::of(&values))
}

#[test]
fn a_prefix_without_a_date_is_followed_by_one() {
    assert_eq!(render("", "2026-01-31", &[]), "2026/01/31/");
    assert_eq!(render("raw/", "2026-01-31", &[]), "raw/2026/01/31/");
    assert_eq!(
        render("raw/!{partitionKey:partnerid}/", "2026-01-31", &["acme"]),
        "raw/acme/2026/01/31/"
    );
}

#[test]
fn expressions_become_what_firehose_makes_of_them() {
    let cases = [
        ("raw/!{timestamp:yyyy/MM/dd}/", "2026-01-31", "raw/2026/01/31/"),
        ("dt=!{timestamp:yyyy-MM-dd}/", "2026-01-31", "dt=2026-01-31/"),
        (
            "!{timestamp:yyyy'-'MM'-'dd}/h=!{timestamp:HH}/",
            "2026-01-31T05",
            "2026-01-31/h=05/",
        ),
        (
            "!{timestamp:'year='yyyy'/month='MM}/",
            "2026-01-31",
            "year=2026/month=01/",
        ),
        (
            "e/!{firehose:error-output-type}/",
            "2026-01-31",
            "e/processing-failed/2026/01/31/",
        ),
    ];
    for (text, period, rendered) in cases {
        assert_eq!(render(text, period, &[]), rendered, "{text}");
    }
    assert_eq!(
        render(
            "c=!{partitionKey:c}/p=!{partitionKey:p}/again/!{partitionKey:c}/",
            "2026-01-31",
            &["CN", "acme"]
        ),
        "c=CN/p=acme/again/CN/2026/01/31/"
    );
}

#[test]
fn the_finest_unit_is_known() {
    assert_eq!(prefix("raw/").unit(), Unit::Day);
    assert_eq!(prefix("!{timestamp:yyyy/MM}/").unit(), Unit::Day);
    assert_eq!(prefix("!{timestamp:yyyy/MM/dd/HH}/").unit(), Unit::Hour);
    assert!(!prefix("!{timestamp:yyyy/MM}/").names_the_day());
    assert!(prefix("raw/").names_the_day());
}

#[test]
fn what_cannot_work_is_refused_with_the_reason() {
    let cases = [
        ("/raw/", "begin with /"),
        ("raw//", "//"),
        ("a b", "' '"),
        ("raw/!{timestamp:yyyy", "end with }"),
        ("!{timestamp:yyyy/MM/dd/HH/mm}/", "finer than an hour"),
        ("!{timestamp:YYYY/MM/dd}/", "\"YYYY\""),
        ("!{timestamp:yyyy/M/d}/", "\"M\""),
        ("!{timestamp:yyyy'year}/", "does not end"),
        ("!{firehose:random-string}/", "same key"),
        ("!{partitionKeyFromQuery:partnerid}/", "!{partitionKey:name}"),
        ("!{partitionKey:}/", "must name a field"),
        ("!{partitionKey:a.b}/", "must name a field"),
        ("raw/!{partitionKey:partnerid}", "followed by /"),
        ("!{partitionKey:a}!{partitionKey:b}/", "followed by /"),
        ("!{partitionKey:a}-x/", "followed by /"),
        ("!{what:ever}/", "unknown"),
        (
            "!{partitionKey:a}/!{partitionKey:b}/!{partitionKey:c}/!{partitionKey:d}/!{partitionKey:e}/",
            "at most",
        ),
    ];
    for (text, reason) in cases {
        let error = text.parse::<Prefix>().expect_err(text).to_string();
        assert!(error.contains(reason), "{text} says {error:?}");
    }
}

#[test]
fn a_prefix_is_written_as_it_was_read() {
    for text in ["", "raw/", "dt=!{timestamp:yyyy-MM-dd}/!{partitionKey:p}/"] {
        let json = serde_json::to_string(&prefix(text)).expect("serialisable");
        assert_eq!(
            serde_json::from_str::<Prefix>(&json).expect("a prefix"),
            prefix(text)
        );
    }
}

#[test]
fn a_value_that_could_leave_its_folder_is_no_value() {
    for value in ["acme", "a", "A-1_b.c", &"x".repeat(VALUE_BYTES_MAX)] {
        assert!(is_valid_value(value), "{value}");
    }
    let long = "x".repeat(VALUE_BYTES_MAX + 1);
    let bad = [
        "", ".", "..", "../b", "a/b", "a\\b", "_hoard", ".a", "a b", "a\u{0}", "a%2fb", "ä", "a\n", &long,
    ];
    for value in bad {
        assert!(!is_valid_value(value), "{value:?}");
    }
}

#[test]
fn keys_of_a_day_are_recognised_whatever_their_partition_and_hour() {
    let day = jiff::civil::date(2026, 1, 31);
    let cases = [
        ("raw/", "raw/2026/01/31/", "raw/2026/01/31/name"),
        ("raw/!{partitionKey:p}/", "raw/", "raw/acme/2026/01/31/name"),
        (
            "raw/!{timestamp:yyyy/MM/dd/HH}/",
            "raw/2026/01/31/",
            "raw/2026/01/31/05/name",
        ),
        (
            "!{timestamp:yyyy/MM}/!{partitionKey:p}/x/",
            "2026/01/",
            "2026/01/acme/x/name",
        ),
    ];
    for (text, folder, key) in cases {
        assert_eq!(prefix(text).folder(day), folder);
        assert!(prefix(text).is_of(key, day), "{text}");
    }
    for key in [
        "raw/acme/2026/01/30/name",
        "raw/acme/2026/01/31/x/name",
        "raw/_x/2026/01/31/name",
        "raw/",
        "raw/acme",
    ] {
        assert!(!prefix("raw/!{partitionKey:p}/").is_of(key, day), "{key}");
    }
}

proptest! {
    /// Ring-fencing: whatever two partitions are called, neither's folder holds the other's objects.
    #[test]
    fn no_partition_reaches_into_another(
        a in proptest::collection::vec("[a-c-][a-c._-]{0,3}", 2),
        b in proptest::collection::vec("[a-c-][a-c._-]{0,3}", 2),
    ) {
        prop_assume!(a != b);
        for text in ["raw/!{partitionKey:x}/y=!{partitionKey:y}/", "!{partitionKey:x}/!{timestamp:yyyy}/!{partitionKey:y}/"] {
            let period: Period = "2026-01-31".parse().expect("a day");
            let (a, b) = (prefix(text).render(period, &Partition::of(&a)), prefix(text).render(period, &Partition::of(&b)));
            prop_assert!(!a.starts_with(&b) && !b.starts_with(&a), "{} and {}", a, b);
        }
    }
}
