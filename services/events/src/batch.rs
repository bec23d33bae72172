//! Group commit: records of all requests share PutRecords calls, and keep their order per key.
//!
//! PutRecords may store some records of a call and refuse others, and promises no order within a
//! call (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>). So at most
//! one record of a key is out at any time, in one call among several: the next one of its key is
//! held behind it until Kinesis has taken it. Other keys do not wait. The price is paid by one key
//! alone: a device that brings a hundred events at once waits for a hundred round trips.
//!
//! When a record has to be given up (answered `retry`), those that wait behind it are given up with
//! it. The client sends all of them again, and none has overtaken another.
//!
//! Nothing here waits or sends: [`crate::publish`] does, so that this can be tested as it is.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use service_runtime::backoff::Backoff;
use tokio::time::Instant;

use crate::submission::{Settled, Ticket};

/// The first pause after a failure is up to this, later ones up to the cap.
const BACKOFF_BASE: Duration = Duration::from_millis(50);
const BACKOFF_CAP: Duration = Duration::from_secs(2);

/// One event on its way to Kinesis.
pub(crate) struct Record {
    pub(crate) line: Vec<u8>,
    pub(crate) partition_key: Arc<str>,
    pub(crate) ticket: Ticket,
}

impl Record {
    /// What it counts for in a PutRecords call, which limits data and partition keys together.
    pub(crate) fn bytes(&self) -> usize {
        self.line.len() + self.partition_key.len()
    }
}

/// A record in the queue.
pub(crate) struct Queued {
    pub(crate) record: Record,
    /// When it is given up.
    deadline: Instant,
    /// Since when it could have been sent.
    ready_since: Instant,
    /// The pauses between its tries.
    backoff: Backoff,
    /// How often Kinesis throttled it.
    pub(crate) throttles: u32,
}

/// What Kinesis said about one record of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It has a sequence number.
    Stored,
    /// Its shard takes no more for now; it may be sent again.
    Throttled,
    /// It may be sent again.
    Failed,
    /// Sending it again would fail again.
    Refused,
}

/// How large a call may be and how long a record may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    pub(crate) linger: Duration,
    pub(crate) time_to_live: Duration,
}

pub(crate) struct Queue {
    bounds: Bounds,
    /// Ready to be sent, the longest waiting first; at most one record of a key.
    ready: VecDeque<Queued>,
    ready_bytes: usize,
    /// Failed, to be sent again at the time given; the number tells equal times apart.
    delayed: BTreeMap<(Instant, u64), Vec<Queued>>,
    delays: u64,
    /// One lane for each key of which a record is ready, delayed or sent: those waiting behind it.
    lanes: HashMap<Arc<str>, VecDeque<Queued>>,
}

impl Queue {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            ready: VecDeque::new(),
            ready_bytes: 0,
            delayed: BTreeMap::new(),
            delays: 0,
            lanes: HashMap::new(),
        }
    }

    /// What holds from the next call on.
    pub(crate) fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Whether no record is ready, delayed, sent or waiting.
    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    pub(crate) fn push(&mut self, record: Record, now: Instant) {
        let deadline = now + self.bounds.time_to_live;
        let backoff = Backoff::new(BACKOFF_BASE, BACKOFF_CAP);
        let queued = Queued {
            record,
            deadline,
            ready_since: now,
            backoff,
            throttles: 0,
        };
        match self.lanes.get_mut(&queued.record.partition_key) {
            Some(lane) => lane.push_back(queued),
            None => {
                self.lanes
                    .insert(Arc::clone(&queued.record.partition_key), VecDeque::new());
                self.make_ready(queued, now);
            }
        }
    }

    /// The records of the next call, if one is due: full, or its first record has waited for the
    /// linger, or `eager`.
    pub(crate) fn take(&mut self, now: Instant, eager: bool) -> Option<Vec<Queued>> {
        self.wake_delayed(now);
        let first = self.ready.front()?;
        let full = self.ready.len() >= self.bounds.records || self.ready_bytes >= self.bounds.bytes;
        if !(eager || full || first.ready_since + self.bounds.linger <= now) {
            return None;
        }
        let mut batch = Vec::with_capacity(self.ready.len().min(self.bounds.records));
        let mut bytes = 0;
        while batch.len() < self.bounds.records
            && let Some(next) = self.ready.front()
            && (batch.is_empty() || bytes + next.record.bytes() <= self.bounds.bytes)
        {
            let Some(next) = self.ready.pop_front() else { break };
            self.ready_bytes -= next.record.bytes();
            if next.deadline <= now {
                self.give_up(next);
                continue;
            }
            bytes += next.record.bytes();
            batch.push(next);
        }
        (!batch.is_empty()).then_some(batch)
    }

    /// When [`Queue::take`] could next have something, as far as time alone decides it.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let lingered = self
            .ready
            .front()
            .map(|first| first.ready_since + self.bounds.linger);
        let delayed = self.delayed.first_key_value().map(|((at, _), _)| *at);
        lingered.into_iter().chain(delayed).min()
    }

    /// Takes in what became of a call: one verdict a record, in order. What failed waits for a
    /// jittered pause, and records that failed together go together.
    pub(crate) fn complete(&mut self, batch: Vec<Queued>, verdicts: &[Sent], now: Instant) {
        let mut failed = Vec::new();
        let mut pause = None;
        for (index, mut queued) in batch.into_iter().enumerate() {
            // A record without a verdict is not a success.
            match verdicts.get(index).unwrap_or(&Sent::Failed) {
                Sent::Stored => self.stored(queued, now),
                Sent::Refused => self.give_up(queued),
                verdict @ (Sent::Failed | Sent::Throttled) => {
                    queued.throttles += u32::from(*verdict == Sent::Throttled);
                    let own_pause = queued.backoff.next_delay();
                    pause.get_or_insert(own_pause);
                    failed.push(queued);
                }
            }
        }
        let again_at = now + pause.unwrap_or_default();
        let (in_time, too_late): (Vec<_>, Vec<_>) =
            failed.into_iter().partition(|queued| again_at < queued.deadline);
        too_late.into_iter().for_each(|queued| self.give_up(queued));
        if !in_time.is_empty() {
            self.delays += 1;
            self.delayed.insert((again_at, self.delays), in_time);
        }
    }

    fn stored(&mut self, queued: Queued, now: Instant) {
        let key = Arc::clone(&queued.record.partition_key);
        queued.record.ticket.settle(Settled::Published);
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        match lane.pop_front() {
            Some(next) => self.make_ready(next, now),
            None => drop(self.lanes.remove(&key)),
        }
    }

    fn give_up(&mut self, queued: Queued) {
        let lane = self
            .lanes
            .remove(&queued.record.partition_key)
            .unwrap_or_default();
        for queued in std::iter::once(queued).chain(lane) {
            queued.record.ticket.settle(Settled::Retry);
        }
    }

    fn make_ready(&mut self, mut queued: Queued, now: Instant) {
        queued.ready_since = now;
        self.ready_bytes += queued.record.bytes();
        self.ready.push_back(queued);
    }

    fn wake_delayed(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry()
            && entry.key().0 <= now
        {
            // They have waited long enough: no linger on top.
            let since = now.checked_sub(self.bounds.linger).unwrap_or(now);
            for queued in entry.remove().into_iter().rev() {
                self.ready_bytes += queued.record.bytes();
                self.ready.push_front(Queued {
                    ready_since: since,
                    ..queued
                });
            }
        }
    }
}

#[cfg(test)]
#[path = "batch/tests.rs"]
mod tests;
