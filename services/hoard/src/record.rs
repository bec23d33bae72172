//! A record as the stream gave it, and the day it belongs to.

use std::fmt::{Display, Formatter};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::sequence::SequenceNumber;

/// One Kinesis record: its place, its arrival and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the shard.
    pub sequence_number: SequenceNumber,
    /// When the stream took it in.
    pub arrival: Arrival,
    /// What the producer sent.
    pub data: Vec<u8>,
}

/// When the stream took a record in, in milliseconds since 1970 (UTC): Kinesis gives no finer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Arrival(i64);

/// A calendar day, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day(Date);

impl Arrival {
    /// What a record without arrival time gets: always the same, so that reading it again gives
    /// the same day.
    pub const UNKNOWN: Self = Self(0);

    /// `None` where the time is outside what a calendar can show (years -9999 to 9999).
    pub fn from_millis(millis: i64) -> Option<Self> {
        Timestamp::from_millisecond(millis).ok().map(|_| Self(millis))
    }

    /// Milliseconds since 1970 (UTC).
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// The day on which the record arrived: a pure function of the record, so that whoever reads it
    /// again files it under the same day.
    pub fn day(self) -> Day {
        Day(self.timestamp().to_zoned_datetime(TimeZone::UTC).date())
    }

    /// Checked when it was made; a state file that was edited by hand can still hold nonsense, which
    /// then reads as 1970 rather than ending the program.
    pub(crate) fn timestamp(self) -> Timestamp {
        Timestamp::from_millisecond(self.0).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl Display for Arrival {
    /// RFC 3339, UTC, milliseconds.
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3}", self.timestamp())
    }
}

impl Display for Day {
    /// `YYYY/MM/DD`.
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:04}/{:02}/{:02}",
            self.0.year(),
            self.0.month(),
            self.0.day()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn midnight_utc_divides_days() {
        let before = Arrival::from_millis(1_767_225_599_999).expect("in range");
        let after = Arrival::from_millis(1_767_225_600_000).expect("in range");
        assert_eq!(before.day().to_string(), "2025/12/31");
        assert_eq!(after.day().to_string(), "2026/01/01");
        assert_eq!(before.to_string(), "2025-12-31T23:59:59.999Z");
    }

    #[test]
    fn times_outside_the_calendar_are_refused() {
        assert_eq!(Arrival::from_millis(i64::MAX), None);
        assert_eq!(Arrival::from_millis(i64::MIN), None);
    }
}
