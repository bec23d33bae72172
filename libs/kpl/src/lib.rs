//! Aggregated records, as the Kinesis Producer Library (KPL) writes them: several user records packed
//! into one record of a stream.
//!
//! A stream bills and limits records: a shard takes 1,000 of them a second, however small. Packed,
//! the same shard takes as many small events as fit its bytes. The format is public
//! (<https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md>) and AWS's
//! own consumers open it: the Kinesis Client Library, Lambda's de-aggregation modules, Firehose.
//!
//! ```text
//! F3 89 9A C2 | protobuf AggregatedRecord | MD5 of the protobuf, 16 bytes
//! ```
//!
//! [`Aggregate`] packs and [`open`] unpacks. Opening copies no data: what it returns borrows from the
//! record. There is no I/O here.

mod aggregate;
mod open;
mod wire;

pub use aggregate::Aggregate;
pub use open::{BrokenAggregate, UserRecord, is_aggregate, open};

/// What an aggregated record begins with. No UTF-8 text does.
pub const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// How long the MD5 at the end is.
const DIGEST_BYTES: usize = 16;

/// The fields of `message AggregatedRecord` and of `message Record`.
mod field {
    pub(crate) const PARTITION_KEY_TABLE: u32 = 1;
    pub(crate) const EXPLICIT_HASH_KEY_TABLE: u32 = 2;
    pub(crate) const RECORDS: u32 = 3;

    pub(crate) const PARTITION_KEY_INDEX: u32 = 1;
    pub(crate) const EXPLICIT_HASH_KEY_INDEX: u32 = 2;
    pub(crate) const DATA: u32 = 3;
}
