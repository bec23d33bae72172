//! Where objects lie and what is written on them.
//!
//! `{prefix}YYYY/MM/DD/{stream}-{shard}-{first sequence number}.jsonl.gz`, the date where the prefix
//! names it ([`crate::prefix`]). The *last* sequence number is never part of a key: two writers whose cuts begin alike must collide, so that the second is
//! refused instead of storing the same records under another name.
//!
//! No `Content-Encoding` is set. Query engines choose the decompressor by the extension; HTTP clients
//! that see `Content-Encoding: gzip` decompress on the way (browsers, Go's transport), and what they
//! then call `….gz` has neither the announced length nor the checksum. Whoever reads an object gets
//! the bytes that were stored.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::encode::{Compression, crc_to_hex};
use crate::firehose::request::RECORD_BYTES_MAX;
use crate::pending::{Kind, Pending, PlannedObject};
use crate::period::{Period, Zone};
use crate::prefix::{Partition, Prefix};
use crate::record::Arrival;
use crate::sequence::{SequenceNumber, ShardId};

/// The media type of JSON lines (<https://github.com/ndjson/ndjson-spec>).
pub const CONTENT_TYPE: &str = "application/x-ndjson";
/// Metadata: the last record of the cut. With [`CRC`] it identifies an object's content.
pub const LAST_SEQUENCE_NUMBER: &str = "last-sequence-number";
/// Metadata: CRC-64/NVME of the uncompressed lines, 16 hexadecimal digits.
pub const CRC: &str = "uncompressed-crc64nvme";
/// Metadata: the last record of the cut before, exclusive, or [`START`]. Sequence numbers are not dense:
/// this link is what proves that nothing lies between two cuts.
pub const AFTER_SEQUENCE_NUMBER: &str = "after-sequence-number";
/// What stands in [`AFTER_SEQUENCE_NUMBER`] of a shard's first cut.
pub const START: &str = "start";
/// Metadata: how many objects the cut has, so that none of them can be missing unseen.
pub const CUT_OBJECTS: &str = "cut-objects";
/// Metadata: how many Kinesis records the cut has, in all of its objects; an aggregate is one.
pub const CUT_RECORDS: &str = "cut-records";
/// Metadata: `lines`, or `errors` for error lines.
pub const CONTENT: &str = "content";

/// A cut as each of its objects describes it.
#[derive(Clone, Copy, Debug)]
pub struct CutPlace<'a> {
    /// Its shard.
    pub shard: &'a ShardId,
    /// The shard's checkpoint before it, exclusive.
    pub after: Option<&'a SequenceNumber>,
    /// The cut.
    pub cut: &'a Pending,
}

/// Where lines go. Error lines always lie in the bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinesTo {
    /// Into objects of their cut.
    #[default]
    Bucket,
    /// To Firehose, before their cut: it has none of them.
    Firehose,
}

impl LinesTo {
    fn is_bucket(&self) -> bool {
        *self == Self::Bucket
    }
}

/// Where the objects of one archive lie. Announced with each cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The stream's name.
    pub stream: String,
    /// Before the names of line objects.
    pub prefix: Prefix,
    /// The same for error objects.
    pub error_prefix: Prefix,
    /// By whose clock periods are told.
    pub zone: Zone,
    /// How many partitions the lines of one record may belong to.
    pub record_partitions_max: usize,
    /// Where lines go.
    #[serde(default, skip_serializing_if = "LinesTo::is_bucket")]
    pub lines: LinesTo,
}

impl Layout {
    /// The period that a record is filed under.
    pub fn period(&self, arrival: Arrival) -> Period {
        let unit = self.prefix.unit().max(self.error_prefix.unit());
        self.zone.period(arrival, unit)
    }

    /// The longest line, in bytes without its line break.
    pub fn line_bytes_max(&self) -> usize {
        match self.lines {
            LinesTo::Bucket => usize::MAX,
            LinesTo::Firehose => RECORD_BYTES_MAX - 1,
        }
    }

    /// The key of an object of the cut that begins at `first`.
    pub fn key(
        &self,
        (kind, partition): (Kind, &Partition),
        period: Period,
        shard: &ShardId,
        first: &SequenceNumber,
        compression: Compression,
    ) -> String {
        let prefix = match kind {
            Kind::Lines => &self.prefix,
            Kind::Errors => &self.error_prefix,
        };
        let prefix = prefix.render(period, partition);
        let (stream, extension) = (&self.stream, compression.extension());
        format!("{prefix}{stream}-{shard}-{first}.jsonl{extension}")
    }

    /// What is written on an object of the cut at `place`. The sequence numbers, arrivals and `cut-…`
    /// are those of the whole cut, so that the ranges (after, last] of a shard's cuts touch without a
    /// gap; `record-count` is this object's lines.
    pub fn metadata(place: CutPlace<'_>, object: &PlannedObject) -> HashMap<String, String> {
        let cut = place.cut;
        let after = place.after.map_or(START, SequenceNumber::as_str);
        let fields = [
            ("stream", cut.layout.stream.clone()),
            ("shard", place.shard.to_string()),
            (CONTENT, object.kind.as_str().to_owned()),
            (AFTER_SEQUENCE_NUMBER, after.to_owned()),
            ("first-sequence-number", cut.first.to_string()),
            (LAST_SEQUENCE_NUMBER, cut.last.to_string()),
            (CUT_RECORDS, cut.records.to_string()),
            (CUT_OBJECTS, cut.objects.len().to_string()),
            ("record-count", object.lines.to_string()),
            ("uncompressed-bytes", object.bytes.to_string()),
            (CRC, crc_to_hex(object.crc)),
            ("first-arrival", cut.first_arrival.to_string()),
            ("last-arrival", cut.last_arrival.to_string()),
        ];
        fields.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_the_day_the_shard_and_the_first_record() {
        let layout = Layout {
            stream: "events".to_owned(),
            prefix: "raw/".parse().expect("valid"),
            error_prefix: "errors/".parse().expect("valid"),
            zone: Zone::utc(),
            record_partitions_max: 1,
            lines: LinesTo::Bucket,
        };
        let period = layout.period(Arrival::from_millis(1_767_225_600_000).expect("in range"));
        let shard = ShardId::try_from("shardId-000000000001".to_owned()).expect("valid");
        let first = SequenceNumber::try_from("49".to_owned()).expect("valid");
        let key = |kind, compression| {
            layout.key((kind, &Partition::default()), period, &shard, &first, compression)
        };
        let cases = [
            (
                Kind::Lines,
                Compression::Gzip { level: 1 },
                "raw/2026/01/01/events-shardId-000000000001-49.jsonl.gz",
            ),
            (
                Kind::Lines,
                Compression::Zstd { level: 1 },
                "raw/2026/01/01/events-shardId-000000000001-49.jsonl.zst",
            ),
            (
                Kind::Errors,
                Compression::None,
                "errors/2026/01/01/events-shardId-000000000001-49.jsonl",
            ),
        ];
        for (kind, compression, expected) in cases {
            assert_eq!(key(kind, compression), expected);
        }
    }

    #[test]
    fn the_finest_prefix_decides_what_a_period_is() {
        let layout = Layout {
            stream: "events".to_owned(),
            prefix: "raw/!{timestamp:yyyy/MM/dd/HH}/".parse().expect("valid"),
            error_prefix: "errors/".parse().expect("valid"),
            zone: "Asia/Shanghai".parse().expect("known"),
            record_partitions_max: 1,
            lines: LinesTo::Bucket,
        };
        let arrival = Arrival::from_millis(1_767_225_600_000).expect("in range");
        assert_eq!(layout.period(arrival).to_string(), "2026-01-01T08");
    }
}
