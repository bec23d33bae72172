//! An event that is sent again is not sent on again.
//!
//! Clients send an event again when its answer was lost. The ids that a client gave and that were
//! accepted are remembered for a window of time, and an event that brings one of them is answered as a
//! duplicate, with the durability that the first one got:
//!
//! | the first one | a later one of the same client and id |
//! |---|---|
//! | was accepted inside the window | is a duplicate |
//! | is still in progress, in the same request or another | waits for it, and is then a duplicate or `retry` as it is |
//! | ended as `retry`, or was rejected | is sent: nothing is known to be in the stream |
//!
//! So nothing is called a duplicate that is not durable. Tickets settle even when they are lost, so
//! nobody waits for ever. Ids that the server gave are not remembered: nobody could send them again
//! before knowing the answer.
//!
//! Memory is bounded by the number of ids, of which the oldest is forgotten first; what is in progress
//! is bounded by the budget of bytes. The window is this process's own; the ids of what the spool holds
//! come back into it at a start.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use event_model::EventId;
use serde::Deserialize;

use crate::{
    credentials::Client,
    metrics::DedupeMetrics,
    submission::{Durability, Settled, Ticket},
};

/// How many ids whose window is over are forgotten at a time: after a quiet hour there are many, and
/// nobody should wait for all of them.
const FORGOTTEN_AT_A_TIME: usize = 1_000;

/// How long and how many ids are remembered.
#[derive(Clone, Copy, Debug)]
pub struct DedupeSettings {
    /// How long, from when an event was accepted.
    pub window: Duration,
    /// How many.
    pub events: usize,
}

/// The ids that were accepted lately, and those in progress.
pub(crate) struct Window {
    settings: DedupeSettings,
    /// Makes a number of a client's name. Its keys are random and secret, so that of the few names
    /// there are no two get the same but by a chance of one in 2⁶⁴.
    names: RandomState,
    seen: Mutex<Seen>,
    metrics: DedupeMetrics,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    client: u64,
    event_id: EventId,
}

#[derive(Default)]
struct Seen {
    events: HashMap<Key, State>,
    /// When which were accepted, the oldest first. One whose window was over may be in progress again.
    accepted: VecDeque<(Instant, Key)>,
}

enum State {
    /// Those that wait for it.
    InProgress(Vec<Ticket>),
    Accepted(Durability, Instant),
}

/// The right to say what became of an event: its ticket holds it.
pub(crate) struct Claim {
    window: Arc<Window>,
    key: Key,
}

impl Window {
    pub(crate) fn new(settings: DedupeSettings, metrics: DedupeMetrics) -> Self {
        metrics.limit(settings.events);
        Self {
            settings,
            names: RandomState::new(),
            seen: Mutex::default(),
            metrics,
        }
    }

    /// Takes the events of a request in order, each with its ticket and the id that the client gave
    /// it, and gives back the tickets of those that are to be sent. The others are settled, or will
    /// be when the ones they wait for are.
    pub(crate) fn enter(
        self: &Arc<Self>,
        client: &Client,
        events: impl Iterator<Item = (Option<EventId>, Ticket)>,
        now: Instant,
    ) -> Vec<Option<Ticket>> {
        let client = self.names.hash_one(&**client.name());
        let mut duplicates = Vec::new();
        let mut seen = self.lock();
        self.forget(&mut seen, now);
        let mut enter = |(event_id, mut ticket): (Option<EventId>, Ticket)| {
            let Some(event_id) = event_id else {
                return Some(ticket);
            };
            let key = Key { client, event_id };
            match seen.events.entry(key) {
                Entry::Vacant(entry) => drop(entry.insert(State::InProgress(Vec::new()))),
                Entry::Occupied(mut entry) => match entry.get_mut() {
                    State::InProgress(waiting) => {
                        waiting.push(ticket);
                        return None;
                    }
                    State::Accepted(durability, at) if !self.is_over(*at, now) => {
                        duplicates.push((ticket, *durability));
                        return None;
                    }
                    State::Accepted(..) => drop(entry.insert(State::InProgress(Vec::new()))),
                },
            }
            let window = Arc::clone(self);
            ticket.claim(Claim { window, key });
            Some(ticket)
        };
        let to_send = events.map(&mut enter).collect();
        drop(seen);
        for (ticket, durability) in duplicates {
            ticket.settle(Settled::Duplicate(durability));
        }
        to_send
    }

    /// Takes in an event that the spool holds: the window begins anew for it.
    pub(crate) fn restore(&self, line: &[u8], now: Instant) {
        // A line that is not one of ours could not have been accepted by id.
        let Ok(stored) = serde_json::from_slice::<Stored<'_>>(line) else {
            return;
        };
        let Ok(event_id) = stored.eventid.parse() else {
            return;
        };
        let name = Client::name_of(&stored.partnerid, &stored.clientid);
        let client = self.names.hash_one(&*name);
        let mut seen = self.lock();
        self.accept(&mut seen, Key { client, event_id }, Durability::Spooled, now);
    }

    fn accept(&self, seen: &mut Seen, key: Key, durability: Durability, now: Instant) -> Vec<Ticket> {
        let before = seen.events.insert(key, State::Accepted(durability, now));
        let waiting = match before {
            Some(State::InProgress(waiting)) => waiting,
            None => Vec::new(),
            // Of two in the spool with one id, the later one counts, at the place of the first.
            Some(State::Accepted(..)) => return Vec::new(),
        };
        seen.accepted.push_back((now, key));
        self.forget(seen, now);
        waiting
    }

    /// Forgets some of those whose window is over, and the oldest of what is too much.
    fn forget(&self, seen: &mut Seen, now: Instant) {
        let mut left = FORGOTTEN_AT_A_TIME;
        while let Some((at, key)) = seen.accepted.front().copied() {
            let (is_over, is_too_much) = (self.is_over(at, now), seen.accepted.len() > self.settings.events);
            let goes = is_too_much || (is_over && left > 0);
            if !goes {
                break;
            }
            left = left.saturating_sub(1);
            seen.accepted.pop_front();
            // Not if it is in progress again, or was accepted again since.
            if matches!(seen.events.get(&key), Some(State::Accepted(_, then)) if *then == at) {
                seen.events.remove(&key);
                if !is_over {
                    self.metrics.forgotten_early();
                }
            }
        }
        self.metrics.remembered(seen.accepted.len());
    }

    fn is_over(&self, accepted_at: Instant, now: Instant) -> bool {
        now.saturating_duration_since(accepted_at) >= self.settings.window
    }

    /// Nothing under the lock can panic, so what a poisoned one holds is whole.
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Says what became of the event, to those that wait and those that will come.
    pub(crate) fn settle(self, settled: Settled) {
        let Self { window, key } = self;
        let durability = match settled {
            Settled::Published => Some(Durability::Published),
            Settled::Spooled => Some(Durability::Spooled),
            Settled::Duplicate(_) | Settled::Retry => None,
        };
        let mut seen = window.lock();
        let waiting = match durability {
            Some(durability) => window.accept(&mut seen, key, durability, Instant::now()),
            None => match seen.events.remove(&key) {
                Some(State::InProgress(waiting)) => waiting,
                Some(State::Accepted(..)) | None => Vec::new(),
            },
        };
        drop(seen);
        for ticket in waiting {
            ticket.settle(durability.map_or(Settled::Retry, Settled::Duplicate));
        }
    }
}

/// What a stored line says of which event it is, in whatever spelling.
#[derive(Deserialize)]
struct Stored<'l> {
    #[serde(borrow)]
    eventid: Cow<'l, str>,
    #[serde(borrow)]
    partnerid: Cow<'l, str>,
    #[serde(borrow)]
    clientid: Cow<'l, str>,
}

#[cfg(test)]
#[path = "dedupe/tests.rs"]
mod tests;
