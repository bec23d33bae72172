//! One shard: its hash keys, its parents, its records.

use std::collections::VecDeque;

use super::hash::HashKeyRange;
use super::limits::Meter;
use super::log::{Log, Segment};
use super::sequence::SequenceNumber;

/// A shard of a stream. Once closed it stays closed: its records can be read until they are trimmed.
#[derive(Debug)]
pub(crate) struct Shard {
    /// The number in its id, which is its place in the stream's list of shards.
    pub(crate) number: u32,
    pub(crate) range: HashKeyRange,
    pub(crate) parent: Option<u32>,
    pub(crate) adjacent_parent: Option<u32>,
    /// When it was created; strictly later than its parents.
    pub(crate) birth_ms: u64,
    /// When it was split or merged away.
    pub(crate) closed_ms: Option<u64>,
    pub(crate) log: Log,
    pub(crate) meter: Meter,
    /// First offsets of the entries in the durable state that hold the log's records.
    stored: VecDeque<u64>,
}

impl Shard {
    pub(crate) fn new(number: u32, range: HashKeyRange, birth_ms: u64) -> Self {
        Self {
            number,
            range,
            parent: None,
            adjacent_parent: None,
            birth_ms,
            closed_ms: None,
            log: Log::default(),
            meter: Meter::default(),
            stored: VecDeque::new(),
        }
    }

    /// Appends records that the durable state holds in one entry.
    pub(crate) fn append_stored(&mut self, records: &Segment) {
        self.stored.push_back(self.log.next());
        self.log.append(records);
    }

    /// The next entry of the durable state whose records are all trimmed, by its first offset.
    pub(crate) fn take_trimmed_entry(&mut self) -> Option<u64> {
        let end = self.stored.get(1).copied().unwrap_or(self.log.next());
        if end <= self.log.first() {
            self.stored.pop_front()
        } else {
            None
        }
    }

    pub(crate) fn id(&self) -> String {
        shard_id(self.number)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.closed_ms.is_none()
    }

    /// Whether it was closed so long ago that every record of it is trimmed; AWS then forgets it.
    pub(crate) fn is_expired(&self, horizon_ms: u64) -> bool {
        self.closed_ms.is_some_and(|closed_ms| closed_ms < horizon_ms)
    }

    /// Whether it was open at a time.
    pub(crate) fn was_open_at(&self, time_ms: u64) -> bool {
        self.birth_ms <= time_ms && self.closed_ms.is_none_or(|closed_ms| closed_ms >= time_ms)
    }

    pub(crate) fn starting_sequence_number(&self) -> SequenceNumber {
        SequenceNumber::start(self.birth_ms, self.number)
    }

    /// Only a closed shard has one.
    pub(crate) fn ending_sequence_number(&self) -> Option<SequenceNumber> {
        self.closed_ms
            .map(|_| SequenceNumber::end(self.birth_ms, self.number, self.log.next()))
    }

    pub(crate) fn sequence_number(&self, offset: u64) -> SequenceNumber {
        SequenceNumber::of_record(self.birth_ms, self.number, offset)
    }

    /// The arrival time of a record that comes now: never before that of the one before it.
    pub(crate) fn arrival_ms(&self, now_ms: u64) -> u64 {
        now_ms.max(self.log.last_arrival_ms())
    }

    /// How far a reader that is about to read `offset` is behind, in milliseconds: 0 at the tip,
    /// else the age of the last record that it read.
    pub(crate) fn millis_behind_latest(&self, offset: u64, last_read_arrival_ms: u64, now_ms: u64) -> u64 {
        if offset >= self.log.next() {
            0
        } else {
            now_ms.saturating_sub(last_read_arrival_ms).max(1)
        }
    }
}

/// `shardId-` and twelve digits.
pub(crate) fn shard_id(number: u32) -> String {
    format!("shardId-{number:012}")
}

/// Reads a shard id; None when it is not of that form.
pub(crate) fn parse_shard_id(id: &str) -> Option<u32> {
    let digits = id.strip_prefix("shardId-")?;
    (digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_ids_have_twelve_digits() {
        assert_eq!(shard_id(7), "shardId-000000000007");
        assert_eq!(parse_shard_id("shardId-000000000007"), Some(7));
        for bad in [
            "7",
            "shardId-7",
            "shardId-00000000000x",
            "shardid-000000000007",
            "shardId-999999999999",
        ] {
            assert_eq!(parse_shard_id(bad), None, "{bad}");
        }
    }
}
