//! A record as the stream gave it.

use std::fmt::{Display, Formatter};

use jiff::Timestamp;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_utc_with_milliseconds() {
        let arrival = Arrival::from_millis(1_767_225_599_999).expect("in range");
        assert_eq!(arrival.to_string(), "2025-12-31T23:59:59.999Z");
    }

    #[test]
    fn times_outside_the_calendar_are_refused() {
        assert_eq!(Arrival::from_millis(i64::MAX), None);
        assert_eq!(Arrival::from_millis(i64::MIN), None);
    }
}
