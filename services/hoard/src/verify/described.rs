//! What is written on an object of the archive, read back.

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

use jiff::Timestamp;

use crate::encode::crc_to_hex;
use crate::layout::{AFTER_SEQUENCE_NUMBER, CRC, CUT_OBJECTS, LAST_SEQUENCE_NUMBER, START};
use crate::record::Arrival;
use crate::sequence::{SequenceNumber, ShardId};

/// An object's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The stream that its records come from.
    pub stream: String,
    /// The shard.
    pub shard: ShardId,
    /// The last record of the cut before, exclusive; `None` at the start of the shard.
    pub after: Option<SequenceNumber>,
    /// The first record of its cut.
    pub first: SequenceNumber,
    /// The last record of its cut, inclusive.
    pub last: SequenceNumber,
    /// How many objects its cut has.
    pub cut_objects: u32,
    /// Its lines.
    pub lines: u64,
    /// Their size before compression, in bytes.
    pub bytes: u64,
    /// Their CRC-64/NVME.
    pub crc: u64,
    /// The earliest arrival in its cut.
    pub first_arrival: Arrival,
    /// The latest arrival in its cut.
    pub last_arrival: Arrival,
}

/// Metadata that this program cannot have written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDescribed {
    /// A field is not there.
    #[error("metadata {0} is missing")]
    Missing(&'static str),
    /// A field's value is none.
    #[error("metadata {0} is not what hoard writes")]
    Invalid(&'static str),
    /// Fields contradict each other.
    #[error("its sequence numbers are out of order")]
    Order,
}

impl Described {
    /// Reads it.
    pub fn read(metadata: &HashMap<String, String>) -> Result<Self, NotDescribed> {
        let fields = Fields(metadata);
        let after = match fields.text(AFTER_SEQUENCE_NUMBER)? {
            START => None,
            _ => Some(fields.name(AFTER_SEQUENCE_NUMBER)?),
        };
        let described = Self {
            stream: fields.text("stream")?.to_owned(),
            shard: fields.name("shard")?,
            after,
            first: fields.name("first-sequence-number")?,
            last: fields.name(LAST_SEQUENCE_NUMBER)?,
            cut_objects: fields.number(CUT_OBJECTS)?,
            lines: fields.number("record-count")?,
            bytes: fields.number("uncompressed-bytes")?,
            crc: fields.crc()?,
            first_arrival: fields.arrival("first-arrival")?,
            last_arrival: fields.arrival("last-arrival")?,
        };
        let follows = described
            .after
            .as_ref()
            .is_none_or(|after| *after < described.first);
        if !follows || described.last < described.first {
            return Err(NotDescribed::Order);
        }
        Ok(described)
    }
}

struct Fields<'a>(&'a HashMap<String, String>);

impl<'a> Fields<'a> {
    fn text(&self, name: &'static str) -> Result<&'a str, NotDescribed> {
        let value = self.0.get(name).ok_or(NotDescribed::Missing(name))?;
        Ok(value)
    }

    fn name<T: TryFrom<String>>(&self, name: &'static str) -> Result<T, NotDescribed> {
        let text = self.text(name)?.to_owned();
        T::try_from(text).map_err(|_| NotDescribed::Invalid(name))
    }

    /// A number as it is written here: `+1` and `01` are not.
    fn number<T: FromStr + Display>(&self, name: &'static str) -> Result<T, NotDescribed> {
        let text = self.text(name)?;
        let number = text.parse::<T>().ok();
        number
            .filter(|number| number.to_string() == text)
            .ok_or(NotDescribed::Invalid(name))
    }

    fn crc(&self) -> Result<u64, NotDescribed> {
        let text = self.text(CRC)?;
        let crc = u64::from_str_radix(text, 16).ok();
        crc.filter(|&crc| crc_to_hex(crc) == text)
            .ok_or(NotDescribed::Invalid(CRC))
    }

    fn arrival(&self, name: &'static str) -> Result<Arrival, NotDescribed> {
        let time: Option<Timestamp> = self.text(name)?.parse().ok();
        time.and_then(|time| Arrival::from_millis(time.as_millisecond()))
            .ok_or(NotDescribed::Invalid(name))
    }
}
