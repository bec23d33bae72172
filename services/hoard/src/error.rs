//! Why the service, or the archiving of one shard, ends.

use std::io;

use crate::record::Arrival;
use crate::sequence::ShardId;

/// Why the service ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream cannot be listed and trying again will not help.
    #[error("stream {stream}: {detail}")]
    Stream {
        /// The stream's name.
        stream: String,
        /// What the service answered.
        detail: String,
    },
    /// The states are of another stream of this name.
    #[error(
        "stream {stream}: it was created at {found}, and the states in the bucket are of a stream of this name that \
         was created at {states}; move them away to archive this one from its beginning, or set another --state-prefix"
    )]
    OtherStream {
        /// The stream's name.
        stream: String,
        /// When the stream of the states was created.
        states: Arrival,
        /// When the one that is there was.
        found: Arrival,
    },
    /// The delivery stream cannot be used and trying again will not help.
    #[error("delivery stream {stream}: {detail}")]
    DeliveryStream {
        /// Its name.
        stream: String,
        /// What is wrong.
        detail: String,
    },
    /// The bucket cannot be written and trying again will not help.
    #[error("bucket {bucket}: {detail}")]
    Bucket {
        /// The bucket's name.
        bucket: String,
        /// What the service answered.
        detail: String,
    },
    /// The bucket's service ignores conditions on writes.
    #[error(
        "bucket {bucket}: {condition} is not honoured here; hoard needs conditional writes to archive each record exactly once"
    )]
    ConditionalWrites {
        /// The bucket's name.
        bucket: String,
        /// The condition that had no effect.
        condition: &'static str,
    },
    /// A file of the state prefix holds something else than what this program writes.
    #[error("state {key} cannot be read")]
    State {
        /// The object's key.
        key: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A metric could not be registered: the registry already has one of that name.
    #[error("metrics")]
    Metrics(#[from] prometheus::Error),
    /// A shard's task panicked.
    #[error(transparent)]
    Task(#[from] service_runtime::tasks::TaskFailure),
    /// The drain deadline passed. Nothing is lost: what was not committed is still in the stream.
    #[error("not drained within the deadline: {shards} shards were still committing")]
    NotDrained {
        /// How many.
        shards: usize,
    },
}

/// Why the archiving of one shard ends before the shard does.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The state object is not as we left it: another replica has taken the shard over. Whatever
    /// we hold of it is dropped, for the other reads it again.
    #[error("{shard} was taken over{}", by(.owner.as_deref()))]
    Lost {
        /// The shard.
        shard: ShardId,
        /// Who owns it now, if its state says so.
        owner: Option<String>,
    },
    /// An object that we are about to write exists with other content. It is never overwritten: a
    /// person has to look.
    #[error("{key} exists with other content")]
    Foreign {
        /// The object's key.
        key: String,
    },
    /// A prepared cut was half stored and the stream no longer gives the same records.
    #[error(
        "the cut that begins at {first} in {shard} is half stored and the stream no longer gives the same records"
    )]
    Changed {
        /// The shard.
        shard: ShardId,
        /// The cut's first sequence number.
        first: String,
    },
    /// The state object holds something else than what this program writes.
    #[error("state {key} cannot be read")]
    State {
        /// The object's key.
        key: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The compressor failed.
    #[error("encoding failed")]
    Encode(#[from] io::Error),
}

fn by(owner: Option<&str>) -> String {
    owner.map(|owner| format!(" by {owner}")).unwrap_or_default()
}
