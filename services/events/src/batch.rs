//! Group commit: records of all requests share PutRecords calls, and keep their order per key.
//!
//! PutRecords may store some records of a call and refuse others, and promises no order within a
//! call (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>). So at most
//! one record of the stream that holds events of a key is out at any time, in one call among several:
//! the next ones of its key are held behind it until Kinesis has taken it. Other keys do not wait.
//! The price is paid by one key alone: a device that brings a hundred events at once waits for a
//! hundred round trips; packed ([`crate::aggregate`]), for as many as its events fill records.
//!
//! When a record has to be given up, those that wait behind it are given up with it, so that none has
//! overtaken another: they go to the spool in their order, or, without one, the client is asked to
//! send all of them again. Records of the spool come back here and are never given up; what
//! [`crate::backlog`] says of their keys keeps later records behind them.
//!
//! Kinesis refuses a whole call for one record that it finds invalid. Such a call is sent again in
//! halves, and they in halves, until the record is alone; its neighbours are stored on the way. A
//! record of a client is answered `retry` then. One of the spool is buried, but only if Kinesis took
//! another record between two refusals: otherwise it is not the record that is wrong.
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
    aggregate::{Entry, Packer, Packing},
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
    /// When Kinesis first refused it though it was alone in its call.
    refused_alone: Option<Instant>,
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
    /// Kinesis finds something in the call invalid.
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

/// Records that wait after a failure: at most one of a key.
enum Delayed {
    /// They join whatever is sent then.
    Together(Vec<Queued>),
    /// They are sent on their own.
    Apart(Vec<Queued>),
}

/// A part of a refused call.
struct Part {
    due: Instant,
    records: VecDeque<Queued>,
}

pub(crate) struct Queue {
    bounds: Bounds,
    /// Ready to be sent, the longest waiting first; at most one record of a key.
    ready: VecDeque<Queued>,
    ready_bytes: usize,
    /// Parts of refused calls, each to be sent as a call of its own.
    apart: VecDeque<Part>,
    /// Failed, to be sent again at the time given; the number tells equal times apart.
    delayed: BTreeMap<(Instant, u64), Delayed>,
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
            apart: VecDeque::new(),
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
            refused_alone: None,
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
    /// linger, or `eager`. With `packing`, events of one shard share records.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        eager: bool,
        packing: Option<&Packing>,
    ) -> Option<Vec<Entry>> {
        self.wake_delayed(now);
        if let Some(batch) = self.take_apart(now) {
            return Some(batch);
        }
        let first = self.ready.front()?;
        let many = packing.is_none() && self.ready.len() >= self.bounds.records;
        let full = many || self.ready_bytes >= self.bounds.bytes;
        if !(eager || full || first.ready_since + self.bounds.linger <= now) {
            return None;
        }
        let mut packer = Packer::new(self.bounds, packing);
        while let Some(next) = self.ready.front() {
            let bytes = next.record.bytes();
            let key = packing.is_some().then(|| Arc::clone(&next.record.partition_key));
            if next.is_too_late(now) {
                self.ready_bytes -= bytes;
                let late = self.ready.pop_front();
                late.into_iter().for_each(|late| self.run_out_of_time(late));
                continue;
            }
            let Some(slot) = packer.push(&mut self.ready) else {
                break;
            };
            self.ready_bytes -= bytes;
            // Those waiting behind it go along, in their order, as far as there is room.
            if let Some(lane) = key.and_then(|key| self.lanes.get_mut(&key)) {
                while packer.push_behind(slot, lane) {}
            }
        }
        packer.finish()
    }

    /// The next part of a refused call. It is not packed: what is wrong in it is to be found.
    fn take_apart(&mut self, now: Instant) -> Option<Vec<Entry>> {
        while let Some(mut part) = self.apart.pop_front() {
            let mut packer = Packer::new(self.bounds, None);
            while let Some(next) = part.records.front() {
                if next.is_too_late(now) {
                    let late = part.records.pop_front();
                    late.into_iter().for_each(|late| self.run_out_of_time(late));
                } else if packer.push(&mut part.records).is_none() {
                    break;
                }
            }
            if !part.records.is_empty() {
                self.apart.push_front(part);
            }
            if let Some(batch) = packer.finish() {
                return Some(batch);
            }
        }
        None
    }

    /// When [`Queue::take`] could next have something, as far as time alone decides it.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let lingered = self
            .ready
            .front()
            .map(|first| first.ready_since + self.bounds.linger);
        let apart = self.apart.front().map(|part| part.due);
        let delayed = self.delayed.first_key_value().map(|((at, _), _)| *at);
        lingered.into_iter().chain(apart).chain(delayed).min()
    }

    /// Takes in what became of a call: one verdict a record, in order. What failed waits for a
    /// jittered pause, and records that failed together go together.
    pub(crate) fn complete(&mut self, batch: Vec<Entry>, verdicts: &[Sent], now: Instant) {
        let alone = batch.iter().flat_map(Entry::events).take(2).count() == 1;
        let (mut failed, mut refused) = (Vec::new(), Vec::new());
        let mut pause = None;
        for (index, mut entry) in batch.into_iter().enumerate() {
            // A record without a verdict is not a success.
            let verdict = *verdicts.get(index).unwrap_or(&Sent::Failed);
            if verdict == Sent::Stored {
                self.stored(entry, now);
                continue;
            }
            for queued in entry.events_mut() {
                queued.throttles += u32::from(verdict == Sent::Throttled);
                let own_pause = queued.backoff.next_delay();
                pause.get_or_insert(own_pause);
            }
            for first in self.unpack(entry) {
                match verdict {
                    Sent::Unavailable if !first.record.is_spooled() => self.give_up(first, true),
                    Sent::Refused => refused.push(first),
                    _ => failed.push(first),
                }
            }
        }
        let again_at = now + pause.unwrap_or_default();
        if alone {
            refused = refused
                .into_iter()
                .filter_map(|queued| self.refused_alone(queued, now))
                .collect();
        }
        let second_half = refused.split_off(refused.len().div_ceil(2));
        for (records, kind) in [
            (failed, Delayed::Together as fn(_) -> _),
            (refused, Delayed::Apart),
            (second_half, Delayed::Apart),
        ] {
            self.delay(records, again_at, kind);
        }
    }

    /// Takes a record apart. The first event of each key goes on; those behind it are the first to
    /// wait for it again.
    fn unpack(&mut self, entry: Entry) -> Vec<Queued> {
        let mut firsts = Vec::new();
        let mut from_behind = entry.into_events().rev().peekable();
        while let Some(queued) = from_behind.next() {
            let key = &queued.record.partition_key;
            let before = from_behind.peek().map(|before| &before.record.partition_key);
            match self.lanes.get_mut(key) {
                Some(lane) if before == Some(key) => lane.push_front(queued),
                _ => firsts.push(queued),
            }
        }
        firsts.reverse();
        firsts
    }

    fn delay(&mut self, records: Vec<Queued>, again_at: Instant, kind: fn(Vec<Queued>) -> Delayed) {
        let (in_time, too_late): (Vec<_>, Vec<_>) = records
            .into_iter()
            .partition(|queued| !queued.is_too_late(again_at));
        too_late
            .into_iter()
            .for_each(|queued| self.run_out_of_time(queued));
        if !in_time.is_empty() {
            self.delays += 1;
            self.delayed.insert((again_at, self.delays), kind(in_time));
        }
    }

    fn stored(&mut self, entry: Entry, now: Instant) {
        self.last_stored = Some(now);
        let mut events = entry.into_events().peekable();
        while let Some(Queued { record, .. }) = events.next() {
            let key = Arc::clone(&record.partition_key);
            self.of_clients -= usize::from(!record.is_spooled());
            match &mut self.backlog {
                Some(backlog) => backlog.stored(record),
                None => record.settle(Settled::Published),
            }
            if events.peek().is_none_or(|next| next.record.partition_key != key) {
                self.release(&key, now);
            }
        }
    }

    /// The next of a key may be sent.
    fn release(&mut self, key: &Arc<str>, now: Instant) {
        let Some(lane) = self.lanes.get_mut(key) else {
            return;
        };
        match lane.pop_front() {
            Some(next) => self.make_ready(next, now),
            None => drop(self.lanes.remove(key)),
        }
    }

    /// Kinesis refused a call with this record alone: it is out of here, or given back to be tried
    /// once more.
    fn refused_alone(&mut self, mut queued: Queued, now: Instant) -> Option<Queued> {
        let first = *queued.refused_alone.get_or_insert(now);
        match &mut self.backlog {
            Some(backlog) if queued.record.is_spooled() => {
                if self.last_stored.is_none_or(|at| at <= first) {
                    return Some(queued);
                }
                let key = Arc::clone(&queued.record.partition_key);
                backlog.bury(queued.record);
                self.release(&key, now);
            }
            // Not into the spool: it would be refused from there too.
            _ => self
                .leave(queued)
                .for_each(|record| record.settle(Settled::Retry)),
        }
        None
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
            let ((due, _), delayed) = entry.remove_entry();
            match delayed {
                Delayed::Apart(records) => self.apart.push_back(Part {
                    due,
                    records: records.into(),
                }),
                Delayed::Together(records) => {
                    // They have waited long enough: no linger on top.
                    let since = now.checked_sub(self.bounds.linger).unwrap_or(now);
                    for queued in records.into_iter().rev() {
                        self.ready_bytes += queued.record.bytes();
                        self.ready.push_front(Queued {
                            ready_since: since,
                            ..queued
                        });
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "batch/tests.rs"]
pub(crate) mod tests;
