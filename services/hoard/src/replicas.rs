//! Which replicas are alive, as this one sees it: a pure account of heartbeat objects.
//!
//! Each replica changes its heartbeat once an interval. Nobody's clock is trusted but one's own: a
//! replica is dead when its heartbeat has not changed for as long as it announced, measured here, from
//! look to look. Time in which we did not look (paused, or S3 was away) does not count against others.
//!
//! Nothing that is archived rests on this. A replica that is taken for dead too early loses its shards
//! by compare-and-swap and goes on with others; see [`crate::protocol`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::store::ETag;

/// What a replica writes into its heartbeat object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Whose. A new one at every start of the program.
    pub replica: String,
    /// What its operator calls it: the same after a restart, and never two at a time.
    pub name: Option<String>,
    /// It changes this object so often, in milliseconds.
    pub interval_ms: u64,
    /// After so many intervals without a change it is dead.
    pub misses: u32,
    /// Counts the changes.
    pub beat: u64,
}

/// How often a replica gives a sign of life, and when it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// Between two signs of life, and between two looks at those of others.
    pub interval: Duration,
    /// After so many intervals without one a replica is dead.
    pub misses: u32,
}

impl Pulse {
    /// What this replica announces: after this long without a sign of life its shards are others'.
    pub fn announced(self) -> Duration {
        self.interval * self.misses
    }
}

/// A heartbeat object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Whose.
    pub replica: String,
    /// Changes with every beat.
    pub etag: ETag,
    /// It has said that it is going: it hands its shards over and takes none.
    pub leaving: bool,
}

/// How a replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It gives signs of life.
    Alive,
    /// The same, and it is handing over what it has.
    Leaving,
    /// It has given none for as long as it announced.
    Dead,
    /// It has no heartbeat: it went, or somebody took it for dead and cleared up.
    Absent,
}

/// The account.
#[derive(Clone, Debug)]
pub struct Replicas {
    me: String,
    my_name: Option<String>,
    /// At most so much of the time between two looks counts as silence.
    gap_max: Duration,
    last_look: Option<Instant>,
    others: BTreeMap<String, Other>,
}

#[derive(Clone, Debug)]
struct Other {
    etag: ETag,
    leaving: bool,
    silence: Duration,
    patience: Option<Duration>,
    /// It bears our name: we are its successor.
    superseded: bool,
}

impl Replicas {
    /// Knows only itself.
    pub fn new(me: &str, my_name: Option<&str>, pulse: Pulse) -> Self {
        Self {
            me: me.to_owned(),
            my_name: my_name.map(str::to_owned),
            gap_max: pulse.interval * 2,
            last_look: None,
            others: BTreeMap::new(),
        }
    }

    /// Takes a listing of all heartbeats, asked for at `asked` and there at `answered`. Returns whose
    /// heartbeat is to be read: they are new.
    pub fn look(&mut self, asked: Instant, answered: Instant, listed: Vec<Listed>) -> Vec<String> {
        // From the end of one call to the beginning of the next: calls that take long make nobody older.
        let gap = self
            .last_look
            .map_or(Duration::ZERO, |last| asked.saturating_duration_since(last));
        self.last_look = Some(answered);
        let mut others = BTreeMap::new();
        for Listed {
            replica,
            etag,
            leaving,
        } in listed
        {
            if replica == self.me {
                continue;
            }
            let other = match self.others.remove(&replica) {
                Some(known) => Other {
                    silence: if known.etag == etag {
                        known.silence + gap.min(self.gap_max)
                    } else {
                        Duration::ZERO
                    },
                    etag,
                    leaving,
                    ..known
                },
                None => Other {
                    etag,
                    leaving,
                    silence: Duration::ZERO,
                    patience: None,
                    superseded: false,
                },
            };
            others.insert(replica, other);
        }
        self.others = others;
        let unread = self.others.iter().filter(|(_, other)| other.patience.is_none());
        unread.map(|(replica, _)| replica.clone()).collect()
    }

    /// Takes what a new replica announces.
    ///
    /// Whoever begins to count sees a beat up to an interval late, so it stops one interval early: all
    /// in all a replica's shards are taken over within what it announced.
    pub fn learn(&mut self, replica: &str, heartbeat: &Heartbeat) {
        if let Some(other) = self.others.get_mut(replica) {
            let intervals = heartbeat.misses.saturating_sub(1).max(1);
            let interval = Duration::from_millis(heartbeat.interval_ms);
            other.patience = Some(interval.saturating_mul(intervals));
            other.superseded = heartbeat.name.is_some() && heartbeat.name == self.my_name;
        }
    }

    /// How the replica stands.
    pub fn standing(&self, replica: &str) -> Standing {
        if replica == self.me {
            return Standing::Alive;
        }
        match self.others.get(replica) {
            None => Standing::Absent,
            Some(other) if other.superseded => Standing::Dead,
            Some(other) if other.patience.is_some_and(|patience| other.silence >= patience) => Standing::Dead,
            Some(other) if other.leaving => Standing::Leaving,
            Some(_) => Standing::Alive,
        }
    }

    /// Who may be given shards: whoever is alive and stays, this replica included.
    pub fn takers(&self) -> BTreeSet<String> {
        let others = self
            .others
            .keys()
            .filter(|other| self.standing(other) == Standing::Alive);
        others.chain([&self.me]).cloned().collect()
    }

    /// Whose heartbeats can be cleared away.
    pub fn dead(&self) -> Vec<String> {
        let others = self
            .others
            .keys()
            .filter(|other| self.standing(other) == Standing::Dead);
        others.cloned().collect()
    }

    /// How many others stand so.
    pub fn count(&self, standing: Standing) -> usize {
        self.others
            .keys()
            .filter(|other| self.standing(other) == standing)
            .count()
    }
}

#[cfg(test)]
mod tests;
