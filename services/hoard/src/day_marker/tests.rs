//! What may count as complete.

use super::*;
use crate::encode::Compression;
use crate::layout::{Layout, LinesTo};
use crate::pending::Pending;
use crate::sequence::SequenceNumber;

const MINUTE: Duration = Duration::from_secs(60);

fn marker() -> DayMarker {
    DayMarker {
        prefix: "raw/".parse().expect("valid"),
        delay: 10 * MINUTE,
        interval: MINUTE,
    }
}

fn arrival(time: &str) -> Arrival {
    let time: jiff::Timestamp = time.parse().expect("RFC 3339");
    Arrival::from_millis(time.as_millisecond()).expect("in range")
}

fn id(name: &str) -> ShardId {
    ShardId::try_from(name.to_owned()).expect("valid")
}

fn claimed() -> ShardState {
    ShardState::claimed(None, "owner", uuid::Uuid::nil())
}

fn passed(time: &str) -> ShardState {
    ShardState {
        passed: Some(arrival(time)),
        ..claimed()
    }
}

fn ended() -> ShardState {
    ShardState {
        shard_end: true,
        ..claimed()
    }
}

fn first_incomplete(listed: &[&str], states: Vec<(&str, ShardState)>) -> Option<String> {
    let listed: Vec<_> = listed.iter().map(|name| id(name)).collect();
    let states = states
        .into_iter()
        .map(|(name, state)| (id(name), state))
        .collect();
    let first = marker().first_incomplete(&Zone::utc(), &listed, &states);
    first.map(|date| date.to_string())
}

#[test]
fn a_day_is_complete_when_every_shard_is_past_it_by_the_delay() {
    let at = |a, b| first_incomplete(&["a", "b"], vec![("a", passed(a)), ("b", passed(b))]);
    assert_eq!(
        at("2026-01-02T00:09:59Z", "2026-01-02T12:00:00Z").as_deref(),
        Some("2026-01-01")
    );
    assert_eq!(
        at("2026-01-02T00:10:00Z", "2026-01-02T12:00:00Z").as_deref(),
        Some("2026-01-02")
    );
    assert_eq!(
        at("2026-01-02T12:00:00Z", "2026-01-01T23:00:00Z").as_deref(),
        Some("2026-01-01")
    );
}

#[test]
fn a_shard_of_which_nothing_is_known_holds_every_day_up() {
    let known = || vec![("a", passed("2026-01-02T12:00:00Z"))];
    assert_eq!(first_incomplete(&["a"], known()).as_deref(), Some("2026-01-02"));
    // A child that was listed after the states were read; and one that nobody has read of yet.
    assert_eq!(first_incomplete(&["a", "child"], known()), None);
    let with_child = [known(), vec![("child", claimed())]].concat();
    assert_eq!(first_incomplete(&["a", "child"], with_child), None);
}

#[test]
fn a_shard_that_has_ended_holds_nothing_up_and_one_that_is_gone_neither() {
    let states = || {
        vec![
            ("parent", ended()),
            ("a", passed("2026-01-02T12:00:00Z")),
            ("gone", passed("2025-01-01T00:00:00Z")),
        ]
    };
    assert_eq!(
        first_incomplete(&["parent", "a"], states()).as_deref(),
        Some("2026-01-02")
    );
    assert_eq!(first_incomplete(&["parent"], states()), None);
}

#[test]
fn a_day_with_something_pending_is_not_complete() {
    let first = SequenceNumber::try_from("1".to_owned()).expect("valid");
    let pending = |period: &str| Pending {
        id: uuid::Uuid::new_v4(),
        first: first.clone(),
        last: first.clone(),
        records: 1,
        first_arrival: arrival("2026-01-01T23:59:00Z"),
        last_arrival: arrival("2026-01-01T23:59:00Z"),
        period: period.parse().expect("a day"),
        compression: Compression::None,
        layout: Layout {
            stream: "events".to_owned(),
            prefix: "raw/".parse().expect("valid"),
            error_prefix: "errors/".parse().expect("valid"),
            zone: Zone::utc(),
            record_partitions_max: 1,
            lines: LinesTo::Bucket,
        },
        objects: Vec::new(),
    };
    let state = |period| ShardState {
        pending: Some(pending(period)),
        ..passed("2026-01-02T12:00:00Z")
    };
    assert_eq!(
        first_incomplete(&["a"], vec![("a", state("2026-01-01"))]).as_deref(),
        Some("2026-01-01")
    );
    assert_eq!(
        first_incomplete(&["a"], vec![("a", state("2026-01-02"))]).as_deref(),
        Some("2026-01-02")
    );
}

#[test]
fn an_idle_shard_writes_once_a_day() {
    let news = |passed: Option<&str>, now| marker().is_news(&Zone::utc(), passed.map(arrival), arrival(now));
    assert!(news(None, "2026-01-01T12:00:00Z"));
    assert!(!news(Some("2026-01-01T12:00:00Z"), "2026-01-01T23:59:59Z"));
    assert!(!news(Some("2026-01-01T12:00:00Z"), "2026-01-02T00:09:59Z"));
    assert!(news(Some("2026-01-01T12:00:00Z"), "2026-01-02T00:10:00Z"));
    assert!(!news(Some("2026-01-02T00:10:00Z"), "2026-01-02T23:00:00Z"));
}
