//! A cut that was decided: which records go into which objects, as the shard's state announces it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::encode::Compression;
use crate::layout::Layout;
use crate::period::Period;
use crate::prefix::Partition;
use crate::record::Arrival;
use crate::sequence::SequenceNumber;

/// What an object holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Records that are one JSON object, one a line.
    Lines,
    /// Records that are not, with the reason.
    Errors,
}

impl Kind {
    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Errors => "errors",
        }
    }
}

/// A cut that was decided: from here on, exactly these records go into exactly these objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Of this cut.
    pub id: Uuid,
    /// Its first record; the record before it is the checkpoint.
    pub first: SequenceNumber,
    /// Its last record, inclusive.
    pub last: SequenceNumber,
    /// How many records, good and bad.
    pub records: u64,
    /// The earliest arrival.
    pub first_arrival: Arrival,
    /// The latest arrival.
    pub last_arrival: Arrival,
    /// The period of every record.
    pub period: Period,
    /// How its objects are compressed.
    pub compression: Compression,
    /// Under which prefixes they lie, and what divides lines among them.
    pub layout: Layout,
    /// Its objects, at most one of each kind and partition.
    pub objects: Vec<PlannedObject>,
}

/// An object of a decided cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedObject {
    /// What it holds.
    pub kind: Kind,
    /// Whose lines.
    #[serde(default, skip_serializing_if = "Partition::is_none")]
    pub partition: Partition,
    /// Where it goes.
    pub key: String,
    /// How many lines.
    pub lines: u64,
    /// Their size before compression, in bytes.
    pub bytes: u64,
    /// The object's size, in bytes.
    pub stored_bytes: u64,
    /// CRC-64/NVME of the lines before compression.
    #[serde(with = "hex")]
    pub crc: u64,
}

/// CRCs as hexadecimal text: JSON numbers lose digits beyond 2^53 in many readers.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::encode::crc_to_hex;

    pub(super) fn serialize<S: Serializer>(crc: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&crc_to_hex(*crc))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        u64::from_str_radix(&String::deserialize(deserializer)?, 16).map_err(D::Error::custom)
    }
}
