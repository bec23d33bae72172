//! Which shards there are, and which of them may be read.
//!
//! Invariant: a shard is started only when every parent is at its end with nothing pending, or is
//! gone from the stream; so the records of a partition key are archived in the order in which they
//! arrived, through any tree of splits and merges.

use std::collections::HashSet;
use std::time::Duration;

use aws_clients::Failure;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::Shard as ListedShard;

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
}

/// The shards that may be started: not in `known` (running, ended or lost), and every parent in
/// `ended` or gone. A parent that is still `known` otherwise is not gone, whatever the list says.
pub fn eligible(listed: &[Shard], known: &HashSet<ShardId>, ended: &HashSet<ShardId>) -> Vec<ShardId> {
    let present: HashSet<&ShardId> = listed.iter().map(|shard| &shard.id).collect();
    let is_done =
        |parent: &ShardId| ended.contains(parent) || (!present.contains(parent) && !known.contains(parent));
    listed
        .iter()
        .filter(|shard| !known.contains(&shard.id) && shard.parents.iter().all(is_done))
        .map(|shard| shard.id.clone())
        .collect()
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

fn read(shard: ListedShard) -> Result<Shard, FailedCall> {
    let name = |id: String| {
        ShardId::try_from(id).map_err(|error| FailedCall::new(Failure::Invalid, error.to_string()))
    };
    let parents = shard
        .parent_shard_id
        .into_iter()
        .chain(shard.adjacent_parent_shard_id);
    Ok(Shard {
        id: name(shard.shard_id)?,
        parents: parents.map(name).collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> ShardId {
        ShardId::try_from(name.to_owned()).expect("valid")
    }

    fn shard(name: &str, parents: &[&str]) -> Shard {
        Shard {
            id: id(name),
            parents: parents.iter().map(|parent| id(parent)).collect(),
        }
    }

    fn set(names: &[&str]) -> HashSet<ShardId> {
        names.iter().map(|name| id(name)).collect()
    }

    fn eligible_names(listed: &[Shard], known: &[&str], ended: &[&str]) -> Vec<String> {
        let eligible = eligible(listed, &set(known), &set(ended));
        eligible.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_child_waits_for_every_parent() {
        let listed = [shard("a", &[]), shard("b", &[]), shard("merged", &["a", "b"])];
        assert_eq!(eligible_names(&listed, &[], &[]), ["a", "b"]);
        assert!(eligible_names(&listed, &["a", "b"], &["a"]).is_empty());
        assert_eq!(eligible_names(&listed, &["a", "b"], &["a", "b"]), ["merged"]);
    }

    #[test]
    fn a_parent_that_is_gone_holds_nobody_up_unless_it_is_still_being_read() {
        let listed = [shard("child", &["parent"])];
        assert_eq!(eligible_names(&listed, &[], &[]), ["child"]);
        assert!(eligible_names(&listed, &["parent"], &[]).is_empty());
    }

    #[test]
    fn a_child_of_a_lost_parent_is_its_new_owners() {
        let listed = [shard("parent", &[]), shard("child", &["parent"])];
        assert!(eligible_names(&listed, &["parent"], &[]).is_empty());
    }

    #[test]
    fn grandchildren_wait_for_children() {
        let listed = [shard("a", &[]), shard("b", &["a"]), shard("c", &["b"])];
        assert_eq!(eligible_names(&listed, &["a"], &["a"]), ["b"]);
        assert_eq!(eligible_names(&listed, &["a", "b"], &["a", "b"]), ["c"]);
    }
}
