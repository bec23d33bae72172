//! Lines into a Firehose delivery stream, in place of objects in the bucket: at least once.
//!
//! ```text
//! read → line → request → PutRecordBatch, until every line is accepted → cut → commit
//! ```
//!
//! Firehose has no condition on a put and keeps no order, so what is sent again is there twice. Invariant:
//! a cut holds only records whose lines were all accepted; so a checkpoint is never past a line that
//! Firehose does not have. A crash, a lost answer or a pause that costs the shard sends lines again that
//! were accepted since the last checkpoint; nothing else does.
//!
//! Everything else is as it is without: ownership, checkpoints and error lines lie in the bucket, and a cut
//! is announced, has its error lines stored, and moves the checkpoint, by the same protocol.
//!
//! | module | |
//! |---|---|
//! | [`request`] | lines into requests, and what of an answer must be sent again |
//! | [`deliver`] | one answer of the stream, until all of it is accepted |
//! | [`metrics`] | what is shown |

pub mod deliver;
pub mod metrics;
pub mod request;

pub use deliver::Delivery;
