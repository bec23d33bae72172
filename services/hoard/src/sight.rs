//! What this replica has seen of the state objects, without any I/O: told what a listing holds, it says
//! what is to be read, and keeps what is read. [`crate::watch`] does the reading.

use std::collections::{HashMap, HashSet};

use tokio::time::Instant;

use crate::claim::Found;
use crate::heartbeat;
use crate::ownership::Known;
use crate::replicas::{Heartbeat, Listed, Pulse, Replicas};
use crate::sequence::ShardId;
use crate::store::ETag;

/// What was seen so far.
#[derive(Debug)]
pub struct Sight {
    replicas: Replicas,
    states: HashMap<ShardId, Known>,
    etags: HashMap<ShardId, ETag>,
    unreadable: HashSet<ShardId>,
    /// Marks that a replica is going, of replicas that are gone.
    orphaned_marks: Vec<String>,
}

/// What a listing makes worth reading.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ToRead {
    /// Heartbeats of replicas that are new.
    pub replicas: Vec<String>,
    /// States that have changed.
    pub shards: Vec<ShardId>,
}

/// What a listing holds.
#[derive(Debug, Default)]
struct Listing {
    replicas: Vec<Listed>,
    orphaned_marks: Vec<String>,
    states: Vec<(ShardId, ETag)>,
}

impl Sight {
    /// Has seen nothing.
    pub fn new(me: &str, my_name: Option<&str>, pulse: Pulse) -> Self {
        Self {
            replicas: Replicas::new(me, my_name, pulse),
            states: HashMap::new(),
            etags: HashMap::new(),
            unreadable: HashSet::new(),
            orphaned_marks: Vec::new(),
        }
    }

    /// Takes a listing, asked for at `asked` and there at `answered`. States that are `not_needed` are
    /// not read: those of shards that are archived here change by our own hand.
    pub fn listed(
        &mut self,
        asked: Instant,
        answered: Instant,
        names: Vec<(String, ETag)>,
        not_needed: impl Fn(&ShardId) -> bool,
    ) -> ToRead {
        let listing = Listing::of(names);
        self.orphaned_marks = listing.orphaned_marks;
        let replicas = self.replicas.look(asked, answered, listing.replicas);
        let there: HashSet<&ShardId> = listing.states.iter().map(|(shard, _)| shard).collect();
        self.states.retain(|shard, _| there.contains(shard));
        self.etags.retain(|shard, _| there.contains(shard));
        self.unreadable.retain(|shard| there.contains(shard));
        for known in self.states.values_mut() {
            known.settled = true;
        }
        let is_changed =
            |(shard, etag): &(ShardId, ETag)| !not_needed(shard) && self.etags.get(shard) != Some(etag);
        let changed = listing.states.iter().filter(|listed| is_changed(listed));
        ToRead {
            replicas,
            shards: changed.map(|(shard, _)| shard.clone()).collect(),
        }
    }

    /// Takes a heartbeat that was read.
    pub fn met(&mut self, replica: &str, heartbeat: &Heartbeat) {
        self.replicas.learn(replica, heartbeat);
    }

    /// Takes a state that was read; none when it is gone meanwhile.
    pub fn saw(&mut self, shard: ShardId, found: Found) {
        self.unreadable.remove(&shard);
        match found {
            Some((state, etag)) => {
                self.states.insert(
                    shard.clone(),
                    Known {
                        state,
                        settled: false,
                    },
                );
                self.etags.insert(shard, etag);
            }
            None => {
                self.states.remove(&shard);
                self.etags.remove(&shard);
            }
        }
    }

    /// Takes note that a state object holds something else.
    pub fn saw_nonsense(&mut self, shard: ShardId, etag: ETag) {
        self.states.remove(&shard);
        self.etags.insert(shard.clone(), etag);
        self.unreadable.insert(shard);
    }

    /// The replicas.
    pub fn replicas(&self) -> &Replicas {
        &self.replicas
    }

    /// The states that could be read.
    pub fn states(&self) -> &HashMap<ShardId, Known> {
        &self.states
    }

    /// Shards whose state object holds something else.
    pub fn unreadable(&self) -> &HashSet<ShardId> {
        &self.unreadable
    }

    /// A shard's state as it was found, for a write that is conditioned on it.
    pub fn found(&self, shard: &ShardId) -> Found {
        let known = self.states.get(shard)?;
        let etag = self.etags.get(shard)?;
        Some((known.state.clone(), etag.clone()))
    }

    /// Names of the objects that dead replicas have left.
    pub fn left_by_the_dead(&self) -> Vec<String> {
        let dead = self.replicas.dead();
        let heartbeats = dead.iter().map(|replica| heartbeat::name(replica));
        let marks = dead.iter().map(|replica| heartbeat::leaving_name(replica));
        heartbeats
            .chain(marks)
            .chain(self.orphaned_marks.iter().cloned())
            .collect()
    }
}

impl Listing {
    /// Sorts the names of state objects; what is nothing of this module's is passed over.
    fn of(names: Vec<(String, ETag)>) -> Self {
        let mut listing = Self::default();
        let mut marks = HashSet::new();
        for (name, etag) in names {
            match name.strip_prefix("replicas/") {
                Some(replica) => match replica.strip_suffix("-leaving") {
                    Some(replica) => drop(marks.insert(replica.to_owned())),
                    None => listing.replicas.push(Listed {
                        replica: replica.to_owned(),
                        etag,
                        leaving: false,
                    }),
                },
                None if name.starts_with("shardId-") => {
                    if let Ok(shard) = ShardId::try_from(name) {
                        listing.states.push((shard, etag));
                    }
                }
                None => {}
            }
        }
        for replica in &mut listing.replicas {
            replica.leaving = marks.remove(&replica.replica);
        }
        listing.orphaned_marks = marks
            .iter()
            .map(|replica| heartbeat::leaving_name(replica))
            .collect();
        listing
    }
}
