//! Packs user records into one record of a stream.

use std::collections::HashMap;

use md5::{Digest, Md5};

use crate::{
    DIGEST_BYTES, MAGIC, field,
    wire::{bytes_field_len, number_field_len, put_bytes_head, put_number_field},
};

/// An aggregate in the making. Its length is exact at any moment, so that it can be kept under a
/// limit; a key that several user records share is written once.
#[derive(Debug)]
pub struct Aggregate {
    partition_keys: Table,
    hash_keys: Table,
    /// The user records, as fields of the message.
    records: Vec<u8>,
    count: usize,
}

impl Default for Aggregate {
    fn default() -> Self {
        Self::new()
    }
}

impl Aggregate {
    /// One without user records.
    #[must_use]
    pub fn new() -> Self {
        Self {
            partition_keys: Table::new(field::PARTITION_KEY_TABLE),
            hash_keys: Table::new(field::EXPLICIT_HASH_KEY_TABLE),
            records: Vec::new(),
            count: 0,
        }
    }

    /// How many user records it has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether it has none. Such an aggregate is not to be sent: readers take it for a plain record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many bytes [`Aggregate::finish`] makes of it.
    #[must_use]
    pub fn len(&self) -> usize {
        MAGIC.len()
            + self.partition_keys.fields.len()
            + self.hash_keys.fields.len()
            + self.records.len()
            + DIGEST_BYTES
    }

    /// How many bytes it would have with this user record, whose data has `data_bytes`.
    #[must_use]
    pub fn len_with(&self, partition_key: &str, explicit_hash_key: Option<&str>, data_bytes: usize) -> usize {
        let partition_key = self.partition_keys.place(partition_key);
        let hash_key = explicit_hash_key.map(|key| self.hash_keys.place(key));
        let record = record_len(partition_key.index, hash_key.map(|place| place.index), data_bytes);
        self.len()
            + partition_key.grows_by
            + hash_key.map_or(0, |place| place.grows_by)
            + bytes_field_len(record)
    }

    /// Packs a user record behind those that it has.
    pub fn push(&mut self, partition_key: &str, explicit_hash_key: Option<&str>, data: &[u8]) {
        let partition_key = self.partition_keys.add(partition_key);
        let hash_key = explicit_hash_key.map(|key| self.hash_keys.add(key));
        let length = record_len(partition_key, hash_key, data.len());
        put_bytes_head(field::RECORDS, length, &mut self.records);
        put_number_field(field::PARTITION_KEY_INDEX, partition_key, &mut self.records);
        if let Some(hash_key) = hash_key {
            put_number_field(field::EXPLICIT_HASH_KEY_INDEX, hash_key, &mut self.records);
        }
        put_bytes_head(field::DATA, data.len(), &mut self.records);
        self.records.extend_from_slice(data);
        self.count += 1;
    }

    /// The bytes to send.
    #[must_use]
    pub fn finish(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.partition_keys.fields);
        bytes.extend_from_slice(&self.hash_keys.fields);
        bytes.extend_from_slice(&self.records);
        let digest = Md5::digest(&bytes[MAGIC.len()..]);
        bytes.extend_from_slice(&digest);
        bytes
    }
}

/// How long the message of a user record is.
fn record_len(partition_key: u64, hash_key: Option<u64>, data_bytes: usize) -> usize {
    number_field_len(partition_key) + hash_key.map_or(0, number_field_len) + bytes_field_len(data_bytes)
}

/// The keys so far, each once.
#[derive(Debug)]
struct Table {
    field: u32,
    /// The keys, as fields of the message.
    fields: Vec<u8>,
    indices: HashMap<Box<str>, u64>,
}

/// Where a key is or would be.
#[derive(Clone, Copy)]
struct Place {
    index: u64,
    grows_by: usize,
}

impl Table {
    fn new(field: u32) -> Self {
        Self {
            field,
            fields: Vec::new(),
            indices: HashMap::new(),
        }
    }

    fn place(&self, key: &str) -> Place {
        match self.indices.get(key) {
            Some(index) => Place {
                index: *index,
                grows_by: 0,
            },
            None => Place {
                index: self.indices.len() as u64,
                grows_by: bytes_field_len(key.len()),
            },
        }
    }

    fn add(&mut self, key: &str) -> u64 {
        if let Some(index) = self.indices.get(key) {
            return *index;
        }
        let index = self.indices.len() as u64;
        self.indices.insert(key.into(), index);
        put_bytes_head(self.field, key.len(), &mut self.fields);
        self.fields.extend_from_slice(key.as_bytes());
        index
    }
}

#[cfg(test)]
#[path = "aggregate/tests.rs"]
mod tests;
