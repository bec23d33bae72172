//! What is known about one shard, as it stands in the bucket: `{state prefix}{stream}/{shard}.json`,
//! and the only ways in which it may change.
//!
//! The steps of a cut, as states: `checkpoint = a` → `checkpoint = a, pending = (a, b]` → the objects
//! are stored → `checkpoint = b`. Whatever step a crash falls on, the next owner knows what to do.
//!
//! Every change is made by one of the functions here and held against
//! [`invariants::follows`](crate::invariants::follows) before it is written.

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
    /// The replica that may change the state; none after it was handed back.
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
    /// The state after `owner` has taken the shard, whoever had it `before`; of a shard that nobody had
    /// before there is none. What was pending stays so: the new owner finishes it.
    pub fn claimed(before: Option<&Self>, owner: &str, revision: Uuid) -> Self {
        let owner = Some(owner.to_owned());
        match before {
            Some(state) => Self {
                revision,
                owner,
                epoch: state.epoch + 1,
                ..state.clone()
            },
            None => Self {
                revision,
                owner,
                epoch: 1,
                checkpoint: None,
                passed: None,
                pending: None,
                shard_end: false,
            },
        }
    }

    /// With a cut announced: from here on nothing but this cut can follow the checkpoint.
    pub fn prepared(&self, pending: Pending, revision: Uuid) -> Self {
        Self {
            revision,
            pending: Some(pending),
            ..self.clone()
        }
    }

    /// With the checkpoint at the end of the announced cut, whose objects are stored.
    pub fn completed(&self, revision: Uuid) -> Self {
        let (checkpoint, passed) = match &self.pending {
            Some(pending) => (
                Some(pending.last.clone()),
                self.passed.max(Some(pending.last_arrival)),
            ),
            None => (self.checkpoint.clone(), self.passed),
        };
        Self {
            revision,
            checkpoint,
            passed,
            pending: None,
            ..self.clone()
        }
    }

    /// With the time at which the shard had nothing more to give and nothing was held, by Kinesis' clock.
    pub fn passed(&self, now: Arrival, revision: Uuid) -> Self {
        debug_assert!(self.pending.is_none(), "nothing is pending between cuts");
        Self {
            revision,
            passed: self.passed.max(Some(now)),
            ..self.clone()
        }
    }

    /// At its end: everything of a closed shard is committed, and there is nothing left to own.
    pub fn ended(&self, revision: Uuid) -> Self {
        Self {
            shard_end: true,
            ..self.released(revision)
        }
    }

    /// Handed back, so that nobody has to find out that the owner is gone.
    pub fn released(&self, revision: Uuid) -> Self {
        Self {
            revision,
            owner: None,
            ..self.clone()
        }
    }

    /// Closed, committed to its end, and nothing is under way: its children may begin.
    pub fn is_done(&self) -> bool {
        self.shard_end && self.pending.is_none()
    }
}
