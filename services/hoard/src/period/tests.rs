//! Midnights of zones whose clocks change.

use super::*;

const HOUR_MS: i64 = 3_600_000;

fn arrival(time: &str) -> Arrival {
    let time: jiff::Timestamp = time.parse().expect("RFC 3339");
    Arrival::from_millis(time.as_millisecond()).expect("in range")
}

fn zone(name: &str) -> Zone {
    name.parse().expect("a known zone")
}

/// The periods that follow each other from `from` on, hour by hour, with how many hours each lasts.
fn lengths(zone: &Zone, from: &str, hours: i64) -> Vec<(String, usize)> {
    let start = arrival(from).as_millis();
    let mut lengths: Vec<(String, usize)> = Vec::new();
    for hour in 0..hours {
        let at = Arrival::from_millis(start + hour * HOUR_MS).expect("in range");
        let day = zone.period(at, Unit::Day).to_string();
        match lengths.last_mut() {
            Some((last, count)) if *last == day => *count += 1,
            _ => lengths.push((day, 1)),
        }
    }
    lengths
}

fn days(zone: &Zone, from: &str, hours: i64) -> Vec<usize> {
    lengths(zone, from, hours)
        .into_iter()
        .map(|(_, count)| count)
        .collect()
}

#[test]
fn midnight_utc_divides_days() {
    let period = |time| Zone::utc().period(arrival(time), Unit::Day).to_string();
    assert_eq!(period("2025-12-31T23:59:59.999Z"), "2025-12-31");
    assert_eq!(period("2026-01-01T00:00:00Z"), "2026-01-01");
}

#[test]
fn days_of_berlin_have_23_24_and_25_hours() {
    let berlin = zone("Europe/Berlin");
    assert_eq!(days(&berlin, "2026-03-27T23:00:00Z", 24 + 23 + 24), [24, 23, 24]);
    assert_eq!(days(&berlin, "2026-10-23T22:00:00Z", 24 + 25 + 24), [24, 25, 24]);
    let period = |time| berlin.period(arrival(time), Unit::Day).to_string();
    assert_eq!(period("2026-03-29T21:59:59.999Z"), "2026-03-29");
    assert_eq!(period("2026-03-29T22:00:00Z"), "2026-03-30");
    assert_eq!(period("2026-10-25T22:59:59.999Z"), "2026-10-25");
    assert_eq!(period("2026-10-25T23:00:00Z"), "2026-10-26");
}

#[test]
fn a_midnight_that_the_clock_jumps_over_still_divides_days() {
    // Beirut, 2021-03-28: after 23:59:59 comes 01:00:00. Havana, 2025-03-09: the same.
    assert_eq!(
        days(&zone("Asia/Beirut"), "2021-03-26T22:00:00Z", 24 + 23 + 24),
        [24, 23, 24]
    );
    assert_eq!(
        days(&zone("America/Havana"), "2025-03-08T05:00:00Z", 24 + 23 + 24),
        [24, 23, 24]
    );
}

#[test]
fn a_midnight_that_the_clock_shows_twice_divides_days_once() {
    // Havana, 2025-11-02: at 01:00 clocks go back to 00:00 of the same day.
    let havana = lengths(&zone("America/Havana"), "2025-11-01T04:00:00Z", 24 + 25 + 24);
    assert_eq!(
        havana,
        [("2025-11-01", 24), ("2025-11-02", 25), ("2025-11-03", 24)]
            .map(|(day, hours)| (day.to_owned(), hours))
    );
    // Beirut, 2021-10-30: at 24:00 clocks go back to 23:00, so that day has 25 hours.
    let beirut = lengths(&zone("Asia/Beirut"), "2021-10-29T21:00:00Z", 25 + 24);
    assert_eq!(
        beirut,
        [("2021-10-30", 25), ("2021-10-31", 24)].map(|(day, hours)| (day.to_owned(), hours))
    );
}

#[test]
fn a_day_that_clocks_go_back_to_is_entered_twice() {
    // St John's, 2010-11-07: at 00:01 clocks go back to 23:01 of the day before.
    let zone = zone("America/St_Johns");
    let period = |time| zone.period(arrival(time), Unit::Day).to_string();
    assert_eq!(period("2010-11-07T02:29:59Z"), "2010-11-06");
    assert_eq!(period("2010-11-07T02:30:00Z"), "2010-11-07");
    assert_eq!(period("2010-11-07T02:31:00Z"), "2010-11-06");
    assert_eq!(period("2010-11-07T03:30:00Z"), "2010-11-07");
}

#[test]
fn hours_are_those_of_the_clock_on_the_wall() {
    let berlin = zone("Europe/Berlin");
    let hour = |time| berlin.period(arrival(time), Unit::Hour).to_string();
    assert_eq!(hour("2026-10-25T00:30:00Z"), "2026-10-25T02");
    assert_eq!(hour("2026-10-25T01:30:00Z"), "2026-10-25T02");
    assert_eq!(hour("2026-10-25T02:30:00Z"), "2026-10-25T03");
}

#[test]
fn a_period_and_a_zone_are_written_as_they_are_read() {
    for text in ["2026-01-31", "2026-01-31T05"] {
        assert_eq!(text.parse::<Period>().expect("a period").to_string(), text);
    }
    for text in ["", "2026-02-30", "2026-01-31T24", "2026-01-31T", "yesterday"] {
        assert!(text.parse::<Period>().is_err(), "{text}");
    }
    let json = serde_json::to_string(&zone("Asia/Shanghai")).expect("serialisable");
    assert_eq!(json, "\"Asia/Shanghai\"");
    assert_eq!(
        serde_json::from_str::<Zone>(&json).expect("a zone"),
        zone("Asia/Shanghai")
    );
    assert!("Mars/Olympus".parse::<Zone>().is_err());
}
