//! Streams in the cloud's durable state: one description a stream, one entry a put and shard.
//!
//! A put is stored before its records can be read. Otherwise a reader could see a record that is
//! gone after a restart, and another record would later get its sequence number.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::hash::HashKeyRange;
use super::log::Segment;
use super::shard::Shard;
use super::stream::{Stream, StreamMode};
use crate::state::{Batch, State, StateError, Table};

/// What is stored of a stream besides its records.
#[derive(Serialize, Deserialize)]
struct StoredStream {
    /// Hexadecimal: JSON has no 128-bit numbers.
    id: String,
    created_ms: u64,
    mode: StreamMode,
    retention_hours: u32,
    tags: BTreeMap<String, String>,
    shards: Vec<StoredShard>,
}

#[derive(Serialize, Deserialize)]
struct StoredShard {
    range_start: String,
    range_end: String,
    parent: Option<u32>,
    adjacent_parent: Option<u32>,
    birth_ms: u64,
    closed_ms: Option<u64>,
    /// The log's bounds when the description was written: trimmed records leave no other trace.
    first: u64,
    next: u64,
    last_arrival_ms: u64,
}

/// Adds the description of a stream to a batch.
pub(crate) fn put_stream(batch: &mut Batch<'_>, stream: &Stream) -> Result<(), StateError> {
    let stored = StoredStream {
        id: format!("{:032x}", stream.id),
        created_ms: stream.created_ms,
        mode: stream.mode,
        retention_hours: stream.retention_hours,
        tags: stream.tags.clone(),
        shards: stream.shards.iter().map(stored_shard).collect(),
    };
    let json = serde_json::to_vec(&stored).map_err(|error| corrupt(error.to_string()))?;
    batch.put(Table::Streams, stream.name.as_bytes(), &json);
    Ok(())
}

fn stored_shard(shard: &Shard) -> StoredShard {
    StoredShard {
        range_start: format!("{:032x}", shard.range.start),
        range_end: format!("{:032x}", shard.range.end),
        parent: shard.parent,
        adjacent_parent: shard.adjacent_parent,
        birth_ms: shard.birth_ms,
        closed_ms: shard.closed_ms,
        first: shard.log.first(),
        next: shard.log.next(),
        last_arrival_ms: shard.log.last_arrival_ms(),
    }
}

/// Adds records that are about to be appended to a shard.
pub(crate) fn put_records(batch: &mut Batch<'_>, stream: u128, shard: &Shard, records: &Segment) {
    let key = RecordsKey {
        stream,
        shard: shard.number,
        offset: shard.log.next(),
    };
    batch.put(Table::Records, &key.encode(), &records.encode());
}

/// Removes stored records whose first offset this is.
pub(crate) fn remove_records(batch: &mut Batch<'_>, stream: u128, shard: u32, offset: u64) {
    batch.remove(
        Table::Records,
        &RecordsKey {
            stream,
            shard,
            offset,
        }
        .encode(),
    );
}

/// Orders as stream, shard, offset.
struct RecordsKey {
    stream: u128,
    shard: u32,
    offset: u64,
}

impl RecordsKey {
    fn encode(&self) -> Vec<u8> {
        let Self {
            stream,
            shard,
            offset,
        } = self;
        [
            &stream.to_be_bytes()[..],
            &shard.to_be_bytes()[..],
            &offset.to_be_bytes()[..],
        ]
        .concat()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let (stream, key) = key.split_first_chunk()?;
        let (shard, key) = key.split_first_chunk()?;
        let offset = key.try_into().ok()?;
        Some(Self {
            stream: u128::from_be_bytes(*stream),
            shard: u32::from_be_bytes(*shard),
            offset: u64::from_be_bytes(offset),
        })
    }
}

/// Reads all streams back. Records of a stream that is gone are removed: its deletion was cut short.
pub(crate) fn load(state: &State) -> Result<Vec<Stream>, StateError> {
    let mut streams: HashMap<u128, Stream> = HashMap::new();
    let mut bounds: HashMap<(u128, u32), StoredBounds> = HashMap::new();
    for entry in state.scan(Table::Streams) {
        let (name, json) = entry?;
        let name = String::from_utf8(name).map_err(|error| corrupt(error.to_string()))?;
        let stored: StoredStream =
            serde_json::from_slice(&json).map_err(|error| corrupt(error.to_string()))?;
        let id = number(&stored.id)?;
        for (shard, stored) in (0..).zip(&stored.shards) {
            let StoredShard {
                first,
                next,
                last_arrival_ms,
                ..
            } = *stored;
            bounds.insert(
                (id, shard),
                StoredBounds {
                    first,
                    next,
                    last_arrival_ms,
                },
            );
        }
        streams.insert(id, stream_of(name, id, stored)?);
    }

    for entry in state.scan(Table::Records) {
        let (key, value) = entry?;
        let RecordsKey {
            stream,
            shard,
            offset,
        } = RecordsKey::decode(&key)
            .ok_or_else(|| corrupt("a record's key has another length".to_owned()))?;
        let Some(stream) = streams.get_mut(&stream) else {
            state.remove(Table::Records, &key)?;
            continue;
        };
        let owner = stream.shards.get_mut(shard as usize);
        let owner =
            owner.ok_or_else(|| corrupt(format!("there are records of shard {shard}, which is missing")))?;
        let records = Segment::decode(&value).ok_or_else(|| corrupt("records are damaged".to_owned()))?;
        if owner.log.next() == 0 {
            owner.log.resume_at(offset, 0);
        }
        if owner.log.next() != offset {
            return Err(corrupt(format!(
                "records of {} are missing before {offset}",
                owner.id()
            )));
        }
        owner.append_stored(&records);
    }

    for ((stream, shard), stored) in bounds {
        if let Some(shard) = streams
            .get_mut(&stream)
            .and_then(|stream| stream.shards.get_mut(shard as usize))
        {
            stored.apply(shard)?;
        }
    }
    Ok(streams.into_values().collect())
}

struct StoredBounds {
    first: u64,
    next: u64,
    last_arrival_ms: u64,
}

impl StoredBounds {
    /// Trimmed records stay trimmed, and no offset is ever given twice.
    fn apply(&self, shard: &mut Shard) -> Result<(), StateError> {
        if shard.log.next() == 0 {
            shard.log.resume_at(self.next, self.last_arrival_ms);
        } else if shard.log.next() < self.next {
            return Err(corrupt(format!("the last records of {} are missing", shard.id())));
        }
        shard.log.trim_to(self.first);
        Ok(())
    }
}

fn stream_of(name: String, id: u128, stored: StoredStream) -> Result<Stream, StateError> {
    let mut shards = Vec::with_capacity(stored.shards.len());
    for (number, stored) in (0..).zip(stored.shards) {
        let range = HashKeyRange {
            start: self::number(&stored.range_start)?,
            end: self::number(&stored.range_end)?,
        };
        let mut shard = Shard::new(number, range, stored.birth_ms);
        shard.parent = stored.parent;
        shard.adjacent_parent = stored.adjacent_parent;
        shard.closed_ms = stored.closed_ms;
        shards.push(shard);
    }
    let mut stream = Stream::with_shards(name, id, stored.created_ms, stored.mode, shards);
    stream.retention_hours = stored.retention_hours;
    stream.tags = stored.tags;
    Ok(stream)
}

fn number(hexadecimal: &str) -> Result<u128, StateError> {
    u128::from_str_radix(hexadecimal, 16).map_err(|error| corrupt(error.to_string()))
}

fn corrupt(reason: String) -> StateError {
    StateError::Corrupt {
        what: "stream",
        reason,
    }
}
