//! What was done, in numbers: the only thing about an object's content that is shown anywhere.

use super::canary::{Found, Pattern};
use super::line::Reason;

/// What was done with a field of a line that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldAction {
    /// Its bytes are in the copy.
    Kept,
    /// Its keyed hash is.
    Hashed,
    /// The schema says that it stays.
    Dropped,
    /// No schema knows it, so it stays.
    Undeclared,
}

impl FieldAction {
    /// How many there are.
    pub const COUNT: usize = 4;
    /// Every action.
    pub const ALL: [Self; Self::COUNT] = [Self::Kept, Self::Hashed, Self::Dropped, Self::Undeclared];

    /// A metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Hashed => "hashed",
            Self::Dropped => "dropped",
            Self::Undeclared => "undeclared",
        }
    }
}

/// The numbers of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    passed: u64,
    quarantined: [u64; Reason::ALL.len()],
    canaries: [u64; Pattern::ALL.len()],
    fields: Vec<[u64; FieldAction::COUNT]>,
}

impl Tally {
    pub(crate) fn new(event_types: usize) -> Self {
        Self {
            fields: vec![[0; FieldAction::COUNT]; event_types],
            ..Self::default()
        }
    }

    pub(crate) fn line(&mut self, event_type: usize, fields: [u64; FieldAction::COUNT]) {
        self.passed += 1;
        if let Some(sums) = self.fields.get_mut(event_type) {
            for (sum, fields) in sums.iter_mut().zip(fields) {
                *sum += fields;
            }
        }
    }

    pub(crate) fn quarantine(&mut self, reason: Reason) {
        self.quarantined[reason as usize] += 1;
    }

    /// Patterns that a line's kept values were found to have, counted once a line.
    pub(crate) fn found(&mut self, found: Found) {
        for pattern in found.patterns() {
            self.canaries[pattern as usize] += 1;
        }
    }

    /// Lines in the copy.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.passed
    }

    /// Lines in the quarantine.
    #[must_use]
    pub fn lines_quarantined(&self) -> u64 {
        self.quarantined.iter().sum()
    }

    /// Lines in the quarantine by reason; only what there is.
    pub fn quarantined(&self) -> impl Iterator<Item = (Reason, u64)> {
        let counted = Reason::ALL.into_iter().zip(self.quarantined);
        counted.filter(|(_, count)| *count > 0)
    }

    /// Lines with a pattern in a kept value, by pattern; only what there is.
    pub fn canaries(&self) -> impl Iterator<Item = (Pattern, u64)> {
        let counted = Pattern::ALL.into_iter().zip(self.canaries);
        counted.filter(|(_, count)| *count > 0)
    }

    /// Fields by event type (its place in the plan) and action; only what there is.
    pub fn fields(&self) -> impl Iterator<Item = (usize, FieldAction, u64)> {
        let types = self.fields.iter().enumerate();
        types.flat_map(|(event_type, counts)| {
            let counted = FieldAction::ALL.into_iter().zip(*counts);
            counted
                .filter(|(_, count)| *count > 0)
                .map(move |(action, count)| (event_type, action, count))
        })
    }

    /// Fields with this action, of every type.
    #[must_use]
    pub fn fields_with(&self, action: FieldAction) -> u64 {
        self.fields.iter().map(|counts| counts[action as usize]).sum()
    }
}
