//! Walks the chains of a ledger and tells what does not hold.
//!
//! What can be told: a line that was changed, taken away, added or moved inside a chain; a chain whose
//! beginning is gone; an object that is not under its own name; the end of a chain being gone, where the
//! chain was closed or the same writer's next chain names it. What cannot: the loss of the last lines of
//! a chain that nothing follows. Such a chain is called open.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::chain::{Held, Link, NOTHING_BEFORE, hash};
use super::writer::first_seq;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What kind.
    pub kind: Kind,
    /// The chain.
    pub chain: String,
    /// The object's key; empty for what concerns a chain as a whole.
    pub object: String,
    /// The line's number in its object, from 1; 0 where there is none.
    pub line: usize,
    /// In words.
    pub detail: String,
}

/// Kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Not a line of a ledger.
    Malformed,
    /// Lines are missing.
    Gap,
    /// A line stands where an earlier one belongs, or again.
    Reordered,
    /// A line does not have the hash of the one before it: one of the two was changed.
    Broken,
    /// An object is not under the name that its first line asks for.
    Misplaced,
    /// A later chain names a line that is not there.
    Truncated,
    /// There are lines behind the end of the chain.
    AfterEnd,
}

/// One chain.
#[derive(Clone, Debug, Serialize)]
pub struct ChainReport {
    /// Its name.
    pub chain: String,
    /// Its objects.
    pub objects: u64,
    /// Its lines.
    pub lines: u64,
    /// The time of its first line.
    pub first: Option<Timestamp>,
    /// The time of its last line.
    pub last: Option<Timestamp>,
    /// How it ends.
    pub end: End,
}

/// How a chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// With its last line.
    Closed,
    /// Where the same writer's next chain says.
    Followed,
    /// With a writer that is at work, or was killed: what was last cannot be known.
    Open,
}

/// What a walk found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Every chain, by name.
    pub chains: Vec<ChainReport>,
    /// Everything that does not hold.
    pub problems: Vec<Problem>,
}

/// A walk over the objects of a ledger, in the order of their keys.
#[derive(Debug, Default)]
pub struct Walk {
    chains: BTreeMap<String, Chain>,
    problems: Vec<Problem>,
}

#[derive(Debug)]
struct Chain {
    next: u64,
    last: String,
    objects: u64,
    lines: u64,
    first_time: Option<Timestamp>,
    last_time: Option<Timestamp>,
    closed: bool,
    followed: bool,
    previous: Option<Link>,
    /// The last line of each object: what later chains may name.
    ends: BTreeMap<u64, String>,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            next: 0,
            last: NOTHING_BEFORE.to_owned(),
            objects: 0,
            lines: 0,
            first_time: None,
            last_time: None,
            closed: false,
            followed: false,
            previous: None,
            ends: BTreeMap::new(),
        }
    }
}

impl Walk {
    /// The next object. Keys of a chain must come in order, as a listing gives them.
    pub fn object(&mut self, key: &str, bytes: &[u8]) {
        let file = key.rsplit('/').next().unwrap_or(key);
        let Some((instance, first)) = first_seq(file) else {
            self.problems.push(Problem {
                kind: Kind::Misplaced,
                chain: String::new(),
                object: key.to_owned(),
                line: 0,
                detail: "the name is not one of a ledger's object".to_owned(),
            });
            return;
        };
        let chain = self.chains.entry(instance.to_owned()).or_default();
        chain.objects += 1;
        let mut problem = |kind, line, detail: String| {
            self.problems.push(Problem {
                kind,
                chain: instance.to_owned(),
                object: key.to_owned(),
                line,
                detail,
            });
        };
        let lines: Vec<&[u8]> = match bytes.strip_suffix(b"\n") {
            Some(whole) => whole.split(|byte| *byte == b'\n').collect(),
            None => {
                problem(
                    Kind::Malformed,
                    0,
                    "the object does not end with a line's end".to_owned(),
                );
                bytes
                    .split(|byte| *byte == b'\n')
                    .filter(|line| !line.is_empty())
                    .collect()
            }
        };
        for (index, line) in lines.iter().enumerate() {
            let number = index + 1;
            let held: Held = match serde_json::from_slice(line) {
                Ok(held) => held,
                Err(error) => {
                    let column = error.column();
                    problem(
                        Kind::Malformed,
                        number,
                        format!("not a line of a ledger (at byte {column})"),
                    );
                    chain.pass(chain.next, line);
                    continue;
                }
            };
            if index == 0 && held.seq != first {
                let seq = held.seq;
                problem(
                    Kind::Misplaced,
                    number,
                    format!("line {seq} stands where the name says {first}"),
                );
            }
            chain.check(&held, instance, |kind, detail| problem(kind, number, detail));
            chain.first_time.get_or_insert(held.time);
            chain.last_time = Some(held.time);
            chain.pass(held.seq, line);
            chain.closed = held.kind == "close";
            if held.kind == "genesis" {
                chain.previous = held.previous;
            }
        }
        if chain.next > 0 {
            chain.ends.insert(chain.next - 1, chain.last.clone());
        }
    }

    /// The end: holds the chains against each other.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let links: Vec<(String, Link)> = self
            .chains
            .iter()
            .filter_map(|(name, chain)| Some((name.clone(), chain.previous.clone()?)))
            .collect();
        for (name, link) in links {
            let Link {
                instance,
                seq,
                sha256,
            } = link;
            let named = self.chains.get_mut(&instance);
            let holds = named.is_some_and(|chain| {
                chain.followed = true;
                chain.ends.get(&seq) == Some(&sha256)
            });
            if !holds {
                self.problems.push(Problem {
                    kind: Kind::Truncated,
                    chain: instance,
                    object: String::new(),
                    line: 0,
                    detail: format!("chain {name} names line {seq} of it, which is not there as it was"),
                });
            }
        }
        let chains = self.chains.into_iter().map(|(name, chain)| ChainReport {
            chain: name,
            objects: chain.objects,
            lines: chain.lines,
            first: chain.first_time,
            last: chain.last_time,
            end: match chain {
                Chain { closed: true, .. } => End::Closed,
                Chain { followed: true, .. } => End::Followed,
                Chain { .. } => End::Open,
            },
        });
        Report {
            chains: chains.collect(),
            problems: self.problems,
        }
    }
}

impl Chain {
    /// Whether a line is the one that belongs here.
    fn check(&self, held: &Held, instance: &str, problem: impl FnOnce(Kind, String)) {
        let (seq, next) = (held.seq, self.next);
        let is_genesis = held.kind == "genesis";
        if seq > next {
            problem(Kind::Gap, format!("lines {next} to {} are missing", seq - 1));
        } else if seq < next {
            problem(
                Kind::Reordered,
                format!("line {seq} stands behind line {}", next - 1),
            );
        } else if held.prev != self.last {
            problem(
                Kind::Broken,
                format!("line {seq} does not follow the line that is before it"),
            );
        } else if self.closed {
            problem(Kind::AfterEnd, format!("line {seq} stands behind the end"));
        } else if is_genesis != (seq == 0) || (is_genesis && held.instance.as_deref() != Some(instance)) {
            problem(
                Kind::Malformed,
                format!("line {seq} is not the beginning of this chain"),
            );
        }
    }

    fn pass(&mut self, seq: u64, line: &[u8]) {
        self.lines += 1;
        self.next = self.next.max(seq.saturating_add(1));
        self.last = hash(line);
    }
}

#[cfg(test)]
#[path = "verify/tests.rs"]
mod tests;
