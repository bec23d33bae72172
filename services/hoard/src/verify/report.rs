//! What a verification found, for a person as a table and for machines as JSON.

use std::fmt::{Display, Formatter};

use bytesize::ByteSize;
use jiff::civil::Date;
use serde::Serialize;

use crate::pending::Pending;
use crate::sequence::{SequenceNumber, ShardId};
use crate::verify::Plan;
use crate::verify::chain::{Broken, Edge, Proof, Run};
use crate::verify::object::Problem;

/// So many faults of one shard are shown to a person; JSON has them all.
const FAULTS_SHOWN_MAX: usize = 20;

/// Everything that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The stream.
    pub stream: String,
    /// The bucket.
    pub bucket: String,
    /// The first day.
    pub from: Date,
    /// The last day, inclusive.
    pub to: Date,
    /// Whether content was left out.
    pub quick: bool,
    /// Whether nothing is wrong.
    pub whole: bool,
    /// Over all shards.
    #[serde(flatten)]
    pub totals: Totals,
    /// Keys in these folders that are no object of this stream.
    pub other_keys: u64,
    /// By shard.
    pub shards: Vec<ShardReport>,
}

/// What was found of one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShardReport {
    /// The shard.
    pub shard: ShardId,
    /// What its objects hold.
    #[serde(flatten)]
    pub totals: Totals,
    /// Where its cuts of these days begin.
    pub begin: Option<Edge>,
    /// Where they end.
    pub end: Option<Edge>,
    /// Runs of cuts that touch; one where nothing is missing.
    pub runs: Vec<Run>,
    /// A cut that is announced and not committed.
    pub pending: Option<PendingCut>,
    /// Objects of these days that are beyond what is committed.
    pub objects_in_progress: u64,
    /// What is wrong between its cuts.
    pub broken: Vec<Broken>,
    /// What is wrong with its objects.
    pub faults: Vec<Fault>,
    /// Whether any object of it was found, on these days or beside them.
    #[serde(skip)]
    is_seen: bool,
}

/// A cut that is being committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PendingCut {
    /// Its first record.
    pub first: SequenceNumber,
    /// Its last record, inclusive.
    pub last: SequenceNumber,
    /// How many records.
    pub records: u64,
}

/// Something wrong with one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Its key.
    pub key: String,
    /// What.
    #[serde(flatten)]
    pub problem: Problem,
}

/// Sums.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Objects.
    pub objects: u64,
    /// Lines, as announced.
    pub lines: u64,
    /// Their size before compression, as announced, in bytes.
    pub bytes: u64,
}

impl Totals {
    /// Adds others to these.
    pub fn add(&mut self, other: &Self) {
        self.objects += other.objects;
        self.lines += other.lines;
        self.bytes += other.bytes;
    }
}

impl Report {
    /// A report without shards.
    pub fn new(plan: &Plan, other_keys: u64) -> Self {
        Self {
            stream: plan.stream.clone(),
            bucket: plan.bucket.clone(),
            from: plan.from,
            to: plan.to,
            quick: plan.is_quick,
            whole: false,
            totals: Totals::default(),
            other_keys,
            shards: Vec::new(),
        }
    }

    /// Adds a shard. A report is whole when each of its shards is, and there is something in it: a
    /// prefix with a typing error must not pass for an idle stream.
    pub fn add(&mut self, shard: ShardReport) {
        self.totals.add(&shard.totals);
        self.shards.push(shard);
        self.whole = self.shards.iter().all(ShardReport::is_whole) && !self.is_empty();
    }

    fn is_empty(&self) -> bool {
        !self.shards.iter().any(|shard| shard.is_seen)
    }
}

impl ShardReport {
    /// What `proof` says, and what is wrong with single objects.
    pub fn new(
        shard: ShardId,
        proof: Proof,
        totals: Totals,
        faults: Vec<Fault>,
        pending: Option<&Pending>,
    ) -> Self {
        Self {
            shard,
            totals,
            begin: proof.begin,
            end: proof.end,
            runs: proof.runs,
            pending: pending.map(|pending| PendingCut {
                first: pending.first.clone(),
                last: pending.last.clone(),
                records: pending.records,
            }),
            objects_in_progress: proof.in_progress,
            broken: proof.broken,
            faults,
            is_seen: proof.is_seen,
        }
    }

    fn is_whole(&self) -> bool {
        self.broken.is_empty() && self.faults.is_empty()
    }

    /// Whether a person wants to see it: it has something on the days asked for.
    fn is_shown(&self) -> bool {
        self.totals.objects > 0 || self.pending.is_some() || !self.is_whole()
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in s3://{}, {}", self.stream, self.bucket, self.from)?;
        if self.to != self.from {
            write!(f, " to {}", self.to)?;
        }
        writeln!(f, "{}\n", if self.quick { ", metadata only" } else { "" })?;
        let width = self
            .shards
            .iter()
            .map(|shard| shard.shard.as_str().len())
            .max()
            .unwrap_or(0)
            .max(5);
        writeln!(
            f,
            "{:width$} {:>9} {:>13} {:>11}  {:22}  to",
            "shard", "objects", "lines", "size", "from"
        )?;
        for shard in self.shards.iter().filter(|shard| shard.is_shown()) {
            writeln!(
                f,
                "{:width$} {:>9} {:>13} {:>11}  {:22}  {}",
                shard.shard.as_str(),
                grouped(shard.totals.objects),
                grouped(shard.totals.lines),
                ByteSize(shard.totals.bytes).to_string(),
                edge(shard.begin.as_ref()),
                edge(shard.end.as_ref()),
            )?;
            shard.write_details(f)?;
        }
        self.write_verdict(f)
    }
}

impl Report {
    fn write_verdict(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let idle = self.shards.iter().filter(|shard| !shard.is_shown()).count();
        let shown = self.shards.len() - idle;
        writeln!(f)?;
        if idle > 0 {
            writeln!(
                f,
                "{} more had nothing on these days",
                counted(idle as u64, "shard")
            )?;
        }
        if self.other_keys > 0 {
            let keys = counted(self.other_keys, "key");
            writeln!(f, "{keys} in these folders of something else, not looked at")?;
        }
        let sum = format!(
            "{}, {}, {}",
            counted(shown as u64, "shard"),
            counted(self.totals.objects, "object"),
            counted(self.totals.lines, "line")
        );
        if self.is_empty() {
            writeln!(
                f,
                "NOTHING FOUND: are days, --stream, --bucket and --prefix right?"
            )
        } else if self.whole && self.quick {
            writeln!(
                f,
                "whole: {sum}; every cut touches the next (content was not read)"
            )
        } else if self.whole {
            writeln!(
                f,
                "whole: {sum}; every cut touches the next, every count and checksum holds"
            )
        } else {
            let faults: usize = self
                .shards
                .iter()
                .map(|shard| shard.broken.len() + shard.faults.len())
                .sum();
            let shards = self.shards.iter().filter(|shard| !shard.is_whole()).count();
            let (faults, shards) = (counted(faults as u64, "fault"), counted(shards as u64, "shard"));
            writeln!(f, "NOT WHOLE: {faults} in {shards}; {sum}")
        }
    }
}

impl ShardReport {
    fn write_details(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        if let Some(PendingCut { first, last, records }) = &self.pending {
            writeln!(
                f,
                "  in progress: {} from {first} to {last}",
                counted(*records, "record")
            )?;
        }
        if self.objects_in_progress > 0 {
            writeln!(
                f,
                "  in progress: {}",
                counted(self.objects_in_progress, "object")
            )?;
        }
        for broken in self.broken.iter().take(FAULTS_SHOWN_MAX) {
            self.write_broken(f, broken)?;
        }
        for Fault { key, problem } in self.faults.iter().take(FAULTS_SHOWN_MAX) {
            writeln!(f, "  FAULT {key}: {problem}")?;
        }
        let hidden = self.broken.len().saturating_sub(FAULTS_SHOWN_MAX)
            + self.faults.len().saturating_sub(FAULTS_SHOWN_MAX);
        if hidden > 0 {
            writeln!(f, "  and {} more: --json has them all", grouped(hidden as u64))?;
        }
        Ok(())
    }

    fn write_broken(&self, f: &mut Formatter<'_>, broken: &Broken) -> std::fmt::Result {
        match broken {
            Broken::Gap {
                after,
                last,
                from,
                to,
            } => {
                let day = |day: &Option<Date>| day.map_or("now".to_owned(), |day| day.to_string());
                let days = format!("{} and {}", day(from), day(to));
                writeln!(f, "  GAP after {} up to {last}, between {days}", start_or(after))?;
                self.write_replay(f, after, None, last)
            }
            Broken::Incomplete {
                key,
                after,
                first,
                last,
                found,
                expected,
            } => {
                writeln!(
                    f,
                    "  INCOMPLETE {found} of {expected} objects of the cut of {key}"
                )?;
                self.write_replay(f, after, Some(first), last)
            }
            Broken::Overlap { key, other } => writeln!(f, "  OVERLAP {key} and {other}"),
            Broken::Restart { key, other } => {
                writeln!(
                    f,
                    "  RESTART {key} says that it is the first of its shard, and follows {other}"
                )
            }
        }
    }

    fn write_replay(
        &self,
        f: &mut Formatter<'_>,
        after: &Option<SequenceNumber>,
        first: Option<&SequenceNumber>,
        last: &SequenceNumber,
    ) -> std::fmt::Result {
        let (shard, after) = (&self.shard, start_or(after));
        let first = first.map(|first| format!(" --first {first}")).unwrap_or_default();
        writeln!(
            f,
            "      hoard replay --shard {shard} --after {after}{first} --last {last}"
        )
    }
}

fn start_or(after: &Option<SequenceNumber>) -> &str {
    after
        .as_ref()
        .map_or(crate::layout::START, SequenceNumber::as_str)
}

fn edge(edge: Option<&Edge>) -> String {
    match edge {
        None => "-".to_owned(),
        Some(Edge::Start) => "start of the shard".to_owned(),
        Some(Edge::ShardEnd) => "end of the shard".to_owned(),
        Some(Edge::Checkpoint) => "checkpoint".to_owned(),
        Some(Edge::Continues { day }) => format!("touches {day}"),
        Some(Edge::Open) => "open".to_owned(),
    }
}

fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(count))
}

/// 1,234,567
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }
}
