//! What a reconcile has found so far: numbers only, whose size does not depend on the number of objects.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Finding;
use super::judge::{State, Why};
use crate::verify::Proof;

/// What was found of one route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Tally {
    /// In place.
    pub(crate) equal: u64,
    /// Of these, without a checksum to compare with.
    pub(crate) unattested: u64,
    pub(crate) missing: u64,
    pub(crate) different: BTreeMap<Why, u64>,
    pub(crate) extra: u64,
    pub(crate) pending: u64,
    /// Objects that could not be looked at, by cause.
    pub(crate) failed: BTreeMap<String, u64>,
    /// Objects that stay where they are, by reason.
    pub(crate) denied: BTreeMap<String, u64>,
    pub(crate) vanished: u64,
    /// Of the missing and different ones, those that were put into place.
    pub(crate) repaired: u64,
    pub(crate) repaired_bytes: u64,
    /// Repairs that failed, by cause.
    pub(crate) repairs_failed: BTreeMap<String, u64>,
    /// Age of the oldest object that is not in place, pending ones included.
    pub(crate) oldest_uncopied_seconds: Option<u64>,
}

impl Tally {
    /// Counts one key.
    pub(super) fn count(&mut self, finding: &Finding) {
        match finding.state {
            State::Equal(proof) => {
                self.equal += 1;
                self.unattested += u64::from(proof == Proof::Unattested);
            }
            State::Missing => self.missing += 1,
            State::Different(why) => *self.different.entry(why).or_default() += 1,
            State::Extra => self.extra += 1,
            State::Pending => self.pending += 1,
            State::Denied(denial) => one_more(&mut self.denied, denial.as_str()),
            State::Vanished => self.vanished += 1,
            State::Failed(cause) => one_more(&mut self.failed, cause),
        }
        match finding.repaired {
            Some(Ok(bytes)) => {
                self.repaired += 1;
                self.repaired_bytes += bytes;
            }
            Some(Err(cause)) => one_more(&mut self.repairs_failed, cause),
            None => {}
        }
        if finding.is_uncopied() {
            self.oldest_uncopied_seconds = self.oldest_uncopied_seconds.max(finding.age_seconds);
        }
    }

    /// Adds what was found of other keys.
    pub(super) fn add(&mut self, other: &Self) {
        fn sum<K: Clone + Ord>(into: &mut BTreeMap<K, u64>, from: &BTreeMap<K, u64>) {
            for (key, count) in from {
                *into.entry(key.clone()).or_default() += count;
            }
        }
        self.equal += other.equal;
        self.unattested += other.unattested;
        self.missing += other.missing;
        sum(&mut self.different, &other.different);
        self.extra += other.extra;
        self.pending += other.pending;
        sum(&mut self.failed, &other.failed);
        sum(&mut self.denied, &other.denied);
        self.vanished += other.vanished;
        self.repaired += other.repaired;
        self.repaired_bytes += other.repaired_bytes;
        sum(&mut self.repairs_failed, &other.repairs_failed);
        self.oldest_uncopied_seconds = self.oldest_uncopied_seconds.max(other.oldest_uncopied_seconds);
    }

    pub(crate) fn different(&self) -> u64 {
        self.different.values().sum()
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed.values().sum()
    }

    pub(crate) fn denied(&self) -> u64 {
        self.denied.values().sum()
    }

    /// Keys that were compared.
    pub(crate) fn objects(&self) -> u64 {
        let in_doubt = self.extra + self.pending + self.failed() + self.vanished + self.denied();
        self.equal + self.missing + self.different() + in_doubt
    }

    /// What is not as it should be, and was not repaired.
    pub(crate) fn differences(&self) -> u64 {
        (self.missing + self.different()).saturating_sub(self.repaired) + self.extra
    }
}

fn one_more(counts: &mut BTreeMap<String, u64>, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => {
            counts.insert(name.to_owned(), 1);
        }
    }
}

/// What was found, route by route in the order in which they were compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) routes: Vec<(String, Tally)>,
}

impl Report {
    /// All routes together.
    pub(crate) fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.routes.iter().for_each(|(_, tally)| total.add(tally));
        total
    }

    /// The tally of a route, new if need be.
    pub(super) fn of(&mut self, route: &str) -> &mut Tally {
        let index = self.routes.iter().position(|(label, _)| label == route);
        let index = index.unwrap_or_else(|| {
            self.routes.push((route.to_owned(), Tally::default()));
            self.routes.len() - 1
        });
        &mut self.routes[index].1
    }
}

/// How a reconcile ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Every key was compared.
    Complete,
    /// It was asked to stop.
    Stopped,
    /// It could not go on.
    Failed(String),
}

impl End {
    /// A metric label.
    pub(crate) fn outcome(&self, report: &Report) -> &'static str {
        let total = report.total();
        match self {
            Self::Stopped => "stopped",
            Self::Failed(_) => "failed",
            Self::Complete if total.differences() > 0 => "different",
            Self::Complete if total.failed() > 0 => "failed",
            Self::Complete => "equal",
        }
    }
}
