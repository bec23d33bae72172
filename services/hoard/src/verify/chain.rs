//! The proof over one shard: do its cuts touch, end to end, up to the checkpoint?
//!
//! A pure function of what was read, so that it can be tested as one. Each object says `(after, last]`
//! of its cut and how many objects the cut has. Sequence numbers are not dense, so that a cut begins
//! where the one before it ended is shown by its link alone: `after` must be the other's `last`.
//!
//! What lies beyond the checkpoint is being written while we look, and nothing is claimed of it.

use jiff::civil::Date;
use serde::Serialize;

use crate::sequence::SequenceNumber;

/// Why an object is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It lies under a day that was asked for.
    Asked,
    /// The last one before those, on another day; only its link counts.
    Before,
    /// Between those, on another day: around midnight arrival times can run backwards.
    Within,
    /// The first one after those, on another day.
    After,
}

/// One object, as compact as it can be: a day may have 100,000.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// The day that it lies under.
    pub date: Date,
    /// Why it is here.
    pub role: Role,
    /// Exclusive start of its cut; `None` at the start of the shard.
    pub after: Option<SequenceNumber>,
    /// The first record of its cut.
    pub first: SequenceNumber,
    /// The last record of its cut, inclusive.
    pub last: SequenceNumber,
    /// How many objects the cut has.
    pub cut_objects: u32,
}

/// What the shard's state says, read before the objects were listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Everything up to here is committed, inclusive.
    pub checkpoint: Option<SequenceNumber>,
    /// The shard has ended, at its checkpoint.
    pub is_ended: bool,
}

/// What is wrong with a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Broken {
    /// Records in `(after, last]` are in no object.
    Gap {
        /// The last record that is there, exclusive; none where nothing is known before.
        after: Option<SequenceNumber>,
        /// The last one that is missing, inclusive.
        last: SequenceNumber,
        /// The day of what is there before it.
        from: Option<Date>,
        /// The day of what is there after it.
        to: Option<Date>,
    },
    /// Two cuts claim the same records.
    Overlap {
        /// An object of the one.
        key: String,
        /// An object of the other.
        other: String,
    },
    /// A cut says that it is the first of its shard, and is not.
    Restart {
        /// Its object.
        key: String,
        /// An object of the cut before it.
        other: String,
    },
    /// A cut lacks objects.
    Incomplete {
        /// One that is there.
        key: String,
        /// Exclusive start of the cut.
        after: Option<SequenceNumber>,
        /// Its first record.
        first: SequenceNumber,
        /// Its last record, inclusive.
        last: SequenceNumber,
        /// How many objects are there.
        found: u32,
        /// How many there must be.
        expected: u32,
    },
}

/// Where a shard's cuts begin or end, as seen from the days that were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Edge {
    /// The first cut of the shard: nothing was archived before it.
    Start,
    /// The shard was closed and this is the last of it.
    ShardEnd,
    /// Everything that is committed.
    Checkpoint,
    /// It touches a cut of another day.
    Continues {
        /// Which.
        day: Date,
    },
    /// There is more, on no day that was looked at.
    Open,
}

/// A run of cuts that touch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Exclusive start; `None` at the start of the shard.
    pub after: Option<SequenceNumber>,
    /// Its first record.
    pub first: SequenceNumber,
    /// Its last record, inclusive.
    pub last: SequenceNumber,
    /// How many cuts.
    pub cuts: u64,
}

/// What the proof says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The runs of the days asked for; one where nothing is wrong.
    pub runs: Vec<Run>,
    /// What is wrong.
    pub broken: Vec<Broken>,
    /// Where the first run begins; `None` where nothing was found.
    pub begin: Option<Edge>,
    /// Where the last run ends.
    pub end: Option<Edge>,
    /// Objects of the days asked for that are beyond the checkpoint.
    pub in_progress: u64,
    /// Whether there is any object, asked for or beside.
    pub is_seen: bool,
}

/// The cuts of one day in a row: they share `first`.
struct Cut<'a> {
    entry: &'a Entry,
    found: u32,
}

/// Proves one shard. `known` is `None` where there is no state, as in a copy of the archive; then all
/// that is there counts. `nothing_later` says that no day after those of `entries` can hold more.
pub fn prove(entries: &mut [Entry], known: Option<&Known>, nothing_later: bool) -> Proof {
    entries.sort_by(|a, b| (&a.first, &a.key).cmp(&(&b.first, &b.key)));
    let is_seen = !entries.is_empty();
    let committed = entries.partition_point(|entry| is_committed(entry, known));
    let (entries, beyond) = entries.split_at(committed);
    let mut broken = Vec::new();
    let cuts = group(entries, &mut broken);
    let mut proof = Proof {
        runs: Vec::new(),
        broken: Vec::new(),
        begin: None,
        end: None,
        in_progress: beyond.iter().filter(|entry| entry.is_asked_for()).count() as u64,
        is_seen,
    };
    let mut before: Option<&Cut<'_>> = None;
    let mut touches = false;
    for cut in &cuts {
        let follows = before.is_some_and(|before| link(before, cut, &mut broken));
        // Through neighbours between them, cuts touch only if each link holds.
        let through = before.is_none_or(|before| before.entry.role != Role::Within) || touches;
        touches = follows && through;
        proof.add(before, cut, touches);
        before = Some(cut);
    }
    // Of what follows a later neighbour, only that neighbour was looked at.
    if let Some(Cut { entry: last, .. }) = before.filter(|cut| cut.entry.role != Role::After) {
        let edge = end(last, known, nothing_later, &mut broken);
        if !proof.runs.is_empty() {
            proof.end = Some(edge);
        }
    }
    proof.broken = broken;
    proof
}

fn is_committed(entry: &Entry, known: Option<&Known>) -> bool {
    match known {
        Some(Known { checkpoint, .. }) => checkpoint
            .as_ref()
            .is_some_and(|checkpoint| entry.first <= *checkpoint),
        None => true,
    }
}

/// Objects of one cut together; those that contradict each other overlap.
fn group<'a>(entries: &'a [Entry], broken: &mut Vec<Broken>) -> Vec<Cut<'a>> {
    let mut cuts: Vec<Cut<'a>> = Vec::new();
    for entry in entries {
        match cuts.last_mut() {
            Some(cut) if cut.entry.first == entry.first => {
                let other = cut.entry;
                if (&other.after, &other.last, other.cut_objects)
                    == (&entry.after, &entry.last, entry.cut_objects)
                {
                    cut.found += 1;
                } else {
                    broken.push(Broken::Overlap {
                        key: entry.key.clone(),
                        other: cut.entry.key.clone(),
                    });
                }
            }
            _ => cuts.push(Cut { entry, found: 1 }),
        }
    }
    for Cut { entry, found } in &cuts {
        if entry.is_asked_for() && *found != entry.cut_objects {
            broken.push(Broken::Incomplete {
                key: entry.key.clone(),
                after: entry.after.clone(),
                first: entry.first.clone(),
                last: entry.last.clone(),
                found: *found,
                expected: entry.cut_objects,
            });
        }
    }
    cuts
}

/// Whether `cut` follows `before` without gap or overlap.
fn link(before: &Cut<'_>, cut: &Cut<'_>, broken: &mut Vec<Broken>) -> bool {
    let (before, cut) = (before.entry, cut.entry);
    let keys = || (cut.key.clone(), before.key.clone());
    match &cut.after {
        None => {
            let (key, other) = keys();
            broken.push(Broken::Restart { key, other });
            false
        }
        Some(after) if *after == before.last => true,
        Some(after) if *after > before.last => {
            broken.push(Broken::Gap {
                after: Some(before.last.clone()),
                last: after.clone(),
                from: Some(before.date),
                to: Some(cut.date),
            });
            false
        }
        Some(_) => {
            let (key, other) = keys();
            broken.push(Broken::Overlap { key, other });
            false
        }
    }
}

fn end(last: &Entry, known: Option<&Known>, nothing_later: bool, broken: &mut Vec<Broken>) -> Edge {
    let Some(known) = known else {
        return Edge::Open;
    };
    match &known.checkpoint {
        Some(checkpoint) if last.last < *checkpoint => {
            if nothing_later {
                broken.push(Broken::Gap {
                    after: Some(last.last.clone()),
                    last: checkpoint.clone(),
                    from: Some(last.date),
                    to: None,
                });
            }
            Edge::Open
        }
        _ if known.is_ended => Edge::ShardEnd,
        _ => Edge::Checkpoint,
    }
}

impl Entry {
    fn is_asked_for(&self) -> bool {
        self.role == Role::Asked
    }
}

/// Whether the object before the first of `entries`, and the one after the last, should be looked for
/// on days farther away. `entries` are in order.
pub fn open_ends(entries: &[Entry], known: Option<&Known>) -> (bool, bool) {
    let committed = entries.partition_point(|entry| is_committed(entry, known));
    let entries = &entries[..committed];
    let before = entries
        .first()
        .is_some_and(|first| first.role != Role::Before && first.after.is_some());
    let checkpoint = known.and_then(|known| known.checkpoint.as_ref());
    let after = entries.last().is_some_and(|last| {
        last.role != Role::After && checkpoint.is_some_and(|checkpoint| last.last < *checkpoint)
    });
    (before, after)
}

impl Proof {
    fn add(&mut self, before: Option<&Cut<'_>>, cut: &Cut<'_>, touches: bool) {
        let entry = cut.entry;
        if !entry.is_asked_for() {
            if entry.role == Role::After && !self.runs.is_empty() {
                let day = entry.date;
                self.end = Some(if touches {
                    Edge::Continues { day }
                } else {
                    Edge::Open
                });
            }
            return;
        }
        if self.begin.is_none() {
            self.begin = Some(match (&entry.after, before) {
                (None, _) => Edge::Start,
                (Some(_), Some(before)) if touches => Edge::Continues {
                    day: before.entry.date,
                },
                _ => Edge::Open,
            });
        }
        match self.runs.last_mut() {
            Some(run) if touches => {
                run.last = entry.last.clone();
                run.cuts += 1;
            }
            _ => self.runs.push(Run {
                after: entry.after.clone(),
                first: entry.first.clone(),
                last: entry.last.clone(),
                cuts: 1,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
