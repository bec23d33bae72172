//! The bucket, as S3 promises it, and the truth about what is in it: every write is held against the
//! invariants when it happens, whoever sent it and however late it arrives.

use std::collections::{BTreeMap, HashMap};

use hoard::invariants::{self, Broken};
use hoard::replicas::Heartbeat;
use hoard::sequence::{SequenceNumber, ShardId};
use hoard::state::ShardState;
use hoard::store::ETag;

use crate::stream::Stream;

/// What an object holds.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    State(Box<ShardState>),
    Heartbeat(Heartbeat),
    Mark,
    Object(Object),
}

/// An object of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) shard: ShardId,
    pub(crate) last: SequenceNumber,
    pub(crate) crc: u64,
    pub(crate) records: Vec<u64>,
}

/// On what a write depends.
#[derive(Clone, Debug)]
pub(crate) enum Condition {
    Absent,
    Unchanged(ETag),
    /// Only a broken protocol writes so.
    Nothing,
}

/// What must never happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A change of state that the shared predicate forbids.
    State(Broken),
    /// A checkpoint is past a record that is in no object.
    Uncovered { shard: String, record: u64 },
    /// A record is in two objects.
    Doubled { record: u64 },
    /// An object was overwritten with other content.
    Overwritten { key: String },
    /// An object that no state announced.
    Unannounced { key: String },
    /// A child's record was archived before its parent was done.
    ChildFirst { child: String },
    /// A replica found an object that it did not expect: it would stop for a person to look.
    Stuck { shard: String },
    /// Faults have ended long ago, and something is not archived yet.
    Unfinished { record: u64 },
    /// The same, and a closed shard is not marked as done.
    NotEnded { shard: String },
}

#[derive(Default)]
pub(crate) struct Bucket {
    objects: BTreeMap<String, (Content, ETag)>,
    writes: u64,
    /// Where each record is.
    homes: HashMap<u64, String>,
}

impl Bucket {
    pub(crate) fn get(&self, key: &str) -> Option<(Content, ETag)> {
        self.objects.get(key).cloned()
    }

    pub(crate) fn state(&self, shard: &ShardId) -> Option<&ShardState> {
        match self.objects.get(shard.as_str()) {
            Some((Content::State(state), _)) => Some(state.as_ref()),
            _ => None,
        }
    }

    pub(crate) fn home(&self, record: u64) -> Option<&str> {
        self.homes.get(&record).map(String::as_str)
    }

    /// The names of states and heartbeats.
    pub(crate) fn list(&self) -> Vec<(String, ETag)> {
        let is_state = |content: &Content| !matches!(content, Content::Object(_));
        let listed = self.objects.iter().filter(|(_, (content, _))| is_state(content));
        listed
            .map(|(key, (_, etag))| (key.clone(), etag.clone()))
            .collect()
    }

    pub(crate) fn delete(&mut self, key: &str) {
        self.objects.remove(key);
    }

    /// Writes if the condition holds.
    pub(crate) fn put(
        &mut self,
        stream: &Stream,
        key: &str,
        content: Content,
        condition: &Condition,
    ) -> Result<Option<ETag>, Violation> {
        let current = self.objects.get(key);
        let holds = match condition {
            Condition::Absent => current.is_none(),
            Condition::Unchanged(etag) => current.is_some_and(|(_, current)| current == etag),
            Condition::Nothing => true,
        };
        if !holds {
            return Ok(None);
        }
        match &content {
            Content::State(state) => self.check_state(stream, key, state)?,
            Content::Object(object) => self.check_object(stream, key, object)?,
            Content::Heartbeat(_) | Content::Mark => {}
        }
        self.writes += 1;
        let etag = ETag::from(self.writes.to_string());
        self.objects.insert(key.to_owned(), (content, etag.clone()));
        Ok(Some(etag))
    }

    fn check_state(&self, stream: &Stream, key: &str, after: &ShardState) -> Result<(), Violation> {
        let before = match self.objects.get(key) {
            Some((Content::State(state), _)) => Some(state.as_ref()),
            _ => None,
        };
        invariants::follows(before, after).map_err(Violation::State)?;
        let Some(before) = before.filter(|before| before.checkpoint != after.checkpoint) else {
            return Ok(());
        };
        if let Some(pending) = &before.pending {
            let is_stored = |index: usize| {
                let planned = &pending.objects[index];
                match self.objects.get(&planned.key) {
                    Some((Content::Object(object), _)) => {
                        object.crc == planned.crc && object.last == pending.last
                    }
                    _ => false,
                }
            };
            invariants::is_covered(pending, is_stored).map_err(Violation::State)?;
        }
        let number = |sequence: &Option<SequenceNumber>| sequence.as_ref().map_or(0, number);
        let (from, to) = (number(&before.checkpoint), number(&after.checkpoint));
        let committed = stream.between(key, from, to);
        let missing = committed.iter().find(|record| !self.homes.contains_key(record));
        match missing {
            Some(record) => Err(Violation::Uncovered {
                shard: key.to_owned(),
                record: *record,
            }),
            None => Ok(()),
        }
    }

    fn check_object(&mut self, stream: &Stream, key: &str, object: &Object) -> Result<(), Violation> {
        if let Some((Content::Object(found), _)) = self.objects.get(key)
            && found != object
        {
            return Err(Violation::Overwritten { key: key.to_owned() });
        }
        let state = self.state(&object.shard);
        let is_announced = state.is_some_and(|state| {
            let is_pending = state
                .pending
                .as_ref()
                .is_some_and(|pending| pending.objects.iter().any(|planned| planned.key == key));
            is_pending || state.checkpoint.as_ref() >= Some(&object.last)
        });
        if !is_announced {
            return Err(Violation::Unannounced { key: key.to_owned() });
        }
        let is_done = |parent: &ShardId| self.state(parent).is_some_and(ShardState::is_done);
        if !stream.parents(object.shard.as_str()).iter().all(is_done) {
            return Err(Violation::ChildFirst {
                child: object.shard.to_string(),
            });
        }
        for record in &object.records {
            match self.homes.insert(*record, key.to_owned()) {
                Some(home) if home != key => return Err(Violation::Doubled { record: *record }),
                _ => {}
            }
        }
        Ok(())
    }
}

pub(crate) fn number(sequence: &SequenceNumber) -> u64 {
    sequence.as_str().parse().expect("ours")
}

pub(crate) fn sequence(record: u64) -> SequenceNumber {
    SequenceNumber::try_from(record.to_string()).expect("a number")
}
