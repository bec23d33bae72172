//! What this replica does about each shard of the stream: a pure decision over what it sees.
//!
//! Safety does not rest on it. Two replicas may decide that a shard is theirs, and the state's
//! compare-and-swap settles it. What rests on it is that every shard finds a home soon: a shard is
//! given up by the one and taken by the other when both see the same replicas, one look later at most.

use std::collections::{BTreeMap, HashMap};

use crate::placement;
use crate::replicas::{Replicas, Standing};
use crate::sequence::ShardId;
use crate::shards::{self, Shard};
use crate::state::ShardState;

/// Why a shard changed hands. Also a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Taken here: nobody had it, or its owner had handed it back.
    Free,
    /// Taken here: its owner was dead.
    Dead,
    /// Taken here again, after an error had stopped it here.
    Again,
    /// Handed over, to the replica that it belongs to now.
    HandedOver,
    /// Handed back: this replica stops.
    Shutdown,
    /// Lost: another replica took it while this one held it.
    Lost,
}

impl Change {
    /// All of them, for metrics that exist before the first one happens.
    pub const ALL: [Self; 6] = [
        Self::Free,
        Self::Dead,
        Self::Again,
        Self::HandedOver,
        Self::Shutdown,
        Self::Lost,
    ];

    /// The name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Dead => "dead",
            Self::Again => "again",
            Self::HandedOver => "handed_over",
            Self::Shutdown => "shutdown",
            Self::Lost => "lost",
        }
    }
}

/// What to do about a shard now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is archived here, and stays.
    Keep,
    /// Take it, and archive it.
    Take(Change),
    /// It is archived here and belongs to another replica: cut, commit, release.
    HandOver,
    /// It says that it is ours, we do not archive it, and it belongs to another: release it.
    Release,
    /// It is ours to take as soon as its owner has released it, or is known to be dead: look often.
    Await,
    /// It waits until its parents are committed to their ends.
    Parents,
    /// Another replica archives it, or is about to.
    Elsewhere,
    /// Everything in it is committed.
    Ended,
    /// An error stopped it here a while ago.
    Failed,
}

/// A state as it was read.
#[derive(Clone, Debug)]
pub struct Known {
    /// The state.
    pub state: ShardState,
    /// It was the same at an earlier look already; so an owner whose heartbeat is not there now was not
    /// just about to give its first.
    pub settled: bool,
}

/// What this replica sees.
pub struct View<'a, R, F> {
    /// This replica's id.
    pub me: &'a str,
    /// Every shard that the stream has.
    pub shards: &'a [Shard],
    /// The states that exist.
    pub states: &'a HashMap<ShardId, Known>,
    /// The replicas.
    pub replicas: &'a Replicas,
    /// What is archived here.
    pub is_running: R,
    /// What an error stopped here, until it is tried again.
    pub is_failed: F,
}

impl<R: Fn(&ShardId) -> bool, F: Fn(&ShardId) -> bool> View<'_, R, F> {
    /// Decides about every shard, in the order of their names.
    pub fn decide(&self) -> BTreeMap<ShardId, Decision> {
        let is_done = |shard: &ShardId| self.states.get(shard).is_some_and(|known| known.state.is_done());
        let open = self
            .shards
            .iter()
            .map(|shard| &shard.id)
            .filter(|shard| !is_done(shard));
        let homes = placement::place(&self.replicas.takers(), open);
        let waiting = shards::waiting(self.shards, is_done, &self.is_running);
        let decide = |shard: &Shard| {
            let home = homes.get(&shard.id).map(String::as_str);
            let is_waiting = waiting.contains(&shard.id);
            (shard.id.clone(), self.decide_one(&shard.id, home, is_waiting))
        };
        self.shards.iter().map(decide).collect()
    }

    fn decide_one(&self, shard: &ShardId, home: Option<&str>, is_waiting: bool) -> Decision {
        let Some(home) = home else {
            return Decision::Ended;
        };
        let is_home = home == self.me;
        let known = self.states.get(shard);
        let owner = known.and_then(|known| known.state.owner.as_deref());
        let is_mine = owner == Some(self.me);
        match ((self.is_running)(shard), is_home) {
            (true, true) => Decision::Keep,
            (true, false) => Decision::HandOver,
            (false, false) if is_mine => Decision::Release,
            (false, false) => Decision::Elsewhere,
            (false, true) if is_waiting => Decision::Parents,
            (false, true) if (self.is_failed)(shard) => Decision::Failed,
            (false, true) if is_mine => Decision::Take(Change::Again),
            (false, true) => match owner.map(|owner| self.replicas.standing(owner)) {
                None => Decision::Take(Change::Free),
                Some(Standing::Dead) => Decision::Take(Change::Dead),
                Some(Standing::Absent) if known.is_some_and(|known| known.settled) => {
                    Decision::Take(Change::Dead)
                }
                Some(Standing::Alive | Standing::Leaving | Standing::Absent) => Decision::Await,
            },
        }
    }
}

/// The shards that are done, that the stream no longer has, and that nobody needs to know of any more:
/// each of their children has committed something itself.
pub fn over(listed: &[Shard], states: &HashMap<ShardId, Known>) -> Vec<ShardId> {
    let has_begun = |child: &Shard| {
        let known = states.get(&child.id);
        known.is_some_and(|known| known.state.shard_end || known.state.checkpoint.is_some())
    };
    let is_needed = |shard: &ShardId| {
        let is_child = |child: &&Shard| child.parents.contains(shard);
        listed.iter().any(|other| other.id == *shard) || !listed.iter().filter(is_child).all(has_begun)
    };
    states
        .iter()
        .filter(|(shard, known)| known.state.is_done() && !is_needed(shard))
        .map(|(shard, _)| shard.clone())
        .collect()
}

#[cfg(test)]
mod tests;
