//! When a cut ends: a pure decision over what has been read, so that it can be tested as one.
//!
//! A cut is a run of consecutive records of one shard that is committed as a whole. Invariants:
//! every record is in exactly one cut, order is kept, and a cut never spans two periods (days, or hours
//! where the prefix names them). The period is a pure function of the record (its arrival), never of our
//! clock. Arrival times can run slightly backwards around midnight: then there is a cut at each change,
//! and no state to lose on restart.

use std::time::Duration;

use tokio::time::Instant;

use crate::period::Period;
use crate::record::{Arrival, Record};
use crate::sequence::SequenceNumber;

/// Why a cut ended. Also a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The lines reached the flush size, before compression.
    Size,
    /// The objects reached the flush size as they are stored.
    StoredSize,
    /// The first record waited for the flush interval.
    Age,
    /// The next record arrived on another day, or in another hour where the prefix names hours.
    Day,
    /// The lines belong to more partitions than one cut is meant to hold.
    Partitions,
    /// The shard was closed by a split or merge and has been read to its end.
    ShardEnd,
    /// The program drains.
    Shutdown,
    /// The shard belongs to another replica now.
    HandOver,
    /// The memory budget was spent and this was the largest buffer.
    Memory,
}

impl Cause {
    /// All of them, for metrics that exist before the first one happens.
    pub const ALL: [Self; 9] = [
        Self::Size,
        Self::StoredSize,
        Self::Age,
        Self::Day,
        Self::Partitions,
        Self::ShardEnd,
        Self::Shutdown,
        Self::HandOver,
        Self::Memory,
    ];

    /// The name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::StoredSize => "stored-size",
            Self::Age => "age",
            Self::Day => "day",
            Self::Partitions => "partitions",
            Self::ShardEnd => "shard-end",
            Self::Shutdown => "shutdown",
            Self::HandOver => "hand-over",
            Self::Memory => "memory",
        }
    }
}

/// What ends a cut besides the day.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A cut ends with the record that takes its uncompressed lines to this many bytes or beyond.
    pub bytes: u64,
    /// The same for its objects' compressed bytes; they grow by a block at a time.
    pub stored_bytes: u64,
    /// A cut ends with the record that takes it beyond this many partitions.
    pub partitions: usize,
    /// A cut ends when its first record has been held for this long.
    pub age: Duration,
}

/// How much a cut holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Lines before compression, in bytes.
    pub bytes: u64,
    /// Objects so far, in bytes.
    pub stored_bytes: u64,
    /// How many partitions.
    pub partitions: usize,
}

impl Size {
    /// What has reached its limit, if anything.
    pub fn is_full(self, limits: &Limits) -> Option<Cause> {
        if self.bytes >= limits.bytes {
            Some(Cause::Size)
        } else if self.stored_bytes >= limits.stored_bytes {
            Some(Cause::StoredSize)
        } else if self.partitions > limits.partitions {
            Some(Cause::Partitions)
        } else {
            None
        }
    }
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
    /// The period of every record.
    pub period: Period,
    /// The earliest arrival.
    pub first_arrival: Arrival,
    /// The latest arrival.
    pub last_arrival: Arrival,
    opened: Instant,
}

impl Span {
    /// A span of one record of `period`, read at `now`.
    pub fn open(record: &Record, period: Period, now: Instant) -> Self {
        Self {
            first: record.sequence_number.clone(),
            last: record.sequence_number.clone(),
            records: 1,
            period,
            first_arrival: record.arrival,
            last_arrival: record.arrival,
            opened: now,
        }
    }

    /// Whether a record of `period` must not join this span.
    pub fn ends_before(&self, period: Period) -> Option<Cause> {
        (period != self.period).then_some(Cause::Day)
    }

    /// Takes the next record of the shard, whose period [`Span::ends_before`] must have let in.
    pub fn extend(&mut self, record: &Record) {
        debug_assert!(
            self.last < record.sequence_number,
            "records come in order, each once"
        );
        self.last = record.sequence_number.clone();
        self.records += 1;
        self.first_arrival = self.first_arrival.min(record.arrival);
        self.last_arrival = self.last_arrival.max(record.arrival);
    }

    /// When the span ends for its age.
    pub fn due(&self, limits: &Limits) -> Instant {
        self.opened + limits.age
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_full_at_its_limits_and_not_before() {
        let limits = Limits {
            bytes: 100,
            stored_bytes: 50,
            partitions: 3,
            age: Duration::from_secs(60),
        };
        let full = |bytes, stored_bytes, partitions| {
            let size = Size {
                bytes,
                stored_bytes,
                partitions,
            };
            size.is_full(&limits)
        };
        assert_eq!(full(99, 49, 3), None);
        assert_eq!(full(100, 0, 0), Some(Cause::Size));
        assert_eq!(full(0, 50, 0), Some(Cause::StoredSize));
        assert_eq!(full(0, 0, 4), Some(Cause::Partitions));
    }
}
