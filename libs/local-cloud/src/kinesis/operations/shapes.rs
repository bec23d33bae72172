//! Shapes that several calls read or write, and the checks that belong to them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer};

use crate::kinesis::error::{invalid_argument, validation};
use crate::kinesis::hash::HashKeyRange;
use crate::kinesis::shard::{Shard, parse_shard_id, shard_id};
use crate::kinesis::stream::StreamMode;
use crate::wire::json::ApiError;

/// How calls name their stream: by name, by ARN, or both if they agree.
#[derive(Clone, Copy)]
pub(super) struct StreamRef<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) arn: Option<&'a str>,
}

impl<'a> StreamRef<'a> {
    pub(super) fn new(name: Option<&'a Cow<'_, str>>, arn: Option<&'a Cow<'_, str>>) -> Self {
        Self {
            name: name.map(AsRef::as_ref),
            arn: arn.map(AsRef::as_ref),
        }
    }
}

/// A call that is about one stream and says nothing else.
#[derive(Deserialize)]
pub(super) struct OneStream<'a> {
    #[serde(rename = "StreamName", borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(rename = "StreamARN", borrow)]
    arn: Option<Cow<'a, str>>,
}

impl OneStream<'_> {
    pub(super) fn stream(&self) -> StreamRef<'_> {
        StreamRef::new(self.name.as_ref(), self.arn.as_ref())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StreamModeDetails {
    pub(super) stream_mode: StreamMode,
}

/// A shard as the API shows it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WireShard {
    shard_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_shard_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adjacent_parent_shard_id: Option<String>,
    hash_key_range: WireRange,
    sequence_number_range: SequenceNumberRange,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WireRange {
    starting_hash_key: String,
    ending_hash_key: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SequenceNumberRange {
    starting_sequence_number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending_sequence_number: Option<String>,
}

impl WireShard {
    pub(super) fn of(shard: &Shard) -> Self {
        Self {
            shard_id: shard.id(),
            parent_shard_id: shard.parent.map(shard_id),
            adjacent_parent_shard_id: shard.adjacent_parent.map(shard_id),
            hash_key_range: WireRange::of(&shard.range),
            sequence_number_range: SequenceNumberRange {
                starting_sequence_number: shard.starting_sequence_number().to_string(),
                ending_sequence_number: shard.ending_sequence_number().map(|number| number.to_string()),
            },
        }
    }
}

impl WireRange {
    pub(super) fn of(range: &HashKeyRange) -> Self {
        Self {
            starting_hash_key: range.start.to_string(),
            ending_hash_key: range.end.to_string(),
        }
    }
}

/// Milliseconds since the epoch; on the wire seconds with a fraction.
#[derive(Clone, Copy)]
pub(super) struct Timestamp(pub(super) u64);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 1_000.0)
    }
}

/// A timestamp as a client sends it; times before the epoch count as the epoch.
pub(super) fn timestamp_ms(seconds: f64) -> u64 {
    (seconds * 1_000.0).round() as u64
}

/// How many items a page holds.
pub(super) fn page_size(limit: Option<usize>, default: usize, max: usize) -> Result<usize, ApiError> {
    match limit {
        None => Ok(default.min(max)),
        Some(0) => Err(validation("limit", "have value greater than or equal to 1")),
        Some(limit) if limit > max => Err(validation(
            "limit",
            &format!("have value less than or equal to {max}"),
        )),
        Some(limit) => Ok(limit),
    }
}

pub(super) fn read_shard_id(id: &str) -> Result<u32, ApiError> {
    parse_shard_id(id).ok_or_else(|| validation("shardId", "satisfy the pattern shardId-[0-9]{12}"))
}

/// A decimal number below 2^128 without leading zeros.
pub(super) fn read_hash_key(member: &str, text: &str) -> Result<u128, ApiError> {
    let digits = text == "0"
        || (!text.starts_with('0') && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    if !digits || text.len() > 39 {
        return Err(validation(
            member,
            "satisfy regular expression pattern: 0|([1-9]\\d{0,38})",
        ));
    }
    text.parse()
        .map_err(|_| invalid_argument(format!("Invalid {member}: it must be in the range [0, 2^128-1].")))
}
