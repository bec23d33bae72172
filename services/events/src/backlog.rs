//! What the queue knows of the spool: which keys have records there, and what is to be written to
//! it, read from it and removed from it next.
//!
//! A key with a record in the spool is held back: later records of it go there too, until the last
//! of them is in the stream, or put aside as dead, and removed. So no record overtakes an earlier one
//! of its key, and the records of a key that are in the queue are either all of clients or all of the
//! spool.

use std::{collections::HashMap, sync::Arc};

use crate::{batch::Record, submission::Settled};

/// How much of the spool is in hand at a time.
const WINDOW_RECORDS: usize = 2_000;
const WINDOW_BYTES: usize = 10 << 20;

/// How many records of each key are in the spool. The spool's limit bounds them.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    counts: HashMap<Arc<str>, u32>,
}

impl Keys {
    pub(crate) fn add(&mut self, key: &Arc<str>) {
        *self.counts.entry(Arc::clone(key)).or_default() += 1;
    }

    fn remove(&mut self, key: &Arc<str>) {
        if let Some(count) = self.counts.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(key);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

/// What the spool is to do next, in this order.
#[derive(Default)]
pub(crate) struct Work {
    /// Records that Kinesis has stored.
    pub(crate) remove: Vec<Record>,
    /// Records that Kinesis will not take.
    pub(crate) bury: Vec<Record>,
    /// Records of clients.
    pub(crate) append: Vec<Record>,
    /// How many records, and bytes of records, to read.
    pub(crate) read: (usize, usize),
}

/// What the spool has done.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) removed: Vec<Record>,
    /// Still there: removing them failed.
    pub(crate) not_removed: Vec<Record>,
    /// Put aside for a person to look at.
    pub(crate) buried: Vec<Record>,
    /// Not put aside: that failed.
    pub(crate) not_buried: Vec<Record>,
    /// On disk.
    pub(crate) kept: Vec<Record>,
    /// Not on disk.
    pub(crate) not_kept: Vec<Record>,
    pub(crate) read: Vec<Record>,
}

pub(crate) struct Backlog {
    keys: Keys,
    overflow: Vec<Record>,
    stored: Vec<Record>,
    dead: Vec<Record>,
    /// Records in the spool that were not read yet.
    unread: u64,
    /// Records that were read and not removed yet, and their bytes.
    in_hand: (usize, usize),
    /// Kinesis took no record for a whole time to live, or cannot be written to.
    away: bool,
}

impl Backlog {
    /// The backlog of a spool that holds `records`, with these keys.
    pub(crate) fn new(keys: Keys, records: u64) -> Self {
        Self {
            keys,
            overflow: Vec::new(),
            stored: Vec::new(),
            dead: Vec::new(),
            unread: records,
            in_hand: (0, 0),
            away: false,
        }
    }

    /// Whether a new record of a client goes to the spool at once. That is so for a key that has
    /// records there, and for every key that is not in the queue while Kinesis is away: what is in
    /// the spool keeps trying, and nobody else needs to wait for the time to live.
    pub(crate) fn holds_back(&self, record: &Record, in_queue: bool) -> bool {
        let away = self.away && !in_queue && !self.keys.is_empty();
        away || self.keys.counts.contains_key(&record.partition_key)
    }

    /// A record of a client is to be written.
    pub(crate) fn spool(&mut self, record: Record) {
        self.keys.add(&record.partition_key);
        self.overflow.push(record);
    }

    /// From now on, until it takes a record.
    pub(crate) fn kinesis_is_away(&mut self) {
        self.away = true;
    }

    /// A record is in the stream.
    pub(crate) fn stored(&mut self, record: Record) {
        self.away = false;
        if record.is_spooled() {
            self.stored.push(record);
        } else {
            record.settle(Settled::Published);
        }
    }

    /// A record of the spool will never get into the stream.
    pub(crate) fn bury(&mut self, record: Record) {
        self.dead.push(record);
    }

    /// Whether nothing has to be written, and nothing removed unless that cannot be.
    pub(crate) fn is_settled(&self, spool_failed: bool) -> bool {
        let removed = self.stored.is_empty() && self.dead.is_empty();
        self.overflow.is_empty() && (removed || spool_failed)
    }

    /// What the spool should do now, if anything. Reads ahead only while `reading`.
    pub(crate) fn work(&mut self, reading: bool) -> Option<Work> {
        let (records, bytes) = self.in_hand;
        let room = records < WINDOW_RECORDS / 2 && bytes < WINDOW_BYTES / 2;
        let reads = reading && room && (self.unread > 0 || !self.overflow.is_empty());
        if self.is_settled(false) && !reads {
            return None;
        }
        let read = if reads {
            (WINDOW_RECORDS - records, WINDOW_BYTES - bytes)
        } else {
            (0, 0)
        };
        Some(Work {
            remove: std::mem::take(&mut self.stored),
            bury: std::mem::take(&mut self.dead),
            append: std::mem::take(&mut self.overflow),
            read,
        })
    }

    /// Takes in what became of it, and gives the records to send next.
    pub(crate) fn done(&mut self, done: Done) -> Vec<Record> {
        for record in done.removed.iter().chain(&done.buried) {
            self.keys.remove(&record.partition_key);
            self.in_hand.0 -= 1;
            self.in_hand.1 -= record.bytes();
        }
        self.stored.extend(done.not_removed);
        self.dead.extend(done.not_buried);
        self.unread += done.kept.len() as u64;
        for record in done.kept {
            record.settle(Settled::Spooled);
        }
        for record in done.not_kept {
            self.keys.remove(&record.partition_key);
            record.settle(Settled::Retry);
        }
        self.unread -= done.read.len() as u64;
        self.in_hand.0 += done.read.len();
        self.in_hand.1 += done.read.iter().map(Record::bytes).sum::<usize>();
        done.read
    }
}
