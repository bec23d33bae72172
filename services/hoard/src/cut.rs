//! When a cut ends: a pure decision over what has been read, so that it can be tested as one.
//!
//! A cut is a run of consecutive records of one shard that is committed as a whole. Invariants:
//! every record is in exactly one cut, order is kept, and a cut never spans two days. The day is a
//! pure function of the record (its arrival), never of our clock. Arrival times can run slightly
//! backwards around midnight: then there is a cut at each change, and no state to lose on restart.

use std::time::Duration;

use tokio::time::Instant;

use crate::record::{Arrival, Day, Record};
use crate::sequence::SequenceNumber;

/// Why a cut ended. Also a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The uncompressed lines reached the flush size.
    Size,
    /// The first record waited for the flush interval.
    Age,
    /// The next record arrived on another day.
    Day,
    /// The shard was closed by a split or merge and has been read to its end.
    ShardEnd,
    /// The program drains.
    Shutdown,
    /// The memory budget was spent and this was the largest buffer.
    Memory,
}

impl Cause {
    /// All of them, for metrics that exist before the first one happens.
    pub const ALL: [Self; 6] = [
        Self::Size,
        Self::Age,
        Self::Day,
        Self::ShardEnd,
        Self::Shutdown,
        Self::Memory,
    ];

    /// The name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Age => "age",
            Self::Day => "day",
            Self::ShardEnd => "shard-end",
            Self::Shutdown => "shutdown",
            Self::Memory => "memory",
        }
    }
}

/// What ends a cut besides the day.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A cut ends with the record that takes its uncompressed lines to this many bytes or beyond.
    pub bytes: u64,
    /// A cut ends when its first record has been held for this long.
    pub age: Duration,
}

/// The records of one open cut, without their bytes.
#[derive(Clone, Debug)]
pub struct Span {
    /// The first record's sequence number.
    pub first: SequenceNumber,
    /// The last record's sequence number, inclusive.
    pub last: SequenceNumber,
    /// How many records, good and bad.
    pub records: u64,
    /// The day of every record.
    pub day: Day,
    /// The earliest arrival.
    pub first_arrival: Arrival,
    /// The latest arrival.
    pub last_arrival: Arrival,
    opened: Instant,
}

impl Span {
    /// A span of one record, read at `now`.
    pub fn open(record: &Record, now: Instant) -> Self {
        Self {
            first: record.sequence_number.clone(),
            last: record.sequence_number.clone(),
            records: 1,
            day: record.arrival.day(),
            first_arrival: record.arrival,
            last_arrival: record.arrival,
            opened: now,
        }
    }

    /// Whether `record` must not join this span.
    pub fn ends_before(&self, record: &Record) -> Option<Cause> {
        (record.arrival.day() != self.day).then_some(Cause::Day)
    }

    /// Takes the next record of the shard, which [`Span::ends_before`] must have let in.
    pub fn extend(&mut self, record: &Record) {
        debug_assert!(
            self.last < record.sequence_number,
            "records come in order, each once"
        );
        debug_assert!(self.ends_before(record).is_none(), "a cut never spans two days");
        self.last = record.sequence_number.clone();
        self.records += 1;
        self.first_arrival = self.first_arrival.min(record.arrival);
        self.last_arrival = self.last_arrival.max(record.arrival);
    }

    /// Whether the span, now with `bytes` of uncompressed lines, has reached its size.
    pub fn is_full(&self, bytes: u64, limits: &Limits) -> Option<Cause> {
        (bytes >= limits.bytes).then_some(Cause::Size)
    }

    /// When the span ends for its age.
    pub fn due(&self, limits: &Limits) -> Instant {
        self.opened + limits.age
    }
}
