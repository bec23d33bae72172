//! When an event happened by the server's clock, whatever the client's clock says.
//!
//! A device that never asked a time server may think that it is 1970. But it knows how long ago an
//! event was: the time between the event and the sending, by one clock. Taken from the time of
//! receipt that is when it happened, but for the time that the request was under way.
//!
//! That holds only while the client's clock was not set between the two. So a corrected time is given
//! only where the age makes sense: from a second below zero, because times are rounded, to a year.

use jiff::{SignedDuration, Timestamp};

const YOUNGEST: SignedDuration = SignedDuration::from_secs(-1);
const OLDEST: SignedDuration = SignedDuration::from_hours(366 * 24);

/// `event` and `sent` by the client's clock, `received` by ours.
pub(crate) fn corrected(event: Timestamp, sent: Timestamp, received: Timestamp) -> Option<Timestamp> {
    let age = sent.duration_since(event);
    let makes_sense = (YOUNGEST..=OLDEST).contains(&age);
    makes_sense.then(|| received.checked_sub(age).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn the_age_of_an_event_is_what_its_client_can_know() {
        let received = time("2026-03-02T12:00:00Z");
        for (event, sent, expected) in [
            // Right, an hour behind, and since 1970.
            (
                "2026-03-02T11:59:00Z",
                "2026-03-02T12:00:00Z",
                Some("2026-03-02T11:59:00Z"),
            ),
            (
                "2026-03-02T10:59:00Z",
                "2026-03-02T11:00:00Z",
                Some("2026-03-02T11:59:00Z"),
            ),
            (
                "1970-01-01T00:00:05Z",
                "1970-01-01T01:00:05Z",
                Some("2026-03-02T11:00:00Z"),
            ),
            (
                "2031-03-02T12:00:00+02:00",
                "2031-03-02T11:30:00Z",
                Some("2026-03-02T10:30:00Z"),
            ),
            // In the second in which it was sent.
            (
                "2026-03-02T11:00:00.7Z",
                "2026-03-02T11:00:00Z",
                Some("2026-03-02T12:00:00.7Z"),
            ),
            // Before the clock was set, and after it was set back.
            ("1970-01-01T00:00:05Z", "2026-03-02T12:00:00Z", None),
            ("2026-03-02T11:00:02Z", "2026-03-02T11:00:00Z", None),
            ("2025-03-01T11:59:59Z", "2026-03-02T12:00:00Z", None),
            (
                "2025-03-01T12:00:00Z",
                "2026-03-02T12:00:00Z",
                Some("2025-03-01T12:00:00Z"),
            ),
        ] {
            let corrected = corrected(time(event), time(sent), received);
            assert_eq!(corrected, expected.map(time), "{event} sent at {sent}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_not_given() {
        let sent = time("2026-03-02T12:00:00Z");
        assert_eq!(
            corrected(time("2026-03-01T12:00:00Z"), sent, Timestamp::MIN),
            None
        );
    }
}
