//! Where objects lie and what is written on them.
//!
//! `{prefix}YYYY/MM/DD/{stream}-{shard}-{first sequence number}.jsonl.gz`. The *last* sequence number
//! is never part of a key: two writers whose cuts begin alike must collide, so that the second is
//! refused instead of storing the same records under another name.
//!
//! No `Content-Encoding` is set. Query engines choose the decompressor by the extension; HTTP clients
//! that see `Content-Encoding: gzip` decompress on the way (browsers, Go's transport), and what they
//! then call `….gz` has neither the announced length nor the checksum. Whoever reads an object gets
//! the bytes that were stored.

use std::collections::HashMap;

use crate::cut::Span;
use crate::encode::{Compression, crc_to_hex};
use crate::pending::{Kind, PlannedObject};
use crate::record::Day;
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

/// The prefixes that objects of one archive lie under.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Before the date of line objects; ends with `/` where a folder is meant.
    pub prefix: String,
    /// The same for error objects.
    pub error_prefix: String,
    /// The stream's name.
    pub stream: String,
}

/// A cut as each of its objects describes it.
#[derive(Clone, Copy, Debug)]
pub struct CutPlace<'a> {
    /// Its shard.
    pub shard: &'a ShardId,
    /// The shard's checkpoint before it, exclusive.
    pub after: Option<&'a SequenceNumber>,
    /// Its records.
    pub span: &'a Span,
    /// How many objects hold them.
    pub objects: usize,
}

impl Layout {
    /// The key of an object of the cut that begins at `first`.
    pub fn key(
        &self,
        kind: Kind,
        day: Day,
        shard: &ShardId,
        first: &SequenceNumber,
        compression: Compression,
    ) -> String {
        let prefix = match kind {
            Kind::Lines => &self.prefix,
            Kind::Errors => &self.error_prefix,
        };
        let (stream, extension) = (&self.stream, compression.extension());
        format!("{prefix}{day}/{stream}-{shard}-{first}.jsonl{extension}")
    }

    /// What is written on an object. The sequence numbers are those of the whole cut, so that the
    /// ranges (after, last] of a shard's cuts touch without a gap; `record-count` is this object's lines.
    pub fn metadata(&self, cut: CutPlace<'_>, object: &PlannedObject) -> HashMap<String, String> {
        let span = cut.span;
        let after = cut.after.map_or(START, SequenceNumber::as_str);
        let fields = [
            ("stream", self.stream.clone()),
            ("shard", cut.shard.to_string()),
            (AFTER_SEQUENCE_NUMBER, after.to_owned()),
            ("first-sequence-number", span.first.to_string()),
            (LAST_SEQUENCE_NUMBER, span.last.to_string()),
            (CUT_OBJECTS, cut.objects.to_string()),
            ("record-count", object.lines.to_string()),
            ("uncompressed-bytes", object.bytes.to_string()),
            (CRC, crc_to_hex(object.crc)),
            ("first-arrival", span.first_arrival.to_string()),
            ("last-arrival", span.last_arrival.to_string()),
        ];
        fields.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Arrival;

    #[test]
    fn keys_name_the_day_the_shard_and_the_first_record() {
        let layout = Layout {
            prefix: "raw/".to_owned(),
            error_prefix: "errors/".to_owned(),
            stream: "events".to_owned(),
        };
        let day = Arrival::from_millis(1_767_225_600_000).expect("in range").day();
        let shard = ShardId::try_from("shardId-000000000001".to_owned()).expect("valid");
        let first = SequenceNumber::try_from("49".to_owned()).expect("valid");
        let key = |kind, compression| layout.key(kind, day, &shard, &first, compression);
        assert_eq!(
            key(Kind::Lines, Compression::Gzip { level: 1 }),
            "raw/2026/01/01/events-shardId-000000000001-49.jsonl.gz"
        );
        assert_eq!(
            key(Kind::Errors, Compression::None),
            "errors/2026/01/01/events-shardId-000000000001-49.jsonl"
        );
    }
}
