//! What is known about one shard, as it stands in the bucket: `{state prefix}{stream}/{shard}.json`.
//!
//! The steps of a cut, as states: `checkpoint = a` → `checkpoint = a, pending = (a, b]` → the objects
//! are stored → `checkpoint = b`. Whatever step a crash falls on, the next owner knows what to do.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::pending::Pending;
use crate::record::Arrival;
use crate::sequence::SequenceNumber;

/// A shard's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardState {
    /// Of this very write.
    pub revision: Uuid,
    /// The instance that may change the state; none after it was handed back.
    pub owner: Option<String>,
    /// Counts the owners: grows by one whenever the shard is claimed.
    pub epoch: u64,
    /// The last record that is committed, inclusive; none before the first commit.
    pub checkpoint: Option<SequenceNumber>,
    /// By Kinesis' clock, up to when everything that arrived is committed, give or take how far arrival
    /// times run backwards.
    #[serde(default)]
    pub passed: Option<Arrival>,
    /// The cut that is being committed.
    pub pending: Option<Pending>,
    /// The shard was closed and everything in it is committed.
    pub shard_end: bool,
}

impl ShardState {
    /// Of a shard that nobody had before `owner`.
    pub fn first(owner: &str) -> Self {
        Self {
            revision: Uuid::new_v4(),
            owner: Some(owner.to_owned()),
            epoch: 1,
            checkpoint: None,
            passed: None,
            pending: None,
            shard_end: false,
        }
    }
}
