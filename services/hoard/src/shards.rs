//! Which shards there are, which of them must wait, and whether their ranges of hash keys fit together.
//!
//! Invariant: a shard is started only when every parent is at its end with nothing pending, or is
//! gone from the stream; so the records of a partition key are archived in the order in which they
//! arrived, through any tree of splits and merges, whichever replica archives which shard.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use aws_clients::Failure;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::Shard as ListedShard;

use crate::record::Arrival;
use crate::retry::{FailedCall, call};
use crate::sequence::ShardId;

/// One page of shards is small.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// A shard and what it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its name.
    pub id: ShardId,
    /// None, the one that was split, or the two that were merged.
    pub parents: Vec<ShardId>,
    /// The hash keys whose records it takes; none once it is closed.
    pub takes: Option<RangeInclusive<u128>>,
}

/// The shards that must wait for a parent: one that the stream still has and that is not done. Whatever
/// the list says, a parent that `is_held` here is not gone.
pub fn waiting(
    listed: &[Shard],
    is_done: impl Fn(&ShardId) -> bool,
    is_held: impl Fn(&ShardId) -> bool,
) -> HashSet<ShardId> {
    let present: HashSet<&ShardId> = listed.iter().map(|shard| &shard.id).collect();
    let holds_up = |parent: &ShardId| is_held(parent) || (present.contains(parent) && !is_done(parent));
    listed
        .iter()
        .filter(|shard| shard.parents.iter().any(holds_up))
        .map(|shard| shard.id.clone())
        .collect()
}

/// How the open shards' ranges fit together. In a stream as Kinesis promises it, both are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Stretches of hash keys that no open shard takes: records with such keys cannot be sent, or go
    /// where we do not see them.
    pub holes: usize,
    /// Stretches that two open shards take.
    pub overlaps: usize,
}

/// Holds the open shards' ranges against the whole range of hash keys, 0 to 2^128 - 1.
pub fn audit(listed: &[Shard]) -> Audit {
    let mut ranges: Vec<&RangeInclusive<u128>> =
        listed.iter().filter_map(|shard| shard.takes.as_ref()).collect();
    ranges.sort_by_key(|range| (*range.start(), *range.end()));
    let mut audit = Audit::default();
    // The first key that nobody takes yet; none once the last key is taken.
    let mut next = Some(0);
    for range in ranges {
        match next {
            Some(key) if *range.start() > key => audit.holes += 1,
            Some(key) if *range.start() == key => {}
            _ => audit.overlaps += 1,
        }
        next = next.and_then(|key| range.end().checked_add(1).map(|after| after.max(key)));
    }
    audit.holes += usize::from(next.is_some());
    audit
}

/// All shards that the stream still has, closed ones included; every page of them.
pub async fn list(client: &Client, stream: &str) -> Result<Vec<Shard>, FailedCall> {
    let mut shards = Vec::new();
    let mut next_page: Option<String> = None;
    loop {
        // A page's token stands for the stream: both together are refused.
        let request = match next_page.take() {
            Some(token) => client.list_shards().next_token(token),
            None => client.list_shards().stream_name(stream),
        };
        let answer = call(LIST_TIMEOUT, request.send()).await?;
        for shard in answer.shards.unwrap_or_default() {
            shards.push(read(shard)?);
        }
        match answer.next_token {
            Some(token) => next_page = Some(token),
            None => return Ok(shards),
        }
    }
}

/// What is to be known of a stream as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// How long it keeps its records.
    pub retention: Duration,
    /// When it was created.
    pub created: Arrival,
}

/// Asks for it.
pub async fn describe(client: &Client, stream: &str) -> Result<Description, FailedCall> {
    let request = client.describe_stream_summary().stream_name(stream);
    let answer = call(LIST_TIMEOUT, request.send()).await?;
    let missing = |what| FailedCall::new(Failure::Invalid, format!("the answer has no {what}"));
    let summary = answer
        .stream_description_summary
        .ok_or_else(|| missing("description"))?;
    let hours = u64::try_from(summary.retention_period_hours).ok();
    let hours = hours
        .filter(|hours| *hours > 0)
        .ok_or_else(|| missing("retention"))?;
    let created = summary.stream_creation_timestamp.to_millis().ok();
    let created = created.and_then(Arrival::from_millis);
    Ok(Description {
        retention: Duration::from_secs(hours * 60 * 60),
        created: created.ok_or_else(|| missing("time of creation"))?,
    })
}

fn read(shard: ListedShard) -> Result<Shard, FailedCall> {
    let name = |id: String| {
        ShardId::try_from(id).map_err(|error| FailedCall::new(Failure::Invalid, error.to_string()))
    };
    let is_open = shard
        .sequence_number_range
        .is_some_and(|range| range.ending_sequence_number.is_none());
    let hash_key = |key: &str| {
        key.parse::<u128>()
            .map_err(|_| FailedCall::new(Failure::Invalid, "a hash key is not a number of 128 bits"))
    };
    let takes = match shard.hash_key_range.filter(|_| is_open) {
        Some(range) => Some(hash_key(&range.starting_hash_key)?..=hash_key(&range.ending_hash_key)?),
        None => None,
    };
    let parents = shard
        .parent_shard_id
        .into_iter()
        .chain(shard.adjacent_parent_shard_id);
    Ok(Shard {
        id: name(shard.shard_id)?,
        parents: parents.map(name).collect::<Result<_, _>>()?,
        takes,
    })
}

#[cfg(test)]
mod tests;
