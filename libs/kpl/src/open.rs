//! Opens a record of a stream that holds several.
//!
//! The work and the memory are bounded by the record: one pass over its bytes, and at most twelve
//! bytes of tables for each of its own.

use md5::{Digest, Md5};

use crate::{
    DIGEST_BYTES, MAGIC, field,
    wire::{Fields, NotFields, Value},
};

/// One of the records in an aggregate, as its producer gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserRecord<'a> {
    /// Its own partition key.
    pub partition_key: &'a str,
    /// Its own explicit hash key, if it has one.
    pub explicit_hash_key: Option<&'a str>,
    /// Its bytes.
    pub data: &'a [u8],
}

/// Why a record could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenAggregate {
    /// It does not begin with [`MAGIC`].
    #[error("the record does not begin as an aggregate")]
    NoMagic,
    /// Behind the magic there is no room for a message and its MD5.
    #[error("the record is too short for an aggregate: {bytes} bytes")]
    TooShort {
        /// How long it is.
        bytes: usize,
    },
    /// The MD5 at its end is not that of the message.
    #[error("the MD5 at the end of the record is not that of its message")]
    WrongDigest,
    /// The message is no protobuf.
    #[error("the message of the aggregate cannot be read at byte {at} of the record")]
    NotProtobuf {
        /// Where the field begins that cannot be read, counted from the start of the record.
        at: usize,
    },
    /// A partition key or explicit hash key is not text.
    #[error("a key of the aggregate is not UTF-8 at byte {at} of the record")]
    KeyNotUtf8 {
        /// Where the field of the key begins, counted from the start of the record.
        at: usize,
    },
    /// A user record lacks a field that the format requires: its partition key or its data.
    #[error("user record {index} of the aggregate has no {field}")]
    Incomplete {
        /// Which one, counted from 0.
        index: usize,
        /// The field, as the format names it.
        field: &'static str,
    },
    /// A user record names a key that the table of keys does not have.
    #[error("user record {index} of the aggregate names key {key} of {keys}")]
    NoSuchKey {
        /// Which one, counted from 0.
        index: usize,
        /// The key it names, counted from 0.
        key: u64,
        /// How many there are.
        keys: usize,
    },
}

impl BrokenAggregate {
    /// Whether AWS's own libraries take such a record for a plain one, and hand it on as it is: what
    /// lacks the magic, is too short, has another MD5 or is no such message was never an aggregate, and
    /// begins like one by chance or because it was cut
    /// (<https://github.com/awslabs/amazon-kinesis-client>, `AggregatorUtil`).
    ///
    /// What names keys that are not there is an aggregate made wrong. The libraries log it and lose
    /// the rest of its records.
    #[must_use]
    pub fn is_plain_record(&self) -> bool {
        match self {
            Self::NoMagic
            | Self::TooShort { .. }
            | Self::WrongDigest
            | Self::NotProtobuf { .. }
            | Self::KeyNotUtf8 { .. }
            | Self::Incomplete { .. } => true,
            Self::NoSuchKey { .. } => false,
        }
    }
}

/// Whether a record begins as an aggregate does. It may be none all the same: [`open`] says so.
#[must_use]
pub fn is_aggregate(record: &[u8]) -> bool {
    record.starts_with(&MAGIC)
}

/// The user records of an aggregate, in the order in which they were packed. There can be none.
/// Fields that the format does not name, and the tags that it reserves, are passed over.
///
/// # Errors
/// When any part of the record is not as the format says: nothing is returned of it then.
pub fn open(record: &[u8]) -> Result<Vec<UserRecord<'_>>, BrokenAggregate> {
    let message = message(record)?;
    let mut partition_keys = Vec::new();
    let mut hash_keys = Vec::new();
    let mut packed = Vec::new();
    let mut fields = Fields::of(message);
    loop {
        let at = MAGIC.len() + message.len() - fields.left();
        let broken = |NotFields| BrokenAggregate::NotProtobuf { at };
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| BrokenAggregate::KeyNotUtf8 { at });
        match fields.next().map_err(broken)? {
            Some((field::PARTITION_KEY_TABLE, Value::Bytes(key))) => partition_keys.push(text(key)?),
            Some((field::EXPLICIT_HASH_KEY_TABLE, Value::Bytes(key))) => hash_keys.push(text(key)?),
            Some((field::RECORDS, Value::Bytes(record))) => {
                packed.push(Packed::read(record).map_err(broken)?);
            }
            Some(_) => {}
            None => break,
        }
    }
    // Keys may stand behind the records that name them, so they are looked up last.
    let resolved = packed.iter().enumerate().map(|(index, packed)| {
        let missing = |field| BrokenAggregate::Incomplete { index, field };
        let partition_key = packed
            .partition_key
            .ok_or_else(|| missing("partition_key_index"))?;
        Ok(UserRecord {
            partition_key: key_at(&partition_keys, partition_key, index)?,
            explicit_hash_key: packed
                .hash_key
                .map(|key| key_at(&hash_keys, key, index))
                .transpose()?,
            data: packed.data.ok_or_else(|| missing("data"))?,
        })
    });
    resolved.collect()
}

/// What stands between the magic and the MD5.
fn message(record: &[u8]) -> Result<&[u8], BrokenAggregate> {
    let behind = record.strip_prefix(&MAGIC).ok_or(BrokenAggregate::NoMagic)?;
    let (message, digest) = behind
        .split_last_chunk::<DIGEST_BYTES>()
        .filter(|(message, _)| !message.is_empty())
        .ok_or(BrokenAggregate::TooShort { bytes: record.len() })?;
    if *digest != *Md5::digest(message) {
        return Err(BrokenAggregate::WrongDigest);
    }
    Ok(message)
}

fn key_at<'a>(keys: &[&'a str], key: u64, index: usize) -> Result<&'a str, BrokenAggregate> {
    let found = usize::try_from(key).ok().and_then(|at| keys.get(at));
    found.copied().ok_or(BrokenAggregate::NoSuchKey {
        index,
        key,
        keys: keys.len(),
    })
}

/// A user record as it is written: keys by their places in the tables.
#[derive(Clone, Copy, Debug, Default)]
struct Packed<'a> {
    partition_key: Option<u64>,
    hash_key: Option<u64>,
    data: Option<&'a [u8]>,
}

impl<'a> Packed<'a> {
    /// Of a field that comes twice the last one counts, as protobuf has it.
    fn read(message: &'a [u8]) -> Result<Self, NotFields> {
        let mut fields = Fields::of(message);
        let mut packed = Self::default();
        while let Some(field) = fields.next()? {
            match field {
                (field::PARTITION_KEY_INDEX, Value::Number(key)) => packed.partition_key = Some(key),
                (field::EXPLICIT_HASH_KEY_INDEX, Value::Number(key)) => packed.hash_key = Some(key),
                (field::DATA, Value::Bytes(data)) => packed.data = Some(data),
                _ => {}
            }
        }
        Ok(packed)
    }
}

#[cfg(test)]
#[path = "open/tests.rs"]
mod tests;
