//! The records of one shard, in order, as the text GetRecords answers with.
//!
//! A record is kept as the tail of its JSON object, `"Data":"…","PartitionKey":"…"}`: the base64 text of the
//! request is checked once when it is put and never decoded or encoded again, so that GetRecords writes a
//! sequence number and a time and copies the rest. The price is a third more memory than decoded bytes.
//! Records lie one after another in segments of about a mebibyte: 16 bytes of index a record, no allocation.

use std::collections::VecDeque;

/// A segment takes records until it holds this much text; one record may exceed it.
const SEGMENT_BYTES: usize = 1 << 20;

/// Where a record of a segment ends and what is known about it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// End of the record's text in the segment.
    end: u32,
    /// Bytes of data and partition key, decoded: what quotas count.
    payload_bytes: u32,
    arrival_ms: u64,
}

/// Neighbouring records: what a put adds to one shard, and the unit in which a shard keeps them.
#[derive(Debug, Default)]
pub(crate) struct Segment {
    text: Vec<u8>,
    entries: Vec<Entry>,
}

/// One record as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) offset: u64,
    pub(crate) arrival_ms: u64,
    pub(crate) payload_bytes: u32,
    /// The end of the record's JSON object, from `"Data"` to its closing brace.
    pub(crate) json_tail: &'a [u8],
}

impl Segment {
    /// Appends a record. `data` is base64 text, which JSON never escapes.
    pub(crate) fn push(&mut self, data: &str, partition_key: &str, payload_bytes: u32, arrival_ms: u64) {
        self.text.extend_from_slice(b"\"Data\":\"");
        self.text.extend_from_slice(data.as_bytes());
        self.text.extend_from_slice(b"\",\"PartitionKey\":");
        serde_json::to_writer(&mut self.text, partition_key).expect("a string is written to memory");
        self.text.push(b'}');
        self.entries.push(Entry {
            end: end_of(&self.text),
            payload_bytes,
            arrival_ms,
        });
    }

    /// How many records it holds.
    pub(crate) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    fn record(&self, base: u64, index: usize) -> Record<'_> {
        let entry = self.entries[index];
        let start = match index {
            0 => 0,
            _ => self.entries[index - 1].end as usize,
        };
        Record {
            offset: base + index as u64,
            arrival_ms: entry.arrival_ms,
            payload_bytes: entry.payload_bytes,
            json_tail: &self.text[start..entry.end as usize],
        }
    }

    fn append(&mut self, record: Record<'_>) {
        self.text.extend_from_slice(record.json_tail);
        self.entries.push(Entry {
            end: end_of(&self.text),
            payload_bytes: record.payload_bytes,
            arrival_ms: record.arrival_ms,
        });
    }

    /// The bytes that are stored: the number of records, the index, the text.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + self.entries.len() * 16 + self.text.len());
        bytes.extend_from_slice(&(self.entries.len() as u32).to_be_bytes());
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.end.to_be_bytes());
            bytes.extend_from_slice(&entry.payload_bytes.to_be_bytes());
            bytes.extend_from_slice(&entry.arrival_ms.to_be_bytes());
        }
        bytes.extend_from_slice(&self.text);
        bytes
    }

    /// Reads what [`Segment::encode`] wrote; None when the bytes are not that.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (count, mut rest) = bytes.split_first_chunk()?;
        let count = u32::from_be_bytes(*count) as usize;
        let mut entries = Vec::with_capacity(count.min(rest.len() / 16));
        let mut start = 0;
        for _ in 0..count {
            let (end, tail) = rest.split_first_chunk()?;
            let (payload_bytes, tail) = tail.split_first_chunk()?;
            let (arrival_ms, tail) = tail.split_first_chunk()?;
            rest = tail;
            let end = u32::from_be_bytes(*end);
            if end < start {
                return None;
            }
            start = end;
            entries.push(Entry {
                end,
                payload_bytes: u32::from_be_bytes(*payload_bytes),
                arrival_ms: u64::from_be_bytes(*arrival_ms),
            });
        }
        (rest.len() == start as usize).then(|| Self {
            text: rest.to_vec(),
            entries,
        })
    }
}

/// A segment is far below 4 GiB: it is closed at [`SEGMENT_BYTES`] and a request is bounded.
fn end_of(text: &[u8]) -> u32 {
    u32::try_from(text.len()).expect("a segment is smaller than 4 GiB")
}

/// All readable records of a shard. Offsets start at 0 and never change.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// With the offset of each segment's first record.
    segments: VecDeque<(u64, Segment)>,
    /// Offset of the oldest record that may be read.
    first: u64,
    /// Offset the next record gets.
    next: u64,
    last_arrival_ms: u64,
}

impl Log {
    /// Offset of the oldest record that may be read: the trim horizon.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Offset the next record gets, which is the number of records there ever were.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Arrival of the newest record there ever was; 0 before the first.
    pub(crate) fn last_arrival_ms(&self) -> u64 {
        self.last_arrival_ms
    }

    /// Continues a log of which everything before `first` is gone. Only for an empty log that is loaded.
    pub(crate) fn resume_at(&mut self, first: u64, last_arrival_ms: u64) {
        self.first = first;
        self.next = first;
        self.last_arrival_ms = last_arrival_ms;
    }

    /// Appends records; the first of them gets offset [`Log::next`].
    pub(crate) fn append(&mut self, batch: &Segment) {
        for index in 0..batch.entries.len() {
            let record = batch.record(self.next, index);
            let full =
                |(_, segment): &(u64, Segment)| segment.text.len() + record.json_tail.len() > SEGMENT_BYTES;
            if self.segments.back().is_none_or(full) {
                self.segments.push_back((self.next, Segment::default()));
            }
            if let Some((_, segment)) = self.segments.back_mut() {
                segment.append(record);
            }
            self.next += 1;
            self.last_arrival_ms = record.arrival_ms;
        }
    }

    /// The readable records from an offset on; from the trim horizon when the offset lies before it.
    pub(crate) fn records_from(&self, offset: u64) -> impl Iterator<Item = Record<'_>> {
        let offset = offset.max(self.first);
        let at = self
            .segments
            .partition_point(|(base, segment)| base + segment.len() <= offset);
        self.segments.range(at..).flat_map(move |(base, segment)| {
            let skipped = offset.saturating_sub(*base) as usize;
            (skipped..segment.entries.len()).map(move |index| segment.record(*base, index))
        })
    }

    /// Offset of the first readable record that arrived at or after the time; the end when there is none.
    /// Arrival times never decrease within a log, which is what makes the search right.
    pub(crate) fn offset_at_time(&self, time_ms: u64) -> u64 {
        let arrived = |entry: &Entry| entry.arrival_ms < time_ms;
        let at = self
            .segments
            .partition_point(|(_, segment)| segment.entries.last().is_some_and(arrived));
        let offset = match self.segments.get(at) {
            Some((base, segment)) => base + segment.entries.partition_point(arrived) as u64,
            None => self.next,
        };
        offset.max(self.first)
    }

    /// Forgets the records that arrived before the time. Returns whether there were any.
    pub(crate) fn trim_before(&mut self, time_ms: u64) -> bool {
        let before = self.first;
        self.trim_to(self.offset_at_time(time_ms));
        self.first > before
    }

    /// Forgets the records before an offset.
    pub(crate) fn trim_to(&mut self, offset: u64) {
        let first = offset.clamp(self.first, self.next);
        self.first = first;
        while self
            .segments
            .front()
            .is_some_and(|(base, segment)| base + segment.len() <= first)
        {
            self.segments.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch(arrivals: &[u64], data_bytes: usize) -> Segment {
        let mut segment = Segment::default();
        for arrival in arrivals {
            segment.push(&"A".repeat(data_bytes), "k", data_bytes as u32, *arrival);
        }
        segment
    }

    #[test]
    fn a_record_is_kept_as_the_end_of_its_json() {
        let mut segment = Segment::default();
        segment.push("AAA=", "a\"b", 5, 7);
        let mut log = Log::default();
        log.append(&segment);
        let record = log.records_from(0).next().expect("just appended");
        assert_eq!(
            record.json_tail,
            b"\"Data\":\"AAA=\",\"PartitionKey\":\"a\\\"b\"}"
        );
        assert_eq!((record.arrival_ms, record.payload_bytes), (7, 5));
        assert_eq!(log.records_from(1).next(), None);
    }

    #[test]
    fn what_is_stored_reads_back_and_damage_is_noticed() {
        let mut log = Log::default();
        log.append(&batch(&[3, 4, 4], 11));
        let bytes = batch(&[3, 4, 4], 11).encode();
        let mut again = Log::default();
        again.append(&Segment::decode(&bytes).expect("as encoded"));
        assert!(log.records_from(0).eq(again.records_from(0)));
        for cut in 0..bytes.len() {
            assert!(Segment::decode(&bytes[..cut]).is_none(), "cut at {cut}");
        }
    }

    proptest! {
        /// Against a plain list: reading from anywhere, searching by time and trimming agree with it,
        /// across segment ends.
        #[test]
        fn agrees_with_a_list(
            batches in prop::collection::vec((0..3_u64, 1..5_usize, prop_oneof![Just(10_usize), Just(400_000)]), 0..14),
            from in 0..60_u64, time in 0..40_u64, trim in 0..40_u64,
        ) {
            let (mut log, mut list, mut now) = (Log::default(), Vec::new(), 0);
            for (pause, count, bytes) in batches {
                now += pause;
                log.append(&batch(&vec![now; count], bytes));
                list.extend(std::iter::repeat_n(now, count));
            }
            let lower = |time| list.partition_point(|arrival| *arrival < time) as u64;
            prop_assert_eq!(log.offset_at_time(time), lower(time));
            log.trim_before(trim);
            prop_assert_eq!(log.first(), lower(trim));
            prop_assert_eq!(log.next(), list.len() as u64);
            let read: Vec<_> = log.records_from(from).map(|record| (record.offset, record.arrival_ms)).collect();
            let start = from.max(lower(trim)) as usize;
            let expected: Vec<_> =
                list.iter().enumerate().skip(start).map(|(offset, arrival)| (offset as u64, *arrival)).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
