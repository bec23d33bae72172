//! The ledger: what the clients were told, held against what is in the stream and in both buckets.
//!
//! | from → to | must hold |
//! |---|---|
//! | accepted → stream | each accepted event is there |
//! | stream → China's bucket | the same lines, each as often: nothing lost, nothing doubled |
//! | China → Europe | the same objects, byte by byte |
//! | client → stream | an event is there twice only where the contract permits it, and then for a known cause |
//!
//! Each request names a country of its own, which `events` writes into the stored line: so every copy of
//! an event says which of its client's attempts it came from, and each is explained by itself.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use crate::population::Kind;

/// At most so many losses are spelt out.
const SPELT_OUT_MAX: usize = 20;

/// What became of one attempt to send an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Published,
    Spooled,
    Duplicate,
    Rejected,
    /// To be sent again.
    Retry,
    /// No answer, or none about this event.
    Nothing,
}

impl Told {
    /// The client may forget the event.
    fn is_accepted(self) -> bool {
        matches!(self, Self::Published | Self::Spooled | Self::Duplicate)
    }
}

/// The two letters that an attempt's request gave as its country.
pub(super) type Code = [u8; 2];

#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) code: Code,
    /// Which process of `events` it went to: its place among the [`Life`]s.
    pub(super) life: usize,
    pub(super) told: Told,
}

/// What a client knows of one event.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) kind: Kind,
    /// Its device and its place among the events of that device, where these go one after the other to
    /// one instance.
    pub(super) order: Option<(String, u64)>,
    pub(super) attempts: Vec<Attempt>,
}

/// How a process of `events` ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Drained,
    Killed,
}

/// One process of `events`. Times are milliseconds of the stream's clock.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    pub(super) end: Option<(End, u64)>,
    pub(super) pauses: Vec<(u64, u64)>,
}

/// Where a record lies: its shard and its sequence number.
pub(super) type Position = (String, String);

/// One line in the stream.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    pub(super) position: Position,
    pub(super) arrived_ms: u64,
    pub(super) line: Vec<u8>,
    pub(super) event: Option<Uuid>,
    pub(super) code: Option<Code>,
}

/// Why the contract permits an event to be in the stream once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// Kinesis had taken it, and its answer did not arrive.
    AnswerLost,
    /// `events` was killed before it could say that it was taken, to its client or to its spool.
    Killed,
    /// `events` was paused for longer than somebody waits.
    Paused,
    /// The client sent it to another process than the one that had taken it.
    OtherProcess,
}

impl Cause {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::AnswerLost => "Kinesis' answer was lost",
            Self::Killed => "events was killed before it could tell",
            Self::Paused => "events was paused while it waited",
            Self::OtherProcess => "sent again to another process",
        }
    }
}

/// Everything that is known at the end of a round.
pub(super) struct Books<'a> {
    pub(super) sent: &'a HashMap<Uuid, Sent>,
    pub(super) lives: &'a [Life],
    /// Records whose producer was not told of them.
    pub(super) untold: &'a HashSet<Position>,
    /// The stream, shard by shard, in order.
    pub(super) stream: &'a [Copy],
    /// Lines in China's bucket.
    pub(super) source: &'a [Vec<u8>],
    /// Lines in Europe's bucket.
    pub(super) destination: &'a [Vec<u8>],
}

/// What the books say. `wrong` holds one sentence for each thing that may not be, up to a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Balance {
    pub(super) sent: u64,
    pub(super) published: u64,
    pub(super) spooled: u64,
    pub(super) recognised: u64,
    pub(super) rejected: u64,
    pub(super) in_stream: u64,
    pub(super) source_lines: u64,
    pub(super) destination_lines: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) otherwise_wrong: u64,
    pub(super) permitted: BTreeMap<Cause, u64>,
    pub(super) wrong: Vec<String>,
}

impl Balance {
    pub(super) fn is_clean(&self) -> bool {
        self.lost + self.duplicated + self.otherwise_wrong == 0
    }

    /// Adds another round's.
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, term) in [
            (&mut self.sent, other.sent),
            (&mut self.published, other.published),
            (&mut self.spooled, other.spooled),
            (&mut self.recognised, other.recognised),
            (&mut self.rejected, other.rejected),
            (&mut self.in_stream, other.in_stream),
            (&mut self.source_lines, other.source_lines),
            (&mut self.destination_lines, other.destination_lines),
            (&mut self.lost, other.lost),
            (&mut self.duplicated, other.duplicated),
            (&mut self.otherwise_wrong, other.otherwise_wrong),
        ] {
            *sum += term;
        }
        for (cause, count) in &other.permitted {
            *self.permitted.entry(*cause).or_default() += count;
        }
        self.wrong.extend(other.wrong.iter().cloned());
    }

    /// Holds the objects of both buckets against each other, byte by byte.
    pub(super) fn objects(&mut self, source: &BTreeMap<&str, &[u8]>, destination: &BTreeMap<&str, &[u8]>) {
        for key in source.keys().filter(|key| !destination.contains_key(*key)) {
            self.loses(0, || format!("{key} is not in Europe"));
        }
        for (key, bytes) in destination {
            if source.get(key) != Some(bytes) {
                self.errs(|| format!("{key} in Europe is not the object in China"));
            }
        }
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if self.wrong.len() < SPELT_OUT_MAX {
            self.wrong.push(what());
        }
    }

    fn loses(&mut self, count: u64, what: impl FnOnce() -> String) {
        self.lost += count;
        self.note(what);
    }

    fn doubles(&mut self, count: u64, what: impl FnOnce() -> String) {
        self.duplicated += count;
        self.note(what);
    }

    fn errs(&mut self, what: impl FnOnce() -> String) {
        self.otherwise_wrong += 1;
        self.note(what);
    }
}

impl Books<'_> {
    /// Draws the balance.
    pub(super) fn balance(&self) -> Balance {
        let mut balance = Balance {
            sent: self.sent.len() as u64,
            in_stream: self.stream.len() as u64,
            source_lines: self.source.len() as u64,
            destination_lines: self.destination.len() as u64,
            ..Balance::default()
        };
        let mut copies: HashMap<Uuid, Vec<&Copy>> = HashMap::new();
        for copy in self.stream {
            match copy.event {
                Some(id) => copies.entry(id).or_default().push(copy),
                None => balance.errs(|| format!("a record at {:?} is no event", copy.position)),
            }
        }
        self.clients(&copies, &mut balance);
        for (id, copies) in &copies {
            self.copies(*id, copies, &mut balance);
        }
        self.order(&mut balance);
        let stream = self.stream.iter().map(|copy| copy.line.as_slice());
        let source = self.source.iter().map(Vec::as_slice);
        let destination = self.destination.iter().map(Vec::as_slice);
        compare(
            stream,
            source.clone(),
            "from the stream to China's bucket",
            &mut balance,
        );
        compare(
            source,
            destination,
            "from China's bucket to Europe's",
            &mut balance,
        );
        balance
    }

    /// Each event that its client need not send again is in the stream, and no other.
    fn clients(&self, copies: &HashMap<Uuid, Vec<&Copy>>, balance: &mut Balance) {
        for (id, sent) in self.sent {
            let last = sent.attempts.last().map(|attempt| attempt.told);
            for attempt in &sent.attempts {
                match attempt.told {
                    Told::Published => balance.published += 1,
                    Told::Spooled => balance.spooled += 1,
                    Told::Duplicate => balance.recognised += 1,
                    Told::Rejected => balance.rejected += 1,
                    Told::Retry | Told::Nothing => {}
                }
            }
            let accepted = sent.attempts.iter().any(|attempt| attempt.told.is_accepted());
            let there = copies.contains_key(id);
            match sent.kind {
                Kind::Invalid if accepted || there => {
                    balance.errs(|| format!("{id} is invalid and was taken: {last:?}"));
                }
                Kind::Invalid => {}
                Kind::New | Kind::Duplicate => {
                    if sent.attempts.iter().any(|attempt| attempt.told == Told::Rejected) {
                        balance.errs(|| format!("{id} is valid and was rejected"));
                    }
                    if !accepted {
                        balance.errs(|| format!("{id} was never accepted: {last:?}"));
                    } else if !there {
                        let told = sent.attempts.clone();
                        balance.loses(1, || {
                            format!("{id} was accepted and is not in the stream: {told:?}")
                        });
                    }
                    self.window(*id, sent, balance);
                }
            }
        }
    }

    /// Within one process an event is accepted once; after that it is a duplicate.
    fn window(&self, id: Uuid, sent: &Sent, balance: &mut Balance) {
        let mut taken = HashSet::new();
        for attempt in &sent.attempts {
            let is_first = match attempt.told {
                Told::Published | Told::Spooled => taken.insert(attempt.life),
                Told::Duplicate | Told::Rejected | Told::Retry | Told::Nothing => continue,
            };
            if !is_first {
                balance.doubles(1, || {
                    format!("{id} was accepted twice by one process, {}", attempt.life)
                });
            }
        }
    }

    /// Every copy but the last has a reason why there is one more.
    fn copies(&self, id: Uuid, copies: &[&Copy], balance: &mut Balance) {
        let Some(sent) = self.sent.get(&id) else {
            let place = copies[0].position.clone();
            return balance.errs(|| format!("{id} at {place:?} was not sent in this round"));
        };
        if copies.len() == 1 {
            return;
        }
        let mut copies = copies.to_vec();
        copies.sort_by_key(|copy| (copy.arrived_ms, &copy.position));
        for pair in copies.windows(2) {
            match self.cause(sent, pair[0], pair[1]) {
                Some(cause) => *balance.permitted.entry(cause).or_default() += 1,
                None => {
                    let (first, again) = (&pair[0].position, &pair[1].position);
                    let attempts = &sent.attempts;
                    balance.doubles(1, || {
                        format!("{id} is at {first:?} and again at {again:?}, for no reason: {attempts:?}")
                    });
                }
            }
        }
    }

    fn cause(&self, sent: &Sent, copy: &Copy, again: &Copy) -> Option<Cause> {
        if self.untold.contains(&copy.position) {
            return Some(Cause::AnswerLost);
        }
        let attempt_of = |copy: &Copy| {
            sent.attempts
                .iter()
                .find(|attempt| Some(attempt.code) == copy.code)
        };
        let (first, second) = (attempt_of(copy)?, attempt_of(again)?);
        let life = self.lives.get(first.life)?;
        let is_told = first.told.is_accepted();
        let same_attempt = first.code == second.code;
        // Within one attempt only the spool sends again; an attempt after an answer was the client's choice.
        let killed = matches!(life.end, Some((End::Killed, at_ms)) if at_ms <= again.arrived_ms);
        if killed && (same_attempt || !is_told) {
            return Some(Cause::Killed);
        }
        if !same_attempt && first.life != second.life {
            return Some(Cause::OtherProcess);
        }
        let during = |(from, to): &(u64, u64)| *from <= again.arrived_ms && copy.arrived_ms <= *to;
        life.pauses.iter().any(during).then_some(Cause::Paused)
    }

    /// The first copies of a device's events lie in the order in which they were sent.
    fn order(&self, balance: &mut Balance) {
        let mut seen = HashSet::new();
        let mut last: HashMap<&str, u64> = HashMap::new();
        for copy in self.stream {
            let Some(id) = copy.event.filter(|id| seen.insert(*id)) else {
                continue;
            };
            let Some((device, number)) = self.sent.get(&id).and_then(|sent| sent.order.as_ref()) else {
                continue;
            };
            let before = last.insert(device, *number);
            if let Some(before) = before.filter(|before| before > number) {
                balance.errs(|| format!("event {number} of {device}, {id}, comes after event {before}"));
            }
        }
    }
}

/// Both hold the same lines, each as often.
fn compare<'l>(
    from: impl Iterator<Item = &'l [u8]>,
    to: impl Iterator<Item = &'l [u8]>,
    way: &str,
    balance: &mut Balance,
) {
    let mut counts: HashMap<&[u8], i64> = HashMap::new();
    for line in from {
        *counts.entry(line).or_default() += 1;
    }
    for line in to {
        *counts.entry(line).or_default() -= 1;
    }
    for (line, count) in counts.into_iter().filter(|(_, count)| *count != 0) {
        let id = event_id(line).map_or_else(|| "a line".to_owned(), |id| id.to_string());
        let times = count.unsigned_abs();
        if count > 0 {
            balance.loses(times, || format!("{id} was lost {times} times {way}"));
        } else {
            balance.doubles(times, || format!("{id} is there {times} times too often {way}"));
        }
    }
}

/// The id of the event that a line is.
pub(super) fn event_id(line: &[u8]) -> Option<Uuid> {
    let value: serde_json::Value = serde_json::from_slice(line).ok()?;
    value["eventid"].as_str()?.parse().ok()
}

#[cfg(test)]
#[path = "ledger/tests.rs"]
mod tests;
