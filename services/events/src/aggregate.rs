//! Packs events of one shard into one record of the stream, as the Kinesis Producer Library does.
//!
//! A shard takes 1,000 records a second, and a call 500: small events reach these long before they
//! reach the limits of bytes. Packed, a record holds many events, several of one key among them, in
//! their order. It goes by the hash key at which its shard's range begins, so that it comes to the
//! shard to which its keys belong.
//!
//! Each event in it carries that hash key as its own too. AWS's consumers compare the hash key of each
//! with the range of the shard that they read, and leave out a whole record over one that is not
//! in it (<https://github.com/awslabs/amazon-kinesis-client>, `AggregatorUtil`). So they read every
//! record, wherever a reshard has brought it.
//!
//! An event that is alone in its record is sent as it is.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use kpl::Aggregate;

use crate::{
    batch::{Bounds, Queued, Record},
    shard_map::{Shard, ShardMap},
};

/// The partition key of a packed record, which its hash key makes meaningless: the one that the
/// Kinesis Producer Library gives it.
const PACKED_KEY: &str = "a";

/// How events are packed.
#[derive(Clone, Debug)]
pub(crate) struct Packing {
    pub(crate) map: Arc<ShardMap>,
    /// Most bytes of a packed record.
    pub(crate) bytes: usize,
}

/// One record of a PutRecords call: an event as it is, or several of one shard.
pub(crate) struct Entry {
    first: Queued,
    packed: Option<Box<Packed>>,
}

/// The events of an entry in one record. Those of one key stand together, in their order.
struct Packed {
    /// Behind the first.
    behind: Vec<Queued>,
    aggregate: Aggregate,
    map: Arc<ShardMap>,
    place: usize,
}

/// An entry as PutRecords takes it.
pub(crate) struct Outgoing<'e> {
    pub(crate) data: Vec<u8>,
    pub(crate) partition_key: &'e str,
    pub(crate) explicit_hash_key: Option<&'e str>,
}

impl Entry {
    fn new(first: Queued) -> Self {
        Self { first, packed: None }
    }

    /// What it counts for in a PutRecords call, which limits data and partition keys together.
    pub(crate) fn bytes(&self) -> usize {
        match &self.packed {
            None => self.first.record.bytes(),
            Some(packed) => packed.bytes(),
        }
    }

    /// How many events are packed together; none, if the record is an event as it is.
    pub(crate) fn packed_events(&self) -> Option<usize> {
        self.packed.as_ref().map(|packed| 1 + packed.behind.len())
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = &Queued> {
        let behind = self.packed.iter().flat_map(|packed| &packed.behind);
        std::iter::once(&self.first).chain(behind)
    }

    pub(crate) fn events_mut(&mut self) -> impl Iterator<Item = &mut Queued> {
        let behind = self.packed.iter_mut().flat_map(|packed| &mut packed.behind);
        std::iter::once(&mut self.first).chain(behind)
    }

    pub(crate) fn into_events(self) -> impl DoubleEndedIterator<Item = Queued> {
        let behind = self.packed.map(|packed| packed.behind).unwrap_or_default();
        std::iter::once(self.first).chain(behind)
    }

    /// What to send. The bytes of a packed record are made here; ask once.
    pub(crate) fn outgoing(&mut self) -> Outgoing<'_> {
        let record = &self.first.record;
        match &mut self.packed {
            None => Outgoing {
                data: record.line.clone(),
                partition_key: &record.partition_key,
                explicit_hash_key: None,
            },
            Some(packed) => Outgoing {
                data: std::mem::take(&mut packed.aggregate).finish(),
                partition_key: PACKED_KEY,
                explicit_hash_key: Some(packed.shard().hash_key()),
            },
        }
    }

    /// The map that packed it, if it says of another shard than this one that it takes it.
    pub(crate) fn mispredicted(&self, shard_id: &str) -> Option<&Arc<ShardMap>> {
        let packed = self.packed.as_ref()?;
        (packed.shard().id != shard_id).then_some(&packed.map)
    }
}

impl Packed {
    fn new(first: &Record, map: &Arc<ShardMap>, place: usize) -> Self {
        let mut packed = Self {
            behind: Vec::new(),
            aggregate: Aggregate::new(),
            map: Arc::clone(map),
            place,
        };
        packed.put(first);
        packed
    }

    fn shard(&self) -> &Shard {
        self.map.shard(self.place)
    }

    fn bytes(&self) -> usize {
        self.aggregate.len() + PACKED_KEY.len()
    }

    fn bytes_with(&self, record: &Record) -> usize {
        let hash_key = Some(self.shard().hash_key());
        let length = self
            .aggregate
            .len_with(&record.partition_key, hash_key, record.line.len());
        length + PACKED_KEY.len()
    }

    fn put(&mut self, record: &Record) {
        let hash_key = Some(self.map.shard(self.place).hash_key());
        self.aggregate.push(&record.partition_key, hash_key, &record.line);
    }
}

/// Makes up one PutRecords call, within its bounds.
pub(crate) struct Packer<'p> {
    bounds: Bounds,
    packing: Option<&'p Packing>,
    entries: Vec<Entry>,
    bytes: usize,
    /// The entry of each shard that may take more events.
    open: HashMap<usize, usize>,
}

/// Where in the call an event is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    entry: usize,
    shard: Option<usize>,
}

impl<'p> Packer<'p> {
    /// A call without records; without `packing`, each event is a record.
    pub(crate) fn new(bounds: Bounds, packing: Option<&'p Packing>) -> Self {
        Self {
            bounds,
            packing,
            entries: Vec::new(),
            bytes: 0,
            open: HashMap::new(),
        }
    }

    /// Takes the first event of `from`, of a key that is not in the call yet, unless the call is full.
    /// An empty call takes any.
    pub(crate) fn push(&mut self, from: &mut VecDeque<Queued>) -> Option<Slot> {
        let record = &from.front()?.record;
        let shard = self
            .packing
            .map(|packing| packing.map.place(&record.partition_key));
        let bytes = self.bytes + record.bytes();
        if let Some(entry) = shard.and_then(|shard| self.open.get(&shard).copied()) {
            let slot = Slot { entry, shard };
            if self.push_behind(slot, from) {
                return Some(slot);
            }
        }
        let fits = self.entries.len() < self.bounds.records && bytes <= self.bounds.bytes;
        if !fits && !self.entries.is_empty() {
            return None;
        }
        let entry = self.entries.len();
        self.bytes = bytes;
        self.entries.push(Entry::new(from.pop_front()?));
        if let Some(shard) = shard {
            self.open.insert(shard, entry);
        }
        Some(Slot { entry, shard })
    }

    /// Takes the first event of `from` into the record at `slot`, behind what is there, unless that
    /// would be too large.
    pub(crate) fn push_behind(&mut self, slot: Slot, from: &mut VecDeque<Queued>) -> bool {
        let (Some(packing), Some(place), Some(next)) = (self.packing, slot.shard, from.front()) else {
            return false;
        };
        let entry = &mut self.entries[slot.entry];
        let before = entry.bytes();
        let room = self.bounds.bytes.saturating_sub(self.bytes);
        let limit = packing.bytes.min(before + room);
        // Most of what does not fit need not be tried.
        if before + next.record.line.len() > limit {
            return false;
        }
        let mut packed = match entry.packed.take() {
            Some(packed) => packed,
            None => Box::new(Packed::new(&entry.first.record, &packing.map, place)),
        };
        let fits = packed.bytes_with(&next.record) <= limit;
        if fits {
            packed.put(&next.record);
            packed.behind.extend(from.pop_front());
        }
        // An event that stays alone is not packed.
        entry.packed = Some(packed).filter(|packed| !packed.behind.is_empty());
        self.bytes = self.bytes - before + entry.bytes();
        fits
    }

    /// The records of the call, if there are any.
    pub(crate) fn finish(self) -> Option<Vec<Entry>> {
        (!self.entries.is_empty()).then_some(self.entries)
    }
}

#[cfg(test)]
#[path = "aggregate/tests.rs"]
mod tests;
