//! One replica: its signs of life, its looks, and a task for each shard that it archives. What it sees
//! and decides is the service's own code ([`Sight`], [`View`]); the order around it is `heartbeat.rs`'s,
//! `watch.rs`'s and `supervisor.rs`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hoard::heartbeat;
use hoard::ownership::{Decision, View};
use hoard::replicas::{Heartbeat, Pulse};
use hoard::sequence::ShardId;
use hoard::shards::Shard;
use hoard::sight::Sight;
use hoard::store::ETag;
use tokio::time::Instant;

use crate::broken::Protocol;
use crate::bucket::{Condition, Content};
use crate::shard::ShardTask;
use crate::world::{Answer, Request};

/// Between beats and between looks, on the replica's own clock.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);
const MISSES: u32 = 4;

/// Which part of a replica a call belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Heart,
    /// The listing of a look.
    Listing,
    /// A read of a look: a heartbeat, or a state.
    Meeting(String),
    Reading(ShardId),
    Shard(ShardId),
    /// The mark that it is going, and clearing up at the end.
    Farewell,
}

pub(crate) struct Replica {
    pub(crate) id: String,
    /// Its clock runs so much faster than the world's.
    pub(crate) speed: f64,
    pub(crate) is_running: bool,
    pub(crate) paused_until: u64,
    pub(crate) is_leaving: bool,
    pub(crate) sight: Sight,
    pub(crate) listed: Vec<Shard>,
    pub(crate) tasks: BTreeMap<ShardId, ShardTask>,
    /// The call that each part waits for.
    pub(crate) calls: Vec<(Part, u64)>,
    pub(crate) asked: Instant,
    heart: Heartbeat,
    heart_etag: Option<ETag>,
    pub(crate) is_awaiting: bool,
    /// It has begun to look.
    pub(crate) has_begun: bool,
}

/// What a look comes to.
#[derive(Debug)]
pub(crate) enum Act {
    Take(ShardId),
    HandOver(ShardId),
    Release(ShardId),
}

impl Replica {
    pub(crate) fn new(number: usize, speed: f64, now: Instant) -> Self {
        let id = format!("replica-{number}");
        let pulse = Pulse {
            interval: INTERVAL,
            misses: MISSES,
        };
        Self {
            sight: Sight::new(&id, None, pulse),
            heart: Heartbeat {
                replica: id.clone(),
                name: None,
                interval_ms: 100,
                misses: MISSES,
                beat: 0,
            },
            heart_etag: None,
            id,
            speed,
            is_running: true,
            paused_until: 0,
            is_leaving: false,
            listed: Vec::new(),
            tasks: BTreeMap::new(),
            calls: Vec::new(),
            asked: now,
            is_awaiting: false,
            has_begun: false,
        }
    }

    pub(crate) fn has_shown_up(&self) -> bool {
        self.heart_etag.is_some()
    }

    pub(crate) fn beat(&mut self) -> Request {
        self.heart.beat += 1;
        let condition = match &self.heart_etag {
            Some(etag) => Condition::Unchanged(etag.clone()),
            None => Condition::Absent,
        };
        let content = Content::Heartbeat(self.heart.clone());
        Request::Put(heartbeat::name(&self.id), content, condition)
    }

    /// A beat was answered; a refused one is followed by a read.
    pub(crate) fn beaten(&mut self, answer: Answer) -> Option<Request> {
        match answer {
            Answer::Put(Some(etag)) => self.heart_etag = Some(etag),
            Answer::Put(None) => return Some(Request::Get(heartbeat::name(&self.id))),
            Answer::Found(found) => self.heart_etag = found.map(|(_, etag)| etag),
            answer => panic!("{answer:?} to a beat"),
        }
        None
    }

    /// What the listing makes worth reading.
    pub(crate) fn listed(&mut self, now: Instant, names: Vec<(String, ETag)>) -> Vec<(Part, Request)> {
        let tasks = &self.tasks;
        let to_read = self
            .sight
            .listed(self.asked, now, names, |shard| tasks.contains_key(shard));
        let replicas = to_read.replicas.into_iter().map(|replica| {
            let request = Request::Get(heartbeat::name(&replica));
            (Part::Meeting(replica), request)
        });
        let shards = to_read.shards.into_iter().map(|shard| {
            let request = Request::Get(shard.to_string());
            (Part::Reading(shard), request)
        });
        replicas.chain(shards).collect()
    }

    pub(crate) fn is_looking(&self) -> bool {
        let is_look = |part: &Part| matches!(part, Part::Listing | Part::Meeting(_) | Part::Reading(_));
        self.calls.iter().any(|(part, _)| is_look(part))
    }

    /// A shard that we think open has ended.
    pub(crate) fn is_list_outdated(&self) -> bool {
        let is_done = |shard: &Shard| {
            let known = self.sight.states().get(&shard.id);
            known.is_some_and(|known| known.state.is_done())
        };
        self.listed
            .iter()
            .any(|shard| shard.takes.is_some() && is_done(shard))
    }

    pub(crate) fn decide(&mut self, protocol: Protocol) -> Vec<Act> {
        let orphans: Vec<Shard>;
        let shards = if protocol == Protocol::StartsChildrenAtOnce {
            let childless = |shard: &Shard| Shard {
                parents: Vec::new(),
                ..shard.clone()
            };
            orphans = self.listed.iter().map(childless).collect();
            &orphans
        } else {
            &self.listed
        };
        let running: BTreeSet<&ShardId> = self.tasks.keys().collect();
        let view = View {
            me: &self.id,
            shards,
            states: self.sight.states(),
            replicas: self.sight.replicas(),
            is_running: |shard: &ShardId| running.contains(shard),
            is_failed: |_: &ShardId| false,
        };
        let decisions = view.decide();
        self.is_awaiting = decisions.values().any(|decision| *decision == Decision::Await);
        let act = |(shard, decision)| match decision {
            Decision::Take(_) => Some(Act::Take(shard)),
            Decision::HandOver => Some(Act::HandOver(shard)),
            Decision::Release => Some(Act::Release(shard)),
            _ => None,
        };
        decisions.into_iter().filter_map(act).collect()
    }
}
