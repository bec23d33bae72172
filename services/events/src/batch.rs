//! Group commit: records of all requests share PutRecords calls, and keep their order per key.
//!
//! PutRecords may store some records of a call and refuse others, and promises no order within a
//! call (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>). So at most
//! one record of a key is out at any time, in one call among several: the next one of its key is
//! held behind it until Kinesis has taken it. Other keys do not wait. The price is paid by one key
//! alone: a device that brings a hundred events at once waits for a hundred round trips.
//!
//! When a record has to be given up, those that wait behind it are given up with it, so that none has
//! overtaken another: they go to the spool in their order, or, without one, the client is asked to
//! send all of them again. Records of the spool come back here and are never given up; what
//! [`crate::backlog`] says of their keys keeps later records behind them.
//!
//! Nothing here waits or sends: [`crate::publish`] does, so that this can be tested as it is.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use service_runtime::backoff::Backoff;
use tokio::time::Instant;

use crate::{
    backlog::{Backlog, Done, Work},
    spool::Sequence,
    submission::{Settled, Ticket},
};

/// The first pause after a failure is up to this, later ones up to the cap.
const BACKOFF_BASE: Duration = Duration::from_millis(50);
const BACKOFF_CAP: Duration = Duration::from_secs(2);

/// One event on its way to Kinesis.
pub(crate) struct Record {
    pub(crate) line: Vec<u8>,
    pub(crate) partition_key: Arc<str>,
    pub(crate) owner: Owner,
}

/// Who holds a record until it is in the stream.
pub(crate) enum Owner {
    /// The client, which waits for the answer.
    Client(Ticket),
    /// The spool, where it stays under this number.
    Spool(Sequence),
}

impl Record {
    /// What it counts for in a PutRecords call, which limits data and partition keys together.
    pub(crate) fn bytes(&self) -> usize {
        self.line.len() + self.partition_key.len()
    }

    /// Answers the client, if one waits.
    pub(crate) fn settle(self, settled: Settled) {
        match self.owner {
            Owner::Client(ticket) => ticket.settle(settled),
            Owner::Spool(_) => {}
        }
    }

    pub(crate) fn is_spooled(&self) -> bool {
        matches!(self.owner, Owner::Spool(_))
    }
}

/// A record in the queue.
pub(crate) struct Queued {
    pub(crate) record: Record,
    /// When it is given up; never, if the spool holds it.
    deadline: Option<Instant>,
    /// Since when it could have been sent.
    ready_since: Instant,
    /// The pauses between its tries.
    backoff: Backoff,
    /// How often Kinesis throttled it.
    pub(crate) throttles: u32,
}

impl Queued {
    fn is_too_late(&self, at: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= at)
    }
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
    /// The stream is not there, or may not be written to: trying soon would fail again.
    Unavailable,
    /// Sending it again would fail again, at any time.
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
    /// How many records have a client that waits.
    of_clients: usize,
    /// When Kinesis last took a record.
    last_stored: Option<Instant>,
    /// Without one, what is given up is answered `retry`.
    backlog: Option<Backlog>,
}

impl Queue {
    pub(crate) fn new(bounds: Bounds, backlog: Option<Backlog>) -> Self {
        Self {
            bounds,
            ready: VecDeque::new(),
            ready_bytes: 0,
            delayed: BTreeMap::new(),
            delays: 0,
            lanes: HashMap::new(),
            of_clients: 0,
            last_stored: None,
            backlog,
        }
    }

    /// What holds from the next call on.
    pub(crate) fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Whether no record of a client is here or on its way to the spool, and the spool knows of all
    /// that is stored, unless it cannot: that is `spool_failed`. What the spool holds may be here
    /// still: it is safe where it is.
    pub(crate) fn is_drained(&self, spool_failed: bool) -> bool {
        let settled = |backlog: &Backlog| backlog.is_settled(spool_failed);
        self.of_clients == 0 && self.backlog.as_ref().is_none_or(settled)
    }

    /// Whether a client waits for a record that is ready, delayed, sent or waiting.
    pub(crate) fn has_clients(&self) -> bool {
        self.of_clients > 0
    }

    /// What the spool should do now, if anything; reading ahead only while `reading`.
    pub(crate) fn spool_work(&mut self, reading: bool) -> Option<Work> {
        self.backlog.as_mut()?.work(reading)
    }

    /// Takes in what the spool did, and queues what it read.
    pub(crate) fn spool_done(&mut self, done: Done, now: Instant) {
        let read = self.backlog.as_mut().map(|backlog| backlog.done(done));
        for record in read.into_iter().flatten() {
            self.enqueue(record, None, now);
        }
    }

    /// A record of a client: to the stream, or to the spool if it would overtake what is there.
    pub(crate) fn push(&mut self, record: Record, now: Instant) {
        let in_queue = self.lanes.contains_key(&record.partition_key);
        match &mut self.backlog {
            Some(backlog) if backlog.holds_back(&record, in_queue) => backlog.spool(record),
            _ => {
                self.of_clients += 1;
                self.enqueue(record, Some(now + self.bounds.time_to_live), now);
            }
        }
    }

    fn enqueue(&mut self, record: Record, deadline: Option<Instant>, now: Instant) {
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
            if next.is_too_late(now) {
                self.run_out_of_time(next);
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
                Sent::Unavailable if !queued.record.is_spooled() => self.give_up(queued, true),
                Sent::Refused if !queued.record.is_spooled() => self.refuse(queued),
                verdict => {
                    queued.throttles += u32::from(*verdict == Sent::Throttled);
                    let own_pause = queued.backoff.next_delay();
                    pause.get_or_insert(own_pause);
                    failed.push(queued);
                }
            }
        }
        let again_at = now + pause.unwrap_or_default();
        let (in_time, too_late): (Vec<_>, Vec<_>) = failed
            .into_iter()
            .partition(|queued| !queued.is_too_late(again_at));
        too_late
            .into_iter()
            .for_each(|queued| self.run_out_of_time(queued));
        if !in_time.is_empty() {
            self.delays += 1;
            self.delayed.insert((again_at, self.delays), in_time);
        }
    }

    fn stored(&mut self, queued: Queued, now: Instant) {
        let key = Arc::clone(&queued.record.partition_key);
        self.last_stored = Some(now);
        let of_client = !queued.record.is_spooled();
        self.of_clients -= usize::from(of_client);
        match &mut self.backlog {
            Some(backlog) => backlog.stored(queued.record),
            None => queued.record.settle(Settled::Published),
        }
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        match lane.pop_front() {
            Some(next) => self.make_ready(next, now),
            None => drop(self.lanes.remove(&key)),
        }
    }

    /// Kinesis did not take a record of a client in time. If it took none since that record came, it
    /// is away; otherwise one shard is hot, or one record unlucky.
    fn run_out_of_time(&mut self, queued: Queued) {
        let came = queued
            .deadline
            .and_then(|deadline| deadline.checked_sub(self.bounds.time_to_live));
        self.give_up(queued, self.last_stored < came);
    }

    /// A record of a client and those behind it go to the spool.
    fn give_up(&mut self, queued: Queued, kinesis_is_away: bool) {
        let records = self.leave(queued);
        match &mut self.backlog {
            Some(backlog) => {
                if kinesis_is_away {
                    backlog.kinesis_is_away();
                }
                records.for_each(|record| backlog.spool(record));
            }
            None => records.for_each(|record| record.settle(Settled::Retry)),
        }
    }

    /// Kinesis will never take a record of a client: it must not get into the spool either.
    fn refuse(&mut self, queued: Queued) {
        self.leave(queued)
            .for_each(|record| record.settle(Settled::Retry));
    }

    /// Takes a record of a client and those behind it out of the queue.
    fn leave(&mut self, queued: Queued) -> impl Iterator<Item = Record> + use<> {
        let lane = self
            .lanes
            .remove(&queued.record.partition_key)
            .unwrap_or_default();
        self.of_clients -= 1 + lane.len();
        std::iter::once(queued).chain(lane).map(|queued| queued.record)
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
